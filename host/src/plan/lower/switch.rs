//! The verb `switch`: the first branch whose condition holds.

use super::flow::Lowering;
use crate::model::diagnostic::Diagnostic;
use crate::model::types::Type;
use crate::plan::check::fit::{common, nullable};
use crate::plan::check::names::Seen;
use crate::plan::codes;
use crate::plan::pipeline::{Case, Verb};
use crate::plan::raw::keys;
use crate::plan::source::Node;

const EXAMPLE: &str = "[{ when: input.total > 100, steps: [{ run: … }] }, { else: [{ run: … }] }]";

impl<'n> Lowering<'_, 'n> {
    pub(super) fn switch(&mut self, node: &'n Node, seen: &Seen) -> Option<(Verb, Type)> {
        let findings = self.ground.compiler.findings;
        let cases = findings.list(node, "`switch`", EXAMPLE)?;
        if cases.is_empty() {
            findings.error(codes::MISSING_KEY, node.span, "`switch` has no branch", format!("write {EXAMPLE}"));
        }
        let lowered: Vec<Option<(Case, Type)>> = cases.iter().map(|case| self.case(case, seen)).collect();
        if let Some((at, case)) = cases.iter().enumerate().find(|(at, case)| case.get("else").is_some() && at + 1 < cases.len()) {
            let message = "what stands after `else` is never reached";
            let after = cases.get(at + 1).unwrap_or(case);
            let diagnostic = Diagnostic::error(codes::AFTER_ELSE, findings.place(after.span), message)
                .with_related(findings.place(case.span), "`else` is here");
            findings.add(diagnostic, "let `else` be the last, and the only one");
        }
        let (cases, outputs): (Vec<_>, Vec<_>) = lowered.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let open = cases.iter().all(|case| case.when.is_some());
        let output = common(outputs);
        Some((Verb::Switch(cases), if open { nullable(output) } else { output }))
    }

    fn case(&mut self, node: &'n Node, seen: &Seen) -> Option<(Case, Type)> {
        let compiler = self.ground.compiler;
        let findings = compiler.findings;
        let table = findings.table(node, "a branch of `switch`", keys::CASE, EXAMPLE)?;
        if let Some(otherwise) = table.get("else") {
            for key in ["when", "steps"] {
                if let Some(key) = table.key(key) {
                    let message = format!("`{}` stands beside `else`", key.name);
                    findings.error(codes::EXCLUSIVE_KEYS, key.span, message, "make two branches of it: `else` has its steps as its value");
                }
            }
            let (block, output) = self.block(otherwise, &mut seen.clone(), "`else`")?;
            return Some((Case { when: None, block }, output));
        }
        let when = findings
            .required(&table, "when", "a branch of `switch`", "write when: and a condition, or { else: […] } for all the rest")
            .and_then(|node| compiler.condition(node, &seen.names(), "when"));
        let steps = findings.required(&table, "steps", "a branch of `switch`", "write steps: and what is done then, below");
        let (block, output) = self.block(steps?, &mut seen.clone(), "`steps`")?;
        Some((Case { when: Some(when?), block }, output))
    }
}
