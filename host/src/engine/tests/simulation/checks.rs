//! What must hold at the end, whatever came between: read from the facts of all runs, the ledger and the state alone.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::ledger::Ledger;
use crate::model::activation::RunOutcome;
use crate::model::event::Event;
use crate::model::id::{EventId, JobId, RunId};
use crate::model::job::{JobOutcome, ResultSource};
use crate::model::record::{Fact, LaneId, LanePurpose, StepNumber, end_of};
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Pipeline, Verb};

/// All that is left of a simulation.
pub struct Left<'a> {
    pub pipeline: &'a Pipeline,
    /// The facts of each run.
    pub runs: HashMap<RunId, Vec<Fact>>,
    /// The runs of which whoever asked heard that they were admitted.
    pub acknowledged: &'a [RunId],
    /// The events that were seen to go out.
    pub published: &'a [EventId],
    pub ledger: &'a Ledger,
    /// The state as the last host has it.
    pub state: Value,
}

/// One thing that does not hold.
pub type Broken = String;

impl Left<'_> {
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self) -> Result<(), Broken> {
        for run in self.acknowledged {
            if !self.runs.contains_key(run) {
                return Err(format!("run {run} was acknowledged and is not known"));
            }
        }
        for (run, facts) in &self.runs {
            check_run(*run, facts)?;
        }
        self.check_effects()?;
        self.check_events()?;
        self.check_state()?;
        self.check_repeats()
    }

    fn flow(&self, facts: &[Fact]) -> Option<&Flow> {
        let beginning = crate::model::record::beginning_of(facts)?;
        self.pipeline.flows.iter().find(|flow| flow.name == beginning.flow).map(|flow| &**flow)
    }

    /// No step has an effect under two keys, and each effect is that of a job that is recorded.
    fn check_effects(&self) -> Result<(), Broken> {
        let mut by_step: HashMap<(RunId, LaneId, StepNumber), JobId> = HashMap::new();
        let mut shared = Vec::new();
        for (job, run, step) in self.ledger.effects() {
            let dispatched = self.runs.get(&run).into_iter().flatten().find_map(|fact| match fact {
                Fact::JobDispatched { job: dispatched, lane, step, .. } if *dispatched == job => Some((*lane, *step)),
                _ => None,
            });
            let Some((lane, number)) = dispatched else { return Err(format!("job {job} of {step} was done and is not recorded")) };
            if let Some(other) = by_step.insert((run, lane, number), job) {
                return Err(format!("step {step} of run {run} was done under two keys, {other} and {job}"));
            }
            if step.starts_with('u') {
                shared.push(job);
            }
        }
        if shared.len() > 1 {
            return Err(format!("what `dedup` guards was done {} times: {shared:?}", shared.len()));
        }
        for facts in self.runs.values() {
            for fact in facts {
                if let Fact::JobEnded { job, outcome: JobOutcome::Succeeded { from: ResultSource::Executor, .. }, .. } = fact
                    && !self.is_call(facts, *job)
                    && !by_step.values().any(|done| done == job)
                    && !self.is_shared(facts, *job)
                    && !self.ledger.is_computed(*job)
                {
                    return Err(format!("job {job} succeeded and was never done"));
                }
            }
        }
        Ok(())
    }

    fn verb(&self, facts: &[Fact], job: JobId) -> Option<(&Verb, &str)> {
        let step = facts.iter().find_map(|fact| match fact {
            Fact::JobDispatched { job: dispatched, step, .. } if *dispatched == job => Some(*step),
            _ => None,
        })?;
        let step = self.flow(facts)?.step(step);
        Some((&step.verb, step.id.as_str()))
    }

    fn is_call(&self, facts: &[Fact], job: JobId) -> bool {
        self.verb(facts, job).is_some_and(|(_, id)| id.starts_with('c'))
    }

    /// Whether another job's attempt may have been taken over.
    fn is_shared(&self, facts: &[Fact], job: JobId) -> bool {
        self.verb(facts, job).is_some_and(|(_, id)| id.starts_with(['k', 'u']))
    }

    /// Every event that a flow hears was heard by it once, and none was heard or went out that no record knows.
    fn check_events(&self) -> Result<(), Broken> {
        let mut emitted: HashMap<EventId, &Event> = HashMap::new();
        let mut heard: HashSet<EventId> = HashSet::new();
        for fact in self.runs.values().flatten() {
            if let Fact::Emitted { events, .. } | Fact::JobEnded { events, .. } = fact {
                emitted.extend(events.iter().map(|event| (event.id, event)));
            }
        }
        for facts in self.runs.values() {
            let Some(event) = crate::model::record::beginning_of(facts).and_then(|beginning| beginning.event.as_ref()) else { continue };
            if !emitted.contains_key(&event.id) {
                return Err(format!("event {} {} was heard and is not recorded", event.event_type, event.id));
            }
            if !heard.insert(event.id) {
                return Err(format!("event {} {} was heard twice by one flow", event.event_type, event.id));
            }
        }
        if let Some(unknown) = self.published.iter().find(|event| !emitted.contains_key(*event)) {
            return Err(format!("event {unknown} went out and is not recorded"));
        }
        let unheard = emitted.values().find(|event| event.event_type.as_str() != "Answer" && !heard.contains(&event.id));
        unheard.map_or(Ok(()), |event| Err(format!("event {} {} was heard by nobody", event.event_type, event.id)))
    }

    /// The state is what the recorded changes have made of it, one after the other.
    fn check_state(&self) -> Result<(), Broken> {
        let mut after: HashMap<String, BTreeSet<i64>> = HashMap::new();
        let mut count: HashMap<String, usize> = HashMap::new();
        for facts in self.runs.values() {
            let Some(flow) = self.flow(facts) else { continue };
            for fact in facts {
                match fact {
                    Fact::StepDone { step, output, .. } if matches!(flow.step(*step).verb, Verb::Set(_)) => {
                        let Some(set) = output.tree().field("after").and_then(|after| after.as_map()) else { continue };
                        for (name, value) in set {
                            *count.entry(name.clone()).or_default() += 1;
                            after.entry(name.clone()).or_default().extend(value.as_int());
                        }
                    }
                    Fact::JobEnded { job, outcome: JobOutcome::Succeeded { .. }, .. }
                        if self.verb(facts, *job).is_some_and(|(_, id)| id.starts_with('o')) =>
                    {
                        *count.entry("promised".to_owned()).or_default() += 1;
                    }
                    _ => {}
                }
            }
        }
        for name in ["count", "noted", "promised"] {
            let is = self.state.field(name).and_then(|value| value.tree().as_int()).unwrap_or(-1);
            let expected = count.get(name).copied().unwrap_or_default();
            if is != expected as i64 {
                return Err(format!("state.{name} is {is}, and {expected} changes of it are recorded"));
            }
            let seen = after.get(name).map(BTreeSet::len).unwrap_or_default();
            if name != "promised" && seen != expected {
                return Err(format!(
                    "{expected} changes of state.{name} have left only {seen} values: one built on what another had not seen"
                ));
            }
        }
        Ok(())
    }

    /// A request that is repeated has succeeded once.
    fn check_repeats(&self) -> Result<(), Broken> {
        let once = |facts: &&Vec<Fact>| {
            let is_once = self.flow(facts).is_some_and(|flow| flow.name.as_str() == "once");
            is_once && end_of(facts) == Some(&RunOutcome::Succeeded)
        };
        match self.runs.values().filter(once).count() {
            0 | 1 => Ok(()),
            more => Err(format!("one request was done {more} times")),
        }
    }
}

/// One end for the run, one for each of its jobs, one event for each wait, and nothing but refused answers after its end.
fn check_run(run: RunId, facts: &[Fact]) -> Result<(), Broken> {
    let ends = facts.iter().filter(|fact| matches!(fact, Fact::Ended { .. })).count();
    if ends != 1 || end_of(facts).is_none() {
        return Err(format!("run {run} has {ends} ends: {facts:#?}"));
    }
    let mut jobs: HashMap<JobId, usize> = HashMap::new();
    let (mut done, mut undone) = (0, 0);
    for fact in facts {
        match fact {
            Fact::JobDispatched { job, .. } => drop(jobs.insert(*job, 0)),
            Fact::JobEnded { job, .. } => match jobs.get_mut(job) {
                Some(ends) => *ends += 1,
                None => return Err(format!("job {job} of run {run} ended and was not dispatched")),
            },
            Fact::UndoPlanned { .. } => done += 1,
            Fact::LaneOpened { purpose: LanePurpose::Undo, .. } => undone += 1,
            _ => {}
        }
    }
    if let Some((job, ends)) = jobs.iter().find(|(_, ends)| **ends != 1) {
        return Err(format!("job {job} of run {run} has {ends} ends: {facts:#?}"));
    }
    let succeeded = end_of(facts) == Some(&RunOutcome::Succeeded);
    match (succeeded, undone) {
        (true, 0) => Ok(()),
        (false, undone) if undone == done => Ok(()),
        _ => Err(format!("run {run} has done {done} steps that can be undone and undone {undone}; succeeded: {succeeded}")),
    }
}
