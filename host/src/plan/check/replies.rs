//! A second reply on one path: the first one answers, so the second is never heard.

use crate::model::diagnostic::Diagnostic;
use crate::plan::codes;
use crate::plan::raw::Findings;
use crate::plan::source::{Content, Node, Span};

/// Checks a list of steps and the lists inside them.
pub(in crate::plan) fn check(findings: &Findings<'_>, steps: &Node) {
    let mut replied = None;
    walk(findings, steps, false, &mut replied);
}

/// `replied` is where a reply stands that this path may have passed, and whether it depends on something.
fn walk(findings: &Findings<'_>, steps: &Node, conditional: bool, replied: &mut Option<(Span, bool)>) {
    let Content::List(steps) = &steps.content else { return };
    for step in steps {
        let Content::Map(entries) = &step.content else { continue };
        let conditional = conditional || step.get("when").is_some();
        if let Some((key, _)) = entries.iter().find(|(key, _)| key.name == "reply") {
            match *replied {
                // Two conditions may exclude each other; whether they do is not seen here.
                Some((_, true)) if conditional => {}
                Some((first, before)) => {
                    let diagnostic =
                        Diagnostic::error(codes::SECOND_REPLY, findings.place(key.span), "a second `reply` on one path is never heard")
                            .with_related(
                                findings.place(first),
                                if before { "this one may have answered already" } else { "this one has answered already" },
                            );
                    let help = if before { "give this step a `when` that excludes the other's" } else { "keep one of them" };
                    findings.add(diagnostic, help);
                }
                None => {}
            }
            if replied.is_none_or(|(_, before)| before) {
                *replied = Some((key.span, conditional));
            }
        }
        if let Some(inner) = step.get("on_error") {
            walk(findings, inner, true, replied);
        }
        if let Some(inner) = step.get("fallback").and_then(|fallback| fallback.get("steps")) {
            walk(findings, inner, true, replied);
        }
    }
}
