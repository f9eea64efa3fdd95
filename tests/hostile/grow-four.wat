;; Takes memory in four instances in turn until none of them gets any more, and then dies: the limit is one for all.
(component
  (core module $hoard
    (memory 1)
    (func (export "grow") (result i32) (local $old i32)
      (local.set $old (memory.grow (i32.const 16)))
      (if (i32.ne (local.get $old) (i32.const -1))
        (then (memory.fill (i32.mul (local.get $old) (i32.const 65536)) (i32.const 1) (i32.const 1048576))))
      (local.get $old)))
  (core instance $a (instantiate $hoard))
  (core instance $b (instantiate $hoard))
  (core instance $c (instantiate $hoard))
  (core instance $d (instantiate $hoard))
  (core module $main
    (import "a" "grow" (func $a (result i32)))
    (import "b" "grow" (func $b (result i32)))
    (import "c" "grow" (func $c (result i32)))
    (import "d" "grow" (func $d (result i32)))
    (func (export "run") (result i32)
      (loop $again
        (br_if $again (i32.ne (call $a) (i32.const -1)))
        (br_if $again (i32.ne (call $b) (i32.const -1)))
        (br_if $again (i32.ne (call $c) (i32.const -1)))
        (br_if $again (i32.ne (call $d) (i32.const -1))))
      (unreachable)))
  (core instance $main (instantiate $main
    (with "a" (instance $a)) (with "b" (instance $b)) (with "c" (instance $c)) (with "d" (instance $d))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))
