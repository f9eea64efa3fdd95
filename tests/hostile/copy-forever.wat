;; Copies 250 MiB again and again.
(module
  (memory (export "memory") 8000)
  (func (export "_start")
    (loop $again
      (memory.copy (i32.const 262144000) (i32.const 65536) (i32.const 262078464))
      (br $again))))
