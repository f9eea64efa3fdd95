;; Calls itself until the stack ends while the host hands over a list and asks for room for it.
(component
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-arguments" (func (result (list string))))))
  (core module $libc
    (memory (export "memory") 1)
    (func $realloc (export "realloc") (param i32 i32 i32 i32) (result i32)
      (i32.add
        (call $realloc (local.get 3) (local.get 2) (local.get 1) (local.get 0))
        (i32.const 1))))
  (core instance $libc (instantiate $libc))
  (core func $arguments (canon lower (func $environment "get-arguments")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core module $main
    (import "host" "arguments" (func $arguments (param i32)))
    (func (export "run") (result i32)
      (call $arguments (i32.const 16))
      (i32.const 0)))
  (core instance $main (instantiate $main (with "host" (instance (export "arguments" (func $arguments))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))
