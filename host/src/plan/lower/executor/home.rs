//! Where an executor's code is: `wasm`, `rhai`, `script` or `builtin`.

use super::Executors;
use crate::model::diagnostic::Diagnostic;
use crate::model::executor::Home;
use crate::model::port::UNKNOWN_BUILTIN;
use crate::plan::codes;
use crate::plan::lower::template::Compiler;
use crate::plan::raw::{Table, closest, keys, list};
use crate::plan::source::{Key, Node, Span, Style};

impl Executors<'_> {
    /// The one home that is named, and where; what is wrong with it is said.
    pub(super) fn home(&self, compiler: &Compiler<'_>, table: &Table<'_>) -> Option<(Home, Span)> {
        let findings = compiler.findings;
        let homes: Vec<&(Key, Node)> = table.entries.iter().filter(|(key, _)| keys::HOMES.contains(&key.name.as_str())).collect();
        let (key, node) = match homes.as_slice() {
            [one] => (&one.0, &one.1),
            [] => {
                // Of a misspelt key it was said already what it should be.
                let is_slip =
                    |key: &Key| !keys::EXECUTOR.contains(&key.name.as_str()) && closest(&key.name, keys::HOMES.iter().copied()).is_some();
                if !table.entries.iter().any(|(key, _)| is_slip(key)) {
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
            let quote = usize::from(matches!(scalar.style, Style::Single | Style::Double));
            let span = Span { start: node.span.start + quote, ..node.span };
            return Some((Home::Script { text: text.into(), file: findings.file.path.clone(), first_line }, span));
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
                    findings.error(UNKNOWN_BUILTIN, node.span, format!("there is no built-in `{text}`"), help);
                    return None;
                }
                Home::Builtin(text.to_owned())
            }
        };
        Some((home, node.span))
    }
}
