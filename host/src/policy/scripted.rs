//! What the tests of the layers stand on: an executor that does what it was told to, and a clock that stands still.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::{Activity, VirtualClock};
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::fixture::{self, Told};
use crate::model::happening::What;
use crate::model::id::Digest;
use crate::model::job::Job;
use crate::model::port::{Attempt, Clock, Executor, Processing, Sink};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::policy::Policies;
use crate::policy::stack::Inner;

/// Time, and what was told.
pub(in crate::policy) struct Scene {
    pub(in crate::policy) time: VirtualClock,
    pub(in crate::policy) activity: Activity,
    told: Arc<Told>,
}

impl Scene {
    pub(in crate::policy) fn new() -> Self {
        let activity = Activity::new();
        Self { time: VirtualClock::new(activity.clone()), activity, told: Arc::default() }
    }

    pub(in crate::policy) fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.time.clone())
    }

    pub(in crate::policy) fn time_now(&self) -> Timestamp {
        self.time.now()
    }

    pub(in crate::policy) fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.told) as Arc<dyn Sink>
    }

    pub(in crate::policy) fn policies(&self) -> Policies {
        Policies::counted_by(self.clock(), self.sink(), self.activity.clone())
    }

    pub(in crate::policy) fn happenings(&self) -> Vec<What> {
        self.told.happenings()
    }

    pub(in crate::policy) fn job(&self) -> Arc<Job> {
        Arc::new(fixture::job(Value::null()))
    }

    pub(in crate::policy) fn attempt(&self) -> Attempt {
        fixture::attempt()
    }

    /// What [`Script::taking`] wants: a wait on this scene's clock that is counted out.
    pub(in crate::policy) fn rests(&self, time: Duration) -> Rests {
        Rests { clock: self.time.clone(), activity: self.activity.clone(), time }
    }
}

#[derive(Clone)]
pub(in crate::policy) struct Rests {
    clock: VirtualClock,
    activity: Activity,
    time: Duration,
}

#[derive(Clone)]
enum Act {
    Ok,
    Fail(FailureKind),
    Never,
    Rest(Rests),
}

/// An executor that plays its acts in order; the last one is played again and again.
#[derive(Clone)]
pub(in crate::policy) struct Script {
    acts: Arc<Mutex<VecDeque<Act>>>,
    deadlines: Arc<Mutex<Vec<Option<Timestamp>>>>,
    description: Arc<Description>,
}

impl Script {
    fn of(acts: impl IntoIterator<Item = Act>) -> Self {
        let description = Description::new("scripted", Digest::of(b"scripted"));
        Self { acts: Arc::new(Mutex::new(acts.into_iter().collect())), deadlines: Arc::default(), description: Arc::new(description) }
    }

    pub(in crate::policy) fn ok() -> Self {
        Self::of([Act::Ok])
    }

    pub(in crate::policy) fn failing(kind: FailureKind, times: usize) -> Self {
        Self::of(std::iter::repeat_n(Act::Fail(kind), times))
    }

    pub(in crate::policy) fn taking(rests: Rests) -> Self {
        Self::of([Act::Rest(rests)])
    }

    pub(in crate::policy) fn then_ok(self) -> Self {
        self.then(Act::Ok)
    }

    pub(in crate::policy) fn then_never(self) -> Self {
        self.then(Act::Never)
    }

    fn then(self, act: Act) -> Self {
        self.acts.lock().expect("no panic").push_back(act);
        self
    }

    pub(in crate::policy) fn inner(&self) -> Inner<'_> {
        Inner::of(self)
    }

    pub(in crate::policy) fn calls(&self) -> usize {
        self.deadlines().len()
    }

    pub(in crate::policy) fn deadlines(&self) -> Vec<Option<Timestamp>> {
        self.deadlines.lock().expect("no panic").clone()
    }
}

impl Executor for Script {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, _: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        self.deadlines.lock().expect("no panic").push(attempt.deadline);
        let act = {
            let mut acts = self.acts.lock().expect("no panic");
            let act = if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() };
            act.unwrap_or(Act::Ok)
        };
        Box::pin(async move {
            match act {
                Act::Ok => Ok(Value::null()),
                Act::Fail(kind) => Err(Failure::new(kind, "as scripted")),
                Act::Never => std::future::pending().await,
                Act::Rest(Rests { clock, activity, time }) => {
                    activity.rest(clock.sleep_until(clock.now() + time)).await;
                    Ok(Value::null())
                }
            }
        })
    }
}
