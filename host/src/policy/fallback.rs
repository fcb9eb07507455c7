//! `fallback`: for which failures something stands in.

use crate::model::failure::{Failure, FailureKind};
use crate::policy::dedup::DUPLICATE;

/// Whether a fallback without `when` stands in for this failure: for all but what nobody wants any more, what the caller or the
/// executor did wrong, and a duplicate, whose work somebody else is doing.
pub fn applies_by_default(failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::Cancelled | FailureKind::Invalid | FailureKind::Bug => false,
        FailureKind::Rejected => failure.code.as_deref() != Some(DUPLICATE),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_in_for_all_kinds_but_three() {
        let refused: Vec<_> = FailureKind::ALL.into_iter().filter(|kind| !applies_by_default(&Failure::new(*kind, "x"))).collect();
        assert_eq!(refused, [FailureKind::Invalid, FailureKind::Cancelled, FailureKind::Bug]);
    }

    #[test]
    fn does_not_stand_in_for_a_duplicate_but_for_any_other_rejection() {
        let rejected = |code| Failure::new(FailureKind::Rejected, "x").with_code(code);
        assert!(!applies_by_default(&rejected("duplicate")));
        assert!(applies_by_default(&rejected("breaker_open")));
        assert!(applies_by_default(&Failure::new(FailureKind::Conflict, "x").with_code("duplicate")));
    }
}
