;; First byte of the input: `f` fills all the memory it gets, a table and a deep stack with a pattern; `s` counts what is
;; not zero in all the memory it gets, and what is in fresh table elements; `b` does both, to show that the counting works.
;; Answers with a count of eight hex digits.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (elem declare func $digit)
  (global $hits (mut i32) (i32.const 0))
  ;; Where the memory begins that nobody but us uses: below it are our buffers and what the adapter of WASI keeps.
  (global $own (mut i32) (i32.const 0))

  (func $digit (param $value i32) (result i32)
    (select
      (i32.add (local.get $value) (i32.const 48))
      (i32.add (local.get $value) (i32.const 87))
      (i32.lt_u (local.get $value) (i32.const 10))))

  (func $grow_all
    (loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))))

  ;; Locals with a pattern on thousands of frames: what a compiler spills to the machine's stack.
  (func $deep (param $left i32) (param $a i64) (param $b i64) (result i64)
    (if (result i64) (i32.eqz (local.get $left))
      (then (local.get $a))
      (else (i64.xor
        (call $deep (i32.sub (local.get $left) (i32.const 1)) (local.get $b) (local.get $a))
        (i64.mul (local.get $a) (local.get $b))))))

  (func $fill (local $end i32)
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (memory.fill (global.get $own) (i32.const 0xa5) (i32.sub (local.get $end) (global.get $own)))
    (drop (table.grow $table (ref.func $digit) (i32.const 10000)))
    (drop (call $deep (i32.const 2000) (i64.const 0xa5a5a5a5a5a5a5a5) (i64.const 0x5a5a5a5a5a5a5a5a))))

  (func $scan (local $at i32) (local $end i32) (local $old i32)
    (local.set $at (global.get $own))
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (loop $again
      (if (i64.ne (i64.const 0) (i64.or
            (i64.or (i64.load (local.get $at)) (i64.load offset=8 (local.get $at)))
            (i64.or (i64.load offset=16 (local.get $at)) (i64.load offset=24 (local.get $at)))))
        (then (global.set $hits (i32.add (global.get $hits) (i32.const 1)))))
      (local.set $at (i32.add (local.get $at) (i32.const 32)))
      (br_if $again (i32.lt_u (local.get $at) (local.get $end))))
    (local.set $old (table.grow $table (ref.null func) (i32.const 10000)))
    (local.set $at (i32.const 0))
    (loop $elements
      (if (i32.eqz (ref.is_null (table.get $table (i32.add (local.get $old) (local.get $at)))))
        (then (global.set $hits (i32.add (global.get $hits) (i32.const 1)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $elements (i32.lt_u (local.get $at) (i32.const 10000)))))

  (func (export "_start") (local $wish i32) (local $at i32)
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 1))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
    (local.set $wish (i32.load8_u (i32.const 64)))
    (global.set $own (i32.mul (memory.size) (i32.const 65536)))
    (call $grow_all)
    (if (i32.ne (local.get $wish) (i32.const 115)) (then (call $fill)))
    (if (i32.ne (local.get $wish) (i32.const 102)) (then (call $scan)))
    (local.set $at (i32.const 8))
    (loop $digits
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (i32.add (i32.const 64) (local.get $at))
        (call $digit (i32.and (global.get $hits) (i32.const 15))))
      (global.set $hits (i32.shr_u (global.get $hits) (i32.const 4)))
      (br_if $digits (local.get $at)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
