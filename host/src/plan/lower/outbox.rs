//! `via: outbox` and `order_key` beside what emits: an event that is kept until everybody who hears it has taken it.

use super::flow::Lowering;
use crate::plan::check::names::Seen;
use crate::plan::codes;
use crate::plan::pipeline::Outbox;
use crate::plan::raw::Table;

impl<'n> Lowering<'_, 'n> {
    /// `via` and `order_key`; the outer `None` if either is wrong.
    pub(super) fn outbox(&self, table: &Table<'n>, seen: &Seen) -> Option<Option<Outbox>> {
        let compiler = self.ground.compiler;
        let findings = compiler.findings;
        // Beside another verb they are unknown keys, which was said already.
        if table.get("run").is_none() && table.get("emit").is_none() {
            return Some(None);
        }
        let Some(via) = table.get("via") else {
            if let Some(key) = table.key("order_key") {
                let help = "write via: outbox beside it; without it a flow hears one run's events in their order, and no key is needed";
                findings.error(codes::MISSING_KEY, key.span, "`order_key` stands without `via: outbox`", help);
                return None;
            }
            return Some(None);
        };
        findings.word(via, "`via`", &[("outbox", ())])?;
        if !self.durable {
            self.not_durable(via.span, "`via: outbox`");
        }
        if let (Some(key), None, None) = (table.key("via"), table.get("emits"), table.get("emit")) {
            let help = "write emits: and the event that the output becomes, or leave `via` out";
            findings.error(codes::MISSING_KEY, key.span, "`via: outbox` stands without `emits`", help);
            return None;
        }
        let order_key = match table.get("order_key") {
            None => None,
            Some(node) => Some(compiler.key(node, &seen.names(), "order_key")?),
        };
        Some(Some(Outbox { order_key }))
    }
}
