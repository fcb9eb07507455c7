//! The loop guard: a chain of causes that has passed a flow too often does not start it again.

use crate::model::failure::{Failure, FailureKind};

/// So often may one chain of causes pass one flow.
pub const MOST: u32 = 32;
/// The code of a run that was not started.
pub const CODE: &str = "loop";

/// How often the chain has passed each flow if it passes `target`, as `pipeline.flow`, once more: the `passed` of the run and of the events
/// it emits.
///
/// # Errors
/// `rejected` with the code `loop` if it has passed it 32 times already.
pub fn passed(before: &[(String, u32)], target: &str) -> Result<Vec<(String, u32)>, Failure> {
    let mut passed = before.to_vec();
    match passed.iter_mut().find(|(flow, _)| flow == target) {
        Some((_, times)) if *times >= MOST => {
            let chain: Vec<_> = before.iter().map(|(flow, times)| format!("`{flow}` {times} times")).collect();
            let message = format!(
                "`{target}` is not started again: its events come back to it, and the chain has passed {}; guard the cycle with `when`, or stop subscribing to what it causes itself",
                chain.join(", ")
            );
            return Err(Failure::new(FailureKind::Rejected, message).with_code(CODE));
        }
        Some((_, times)) => *times += 1,
        None => passed.push((target.to_owned(), 1)),
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_passed_thirty_two_times_and_no_more() {
        let mut chain = Vec::new();
        for time in 1..=32 {
            chain = passed(&chain, "a.main").expect("below the limit");
            assert_eq!(chain, [("a.main".to_owned(), time)]);
        }
        let failure = passed(&chain, "a.main").expect_err("the limit");
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Rejected, Some("loop")));
        assert!(failure.message.contains("`a.main` 32 times"));
    }

    #[test]
    fn flows_are_counted_each_for_itself() {
        let chain = vec![("a.main".to_owned(), 32), ("b.main".to_owned(), 31)];
        assert!(passed(&chain, "a.main").is_err());
        let chain = passed(&chain, "b.main").expect("one more");
        assert_eq!(chain, [("a.main".to_owned(), 32), ("b.main".to_owned(), 32)]);
        assert_eq!(passed(&chain, "c.main").expect("the first").len(), 3);
    }

    #[test]
    fn a_count_that_is_beyond_the_limit_does_no_harm() {
        assert!(passed(&[("a.main".to_owned(), u32::MAX)], "a.main").is_err());
    }
}
