//! Pipelines that are put together by chance, out of a few shapes of steps.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::fixture::description;
use crate::model::bundle::{Bundle, FORMAT};
use crate::model::executor::{Description, ExecutorReference};
use crate::model::id::Digest;
use crate::model::port::{Catalog, CatalogProblem};
use crate::plan::pipeline::Pipeline;
use crate::plan::{Environment, load_bundle};

/// Chance that can be repeated: SplitMix64. Refused: the generator of production's ids, of which each attempt would make a new one, and which takes
/// longer to begin than most attempts do.
pub struct Draw(AtomicU64);

impl Draw {
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number below this one, which is not 0.
    pub fn below(&self, most: u64) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % most
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// So many of a hundred steps are done by an executor that only computes.
const COMPUTES: u64 = 40;

/// Knows two executors, of which it knows nothing.
struct TwoWorkers;

impl Catalog for TwoWorkers {
    fn describe(&self, _: &ExecutorReference) -> Result<Description, CatalogProblem> {
        Ok(description())
    }

    fn builtins(&self) -> Vec<(&'static str, bool)> {
        vec![("sim.work", false), ("sim.sum", false)]
    }
}

/// What every pipeline has beside its `main`: a flow that is called, one that answers questions, one that counts events, one that answers repeats,
/// and one that nobody starts, which emits what others hear.
const OTHERS: &str = "
  child:
    trigger: manual
    steps:
      - { id: inner, run: work, retry: { max_retries: 9 } }
      - set: { count: '${state.count + 1}' }
      - reply: { done: true }
  answers:
    trigger: { event: Asked, mode: direct }
    steps:
      - { id: think, run: work, retry: { max_retries: 9 } }
      - emit: { Answer: { request: '${event.data.request}' } }
  note:
    trigger: { event: Noted, mode: direct }
    steps:
      - set: { noted: '${state.noted + 1}' }
  told:
    trigger: manual
    steps:
      - emit: { Asked: { request: nobody } }
      - emit: { Noted: { by: nobody } }
  once:
    trigger: manual
    idempotency: { key: order, retention: 24h }
    steps:
      - { id: inner, run: work, retry: { max_retries: 9 } }
      - set: { count: '${state.count + 1}' }
      - reply: { done: true }
";

/// How many shapes [`step`] knows.
const SHAPES: u64 = 15;

fn step(shape: u64, number: usize) -> String {
    let n = number;
    match shape {
        0 => format!("      - {{ id: s{n}, run: work, retry: {{ max_retries: 9 }} }}\n"),
        1 => {
            format!("      - {{ id: s{n}, run: work, retry: {{ max_retries: 9 }}, undo: {{ run: work, retry: {{ max_retries: 9 }} }} }}\n")
        }
        2 => "      - set: { count: '${state.count + 1}' }\n".to_owned(),
        3 => format!(
            "      - emit: {{ Asked: {{ request: '${{run.id}}.{n}' }} }}
      - id: w{n}
        wait:
          event: Answer
          match: {{ request: '${{run.id}}.{n}' }}
          timeout: 1h
          on_timeout: [{{ id: t{n}, run: work, retry: {{ max_retries: 9 }} }}]
"
        ),
        4 => format!(
            "      - id: p{n}
        parallel:
          a: [{{ id: pa{n}, run: work, retry: {{ max_retries: 9 }} }}, {{ set: {{ count: '${{state.count + 1}}' }} }}]
          b: [{{ id: pb{n}, run: work, retry: {{ max_retries: 9 }} }}]
"
        ),
        5 => format!(
            "      - id: p{n}
        parallel:
          a: [{{ id: pa{n}, run: work, retry: {{ max_retries: 9 }} }}]
          b: [{{ id: pb{n}, run: work, retry: {{ max_retries: 9 }} }}]
        join: first
"
        ),
        6 => format!("      - {{ id: d{n}, dispatch: work, retry: {{ max_retries: 9 }} }}\n"),
        7 => format!("      - {{ id: c{n}, call: child }}\n"),
        8 => format!("      - {{ id: k{n}, run: work, retry: {{ max_retries: 9 }}, cache: {{ key: shared, ttl: 10m }} }}\n"),
        9 => format!("      - {{ id: u{n}, run: work, policy: order, on_error: ignore }}\n"),
        10 => format!(
            "      - {{ id: o{n}, run: work, retry: {{ max_retries: 9 }}, optimistic: {{ promised: '${{state.promised + 1}}' }}, on_error: ignore }}\n"
        ),
        11 => "      - emit: { Noted: { by: '${run.id}' } }
        via: outbox
        order_key: noted
"
        .to_owned(),
        12 => format!(
            "      - id: e{n}
        each: {{ in: '[1, 2, 3]', as: item, steps: [{{ id: ei{n}, run: work, retry: {{ max_retries: 9 }} }}] }}
"
        ),
        13 => ["x", "y", "z"].map(|id| format!("      - {{ id: {id}{n}, run: work, retry: {{ max_retries: 9 }} }}\n")).concat(),
        _ => "      - emit: { Noted: { by: '${run.id}' } }\n      - sleep: 2m\n".to_owned(),
    }
}

/// The pipeline of a seed.
pub fn pipeline(seed: u64) -> Arc<Pipeline> {
    let draw = Draw::new(seed);
    let steps: String = (0..=draw.below(4) as usize).map(|number| step(draw.below(SHAPES), number)).collect();
    let text = format!(
        "pipeline: p
state: {{ initial: {{ count: 0, promised: 0, noted: 0 }} }}
events: {{ Asked: {{ request: string }}, Answer: {{ request: string }}, Noted: {{ by: string }} }}
executors: {{ work: {{ builtin: sim.work }}, sums: {{ builtin: sim.sum }} }}
policies: {{ order: {{ retry: {{ max_retries: 9 }}, dedup: {{ key: order, while: 24h }} }} }}
flows:
  main:
    trigger: manual
    input: {{ fails: bool }}
    steps:
{steps}      - {{ when: input.fails, fail: {{ kind: permanent, message: as asked }} }}
      - reply: {{ done: true }}
{OTHERS}"
    );
    let mut steps = text.split("run: work");
    let first = steps.next().unwrap_or_default().to_owned();
    let text = steps.fold(first, |text, rest| text + if draw.chance(COMPUTES) { "run: sums" } else { "run: work" } + rest);
    let file = PathBuf::from("/simulated.yaml");
    let files = vec![(file.clone(), Arc::from(text.as_bytes()))];
    let bundle = Bundle { format: FORMAT, revision: Digest::of(text.as_bytes()), pipeline: "p".into(), file, files };
    let loaded = load_bundle(&Arc::new(bundle), &TwoWorkers, &Environment::default());
    let plan = loaded.plan.unwrap_or_else(|| panic!("{:#?}\n{text}", loaded.diagnostics));
    plan.pipelines.into_values().next().expect("there is one")
}
