//! `executors`: where each one's code is, what it may use and how much of it; and what it says of itself.

mod grants;
mod home;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use self::grants::{limits, ungranted};
use super::event::Events;
use super::load_time::readings;
use super::template::Compiler;
use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::executor::{Description, ExecutorReference, Home};
use crate::model::id::PipelineName;
use crate::model::port::{Catalog, CatalogProblem, Root};
use crate::model::resource::Resource;
use crate::model::types::Type;
use crate::model::value::{Tree, Value};
use crate::plan::codes;
use crate::plan::pipeline::{DeclaredExecutor, Outside};
use crate::plan::raw::{closest, keys};
use crate::plan::source::{Content, Key, Node, Span};

const EXAMPLE: &str = "{ save: { rhai: scripts/save.rhai } }";

/// The built-in whose output is its input. A description cannot say that, and this is the only one of which it is so.
const TRANSFORM: &str = "transform";

/// The executors of a pipeline, and which of them its steps use.
pub(super) struct Executors<'a> {
    pipeline: PipelineName,
    folder: &'a Path,
    resources: Arc<[Resource]>,
    catalog: &'a dyn Catalog,
    /// By name; `None` for one that is declared wrongly, which was said already.
    declared: IndexMap<String, Option<DeclaredExecutor>>,
    /// Where the pipeline's own file declares each of its own.
    own: Vec<(String, Span)>,
    used: Vec<DeclaredExecutor>,
    numbers: HashMap<String, usize>,
    files: Vec<PathBuf>,
}

impl<'a> Executors<'a> {
    /// Reads and describes all that are declared, in the pipeline's file and in its libraries; each with the folder that its paths begin in.
    pub(super) fn new(
        files: &[(Compiler<'_>, Option<&Node>, &'a Path)],
        ground: (&PipelineName, &Arc<[Resource]>, &Events),
        catalog: &'a dyn Catalog,
    ) -> Self {
        let (pipeline, resources, events) = ground;
        let mut executors = Self {
            pipeline: pipeline.clone(),
            folder: Path::new(""),
            resources: resources.clone(),
            catalog,
            declared: IndexMap::new(),
            own: Vec::new(),
            used: Vec::new(),
            numbers: HashMap::new(),
            files: Vec::new(),
        };
        let tables: Vec<_> =
            files.iter().map(|(compiler, node, _)| node.and_then(|node| compiler.findings.map(node, "`executors`", EXAMPLE))).collect();
        let names: Vec<&str> = tables.iter().flatten().flat_map(|table| table.entries).map(|(key, _)| key.name.as_str()).collect();
        let mut asked = Vec::new();
        // A library is there for others too.
        let own = tables.first().into_iter().flatten().flat_map(|table| table.entries);
        executors.own = own.map(|(key, _)| (key.name.clone(), key.span)).collect();
        for ((compiler, _, folder), table) in files.iter().zip(&tables) {
            executors.folder = folder;
            for (key, node) in table.map(|table| table.entries).unwrap_or_default() {
                let good = compiler.findings.name(&key.name, key.span, "the name of an executor", true);
                let declared = executors.declare(compiler, key, node, &names, events).filter(|_| good);
                asked.extend(declared.iter().flat_map(|declared| declared.reference.grants.llm.clone()));
                executors.declared.entry(key.name.clone()).or_insert(declared);
            }
        }
        // What another one may ask has to be open too.
        for name in asked {
            executors.number(&name);
        }
        executors
    }

    /// The number and what is known of the executor that a step names.
    pub(super) fn by_name(&mut self, compiler: &Compiler<'_>, name: &str, span: Span) -> Option<(usize, DeclaredExecutor)> {
        if !self.declared.contains_key(name) {
            let built_ins = self.catalog.builtins();
            match built_ins.iter().find(|(built_in, _)| *built_in == name) {
                Some((_, true)) => {
                    let found = self.describe(compiler, self.reference(name, Home::Builtin(name.to_owned())), None, (span, span));
                    self.declared.insert(name.to_owned(), found);
                }
                Some((_, false)) => {
                    let short = name.replace('.', "_");
                    let help = format!(
                        "declare it with its `grants` or `config`, as executors: {{ {short}: {{ builtin: {name} }} }}, and run {short}"
                    );
                    compiler.findings.error(
                        codes::NEEDS_DECLARATION,
                        span,
                        format!("the built-in `{name}` has to be declared before a step can run it"),
                        help,
                    );
                    return None;
                }
                None => {
                    let known = self.declared.keys().map(String::as_str).chain(built_ins.iter().map(|(built_in, _)| *built_in));
                    let help = match closest(name, known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("declare it, as executors: {{ {name}: {{ rhai: scripts/{name}.rhai }} }}"),
                    };
                    compiler.findings.error(codes::UNKNOWN_EXECUTOR, span, format!("there is no executor `{name}`"), help);
                    return None;
                }
            }
        }
        let number = self.number(name)?;
        Some((number, self.used.get(number)?.clone()))
    }

    /// Whether the output of the executor of that number is its input, whatever that is.
    pub(super) fn gives_back(&self, number: usize) -> bool {
        self.used.get(number).is_some_and(|declared| matches!(&declared.reference.home, Home::Builtin(name) if name == TRANSFORM))
    }

    /// Warns of executors that nothing uses. Not where a mistake was found: it may be that of the step which was to use one.
    pub(super) fn unused(&self, compiler: &Compiler<'_>) {
        if compiler.findings.count() > 0 {
            return;
        }
        for (name, span) in self.own.iter().filter(|(name, _)| !self.numbers.contains_key(name)) {
            let help = format!("write run: {name} in a step, or take it out");
            compiler.findings.warning(codes::UNUSED_EXECUTOR, *span, format!("no step uses the executor `{name}`"), help);
        }
    }

    /// Those that steps use, in the order of their numbers.
    pub(super) fn into_used(self) -> Vec<DeclaredExecutor> {
        self.used
    }

    /// What all that have code of their own say of themselves, used or not, by name.
    pub(super) fn code(&self) -> impl Iterator<Item = (&str, &Description)> {
        let all = self.declared.iter().filter_map(|(name, declared)| Some((name.as_str(), declared.as_ref()?)));
        let own = all.filter(|(_, declared)| !matches!(declared.reference.home, Home::Builtin(_)));
        own.map(|(name, declared)| (name, &declared.description))
    }

    /// Every file that an executor's code is in or ought to be in.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn number(&mut self, name: &str) -> Option<usize> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let declared = self.declared.get(name)?.clone()?;
        self.numbers.insert(name.to_owned(), self.used.len());
        self.used.push(declared);
        Some(self.used.len() - 1)
    }

    fn reference(&self, name: &str, home: Home) -> ExecutorReference {
        ExecutorReference { resources: self.resources.clone(), ..ExecutorReference::new(self.pipeline.clone(), name, home) }
    }

    fn describe(
        &mut self,
        compiler: &Compiler<'_>,
        reference: ExecutorReference,
        config: Option<&Node>,
        (home, declared): (Span, Span),
    ) -> Option<DeclaredExecutor> {
        if let Home::Wasm(file) | Home::Rhai(file) = &reference.home {
            self.files.push(file.clone());
        }
        let place = compiler.findings.place(declared);
        match self.catalog.describe(&reference) {
            Ok(description) => {
                self.files.extend(description.files.iter().map(|file| file.path.clone()));
                Some(DeclaredExecutor { reference, description, place, written: Vec::new(), outside: outside(compiler, config) })
            }
            Err(mut problem) => {
                Outside::name_in(&outside(compiler, config), &mut problem);
                let inline = matches!(reference.home, Home::Script { .. });
                let (diagnostic, help) = from_catalog(problem, compiler.findings.place(home), inline);
                compiler.findings.add(diagnostic, help);
                None
            }
        }
    }

    fn declare(&mut self, compiler: &Compiler<'_>, key: &Key, node: &Node, names: &[&str], events: &Events) -> Option<DeclaredExecutor> {
        let findings = compiler.findings;
        let table = findings.table(node, "an executor", keys::EXECUTOR, "{ rhai: scripts/save.rhai }")?;
        let (home, span) = self.home(compiler, &table)?;
        let before = findings.count();
        let mut reference = self.reference(&key.name, home);
        if let Some(node) = table.get("grants") {
            reference.grants = self.grants(compiler, node, names, events);
        }
        if let Some(node) = table.get("limits") {
            reference.limits = limits(compiler, node).unwrap_or_default();
        }
        if let Some(node) = table.get("reuse") {
            reference.reuse = findings.truth(node, "`reuse`").unwrap_or_default();
        }
        let config = table.get("config");
        if let Some(config) = config {
            let open = Compiler { secrets_anywhere: true, ..*compiler };
            reference.config = open.fixed(config, &Type::Any, "config").unwrap_or_else(Value::null);
        }
        // What is half written would only be refused again by the executor, in other words.
        if findings.count() > before {
            if let Home::Wasm(file) | Home::Rhai(file) = &reference.home {
                self.files.push(file.clone());
            }
            return None;
        }
        let mut declared = self.describe(compiler, reference, config, (span, key.span))?;
        declared.written = findings.written(&table);
        ungranted(compiler, key, &declared);
        match (config, &declared.description.config) {
            (Some(config), wanted) => {
                declared.reference.config = compiler.fixed(config, &wanted.clone().unwrap_or_default(), "config")?;
            }
            (None, Some(wanted)) => match wanted.conform(&Value::from(Tree::Map(Default::default())), crate::model::types::Origin::Data) {
                Ok(config) => declared.reference.config = config,
                Err(mismatches) => {
                    let missing: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
                    findings.error(
                        codes::MISFIT,
                        key.span,
                        format!("`{}` needs a `config`: {}", key.name, missing.join(", ")),
                        "write config: { … } beside it",
                    );
                    return None;
                }
            },
            (None, None) => {}
        }
        Some(declared)
    }
}

/// Which fields of a `config` were made of variables and secrets that are there.
fn outside(compiler: &Compiler<'_>, config: Option<&Node>) -> Vec<Outside> {
    let Some(Content::Map(fields)) = config.map(|config| &config.content) else { return Vec::new() };
    let (environment, secrets) = (compiler.load.environment(), compiler.load.secrets());
    let mut found = Vec::new();
    for (key, value) in fields {
        value.each_scalar(&mut |scalar, _| {
            let read = readings(&scalar.text).into_iter().filter(|_| scalar.text.contains("${"));
            found.extend(read.filter_map(|reading| {
                let (all, what) = match reading.root {
                    Root::Env => (&environment, "environment variable"),
                    Root::Secret => (&secrets, "secret"),
                    _ => return None,
                };
                let is_there = all.field(reading.name).is_some_and(|value| !value.is_null());
                is_there.then(|| Outside { field: key.name.clone(), source: format!("the {what} {}", reading.name) })
            }));
        });
    }
    found
}

/// The column of an `inline` script counts from where its lines begin in the file.
fn from_catalog(problem: CatalogProblem, declared: Place, inline: bool) -> (Diagnostic, String) {
    let diagnostic = match problem.place {
        Some((file, line, column)) => {
            let same = file == declared.file;
            let column = if same && inline { column + declared.column - 1 } else { column };
            let place = Place { file, line, column, length: 1 };
            let diagnostic = Diagnostic::error(problem.code, place, problem.message);
            // An inline script stands where it is declared.
            if same { diagnostic } else { diagnostic.with_related(declared, "it is declared here") }
        }
        None => Diagnostic::error(problem.code, declared, problem.message),
    };
    (diagnostic, problem.help.unwrap_or_default())
}
