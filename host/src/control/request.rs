//! What is said over the socket: one JSON object a line. A request is `{"version":1,"request":"send",…}`; each answer is
//! `{"answer":"…",…}`, and the last one is `refused`, `done`, `ended`, `left`, or `accepted` where nobody waits.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::app::{MigrationWanted, RunsWanted, Signal};
use crate::model::activation::RunOutcome;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{RunId, StepId};
use crate::model::value::Value;

/// The version of what is said. A host refuses every other one by its number, so that an old client is told to become newer.
pub const VERSION: u32 = 1;

/// The longest line of a request, in bytes, its end included.
pub const LONGEST_REQUEST: usize = 4 << 20;

/// The longest line of an answer, in bytes: outputs are limited to less.
pub const LONGEST_ANSWER: usize = 256 << 20;

/// The code of what one side says and the other does not understand.
pub const NOT_UNDERSTOOD: &str = "E0724";

/// What is wanted of the host.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Start a flow by its name.
    Send(SendRequest),
    /// List runs: an `item` each.
    Runs(RunsWanted),
    /// Tell the story of a run.
    Run(OneRequest),
    /// Show what belongs to a request: an `item` for each node of the tree.
    Trace(OneRequest),
    /// List dead letters: an `item` each.
    Letters(FewRequest),
    /// Tell of a dead letter, with its history.
    Letter(OneRequest),
    /// Ask a run to stop.
    Cancel(OneRequest),
    /// Have a parked or stalled run go on.
    Resume(OneRequest),
    /// Do a run again.
    Retry(RetryRequest),
    /// Do what a dead letter is about again.
    Replay(OneRequest),
    /// Forget a dead letter.
    Drop(OneRequest),
    /// Answer a run that waits.
    Signal(Signal),
    /// Have runs go over to the revision in force: an `item` each.
    Migrate(MigrationWanted),
}

/// A wish to do a run again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// The run's id, or the beginning of it.
    pub id: String,
    /// The step to begin with; the first one if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StepId>,
    /// Whether it is done although its request has been answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeat: bool,
}

/// A wish that concerns one run, request or dead letter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneRequest {
    /// Its id, or the beginning of it.
    pub id: String,
}

/// A wish to start a flow by its name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// `pipeline.flow`, or `pipeline` if one flow of it is started by name.
    pub target: String,
    /// Its input: a JSON object.
    pub input: Value,
    /// Who asks: `caller.id` in expressions. It is believed: only the owner of the data folder can speak to the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Whether to be told of progress, reply and end; else only whether it was admitted.
    #[serde(default = "yes")]
    pub wait: bool,
}

const fn yes() -> bool {
    true
}

/// A wish for the newest of something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewRequest {
    /// At most so many.
    pub limit: usize,
}

/// What the host says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The run was admitted.
    Accepted {
        /// Which run it is; `None` if the flow forgot the message, as its `when_full: drop` says.
        run: Option<RunId>,
        /// A sentence for each field of the input that the flow does not declare.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        unread: Vec<String>,
    },
    /// A progress of a step with `stream: true`.
    Progress {
        /// What the executor told.
        progress: Value,
    },
    /// So much progress was left out, because it came faster than it was read.
    Lost {
        /// How many.
        count: u64,
    },
    /// The run's reply.
    Reply {
        /// What it is.
        reply: Value,
    },
    /// The run ended. Nothing comes after it.
    Ended {
        /// Which run.
        run: RunId,
        /// Whether a fallback stood in somewhere.
        degraded: bool,
        /// How.
        #[serde(flatten)]
        outcome: RunOutcome,
    },
    /// The host is ending, and the run goes on when it starts again. Nothing comes after it.
    Left {
        /// Which run.
        run: RunId,
    },
    /// One of those that were asked for: what it has is said by the request.
    Item {
        /// What it is.
        item: Value,
    },
    /// All was said. Nothing comes after it.
    Done {
        /// How much more there is than was asked for, where that is known; 1 stands for some.
        more: u64,
        /// What is missing, since the host's journal cannot be read to its end.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        left_out: Option<String>,
    },
    /// It is not done. Nothing comes after it.
    Refused {
        /// Why.
        failure: Failure,
    },
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// `invalid` with [`NOT_UNDERSTOOD`]: what was wanted instead. What was sent is not repeated, as it may hold anything.
    pub fn parse(line: &[u8]) -> Result<Self, Failure> {
        let mut object: Map<String, Json> = serde_json::from_slice(line).map_err(|_| refuse("a request is one JSON object on one line"))?;
        let version = object.remove("version").and_then(|version| version.as_u64());
        if version != Some(u64::from(VERSION)) {
            let said = version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
            return Err(refuse(&format!(
                "this host speaks version {VERSION}, and the request says {said}; use a pipehost of the same version"
            )));
        }
        let word = object.remove("request");
        let Some(word) = word.as_ref().and_then(Json::as_str) else {
            return Err(refuse("the request does not say what is wanted, as \"request\":\"send\""));
        };
        match word {
            "send" => body(word, "target, input, caller and wait", object).map(Self::Send),
            "runs" => body(word, "pipeline, flow, status and limit", object).map(Self::Runs),
            "run" => body(word, "id", object).map(Self::Run),
            "trace" => body(word, "id", object).map(Self::Trace),
            "letters" => body(word, "limit", object).map(Self::Letters),
            "letter" => body(word, "id", object).map(Self::Letter),
            "cancel" => body(word, "id", object).map(Self::Cancel),
            "resume" => body(word, "id", object).map(Self::Resume),
            "retry" => body(word, "id, from and repeat", object).map(Self::Retry),
            "replay" => body(word, "id", object).map(Self::Replay),
            "drop" => body(word, "id", object).map(Self::Drop),
            "signal" => body(word, "run, event, data and caller", object).map(Self::Signal),
            "migrate" => body(word, "run and dry_run", object).map(Self::Migrate),
            _ => Err(refuse(&format!("this host does not know that request; it knows {KNOWN}"))),
        }
    }

    /// Whether it changes nothing: then it can be answered by what a host left.
    pub const fn only_looks(&self) -> bool {
        matches!(self, Self::Runs(_) | Self::Run(_) | Self::Trace(_) | Self::Letters(_) | Self::Letter(_))
    }

    /// The request as one line, its end included.
    pub fn line(&self) -> String {
        let (word, body) = match self {
            Self::Send(send) => ("send", serde_json::to_value(send)),
            Self::Runs(wanted) => ("runs", serde_json::to_value(wanted)),
            Self::Run(one) => ("run", serde_json::to_value(one)),
            Self::Trace(one) => ("trace", serde_json::to_value(one)),
            Self::Letters(few) => ("letters", serde_json::to_value(few)),
            Self::Letter(one) => ("letter", serde_json::to_value(one)),
            Self::Cancel(one) => ("cancel", serde_json::to_value(one)),
            Self::Resume(one) => ("resume", serde_json::to_value(one)),
            Self::Retry(retry) => ("retry", serde_json::to_value(retry)),
            Self::Replay(one) => ("replay", serde_json::to_value(one)),
            Self::Drop(one) => ("drop", serde_json::to_value(one)),
            Self::Signal(signal) => ("signal", serde_json::to_value(signal)),
            Self::Migrate(wanted) => ("migrate", serde_json::to_value(wanted)),
        };
        let mut object = Map::new();
        object.insert("version".to_owned(), VERSION.into());
        object.insert("request".to_owned(), word.into());
        if let Ok(Json::Object(body)) = body {
            object.extend(body);
        }
        format!("{}\n", Json::Object(object))
    }
}

impl Answer {
    /// The answer as one line, its end included.
    pub fn line(&self) -> String {
        // Values are trees of JSON, and their keys are text: there is nothing in them that cannot be written.
        let text = serde_json::to_string(self).unwrap_or_else(|_| r#"{"answer":"lost","count":1}"#.to_owned());
        format!("{text}\n")
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// `invalid` with [`NOT_UNDERSTOOD`].
    pub fn parse(line: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(line).map_err(|_| not_understood())
    }
}

/// The words of all requests.
const KNOWN: &str = "send, runs, run, trace, letters, letter, cancel, resume, retry, migrate, replay, drop and signal";

fn body<T: DeserializeOwned>(word: &str, fields: &str, object: Map<String, Json>) -> Result<T, Failure> {
    let wrong = |_| refuse(&format!("the request `{word}` has {fields}, and nothing else"));
    serde_json::from_value(Json::Object(object)).map_err(wrong)
}

/// What the host answered is not understood.
pub(super) fn not_understood() -> Failure {
    refuse("the host answered what this pipehost does not understand; use the same version of both")
}

pub(super) fn refuse(message: &str) -> Failure {
    Failure::new(FailureKind::Invalid, message).with_code(NOT_UNDERSTOOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_each_answer_survive_their_line() {
        let input = Value::from_text(r#"{"text":"hi\nthere","n":1.5}"#).expect("JSON");
        let request = Request::Send(SendRequest { target: "cart.add".to_owned(), input, caller: Some("alice".to_owned()), wait: false });
        let one = || OneRequest { id: "01a1".to_owned() };
        let signal = Signal { run: "01a1".to_owned(), event: "Approved".into(), data: Value::map([]), caller: "alice".to_owned() };
        let migrate = Request::Migrate(MigrationWanted { run: None, dry_run: true });
        let wanted = RunsWanted { status: Some("open".to_owned()), limit: 7, ..RunsWanted::default() };
        let others = [
            Request::Runs(wanted),
            Request::Run(one()),
            Request::Trace(one()),
            Request::Letters(FewRequest { limit: 3 }),
            Request::Letter(one()),
            Request::Cancel(one()),
            Request::Resume(one()),
            Request::Retry(RetryRequest { id: "01".to_owned(), from: Some("pay".into()), repeat: true }),
            migrate,
            Request::Replay(one()),
            Request::Drop(one()),
            Request::Signal(signal),
        ];
        for request in others.into_iter().chain([request]) {
            let line = request.line();
            assert_eq!((line.matches('\n').count(), Request::parse(line.as_bytes())), (1, Ok(request)));
        }
        let run = RunId::new(uuid::Uuid::nil());
        let failure = Failure::new(FailureKind::Denied, "no").with_code("E1");
        for answer in [
            Answer::Accepted { run: Some(run), unread: Vec::new() },
            Answer::Accepted { run: None, unread: vec!["there is no field `x`".to_owned()] },
            Answer::Progress { progress: Value::map([("token", Value::string("He"))]) },
            Answer::Lost { count: 3 },
            Answer::Reply { reply: Value::null() },
            Answer::Ended { run, degraded: true, outcome: RunOutcome::Failed { failure: failure.clone() } },
            Answer::Ended { run, degraded: false, outcome: RunOutcome::Succeeded },
            Answer::Left { run },
            Answer::Item { item: Value::map([("run", Value::string("a"))]) },
            Answer::Done { more: 1, left_out: None },
            Answer::Done { more: 0, left_out: Some("a row".to_owned()) },
            Answer::Refused { failure },
        ] {
            assert_eq!(Answer::parse(answer.line().as_bytes()), Ok(answer));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_what_is_wanted() {
        let message = |line: &str| Request::parse(line.as_bytes()).expect_err("it is none").into_particulars().message;
        for (line, words) in [
            ("", "one JSON object"),
            ("[]", "one JSON object"),
            ("{}", "says no version"),
            (r#"{"version":2,"request":"send"}"#, "speaks version 1, and the request says version 2"),
            (r#"{"version":1}"#, "does not say what is wanted"),
            (r#"{"version":1,"request":"rm"}"#, "it knows send, runs"),
            (r#"{"version":1,"request":"send","target":"a"}"#, "has target, input, caller and wait"),
            (r#"{"version":1,"request":"send","target":"a","input":{},"more":1}"#, "has target, input, caller and wait"),
        ] {
            assert!(message(line).contains(words), "{line}: {}", message(line));
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Request::parse(deep.as_bytes()).is_err());
    }
}
