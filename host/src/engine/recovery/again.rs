//! Pipelines of revisions that are in force no more, made again out of their bundles and shared by all their runs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::installed::Installed;
use crate::engine::run::unfolded;
use crate::engine::shared::Shared;
use crate::model::failure::Failure;
use crate::model::id::{Digest, RunId};
use crate::model::record::{Beginning, beginning_of};
use crate::plan::pipeline::Flow;

use super::stalled::Reason;

impl Shared {
    /// What a run is pinned to, if it is in force or was made again.
    pub(super) fn pinned(&self, beginning: &Beginning) -> Result<(Arc<Installed>, Arc<Flow>), Reason> {
        let revision = beginning.revision;
        let in_force = self.find(&beginning.pipeline).filter(|installed| installed.bound.pipeline.revision == revision);
        let installed = in_force.or_else(|| self.remade_of(revision)).ok_or_else(|| {
            let why = match self.find(&beginning.pipeline) {
                Some(_) => "its file has changed since it began, and how it was is not known; start the host with the file as it was",
                None => "its pipeline is not loaded; start the host with its file",
            };
            Reason::no_revision(beginning, why)
        })?;
        let flow = installed.bound.pipeline.flows.iter().find(|flow| flow.name == beginning.flow).cloned();
        let flow = flow.ok_or_else(|| Reason::no_revision(beginning, "its flow is not there any more"))?;
        Ok((installed, flow))
    }

    /// The same, made again if it has to be.
    pub(in crate::engine) async fn pinned_or_remade(&self, beginning: &Beginning) -> Result<(Arc<Installed>, Arc<Flow>), Reason> {
        match self.pinned(beginning) {
            Ok(pinned) => Ok(pinned),
            Err(reason) => match self.make_again(beginning.revision).await {
                Ok(true) => self.pinned(beginning),
                Ok(false) => Err(reason),
                Err(why) => Err(Reason::no_revision(beginning, why)),
            },
        }
    }

    /// Makes the pipelines of these runs again. What cannot be made again stalls its runs.
    pub(super) async fn remake(self: &Arc<Self>, runs: &[RunId]) {
        let mut tried: HashMap<Digest, Option<String>> = HashMap::new();
        for run in runs {
            let Ok(facts) = self.ports.store.facts(*run).await else { continue };
            let (facts, _) = unfolded(facts);
            let Some(beginning) = beginning_of(&facts) else { continue };
            let revision = beginning.revision;
            let why = match tried.get(&revision) {
                Some(why) => why.clone(),
                None => {
                    let why = self.make_again(revision).await.err();
                    tried.insert(revision, why.clone());
                    why
                }
            };
            if let Some(why) = why {
                self.stall(*run, Reason::no_revision(beginning, why), None);
            }
        }
    }

    /// Whether the pipeline of a revision could be made again; false if nothing is known of it.
    ///
    /// # Errors
    /// What hinders it, for people.
    async fn make_again(&self, revision: Digest) -> Result<bool, String> {
        if self.remade_of(revision).is_some() {
            return Ok(true);
        }
        let Some(rebuild) = self.rebuild.get() else { return Ok(false) };
        let bundle = self.ports.store.bundle(revision).await.map_err(|error| error.to_string())?;
        let Some(bundle) = bundle else { return Ok(false) };
        let bound = rebuild.rebuild(bundle).await.map_err(|failure| with_code(&failure))?;
        self.waits.install(std::iter::once(&bound.pipeline));
        self.waits.learned();
        self.keep_remade(revision, Arc::new(Installed::new(bound, &self.ports.policies)));
        Ok(true)
    }
}

/// `E0756: the revision … cannot be made again: …`: by the code people find what it means.
fn with_code(failure: &Failure) -> String {
    failure.code.as_ref().map_or_else(|| failure.to_string(), |code| format!("{code}: {}", failure.message))
}
