//! The verbs `call` and `dispatch`: a flow whose value is awaited, and an executor whose result is not.

use std::collections::BTreeMap;

use super::flow::Lowering;
use super::run::Work;
use crate::model::id::{FlowName, PipelineName};
use crate::model::types::Type;
use crate::plan::check::fit::record;
use crate::plan::check::names::Seen;
use crate::plan::codes;
use crate::plan::pipeline::{RunStep, Verb, Worker};
use crate::plan::raw::{Findings, Table, closest};
use crate::plan::source::{Content, Node, Span};

/// What has to be known of a flow to call it.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Signature {
    /// What its input must be; `None` if it does not say it.
    pub(in crate::plan) input: Option<Type>,
    /// Whether it may be started by name from elsewhere.
    pub(in crate::plan) manual: bool,
}

/// The flows of all loaded files, by pipeline and name.
pub(in crate::plan) type Callable = BTreeMap<PipelineName, BTreeMap<String, Signature>>;

impl Findings<'_> {
    /// What others have to know of a flow. Mistakes in it are told when the flow itself is lowered, and then the same.
    pub(super) fn signature(&self, table: &Table<'_>) -> Signature {
        let is_manual = |node: &Node| node.text() == Some("manual") || node.get("manual").is_some();
        let manual = table.get("trigger").is_some_and(|node| match &node.content {
            Content::List(items) => items.iter().any(is_manual),
            _ => is_manual(node),
        });
        Signature { input: table.get("input").and_then(|node| self.record(node, "`input`")), manual }
    }
}

impl<'n> Lowering<'_, 'n> {
    /// `call`: its value is the flow's reply, else its last output, and neither is known here.
    pub(super) fn call(&mut self, node: &'n Node, table: &Table<'n>, seen: &Seen, id: &str) -> Option<(RunStep, Type)> {
        let text = self.ground.compiler.findings.literal_text(node, "`call`", "the name of a flow, or pipeline.flow");
        let called = text.and_then(|text| self.callee(text, node.span));
        let work = Work {
            input: called.as_ref().and_then(|(_, _, signature)| signature.input.clone()),
            worker: called.map(|(pipeline, flow, _)| Worker::Flow { pipeline, flow }),
            output: None,
        };
        self.work(work, node, table, seen, id)
    }

    /// `dispatch`: a run of its own does the one step, in its own time. What is known at once is only its id.
    pub(super) fn dispatch(&mut self, node: &'n Node, table: &Table<'n>, seen: &Seen, id: &str) -> Option<(Verb, Type)> {
        let place = self.ground.compiler.findings.place(table.span);
        let deadline = self.deadline.take();
        let block = self.lone(id, place, |lowering| Some(lowering.run(node, table, seen, id)?.0));
        self.deadline = deadline;
        Some((Verb::Dispatch(block?), record([("id", Type::String)])))
    }

    fn callee(&self, text: &str, span: Span) -> Option<(PipelineName, FlowName, Signature)> {
        let findings = self.ground.compiler.findings;
        let own = &self.ground.pipeline;
        let (pipeline, flow) = text.split_once('.').map_or((own.as_str(), text), |(pipeline, flow)| (pipeline, flow));
        let Some((pipeline, flows)) = self.ground.callable.get_key_value(&PipelineName::from(pipeline)) else {
            if pipeline == own.as_str() {
                // A file whose own name is wrong: that was said already, and its flows go by no name.
                return None;
            }
            let help = match closest(pipeline, self.ground.callable.keys().map(PipelineName::as_str)) {
                Some(near) => format!("did you mean `{near}.{flow}`?"),
                None => format!("name the file of `{pipeline}` too, beside this one"),
            };
            findings.error(codes::UNKNOWN_FLOW, span, format!("no loaded file has the pipeline `{pipeline}`"), help);
            return None;
        };
        let Some(signature) = flows.get(flow) else {
            let shown = |name: &str| if pipeline == own { name.to_owned() } else { format!("{pipeline}.{name}") };
            let help = match closest(flow, flows.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{}`?", shown(near)),
                None if pipeline == own => format!("write it, as flows: {{ {flow}: {{ trigger: manual, steps: […] }} }}"),
                None => format!("its flows are {}", crate::plan::raw::list(&flows.keys().map(String::as_str).collect::<Vec<_>>())),
            };
            let whose = if pipeline == own { "this pipeline".to_owned() } else { format!("the pipeline `{pipeline}`") };
            findings.error(codes::UNKNOWN_FLOW, span, format!("{whose} has no flow `{flow}`"), help);
            return None;
        };
        if pipeline != own && !signature.manual {
            findings.error(
                codes::NOT_MANUAL,
                span,
                format!("`{pipeline}.{flow}` may not be called from here: it has no `manual` trigger"),
                format!("add manual to the triggers of `{flow}` in the file of `{pipeline}`"),
            );
            return None;
        }
        Some((pipeline.clone(), FlowName::from(flow), signature.clone()))
    }
}
