;; Fills 500 MiB again and again: the clock is looked at only before each fill.
(module
  (memory (export "memory") 8000)
  (func (export "_start")
    (loop $again
      (memory.fill (i32.const 65536) (i32.const 0xa5) (i32.const 524222464))
      (br $again))))
