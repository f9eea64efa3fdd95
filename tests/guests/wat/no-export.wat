;; A valid component that nobody can call.
(component
  (core module $library (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1))))
  (core instance (instantiate $library)))
