//! What is fixed when files are loaded: the listed environment variables and the secrets that the file names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::model::port::{Root, Scope};
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::types::Type;
use crate::model::value::{Map, Tree, Value};
use crate::plan::Environment;
use crate::plan::check::fit::{nullable, record};
use crate::plan::expr::Names;
use crate::plan::source::{Content, Node};

/// Variables and secrets of one pipeline.
pub(in crate::plan) struct LoadTime {
    variables: BTreeMap<String, Option<String>>,
    secrets: BTreeMap<String, Option<Secret>>,
    /// Variables that are read but not listed: known here only so that the mistake is told once, in our words.
    unlisted: BTreeSet<String>,
    /// The ids of all steps of the file, wherever they stand.
    ids: BTreeSet<String>,
}

impl LoadTime {
    /// What `env` lists, and each secret that an expression or a grant of the file names.
    pub(in crate::plan) fn new(listed: &[&str], root: &Node, environment: &Environment) -> Self {
        let variables: BTreeMap<_, _> = listed.iter().map(|name| ((*name).to_owned(), environment.variables.get(*name).cloned())).collect();
        let (mut secrets, mut unlisted) = (BTreeMap::new(), BTreeSet::new());
        let mut add = |name: &str| {
            let value = environment.secrets.get(name).or_else(|| environment.variables.get(name));
            secrets.insert(name.to_owned(), value.map(|value| Secret::new(name, value.as_str())));
        };
        root.each_scalar(&mut |scalar, _| {
            for reading in readings(&scalar.text) {
                match reading.root {
                    Root::Secret => add(reading.name),
                    Root::Steps => {}
                    _ if variables.contains_key(reading.name) => {}
                    _ => {
                        unlisted.insert(reading.name.to_owned());
                    }
                }
            }
        });
        if let Some(executors) = root.get("executors").and_then(|node| match &node.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }) {
            for (_, executor) in executors {
                if let Some(granted) = executor.get("grants").and_then(|grants| grants.get("secrets")) {
                    granted.each_scalar(&mut |scalar, _| add(&scalar.text));
                }
            }
        }
        let mut ids = BTreeSet::new();
        collect_ids(root, &mut ids);
        Self { variables, secrets, unlisted, ids }
    }

    /// Whether `env` lists a variable.
    pub(in crate::plan) fn lists(&self, variable: &str) -> bool {
        self.variables.contains_key(variable)
    }

    /// Whether some step of the file has this id.
    pub(in crate::plan) fn has_step(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// The names of all listed variables.
    pub(in crate::plan) fn listed(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// Whether a secret has a value.
    pub(in crate::plan) fn has_secret(&self, name: &str) -> bool {
        self.secrets.get(name).is_some_and(Option::is_some)
    }

    /// `env` and `secret` as expressions see them.
    pub(in crate::plan) fn roots(&self) -> [(Root, Type); 2] {
        let known = |there: bool, declared: Type| if there { declared } else { nullable(declared) };
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), known(value.is_some(), Type::String)));
        let unlisted = self.unlisted.iter().map(|name| (name.as_str(), Type::Any));
        let secrets = self.secrets.iter().map(|(name, value)| (name.as_str(), known(value.is_some(), Type::Secret)));
        [(Root::Env, record(variables.chain(unlisted))), (Root::Secret, record(secrets))]
    }

    /// What values that are fixed at load may read.
    pub(in crate::plan) fn names(&self) -> Names {
        Names { roots: Arc::new(self.roots().into_iter().collect()), ..Names::default() }
    }

    /// `env` as a value.
    pub(in crate::plan) fn environment(&self) -> Value {
        let fields = self.variables.iter().map(|(name, value)| (name.clone(), value.as_deref().map_or(Tree::Null, Tree::from)));
        Value::from(Tree::Map(fields.collect::<Map>()))
    }

    /// `secret` as a value.
    pub(in crate::plan) fn secrets(&self) -> Value {
        let fields = self.secrets.iter().map(|(name, value)| (name.clone(), value.clone().map_or(Tree::Null, Tree::Secret)));
        Value::from(Tree::Map(fields.collect::<Map>()))
    }
}

impl Scope for LoadTime {
    fn lookup(&self, root: Root, field: Option<&str>) -> Option<Value> {
        let value = match root {
            Root::Env => self.environment(),
            Root::Secret => self.secrets(),
            _ => return None,
        };
        match field {
            Some(field) => value.field(field),
            None => Some(value),
        }
    }

    // `now()` and `uuid()` are refused in values that are fixed at load before anything is evaluated.
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(0)
    }

    fn uuid(&self) -> Uuid {
        Uuid::nil()
    }
}

fn collect_ids(node: &Node, ids: &mut BTreeSet<String>) {
    match &node.content {
        Content::Scalar(_) => {}
        Content::List(items) => items.iter().for_each(|item| collect_ids(item, ids)),
        Content::Map(entries) => {
            ids.extend(node.get("id").and_then(Node::text).map(str::to_owned));
            entries.iter().for_each(|(_, value)| collect_ids(value, ids));
        }
    }
}

/// A place at which a text reads `env.NAME`, `secret.NAME` or `steps.NAME`.
pub(in crate::plan) struct Reading<'t> {
    pub(in crate::plan) root: Root,
    pub(in crate::plan) name: &'t str,
    /// The byte at which it begins.
    pub(in crate::plan) offset: usize,
    /// Its length in bytes.
    pub(in crate::plan) length: usize,
    /// Whether `??` follows.
    pub(in crate::plan) has_default: bool,
}

/// Every place at which an expression reads `env.NAME`, `secret.NAME` or `steps.NAME`.
pub(in crate::plan) fn readings(text: &str) -> Vec<Reading<'_>> {
    let mut found = Vec::new();
    for (root, word) in [(Root::Env, "env"), (Root::Secret, "secret"), (Root::Steps, "steps")] {
        for (offset, _) in text.match_indices(word) {
            let before = text.get(..offset).and_then(|before| before.chars().next_back());
            let after = text.get(offset + word.len()..).unwrap_or_default();
            let Some(rest) = after.strip_prefix("?.").or_else(|| after.strip_prefix('.')) else { continue };
            if before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | '.')) {
                continue;
            }
            let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_').unwrap_or(rest.len());
            let (name, next) = rest.split_at(end);
            if !name.is_empty() {
                let length = text.len() - offset - next.len();
                found.push(Reading { root, name, offset, length, has_default: next.trim_start().starts_with("??") });
            }
        }
    }
    found
}

/// The first call of a function that gives another value each time.
pub(in crate::plan) fn changing_call(text: &str) -> Option<(usize, &'static str)> {
    ["now()", "uuid()"].into_iter().find_map(|call| text.find(call).map(|offset| (offset, call)))
}
