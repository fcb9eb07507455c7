//! What one executor may use and how much of it, and what it says that it wants.

use serde::Serialize;

use super::{EmissionView, From, Setting, emission, in_file};
use crate::model::diagnostic::Place;
use crate::model::executor::Home;
use crate::model::grant::Grants;
use crate::model::policy::{show_duration, show_size};
use crate::plan::pipeline::{DeclaredExecutor, Pipeline, Plan};

/// An executor, explained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ExecutorView {
    /// Its name.
    pub executor: String,
    /// Where its code is.
    pub home: String,
    /// What it says that it does.
    pub summary: String,
    /// Where it is declared, or first used.
    pub place: Place,
    /// What is granted. A kind that is not here is denied.
    pub grants: Vec<Setting>,
    /// Its limits, and whether an instance serves several jobs.
    pub limits: Vec<Setting>,
    /// What it says that it wants.
    pub wants: Vec<WantView>,
    /// The events that it may emit itself.
    pub emits: Vec<EmissionView>,
}

/// Something that an executor says it needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WantView {
    /// The kind of grant.
    pub grant: String,
    /// What for.
    pub reason: String,
    /// Whether anything of the kind is granted.
    pub granted: bool,
}

pub(super) fn explain(plan: &Plan, pipeline: &Pipeline, declared: &DeclaredExecutor) -> ExecutorView {
    let reference = &declared.reference;
    let home = match &reference.home {
        Home::Wasm(file) => format!("wasm: {}", file.display()),
        Home::Rhai(file) => format!("rhai: {}", file.display()),
        Home::Script { .. } => "script in the YAML".to_owned(),
        Home::Builtin(name) => format!("builtin: {name}"),
    };
    let granted = granted(&reference.grants);
    let grants = granted.iter().filter(|(_, names)| !names.is_empty()).map(|(kind, names)| {
        let place = declared.written.iter().find(|written| written.key == format!("grants.{kind}"));
        let from = place.map_or(From::Default, |written| From::File { place: written.place.clone() });
        Setting { name: (*kind).to_owned(), value: names.join(", "), from }
    });
    let wants = declared.description.wants.iter().map(|want| WantView {
        grant: want.grant.clone(),
        reason: want.reason.clone(),
        granted: granted.iter().any(|(kind, names)| *kind == want.grant && !names.is_empty()),
    });
    ExecutorView {
        executor: reference.name.to_string(),
        home,
        summary: declared.description.summary.clone(),
        place: declared.place.clone(),
        grants: grants.collect(),
        limits: limits(declared),
        wants: wants.collect(),
        emits: reference.grants.emit.iter().map(|event| emission(plan, pipeline, event)).collect(),
    }
}

fn granted(grants: &Grants) -> [(&'static str, Vec<String>); 10] {
    let names = |names: &[crate::model::id::ResourceName]| names.iter().map(ToString::to_string).collect();
    [
        ("http", grants.http.clone()),
        ("mail", grants.mail.iter().map(ToString::to_string).collect()),
        ("sql", names(&grants.sql)),
        ("kv", names(&grants.kv)),
        ("index", names(&grants.index)),
        ("llm", grants.llm.clone()),
        ("secrets", grants.secrets.clone()),
        ("env", grants.env.clone()),
        ("files", names(&grants.files)),
        ("emit", grants.emit.iter().map(ToString::to_string).collect()),
    ]
}

fn limits(declared: &DeclaredExecutor) -> Vec<Setting> {
    let limits = &declared.reference.limits;
    let values = [
        ("limits.memory", show_size(limits.memory)),
        ("limits.wall", show_duration(limits.wall)),
        ("limits.output", show_size(limits.output)),
        ("limits.events", limits.events.to_string()),
        ("limits.log", show_size(limits.log)),
        ("limits.operations", limits.operations.to_string()),
        ("limits.call_depth", limits.call_depth.to_string()),
        ("limits.stack", show_size(limits.stack)),
        ("reuse", declared.reference.reuse.to_string()),
    ];
    values.into_iter().map(|(name, value)| Setting { name: name.to_owned(), value, from: in_file(&declared.written, name) }).collect()
}
