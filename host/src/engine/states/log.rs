//! The changes of one state of which some may still be taken back, and what the state is with them. Pure.

use std::collections::VecDeque;

use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::StateChange;
use crate::model::id::JobId;
use crate::model::value::Map;

/// What a change sets, given the fields as they were set before it. Asked again whenever a change before it was taken back.
pub(super) type Evaluate = Box<dyn Fn(&Map) -> Result<Map, Failure> + Send>;

/// How many changes are held because one before them is not settled. One more is refused: to fold one early would be to keep what may have to go.
pub(super) const MOST: usize = 1_000;

/// A state: what is settled, and behind it all changes from the first unsettled one on, each of which can be evaluated anew.
///
/// Keeping the state as it was before each change was refused: it could be put back, but what came after would be lost with it.
#[derive(Default)]
pub(super) struct Log {
    /// With everything.
    now: Map,
    /// Without the entries; empty while there are none.
    base: Map,
    /// With those entries that stay in any case, as they are without the others: what may be kept. Empty while there are none.
    settled: Map,
    entries: VecDeque<Entry>,
}

struct Entry {
    /// The job on whose success it depends; none if it stays in any case.
    job: Option<JobId>,
    /// The job has succeeded, and that is on its way into the store, which may not take it.
    stays: bool,
    /// None if it sets the same whatever the state is.
    evaluate: Option<Evaluate>,
    applied: Map,
}

/// One visible change among those that followed from a job's failure.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) change: StateChange,
    /// The fields that it is about, as they are in the state up to it. Who takes all of them in turn has the state.
    pub(super) after: Map,
    /// Why it was dropped.
    pub(super) failure: Option<Failure>,
    /// The fields that were never set before it and are not now: they have their initial value.
    pub(super) unset: Vec<String>,
}

impl Log {
    /// All fields that are set.
    pub(super) const fn fields(&self) -> &Map {
        &self.now
    }

    /// All fields that are set, as they are without what may still be taken back. A change that cannot be made without that is not in it.
    pub(super) fn settled(&self) -> &Map {
        if self.entries.is_empty() { &self.now } else { &self.settled }
    }

    /// These fields are all that is settled, and there is nothing else.
    pub(super) fn restore(&mut self, fields: Map) {
        *self = Self { now: fields, ..Self::default() };
    }

    /// Gives fields values that they had before a change, which is as if it had never been. Only where nothing is unsettled.
    pub(super) fn put_back(&mut self, before: &Map) {
        apply(&mut self.now, before);
    }

    /// Whether a change that is made now may have to be evaluated again.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.entries.is_empty()
    }

    /// A change that stays. `evaluate` is needed while something is unsettled, unless the change is the same whatever the state is.
    ///
    /// # Errors
    /// `rejected` if too many wait for one that is not settled.
    pub(super) fn set(&mut self, applied: Map, evaluate: Option<Evaluate>) -> Result<(), Failure> {
        if self.entries.is_empty() {
            apply(&mut self.now, &applied);
            return Ok(());
        }
        let without = evaluate.as_ref().map(|evaluate| evaluate(&self.settled));
        match self.entries.back_mut() {
            // Changes that depend on nothing become one, so that a stream of progresses fills nothing up.
            Some(last) if evaluate.is_none() && last.job.is_none() && last.evaluate.is_none() => apply(&mut last.applied, &applied),
            _ => {
                self.room()?;
                self.entries.push_back(Entry { job: None, stays: true, evaluate, applied: applied.clone() });
            }
        }
        match without {
            None => apply(&mut self.settled, &applied),
            Some(Ok(without)) => apply(&mut self.settled, &without),
            Some(Err(_)) => {}
        }
        apply(&mut self.now, &applied);
        Ok(())
    }

    /// A change that goes if the job does not succeed.
    ///
    /// # Errors
    /// `rejected` if too many are not settled.
    pub(super) fn promise(&mut self, job: JobId, applied: Map, evaluate: Evaluate) -> Result<(), Failure> {
        self.room()?;
        if self.entries.is_empty() {
            self.base = self.now.clone();
            self.settled = self.now.clone();
        }
        apply(&mut self.now, &applied);
        self.entries.push_back(Entry { job: Some(job), stays: false, evaluate: Some(evaluate), applied });
        Ok(())
    }

    /// The job has ended. What follows is visible only if it did not succeed: its change goes, and those after it are made again in their order. One that
    /// cannot be made any more goes too. A success may still be followed by the opposite, until it is [confirmed](Self::confirm).
    pub(super) fn settle(&mut self, job: JobId, succeeded: bool) -> Vec<Followed> {
        let Some(place) = self.entries.iter().position(|entry| entry.job == Some(job)) else { return Vec::new() };
        let mut followed = Vec::new();
        if succeeded {
            if let Some(entry) = self.entries.get_mut(place) {
                entry.stays = true;
            }
        } else {
            let mut later = self.entries.split_off(place);
            let taken_back = later.pop_front();
            self.now = self.base.clone();
            for entry in &self.entries {
                apply(&mut self.now, &entry.applied);
            }
            followed.extend(taken_back.map(|entry| self.without(&entry, StateChange::TakenBack, None)));
            for mut entry in later {
                match entry.evaluate.as_ref().map(|evaluate| evaluate(&self.now)).transpose() {
                    Ok(applied) => {
                        entry.applied = applied.unwrap_or(entry.applied);
                        apply(&mut self.now, &entry.applied);
                        let (after, unset) = (entry.applied.clone(), Vec::new());
                        followed.push(Followed { change: StateChange::AppliedAgain, after, failure: None, unset });
                        self.entries.push_back(entry);
                    }
                    Err(failure) => followed.push(self.without(&entry, StateChange::Dropped, Some(failure))),
                }
            }
        }
        self.fold();
        followed
    }

    /// The success of that job is kept: its change is not taken back any more.
    pub(super) fn confirm(&mut self, job: JobId) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.job == Some(job) && entry.stays) {
            entry.job = None;
            self.fold();
        }
    }

    /// What is to be seen of a change that is gone: its fields as they are without it.
    fn without(&self, entry: &Entry, change: StateChange, failure: Option<Failure>) -> Followed {
        let (set, unset): (Vec<&String>, Vec<&String>) = entry.applied.keys().partition(|name| self.now.contains_key(*name));
        let after = set.into_iter().filter_map(|name| Some((name.clone(), self.now.get(name)?.clone()))).collect();
        Followed { change, after, failure, unset: unset.into_iter().cloned().collect() }
    }

    /// What no unsettled change stands before is settled.
    fn fold(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.job.is_none()) {
            if let Some(entry) = self.entries.pop_front() {
                apply(&mut self.base, &entry.applied);
            }
        }
        if self.entries.is_empty() {
            self.base = Map::new();
        }
        self.settled = self.base.clone();
        for entry in self.entries.iter().filter(|entry| entry.stays) {
            match entry.evaluate.as_ref().map(|evaluate| evaluate(&self.settled)) {
                None => apply(&mut self.settled, &entry.applied),
                Some(Ok(without)) => apply(&mut self.settled, &without),
                Some(Err(_)) => {}
            }
        }
    }

    fn room(&self) -> Result<(), Failure> {
        if self.entries.len() < MOST {
            return Ok(());
        }
        let message = format!("{MOST} changes of this state wait for jobs with `optimistic` to end; try again when some of them have");
        Err(Failure::new(FailureKind::Rejected, message).with_code("state_unsettled"))
    }
}

fn apply(state: &mut Map, change: &Map) {
    for (name, value) in change {
        state.insert(name.clone(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::value::Tree;

    fn job(number: usize) -> JobId {
        JobId::new(uuid::Uuid::from_u128(number as u128))
    }

    fn number(state: &Map, name: &str) -> i64 {
        state.get(name).and_then(Tree::as_int).unwrap_or_default()
    }

    /// What the changes of these tests do.
    #[derive(Clone, Copy, Debug)]
    enum Rule {
        Add(i64),
        Twice,
        Put(i64),
        /// The other field becomes this one.
        Copy,
        /// Fails if the field is odd.
        Halve,
    }

    fn evaluate(rule: Rule, state: &Map) -> Result<Map, Failure> {
        let (a, b) = (number(state, "a"), number(state, "b"));
        let (name, value) = match rule {
            Rule::Add(by) => ("a", a.wrapping_add(by)),
            Rule::Twice => ("a", a.wrapping_mul(2)),
            Rule::Put(value) => ("a", value),
            Rule::Copy => ("b", a.wrapping_add(b)),
            Rule::Halve if a % 2 != 0 => return Err(Failure::new(FailureKind::Invalid, "odd")),
            Rule::Halve => ("a", a / 2),
        };
        Ok(Map::from_iter([(name.to_owned(), Tree::Int(value))]))
    }

    fn again(rule: Rule) -> Evaluate {
        Box::new(move |state| evaluate(rule, state))
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace_and_a_later_success_is_not_lost() {
        let mut log = Log::default();
        log.set(evaluate(Rule::Put(10), log.fields()).expect("it fits"), None).expect("there is room");
        let before = log.fields().clone();
        for (index, rule) in [Rule::Add(5), Rule::Twice].into_iter().enumerate() {
            let applied = evaluate(rule, log.fields()).expect("it fits");
            log.promise(job(index), applied, again(rule)).expect("there is room");
        }
        assert_eq!(number(log.fields(), "a"), 30);
        assert!(log.settle(job(1), true).is_empty(), "nothing changes for the eye");
        log.confirm(job(1));
        let followed = log.settle(job(0), false);
        assert_eq!(number(log.fields(), "a"), 20, "the later one stays, made of what was there without the first");
        assert_eq!(followed.iter().map(|one| one.change).collect::<Vec<_>>(), [StateChange::TakenBack, StateChange::AppliedAgain]);
        assert!(!log.is_unsettled());
        let applied = evaluate(Rule::Copy, log.fields()).expect("it fits");
        log.promise(job(2), applied, again(Rule::Copy)).expect("there is room");
        let followed = log.settle(job(2), false);
        assert_eq!(followed[0].unset, ["b"], "a field that was never set is as if it had never been");
        assert_eq!((number(&before, "a"), log.fields().len()), (10, 1));
    }

    #[test]
    fn a_success_that_the_store_does_not_take_is_taken_back_with_what_was_built_on_it() {
        let mut log = Log::default();
        for (index, rule) in [Rule::Add(5), Rule::Twice].into_iter().enumerate() {
            let applied = evaluate(rule, log.fields()).expect("it fits");
            log.promise(job(index), applied, again(rule)).expect("there is room");
        }
        assert_eq!(number(log.settled(), "a"), 0);
        assert!(log.settle(job(0), true).is_empty());
        assert_eq!((number(log.settled(), "a"), number(log.fields(), "a")), (5, 10), "what is kept from now on has it");
        let followed = log.settle(job(0), false);
        assert_eq!(followed.iter().map(|one| one.change).collect::<Vec<_>>(), [StateChange::TakenBack, StateChange::AppliedAgain]);
        log.confirm(job(0));
        log.settle(job(1), true);
        assert!(log.is_unsettled(), "nobody knows yet whether that is kept");
        log.confirm(job(1));
        assert!(!log.is_unsettled() && log.fields().contains_key("a") && number(log.fields(), "a") == 0, "twice nothing");
    }

    #[test]
    fn what_cannot_be_made_again_is_dropped_visibly() {
        let mut log = Log::default();
        log.promise(job(0), evaluate(Rule::Add(1), log.fields()).expect("it fits"), again(Rule::Add(1))).expect("there is room");
        log.set(evaluate(Rule::Add(1), log.fields()).expect("it fits"), Some(again(Rule::Add(1)))).expect("there is room");
        log.set(evaluate(Rule::Halve, log.fields()).expect("2 is even"), Some(again(Rule::Halve))).expect("there is room");
        let followed = log.settle(job(0), false);
        let dropped = followed.last().expect("three follow");
        assert_eq!((dropped.change, dropped.failure.is_some()), (StateChange::Dropped, true));
        assert_eq!(number(log.fields(), "a"), 1);
    }

    #[test]
    fn one_unsettled_change_too_many_is_refused_and_constants_take_no_room() {
        let mut log = Log::default();
        for index in 0..MOST - 1 {
            log.promise(job(index), Map::new(), again(Rule::Copy)).expect("there is room");
        }
        for value in 0..5_000 {
            log.set(evaluate(Rule::Put(value), log.fields()).expect("it fits"), None).expect("constants become one");
        }
        let refused = log.promise(job(MOST), Map::new(), again(Rule::Copy)).expect_err("it is full");
        assert_eq!((refused.kind, refused.code.as_deref()), (FailureKind::Rejected, Some("state_unsettled")));
        assert!(log.set(Map::new(), Some(again(Rule::Twice))).is_err());
        assert_eq!(number(log.fields(), "a"), 4_999);
        for index in 0..MOST {
            log.settle(job(index), true);
            log.confirm(job(index));
        }
        assert!(!log.is_unsettled() && log.set(Map::new(), Some(again(Rule::Twice))).is_ok());
    }

    #[derive(Clone, Debug)]
    enum Move {
        Set(Rule),
        Promise(Rule),
        Settle(usize, bool),
    }

    fn any_move() -> impl Strategy<Value = Move> {
        let rule = prop_oneof![(-9..9i64).prop_map(Rule::Add), Just(Rule::Twice), (-9..9i64).prop_map(Rule::Put), Just(Rule::Copy)];
        prop_oneof![
            rule.clone().prop_map(Move::Set),
            rule.prop_map(Move::Promise),
            (0..8usize, any::<bool>()).prop_map(|(which, succeeded)| Move::Settle(which, succeeded)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        /// After each move the state is the fold of what was not taken back, in order, and whoever follows the changes has it too; what is kept is the
        /// same without what may still be taken back.
        #[test]
        fn the_state_is_the_fold_of_what_was_not_taken_back(moves in prop::collection::vec(any_move(), 0..40)) {
            let (mut log, mut history, mut seen) = (Log::default(), Vec::<(Rule, Option<JobId>)>::new(), Map::new());
            let settle = |log: &mut Log, history: &mut Vec<(Rule, Option<JobId>)>, seen: &mut Map, which: usize, succeeded: bool| {
                let open: Vec<usize> = (0..history.len()).filter(|index| history[*index].1.is_some()).collect();
                let Some(index) = open.get(which % open.len().max(1)).copied() else { return };
                let Some(whose) = history[index].1 else { return };
                for followed in log.settle(whose, succeeded) {
                    apply(seen, &followed.after);
                    followed.unset.iter().for_each(|name| drop(seen.shift_remove(name)));
                }
                log.confirm(whose);
                if succeeded { history[index].1 = None } else { history.remove(index); }
            };
            for (index, a_move) in moves.iter().enumerate() {
                match a_move {
                    Move::Set(rule) => {
                        let applied = evaluate(*rule, log.fields()).expect("none of these fails");
                        apply(&mut seen, &applied);
                        let constant = matches!(rule, Rule::Put(_));
                        log.set(applied, (!constant).then(|| again(*rule))).expect("there is room");
                        history.push((*rule, None));
                    }
                    Move::Promise(rule) => {
                        let applied = evaluate(*rule, log.fields()).expect("none of these fails");
                        apply(&mut seen, &applied);
                        log.promise(job(index), applied, again(*rule)).expect("there is room");
                        history.push((*rule, Some(job(index))));
                    }
                    Move::Settle(which, succeeded) => settle(&mut log, &mut history, &mut seen, *which, *succeeded),
                }
                let mut fold = Map::new();
                for (rule, _) in &history {
                    let change = evaluate(*rule, &fold).expect("none of these fails");
                    apply(&mut fold, &change);
                }
                prop_assert_eq!(log.fields(), &fold);
                prop_assert_eq!(&seen, &fold);
                let mut settled = Map::new();
                for (rule, _) in history.iter().filter(|(_, whose)| whose.is_none()) {
                    let change = evaluate(*rule, &settled).expect("none of these fails");
                    apply(&mut settled, &change);
                }
                prop_assert_eq!(log.settled(), &settled);
            }
            for round in 0..moves.len() {
                settle(&mut log, &mut history, &mut seen, round, round % 2 == 0);
            }
            prop_assert!(!log.is_unsettled() && log.base.is_empty() && log.settled.is_empty());
        }
    }
}
