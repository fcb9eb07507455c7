//! The machine driven by hand, with its whole history.

mod chance;
mod migrating;
mod saga;
mod structure;

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Input, JobPhase, Machine, RunState, Surroundings, Verdict};
use crate::clock::SeededRandom;
use crate::engine::fixture::{Sketch, SketchStep, beginning, pipeline};
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome};
use crate::model::record::Fact;
use crate::model::time::Timestamp;
use crate::model::types::{Origin, Type};
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::Pipeline;

/// A run with its whole history, driven by hand.
struct Bench {
    state: RunState,
    facts: Vec<Fact>,
    now: Timestamp,
    random: SeededRandom,
    claims: Vec<JobId>,
    /// Whether each state is compared with the fold of all facts, which takes the square of their number.
    folds: bool,
    /// How many facts the longest decision made.
    longest: usize,
}

impl Bench {
    fn new(sketch: &Sketch) -> Self {
        Self::with(sketch, true)
    }

    fn with(sketch: &Sketch, folds: bool) -> Self {
        Self::of(pipeline(sketch), folds)
    }

    fn of(pipeline: Arc<Pipeline>, folds: bool) -> Self {
        let flow = Arc::clone(&pipeline.flows[0]);
        let mut beginning = beginning(&pipeline, &flow);
        if flow.input != Type::Any {
            let nothing = Value::from(Tree::Map(Map::new()));
            beginning.input = flow.input.conform(&nothing, Origin::Data).expect("every field has a default");
        }
        let beginning = Arc::new(beginning);
        let facts = vec![Fact::Began(Arc::clone(&beginning))];
        let state = RunState::new(pipeline, flow, beginning);
        let random = SeededRandom::new(7);
        let mut bench = Self { state, facts, now: Timestamp::EPOCH, random, claims: Vec::new(), folds, longest: 0 };
        bench.give(Input::Start);
        bench
    }

    fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let null = Value::null();
            let around = Surroundings { now: self.now, random: &self.random, state: &null };
            let (facts, commands) = Machine::decide(&mut self.state, input, &around);
            self.longest = self.longest.max(facts.len());
            self.facts.extend(facts);
            if self.folds {
                self.check_fold();
            }
            for command in commands {
                match command {
                    Command::Attempt { job } => assert!(self.state.job(job).is_some()),
                    Command::TakeOver { job } => assert!(self.running().iter().any(|(other, _)| *other == job)),
                    Command::Claim { job, .. } => self.claims.push(job),
                    Command::SetState { lane, step } => {
                        inputs.push(Input::StateSet { lane, step, result: Ok(Value::null()) });
                    }
                    Command::GoOn => inputs.insert(0, Input::Tick),
                    Command::Outbox { .. } => {}
                }
            }
        }
    }

    /// The state is the fold of the facts, and every prefix of them folds.
    fn check_fold(&self) {
        let (pipeline, flow) = (Arc::clone(&self.state.pipeline), Arc::clone(&self.state.flow));
        let folded = RunState::fold(&pipeline, &flow, &self.facts).expect("the first fact is that it began");
        assert!(folded == self.state, "the fold of\n{:#?}\nis\n{folded:#?}\nand not\n{:#?}", self.facts, self.state);
    }

    fn running(&self) -> Vec<(JobId, u32)> {
        let running = self.state.jobs().filter(|active| active.phase == JobPhase::Running);
        running.map(|active| (active.job.id, active.job.attempt)).collect()
    }

    fn finish(&mut self, result: Result<Value, Failure>) {
        let (job, attempt) = self.running()[0];
        self.give(Input::AttemptEnded { job, attempt, result, emissions: Vec::new(), progressed: false, degraded: false });
    }

    /// Ends the attempt that a step has under way.
    fn finish_step(&mut self, step: &str, result: Result<Value, Failure>) {
        let running = self.state.jobs().find(|active| active.phase == JobPhase::Running && active.job.step.as_str() == step);
        let (job, attempt) = running.map(|active| (active.job.id, active.job.attempt)).expect("the step has an attempt under way");
        self.give(Input::AttemptEnded { job, attempt, result, emissions: Vec::new(), progressed: false, degraded: false });
    }

    /// The steps whose attempts are under way, in the order in which their lanes were opened.
    fn under_way(&self) -> Vec<String> {
        let mut running: Vec<_> = self.state.jobs().filter(|active| active.phase == JobPhase::Running).collect();
        running.sort_by_key(|active| active.lane);
        running.into_iter().map(|active| active.job.step.to_string()).collect()
    }

    /// What a step's output was, as JSON.
    fn output_of(&self, id: &str) -> String {
        let output = self.facts.iter().rev().find_map(|fact| match fact {
            Fact::StepDone { step, output, .. } | Fact::StepHealed { step, output, .. } => {
                (self.state.flow.step(*step).id.as_str() == id).then(|| output.text().to_owned())
            }
            _ => None,
        });
        output.expect("the step is done")
    }

    fn tick_at_next_due(&mut self) {
        if let Some(due) = self.state.next_due() {
            self.now = self.now.max(due);
            self.give(Input::Tick);
        }
    }

    fn terminal_events(&self, job: JobId) -> usize {
        self.facts.iter().filter(|fact| matches!(fact, Fact::JobEnded { job: other, .. } if *other == job)).count()
    }

    fn jobs(&self) -> Vec<JobId> {
        let dispatched = |fact: &Fact| match fact {
            Fact::JobDispatched { job, .. } => Some(*job),
            _ => None,
        };
        self.facts.iter().filter_map(dispatched).collect()
    }

    fn outcome(&self) -> &RunOutcome {
        self.state.ended().expect("the run has ended")
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "as scripted")
}

#[test]
fn steps_come_one_after_the_other_and_the_run_succeeds() {
    let mut bench = Bench::new(&Sketch::of(2));
    assert_eq!(bench.jobs().len(), 1, "the second step waits for the first");
    bench.finish(Ok(Value::string("a")));
    bench.finish(Ok(Value::string("b")));
    assert_eq!(bench.outcome(), &RunOutcome::Succeeded);
    assert_eq!(bench.jobs().len(), 2);
}

#[test]
fn waits_double_and_the_retries_are_counted() {
    let mut bench = Bench::new(&Sketch { steps: vec![SketchStep { retries: Some(3), ..SketchStep::default() }], ..Sketch::default() });
    let mut waits = Vec::new();
    for _ in 0..3 {
        bench.finish(Err(failure(FailureKind::Transient)));
        let due = bench.state.next_due().expect("a retry is due");
        waits.push(due.since(bench.now));
        bench.tick_at_next_due();
    }
    bench.finish(Err(failure(FailureKind::Transient)));
    assert_eq!(waits, [1, 2, 4].map(Duration::from_secs));
    assert!(matches!(bench.outcome(), RunOutcome::Failed { failure } if failure.step.as_ref().is_some_and(|step| step.as_str() == "s0")));
    assert_eq!(bench.jobs().len(), 1, "retries are attempts of one job");
}

#[test]
fn cancel_ends_the_back_off_at_once() {
    let mut bench = Bench::new(&Sketch { steps: vec![SketchStep { retries: Some(3), ..SketchStep::default() }], ..Sketch::default() });
    bench.finish(Err(failure(FailureKind::Transient)));
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    assert_eq!(bench.outcome(), &RunOutcome::Cancelled { reason: CancelReason::Requested });
    assert_eq!(bench.state.next_due(), None, "no wait is left");
}

#[test]
fn a_result_after_the_terminal_event_changes_nothing() {
    let mut bench = Bench::new(&Sketch::of(1));
    let (job, attempt) = bench.running()[0];
    bench.give(Input::Cancel { reason: CancelReason::Replaced });
    let before = bench.facts.len();
    bench.give(Input::AttemptEnded { job, attempt, result: Ok(Value::null()), emissions: Vec::new(), progressed: true, degraded: false });
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    assert_eq!(bench.facts.len(), before);
    assert_eq!(bench.terminal_events(job), 1);
}

#[test]
fn the_flows_deadline_wins_in_the_middle_of_a_step() {
    let step = SketchStep { retries: Some(10), deadline: Some(Duration::from_secs(90)), ..SketchStep::default() };
    let mut bench = Bench::new(&Sketch { steps: vec![step], deadline: Some(Duration::from_secs(60)), ..Sketch::default() });
    bench.now = Timestamp::EPOCH + Duration::from_secs(60);
    bench.give(Input::Tick);
    assert!(matches!(bench.outcome(), RunOutcome::TimedOut { failure } if failure.message.contains("1m")));
    assert_eq!(bench.terminal_events(bench.jobs()[0]), 1);
}

#[test]
fn a_healed_step_lets_the_flow_go_on() {
    let step = SketchStep { heal: Some(true), ..SketchStep::default() };
    let mut bench = Bench::new(&Sketch { steps: vec![step, SketchStep::default()], ..Sketch::default() });
    bench.finish(Err(failure(FailureKind::Permanent)));
    bench.finish(Ok(Value::string("healed by this")));
    bench.finish(Ok(Value::null()));
    assert_eq!(bench.outcome(), &RunOutcome::Succeeded);
    assert!(bench.facts.iter().any(|fact| matches!(fact, Fact::StepHealed { output, .. } if *output == Value::string("healed by this"))));
}

#[test]
fn a_healing_that_fails_names_both_failures() {
    let step = SketchStep { heal: Some(true), ..SketchStep::default() };
    let mut bench = Bench::new(&Sketch { steps: vec![step], ..Sketch::default() });
    bench.finish(Err(failure(FailureKind::Permanent)));
    bench.finish(Err(Failure::new(FailureKind::Denied, "not even that")));
    let RunOutcome::Failed { failure } = bench.outcome() else { panic!("nothing healed it") };
    assert_eq!((failure.kind, failure.cause.as_ref().map(|cause| cause.kind)), (FailureKind::Denied, Some(FailureKind::Permanent)));
}

#[test]
fn a_fallback_succeeds_degraded_and_not_for_a_bug() {
    let step = SketchStep { fallback: Some(false), ..SketchStep::default() };
    let sketch = Sketch { steps: vec![step], ..Sketch::default() };
    let mut bench = Bench::new(&sketch);
    bench.finish(Err(failure(FailureKind::Permanent)));
    assert_eq!((bench.outcome(), bench.state.is_degraded()), (&RunOutcome::Succeeded, true));
    let mut bench = Bench::new(&sketch);
    bench.finish(Err(failure(FailureKind::Bug)));
    assert!(matches!(bench.outcome(), RunOutcome::Failed { .. }));
}

#[test]
fn on_error_and_finally_follow_a_failure_and_only_finally_a_cancel() {
    let sketch = Sketch { on_error: true, finally: true, ..Sketch::of(1) };
    let mut bench = Bench::new(&sketch);
    bench.finish(Err(failure(FailureKind::Permanent)));
    bench.finish(Ok(Value::null()));
    bench.finish(Ok(Value::null()));
    assert!(matches!(bench.outcome(), RunOutcome::Failed { .. }));
    assert_eq!(bench.jobs().len(), 3);
    let mut bench = Bench::new(&sketch);
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    bench.finish(Ok(Value::null()));
    assert_eq!(bench.outcome(), &RunOutcome::Cancelled { reason: CancelReason::Requested });
    assert_eq!(bench.jobs().len(), 2);
}

#[test]
fn clean_up_has_thirty_seconds() {
    let mut bench = Bench::new(&Sketch { finally: true, ..Sketch::of(1) });
    bench.give(Input::Cancel { reason: CancelReason::Requested });
    assert_eq!(bench.state.next_due(), Some(Timestamp::EPOCH + Duration::from_secs(30)));
    bench.tick_at_next_due();
    assert_eq!(bench.outcome(), &RunOutcome::Cancelled { reason: CancelReason::Requested });
}

#[test]
fn an_executor_that_fails_as_cancelled_ends_as_cancelled_and_is_not_tried_again() {
    let mut bench = Bench::new(&Sketch { steps: vec![SketchStep { retries: Some(3), ..SketchStep::default() }], ..Sketch::default() });
    bench.finish(Err(failure(FailureKind::Cancelled)));
    let ended = bench.facts.iter().any(|fact| matches!(fact, Fact::JobEnded { outcome: JobOutcome::Cancelled { .. }, .. }));
    assert!(ended);
    assert!(bench.state.ended().is_some());
}

#[test]
fn one_who_joined_leads_when_the_leader_was_given_up() {
    let step = SketchStep { dedup: true, ..SketchStep::default() };
    let mut bench = Bench::new(&Sketch { steps: vec![step], ..Sketch::default() });
    let job = bench.claims.pop().expect("it asked");
    bench.give(Input::Claimed { job, verdict: Verdict::Join(JobId::new(uuid::Uuid::from_u128(9))) });
    assert!(bench.running().is_empty());
    bench.give(Input::LeaderEnded { job, outcome: None });
    assert_eq!(bench.claims, [job], "it asks again");
    bench.give(Input::Claimed { job, verdict: Verdict::Lead });
    bench.finish(Ok(Value::null()));
    assert_eq!(bench.outcome(), &RunOutcome::Succeeded);
}
