//! Between the generated bindings and the SDK's own types. [`export!`](crate::export) calls it; nobody else should.

/// The bindings that are generated from `wit/`.
#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::mem_forget,
    reason = "generated: the contract's words are in wit/executor.wit"
)]
pub mod abi {
    wit_bindgen::generate!({
        path: "wit",
        world: "executor",
        pub_export_macro: true,
        export_macro_name: "export_executor",
        default_bindings_module: "pipehost_plugin::bridge::abi",
    });
}

use abi::pipehost::executor::types;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Executor, Failure, FailureKind, Job, Json};

/// What `describe` of the component does.
pub fn describe<E: Executor>() -> abi::Description {
    let described = E::describe();
    let schema = |schema: Option<Json>| schema.map(|schema| schema.to_string());
    abi::Description {
        name: described.name,
        summary: described.summary,
        input: schema(described.input),
        output: schema(described.output),
        config: schema(described.config),
        wants: described.wants.into_iter().map(|want| types::Want { grant: want.grant, reason: want.reason }).collect(),
    }
}

/// What `process` of the component does.
///
/// # Errors
/// The executor's failure.
pub fn process<E: Executor>(job: abi::Job) -> Result<String, abi::Failure> {
    let job = Job {
        id: job.id,
        key: job.key,
        run: job.run,
        correlation_id: job.correlation_id,
        pipeline: job.pipeline,
        flow: job.flow,
        step: job.step,
        attempt: job.attempt,
        input_text: job.input,
    };
    E::process(job).map(|output| output.to_string()).map_err(into_abi)
}

/// JSON text of what the host shall be told.
pub(crate) fn to_text(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::bug(format!("this cannot be written as JSON: {error}")))
}

/// What the host said, as the type that the caller wants.
pub(crate) fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::bug(format!("the host's answer is not what was expected: {error}")))
}

fn into_abi(failure: Failure) -> types::Failure {
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

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        Self {
            kind: match failure.kind {
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
            },
            code: failure.code,
            message: failure.message,
            status: failure.status,
            retry_after: failure.retry_after.map(core::time::Duration::from_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_survive_the_way_out_and_back() {
        for kind in FailureKind::ALL {
            let failure =
                Failure::new(kind, "why").with_code("code").with_status(503).with_retry_after(core::time::Duration::from_millis(1_500));
            assert_eq!(Failure::from(into_abi(failure.clone())), failure);
        }
    }
}
