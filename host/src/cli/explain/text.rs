//! The explanation for people: one value a line, with where it comes from at its end.

use super::super::diagnostics::place;
use super::super::style::{Style, harmless};
use crate::app::explain::{EmissionView, ExecutorView, Explanation, FlowView, From, Setting, StepView};

/// So wide the longest key and value are taken to be, when the places are put one below the other.
const WIDEST_NAME: usize = 28;
const WIDEST_VALUE: usize = 40;

/// All explanations, one below the other.
pub(super) fn text(explanations: &[Explanation], style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    for explanation in explanations {
        page.pipeline(explanation);
    }
    page.text
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn pipeline(&mut self, explanation: &Explanation) {
        let Explanation { pipeline, file, bus, exports, flows, executors } = explanation;
        self.line(0, &format!("{} ({file})", self.style.bold(&format!("pipeline {pipeline}"))));
        let exported = if exports.is_empty() { String::new() } else { format!("; exports {} to the global bus", exports.join(", ")) };
        self.line(1, &format!("bus: {bus}{exported}"));
        flows.iter().for_each(|flow| self.flow(flow));
        executors.iter().for_each(|executor| self.executor(executor));
        self.text.push('\n');
    }

    fn flow(&mut self, flow: &FlowView) {
        self.text.push('\n');
        self.line(1, &format!("{} ({})", self.style.bold(&format!("flow {}", flow.flow)), place(&flow.place)));
        self.line(2, &format!("started by: {}", flow.triggers.join("; ")));
        self.settings(2, "", &flow.settings);
        flow.steps.iter().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: &StepView) {
        let object = step.executor.as_ref().or(step.detail.as_ref());
        let what = object.map_or_else(|| step.verb.to_owned(), |object| format!("{} {object}", step.verb));
        self.line(2, &format!("{} ({})", self.style.bold(&format!("step {}: {what}", step.step)), place(&step.place)));
        if let (Some(_), Some(detail)) = (&step.executor, &step.detail) {
            self.line(3, detail);
        }
        if step.layers.is_empty() && step.executor.is_some() {
            self.line(3, "no policies: one attempt, bounded by the executor's limits");
        }
        for layer in &step.layers {
            self.settings(3, layer.layer, &layer.settings);
        }
        self.emissions(3, &step.emits);
    }

    fn executor(&mut self, executor: &ExecutorView) {
        self.text.push('\n');
        let title = self.style.bold(&format!("executor {}", executor.executor));
        self.line(1, &format!("{title} ({}; {})", executor.home, place(&executor.place)));
        if !executor.summary.is_empty() {
            self.line(2, &executor.summary);
        }
        if executor.grants.is_empty() {
            self.line(2, "grants: none, so everything is denied");
        }
        self.settings(2, "grants", &executor.grants);
        self.settings(2, "", &executor.limits);
        for want in &executor.wants {
            let reason = if want.reason.is_empty() { String::new() } else { format!(" {}", want.reason) };
            let granted = if want.granted { "granted" } else { "not granted" };
            self.line(2, &format!("wants {}{reason}: {granted}", want.grant));
        }
        self.emissions(2, &executor.emits);
    }

    fn emissions(&mut self, depth: usize, emissions: &[EmissionView]) {
        for EmissionView { event, buses, heard_by } in emissions {
            let heard: Vec<String> = heard_by.iter().map(|hearer| format!("{}.{}", hearer.pipeline, hearer.flow)).collect();
            let heard =
                if heard.is_empty() { "nobody of these files hears it".to_owned() } else { format!("heard by {}", heard.join(", ")) };
            self.line(depth, &format!("emits {event} (bus: {}): {heard}", buses.join(", ")));
        }
    }

    /// A layer of one value has the layer's own name.
    fn settings(&mut self, depth: usize, layer: &str, settings: &[Setting]) {
        for Setting { name, value, from } in settings {
            let name = if layer.is_empty() || layer == name { name.clone() } else { format!("{layer}.{name}") };
            let from = match from {
                From::Default => "default".to_owned(),
                From::File { place: at } => place(at),
                From::Step { place: at } => format!("beside the step, {}", place(at)),
                From::Policy { policy, place: at } => format!("policy {policy}, {}", place(at)),
            };
            let from = self.style.dim(&from);
            self.line(depth, &format!("{name:<WIDEST_NAME$} {value:<WIDEST_VALUE$} {from}"));
        }
    }

    fn line(&mut self, depth: usize, text: &str) {
        let text = if self.style.is_coloured() { text.to_owned() } else { harmless(text) };
        self.text.push_str(&"  ".repeat(depth));
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }
}
