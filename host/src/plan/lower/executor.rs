//! `executors`: where each one's code is, what it may use and how much of it; and what it says of itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::event::Events;
use super::template::Compiler;
use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::executor::{Description, ExecutorReference, Home};
use crate::model::grant::{Grants, Limits};
use crate::model::id::{PipelineName, ResourceName};
use crate::model::port::{Catalog, CatalogProblem};
use crate::model::resource::{Resource, ResourceKind};
use crate::model::types::Type;
use crate::model::value::{Tree, Value};
use crate::plan::codes;
use crate::plan::pipeline::DeclaredExecutor;
use crate::plan::raw::{Table, closest, keys, list};
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
            used: Vec::new(),
            numbers: HashMap::new(),
            files: Vec::new(),
        };
        let tables: Vec<_> =
            files.iter().map(|(compiler, node, _)| node.and_then(|node| compiler.findings.map(node, "`executors`", EXAMPLE))).collect();
        let names: Vec<&str> = tables.iter().flatten().flat_map(|table| table.entries).map(|(key, _)| key.name.as_str()).collect();
        let mut asked = Vec::new();
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
                    let found = self.describe(compiler, self.reference(name, Home::Builtin(name.to_owned())), span, span);
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

    fn describe(&mut self, compiler: &Compiler<'_>, reference: ExecutorReference, home: Span, declared: Span) -> Option<DeclaredExecutor> {
        if let Home::Wasm(file) | Home::Rhai(file) = &reference.home {
            self.files.push(file.clone());
        }
        let place = compiler.findings.place(declared);
        match self.catalog.describe(&reference) {
            Ok(description) => {
                self.files.extend(description.files.iter().map(|file| file.path.clone()));
                Some(DeclaredExecutor { reference, description, place, written: Vec::new() })
            }
            Err(problem) => {
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
        let mut declared = self.describe(compiler, reference, span, key.span)?;
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

    fn home(&self, compiler: &Compiler<'_>, table: &Table<'_>) -> Option<(Home, Span)> {
        let findings = compiler.findings;
        let homes: Vec<&(Key, Node)> = table.entries.iter().filter(|(key, _)| keys::HOMES.contains(&key.name.as_str())).collect();
        let (key, node) = match homes.as_slice() {
            [one] => (&one.0, &one.1),
            [] => {
                // Of a misspelt key it was said already what it should be.
                if !table.entries.iter().any(|(key, _)| closest(&key.name, keys::HOMES.iter().copied()).is_some()) {
                    findings.error(
                        codes::MISSING_KEY,
                        table.span,
                        "an executor says where its code is",
                        format!("write one of {}", list(keys::HOMES)),
                    );
                }
                return None;
            }
            [(first, _), (second, _), ..] => {
                let message = format!("an executor has one home, and this has `{}` and `{}`", first.name, second.name);
                let diagnostic = Diagnostic::error(codes::EXCLUSIVE_KEYS, findings.place(second.span), message)
                    .with_related(findings.place(first.span), "the other one is here");
                findings.add(diagnostic, "make two executors of it");
                return None;
            }
        };
        if key.name == "script" {
            // A script's own text may hold `${…}`: Rhai has it in its back-quoted texts.
            let (Some(scalar), Some(text)) = (node.scalar(), node.text()) else {
                findings.wrong_kind(node, "`script`", "Rhai code", "script: | and the code below it");
                return None;
            };
            let first_line = findings.place(findings.file.within(scalar, node.span, 0, 1)).line;
            return Some((Home::Script { text: text.into(), file: findings.file.path.clone(), first_line }, node.span));
        }
        let text = findings.literal_text(node, &format!("`{}`", key.name), "a path")?;
        let home = match key.name.as_str() {
            "wasm" => Home::Wasm(self.folder.join(text)),
            "rhai" => Home::Rhai(self.folder.join(text)),
            _ => {
                let built_ins = self.catalog.builtins();
                let known: Vec<&str> = built_ins.iter().map(|(name, _)| *name).collect();
                if !known.contains(&text) {
                    let help = closest(text, known.iter().copied())
                        .map_or_else(|| format!("built-ins are {}", list(&known)), |near| format!("did you mean `{near}`?"));
                    findings.error(codes::UNKNOWN_EXECUTOR, node.span, format!("there is no built-in `{text}`"), help);
                    return None;
                }
                Home::Builtin(text.to_owned())
            }
        };
        Some((home, node.span))
    }

    fn grants(&self, compiler: &Compiler<'_>, node: &Node, names: &[&str], events: &Events) -> Grants {
        let findings = compiler.findings;
        let Some(table) = findings.table(node, "`grants`", keys::GRANTS, "{ sql: [main] }") else { return Grants::default() };
        let of_kind = |key: &str, wanted: fn(&ResourceKind) -> bool, word: &str| -> Vec<ResourceName> {
            let texts = table.get(key).map(|node| findings.texts(node, &format!("`{key}`"), "[main]")).unwrap_or_default();
            texts.into_iter().filter_map(|(name, span)| self.resource(compiler, name, span, wanted, (key, word))).collect()
        };
        let texts = |key: &str| table.get(key).map(|node| findings.texts(node, &format!("`{key}`"), "[NAME]")).unwrap_or_default();
        let mut grants = Grants {
            sql: of_kind("sql", |kind| matches!(kind, ResourceKind::Sqlite(_)), "sqlite"),
            kv: of_kind("kv", |kind| matches!(kind, ResourceKind::Kv(_)), "kv"),
            index: of_kind("index", |kind| matches!(kind, ResourceKind::Index { .. } | ResourceKind::IndexStore), "index"),
            files: of_kind("files", |kind| matches!(kind, ResourceKind::Folder(_)), "folder"),
            emit: table.get("emit").map(|node| compiler.event_types(node, "`emit`", events)).unwrap_or_default(),
            ..Grants::default()
        };
        if let Some(node) = table.get("http") {
            let origins = compiler.fixed(node, &Type::List(Box::new(Type::String)), "http");
            for origin in origins.iter().filter_map(|value| value.tree().as_list()).flatten().filter_map(Tree::as_text) {
                if is_origin(origin) {
                    grants.http.push(origin.trim_end_matches('/').to_owned());
                } else {
                    let at = items_of(node).iter().find(|item| item.text() == Some(origin)).map_or(node.span, |item| item.span);
                    findings.error(
                        codes::ORIGIN,
                        at,
                        format!("`{origin}` is not scheme, host and port"),
                        "write it as https://api.example.com or http://localhost:8080",
                    );
                }
            }
        }
        if let Some(node) = table.get("mail") {
            let servers = compiler.fixed(node, &Type::List(Box::new(Type::String)), "mail");
            for server in servers.iter().filter_map(|value| value.tree().as_list()).flatten().filter_map(Tree::as_text) {
                if let Ok(server) = server.parse() {
                    grants.mail.push(server);
                } else {
                    let at = items_of(node).iter().find(|item| item.text() == Some(server)).map_or(node.span, |item| item.span);
                    findings.error(
                        codes::MAIL_SERVER,
                        at,
                        format!("`{server}` is not host and port"),
                        "write it as mail.example.com:587; whether it speaks TLS stands in `config`, as tls: starttls",
                    );
                }
            }
        }
        for (name, span) in texts("llm") {
            if names.contains(&name) {
                grants.llm.push(name.to_owned());
            } else {
                let help = closest(name, names.iter().copied()).map_or_else(String::new, |near| format!("did you mean `{near}`?"));
                findings.error(codes::UNKNOWN_EXECUTOR, span, format!("there is no executor `{name}` that could be asked"), help);
            }
        }
        for (name, span) in texts("secrets") {
            if !compiler.load.has_secret(name) {
                let help = format!("set the environment variable {name}, or put it into the file that --secrets names");
                findings.error(codes::MISSING_SECRET, span, format!("the secret {name} has no value"), help);
            }
            grants.secrets.push(name.to_owned());
        }
        for (name, span) in texts("env") {
            if !compiler.load.lists(name) {
                findings.error(
                    codes::ENVIRONMENT,
                    span,
                    format!("the file does not list the environment variable {name}"),
                    format!("list it at the top of the file: env: [{name}]"),
                );
            }
            grants.env.push(name.to_owned());
        }
        grants
    }

    fn resource(
        &self,
        compiler: &Compiler<'_>,
        name: &str,
        span: Span,
        wanted: fn(&ResourceKind) -> bool,
        (grant, word): (&str, &str),
    ) -> Option<ResourceName> {
        match self.resources.iter().find(|resource| resource.name.as_str() == name) {
            Some(resource) if wanted(&resource.kind) => Some(resource.name.clone()),
            Some(_) => {
                compiler.findings.error(
                    codes::RESOURCE_KIND,
                    span,
                    format!("`{grant}` grants a resource of the kind `{word}`, and `{name}` is of another"),
                    format!("declare one, as resources: {{ NAME: {{ {word}: … }} }}"),
                );
                None
            }
            None => {
                let help = match closest(name, self.resources.iter().map(|resource| resource.name.as_str())) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("declare it, as resources: {{ {name}: {{ {word}: … }} }}"),
                };
                compiler.findings.error(codes::UNKNOWN_RESOURCE, span, format!("there is no resource `{name}`"), help);
                None
            }
        }
    }
}

fn limits(compiler: &Compiler<'_>, node: &Node) -> Option<Limits> {
    let findings = compiler.findings;
    let table = findings.table(node, "`limits`", keys::LIMITS, "{ memory: 64MiB }")?;
    let defaults = Limits::default();
    let size = |key: &str, default: u64| table.get(key).map_or(Some(default), |node| findings.size(node, &format!("`{key}`")));
    let whole = |key: &str, default: u32| table.get(key).map_or(Some(default), |node| findings.whole(node, &format!("`{key}`"), 1));
    let operations = match table.get("operations") {
        None => Some(defaults.operations),
        Some(node) => match node.scalar().and_then(|scalar| scalar.value.as_int()).and_then(|number| u64::try_from(number).ok()) {
            Some(number) if number > 0 => Some(number),
            _ => {
                findings.wrong_kind(node, "`operations`", "a whole number above 0", "");
                None
            }
        },
    };
    Some(Limits {
        memory: size("memory", defaults.memory)?,
        wall: table.get("wall").map_or(Some(defaults.wall), |node| findings.duration(node, "`wall`"))?,
        output: size("output", defaults.output)?,
        events: whole("events", defaults.events)?,
        log: size("log", defaults.log)?,
        operations: operations?,
        call_depth: whole("call_depth", defaults.call_depth)?,
        stack: size("stack", defaults.stack)?,
    })
}

fn is_origin(text: &str) -> bool {
    let Some(authority) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    !authority.is_empty() && !authority.contains(['/', '?', '#', '@', '*']) && !authority.contains(char::is_whitespace)
}

fn items_of(node: &Node) -> &[Node] {
    match &node.content {
        Content::List(items) => items,
        Content::Scalar(_) | Content::Map(_) => &[],
    }
}

/// Warns of what an executor says it wants and has no grant for: it would find out only when it runs.
fn ungranted(compiler: &Compiler<'_>, key: &Key, declared: &DeclaredExecutor) {
    let grants = &declared.reference.grants;
    for want in &declared.description.wants {
        let (none, example) = match want.grant.as_str() {
            "http" => (grants.http.is_empty(), "'https://api.example.com'"),
            "mail" => (grants.mail.is_empty(), "'mail.example.com:587'"),
            "sql" => (grants.sql.is_empty(), "NAME"),
            "kv" => (grants.kv.is_empty(), "NAME"),
            "index" => (grants.index.is_empty(), "NAME"),
            "llm" => (grants.llm.is_empty(), "NAME"),
            "secrets" => (grants.secrets.is_empty(), "NAME"),
            "env" => (grants.env.is_empty(), "NAME"),
            "files" => (grants.files.is_empty(), "NAME"),
            "emit" => (grants.emit.is_empty(), "TYPE"),
            _ => continue,
        };
        if none {
            let reason = if want.reason.is_empty() { String::new() } else { format!(" {}", want.reason) };
            compiler.findings.warning(
                codes::UNGRANTED,
                key.span,
                format!("`{}` wants `{}`{reason}, and has no such grant", key.name, want.grant),
                format!("write grants: {{ {}: [{example}] }} beside it", want.grant),
            );
        }
    }
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
