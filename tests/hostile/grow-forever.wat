;; Takes memory until there is no more, touches all of it, and then dies.
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $old i32)
    (loop $again
      (local.set $old (memory.grow (i32.const 1)))
      (if (i32.ne (local.get $old) (i32.const -1))
        (then
          (memory.fill (i32.mul (local.get $old) (i32.const 65536)) (i32.const 1) (i32.const 65536))
          (br $again))))
    (unreachable)))
