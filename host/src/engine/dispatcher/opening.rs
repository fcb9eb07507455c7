//! The first facts of a run: decided and given to the store before the run has a task.

use std::sync::Arc;
use std::task::Context;

use futures_util::FutureExt;

use super::Driver;
use super::ahead::USUAL_FACTS;
use super::following::goes_out;
use super::giving::{Decided, Given, Next};
use crate::clock::Busy;
use crate::engine::run::Input;
use crate::model::port::{Commit, StoreError};
use crate::model::record::Fact;
use crate::model::time::Timestamp;

/// The first facts of a run on their way into the store.
pub struct Opening {
    given: Box<Given>,
    commit: Commit,
    /// Since when it waits for a store that takes time.
    since: Option<Timestamp>,
    /// What is decided once more when the first decision is kept, as the store did not take both together.
    again: Option<Box<Next>>,
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
    /// and what follows. With a context it goes on at once for as long as it only computes, and gives all of that together.
    pub fn open(&mut self, copied: Vec<Fact>, context: Option<&mut Context<'_>>) -> Opening {
        let first = self.state.facts() - 1;
        let input = if copied.is_empty() { Input::Start } else { Input::Resume };
        copied.iter().for_each(|fact| self.state.apply(fact));
        // A run that waits after its first decision may wait for long: it holds no room that it does not need.
        let room = if context.is_some() { USUAL_FACTS } else { 4 };
        let mut facts = Vec::with_capacity(copied.len() + room);
        facts.push(Fact::Began(Arc::clone(self.state.beginning())));
        facts.extend(copied);
        self.gathered.facts = facts;
        // It is all one decision, from its first fact on.
        let decided = Decided { own: 0, ..self.decide(input.clone()) };
        self.take_note(decided.own());
        let on = Next::Input(input);
        let given = match context {
            Some(context) if self.may_go_ahead(decided.own(), &decided.commands) => {
                self.gather(on, first, decided);
                let given = self.compute(context);
                self.take_note(given.own());
                given
            }
            _ => self.give_decided(decided, first, on, None),
        };
        self.opening(given)
    }

    /// Decides how a parked run goes on, and gives that to the store.
    pub fn reopen(&mut self) -> Opening {
        let first = self.state.facts();
        let decided = self.decide(Input::Reopen);
        self.take_note(decided.own());
        let given = self.give_decided(decided, first, Next::Input(Input::Reopen), None);
        self.opening(given)
    }

    fn opening(&self, mut given: Box<Given>) -> Opening {
        // A beginning is never nothing.
        let commit = given.commit.take().unwrap_or_else(|| std::future::ready(Ok(())).boxed());
        Opening { given, commit, since: self.since(), again: None }
    }

    /// Whether its facts outlive the host.
    pub fn is_durable(&self) -> bool {
        self.state.flow().durable
    }

    /// Gives the same to the store again, which had no room for it.
    pub fn offer_again(&self, opening: &mut Opening) {
        let Given { first, facts, commands, .. } = &*opening.given;
        opening.commit = self.hand_over(self.batch(*first, facts, self.beside(facts)), commands);
    }

    /// Gives the first decision alone to the store, for which all of them were too large; false if there is but one.
    pub fn offer_alone(&mut self, opening: &mut Opening) -> bool {
        let Some((alone, again)) = self.alone(&mut opening.given) else { return false };
        *opening = Opening { again: Some(Box::new(again)), ..self.opening(alone) };
        true
    }

    /// Whether the run is over with its first facts, once they are kept, and then has nothing to wait for.
    pub fn is_over(&self, opening: &Opening) -> bool {
        self.state.ended().is_some() && opening.again.is_none() && !opening.given.facts.iter().any(goes_out)
    }

    /// Ends a run that [is over](Self::is_over) with its first facts, which are kept.
    pub fn end_at_once(mut self: Box<Self>, opening: Opening) {
        self.has_waited(opening.since);
        self.installed.bundle_is_kept();
        // Nothing of it goes out, so that it never waits.
        let _ = self.follow_all(opening.given).now_or_never();
        if let Some(outcome) = self.state.ended().cloned() {
            self.end(outcome);
        }
    }

    /// Drives a run whose first facts are kept to its end.
    pub async fn drive(mut self: Box<Self>, opening: Opening, mut busy: Busy) {
        let Opening { given, since, again, .. } = opening;
        self.has_waited(since);
        self.installed.bundle_is_kept();
        self.follow_all(given).await;
        let next = match again {
            Some(again) => self.once_more(*again).await,
            None => self.next(&mut busy).await,
        };
        if let Some(next) = next {
            self.go(next, busy).await;
        }
    }
}
