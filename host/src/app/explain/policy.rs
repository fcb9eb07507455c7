//! The layers of one step's stack with each of their values.

use serde::Serialize;

use super::{From, Setting};
use crate::model::policy::{AttemptSettings, DedupWindow, Layer, OnDuplicate, show_duration};
use crate::plan::pipeline::{JobPolicy, LayerOrigin, Pipeline, RunStep, StandIn, Worker};

/// A layer, explained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LayerView {
    /// Its key.
    pub layer: &'static str,
    /// Its values.
    pub settings: Vec<Setting>,
}

/// The layers of a step, outermost first.
pub(super) fn layers(pipeline: &Pipeline, run: &RunStep) -> Vec<LayerView> {
    let view = |layer: Layer| {
        let values = values(pipeline, run, layer)?;
        let origin = run.origins.iter().find(|origin| origin.layer == layer);
        let settings = values.into_iter().enumerate().map(|(index, (name, value))| {
            let from = origin.map_or(From::Default, |origin| from(origin, name, index == 0));
            Setting { name: name.to_owned(), value, from }
        });
        Some(LayerView { layer: layer.as_str(), settings: settings.collect() })
    };
    Layer::ALL.into_iter().filter_map(view).collect()
}

/// A value that stands by itself, as in `retry: 5`, is the first of its layer.
fn from(origin: &LayerOrigin, name: &str, is_first: bool) -> From {
    let written = origin.written.iter().find(|written| written.key == name || (written.key.is_empty() && is_first));
    match (written, &origin.policy) {
        (None, _) => From::Default,
        (Some(written), Some(policy)) => From::Policy { policy: policy.clone(), place: written.place.clone() },
        (Some(written), None) => From::Step { place: written.place.clone() },
    }
}

type Values = Vec<(&'static str, String)>;

/// The values of a layer; `None` where the step has none of it.
fn values(pipeline: &Pipeline, run: &RunStep, layer: Layer) -> Option<Values> {
    match layer {
        Layer::Fallback | Layer::Dedup | Layer::Cache | Layer::Deadline | Layer::Retry => of_job(&run.policy, layer),
        Layer::Breaker | Layer::RateLimit | Layer::Bulkhead | Layer::Timeout => of_attempt(pipeline, &run.attempt, layer),
    }
}

/// The half of the stack that decides about the job.
fn of_job(policy: &JobPolicy, layer: Layer) -> Option<Values> {
    let none = || "none".to_owned();
    Some(match layer {
        Layer::Fallback => {
            let fallback = policy.fallback.as_ref()?;
            let stand_in = match &fallback.stand_in {
                StandIn::Value(value) => ("value", value.source()),
                StandIn::Steps(_) => ("steps", "the last output of its steps".to_owned()),
            };
            let when = "not cancelled, invalid, bug or a rejected duplicate";
            vec![stand_in, ("when", fallback.when.as_ref().map_or_else(|| when.to_owned(), |when| when.source().to_owned()))]
        }
        Layer::Dedup => {
            let dedup = policy.dedup.as_ref()?;
            let window = match dedup.settings.window {
                DedupWindow::Running => "running".to_owned(),
                DedupWindow::Keep(time) => show_duration(time),
            };
            let on_duplicate = match dedup.settings.on_duplicate {
                OnDuplicate::Join => "join",
                OnDuplicate::Skip => "skip",
                OnDuplicate::Reject => "reject",
            };
            vec![("key", dedup.key.source()), ("while", window), ("on_duplicate", on_duplicate.to_owned())]
        }
        Layer::Cache => {
            let cache = policy.cache.as_ref()?;
            let settings = &cache.keyed.settings;
            vec![
                ("key", cache.keyed.key.source()),
                ("ttl", show_duration(settings.ttl)),
                ("stale", show_duration(settings.stale)),
                ("tags", cache.tags.as_ref().map_or_else(none, |tags| tags.source())),
                ("max_entries", settings.max_entries.to_string()),
            ]
        }
        Layer::Deadline => vec![("deadline", show_duration(policy.deadline?))],
        Layer::Retry => {
            let retry = policy.retry.as_ref()?;
            let settings = &retry.settings;
            let stop_after = if settings.stop_after_first_progress { "first_progress".to_owned() } else { none() };
            vec![
                ("max_retries", settings.max_retries.to_string()),
                ("base_delay", show_duration(settings.base_delay)),
                ("max_delay", show_duration(settings.max_delay)),
                ("multiplier", settings.multiplier.to_string()),
                ("jitter", settings.jitter.to_string()),
                ("should_retry", retry.should_retry.as_ref().map_or_else(|| "error.retryable".to_owned(), |when| when.source().to_owned())),
                ("stop_after", stop_after),
            ]
        }
        Layer::Breaker | Layer::RateLimit | Layer::Bulkhead | Layer::Timeout => return None,
    })
}

/// The half of the stack that is round each attempt.
fn of_attempt(pipeline: &Pipeline, attempt: &AttemptSettings, layer: Layer) -> Option<Values> {
    Some(match layer {
        Layer::Breaker => {
            let (_, settings) = attempt.breaker.as_ref()?;
            let mut values = vec![
                ("failures", settings.failures.to_string()),
                ("window", show_duration(settings.window)),
                ("cooldown", show_duration(settings.cooldown)),
                ("half_open", settings.half_open.to_string()),
            ];
            if let Some(probe) = &attempt.probe {
                let asked = pipeline.worker_name(&Worker::Executor(probe.executor));
                values.push(("probe", format!("{asked}, every {}", show_duration(probe.every))));
            }
            values
        }
        Layer::RateLimit => {
            let (_, settings) = attempt.rate_limit.as_ref()?;
            vec![
                ("limit", settings.limit.to_string()),
                ("per", show_duration(settings.per)),
                ("burst", settings.burst.to_string()),
                ("max_wait", show_duration(settings.max_wait)),
            ]
        }
        Layer::Bulkhead => {
            let (_, settings) = attempt.bulkhead.as_ref()?;
            vec![
                ("max_concurrent", settings.max_concurrent.to_string()),
                ("max_queue", settings.max_queue.to_string()),
                ("max_wait", show_duration(settings.max_wait)),
            ]
        }
        Layer::Timeout => vec![("timeout", show_duration(attempt.timeout?))],
        Layer::Fallback | Layer::Dedup | Layer::Cache | Layer::Deadline | Layer::Retry => return None,
    })
}
