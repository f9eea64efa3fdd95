;; Asks for ten million elements at once, then for as many as it gets in small steps, in three tables, and then dies.
(module
  (memory (export "memory") 1)
  (table $a 1 funcref)
  (table $b 1 funcref)
  (table $c 1 funcref)
  (func (export "_start")
    (if (i32.ne (table.grow $a (ref.null func) (i32.const 10000000)) (i32.const -1))
      (then (return)))
    (loop $more_a (br_if $more_a (i32.ne (table.grow $a (ref.null func) (i32.const 1000)) (i32.const -1))))
    (loop $more_b (br_if $more_b (i32.ne (table.grow $b (ref.null func) (i32.const 1000)) (i32.const -1))))
    (loop $more_c (br_if $more_c (i32.ne (table.grow $c (ref.null func) (i32.const 1000)) (i32.const -1))))
    (unreachable)))
