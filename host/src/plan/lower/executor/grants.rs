//! `grants` and `limits` of an executor: what it may use, and how much of it.

use super::Executors;
use crate::model::grant::{Grants, Limits};
use crate::model::id::ResourceName;
use crate::model::resource::ResourceKind;
use crate::model::types::Type;
use crate::model::value::Tree;
use crate::plan::codes;
use crate::plan::lower::event::Events;
use crate::plan::lower::template::Compiler;
use crate::plan::pipeline::DeclaredExecutor;
use crate::plan::raw::{closest, keys};
use crate::plan::source::{Content, Key, Node, Span};

impl Executors<'_> {
    /// What `grants` names, with all that is wrong with it.
    pub(super) fn grants(&self, compiler: &Compiler<'_>, node: &Node, names: &[&str], events: &Events) -> Grants {
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
            let help = "write it as https://api.example.com or http://localhost:8080";
            grants.http = addresses(compiler, node, "http", origin, (codes::ORIGIN, "scheme, host and port", help));
        }
        if let Some(node) = table.get("mail") {
            let help = "write it as mail.example.com:587; whether it speaks TLS stands in `config`, as tls: starttls";
            grants.mail = addresses(compiler, node, "mail", |text| text.parse().ok(), (codes::MAIL_SERVER, "host and port", help));
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

/// What `limits` says; what it leaves out is as it is by itself.
pub(super) fn limits(compiler: &Compiler<'_>, node: &Node) -> Option<Limits> {
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

/// The addresses that a list of texts names; each text that is none is a mistake of this code.
fn addresses<T>(
    compiler: &Compiler<'_>,
    node: &Node,
    key: &str,
    read: impl Fn(&str) -> Option<T>,
    (code, wanted, help): (&'static str, &str, &str),
) -> Vec<T> {
    let written = compiler.fixed(node, &Type::List(Box::new(Type::String)), key);
    let mut read_well = Vec::new();
    for text in written.iter().filter_map(|value| value.tree().as_list()).flatten().filter_map(Tree::as_text) {
        match read(text) {
            Some(address) => read_well.push(address),
            None => {
                let at = items_of(node).iter().find(|item| item.text() == Some(text)).map_or(node.span, |item| item.span);
                compiler.findings.error(code, at, format!("`{text}` is not {wanted}"), help);
            }
        }
    }
    read_well
}

/// Scheme, host and port, without the slash that may stand after them.
fn origin(text: &str) -> Option<String> {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let is_one = !authority.is_empty() && !authority.contains(['/', '?', '#', '@', '*']) && !authority.contains(char::is_whitespace);
    is_one.then(|| text.trim_end_matches('/').to_owned())
}

fn items_of(node: &Node) -> &[Node] {
    match &node.content {
        Content::List(items) => items,
        Content::Scalar(_) | Content::Map(_) => &[],
    }
}

/// Warns of what an executor says it wants and has no grant for: it would find out only when it runs.
pub(super) fn ungranted(compiler: &Compiler<'_>, key: &Key, declared: &DeclaredExecutor) {
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
