//! The machine under every order of results, cancels and due times that the seeds find.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Command, Input, JobPhase, Machine, RunState, Surroundings, Verdict};
use crate::clock::SeededRandom;
use crate::engine::fixture::{Sketch, SketchStep, beginning, pipeline};
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome, ResultSource};
use crate::model::record::Fact;
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};

/// A run with its whole history, driven by hand.
struct Bench {
    state: RunState,
    facts: Vec<Fact>,
    now: Timestamp,
    random: SeededRandom,
    claims: Vec<JobId>,
}

impl Bench {
    fn new(sketch: &Sketch) -> Self {
        let pipeline = pipeline(sketch);
        let flow = Arc::clone(&pipeline.flows[0]);
        let beginning = beginning(&pipeline, &flow);
        let beginning = Arc::new(beginning);
        let facts = vec![Fact::Began(Arc::clone(&beginning))];
        let state = RunState::new(pipeline, flow, beginning);
        let mut bench = Self { state, facts, now: Timestamp::EPOCH, random: SeededRandom::new(7), claims: Vec::new() };
        bench.give(Input::Start);
        bench
    }

    fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let null = Value::null();
            let around = Surroundings { now: self.now, random: &self.random, state: &null };
            let (facts, commands) = Machine::decide(&mut self.state, input, &around);
            self.facts.extend(facts);
            self.check_fold();
            for command in commands {
                match command {
                    Command::Attempt { job } => assert!(self.state.jobs().iter().any(|active| active.job.id == job)),
                    Command::Claim { job, .. } => self.claims.push(job),
                    Command::SetState { lane, step } => {
                        inputs.push(Input::StateSet { lane, step, result: Ok(Value::null()) });
                    }
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
        let running = self.state.jobs().iter().filter(|active| active.phase == JobPhase::Running);
        running.map(|active| (active.job.id, active.job.attempt)).collect()
    }

    fn finish(&mut self, result: Result<Value, Failure>) {
        let (job, attempt) = self.running()[0];
        self.give(Input::AttemptEnded { job, attempt, result, emissions: Vec::new(), progressed: false });
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
    bench.give(Input::AttemptEnded { job, attempt, result: Ok(Value::null()), emissions: Vec::new(), progressed: true });
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

/// One thing that may come in from outside.
#[derive(Clone, Debug)]
enum Move {
    Succeed(prop::sample::Index),
    Fail(prop::sample::Index, FailureKind),
    Stale(prop::sample::Index),
    Due,
    TickEarly,
    Cancel,
    Answer(u8),
    Leader(bool),
}

fn any_kind() -> impl Strategy<Value = FailureKind> {
    prop::sample::select(FailureKind::ALL.to_vec())
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => any::<prop::sample::Index>().prop_map(Move::Succeed),
        5 => (any::<prop::sample::Index>(), any_kind()).prop_map(|(index, kind)| Move::Fail(index, kind)),
        2 => any::<prop::sample::Index>().prop_map(Move::Stale),
        4 => Just(Move::Due),
        1 => Just(Move::TickEarly),
        1 => Just(Move::Cancel),
        3 => (0_u8..5).prop_map(Move::Answer),
        2 => any::<bool>().prop_map(Move::Leader),
    ]
}

fn any_sketch() -> impl Strategy<Value = Sketch> {
    let step = (
        prop::option::of(0_u32..4),
        prop::option::of(1_u64..20),
        prop::option::of(any::<bool>()),
        prop::option::of(any::<bool>()),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(retries, deadline, heal, fallback, dedup, set)| SketchStep {
            retries,
            deadline: deadline.map(Duration::from_secs),
            heal,
            fallback,
            dedup,
            set,
            ..SketchStep::default()
        });
    (prop::collection::vec(step, 1..4), any::<bool>(), any::<bool>(), prop::option::of(5_u64..60)).prop_map(
        |(steps, on_error, finally, deadline)| Sketch {
            steps,
            on_error,
            finally,
            deadline: deadline.map(Duration::from_secs),
            concurrency: None,
        },
    )
}

impl Bench {
    fn play(&mut self, a_move: &Move, known: &[(JobId, u32)]) {
        let running = self.running();
        match a_move {
            Move::Succeed(index) if !running.is_empty() => {
                let (job, attempt) = *index.get(&running);
                self.give(Input::AttemptEnded { job, attempt, result: Ok(Value::null()), emissions: Vec::new(), progressed: false });
            }
            Move::Fail(index, kind) if !running.is_empty() => {
                let (job, attempt) = *index.get(&running);
                self.give(Input::AttemptEnded { job, attempt, result: Err(failure(*kind)), emissions: Vec::new(), progressed: true });
            }
            Move::Stale(index) if !known.is_empty() => {
                let (job, attempt) = *index.get(known);
                if !running.contains(&(job, attempt)) {
                    let before = self.facts.len();
                    self.give(Input::AttemptEnded { job, attempt, result: Ok(Value::null()), emissions: Vec::new(), progressed: false });
                    assert_eq!(self.facts.len(), before, "what comes late is no fact");
                }
            }
            Move::Due => self.tick_at_next_due(),
            Move::TickEarly => self.give(Input::Tick),
            Move::Cancel => self.give(Input::Cancel { reason: CancelReason::Requested }),
            Move::Answer(answer) => {
                if let Some(job) = self.claims.pop() {
                    let done = |from| Verdict::Done { outcome: JobOutcome::Succeeded { output: Value::from(Tree::Null), from } };
                    let verdict = match answer {
                        0 => Verdict::Lead,
                        1 => Verdict::Join(JobId::new(uuid::Uuid::from_u128(1))),
                        2 => done(ResultSource::Cache),
                        3 => done(ResultSource::Skipped),
                        _ => Verdict::Refuse(failure(FailureKind::Rejected)),
                    };
                    self.give(Input::Claimed { job, verdict });
                }
            }
            Move::Leader(gone) => {
                let joined =
                    self.state.jobs().iter().find(|active| matches!(active.phase, JobPhase::Joined(_))).map(|active| active.job.id);
                if let Some(job) = joined {
                    let outcome = JobOutcome::Succeeded { output: Value::null(), from: ResultSource::Executor };
                    self.give(Input::LeaderEnded { job, outcome: (!gone).then_some(outcome) });
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever comes in whatever order: one end for each job, one for the run, nothing after either, and a state that is the fold of its facts.
    #[test]
    fn every_job_and_every_run_ends_exactly_once(sketch in any_sketch(), moves in prop::collection::vec(any_move(), 0..40)) {
        let mut bench = Bench::new(&sketch);
        let mut known = Vec::new();
        for a_move in &moves {
            known.extend(bench.running());
            bench.play(a_move, &known);
        }
        // Whatever is left comes to an end when everybody answers.
        for _ in 0..200 {
            if bench.state.ended().is_some() {
                break;
            }
            if !bench.running().is_empty() {
                bench.finish(Ok(Value::null()));
            } else if let Some(job) = bench.claims.pop() {
                bench.give(Input::Claimed { job, verdict: Verdict::Lead });
            } else {
                let joined = bench.state.jobs().iter().find(|active| matches!(active.phase, JobPhase::Joined(_))).map(|active| active.job.id);
                match joined {
                    Some(job) => bench.give(Input::LeaderEnded { job, outcome: None }),
                    None => bench.tick_at_next_due(),
                }
            }
        }
        prop_assert!(bench.state.ended().is_some(), "the run never ended: {:#?}", bench.state);
        for job in bench.jobs() {
            prop_assert_eq!(bench.terminal_events(job), 1, "of job {} in {:#?}", job, bench.facts);
            let end = bench.facts.iter().position(|fact| matches!(fact, Fact::JobEnded { job: other, .. } if *other == job)).unwrap_or(0);
            let after = bench.facts[end + 1..].iter().filter(|fact| match fact {
                Fact::AttemptStarted { job: other, .. } | Fact::Retrying { job: other, .. } | Fact::JobJoined { job: other, .. } => *other == job,
                _ => false,
            });
            prop_assert_eq!(after.count(), 0, "a job that has ended goes on");
        }
        let ends = bench.facts.iter().filter(|fact| matches!(fact, Fact::Ended { .. })).count();
        prop_assert_eq!(ends, 1);
        let last_is_the_end = matches!(bench.facts.last(), Some(Fact::Ended { .. }));
        prop_assert!(last_is_the_end);
        // Every prefix of the history is a state.
        let (pipeline, flow) = (Arc::clone(&bench.state.pipeline), Arc::clone(&bench.state.flow));
        let mut grown: Option<RunState> = None;
        for length in 1..=bench.facts.len() {
            let folded = RunState::fold(&pipeline, &flow, &bench.facts[..length]).expect("the first fact is that it began");
            if let Some(mut before) = grown.take() {
                before.apply(&bench.facts[length - 1]);
                prop_assert!(before == folded);
            }
            grown = Some(folded);
        }
    }
}
