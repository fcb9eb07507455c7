//! The verb `sleep`, and durations that may be computed.

use std::time::Duration;

use super::flow::Lowering;
use super::template::{Compiler, meant};
use crate::model::policy::parse_duration;
use crate::model::types::Type;
use crate::model::value::Value;
use crate::plan::check::fit::nullable;
use crate::plan::check::limits;
use crate::plan::codes;
use crate::plan::expr::Names;
use crate::plan::pipeline::{Flow, Verb};
use crate::plan::source::Node;
use crate::plan::template::Template;

impl Lowering<'_, '_> {
    pub(super) fn sleep(&self, node: &Node, names: &Names) -> Option<(Verb, Type)> {
        let (template, known) = self.ground.compiler.duration(node, names, "sleep")?;
        if !self.durable && known.is_some_and(|known| known > Flow::LONGEST_UNJOURNALED_SLEEP) {
            self.not_durable(node.span, "`sleep` over a minute");
        }
        self.fits("`sleep`", known, node);
        Some((Verb::Sleep(template), nullable(Type::Any)))
    }

    /// Says of a wait that is written out that it is longer than the flow may take.
    pub(super) fn fits(&self, what: &str, known: Option<Duration>, node: &Node) {
        let findings = self.ground.compiler.findings;
        if let (Some(known), Some((deadline, around))) = (known, self.deadline) {
            let (here, around) = (findings.place(node.span), findings.place(around));
            limits::longer(findings, (what, known, &here), ("the flow's `deadline`", deadline, &around));
        }
    }

    /// Says that something needs a flow whose runs outlive a crash.
    pub(super) fn not_durable(&self, span: crate::plan::source::Span, what: &str) {
        self.ground.compiler.findings.error(
            codes::NOT_DURABLE,
            span,
            format!("{what} needs a durable flow, and this one has `durable: false`"),
            "take `durable: false` out: a crash would forget the run and what it has begun",
        );
    }
}

impl Compiler<'_> {
    /// A duration that is written out, which is given too, or one that an expression gives.
    pub(super) fn duration(&self, node: &Node, names: &Names, what: &str) -> Option<(Template, Option<Duration>)> {
        if node.text().is_some_and(|text| text.contains("${")) {
            return self.value(node, names, &Type::Duration, what).map(|(template, _)| (template, None));
        }
        if let Some(expression) = node.scalar().and_then(|scalar| meant(scalar, names)) {
            let message = format!(
                "`{what}` is the text `{}`, not a duration: nothing is evaluated without `${{…}}`",
                node.text().unwrap_or_default()
            );
            self.findings.error(codes::UNIT, node.span, message, format!("write {expression}"));
            return None;
        }
        let duration = self.findings.duration(node, &format!("`{what}`"))?;
        let text = node.scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
        debug_assert_eq!(parse_duration(text), Ok(duration));
        Some((Template::Literal(Value::string(text)), Some(duration)))
    }
}
