;; A command whose init function asks for the time, and which ends well only when it ran once in this instance.
(component
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
  (core func $now (canon lower (func $clock "now")))
  (core module $guest
    (import "clock" "now" (func $now (result i64)))
    (global $inits (mut i32) (i32.const 0))
    (func (export "init")
      (drop (call $now))
      (global.set $inits (i32.add (global.get $inits) (i32.const 1))))
    (func (export "run") (result i32)
      (i32.ne (global.get $inits) (i32.const 1))))
  (core instance $instance (instantiate $guest (with "clock" (instance (export "now" (func $now))))))
  (func (export "wizer-initialize") (canon lift (core func $instance "init")))
  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $runner (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $runner)))
