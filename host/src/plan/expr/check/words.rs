//! Words of the host that an expression is compared with: a slip in one of them would never be true, and nobody would notice.

use rhai::{Expr, FnCallExpr};

use super::Checker;
use crate::model::activation::RunOutcome;
use crate::model::failure::FailureKind;
use crate::model::id::EventType;
use crate::plan::expr::place::suggest;

impl Checker<'_> {
    /// Looks at both sides of `==` or `!=`, whose names are known by now.
    pub(super) fn words(&mut self, call: &FnCallExpr) {
        let (value, text, position) = match call.args.as_slice() {
            [value, Expr::StringConstant(text, position)] | [Expr::StringConstant(text, position), value] => (value, text, *position),
            _ => return,
        };
        let Some(path) = self.path(value) else { return };
        let names: Vec<&str> = path.field.iter().map(String::as_str).chain(path.links.iter().map(|(name, _)| name.as_str())).collect();
        let what = format!("{}.{}", path.root.as_str(), names.join("."));
        let known: Vec<&str> = match what.as_str() {
            "run.outcome" => RunOutcome::WORDS.to_vec(),
            "error.kind" => FailureKind::ALL.iter().map(|kind| kind.as_str()).collect(),
            what => match self.names.words.get(what) {
                Some(types) if !types.is_empty() => types.iter().map(EventType::as_str).collect(),
                _ => return,
            },
        };
        if !known.contains(&text.as_str()) {
            let message = format!("`{what}` is never \"{text}\"");
            self.report("E0312", position, message, suggest(text, known));
        }
    }
}
