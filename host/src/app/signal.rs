//! Answers of people to runs that wait: which wait is meant, and what it made of the answer.

use serde::{Deserialize, Serialize};

use super::asked::ended;
use super::commands::Commands;
use super::unread::unread;
use super::views::{AnswerStory, RunStory, Status, StepStory, WaitStory};
use crate::engine::{UNKNOWN_PIPELINE, listens};
use crate::model::event::Caller;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{EventId, EventType, RunId};
use crate::model::record::{Fact, RefusedAnswer};
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::Flow;
use crate::policy::key;

/// The code of an answer that no wait of the run's flow takes.
pub const NOT_AWAITED: &str = "E0769";
/// The code of an answer that was refused.
pub const REFUSED: &str = "E0770";

/// The code of an answer whose data is not what its event declares, or may not leave a run.
pub const WRONG_DATA: &str = "E0777";

/// An answer to a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The run, or the beginning of its id.
    pub run: String,
    /// The type of the event.
    pub event: EventType,
    /// Its data: a JSON object. Fields by which the wait knows its answers are put in where they are left out.
    pub data: Value,
    /// Who answers: `event.caller.id` in the wait's `where`.
    pub caller: String,
}

/// What became of an answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Signalled {
    /// The run.
    pub run: RunId,
    /// The event that the answer became.
    pub event: EventId,
    /// What the run made of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// A sentence for each field of the answer that the event does not declare, the first eight.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unread: Vec<String>,
}

/// What a run made of an answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The wait took it, and the run goes on.
    Taken,
    /// No wait looks at it now. A later wait of this run takes it, if it has the fields that one asks for.
    Kept {
        /// What the waits that are open ask for and it has not, in a sentence; absent where none is open.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        open: Option<String>,
    },
    /// It was not taken.
    Refused {
        /// `guard`, `late`, `double` or `full`.
        reason: String,
        /// The same in a sentence.
        message: String,
    },
}

impl Commands {
    /// Answers a run, and returns what came of it once the run has decided and that is recorded.
    ///
    /// # Errors
    /// As [`Views::find`](super::views::Views::find); `invalid` with [`NOT_AWAITED`] if no wait of its flow takes such an event; `invalid` with
    /// [`WRONG_DATA`] if the data is not what the event declares, with [`ANSWER_LACKS`](crate::engine::ANSWER_LACKS) if it leaves out what cannot be put in; `conflict`
    /// with [`REFUSED`] if the run is stalled and its pipeline cannot be had, or if all its waits for such an event are open and ask for others: then it is put
    /// on no bus.
    pub async fn signal(&self, signal: Signal) -> Result<Signalled, Failure> {
        let story = self.views.run(&signal.run).await?;
        let run = story.row.run;
        let (_, pipeline) = self.views.history(run).await?;
        let flow = pipeline.as_ref().and_then(|pipeline| pipeline.flows.iter().find(|flow| flow.name == story.row.flow));
        if let Some(flow) = flow {
            is_awaited(flow, &signal.event)?;
        }
        let declared = pipeline.as_ref().and_then(|pipeline| pipeline.events.get(&signal.event));
        let unread = declared.map_or_else(Vec::new, |declared| unread(declared, &signal.data, &format!("event {}", signal.event)));
        let data = completed(&signal.data, &waits(&story, &signal.event));
        let open = unmet(&story.steps, &signal.event, &data);
        if let (Some(open), Some(flow)) = (&open, flow)
            && !others_may_come(flow, &story.steps, &signal.event)
        {
            let message = format!("{open}; run {run} has not heard of this answer: give what the wait asks for, or leave that out");
            return Err(Failure::new(FailureKind::Conflict, message).with_code(REFUSED));
        }
        let caller = Caller { id: Some(signal.caller.clone()), roles: Vec::new() };
        let emitted = self.engine.signal(run, signal.event.clone(), data, caller).await;
        let emitted = emitted.map_err(|failure| match &story.row.status {
            // Neither in force nor made again: what hinders the run hinders its answer.
            Status::Stalled { reason } if failure.code.as_deref() == Some(UNKNOWN_PIPELINE) => stalled(run, reason),
            _ => with_code(failure),
        })?;
        let refused = emitted.refused.iter().find(|(other, _)| *other == run).map(|(_, reason)| *reason);
        let verdict = match refused {
            Some(reason) => Verdict::Refused { reason: reason.as_str().to_owned(), message: why(reason, &story, &signal) },
            // A run that has ended looks at nothing, nor will it.
            None if !story.row.status.is_open() => return Err(ended(run, &story.row.status)),
            None if self.took(run, emitted.id).await? => Verdict::Taken,
            None => Verdict::Kept { open },
        };
        Ok(Signalled { run, event: emitted.id, verdict, unread })
    }

    async fn took(&self, run: RunId, answer: EventId) -> Result<bool, Failure> {
        let (facts, _) = self.views.history(run).await?;
        Ok(facts.iter().any(|fact| matches!(fact, Fact::WaitEnded { event: Some(event), .. } if event.id == answer)))
    }
}

fn stalled(run: RunId, reason: &str) -> Failure {
    let message = format!("run {run} is stalled and takes no answer until it can go on: {reason}");
    Failure::new(FailureKind::Conflict, message).with_code(REFUSED)
}

/// What is said of data in a word among programs, with the code that people look up.
fn with_code(failure: Failure) -> Failure {
    match failure.code.as_deref() {
        Some("event_type" | "secret" | "too_deep") => failure.with_code(WRONG_DATA),
        _ => failure,
    }
}

fn is_awaited(flow: &Flow, event: &EventType) -> Result<(), Failure> {
    let mut awaited: Vec<&str> = listens(flow).flat_map(|listen| &listen.types).map(EventType::as_str).collect();
    if awaited.contains(&event.as_str()) {
        return Ok(());
    }
    awaited.sort_unstable();
    awaited.dedup();
    let waits = if awaited.is_empty() { "it waits for nothing".to_owned() } else { format!("it waits for {}", awaited.join(" or ")) };
    let message = format!("the flow {} never waits for {event}; {waits}", flow.name);
    Err(Failure::new(FailureKind::Invalid, message).with_code(NOT_AWAITED))
}

/// The waits of a run for such an event, the one that began last in front.
fn waits<'a>(story: &'a RunStory, event: &EventType) -> Vec<&'a WaitStory> {
    story.steps.iter().rev().filter_map(|step| step.wait.as_ref()).filter(|wait| wait.events.contains(event)).collect()
}

/// The waits for such an event that are open.
fn open<'a>(steps: &'a [StepStory], event: &EventType) -> impl Iterator<Item = (&'a StepStory, &'a WaitStory)> {
    let open = steps.iter().filter(|step| step.ended.is_none()).filter_map(|step| Some((step, step.wait.as_ref()?)));
    open.filter(move |(_, wait)| wait.timed_out.is_none() && wait.events.contains(event))
}

/// What the open waits for such an event ask for that these data have not; `None` if none is open, or if one looks at the event.
fn unmet(steps: &[StepStory], event: &EventType, data: &Value) -> Option<String> {
    let differs = |(step, wait): (&StepStory, &WaitStory)| {
        wait.matching.iter().find_map(|(name, wanted)| {
            let (given, wanted) = (Value::from(data.tree().field(name)?.clone()), Value::from(wanted.clone()));
            // What cannot be compared may be filled in by the event's type.
            let is_other = key::text(&given).ok()? != key::text(&wanted).ok()?;
            is_other.then(|| {
                format!("the wait {} is for {event} with {name} = {}, and this one has {}", step.step, wanted.text(), given.text())
            })
        })
    };
    let all: Option<Vec<String>> = open(steps, event).map(differs).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.join("; "))
}

/// Whether the run may come to another wait for such an event than those that are open, or be cancelled by it. Of the items of an `each` nobody knows.
fn others_may_come(flow: &Flow, steps: &[StepStory], event: &EventType) -> bool {
    let all = listens(flow).filter(|listen| listen.types.contains(event)).count();
    all > open(steps, event).count() || open(steps, event).any(|(step, _)| step.step.contains('['))
}

/// The data with the fields by which the wait knows its answers: who names the run need not name it again.
fn completed(data: &Value, waits: &[&WaitStory]) -> Value {
    let (Some(wait), Tree::Map(given)) = (waits.first(), data.tree()) else { return data.clone() };
    let missing = wait.matching.iter().filter(|(name, _)| !given.contains_key(*name));
    let fields: Map = given.iter().chain(missing).map(|(name, field)| (name.clone(), field.clone())).collect();
    Value::from(Tree::Map(fields))
}

/// Why an answer was refused, for whoever gave it.
fn why(reason: RefusedAnswer, story: &RunStory, signal: &Signal) -> String {
    let Signal { event, caller, .. } = signal;
    let waits = waits(story, event);
    match reason {
        RefusedAnswer::Guard => format!("the wait for {event} does not take this answer from {caller}: its where does not hold"),
        RefusedAnswer::Double => {
            let taken = waits.iter().flat_map(|wait| &wait.answers).find(|answer| answer.refused.is_none());
            format!("the wait for {event} has its answer already{}", taken.map_or_else(String::new, by_whom))
        }
        RefusedAnswer::Late => match waits.iter().find_map(|wait| wait.timed_out) {
            Some(at) => format!("the wait for {event} gave up at {at}"),
            None => format!("the wait for {event} is over"),
        },
        RefusedAnswer::Full => format!("too many answers for {event} are on their way to this run; try again"),
    }
}

fn by_whom(answer: &AnswerStory) -> String {
    let by = answer.event.caller.id.as_ref().map_or_else(String::new, |id| format!(" by {id}"));
    format!(": {}{by} at {}", answer.event.event_type, answer.event.time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    fn waits_for(step: &str, order: &str, ended: Option<Timestamp>) -> StepStory {
        let wait = WaitStory {
            events: vec!["Approved".into()],
            matching: [("order".to_owned(), Tree::from(order))].into_iter().collect(),
            until: Timestamp::MAX,
            reminders: 0,
            reminded: Vec::new(),
            timed_out: None,
            answers: Vec::new(),
        };
        StepStory { step: step.to_owned(), wait: Some(wait), ended, ..StepStory::default() }
    }

    fn unmet_by(order: &str, steps: &[StepStory]) -> Option<String> {
        unmet(steps, &"Approved".into(), &Value::map([("order", Value::string(order))]))
    }

    #[test]
    fn an_answer_that_no_open_wait_is_for_names_what_each_of_them_asks_for() {
        let over = || waits_for("first", "b1", Some(Timestamp::EPOCH));
        let both = [over(), waits_for("pay", "b4", None), waits_for("ship", "b5", None)];
        let told = "the wait pay is for Approved with order = \"b4\", and this one has \"zzz\"; the wait ship is for Approved with order = \"b5\", and this one has \"zzz\"";
        assert_eq!(unmet_by("zzz", &both).as_deref(), Some(told));
        assert_eq!(unmet_by("b5", &both), None, "one of them takes it");
        assert_eq!(unmet_by("zzz", &[over()]), None, "none is open");
        let other_type = unmet(&both, &"Rejected".into(), &Value::map([("order", Value::string("zzz"))]));
        assert_eq!(other_type, None);
    }

    #[test]
    fn a_field_that_the_type_fills_in_is_no_other_one_and_a_whole_number_is_the_same_with_a_point() {
        let mut step = waits_for("pay", "b4", None);
        let wait = step.wait.as_mut().expect("it is one");
        wait.matching = [("order".to_owned(), Tree::Float(7.0))].into_iter().collect();
        let with = |order: Tree| {
            unmet(
                std::slice::from_ref(&step),
                &"Approved".into(),
                &Value::from(Tree::Map([("order".to_owned(), order)].into_iter().collect())),
            )
        };
        assert_eq!((with(Tree::Int(7)), with(Tree::Null)), (None, None));
        assert!(with(Tree::Int(8)).is_some());
    }
}
