;; A command like any other, but for an import that no platform but its maker's own offers.
(component
  (import "acme:db/query@1.0.0" (instance (export "count" (func (result u32)))))
  (core module $program (func (export "run") (result i32) i32.const 0))
  (core instance $program (instantiate $program))
  (func $run (result (result)) (canon lift (core func $program "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.12" (instance $cli)))
