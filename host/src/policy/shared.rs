//! Whose state a layer has: the attempt half's state by policy, kept over reloads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Activity;
use crate::model::policy::{AttemptSettings, PolicyIdentity};
use crate::model::port::{Clock, Sink};
use crate::policy::breaker::Breaker;
use crate::policy::bulkhead::Bulkhead;
use crate::policy::rate_limit::RateLimit;
use crate::policy::stack::{AttemptStack, Wrapper};
use crate::policy::timeout::Timeout;

/// The state of all policies of the attempt half. A cheap handle; all clones have the same state.
#[derive(Clone)]
pub struct Policies(Arc<Inside>);

struct Inside {
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    activity: Activity,
    registry: Mutex<Registry>,
}

/// One entry for each policy that a plan names, so a plan's size bounds it; [`Policies::retain`] takes out what none names any more.
#[derive(Default)]
struct Registry {
    breakers: HashMap<PolicyIdentity, Arc<Breaker>>,
    rate_limits: HashMap<PolicyIdentity, Arc<RateLimit>>,
    bulkheads: HashMap<PolicyIdentity, Arc<Bulkhead>>,
}

impl Policies {
    /// No state yet. Waits in a layer are counted as running; use [`counted_by`](Self::counted_by) where a virtual clock shall jump over them.
    pub fn new(clock: Arc<dyn Clock>, sink: Arc<dyn Sink>) -> Self {
        Self::counted_by(clock, sink, Activity::new())
    }

    /// The same; a wait for a turn or a place is counted out of `activity`, so calls must be made from what it counts in.
    pub fn counted_by(clock: Arc<dyn Clock>, sink: Arc<dyn Sink>, activity: Activity) -> Self {
        Self(Arc::new(Inside { clock, sink, activity, registry: Mutex::default() }))
    }

    /// The stack of these settings, on the state of those policies. The numbers count at once for all who share the state, so
    /// this is called when a plan is put in force, and not for a run that is still on an old one.
    pub fn stack(&self, settings: &AttemptSettings) -> AttemptStack {
        let Inside { clock, sink, activity, .. } = &*self.0;
        let mut registry = self.registry();
        let mut layers = Vec::new();
        if let Some((identity, settings)) = &settings.breaker {
            let new = || Breaker::new(name(identity), *settings, Arc::clone(clock), Arc::clone(sink));
            let breaker = find(&mut registry.breakers, identity, new);
            breaker.set(*settings);
            layers.push(Wrapper::Breaker(breaker));
        }
        if let Some((identity, settings)) = &settings.rate_limit {
            let new = || RateLimit::new(name(identity), *settings, Arc::clone(clock), activity.clone());
            let limit = find(&mut registry.rate_limits, identity, new);
            limit.set(*settings);
            layers.push(Wrapper::RateLimit(limit));
        }
        if let Some((identity, settings)) = &settings.bulkhead {
            let new = || Bulkhead::new(name(identity), *settings, Arc::clone(clock), activity.clone());
            let bulkhead = find(&mut registry.bulkheads, identity, new);
            bulkhead.set(*settings);
            layers.push(Wrapper::Bulkhead(bulkhead));
        }
        if let Some(limit) = settings.timeout {
            layers.push(Wrapper::Timeout(Timeout::new(limit, Arc::clone(clock))));
        }
        AttemptStack::of(layers)
    }

    /// The breaker of a policy, if a stack has been made with it.
    pub fn breaker(&self, identity: &PolicyIdentity) -> Option<Arc<Breaker>> {
        self.registry().breakers.get(identity).cloned()
    }

    /// Forgets the state of policies that are not among these. Stacks that have it keep it until they are dropped.
    pub fn retain(&self, named: &[PolicyIdentity]) {
        let mut registry = self.registry();
        registry.breakers.retain(|identity, _| named.contains(identity));
        registry.rate_limits.retain(|identity, _| named.contains(identity));
        registry.bulkheads.retain(|identity, _| named.contains(identity));
    }

    /// How many states there are, over all layers.
    pub fn len(&self) -> usize {
        let registry = self.registry();
        registry.breakers.len() + registry.rate_limits.len() + registry.bulkheads.len()
    }

    /// Whether there is no state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find<T>(states: &mut HashMap<PolicyIdentity, Arc<T>>, identity: &PolicyIdentity, new: impl FnOnce() -> T) -> Arc<T> {
    Arc::clone(states.entry(identity.clone()).or_insert_with(|| Arc::new(new())))
}

/// What people see of an identity: `chatbot/api`, or `chatbot/main/answer` for what stands beside a step.
fn name(identity: &PolicyIdentity) -> String {
    match identity {
        PolicyIdentity::Named { owner, policy } => format!("{owner}/{policy}"),
        PolicyIdentity::Step { pipeline, flow, step } => format!("{pipeline}/{flow}/{step}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::FailureKind;
    use crate::model::happening::What;
    use crate::model::policy::BreakerSettings;
    use crate::policy::scripted::{Scene, Script};

    fn named(policy: &str) -> PolicyIdentity {
        PolicyIdentity::Named { owner: "p".to_owned(), policy: policy.to_owned() }
    }

    fn breaker(identity: PolicyIdentity, failures: u32) -> AttemptSettings {
        let settings = BreakerSettings { failures, ..BreakerSettings::default() };
        AttemptSettings { breaker: Some((identity, settings)), ..AttemptSettings::default() }
    }

    #[tokio::test]
    async fn all_who_name_a_policy_share_its_state_and_nobody_else() {
        let scene = Scene::new();
        let (policies, script) = (scene.policies(), Script::failing(FailureKind::Failed, 1).then_ok());
        let call = async |stack: AttemptStack| {
            stack.call(&script, scene.job(), scene.attempt()).await.map_err(|failure| failure.into_particulars().code)
        };
        let step = PolicyIdentity::Step { pipeline: "p".to_owned(), flow: "main".to_owned(), step: "api".to_owned() };
        assert!(call(policies.stack(&breaker(named("api"), 1))).await.is_err());
        assert_eq!(call(policies.stack(&breaker(named("api"), 1))).await, Err(Some("breaker_open".to_owned())));
        assert!(call(policies.stack(&breaker(named("other"), 1))).await.is_ok());
        assert!(call(policies.stack(&breaker(step, 1))).await.is_ok());
        let names: Vec<_> = scene
            .happenings()
            .into_iter()
            .map(|what| if let What::Breaker { policy, .. } = what { policy } else { String::new() })
            .collect();
        assert_eq!(names, ["p/api"]);
    }

    #[tokio::test]
    async fn changed_numbers_count_at_once_and_the_state_stays() {
        let scene = Scene::new();
        let (policies, script) = (scene.policies(), Script::failing(FailureKind::Failed, 99));
        let old = policies.stack(&breaker(named("api"), 5));
        for _ in 0..3 {
            assert!(old.call(&script, scene.job(), scene.attempt()).await.is_err());
        }
        let _new = policies.stack(&breaker(named("api"), 4));
        assert!(old.call(&script, scene.job(), scene.attempt()).await.is_err());
        let failure = old.call(&script, scene.job(), scene.attempt()).await.expect_err("open");
        assert_eq!(failure.code.as_deref(), Some("breaker_open"));
    }

    #[test]
    fn what_no_plan_names_is_forgotten() {
        let scene = Scene::new();
        let policies = scene.policies();
        for name in ["a", "b", "c"] {
            policies.stack(&breaker(named(name), 5));
        }
        policies.retain(&[named("b")]);
        assert_eq!(policies.len(), 1);
        assert!(!policies.is_empty());
    }
}
