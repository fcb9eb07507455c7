//! Keeps what an executor says free of the secrets that it was given: the one place that searches texts for their values.

use std::sync::Arc;

use futures_util::FutureExt;

use crate::model::executor::Description;
use crate::model::failure::Failure;
use crate::model::happening::LogLevel;
use crate::model::id::EventType;
use crate::model::job::Job;
use crate::model::port::{AtOnce, Attempt, Executor, JobChannel, MakeData, OutboxTable, Outgoing, Processing};
use crate::model::secret::Secret;
use crate::model::value::{Tree, Value};

/// A value of fewer bytes is not searched for: it would be found in every other text, and it keeps nothing secret.
const SHORTEST: usize = 4;

/// An executor whose log lines, progress, events, outputs and failures show `«secret NAME»` where the value of a secret stood that it was given: by a
/// grant, in its configuration, or in a job's input. Without secrets it is the executor itself, and nothing is searched.
pub(super) struct Redacting {
    executor: Arc<dyn Executor>,
    given: Arc<Values>,
}

impl Redacting {
    pub(super) fn new(executor: Arc<dyn Executor>, granted: impl IntoIterator<Item = Secret>, config: &Value) -> Self {
        let mut secrets: Vec<Secret> = granted.into_iter().collect();
        collect(config.tree(), &mut secrets);
        Self { executor, given: Arc::new(Values::of(secrets)) }
    }

    /// What the executor knows while it has this input.
    fn known(&self, input: &Value) -> Arc<Values> {
        if !input.holds_secret() {
            return Arc::clone(&self.given);
        }
        let mut secrets: Vec<Secret> = self.given.0.iter().map(|value| value.secret.clone()).collect();
        collect(input.tree(), &mut secrets);
        Arc::new(Values::of(secrets))
    }
}

impl Executor for Redacting {
    fn description(&self) -> &Description {
        self.executor.description()
    }

    fn only_computes(&self) -> bool {
        self.executor.only_computes()
    }

    fn outboxes(&self) -> Vec<Arc<dyn OutboxTable>> {
        self.executor.outboxes()
    }

    fn process_at_once(&self, job: &Arc<Job>, attempt: Attempt) -> AtOnce {
        let is_given_none = self.given.0.is_empty() && !job.input.holds_secret();
        if is_given_none { self.executor.process_at_once(job, attempt) } else { Err(attempt) }
    }

    fn process(&self, job: Arc<Job>, attempt: Attempt) -> Processing<'_> {
        let values = self.known(&job.input);
        if values.0.is_empty() {
            return self.executor.process(job, attempt);
        }
        let channel = Arc::new(Channel { inner: Arc::clone(&attempt.channel), values: Arc::clone(&values) });
        async move {
            let result = self.executor.process(job, Attempt { channel, ..attempt }).await;
            result.map(|output| values.value(output)).map_err(|failure| values.failure(failure))
        }
        .boxed()
    }
}

/// Passes on what the executor tells while it works.
struct Channel {
    inner: Arc<dyn JobChannel>,
    values: Arc<Values>,
}

impl JobChannel for Channel {
    fn progress(&self, progress: Value) {
        self.inner.progress(self.values.value(progress));
    }

    fn emit(&self, event_type: EventType, data: Value) -> Result<(), Failure> {
        self.inner.emit(event_type, self.values.value(data))
    }

    fn log(&self, level: LogLevel, message: String) {
        self.inner.log(level, self.values.text(&message).unwrap_or(message));
    }

    fn outgoing(&self) -> Option<Outgoing> {
        let outgoing = self.inner.outgoing()?;
        let (make, values) = (Arc::clone(&outgoing.data), Arc::clone(&self.values));
        let data: MakeData = Arc::new(move |output| make(&values.value(output.clone())));
        Some(Outgoing { data, ..outgoing })
    }

    fn outboxed(&self, table: Arc<dyn OutboxTable>) {
        self.inner.outboxed(table);
    }
}

/// The values to look for, the longest first: one may hold another.
struct Values(Vec<Searched>);

struct Searched {
    secret: Secret,
    /// As it stands within JSON text.
    escaped: String,
}

impl Values {
    fn of(mut secrets: Vec<Secret>) -> Self {
        secrets.retain(|secret| secret.reveal().len() >= SHORTEST);
        secrets.sort_by(|one, other| (other.reveal().len(), one.name()).cmp(&(one.reveal().len(), other.name())));
        secrets.dedup();
        let searched = |secret: Secret| {
            let quoted = serde_json::Value::from(secret.reveal()).to_string();
            Searched { escaped: quoted.trim_matches('"').to_owned(), secret }
        };
        Self(secrets.into_iter().map(searched).collect())
    }

    /// The text without them; nothing if there are none in it.
    fn text(&self, text: &str) -> Option<String> {
        let mut found: Option<String> = None;
        for Searched { secret, .. } in &self.0 {
            let now = found.as_deref().unwrap_or(text);
            if now.contains(secret.reveal()) {
                found = Some(now.replace(secret.reveal(), &secret.to_string()));
            }
        }
        found
    }

    fn value(&self, value: Value) -> Value {
        // What came as JSON text is not parsed for nothing. A text with escaped characters may hold a value in another spelling than ours.
        if let (Some(text), None) = (value.text_if_known(), value.tree_if_known()) {
            let may_be_there = text.contains("\\u") || self.0.iter().any(|one| text.contains(&one.escaped));
            if !may_be_there {
                return value;
            }
        }
        if self.is_in(value.tree()) { Value::from(self.tree(value.tree())) } else { value }
    }

    fn is_in(&self, tree: &Tree) -> bool {
        match tree {
            Tree::Text(text) => self.0.iter().any(|one| text.contains(one.secret.reveal())),
            Tree::List(items) => items.iter().any(|item| self.is_in(item)),
            Tree::Map(fields) => fields.iter().any(|(name, field)| self.text(name).is_some() || self.is_in(field)),
            Tree::Int(_) | Tree::Float(_) => self.number(tree).is_some(),
            Tree::Null | Tree::Bool(_) | Tree::Secret(_) => false,
        }
    }

    fn tree(&self, tree: &Tree) -> Tree {
        match tree {
            Tree::Text(text) => Tree::Text(self.text(text).unwrap_or_else(|| text.clone())),
            Tree::List(items) => Tree::List(items.iter().map(|item| self.tree(item)).collect()),
            Tree::Map(fields) => {
                let field = |(name, field): (&String, &Tree)| (self.text(name).unwrap_or_else(|| name.clone()), self.tree(field));
                Tree::Map(fields.iter().map(field).collect())
            }
            Tree::Int(_) | Tree::Float(_) => self.number(tree).map_or_else(|| tree.clone(), Tree::Text),
            Tree::Null | Tree::Bool(_) | Tree::Secret(_) => tree.clone(),
        }
    }

    /// A secret that is a number may be given back as one.
    fn number(&self, number: &Tree) -> Option<String> {
        let is = |one: &&Searched| match number {
            Tree::Int(number) => one.secret.reveal().parse() == Ok(*number),
            Tree::Float(number) => one.secret.reveal().parse() == Ok(*number),
            _ => false,
        };
        self.0.iter().find(is).map(|one| one.secret.to_string())
    }

    fn failure(&self, failure: Failure) -> Failure {
        failure.with_texts(&|text| self.text(text).unwrap_or_else(|| text.to_owned()))
    }
}

fn collect(tree: &Tree, secrets: &mut Vec<Secret>) {
    match tree {
        Tree::Secret(secret) => secrets.push(secret.clone()),
        Tree::List(items) => items.iter().for_each(|item| collect(item, secrets)),
        Tree::Map(fields) => fields.values().for_each(|field| collect(field, secrets)),
        Tree::Null | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(secrets: &[(&str, &str)]) -> Values {
        Values::of(secrets.iter().map(|(name, value)| Secret::new(*name, *value)).collect())
    }

    fn json(text: &str) -> Value {
        Value::from_text(text).expect("this is JSON")
    }

    #[test]
    fn a_value_is_found_wherever_it_stands_and_in_every_form() {
        let values = values(&[("KEY", "hunter2"), ("QUOTED", "a\"b\\cé"), ("PIN", "4711")]);
        for (said, shown) in [
            (r#"{"a":["x hunter2 y"],"hunter2":1}"#, r#"{"a":["x «secret KEY» y"],"«secret KEY»":1}"#),
            (r#""a\"b\\cé""#, r#""«secret QUOTED»""#),
            (r#""a\"b\\c\u00e9""#, r#""«secret QUOTED»""#),
            (r#"{"pin":4711,"other":47110}"#, r#"{"pin":"«secret PIN»","other":47110}"#),
            (r#"{"none":[1,true,null]}"#, r#"{"none":[1,true,null]}"#),
        ] {
            assert_eq!(values.value(json(said)).text(), shown, "as text");
            assert_eq!(values.value(Value::from(json(said).tree().clone())).text(), shown, "as a tree");
        }
    }

    #[test]
    fn a_failure_is_searched_to_its_last_cause() {
        let values = values(&[("KEY", "hunter2")]);
        let said = || Failure::new(crate::model::failure::FailureKind::Failed, "no: hunter2").with_code("hunter2");
        let shown = values.failure(said().with_cause(said()));
        assert_eq!((shown.message.as_str(), shown.code.as_deref()), ("no: «secret KEY»", Some("«secret KEY»")));
        assert_eq!(shown.cause.as_ref().map(|cause| cause.message.as_str()), Some("no: «secret KEY»"));
    }

    #[test]
    fn one_that_holds_another_is_found_whole_and_short_ones_are_not_looked_for() {
        let values = values(&[("SHORT", "abc"), ("IN", "hunter2"), ("OUT", "xhunter2x")]);
        assert_eq!(values.text("abc xhunter2x hunter2").as_deref(), Some("abc «secret OUT» «secret IN»"));
        assert_eq!(values.text("abc"), None);
    }
}
