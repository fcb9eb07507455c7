//! What the last host left behind is taken up once: when the first files are in force, and before anything is started.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::engine::{Engine, Recovered};
use crate::model::port::StoreError;
use crate::reload::Outcome;

/// Takes up what was left behind, once. Clones do it once together.
#[derive(Clone)]
pub(super) struct TakingUp {
    engine: Engine,
    done: Arc<OnceCell<Result<Recovered, StoreError>>>,
}

impl TakingUp {
    pub(super) fn of(engine: &Engine) -> Self {
        Self { engine: engine.clone(), done: Arc::default() }
    }

    /// To be called after each reload, before anybody hears of it.
    pub(super) async fn after(&self, outcome: &Outcome) {
        if *outcome != Outcome::Refused {
            self.done.get_or_init(|| self.engine.recover()).await;
        }
    }

    /// What it came to; `None` before.
    pub(super) fn came_to(&self) -> Option<Result<Recovered, StoreError>> {
        self.done.get().cloned()
    }
}
