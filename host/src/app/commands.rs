//! What others may ask of the app while it runs: named commands and views behind a cheap handle.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::activation::{Activation, Admission, Requester};
use crate::model::event::Caller;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::RunId;
use crate::model::port::{Activate, Clock};
use crate::model::value::Value;
use crate::plan::pipeline::{Flow, Pipeline, Trigger};

use super::unread::unread;
use super::views::Views;

/// The code of something sent to a flow that there is not, or that is not started by name.
pub const NOT_SENDABLE: &str = "E0723";

/// What became of a message to a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The run; `None` if the message was forgotten, as the flow's `when_full: drop` says.
    pub run: Option<RunId>,
    /// A sentence for each field of the input that the flow does not declare, the first eight.
    pub unread: Vec<String>,
}

/// Commands and views of a running app. Clones speak to the same.
#[derive(Clone)]
pub struct Commands {
    pub(super) engine: Engine,
    pub(super) clock: Arc<dyn Clock>,
    /// The files and folders that were asked for.
    pub(super) given: Arc<[PathBuf]>,
    pub(super) views: Views,
}

impl Commands {
    /// The pipelines in force, in the order in which their files were named.
    pub fn pipelines(&self) -> Vec<Arc<Pipeline>> {
        let mut pipelines: Vec<Arc<Pipeline>> = self.engine.installed().iter().map(|bound| Arc::clone(&bound.pipeline)).collect();
        let place = |pipeline: &Pipeline| {
            let named = |given: &PathBuf| *given == pipeline.file || pipeline.file.parent() == Some(given);
            self.given.iter().position(named).unwrap_or(self.given.len())
        };
        pipelines.sort_by(|one, other| place(one).cmp(&place(other)).then_with(|| one.file.cmp(&other.file)));
        pipelines
    }

    /// Time, for whoever bounds a wait.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What can be seen of runs.
    pub const fn views(&self) -> &Views {
        &self.views
    }

    /// Starts the flow of that name, `pipeline.flow`, or `pipeline` if one flow of it is started by name. Returns when it was admitted;
    /// the requester hears the rest, if there is one. `caller` is who asks, as `caller.id` in expressions.
    ///
    /// # Errors
    /// `not_found` or `invalid` with [`NOT_SENDABLE`] if nothing can be sent there; else why the flow does not take it.
    pub async fn send(
        &self,
        target: &str,
        input: Value,
        caller: Option<String>,
        requester: Option<Arc<dyn Requester>>,
    ) -> Result<Sent, Failure> {
        let pipelines = self.pipelines();
        let doors: Vec<Doors<'_>> = pipelines.iter().map(|pipeline| Doors::of(pipeline)).collect();
        let (pipeline, flow) = addressee(&doors, target)?;
        let declared = pipelines
            .iter()
            .filter(|known| known.name.as_str() == pipeline)
            .flat_map(|known| &known.flows)
            .find(|known| known.name.as_str() == flow);
        let unread = declared.map_or_else(Vec::new, |declared| unread(&declared.input, &input, &format!("the input of {pipeline}.{flow}")));
        let caller = Caller { id: caller, roles: Vec::new() };
        let activation = Activation { caller, requester, ..Activation::new(pipeline, flow, input) };
        match self.engine.activate(activation).await {
            Admission::Started(run) | Admission::Queued(run) => Ok(Sent { run: Some(run), unread }),
            Admission::Dropped => Ok(Sent { run: None, unread }),
            Admission::Refused(failure) => Err(failure),
        }
    }
}

/// Whether a flow is started by name.
pub fn is_manual(flow: &Flow) -> bool {
    flow.triggers.contains(&Trigger::Manual)
}

/// A pipeline's flows, and which of them are started by name.
struct Doors<'a> {
    pipeline: &'a str,
    flows: Vec<(&'a str, bool)>,
}

impl<'a> Doors<'a> {
    fn of(pipeline: &'a Pipeline) -> Self {
        let flows = pipeline.flows.iter().map(|flow| (flow.name.as_str(), is_manual(flow)));
        Self { pipeline: pipeline.name.as_str(), flows: flows.collect() }
    }

    fn manual(&self) -> Vec<&'a str> {
        self.flows.iter().filter(|(_, manual)| *manual).map(|(flow, _)| *flow).collect()
    }
}

fn addressee<'a>(doors: &[Doors<'a>], target: &str) -> Result<(&'a str, &'a str), Failure> {
    let refuse = |kind: FailureKind, message: String| Err(Failure::new(kind, message).with_code(NOT_SENDABLE));
    let (pipeline, flow) = target.split_once('.').map_or((target, None), |(pipeline, flow)| (pipeline, Some(flow)));
    let Some(found) = doors.iter().find(|door| door.pipeline == pipeline) else {
        let known: Vec<&str> = doors.iter().map(|door| door.pipeline).collect();
        let known = if known.is_empty() { "none is in force".to_owned() } else { format!("in force are {}", known.join(", ")) };
        return refuse(FailureKind::NotFound, format!("there is no pipeline {pipeline:?}; {known}"));
    };
    let manual = found.manual();
    let Some(flow) = flow else {
        return match manual.as_slice() {
            [only] => Ok((found.pipeline, only)),
            [] => refuse(
                FailureKind::Invalid,
                format!("no flow of {pipeline} is started by name; give one the trigger manual, as trigger: manual"),
            ),
            several => refuse(
                FailureKind::Invalid,
                format!(
                    "{pipeline} has several flows that are started by name; send to {pipeline}.{}",
                    several.join(&format!(" or {pipeline}."))
                ),
            ),
        };
    };
    match found.flows.iter().find(|(name, _)| *name == flow) {
        Some((name, true)) => Ok((found.pipeline, name)),
        Some((_, false)) => {
            let help = "add manual to its triggers, as trigger: [manual, …]";
            refuse(FailureKind::Invalid, format!("the flow {pipeline}.{flow} is not started by name; {help}"))
        }
        None => {
            let known: Vec<&str> = found.flows.iter().map(|(name, _)| *name).collect();
            refuse(FailureKind::NotFound, format!("{pipeline} has no flow {flow:?}; it has {}", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str) -> Result<(&'static str, &'static str), String> {
        let doors = [
            Doors { pipeline: "cart", flows: vec![("add", true), ("watch", false)] },
            Doors { pipeline: "auth", flows: vec![("login", true), ("logout", true)] },
            Doors { pipeline: "quiet", flows: vec![("main", false)] },
        ];
        addressee(&doors, target).map_err(|failure| failure.into_particulars().message)
    }

    #[test]
    fn a_pipeline_with_one_manual_flow_needs_no_flow_s_name() {
        assert_eq!(asked("cart"), Ok(("cart", "add")));
        assert_eq!(asked("auth.logout"), Ok(("auth", "logout")));
    }

    #[test]
    fn what_cannot_be_sent_to_is_named_with_the_way_out() {
        let refusals = [
            ("crat", "there is no pipeline \"crat\"; in force are cart, auth, quiet"),
            ("auth", "auth has several flows that are started by name; send to auth.login or auth.logout"),
            ("cart.watch", "the flow cart.watch is not started by name; add manual to its triggers, as trigger: [manual, …]"),
            ("cart.ad", "cart has no flow \"ad\"; it has add, watch"),
            ("quiet", "no flow of quiet is started by name; give one the trigger manual, as trigger: manual"),
        ];
        for (target, words) in refusals {
            assert_eq!(asked(target), Err(words.to_owned()));
        }
    }
}
