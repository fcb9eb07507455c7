//! The order of the stack, once, and the attempt half put together in that order.

use std::sync::Arc;

use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::policy::Layer;
use crate::model::port::{AtOnce, Attempt, Executor, Processing};
use crate::policy::breaker::Breaker;
use crate::policy::bulkhead::Bulkhead;
use crate::policy::rate_limit::RateLimit;
use crate::policy::timeout::Timeout;

/// The whole stack, outermost first: the job half up to retry, then the attempt half.
pub const ORDER: [Layer; 9] = [
    Layer::Fallback,
    Layer::Dedup,
    Layer::Cache,
    Layer::Deadline,
    Layer::Retry,
    Layer::Breaker,
    Layer::RateLimit,
    Layer::Bulkhead,
    Layer::Timeout,
];

/// The attempt half of one step's stack. Cheap to clone; the state of its layers is shared with all who name the same policies.
#[derive(Clone, Default)]
pub struct AttemptStack {
    layers: Arc<[Wrapper]>,
}

/// One layer of the attempt half.
#[derive(Clone)]
pub(in crate::policy) enum Wrapper {
    Breaker(Arc<Breaker>),
    RateLimit(Arc<RateLimit>),
    Bulkhead(Arc<Bulkhead>),
    Timeout(Timeout),
}

impl AttemptStack {
    /// Those layers that there are, put into [`ORDER`] whatever order they come in.
    pub(in crate::policy) fn of(mut layers: Vec<Wrapper>) -> Self {
        layers.sort_by_key(|wrapper| ORDER.iter().position(|layer| *layer == wrapper.layer()));
        Self { layers: layers.into() }
    }

    /// Its layers, outermost first.
    pub fn layers(&self) -> impl Iterator<Item = Layer> {
        self.layers.iter().map(Wrapper::layer)
    }

    /// Has the executor work on one attempt, through all layers. Without layers this is the executor's own call and nothing else.
    ///
    /// # Errors
    /// As what it gives says: what the executor failed with, or `rejected`, `timeout` or `cancelled` of a layer.
    pub fn call<'a>(&'a self, executor: &'a dyn Executor, job: Arc<Job>, attempt: Attempt) -> Processing<'a> {
        Inner { layers: &self.layers, executor }.call(job, attempt)
    }

    /// Has the executor work on one attempt within this very call, if it can and there are no layers, each of which may have to wait.
    ///
    /// # Errors
    /// The attempt, of which nothing has been done.
    pub fn call_at_once(&self, executor: &dyn Executor, job: &Arc<Job>, attempt: Attempt) -> AtOnce {
        if self.layers.is_empty() { executor.process_at_once(job, attempt) } else { Err(attempt) }
    }
}

impl Wrapper {
    const fn layer(&self) -> Layer {
        match self {
            Self::Breaker(_) => Layer::Breaker,
            Self::RateLimit(_) => Layer::RateLimit,
            Self::Bulkhead(_) => Layer::Bulkhead,
            Self::Timeout(_) => Layer::Timeout,
        }
    }
}

/// What a layer wraps: the layers inside it, and the executor at the end.
pub struct Inner<'a> {
    layers: &'a [Wrapper],
    executor: &'a dyn Executor,
}

impl<'a> Inner<'a> {
    /// The executor alone.
    pub const fn of(executor: &'a dyn Executor) -> Self {
        Self { layers: &[], executor }
    }

    /// Calls it.
    pub fn call(self, job: Arc<Job>, attempt: Attempt) -> Processing<'a> {
        let Some((layer, layers)) = self.layers.split_first() else { return self.executor.process(job, attempt) };
        let inner = Inner { layers, executor: self.executor };
        match layer {
            Wrapper::Breaker(breaker) => Box::pin(breaker.call(inner, job, attempt)),
            Wrapper::RateLimit(limit) => Box::pin(limit.call(inner, job, attempt)),
            Wrapper::Bulkhead(bulkhead) => Box::pin(bulkhead.call(inner, job, attempt)),
            Wrapper::Timeout(timeout) => Box::pin(timeout.call(inner, job, attempt)),
        }
    }
}

/// The failure of a call that nobody wants any more while it waits in a layer.
pub(in crate::policy) fn cancelled(when: &str) -> Failure {
    Failure::new(FailureKind::Cancelled, format!("the attempt was cancelled {when}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::policy::{AttemptSettings, BreakerSettings, BulkheadSettings, PolicyIdentity, RateLimitSettings};
    use crate::policy::scripted::{Scene, Script};

    const SECOND: Duration = Duration::from_secs(1);

    fn all() -> AttemptSettings {
        let identity = PolicyIdentity::Named { owner: "p".to_owned(), policy: "api".to_owned() };
        AttemptSettings {
            breaker: Some((identity.clone(), BreakerSettings { failures: 2, ..BreakerSettings::default() })),
            rate_limit: Some((identity.clone(), RateLimitSettings { limit: 100, per: SECOND, burst: 100, max_wait: Duration::ZERO })),
            bulkhead: Some((identity, BulkheadSettings { max_concurrent: 1, max_queue: 0, max_wait: Duration::ZERO })),
            timeout: Some(SECOND),
            probe: None,
        }
    }

    #[test]
    fn the_order_is_the_one_that_the_language_has() {
        let written = "fallback ▸ dedup ▸ cache ▸ deadline ▸ retry ▸ breaker ▸ rate_limit ▸ bulkhead ▸ timeout";
        let ordered: Vec<_> =
            ORDER.iter().map(|layer| serde_json::to_value(layer).expect("a word").as_str().unwrap_or("").to_owned()).collect();
        assert_eq!(ordered.join(" ▸ "), written);
    }

    #[test]
    fn the_attempt_half_stands_in_that_order() {
        let scene = Scene::new();
        let stack = scene.policies().stack(&all());
        assert_eq!(stack.layers().collect::<Vec<_>>(), ORDER[5..]);
        assert_eq!(scene.policies().stack(&AttemptSettings::default()).layers().count(), 0);
    }

    #[tokio::test]
    async fn a_timeout_counts_for_the_breaker_and_a_full_bulkhead_does_not() {
        let scene = Scene::new();
        let stack = scene.policies().stack(&all());
        let script = Script::taking(scene.rests(SECOND * 9));
        let call = || stack.call(&script, scene.job(), scene.attempt());
        let calls = async { (tokio::join!(call(), call(), call()), call().await, call().await) };
        let ((first, second, third), fourth, fifth) = scene.time.run(calls).await;
        let codes =
            [first, second, third, fourth, fifth].map(|result| result.expect_err("each fails").into_particulars().code.unwrap_or_default());
        assert_eq!(codes, ["timeout", "bulkhead_full", "bulkhead_full", "timeout", "breaker_open"]);
        assert_eq!(script.calls(), 2);
    }

    #[tokio::test]
    async fn without_layers_it_is_the_call_itself() {
        let scene = Scene::new();
        let script = Script::ok();
        assert!(AttemptStack::default().call(&script, scene.job(), scene.attempt()).await.is_ok());
        assert_eq!(script.deadlines(), [None]);
    }
}
