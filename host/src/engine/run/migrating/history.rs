//! The history that counts of a run that went over to another revision.

use crate::model::record::Fact;

/// The facts that a run's state is the fold of: what its last migration says, and what came after it. Beside them, how many facts the store has of the run.
pub fn unfolded(facts: Vec<Fact>) -> (Vec<Fact>, u64) {
    let count = facts.len() as u64;
    let Some(last) = facts.iter().rposition(|fact| matches!(fact, Fact::Migrated { .. })) else { return (facts, count) };
    let mut later = facts.into_iter().skip(last);
    let mut history = match later.next() {
        Some(Fact::Migrated { facts, .. }) => facts.to_vec(),
        _ => Vec::new(),
    };
    history.extend(later);
    (history, count)
}
