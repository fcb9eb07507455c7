//! What the tests of every room begin with: a job and its attempt, an event, ears that hear nothing, and ears that keep what they heard.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::cancel::CancelSignal;
use super::event::{Caller, Causation, Event, Scope};
use super::failure::Failure;
use super::happening::{Happening, LogLevel, What};
use super::id::{CorrelationId, EventId, EventType, JobId, RunId};
use super::job::Job;
use super::port::{Attempt, JobChannel, Sink};
use super::time::Timestamp;
use super::value::Value;

/// The first attempt of the executor `x`, of the step `s` in the flow `main` of the pipeline `p`; its ids are nil.
pub(crate) fn job(input: Value) -> Job {
    let id = Uuid::nil();
    Job {
        id: JobId::new(id),
        run: RunId::new(id),
        correlation_id: CorrelationId::new(id),
        pipeline: "p".into(),
        flow: "main".into(),
        step: "s".into(),
        executor: "x".into(),
        attempt: 1,
        input,
    }
}

/// An attempt that has time without end, and that nobody listens to.
pub(crate) fn attempt() -> Attempt {
    Attempt { deadline: None, cancel: CancelSignal::new(), channel: Arc::new(Deaf) }
}

/// An event of the pipeline `p` on its own bus, with nothing in it; all ids but its own are nil.
pub(crate) fn event(number: u128, event_type: &str) -> Event {
    Event {
        id: EventId::new(Uuid::from_u128(number)),
        event_type: event_type.into(),
        source: "p".into(),
        time: Timestamp::EPOCH,
        correlation_id: CorrelationId::new(Uuid::nil()),
        causation: Causation::Run(RunId::new(Uuid::nil())),
        scope: Scope::Private("p".into()),
        caller: Caller::default(),
        passed: Vec::new(),
        data: Value::null(),
    }
}

/// Hears neither what happens nor what a job tells.
pub(crate) struct Deaf;

impl Sink for Deaf {
    fn accept(&self, _: Happening) {}

    fn wants_routine(&self) -> bool {
        false
    }

    fn wants_detail(&self) -> bool {
        false
    }
}

impl JobChannel for Deaf {
    fn progress(&self, _: Value) {}

    fn emit(&self, _: EventType, _: Value) -> Result<(), Failure> {
        Ok(())
    }

    fn log(&self, _: LogLevel, _: String) {}
}

/// Keeps what happens, and what a job tells.
#[derive(Default)]
pub(crate) struct Told {
    happenings: Mutex<Vec<What>>,
    progress: Mutex<Vec<Value>>,
    logs: Mutex<Vec<(LogLevel, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    /// What happened so far.
    pub(crate) fn happenings(&self) -> Vec<What> {
        lock(&self.happenings).clone()
    }

    /// What happened so far, and forgets it.
    pub(crate) fn take(&self) -> Vec<What> {
        std::mem::take(&mut *lock(&self.happenings))
    }

    /// The progress's tokens, one after the other.
    pub(crate) fn tokens(&self) -> Vec<String> {
        lock(&self.progress).iter().filter_map(|each| each.tree().field("token")?.as_text().map(str::to_owned)).collect()
    }

    /// The lines that jobs wrote into the log.
    pub(crate) fn logs(&self) -> Vec<(LogLevel, String)> {
        lock(&self.logs).clone()
    }
}

impl Sink for Told {
    fn accept(&self, happening: Happening) {
        lock(&self.happenings).push(happening.what);
    }

    fn wants_routine(&self) -> bool {
        true
    }

    fn wants_detail(&self) -> bool {
        true
    }
}

impl JobChannel for Told {
    fn progress(&self, progress: Value) {
        lock(&self.progress).push(progress);
    }

    fn emit(&self, _: EventType, _: Value) -> Result<(), Failure> {
        Ok(())
    }

    fn log(&self, level: LogLevel, message: String) {
        lock(&self.logs).push((level, message));
    }
}
