//! `undo` beside a step: what takes back what it did, if the run does not succeed.

use super::flow::Lowering;
use crate::model::types::Type;
use crate::plan::check::fit::nullable;
use crate::plan::check::names::Seen;
use crate::plan::codes;
use crate::plan::pipeline::Undo;
use crate::plan::raw::{Table, keys};

const EXAMPLE: &str = "{ run: refund, with: { payment: '${steps.pay.payment}' } }";

impl<'n> Lowering<'_, 'n> {
    /// `undo` and `undo_on`; the outer `None` if either is wrong. `output` is what the step's own job gives.
    pub(super) fn undo(&mut self, table: &Table<'n>, seen: &Seen, id: &str, output: &Type) -> Option<Option<Undo>> {
        let findings = self.ground.compiler.findings;
        let on_attempt = table.get("undo_on").map_or(Some(false), |node| findings.word(node, "`undo_on`", &[("attempt", true)]));
        let Some(node) = table.get("undo") else {
            if let Some(key) = table.key("undo_on") {
                findings.error(codes::MISSING_KEY, key.span, "`undo_on` stands without `undo`", format!("write undo: {EXAMPLE} beside it"));
                return None;
            }
            return Some(None);
        };
        if !self.durable {
            self.not_durable(node.span, "`undo`");
        }
        if let (Some(block), Some(key)) = (self.after_end, table.key("undo")) {
            let message = format!("`undo` stands in the flow's `{block}`, where nothing is taken back");
            let help = "what a run has done is undone before `on_error` and `finally`: do what has to be taken back in `steps`";
            findings.error(codes::UNDO_TOO_LATE, key.span, message, help);
        }
        let undo = findings.table(node, "`undo`", keys::UNDO, EXAMPLE)?;
        let run = findings.required(&undo, "run", "`undo`", "write run: and the executor that takes it back")?;
        let mut after = seen.clone();
        if self.ids.contains_key(id) {
            // After an attempt of which nobody knows how it ended there may be no output.
            after.step(id, if on_attempt == Some(true) { nullable(output.clone()) } else { output.clone() });
        }
        // A run is undone after its end, in time of its own.
        let deadline = self.deadline.take();
        let name = format!("{id}.undo");
        let block = self.lone(&name, findings.place(node.span), |lowering| Some(lowering.run(run, &undo, &after, &name)?.0));
        self.deadline = deadline;
        Some(Some(Undo { block: block?, on_attempt: on_attempt? }))
    }
}
