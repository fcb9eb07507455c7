//! Stands in for one executor: notes each call, then does what the test's mock says, or lets the real one do it, or refuses.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use uuid::Uuid;

use crate::clock::{Activity, VirtualClock};
use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{ExecutorName, PipelineName};
use crate::model::job::Job;
use crate::model::port::{Attempt, Clock, Executor, OutboxTable, Processing, Root, Scope};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::plan::cases::{Answer, AnswerEnd, Case, MockTarget, Script};
use crate::plan::codes;
use crate::plan::pipeline::{Flow, Pipeline, Step};

use super::cliff::Point;
use super::witness::{SeenCall, Witness};

/// One test of a pipeline: it lives as long as the pipeline.
#[derive(Clone)]
pub(super) struct CaseOf {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) number: usize,
}

impl CaseOf {
    /// The test. Numbers come from the pipeline's own list.
    pub(super) fn case(&self) -> &Case {
        &self.pipeline.tests[self.number]
    }
}

/// What all doubles of one test share. It outlives the engine, so that a mock counts on after a crash.
pub(super) struct Stage {
    pub(super) case: CaseOf,
    pub(super) clock: VirtualClock,
    pub(super) activity: Activity,
    pub(super) witness: Arc<Witness>,
    /// How often each mock was called.
    calls: Mutex<HashMap<usize, usize>>,
}

impl Stage {
    pub(super) fn new(case: CaseOf, clock: VirtualClock, activity: Activity, witness: Arc<Witness>) -> Self {
        Self { case, clock, activity, witness, calls: Mutex::default() }
    }

    /// The steps after which the host is killed.
    pub(super) fn points(&self) -> Vec<Point> {
        let (pipeline, after) = (&self.case.pipeline, self.case.case().crash_after.as_ref());
        let steps = pipeline.flows.iter().flat_map(|flow| flow.steps.iter().map(move |step| (flow, step)));
        let point = |(flow, step): (&Arc<Flow>, &Step)| Point { revision: pipeline.revision, flow: flow.name.clone(), step: step.number };
        steps.filter(|(_, step)| Some(&step.id) == after).map(point).collect()
    }

    /// Whether a mock stands in for all of an executor's jobs.
    pub(super) fn is_mocked(&self, pipeline: &PipelineName, number: usize, name: &ExecutorName) -> bool {
        self.case.case().mocks.iter().any(|mock| self.is_executor(&mock.target, pipeline, number, name))
    }

    fn is_executor(&self, target: &MockTarget, pipeline: &PipelineName, number: usize, name: &ExecutorName) -> bool {
        match target {
            MockTarget::Executor(mocked) => *mocked == number && *pipeline == self.case.pipeline.name,
            MockTarget::Foreign(foreign, executor) => foreign == pipeline && executor == name,
            MockTarget::Step(..) => false,
        }
    }

    /// The number of the mock that a job goes to: one of its step goes before one of its executor.
    fn mock(&self, number: usize, job: &Job) -> Option<usize> {
        let mocks = &self.case.case().mocks;
        let of_step = |target: &MockTarget| match target {
            MockTarget::Step(step, executor) => *step == job.step && *executor == number && job.pipeline == self.case.pipeline.name,
            MockTarget::Executor(_) | MockTarget::Foreign(..) => false,
        };
        let of_executor = |target: &MockTarget| self.is_executor(target, &job.pipeline, number, &job.executor);
        mocks.iter().position(|mock| of_step(&mock.target)).or_else(|| mocks.iter().position(|mock| of_executor(&mock.target)))
    }

    /// What a mock answers now; it counts the call.
    fn answer(&self, mock: usize, attempt: u32) -> Option<&Answer> {
        let script = &self.case.case().mocks.get(mock)?.script;
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(mock).or_default();
        let (answers, number) = match script {
            Script::Calls(answers) => (answers, *count),
            Script::Attempts(answers) => (answers, usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1)),
        };
        *count += 1;
        answers.get(number).or_else(|| answers.last())
    }

    async fn play(&self, mock: usize, job: &Job, attempt: Attempt) -> Result<Value, Failure> {
        let Some(answer) = self.answer(mock, job.attempt) else { return Ok(Value::null()) };
        let scope = MockScope { input: &job.input, now: self.clock.now(), job };
        let evaluate = |template: &crate::plan::template::Template| {
            template.evaluate(&scope).inspect_err(|failure| {
                let place = self.case.case().mocks.get(mock).map_or_else(|| self.case.case().place.clone(), |mock| mock.place.clone());
                let message = format!("what this mock says cannot be evaluated: {}", failure.message);
                self.witness.mistake(Diagnostic::error(codes::BAD_MOCK, place, message).with_help("`input` in it is the job's input"));
            })
        };
        let began = self.clock.now();
        let parts = u32::try_from(answer.progress.len()).unwrap_or(u32::MAX).max(1);
        for (index, progress) in (0_u32..).zip(&answer.progress) {
            self.wait(began + answer.delay / parts * index).await;
            attempt.channel.progress(evaluate(progress)?);
        }
        self.wait(began + answer.delay).await;
        for (event_type, data) in &answer.emit {
            attempt.channel.emit(event_type.clone(), evaluate(data)?)?;
        }
        match &answer.end {
            AnswerEnd::Nothing => Ok(Value::null()),
            AnswerEnd::Output(output) => evaluate(output),
            AnswerEnd::Fail { kind, code, message, status, retry_after } => {
                let mut failure = Failure::new(*kind, message.clone());
                (failure.code, failure.status, failure.retry_after) = (code.clone(), *status, *retry_after);
                Err(failure)
            }
            AnswerEnd::Hang => {
                self.activity.rest(pending::<()>()).await;
                Ok(Value::null())
            }
        }
    }

    async fn wait(&self, until: Timestamp) {
        if until.since(self.clock.now()) > Duration::ZERO {
            self.activity.rest(self.clock.sleep_until(until)).await;
        }
    }
}

/// What a mock's values may read.
struct MockScope<'a> {
    input: &'a Value,
    now: Timestamp,
    job: &'a Job,
}

impl Scope for MockScope<'_> {
    fn lookup(&self, root: Root, field: Option<&str>) -> Option<Value> {
        match (root, field) {
            (Root::Input, None) => Some(self.input.clone()),
            (Root::Input, Some(field)) => self.input.field(field),
            _ => None,
        }
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    // The same in each attempt, as what an executor makes of `job.key` is.
    fn uuid(&self) -> Uuid {
        self.job.id.as_uuid()
    }
}

/// What a job comes to that no mock stands in for.
pub(super) enum Otherwise {
    /// The real executor does it.
    Real(Arc<dyn Executor>),
    /// It would reach outside the test: why.
    Refused(String),
}

/// Stands in for one executor.
pub(super) struct Double {
    pub(super) description: Description,
    /// Its number in its pipeline.
    pub(super) number: usize,
    /// Its name there.
    pub(super) name: ExecutorName,
    /// Where it is declared.
    pub(super) place: Place,
    pub(super) otherwise: Otherwise,
    pub(super) stage: Arc<Stage>,
}

impl Double {
    fn refuse(&self, job: &Job, why: &str) -> Failure {
        let (case, own) = (self.stage.case.case(), job.pipeline == self.stage.case.pipeline.name);
        let mocked = if own { self.name.to_string() } else { format!("{}.{}", job.pipeline, self.name) };
        let message = format!("`{mocked}` would run for real in the test `{}`: {why}", case.name);
        let mut help = format!("stand in for it, as mocks: {{ {mocked}: {{ output: {{ … }} }} }}");
        if own {
            help.push_str(&format!(", or let it run with data of the test's own, as real: [{}]", self.name));
        }
        let mistake = Diagnostic::error(codes::NOT_MOCKED, case.place.clone(), message).with_help(help);
        self.stage.witness.mistake(mistake.with_related(self.place.clone(), "it is declared here"));
        Failure::new(FailureKind::Permanent, format!("nothing stands in for {mocked} in this test")).with_code("not_mocked")
    }
}

impl Executor for Double {
    fn description(&self) -> &Description {
        &self.description
    }

    fn outboxes(&self) -> Vec<Arc<dyn OutboxTable>> {
        match &self.otherwise {
            Otherwise::Real(executor) => executor.outboxes(),
            Otherwise::Refused(_) => Vec::new(),
        }
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        self.stage.witness.called(SeenCall {
            pipeline: job.pipeline.clone(),
            executor: self.name.clone(),
            step: job.step.clone(),
            input: job.input.clone(),
        });
        match (self.stage.mock(self.number, &job), &self.otherwise) {
            (Some(mock), _) => async move { self.stage.play(mock, &job, attempt).await }.boxed(),
            (None, Otherwise::Real(executor)) => executor.process(job, attempt),
            (None, Otherwise::Refused(why)) => {
                let failure = self.refuse(&job, why);
                async move { Err(failure) }.boxed()
            }
        }
    }
}
