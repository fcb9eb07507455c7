//! What runs share through `dedup` and `cache`, seen from the tests of a file.

use super::passes;

#[test]
fn a_cache_and_what_was_taken_out_of_it_are_the_same_after_a_restart() {
    passes(
        "
pipeline: a
executors: { price: { builtin: sql.query, grants: { sql: [main] } } }
resources: { main: { sqlite: a.db } }
flows:
  ask:
    trigger: manual
    steps:
      - { id: price, run: price, with: { statement: x }, cache: { key: a, ttl: 1h } }
  change:
    trigger: manual
    steps:
      - { id: gone, run: cache.invalidate, with: { policy: ask.price, key: a } }
      - reply: { removed: '${steps.gone.removed}' }
tests:
  - name: twice
    mocks: { price: { output: { rows: [] } } }
    steps:
      - { send: {}, flow: ask }
      - { send: {}, flow: change }
      - expect: { reply: { removed: 1 }, calls: { price: 1 } }
      - { send: {}, flow: ask }
      - restart: true
      - { send: {}, flow: ask }
      - expect: { calls: { price: 2 } }
      - { send: {}, flow: change }
      - expect: { reply: { removed: 1 }, calls: { price: 2 } }
      - restart: true
      - { send: {}, flow: ask }
      - expect: { calls: { price: 3 } }
      - { advance: 59m }
      - restart: true
      - { send: {}, flow: ask }
      - expect: { calls: { price: 3 } }
      - { advance: 1m }
      - { send: {}, flow: ask }
    expect: { calls: { price: 4 } }
",
    );
}

#[test]
fn what_stands_in_is_neither_kept_nor_shared_unsaid() {
    passes(
        "
pipeline: degraded
executors: { make: { builtin: llm.chat } }
flows:
  child:
    trigger: manual
    steps:
      - id: made
        run: make
        with: { question: x }
        fallback: { value: { text: stands in, provider: none, model: null, citations: [] } }
      - reply: { text: '${steps.made.text}' }
  windowed:
    trigger: manual
    steps:
      - id: it
        call: child
        dedup: { key: a, while: 1h }
      - reply: { text: '${steps.it.text}', degraded: '${run.degraded}' }
  stale:
    trigger: manual
    steps:
      - id: it
        call: child
        cache: { key: a, ttl: 10s, stale: 1h }
      - reply: { text: '${steps.it.text}', degraded: '${run.degraded}' }
tests:
  - name: a window keeps no result that stands in, and those who joined hear of it
    mocks: { make: [{ delay: 1s, fail: { kind: permanent } }, { output: { text: real, provider: mock, citations: [] } }] }
    steps:
      - send: {}
        flow: windowed
      - send: {}
        flow: windowed
      - settle: true
      - send: {}
        flow: windowed
      - send: {}
        flow: windowed
    expect:
      runs:
        - { flow: windowed, degraded: true, reply: { text: stands in, degraded: true } }
        - { flow: child, degraded: true }
        - { flow: windowed, degraded: true, reply: { text: stands in, degraded: true } }
        - { flow: windowed, degraded: false, reply: { text: real, degraded: false } }
        - { flow: child, degraded: false }
        - { flow: windowed, degraded: false, reply: { text: real, degraded: false } }
  - name: a refresh that only stands in leaves the old result where it is
    mocks: { make: [{ output: { text: real, provider: mock, citations: [] } }, { fail: { kind: permanent } }] }
    steps:
      - send: {}
        flow: stale
      - advance: 11s
      - send: {}
        flow: stale
      - settle: true
      - send: {}
        flow: stale
    expect: { outcome: succeeded, degraded: false, reply: { text: real, degraded: false } }
",
    );
}
