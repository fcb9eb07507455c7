//! Which entries of which caches an invalidation means.

use crate::model::failure::{Failure, FailureKind};
use crate::model::policy::PolicyIdentity;
use crate::model::port::Forget;
use crate::plan::pipeline::{Pipeline, Verb};
use crate::policy::cache::Selector;
use crate::policy::key;

/// The code of an invalidation of a cache that is not there.
const UNKNOWN: &str = "unknown_cache";

/// The caches of that name. A pipeline that takes a policy of its own and one of a library under one name means both.
pub(super) fn caches(pipeline: &Pipeline, policy: &str) -> Result<Vec<PolicyIdentity>, Failure> {
    let caches = pipeline.flows.iter().flat_map(|flow| &flow.steps).filter_map(|step| match &step.verb {
        Verb::Run(run) => run.policy.cache.as_ref().map(|cache| &cache.keyed.identity),
        _ => None,
    });
    let mut known: Vec<(String, &PolicyIdentity)> = caches.chain(&pipeline.caches).map(|identity| (name(identity), identity)).collect();
    known.sort();
    known.dedup();
    let meant: Vec<PolicyIdentity> = known.iter().filter(|(name, _)| name == policy).map(|(_, identity)| (*identity).clone()).collect();
    if !meant.is_empty() {
        return Ok(meant);
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let way_out = match names.as_slice() {
        [] => "no step of it has a cache".to_owned(),
        names => format!("its caches are {}", names.join(", ")),
    };
    let message = format!("{} has no cache `{policy}`: {way_out}", pipeline.name);
    Err(Failure::new(FailureKind::Invalid, message).with_code(UNKNOWN))
}

fn name(identity: &PolicyIdentity) -> String {
    match identity {
        PolicyIdentity::Named { policy, .. } => policy.clone(),
        PolicyIdentity::Step { flow, step, .. } => format!("{flow}.{step}"),
    }
}

pub(super) fn selector(forget: &Forget) -> Result<Selector, Failure> {
    Ok(match forget {
        Forget::Key(key) => Selector::Key(key::text(key)?),
        Forget::Prefix(prefix) => Selector::Prefix(key::prefix(prefix)?),
        Forget::Tag(tag) => Selector::Tag(tag.clone()),
    })
}
