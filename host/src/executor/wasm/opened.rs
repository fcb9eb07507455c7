//! An opened component: takes jobs, each in a fresh instance or, with `reuse: true`, in one that went well before.

use std::sync::Arc;

use super::abi::{failure_of_guest, types};
use super::code::Code;
use super::guest::{Guest, Work};
use super::kept::{Kept, Live};
use super::{Shared, reveal};
use crate::executor::host_api::HostApi;
use crate::executor::limit::Limit;
use crate::model::executor::{Description, ExecutorReference};
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::value::Value;

/// A component with the host as it may use it.
pub(super) struct Opened {
    shared: Arc<Shared>,
    code: Arc<Code>,
    description: Description,
    host: Arc<dyn HostApi>,
    config: Arc<str>,
    limits: Limits,
    /// Present with `reuse: true`.
    kept: Option<Kept>,
}

impl Opened {
    pub(super) fn new(
        shared: Arc<Shared>,
        code: Arc<Code>,
        description: Description,
        reference: &ExecutorReference,
        host: Arc<dyn HostApi>,
    ) -> Self {
        let config = reveal::text(host.config(), description.config.as_ref()).into();
        let kept = reference.reuse.then(Kept::default);
        Self { shared, code, description, host, config, limits: reference.limits.clone(), kept }
    }

    async fn work(&self, job: &Job, attempt: Attempt) -> Result<Value, Failure> {
        // The place is free again only after the instance is gone.
        let _slot = self.shared.slots.take().await?;
        let _running = self.shared.engines.run();
        let clock = &self.shared.clock;
        let mut too_late = clock.sleep_until(clock.now() + self.limits.wall);
        tokio::select! {
            biased;
            result = self.call(job, attempt) => result,
            () = &mut too_late => Err(Limit::Wall.failure(&self.limits, &self.who(job))),
        }
    }

    async fn call(&self, job: &Job, attempt: Attempt) -> Result<Value, Failure> {
        let mut live = match self.kept.as_ref().and_then(Kept::take) {
            Some(live) => live,
            None => self.instantiate(job).await?,
        };
        live.store.data_mut().begin(Work {
            host: self.host.clone(),
            config: self.config.clone(),
            clock: self.shared.clock.clone(),
            attempt,
            events_left: self.limits.events,
        });
        let given = self.given(job);
        let answer = live.component.call_process(&mut live.store, &given).await;
        let answer = answer.map_err(|error| live.store.data().explain(&error, &self.limits, &self.who(job)))?;
        let result = match answer {
            Err(failure) => Err(failure_of_guest(failure)),
            Ok(text) if text.len() as u64 > self.limits.output => return Err(Limit::Output.failure(&self.limits, &self.who(job))),
            Ok(text) => Ok(Value::from_text(text).map_err(|error| {
                let message = format!("{} broke the contract: its output is no JSON: {error}", self.who(job));
                Failure::new(FailureKind::Bug, message).with_code("contract")
            })?),
        };
        if let Some(kept) = &self.kept {
            kept.put(live);
        }
        result
    }

    async fn instantiate(&self, job: &Job) -> Result<Live, Failure> {
        let mut store = Guest::store(&self.code.engine, &self.limits);
        match self.code.prepared.instantiate_async(&mut store).await {
            Ok(component) => Ok(Live { store, component }),
            Err(error) => Err(store.data().explain(&error, &self.limits, &self.who(job))),
        }
    }

    fn given(&self, job: &Job) -> types::Job {
        types::Job {
            id: job.id.to_string(),
            key: job.key(),
            run: job.run.to_string(),
            correlation_id: job.correlation_id.to_string(),
            pipeline: job.pipeline.to_string(),
            flow: job.flow.to_string(),
            step: job.step.to_string(),
            attempt: job.attempt,
            input: reveal::text(&job.input, self.description.input.as_ref()).into_owned(),
        }
    }

    /// Whom a failure names: the executor, its plugin and the job.
    fn who(&self, job: &Job) -> String {
        format!("executor `{}` (plugin `{}`) in job {}", job.executor, self.description.name, job.id)
    }
}

impl Executor for Opened {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        Box::pin(async move { self.work(&job, attempt).await })
    }
}
