//! The machine under every order of results, cancels and due times that the seeds find.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Bench, failure};
use crate::engine::fixture::{Says, Shape, Sketch, SketchStep};
use crate::engine::run::{Input, JobPhase, RunState, Verdict};
use crate::model::activation::RunOutcome;
use crate::model::failure::FailureKind;
use crate::model::id::JobId;
use crate::model::job::{CancelReason, JobOutcome, ResultSource};
use crate::model::record::{Fact, LaneId, LanePurpose, StepNumber};
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::Join;

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
        1 => prop::bool::weighted(0.3).prop_map(|cancel| if cancel { Move::Cancel } else { Move::TickEarly }),
        3 => (0_u8..5).prop_map(Move::Answer),
        2 => any::<bool>().prop_map(Move::Leader),
    ]
}

fn any_run() -> impl Strategy<Value = SketchStep> {
    let step = (
        prop::option::of(0_u32..4),
        prop::option::of(1_u64..20),
        prop::option::of(any::<bool>()),
        prop::option::of(any::<bool>()),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(prop::bool::weighted(0.3)),
    );
    step.prop_map(|(retries, deadline, heal, fallback, dedup, set, undo)| SketchStep {
        retries,
        deadline: deadline.map(Duration::from_secs),
        heal,
        fallback,
        dedup,
        set,
        undo: undo.map(|on_attempt| (Says::Own, on_attempt)),
        ..SketchStep::default()
    })
}

fn any_step() -> impl Strategy<Value = SketchStep> {
    let leaf = prop_oneof![
        6 => any_run(),
        1 => (1_u64..30).prop_map(|seconds| SketchStep { shape: Shape::Sleep(seconds), ..SketchStep::default() }),
        1 => prop::option::of(any::<bool>()).prop_map(|heal| SketchStep { shape: Shape::Fail, heal, ..SketchStep::default() }),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let steps = || prop::collection::vec(inner.clone(), 0..3);
        let join = prop_oneof![Just(Join::All), Just(Join::Quorum(1)), Just(Join::Quorum(2))];
        let shape = prop_oneof![
            prop::collection::vec((prop::option::of(any::<bool>()), steps()), 1..3).prop_map(Shape::Switch),
            (join, prop::collection::vec(steps(), 1..4)).prop_map(|(join, branches)| Shape::Parallel(join, branches)),
            (0_i64..5, 1_u32..4, steps()).prop_map(|(rounds, max_concurrent, steps)| {
                Shape::Each { over: Says::This(Value::from(Tree::Int(rounds))), max_concurrent, steps }
            }),
        ];
        (shape, prop::option::of(any::<bool>())).prop_map(|(shape, heal)| SketchStep { shape, heal, ..SketchStep::default() })
    })
}

fn any_sketch() -> impl Strategy<Value = Sketch> {
    (prop::collection::vec(any_step(), 1..4), any::<bool>(), any::<bool>(), prop::option::of(5_u64..60)).prop_map(
        |(steps, on_error, finally, deadline)| Sketch {
            steps,
            on_error,
            finally,
            deadline: deadline.map(Duration::from_secs),
            concurrency: None,
            volatile: false,
        },
    )
}

impl Bench {
    fn play(&mut self, a_move: &Move, known: &[(JobId, u32)]) {
        let running = self.running();
        match a_move {
            Move::Succeed(index) if !running.is_empty() => {
                let (job, attempt) = *index.get(&running);
                let output = self.unique();
                self.give(Input::AttemptEnded {
                    job,
                    attempt,
                    result: Ok(output),
                    emissions: Vec::new(),
                    progressed: false,
                    degraded: false,
                });
            }
            Move::Fail(index, kind) if !running.is_empty() => {
                let (job, attempt) = *index.get(&running);
                self.give(Input::AttemptEnded {
                    job,
                    attempt,
                    result: Err(failure(*kind)),
                    emissions: Vec::new(),
                    progressed: true,
                    degraded: false,
                });
            }
            Move::Stale(index) if !known.is_empty() => {
                let (job, attempt) = *index.get(known);
                if !running.contains(&(job, attempt)) {
                    let before = self.facts.len();
                    self.give(Input::AttemptEnded {
                        job,
                        attempt,
                        result: Ok(Value::null()),
                        emissions: Vec::new(),
                        progressed: false,
                        degraded: false,
                    });
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
                let joined = self.state.jobs().find(|active| matches!(active.phase, JobPhase::Joined(_))).map(|active| active.job.id);
                if let Some(job) = joined.filter(|_| self.facts.len().is_multiple_of(3)) {
                    self.give(Input::TakeOver { job });
                } else if let Some(job) = joined {
                    let outcome = JobOutcome::Succeeded { output: Value::null(), from: ResultSource::Executor };
                    self.give(Input::LeaderEnded { job, outcome: (!gone).then_some(outcome) });
                }
            }
            _ => {}
        }
    }
}

impl Bench {
    /// Whatever is left comes to an end when everybody answers.
    fn play_out(&mut self) {
        for _ in 0..2_000 {
            if self.state.ended().is_some() {
                break;
            }
            if !self.running().is_empty() {
                let output = self.unique();
                self.finish(Ok(output));
            } else if let Some(job) = self.claims.pop() {
                self.give(Input::Claimed { job, verdict: Verdict::Lead });
            } else {
                let joined = self.state.jobs().find(|active| matches!(active.phase, JobPhase::Joined(_))).map(|active| active.job.id);
                match joined {
                    Some(job) => self.give(Input::LeaderEnded { job, outcome: None }),
                    None => self.tick_at_next_due(),
                }
            }
        }
    }

    /// An output that no other job had.
    fn unique(&self) -> Value {
        Value::from(Tree::Int(self.facts.len() as i64))
    }
}

/// What a history says of its lanes and jobs.
#[derive(Default)]
struct History {
    opened: HashMap<LaneId, (LanePurpose, Option<(LaneId, StepNumber)>)>,
    closed: HashSet<LaneId>,
    jobs: HashMap<JobId, (LaneId, StepNumber)>,
    live: HashSet<JobId>,
    unwinding: bool,
}

impl History {
    fn root(&self, lane: LaneId) -> LanePurpose {
        match self.opened[&lane] {
            (LanePurpose::Undo, _) | (_, None) => self.opened[&lane].0,
            (_, Some((parent, _))) => self.root(parent),
        }
    }

    fn is_closed(&self, lane: LaneId) -> bool {
        self.closed.contains(&lane)
            || match self.opened[&lane] {
                (LanePurpose::Undo, _) | (_, None) => false,
                (_, Some((parent, _))) => self.is_closed(parent),
            }
    }

    /// Nothing begins in a lane that has ended, and after the flow's own steps only what is left of a run.
    fn take(&mut self, fact: &Fact) {
        match fact {
            Fact::LaneOpened { lane, purpose, parent, .. } => {
                assert!(self.opened.insert(*lane, (*purpose, *parent)).is_none(), "a lane is opened once");
                assert!(!self.is_closed(*lane), "{fact:?} within what has ended");
            }
            Fact::LaneEnded { lane, .. } => {
                assert!(self.closed.insert(*lane), "a lane ends once");
                let within: Vec<_> = self.live.iter().filter(|job| self.is_closed(self.jobs[job].0)).collect();
                assert!(within.is_empty(), "jobs are under way in a lane that has ended");
            }
            Fact::JobDispatched { job, lane, step, .. } => {
                assert!(!self.is_closed(*lane), "{fact:?} in a lane that has ended");
                let after = matches!(self.root(*lane), LanePurpose::OnError | LanePurpose::Finally | LanePurpose::Undo);
                assert_eq!(after, self.unwinding, "{fact:?}");
                self.jobs.insert(*job, (*lane, *step));
                self.live.insert(*job);
            }
            Fact::JobEnded { job, .. } => assert!(self.live.remove(job), "{fact:?} of a job that is not under way"),
            Fact::Unwinding { .. } => {
                assert!(self.live.is_empty(), "jobs are under way when the run unwinds");
                self.unwinding = true;
            }
            Fact::Ended { .. } => assert!(self.live.is_empty(), "jobs are under way when the run ends"),
            _ => {}
        }
    }
}

/// What was undone is, in exactly the reverse order, what was done, and each with its own output, if and only if the run did not succeed.
fn check_undone(bench: &Bench) {
    let flow = Arc::clone(&bench.state.flow);
    let (mut jobs, mut done, mut undone, mut inputs) = (HashMap::new(), Vec::new(), Vec::new(), Vec::new());
    let mut undoing = HashMap::new();
    let mut unwinding = false;
    let plain = |step: &StepNumber| super::saga::undo(&flow, *step).is_some_and(|undo| !undo.on_attempt);
    for fact in &bench.facts {
        match fact {
            Fact::Unwinding { .. } => unwinding = true,
            Fact::JobDispatched { job, lane, step, input, .. } => {
                jobs.insert(*job, (*lane, *step));
                if undoing.get(lane).is_some_and(plain) {
                    inputs.push(input.clone());
                }
            }
            Fact::JobEnded { job, outcome: JobOutcome::Succeeded { output, from: ResultSource::Executor }, .. } if !unwinding => {
                let (lane, step) = jobs[job];
                if plain(&step) {
                    done.push(((lane, step), output.clone()));
                }
            }
            Fact::LaneOpened { lane, purpose: LanePurpose::Undo, parent: Some(parent), .. } => {
                undoing.insert(*lane, parent.1);
                assert!(!undone.contains(parent), "a step is undone once");
                undone.push(*parent);
            }
            _ => {}
        }
    }
    if bench.outcome() == &RunOutcome::Succeeded {
        assert!(undone.is_empty(), "a run that succeeded undid something");
        return;
    }
    undone.retain(|(_, step)| plain(step));
    done.reverse();
    let (places, outputs): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    assert_eq!(undone, places);
    assert_eq!(inputs, outputs);
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
        bench.play_out();
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
        let mut history = History::default();
        bench.facts.iter().for_each(|fact| history.take(fact));
        check_undone(&bench);
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
