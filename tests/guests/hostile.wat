;; A guest that no compiler would make. The letter in its input, a JSON string of one letter, says what it does to its host.
(component
  (import "pipehost:executor/types@0.1.0" (instance $types
    (type $kind_ (enum "transient" "timeout" "rate-limited" "failed" "rejected" "invalid" "not-found" "conflict" "denied" "cancelled"
      "permanent" "bug"))
    (export "failure-kind" (type $kind (eq $kind_)))
    (type $failure_ (record (field "kind" $kind) (field "code" (option string)) (field "message" string) (field "status" (option u16))
      (field "retry-after" (option u64))))
    (export "failure" (type $failure (eq $failure_)))
    (type $want_ (record (field "grant" string) (field "reason" string)))
    (export "want" (type $want (eq $want_)))
    (type $description_ (record (field "name" string) (field "summary" string) (field "input" (option string))
      (field "output" (option string)) (field "config" (option string)) (field "wants" (list $want))))
    (export "description" (type $description (eq $description_)))
    (type $job_ (record (field "id" string) (field "key" string) (field "run" string) (field "correlation-id" string)
      (field "pipeline" string) (field "flow" string) (field "step" string) (field "attempt" u32) (field "input" string)))
    (export "job" (type $job (eq $job_)))))
  (alias export $types "failure" (type $failure))
  (alias export $types "description" (type $description))
  (alias export $types "job" (type $job))
  (import "pipehost:executor/log@0.1.0" (instance $log
    (type $level_ (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level_)))
    (export "write" (func (param "level" $level) (param "message" string)))))
  (import "pipehost:executor/run@0.1.0" (instance $run
    (alias outer 1 $failure (type $failure_))
    (export "failure" (type $failure (eq $failure_)))
    (export "progress" (func (param "progress" string)))
    (export "cancelled" (func (result bool)))
    (export "remaining" (func (result (option u64))))
    (export "emit" (func (param "event-type" string) (param "data" string) (result (result (error $failure)))))))

  (core module $base
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 8192))
    (data (i32.const 1024) "null{\ff")
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $free (i32.add (local.get $place) (local.get $size)))
      (local.get $place)))
  (core instance $base (instantiate $base))
  (alias core export $base "memory" (core memory $memory))
  (alias core export $base "realloc" (core func $realloc))
  (core func $write (canon lower (func $log "write") (memory $memory)))
  (core func $progress (canon lower (func $run "progress") (memory $memory)))
  (core func $cancelled (canon lower (func $run "cancelled")))
  (core func $remaining (canon lower (func $run "remaining") (memory $memory)))
  (core func $emit (canon lower (func $run "emit") (memory $memory) (realloc $realloc)))

  (core module $main
    (import "base" "memory" (memory 1))
    (import "host" "write" (func $write (param i32 i32 i32)))
    (import "host" "progress" (func $progress (param i32 i32)))
    (import "host" "emit" (func $emit (param i32 i32 i32 i32 i32)))
    (import "host" "cancelled" (func $cancelled (result i32)))
    (import "host" "remaining" (func $remaining (param i32)))
    (table $table 1 funcref)
    (func $output (param $at i32) (param $length i32) (result i32)
      (i32.store8 (i32.const 2048) (i32.const 0))
      (i32.store (i32.const 2056) (local.get $at))
      (i32.store (i32.const 2060) (local.get $length))
      (i32.const 2048))
    ;; Sixty zeroes: no name, no schema, no wants.
    (func (export "describe") (result i32)
      (;DESCRIBE;)
      (i32.const 4096))
    (func (export "process") (param $job i32) (result i32)
      (local $letter i32)
      (local.set $letter (i32.load8_u offset=1 (i32.load offset=60 (local.get $job))))
      ;; j: its output is no JSON.
      (if (i32.eq (local.get $letter) (i32.const 0x6a)) (then (return (call $output (i32.const 1028) (i32.const 1)))))
      ;; u: its output is no UTF-8.
      (if (i32.eq (local.get $letter) (i32.const 0x75)) (then (return (call $output (i32.const 1029) (i32.const 1)))))
      ;; o: its output lies outside of its memory.
      (if (i32.eq (local.get $letter) (i32.const 0x6f)) (then (return (call $output (i32.const -16) (i32.const 16)))))
      ;; r: its result is neither good nor bad.
      (if (i32.eq (local.get $letter) (i32.const 0x72)) (then
        (i32.store8 (i32.const 2048) (i32.const 7))
        (return (i32.const 2048))))
      ;; z: it divides by zero.
      (if (i32.eq (local.get $letter) (i32.const 0x7a)) (then
        (drop (i32.div_u (i32.const 1) (i32.sub (local.get $letter) (i32.const 0x7a))))))
      ;; t: it wants a table without end.
      (if (i32.eq (local.get $letter) (i32.const 0x74)) (then
        (loop $more (br_if $more (i32.ge_s (table.grow $table (ref.null func) (i32.const 1000)) (i32.const 0))))
        unreachable))
      ;; m: it takes all memory that it gets, and is content when it gets no more.
      (if (i32.eq (local.get $letter) (i32.const 0x6d)) (then
        (loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))))
      ;; l: it logs without end.
      (if (i32.eq (local.get $letter) (i32.const 0x6c)) (then
        (loop $more (call $write (i32.const 1) (i32.const 1024) (i32.const 4)) (br $more))))
      ;; e: it emits without end.
      (if (i32.eq (local.get $letter) (i32.const 0x65)) (then
        (loop $more (call $emit (i32.const 1024) (i32.const 4) (i32.const 1024) (i32.const 4) (i32.const 3072)) (br $more))))
      ;; p: its progress is no JSON.
      (if (i32.eq (local.get $letter) (i32.const 0x70)) (then (call $progress (i32.const 1028) (i32.const 1))))
      ;; c: it asks whether it is cancelled, and returns 0 or 1.
      (if (i32.eq (local.get $letter) (i32.const 0x63)) (then
        (i32.store8 (i32.const 3000) (i32.add (i32.const 48) (call $cancelled)))
        (return (call $output (i32.const 3000) (i32.const 1)))))
      ;; q: it asks how much time is left, and returns null, or 1 for 1500 milliseconds and 0 for any other time.
      (if (i32.eq (local.get $letter) (i32.const 0x71)) (then
        (call $remaining (i32.const 3072))
        (if (i32.load8_u (i32.const 3072)) (then
          (i32.store8 (i32.const 3000) (i32.add (i32.const 48) (i64.eq (i64.load (i32.const 3080)) (i64.const 1500))))
          (return (call $output (i32.const 3000) (i32.const 1)))))))
      (call $output (i32.const 1024) (i32.const 4))))
  (core instance $main (instantiate $main
    (with "base" (instance $base))
    (with "host" (instance (export "write" (func $write)) (export "progress" (func $progress)) (export "emit" (func $emit))
      (export "cancelled" (func $cancelled)) (export "remaining" (func $remaining))))))
  (func $describe (result $description)
    (canon lift (core func $main "describe") (memory $memory) (realloc $realloc)))
  (func $process (param "job" $job) (result (result string (error $failure)))
    (canon lift (core func $main "process") (memory $memory) (realloc $realloc)))
  (export "describe" (func $describe))
  (export "process" (func $process)))
