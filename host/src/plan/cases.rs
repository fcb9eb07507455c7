//! The tests of a pipeline, as its file has them under `tests`: what stands in for executors, what is done, and what must come of it.
//!
//! They are no part of what a pipeline does: its revision does not know them, and nothing of them reaches the engine of a real run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::template::Template;
use crate::model::diagnostic::Place;
use crate::model::event::Caller;
use crate::model::failure::FailureKind;
use crate::model::id::{EventType, ExecutorName, FlowName, PipelineName, StepId};
use crate::model::value::{Map, Tree};

/// One test.
#[derive(Debug)]
pub struct Case {
    /// What it shows, as it is written; no two of a file are the same.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// The flow that `send` starts where nothing else is said.
    pub flow: FlowName,
    /// Other pipeline files that are in force beside its own.
    pub files: Vec<PathBuf>,
    /// What stands in for executors.
    pub mocks: Vec<Mock>,
    /// The executors that run for real, with their resources in a folder that goes when the test ends.
    pub real: Vec<ExecutorName>,
    /// The environment variables that the files see; no others are there.
    pub environment: BTreeMap<String, String>,
    /// The values of secrets; one that is named nowhere here has a made-up value.
    pub secrets: BTreeMap<String, String>,
    /// What fields of the state are at first, where it is not what the file says.
    pub state: Map,
    /// The host is killed once, right after it is recorded that this step is done and before anything follows from it; then it starts anew.
    pub crash_after: Option<StepId>,
    /// What is done and expected, in order.
    pub actions: Vec<Action>,
}

/// Something that stands in for an executor.
#[derive(Debug)]
pub struct Mock {
    /// For which.
    pub target: MockTarget,
    /// Where it stands.
    pub place: Place,
    /// What it does.
    pub script: Script,
}

/// What a mock stands in for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MockTarget {
    /// An executor of this pipeline, by its number.
    Executor(usize),
    /// The jobs of the steps with this id that go to the executor of that number.
    Step(StepId, usize),
    /// An executor of another pipeline of the same test.
    Foreign(PipelineName, ExecutorName),
}

/// What a mock does from call to call.
#[derive(Debug)]
pub enum Script {
    /// One answer a call, in order; the last stays. At least one.
    Calls(Vec<Answer>),
    /// One answer for each attempt of a job, in order; the last stays. At least one.
    Attempts(Vec<Answer>),
}

/// What a mock does in one call: progress at equal distances over the delay, the first at once; then the events; then the end.
#[derive(Debug, Default)]
pub struct Answer {
    /// How long it takes; no time by default.
    pub delay: Duration,
    /// What it tells of how far it is.
    pub progress: Vec<Template>,
    /// The events that it emits.
    pub emit: Vec<(EventType, Template)>,
    /// How it ends.
    pub end: AnswerEnd,
}

/// How a mock's call ends.
#[derive(Debug, Default)]
pub enum AnswerEnd {
    /// With null.
    #[default]
    Nothing,
    /// With this output.
    Output(Template),
    /// With this failure.
    Fail {
        /// Its kind; `failed` by default.
        kind: FailureKind,
        /// Its code.
        code: Option<String>,
        /// Its message.
        message: String,
        /// The HTTP status that was the reason.
        status: Option<u16>,
        /// The wait that the other side asked for.
        retry_after: Option<Duration>,
    },
    /// Never: it is stopped by a limit or a cancel.
    Hang,
}

/// One thing that a test does, with its place.
#[derive(Debug)]
pub struct Action {
    /// What.
    pub deed: Deed,
    /// Where it stands.
    pub place: Place,
}

/// What a test can do.
#[derive(Debug)]
pub enum Deed {
    /// Starts a flow, and goes on at once.
    Send {
        /// The flow; `None` is the test's own.
        flow: Option<FlowName>,
        /// Its input.
        input: Template,
        /// Who asks.
        caller: Caller,
    },
    /// Puts events on the bus.
    Emit {
        /// The pipeline whose events they are; `None` is this one.
        from: Option<PipelineName>,
        /// The events.
        events: Vec<(EventType, Template)>,
        /// Whose word they are.
        caller: Caller,
    },
    /// Lets time pass.
    Advance(Duration),
    /// Lets as much time pass as it takes until no run is under way.
    Settle,
    /// Asks to cancel a run, by its number in `runs`.
    Cancel(usize),
    /// Kills the host and starts it anew.
    Restart,
    /// Puts files in force anew.
    Reload {
        /// The file that takes the place of the test's own; `None` is the same one again.
        file: Option<PathBuf>,
        /// Whether it has to be refused.
        refused: bool,
    },
    /// Compares what is with what must be.
    Expect(Written),
}

/// An expectation or a part of one, as it was written.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// Where it stands.
    pub place: Place,
    /// The characters of the file that it takes, the end not included; of a list or map only its first ones.
    pub span: (usize, usize),
    /// What it is.
    pub content: WrittenContent,
}

/// What an expectation is.
#[derive(Clone, PartialEq, Debug)]
pub enum WrittenContent {
    /// Text, a number, a truth or null.
    Scalar(Tree),
    /// A list: each item, and no more.
    List(Vec<Written>),
    /// A map: these fields, and perhaps others.
    Map(Vec<WrittenField>),
}

/// A field of an expectation.
#[derive(Clone, PartialEq, Debug)]
pub struct WrittenField {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// What it must be.
    pub value: Written,
}

impl Written {
    /// A field of it, if it is a map that has it.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields().iter().find(|field| field.name == name).map(|field| &field.value)
    }

    /// Its fields; none if it is no map.
    pub fn fields(&self) -> &[WrittenField] {
        match &self.content {
            WrittenContent::Map(fields) => fields,
            WrittenContent::Scalar(_) | WrittenContent::List(_) => &[],
        }
    }

    /// Its items; none if it is no list.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            WrittenContent::List(items) => items,
            WrittenContent::Scalar(_) | WrittenContent::Map(_) => &[],
        }
    }

    /// What it means, without places.
    pub fn tree(&self) -> Tree {
        match &self.content {
            WrittenContent::Scalar(tree) => tree.clone(),
            WrittenContent::List(items) => Tree::List(items.iter().map(Self::tree).collect()),
            WrittenContent::Map(fields) => Tree::Map(fields.iter().map(|field| (field.name.clone(), field.value.tree())).collect()),
        }
    }
}
