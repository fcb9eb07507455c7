//! The first facts of a run: decided and given to the store before the run has a task.

use std::sync::Arc;

use futures_util::FutureExt;

use super::Driver;
use super::giving::Changes;
use crate::clock::Busy;
use crate::engine::run::{Command, Input};
use crate::model::port::{Commit, StoreError};
use crate::model::record::Fact;

/// The first facts of a run on their way into the store.
pub struct Opening {
    commit: Commit,
    first: u64,
    facts: Arc<Vec<Fact>>,
    commands: Vec<Command>,
}

impl Opening {
    /// Whether they are kept, or refused, at once; `None` if that takes time.
    pub fn poll_once(&mut self) -> Option<Result<(), StoreError>> {
        (&mut self.commit).now_or_never()
    }

    /// Waits until they are kept. Not to be asked again once it has answered.
    pub async fn kept(&mut self) -> Result<(), StoreError> {
        (&mut self.commit).await
    }
}

impl Driver {
    /// Decides how the run begins, and gives that to the store. What it takes over from a run that it does again stands between its beginning
    /// and what follows.
    pub fn open(&mut self, copied: Vec<Fact>) -> Opening {
        let first = self.state.facts() - 1;
        let input = if copied.is_empty() { Input::Start } else { Input::Resume };
        copied.iter().for_each(|fact| self.state.apply(fact));
        let (decided, commands) = self.decide(input);
        let mut facts = Vec::with_capacity(1 + copied.len() + decided.len());
        facts.push(Fact::Began(Arc::clone(self.state.beginning())));
        facts.extend(copied);
        facts.extend(decided);
        self.take_note(&facts);
        let facts = Arc::new(facts);
        Opening { commit: self.offer(first, &facts, &commands), first, facts, commands }
    }

    /// Decides how a parked run goes on, and gives that to the store.
    pub fn reopen(&mut self) -> Opening {
        let first = self.state.facts();
        let (facts, commands) = self.decide(Input::Reopen);
        self.take_note(&facts);
        let facts = Arc::new(facts);
        Opening { commit: self.offer(first, &facts, &commands), first, facts, commands }
    }

    /// Whether its facts outlive the host.
    pub fn is_durable(&self) -> bool {
        self.state.flow().durable
    }

    /// Gives the same to the store again, which had no room for it.
    pub fn offer_again(&self, opening: &mut Opening) {
        opening.commit = self.offer(opening.first, &opening.facts, &opening.commands);
    }

    /// A run that begins has set nothing yet and shares nothing: no state is held for it, and no table.
    fn offer(&self, first: u64, facts: &Arc<Vec<Fact>>, commands: &[Command]) -> Commit {
        self.hand_over(self.batch(first, facts, self.beside(facts)), commands)
    }

    /// Drives a run whose first facts are kept to its end.
    pub async fn drive(mut self: Box<Self>, opening: Opening, mut busy: Busy) {
        let Opening { facts, commands, .. } = opening;
        self.installed.bundle_is_kept();
        self.act(&facts, Changes::default()).await;
        self.obey(commands);
        if let Some(next) = self.next(&mut busy).await {
            self.go(next, busy).await;
        }
    }
}
