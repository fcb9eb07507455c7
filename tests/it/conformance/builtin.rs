//! The suite against built-ins, with one that is added to the host's own.

use std::sync::Arc;

use futures_util::FutureExt;
use pipehost::executor::builtin::{Builtin, Builtins};
use pipehost::executor::host_api::HostApi;
use pipehost::model::executor::{Description, ExecutorReference, Home as Place};
use pipehost::model::failure::{Failure, FailureKind};
use pipehost::model::grant::Limits;
use pipehost::model::id::Digest;
use pipehost::model::job::Job;
use pipehost::model::port::{Attempt, CatalogProblem, Executor, Processing};
use pipehost::model::value::{Tree, Value};

use super::{Home, Promise, WallClock};

const NAME: &str = "test.conformance";

struct Added;

impl Home for Added {
    fn open(&self, limits: Limits, host: Arc<dyn HostApi>) -> Arc<dyn Executor> {
        let home = Builtins::new(Arc::new(WallClock::start())).with(Arc::new(Conformance));
        let reference = self.reference(Place::Builtin(NAME.to_owned()), limits);
        home.open(&reference, host).unwrap_or_else(|problem| panic!("{problem:?}"))
    }

    fn promise(&self, deed: &str) -> Promise {
        match deed {
            "loop" => Promise::Stops("limit_wall"),
            "memory" => Promise::SaysThatItIsNotKept("memory"),
            "recursion" => Promise::SaysThatItIsNotKept("stack"),
            "trap" => Promise::Stops("panic"),
            _ => Promise::Stops("limit_output"),
        }
    }

    fn shown(&self) -> &'static str {
        "executor `guest` (built-in `test.conformance`) in job 0"
    }
}

/// Does what the suite asks of it, but for what would take the whole program with it.
struct Conformance;

impl Builtin for Conformance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> Description {
        let summary = "Does what the conformance suite asks of it".to_owned();
        Description { summary, ..Description::new(NAME, Digest::of(NAME.as_bytes())) }
    }

    fn open(&self, _: &ExecutorReference, host: Arc<dyn HostApi>) -> Result<Arc<dyn Executor>, CatalogProblem> {
        Ok(Arc::new(Opened { description: self.description(), host }))
    }
}

struct Opened {
    description: Description,
    host: Arc<dyn HostApi>,
}

impl Executor for Opened {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        async move {
            let text = |name: &str| job.input.field(name).and_then(|field| field.tree().as_text().map(str::to_owned)).unwrap_or_default();
            let number = |number: i64| Value::from(Tree::Int(number));
            match text("do").as_str() {
                "echo" => Ok(job.input.field("value").unwrap_or_else(Value::null)),
                "progress" => {
                    (1..=3).for_each(|step| attempt.channel.progress(Value::map([("step", number(step))])));
                    Ok(Value::null())
                }
                "emit" => attempt.channel.emit("Conformance".into(), Value::map([("n", number(1))])).map(|()| Value::null()),
                "fail" => Err(Failure::new(FailureKind::from_name(&text("kind")).expect("the suite knows the kinds"), "as asked")),
                "compute" | "loop" => loop {
                    tokio::task::yield_now().await;
                },
                "wait" => self.host.sql_query(None, "select 1", &Value::null()).await,
                "trap" => panic!("as asked"),
                "output" => {
                    let bytes = job.input.field("bytes").and_then(|field| field.tree().as_int()).expect("the suite says how many");
                    Ok(Value::string("x".repeat(usize::try_from(bytes).expect("there are some"))))
                }
                other => panic!("the suite asks for {other}"),
            }
        }
        .boxed()
    }
}

super::suite!(Added);

#[test]
fn an_added_built_in_is_named_among_the_others_and_takes_no_name_of_theirs() {
    let home = Builtins::new(Arc::new(WallClock::start())).with(Arc::new(Conformance));
    assert!(home.names().contains(&(NAME, false)) && home.names().contains(&("log", true)));
    let reference = |name: &str| Added.reference(Place::Builtin(name.to_owned()), Limits::default());
    assert_eq!(home.describe(&reference(NAME)).expect("it is there").name, NAME);
    let problem = home.describe(&reference("test.conformanse")).expect_err("it is not there");
    assert_eq!(problem.help.as_deref(), Some("did you mean test.conformance?"));
}
