//! What changes from one plan to the next: whole pipelines, by their revisions.

use crate::model::id::PipelineName;
use crate::plan::pipeline::Plan;

/// What changes from one plan to the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diff {
    /// New ones, and those of another revision, in the order of the new plan.
    pub changed: Vec<PipelineName>,
    /// Those that are no longer there, in the order of the old plan.
    pub removed: Vec<PipelineName>,
    /// Those that stay as they are, in the order of the new plan.
    pub unchanged: Vec<PipelineName>,
}

/// Compares two plans. A start is the difference from the empty plan.
pub fn diff(old: &Plan, new: &Plan) -> Diff {
    let same = |name: &PipelineName| match (old.pipelines.get(name), new.pipelines.get(name)) {
        (Some(old), Some(new)) => old.revision == new.revision,
        _ => false,
    };
    let (unchanged, changed) = new.pipelines.keys().cloned().partition(same);
    let removed = old.pipelines.keys().filter(|name| !new.pipelines.contains_key(*name)).cloned().collect();
    Diff { changed, removed, unchanged }
}
