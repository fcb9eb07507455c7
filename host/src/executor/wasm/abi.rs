//! The contract `pipehost:executor@0.1.0` as the host sees it: generated bindings, and failures to and fro. No grant is checked here.

use std::time::Duration;

use crate::executor::excerpt::cut;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::LogLevel;

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated: the contract's words are in plugin-api/wit/executor.wit")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../plugin-api/wit",
        world: "executor",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

pub(super) use bindings::pipehost::executor::{config, index, kv, log, run, secrets, sql, types};
pub(super) use bindings::{Executor as Component, ExecutorPre as Prepared};

/// The package that every version of the contract has.
pub(super) const PACKAGE: &str = "pipehost:executor";

/// The version that this host links.
pub(super) const VERSION: &str = "0.1.0";

/// The interfaces that a component may import. `types` has no functions and so gives nothing.
pub(super) const INTERFACES: [&str; 8] = ["config", "index", "kv", "log", "run", "secrets", "sql", "types"];

/// The longest message of a guest's failure, in bytes; what goes beyond is cut.
const LONGEST_MESSAGE: usize = 8 << 10;

/// The longest code of a guest's failure, in bytes.
const LONGEST_CODE: usize = 128;

/// A guest's failure as the host speaks of it.
pub(super) fn failure_of_guest(failure: types::Failure) -> Failure {
    let kind = match failure.kind {
        types::FailureKind::Transient => FailureKind::Transient,
        types::FailureKind::Timeout => FailureKind::Timeout,
        types::FailureKind::RateLimited => FailureKind::RateLimited,
        types::FailureKind::Failed => FailureKind::Failed,
        types::FailureKind::Rejected => FailureKind::Rejected,
        types::FailureKind::Invalid => FailureKind::Invalid,
        types::FailureKind::NotFound => FailureKind::NotFound,
        types::FailureKind::Conflict => FailureKind::Conflict,
        types::FailureKind::Denied => FailureKind::Denied,
        types::FailureKind::Cancelled => FailureKind::Cancelled,
        types::FailureKind::Permanent => FailureKind::Permanent,
        types::FailureKind::Bug => FailureKind::Bug,
    };
    let mut made = Failure::new(kind, cut(failure.message, LONGEST_MESSAGE));
    made.code = failure.code.map(|code| cut(code, LONGEST_CODE));
    made.status = failure.status;
    made.retry_after = failure.retry_after.map(Duration::from_millis);
    made
}

/// A host's failure as a guest is told of it.
pub(super) fn failure_for_guest(failure: Failure) -> types::Failure {
    let failure = failure.into_particulars();
    types::Failure {
        kind: match failure.kind {
            FailureKind::Transient => types::FailureKind::Transient,
            FailureKind::Timeout => types::FailureKind::Timeout,
            FailureKind::RateLimited => types::FailureKind::RateLimited,
            FailureKind::Failed => types::FailureKind::Failed,
            FailureKind::Rejected => types::FailureKind::Rejected,
            FailureKind::Invalid => types::FailureKind::Invalid,
            FailureKind::NotFound => types::FailureKind::NotFound,
            FailureKind::Conflict => types::FailureKind::Conflict,
            FailureKind::Denied => types::FailureKind::Denied,
            FailureKind::Cancelled => types::FailureKind::Cancelled,
            FailureKind::Permanent => types::FailureKind::Permanent,
            FailureKind::Bug => types::FailureKind::Bug,
        },
        code: failure.code,
        message: failure.message,
        status: failure.status,
        retry_after: failure.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// How loud a guest's line is.
pub(super) fn level_of_guest(level: log::Level) -> LogLevel {
    match level {
        log::Level::Debug => LogLevel::Debug,
        log::Level::Info => LogLevel::Info,
        log::Level::Warn => LogLevel::Warn,
        log::Level::Error => LogLevel::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_survive_the_way_to_a_guest_and_back() {
        for kind in FailureKind::ALL {
            let failure = Failure::new(kind, "why").with_code("code").with_status(503).with_retry_after(Duration::from_millis(1_500));
            assert_eq!(failure_of_guest(failure_for_guest(failure.clone())), failure);
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let failure = failure_of_guest(failure_for_guest(Failure::new(FailureKind::Failed, "ä".repeat(LONGEST_MESSAGE))));
        assert_eq!(failure.message.len(), LONGEST_MESSAGE + '…'.len_utf8());
    }
}
