//! The pipelines that runs are pinned to, of whatever revision, for the names in them: those in force, else made again out of their bundles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::executor::registry::Registry;
use crate::model::bundle::Bundle;
use crate::model::id::Digest;
use crate::model::port::Store;
use crate::plan::Environment;
use crate::plan::pipeline::Pipeline;
use crate::reload::named_in;

/// So many that were made again are kept, found or not: a list names few revisions.
const KEPT: usize = 16;

/// Makes pipelines again to look at their names; nothing of them is ever run.
pub(in crate::app) struct Pinned {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    environment: Arc<Environment>,
    made: Mutex<VecDeque<(Digest, Option<Arc<Pipeline>>)>>,
}

impl Pinned {
    pub(in crate::app) fn new(store: Arc<dyn Store>, registry: Arc<Registry>, environment: Arc<Environment>) -> Self {
        Self { store, registry, environment, made: Mutex::default() }
    }

    /// The pipeline of a revision that is in force no more; `None` if its bundle is gone, or makes none.
    pub(super) async fn find(&self, revision: Digest) -> Option<Arc<Pipeline>> {
        if let Some((_, known)) = self.made().iter().find(|(known, _)| *known == revision) {
            return known.clone();
        }
        let pipeline = match self.store.bundle(revision).await {
            Ok(Some(bundle)) => {
                let environment = Arc::new(with_stand_ins(&self.environment, &bundle));
                named_in(&bundle, &self.registry, environment).await.ok()
            }
            Ok(None) | Err(_) => None,
        };
        let mut made = self.made();
        made.push_back((revision, pipeline.clone()));
        if made.len() > KEPT {
            made.pop_front();
        }
        pipeline
    }

    fn made(&self) -> std::sync::MutexGuard<'_, VecDeque<(Digest, Option<Arc<Pipeline>>)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The environment with something for each variable and secret that the files want and nobody gives: whoever only looks need not have them.
fn with_stand_ins(environment: &Environment, bundle: &Bundle) -> Environment {
    let mut all = environment.clone();
    for (_, content) in &bundle.files {
        let Ok(text) = std::str::from_utf8(content) else { continue };
        for (before, variables) in [("env.", true), ("secret.", false)] {
            for (at, _) in text.match_indices(before) {
                let rest = text.get(at + before.len()..).unwrap_or_default();
                let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_').unwrap_or(rest.len());
                let Some(name) = rest.get(..end).filter(|name| !name.is_empty()) else { continue };
                // What stands in the file for one that is missing fits; anything else may not.
                let has_its_own = text.get(at + before.len() + end..).is_some_and(|rest| rest.trim_start().starts_with("??"));
                let needs_none = has_its_own || all.variables.contains_key(name) || all.secrets.contains_key(name);
                if !needs_none {
                    let into = if variables { &mut all.variables } else { &mut all.secrets };
                    into.insert(name.to_owned(), "unknown".to_owned());
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bundle::FORMAT;

    #[test]
    fn what_files_want_and_nobody_gives_is_stood_in_for() {
        let text = "config: { url: '${env.URL}', tls: '${env.TLS ?? \"starttls\"}', key: '${secret.KEY}', own: '${env.OWN}' }";
        let bundle = Bundle {
            format: FORMAT,
            revision: Digest::of(b""),
            pipeline: "p".into(),
            file: "p.yaml".into(),
            files: vec![("p.yaml".into(), Arc::from(text.as_bytes())), ("p.wasm".into(), Arc::from(&b"\xff"[..]))],
        };
        let mut environment = Environment::default();
        environment.variables.insert("OWN".to_owned(), "mine".to_owned());
        let all = with_stand_ins(&environment, &bundle);
        let variables: Vec<_> = all.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(variables, [("OWN", "mine"), ("URL", "unknown")]);
        assert_eq!(all.secrets.keys().collect::<Vec<_>>(), ["KEY"]);
    }
}
