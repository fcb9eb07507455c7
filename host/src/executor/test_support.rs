//! A clock that stands still and a sink that keeps: what tests of this room hand in.

use std::sync::{Arc, Mutex, PoisonError};

use crate::executor::http::{self, Http};
use crate::model::failure::Failure;
use crate::model::happening::{Happening, LogLevel, What};
use crate::model::id::EventType;
use crate::model::port::{Clock, JobChannel, Sink, Sleep};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// It is always the epoch, and no wait for a later time ends.
pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        if at <= Timestamp::EPOCH { Box::pin(std::future::ready(())) } else { Box::pin(std::future::pending()) }
    }
}

/// Requests that may go nowhere.
pub(crate) fn no_http() -> Http {
    Http::new(http::Settings { executor: "it".into(), granted: Vec::new(), configured: Vec::new(), clock: Arc::new(Still) })
}

/// Keeps what happened, and what a job told.
#[derive(Default)]
pub(crate) struct Told {
    happenings: Mutex<Vec<What>>,
    progress: Mutex<Vec<Value>>,
    logs: Mutex<Vec<(LogLevel, String)>>,
}

impl Told {
    pub(crate) fn take(&self) -> Vec<What> {
        std::mem::take(&mut *self.happenings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The progress's tokens, one after the other.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.iter().filter_map(|each| each.tree().field("token")?.as_text().map(str::to_owned)).collect()
    }

    pub(crate) fn logs(&self) -> Vec<(LogLevel, String)> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Told {
    fn accept(&self, happening: Happening) {
        self.happenings.lock().unwrap_or_else(PoisonError::into_inner).push(happening.what);
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
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).push(progress);
    }

    fn emit(&self, _: EventType, _: Value) -> Result<(), Failure> {
        Ok(())
    }

    fn log(&self, level: LogLevel, message: String) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push((level, message));
    }
}
