//! What an expression may read from where it stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fit::{nullable, record};
use crate::model::id::EventType;
use crate::model::port::Root;
use crate::model::types::Type;
use crate::plan::expr::{Names, Steps, Words};

/// What can be read in a flow from a place in it. A copy of it shares what it holds: a flow of thousands of steps takes one for each.
#[derive(Clone, Default)]
pub(in crate::plan) struct Seen {
    roots: Arc<BTreeMap<Root, Type>>,
    steps: Steps,
    /// Innermost first: the first of a name is the one that is meant.
    locals: Vec<(String, Type)>,
    words: Words,
}

impl Seen {
    /// The names that are there before the first step: `run` has its id and so on.
    pub(in crate::plan) fn new(roots: impl IntoIterator<Item = (Root, Type)>) -> Self {
        Self { roots: Arc::new(roots.into_iter().collect()), ..Self::default() }
    }

    /// The same with another root.
    #[must_use]
    pub(in crate::plan) fn with(&self, root: Root, value_type: Type) -> Self {
        let mut seen = self.clone();
        Arc::make_mut(&mut seen.roots).insert(root, value_type);
        seen
    }

    /// From here on a path gives the type of one of these events, and no other word; with none of them, any word.
    pub(in crate::plan) fn gives(&mut self, path: &str, types: Vec<EventType>) {
        Arc::make_mut(&mut self.words).insert(path.to_owned(), types);
    }

    /// A step that ran before whatever comes next.
    pub(in crate::plan) fn step(&mut self, id: &str, output: Type) {
        self.steps.push(id, output);
    }

    /// The same within an `each`: its item under the given name, and `index`.
    #[must_use]
    pub(in crate::plan) fn item(&self, name: &str, item: Type) -> Self {
        let mut seen = self.clone();
        seen.locals.splice(0..0, [(name.to_owned(), item), ("index".to_owned(), Type::Int)]);
        seen
    }

    /// Whether an `each` round about gives this name to its item.
    pub(in crate::plan) fn has_local(&self, name: &str) -> bool {
        self.locals.iter().any(|(local, _)| local == name)
    }

    /// The same, but each step may not have run: what `on_error` and `finally` see.
    #[must_use]
    pub(in crate::plan) fn perhaps(&self) -> Self {
        let steps = self.steps.iter().map(|(id, output)| (id, nullable(output.clone()))).collect();
        Self { steps, ..self.clone() }
    }

    /// What is compiled against.
    pub(in crate::plan) fn names(&self) -> Names {
        Names {
            roots: Arc::clone(&self.roots),
            steps: Some(self.steps.clone()),
            locals: self.locals.clone(),
            words: Arc::clone(&self.words),
        }
    }

    /// What is compiled against before a run begins: keys by which runs are told apart.
    pub(in crate::plan) fn at_the_door(&self) -> Names {
        let known = [Root::Input, Root::Event, Root::Trigger, Root::Caller, Root::Env];
        let roots = self.roots.iter().filter(|(root, _)| known.contains(root)).map(|(root, declared)| (*root, declared.clone())).collect();
        Names { roots: Arc::new(roots), words: Arc::clone(&self.words), ..Names::default() }
    }
}

/// `caller`.
pub(in crate::plan) fn caller() -> Type {
    record([("id", nullable(Type::String)), ("roles", Type::List(Box::new(Type::String)))])
}

/// `event` with this data.
pub(in crate::plan) fn event(data: Type) -> Type {
    record([
        ("id", Type::String),
        ("type", Type::String),
        ("source", Type::String),
        ("time", Type::Time),
        ("correlation_id", Type::String),
        ("causation_id", Type::String),
        ("scope", Type::String),
        ("caller", caller()),
        ("data", data),
    ])
}

/// `run`; `outcome` is known in `finally` only.
pub(in crate::plan) fn run(ended: bool) -> Type {
    let mut fields = vec![
        ("id", Type::String),
        ("correlation_id", Type::String),
        ("revision", Type::String),
        ("elapsed", Type::Float),
        ("degraded", Type::Bool),
    ];
    if ended {
        fields.push(("outcome", Type::String));
    }
    record(fields)
}

/// `job`.
pub(in crate::plan) fn job() -> Type {
    record([("key", Type::String)])
}

/// `error`.
pub(in crate::plan) fn error() -> Type {
    record([
        ("kind", Type::String),
        ("code", nullable(Type::String)),
        ("message", Type::String),
        ("status", nullable(Type::Int)),
        ("retry_after", nullable(Type::Float)),
        ("step", nullable(Type::String)),
        ("retryable", Type::Bool),
        ("cause", nullable(Type::Any)),
    ])
}
