//! The limits of one job: their names, and the failures that say which one it was. The same for every home, where they mean the same.

use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::policy::show_duration;

/// The most elements of all tables of a guest together. A guest has one for each function whose address it takes.
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// Variables of a script that may live at once.
pub(super) const VARIABLES: usize = 256;

/// The deepest that a script's calls may nest, whatever the YAML says: the stack of a thread bears no more.
pub(super) const DEEPEST_CALLS: u32 = 64;

/// Modules that a script may import.
pub(super) const MODULES: usize = 32;

/// The most parts of one value of a script, whatever the YAML says.
const MOST_PARTS: usize = 65_536;
/// The longest text of a script, in bytes, whatever the YAML says.
const LONGEST_TEXT: usize = 64 << 20;

/// How many items and fields one value of a script may have, those within it counted: one for each 4 KiB of memory.
pub(super) fn parts(limits: &Limits) -> usize {
    // Rhai counts the parts of one value, not bytes, and it counts them after each change: small bounds are what keeps that quick.
    usize::try_from(limits.memory / 4096).unwrap_or(usize::MAX).clamp(256, MOST_PARTS)
}

/// How many bytes a text of a script may have: an eighth of its memory.
pub(super) fn text(limits: &Limits) -> usize {
    usize::try_from(limits.memory / 8).unwrap_or(usize::MAX).clamp(4096, LONGEST_TEXT)
}

/// Which limit a job came up against. What a job logs beyond its limit is no failure: the gate drops it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    Memory,
    /// What one value of a script has of it.
    Parts,
    /// What one text of a script has of it.
    Text,
    Stack,
    Table,
    Output,
    Events,
    Wall,
    Operations,
    CallDepth,
    Variables,
    Modules,
}

impl Limit {
    /// The code of the failure.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Memory | Self::Parts | Self::Text => "limit_memory",
            Self::Stack => "limit_stack",
            Self::Table => "limit_table",
            Self::Output => "limit_output",
            Self::Events => "limit_events",
            Self::Wall => "limit_wall",
            Self::Operations => "limit_operations",
            Self::CallDepth => "limit_call_depth",
            Self::Variables => "limit_variables",
            Self::Modules => "limit_modules",
        }
    }

    /// The failure; `who` names the executor, and the job or the file. Out of time is a timeout, the others are the same however often
    /// they are tried.
    pub(super) fn failure(self, limits: &Limits, who: &str) -> Failure {
        let kind = if self == Self::Wall { FailureKind::Timeout } else { FailureKind::Permanent };
        let message = match self {
            Self::Memory => format!("{who} needs more than {} of memory: raise `limits.memory`", size(limits.memory)),
            Self::Parts => {
                let (parts, way) = (parts(limits), raised(parts(limits) < MOST_PARTS));
                format!("{who} has a value of more than {parts} items or fields, of which it may have one for each 4 KiB of memory: {way}")
            }
            Self::Text => {
                let (longest, way) = (text(limits), raised(text(limits) < LONGEST_TEXT));
                format!("{who} has a text of more than {}, an eighth of its memory: {way}", size(longest as u64))
            }
            Self::Stack => format!("{who} needs more than {} of stack: it recurses too deep, or raise `limits.stack`", size(limits.stack)),
            Self::Table => format!("{who} needs more than {TABLE_ELEMENTS} elements of tables, which no setting raises"),
            Self::Output => format!("{who} returned or told more than {} at once: raise `limits.output`", size(limits.output)),
            Self::Events => format!("{who} emitted more than {} events: raise `limits.events`", limits.events),
            Self::Wall => format!("{who} took longer than {}: raise `limits.wall`", show_duration(limits.wall)),
            Self::Operations => format!("{who} took more than {} operations: raise `limits.operations`", limits.operations),
            Self::CallDepth if limits.call_depth < DEEPEST_CALLS => {
                format!("{who} nests more than {} calls: it recurses too deep, or raise `limits.call_depth`", limits.call_depth)
            }
            Self::CallDepth => format!("{who} nests more than {DEEPEST_CALLS} calls, which no setting raises: it recurses too deep"),
            Self::Variables => format!("{who} has more than {VARIABLES} variables at once, which no setting raises"),
            Self::Modules => format!("{who} imports more than {MODULES} modules, which no setting raises"),
        };
        Failure::new(kind, message).with_code(self.code())
    }
}

/// The way out of a limit that follows from the memory.
const fn raised(helps: bool) -> &'static str {
    if helps { "work on less at once, or raise `limits.memory`" } else { "work on less at once; no setting raises it further" }
}

/// A size as users write it: the largest unit that leaves a whole number.
pub(super) fn size(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits)
        .map_or_else(|| format!("{bytes} B"), |(bits, unit)| format!("{} {unit}", bytes >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_users_write_them() {
        assert_eq!([size(64 << 20), size(1_000), size(3 << 10), size(0)], ["64 MiB", "1000 B", "3 KiB", "0 B"]);
    }

    #[test]
    fn what_follows_from_the_memory_says_whether_more_of_it_helps() {
        let said = |limit: Limit, memory: u64| {
            let failure = limit.failure(&Limits { memory, ..Limits::default() }, "it");
            assert_eq!(failure.code.as_deref(), Some("limit_memory"));
            failure.message.clone()
        };
        let parts = "items or fields, of which it may have one for each 4 KiB of memory: work on less at once";
        assert_eq!(said(Limit::Parts, 64 << 20), format!("it has a value of more than 16384 {parts}, or raise `limits.memory`"));
        assert_eq!(said(Limit::Parts, 1 << 30), format!("it has a value of more than 65536 {parts}; no setting raises it further"));
        let text = "an eighth of its memory: work on less at once";
        assert_eq!(said(Limit::Text, 64 << 20), format!("it has a text of more than 8 MiB, {text}, or raise `limits.memory`"));
        assert_eq!(said(Limit::Text, 1 << 30), format!("it has a text of more than 64 MiB, {text}; no setting raises it further"));
    }

    #[test]
    fn only_out_of_time_may_go_well_next_time() {
        let kind = |limit: Limit| limit.failure(&Limits::default(), "it").kind;
        assert_eq!(kind(Limit::Wall), FailureKind::Timeout);
        assert_eq!(kind(Limit::Memory), FailureKind::Permanent);
    }

    #[test]
    fn a_setting_that_would_not_help_is_not_recommended() {
        let message =
            |call_depth: u32| Limit::CallDepth.failure(&Limits { call_depth, ..Limits::default() }, "it").into_particulars().message;
        assert_eq!(message(10), "it nests more than 10 calls: it recurses too deep, or raise `limits.call_depth`");
        assert_eq!(message(1_000), "it nests more than 64 calls, which no setting raises: it recurses too deep");
    }
}
