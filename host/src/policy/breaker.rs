//! `breaker`: what keeps failing is not called for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::job::Job;
use crate::model::policy::{BreakerSettings, show_wait};
use crate::model::port::{Attempt, Clock, Sink};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::policy::stack::Inner;

/// The code of a call that an open breaker refused.
pub const CODE: &str = "breaker_open";

/// The pure state machine.
#[derive(Debug, Default)]
pub struct State {
    phase: Phase,
    /// Grows with each change of the phase, so that a call from before it does not count after it.
    generation: u64,
    last_failure: Option<Failure>,
}

#[derive(Debug)]
enum Phase {
    /// All calls pass; the times of those that failed within the window, at most as many as open it.
    Closed(VecDeque<Timestamp>),
    /// No call passes.
    Open { since: Timestamp },
    /// So many calls try it.
    HalfOpen { trying: u32 },
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed(VecDeque::new())
    }
}

/// A call that was let through; [`State::end`] takes it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pass(u64);

/// What the end of a call says of the other side.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// It answers: it did what was asked, or said why not.
    Answers,
    /// It failed in a way that counts.
    Fails(Failure),
    /// Nothing: the call was cancelled, refused before it began, or the executor itself is broken.
    Silent,
}

impl Verdict {
    /// What this result says. Exactly transient, timeout, rate_limited and failed count.
    pub fn of(result: &Result<Value, Failure>) -> Self {
        match result {
            Ok(_) => Self::Answers,
            Err(failure) if failure.kind.is_retryable() => Self::Fails(failure.clone()),
            Err(failure) => match failure.kind {
                FailureKind::Cancelled | FailureKind::Rejected | FailureKind::Bug => Self::Silent,
                _ => Self::Answers,
            },
        }
    }
}

impl State {
    /// Lets a call through, or says why not: `rejected`, `breaker_open`, with the last failure as cause.
    ///
    /// # Errors
    /// While it is open, and while it is half open and as many calls try it as may.
    pub fn admit(&mut self, name: &str, settings: &BreakerSettings, now: Timestamp) -> Result<Pass, Failure> {
        if let (Phase::Open { .. }, Some(every)) = (&self.phase, settings.probe_every) {
            let why = format!("is open after {} failures until its probe succeeds", settings.failures);
            return Err(self.refusal(name, &why).with_retry_after(every));
        }
        if let Phase::Open { since } = self.phase {
            let due = since + settings.cooldown;
            if now < due {
                let wait = due.since(now);
                let why = format!("is open after {} failures and tries again in {}", settings.failures, show_wait(wait));
                return Err(self.refusal(name, &why).with_retry_after(wait));
            }
            self.go(Phase::HalfOpen { trying: 0 });
        }
        if let Phase::HalfOpen { trying } = &mut self.phase {
            if *trying >= settings.half_open.max(1) {
                return Err(self.refusal(name, "is half open, and a call that tries it is under way"));
            }
            *trying += 1;
        }
        Ok(Pass(self.generation))
    }

    /// Takes the end of a call. One that began before the phase changed says nothing any more.
    pub fn end(&mut self, pass: Pass, verdict: Verdict, settings: &BreakerSettings, now: Timestamp) {
        if pass.0 != self.generation {
            return;
        }
        match (&mut self.phase, verdict) {
            (Phase::Closed(failed), Verdict::Fails(failure)) => {
                while failed.front().is_some_and(|first| now.since(*first) >= settings.window) {
                    failed.pop_front();
                }
                failed.push_back(now);
                self.last_failure = Some(failure);
                if failed.len() >= settings.failures.max(1) as usize {
                    self.go(Phase::Open { since: now });
                }
            }
            (Phase::HalfOpen { .. }, Verdict::Fails(failure)) => {
                self.last_failure = Some(failure);
                self.go(Phase::Open { since: now });
            }
            (Phase::HalfOpen { .. }, Verdict::Answers) => {
                self.last_failure = None;
                self.go(Phase::default());
            }
            (Phase::HalfOpen { trying }, Verdict::Silent) => *trying = trying.saturating_sub(1),
            (Phase::Closed(_) | Phase::Open { .. }, _) => {}
        }
    }

    /// Takes what a probe came to. Its success closes the breaker and its failure is the last one that is known; neither says anything while it is
    /// not open.
    pub fn probed(&mut self, result: Result<(), Failure>) {
        if !self.is_open() {
            return;
        }
        match result {
            Ok(()) => {
                self.last_failure = None;
                self.go(Phase::default());
            }
            Err(failure) => self.last_failure = Some(failure),
        }
    }

    /// Whether it lets no call pass.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// The word for the phase: `closed`, `open` or `half_open`.
    pub const fn name(&self) -> &'static str {
        match self.phase {
            Phase::Closed(_) => "closed",
            Phase::Open { .. } => "open",
            Phase::HalfOpen { .. } => "half_open",
        }
    }

    fn go(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }

    fn refusal(&self, name: &str, why: &str) -> Failure {
        let failure = Failure::new(FailureKind::Rejected, format!("the breaker of `{name}` {why}")).with_code(CODE);
        match &self.last_failure {
            Some(cause) => failure.with_cause(cause.clone()),
            None => failure,
        }
    }
}

/// The wrapper: one for each identity, shared by all who name it.
pub struct Breaker {
    name: String,
    shared: Mutex<(BreakerSettings, State)>,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    /// Told with each change of the phase.
    changed: Notify,
}

impl Breaker {
    /// A closed one; `name` is what people see.
    pub fn new(name: String, settings: BreakerSettings, clock: Arc<dyn Clock>, sink: Arc<dyn Sink>) -> Self {
        Self { name, shared: Mutex::new((settings, State::default())), clock, sink, changed: Notify::new() }
    }

    /// Other numbers from now on; the state stays.
    pub fn set(&self, settings: BreakerSettings) {
        self.shared().0 = settings;
    }

    /// Waits until it is open; ends at once if it is.
    pub async fn opened(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the phase is looked at, so that a change cannot fall between.
            changed.as_mut().enable();
            if self.is_open() {
                return;
            }
            changed.await;
        }
    }

    /// Whether it lets no call pass.
    pub fn is_open(&self) -> bool {
        self.shared().1.is_open()
    }

    /// Tells it what its probe came to.
    pub fn probed(&self, result: Result<(), Failure>) {
        self.change(|_, state, _| state.probed(result));
    }

    /// One call.
    ///
    /// # Errors
    /// `rejected` if the call is not made, else what came of it.
    pub async fn call(&self, inner: Inner<'_>, job: Arc<Job>, attempt: Attempt) -> Result<Value, Failure> {
        let pass = self.change(|settings, state, now| state.admit(&self.name, settings, now))?;
        let mut trial = Trial { breaker: self, pass, verdict: Verdict::Silent };
        let result = inner.call(job, attempt).await;
        trial.verdict = Verdict::of(&result);
        result
    }

    fn change<T>(&self, act: impl FnOnce(&BreakerSettings, &mut State, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut shared = self.shared();
        let (settings, state) = &mut *shared;
        let before = state.generation;
        let done = act(settings, state, now);
        let changed = (state.generation != before).then(|| (state.name(), settings.probe_every.is_some()));
        drop(shared);
        if let Some((state, probed)) = changed {
            self.changed.notify_waiters();
            self.sink.accept(Happening { time: now, run: None, what: What::Breaker { policy: self.name.clone(), state, probed } });
        }
        done
    }

    fn shared(&self) -> MutexGuard<'_, (BreakerSettings, State)> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the place back also when the call is dropped: a cancelled trial says nothing.
struct Trial<'a> {
    breaker: &'a Breaker,
    pass: Pass,
    verdict: Verdict,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let (pass, verdict) = (self.pass, std::mem::replace(&mut self.verdict, Verdict::Silent));
        self.breaker.change(|settings, state, now| state.end(pass, verdict, settings, now));
    }
}

#[cfg(test)]
mod tests;
