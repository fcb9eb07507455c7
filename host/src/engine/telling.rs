//! What a fact is told as, to whoever watches.

use crate::model::happening::{JobLabel, RunLabel, What};
use crate::model::id::{JobId, StepId};
use crate::model::record::{Beginning, Fact, StepNumber};
use crate::plan::pipeline::Verb;

use super::run::RunState;

/// The label of a run.
pub fn run_label(beginning: &Beginning) -> RunLabel {
    RunLabel {
        pipeline: beginning.pipeline.clone(),
        flow: beginning.flow.clone(),
        run: beginning.run,
        correlation_id: beginning.correlation_id,
    }
}

/// Whose the jobs of a run are, for those that have no terminal event yet or have just got it: a job that has ended is still told of.
///
/// Its label is made when it is told of: of most jobs nothing is.
#[derive(Default)]
pub struct Labels(Vec<Labelled>);

#[derive(Clone, Copy)]
struct Labelled {
    job: JobId,
    /// The step that dispatched it.
    step: StepNumber,
    /// The step that it undoes.
    undoes: Option<StepNumber>,
}

impl Labels {
    /// The label of a job.
    pub fn get(&self, job: JobId, state: &RunState) -> Option<JobLabel> {
        let Labelled { step, undoes, .. } = *self.find(job)?;
        let executor = match &state.flow().step(step).verb {
            Verb::Run(run) => state.pipeline().worker_name(&run.worker),
            _ => "none".into(),
        };
        let step = state.flow().step(undoes.unwrap_or(step)).id.clone();
        Some(JobLabel { step, job, executor, undo: undoes.is_some() })
    }

    /// Whether a job undoes a step; `None` if it has ended.
    pub fn is_undoing(&self, job: JobId) -> Option<bool> {
        self.find(job).map(|labelled| labelled.undoes.is_some())
    }

    fn find(&self, job: JobId) -> Option<&Labelled> {
        self.0.iter().find(|labelled| labelled.job == job)
    }

    /// Learns of jobs that were dispatched.
    pub fn learn(&mut self, state: &RunState, facts: &[Fact]) {
        for fact in facts {
            if let Fact::JobDispatched { job, lane, step, .. } = fact {
                self.0.push(Labelled { job: *job, step: *step, undoes: state.undoes(*lane) });
            }
        }
    }

    /// The jobs that were dispatched and have not ended.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.0.iter().map(|labelled| labelled.job)
    }

    /// Keeps the jobs that have not ended.
    pub fn keep(&mut self, state: &RunState) {
        self.0.retain(|labelled| state.jobs().any(|active| active.job.id == labelled.job));
    }

    /// Forgets a job.
    pub fn forget(&mut self, job: JobId) {
        self.0.retain(|labelled| labelled.job != job);
    }

    /// What a fact is told as; `None` for what is of no interest outside, and for fine detail nobody wants.
    pub fn tell(&self, fact: &Fact, state: &RunState, detail: bool) -> Option<What> {
        Some(match fact {
            Fact::Began(_) => What::RunStarted,
            Fact::JobDispatched { job, .. } => What::JobDispatched { job: self.get(*job, state)? },
            Fact::AttemptStarted { job, attempt, .. } if detail => What::JobStarted { job: self.get(*job, state)?, attempt: *attempt },
            Fact::Retrying { job, attempt, failure, due, at } => {
                What::Retrying { job: self.get(*job, state)?, attempt: *attempt, failure: failure.clone(), wait: due.since(*at) }
            }
            Fact::JobEnded { job, outcome, .. } => What::JobEnded { job: self.get(*job, state)?, outcome: outcome.clone() },
            Fact::Replied { reply } => What::Replied { reply: reply.clone() },
            Fact::Ended { outcome, at } => {
                What::RunEnded { outcome: outcome.clone(), elapsed: at.since(state.beginning().at), unheard: None }
            }
            Fact::StepFailed { step, failure, .. } | Fact::HealFailed { step, failure, .. } => {
                What::StepFailed { step: state.flow().step(*step).id.clone(), failure: failure.clone() }
            }
            Fact::WaitBegan { step, due, .. } => {
                let events = match &state.flow().step(*step).verb {
                    Verb::Wait(wait) => wait.listen.types.clone(),
                    _ => Vec::new(),
                };
                What::Waiting { step: id_of(state, *step), events, until: *due }
            }
            Fact::WaitEnded { step, event: Some(event), .. } => What::Answered { step: id_of(state, *step), answer: event.id },
            Fact::WaitEnded { step, event: None, .. } => What::WaitTimedOut { step: id_of(state, *step) },
            Fact::Reminded { step, reminder, .. } => What::Reminded { step: id_of(state, *step), reminder: *reminder },
            Fact::AnswerRefused { event, reason, .. } => {
                What::AnswerRefused { refused: (**event).clone(), waiting: state.beginning().run, reason: reason.as_str() }
            }
            Fact::Dispatched { step, run, .. } => What::Dispatched { step: id_of(state, *step), dispatched: *run },
            Fact::FallbackBegan { job, failure, .. } => What::StepFailed { step: self.get(*job, state)?.step, failure: failure.clone() },
            _ => return None,
        })
    }
}

fn id_of(state: &RunState, step: StepNumber) -> StepId {
    state.flow().step(step).id.clone()
}
