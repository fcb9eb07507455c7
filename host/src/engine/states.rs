//! The states of pipelines: one for each key, versioned, changed one whole `set` at a time.

mod kept;
mod log;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::StateChange;
use crate::model::id::{Digest, JobId, PipelineName};
use crate::model::port::{Root, Store, Unreadable};
use crate::model::record::{Kept, Room, Write};
use crate::model::types::{Origin, Type};
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::StateSettings;
use crate::plan::template::Template;

use super::{shareable, unreadable};
use log::Log;

/// How many keyed states the host holds in memory. One more is refused: to forget one silently would be to lose it.
const MOST: usize = 100_000;

/// A pipeline and the key of one of its states.
type Name = (PipelineName, Option<String>);

/// All states, by pipeline and key. They outlive reloads.
#[derive(Default)]
pub struct States {
    cells: Mutex<HashMap<Name, Arc<StateCell>>>,
    /// Those that a store has and cannot read, each with what is said of it: nobody may have their initial values in their place.
    unreadable: Mutex<HashMap<Name, Failure>>,
}

impl States {
    /// Whether a run may have the state of that key: it is there, or there is room for it. Makes nothing.
    ///
    /// # Errors
    /// `rejected` (`state_full`) if there are too many; what is said of a state that cannot be read.
    pub fn check(&self, pipeline: &PipelineName, key: Option<&str>) -> Result<(), Failure> {
        if let Some(failure) = self.why_unreadable(pipeline, key) {
            return Err(failure);
        }
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if cells.len() < MOST || cells.contains_key(&(pipeline.clone(), key.map(str::to_owned))) {
            return Ok(());
        }
        let message = format!("{pipeline} has more than {MOST} states; use a state_key with fewer values");
        Err(Failure::new(FailureKind::Rejected, message).with_code("state_full"))
    }

    /// What is said of a state that the store has and cannot read; `None` for all others.
    pub fn why_unreadable(&self, pipeline: &PipelineName, key: Option<&str>) -> Option<Failure> {
        let unreadable = self.unreadable();
        // Next to nobody ever has one, and no name is made to find none.
        if unreadable.is_empty() { None } else { unreadable.get(&(pipeline.clone(), key.map(str::to_owned))).cloned() }
    }

    /// Whoever needs these states is refused from now on. There are no more than the store has states.
    pub fn refuse(&self, states: &[Unreadable]) {
        let mut unreadable = self.unreadable();
        for state in states {
            unreadable.insert(kept::name(&state.owner, &state.key), unreadable::failure(Room::State, state));
        }
    }

    /// Somebody decides that a state which cannot be read begins anew: returns what forgets it in the store. `None` if that letter stands for none.
    pub fn begin_anew(&self, letter: &str) -> Option<Write> {
        let mut unreadable = self.unreadable();
        let is_it = |name: &&Name| {
            let (owner, key) = kept::place(&name.0, name.1.as_deref());
            unreadable::letter_of_state(&owner, &key) == letter
        };
        let name = unreadable.keys().find(is_it)?.clone();
        unreadable.remove(&name);
        let (owner, key) = kept::place(&name.0, name.1.as_deref());
        Some(Write::Forget { room: Room::State, owner, key: Some(key) })
    }

    fn unreadable(&self) -> MutexGuard<'_, HashMap<Name, Failure>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of that key for a run that begins, made of the initial values if it is not there yet. Those that were checked and had to wait may come
    /// on top of the bound, as many as the doors let wait.
    pub fn cell(&self, pipeline: &PipelineName, key: Option<&str>) -> Arc<StateCell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry((pipeline.clone(), key.map(str::to_owned))).or_default())
    }

    /// Forgets all states of a pipeline, in the store too. A run under way goes on with the one that it has, of which nothing is kept any more.
    pub fn forget(&self, pipeline: &PipelineName, store: &dyn Store) {
        self.unreadable().retain(|(name, _), _| name != pipeline);
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|(name, _), cell| {
            let stays = name != pipeline;
            if !stays {
                // Held by nobody from here on who could give a change of it to the store after this.
                cell.hold().0.forgotten = true;
            }
            stays
        });
        // Nobody has to wait for it: whatever the new states become is kept after it.
        drop(store.write(vec![Write::Forget { room: Room::State, owner: pipeline.to_string(), key: None }]));
    }

    /// Has what a store kept, when a host starts. The state of a pipeline that has changed its shape and may lose its states is not there; a field whose value is not what the pipeline in force declares has its initial value, which is said.
    pub fn restore<'a>(&self, kept: Vec<Kept>, settings: impl Fn(&PipelineName) -> Option<&'a StateSettings>) -> Restored {
        let mut restored = Restored::default();
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in kept {
            let Some(state) = kept::read(&kept) else {
                let why = "it is not what this pipehost writes".to_owned();
                restored.unreadable.push(Unreadable { owner: kept.owner, key: kept.key, why, until: None });
                continue;
            };
            let state = Some(state).filter(|state| cells.len() < MOST || cells.contains_key(&state.name));
            let state = state.and_then(|state| state.fit(&settings, &mut restored.unfit));
            let Some(state) = state else {
                restored.forgotten.push(Write::Forget { room: kept.room, owner: kept.owner, key: Some(kept.key) });
                continue;
            };
            let cell = Arc::clone(cells.entry(state.name).or_default());
            let mut inner = cell.hold().0;
            if inner.version == 0 {
                inner.version = state.version;
                inner.log.restore(state.fields);
                inner.seen = None;
            }
        }
        restored
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The state of that key if it was ever set.
    pub fn find(&self, pipeline: &PipelineName, key: Option<&str>) -> Option<Arc<StateCell>> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.get(&(pipeline.clone(), key.map(str::to_owned))).cloned()
    }
}

/// What came of the states that a store kept.
#[derive(Default)]
pub struct Restored {
    /// What is of no use any more.
    pub forgotten: Vec<Write>,
    /// The fields that have their initial value again, each with the number of its state and why.
    pub unfit: Vec<Unfit>,
    /// What is no state.
    pub unreadable: Vec<Unreadable>,
}

/// A field that was kept and is not what its pipeline declares now.
pub struct Unfit {
    /// The key of the state.
    pub key: Option<String>,
    /// The number of the state.
    pub version: u64,
    /// The field with the value that it has now.
    pub after: Value,
    /// Why.
    pub failure: Failure,
}

/// One state.
#[derive(Default)]
pub struct StateCell {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// How often it was set.
    version: u64,
    /// What was set; fields that never were have their initial value, that of the present revision.
    log: Log,
    /// Whether a reload began the states of its pipeline anew: those that runs under way still have are not kept.
    forgotten: bool,
    /// What [`StateCell::view`] last gave, and for which revision's settings: most looks come between two changes.
    seen: Option<(Digest, Value)>,
}

/// What a change sets, given the state as it is before it: for changes that may have to be evaluated again.
pub type Fields = Box<dyn Fn(&Value) -> Result<Vec<(String, Value)>, Failure> + Send>;

/// A change that followed because a job did not succeed.
#[derive(Debug)]
pub struct Followed {
    /// The number of the state after it.
    pub version: u64,
    /// What kind of change it is.
    pub change: StateChange,
    /// The fields that it is about, as they are after it.
    pub after: Value,
    /// Why a change was dropped.
    pub because: Option<Failure>,
}

/// A change of a state.
pub struct Change {
    /// The number of the state after it, from 1.
    pub version: u64,
    /// The fields that were set, as they were.
    pub before: Value,
    /// The fields that were set, as they are.
    pub after: Value,
}

impl Change {
    /// What `steps.<id>` of a `set` step is.
    pub fn to_value(&self) -> Value {
        Value::map([("before", self.before.clone()), ("after", self.after.clone())])
    }
}

/// A state that nobody else reads or changes meanwhile. What is given to the store before it is let go is kept in the order of the changes.
pub struct HeldState<'a>(MutexGuard<'a, Inner>);

impl StateCell {
    /// Holds it. Never across an await, and nothing may be dropped or called meanwhile that takes a state or a gate itself.
    pub fn hold(&self) -> HeldState<'_> {
        HeldState(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All fields at this moment, as that revision of the pipeline has them.
    pub fn view(&self, settings: &StateSettings, revision: Digest) -> Value {
        self.hold().view(settings, revision)
    }

    /// Sets fields and keeps nothing: for what is kept with the next change that is recorded.
    ///
    /// # Errors
    /// As [`HeldState::change`].
    pub fn change(
        &self,
        settings: &StateSettings,
        fields: impl FnOnce(&Value) -> Result<Vec<(String, Value)>, Failure>,
        again: impl FnOnce() -> Option<Fields>,
    ) -> Result<Change, Failure> {
        self.hold().change(settings, fields, again)
    }

    /// Sets fields until the job has ended; they stay if it succeeds. Not kept: after a crash the job promises them again.
    ///
    /// # Errors
    /// As [`HeldState::change`].
    pub fn promise(&self, settings: &StateSettings, job: JobId, fields: Fields) -> Result<Change, Failure> {
        let mut inner = self.hold().0;
        let (before, after) = evaluate(inner.log.fields(), settings, &fields)?;
        inner.log.promise(job, after.clone(), evaluated_again(fields, settings))?;
        Ok(inner.changed(before, after))
    }

    /// The same as [`HeldState::settle`], of which nothing is kept.
    pub fn settle(&self, settings: &StateSettings, job: JobId, succeeded: bool) -> Vec<Followed> {
        self.hold().settle(settings, job, succeeded)
    }

    /// The success of that job is kept: what it promised is not taken back any more.
    pub fn confirm(&self, job: JobId) {
        self.hold().0.log.confirm(job);
    }

    /// The store refused the change of that number. It is put back if nothing was built on it; else it stands, and is kept with what was: either way
    /// the next change that is kept says what is here.
    pub fn refused(&self, version: u64, before: &Value) {
        let mut inner = self.hold().0;
        if inner.version == version
            && !inner.log.is_unsettled()
            && let Some(before) = before.tree().as_map()
        {
            inner.log.put_back(before);
            inner.seen = None;
        }
    }
}

impl HeldState<'_> {
    /// All fields at this moment, as that revision of the pipeline has them.
    pub fn view(&mut self, settings: &StateSettings, revision: Digest) -> Value {
        let inner = &mut *self.0;
        match &inner.seen {
            Some((of, view)) if *of == revision => view.clone(),
            _ => {
                let view = Value::from(Tree::Map(whole(inner.log.fields(), settings)));
                inner.seen = Some((revision, view.clone()));
                view
            }
        }
    }

    /// Sets fields: `fields` is told the state at this moment, and nobody else sets anything until it has answered. `again` is asked only if a change
    /// before it may still be taken back: it gives the same once more, or nothing if what is set does not depend on the state.
    ///
    /// # Errors
    /// What `fields` failed with, `invalid` for a value that is not of the field's type, and `rejected` (`state_unsettled`) if too many changes wait for
    /// one that is not settled.
    pub fn change(
        &mut self,
        settings: &StateSettings,
        fields: impl FnOnce(&Value) -> Result<Vec<(String, Value)>, Failure>,
        again: impl FnOnce() -> Option<Fields>,
    ) -> Result<Change, Failure> {
        let inner = &mut *self.0;
        let (before, after) = evaluate(inner.log.fields(), settings, fields)?;
        let again = if inner.log.is_unsettled() { again() } else { None };
        inner.log.set(after.clone(), again.map(|fields| evaluated_again(fields, settings)))?;
        Ok(inner.changed(before, after))
    }

    /// The job has ended: what it promised stays, or is taken back and what came after it is evaluated again. Nothing to be seen follows from a success.
    /// Does nothing for a job that promised nothing. A success has to be [confirmed](StateCell::confirm) once it is kept; before that it may be settled
    /// once more, as none.
    pub fn settle(&mut self, settings: &StateSettings, job: JobId, succeeded: bool) -> Vec<Followed> {
        let inner = &mut *self.0;
        let followed = inner.log.settle(job, succeeded);
        inner.seen = None;
        let visible = followed.into_iter().map(|followed| {
            inner.version += 1;
            let initial = |name: String| settings.initial.get(&name).cloned().map(|value| (name, value));
            let after = followed.after.into_iter().chain(followed.unset.into_iter().filter_map(initial)).collect();
            Followed { version: inner.version, change: followed.change, after: Value::from(Tree::Map(after)), because: followed.failure }
        });
        visible.collect()
    }

    /// What is kept of it: its number, and the fields without what may still be taken back. Nothing of one that was forgotten.
    pub fn kept(&self, pipeline: &PipelineName, key: Option<&str>) -> Option<Write> {
        (!self.0.forgotten).then(|| Write::Keep(kept::of(pipeline, key, self.0.version, self.0.log.settled())))
    }
}

impl Inner {
    fn changed(&mut self, before: Map, after: Map) -> Change {
        self.version += 1;
        self.seen = None;
        Change { version: self.version, before: Value::from(Tree::Map(before)), after: Value::from(Tree::Map(after)) }
    }
}

/// The fields before and after a change.
fn evaluate(
    set: &Map,
    settings: &StateSettings,
    fields: impl FnOnce(&Value) -> Result<Vec<(String, Value)>, Failure>,
) -> Result<(Map, Map), Failure> {
    let now = whole(set, settings);
    let fields = fields(&Value::from(Tree::Map(now.clone())))?;
    let (mut before, mut after) = (Map::new(), Map::new());
    for (name, value) in fields {
        let value = conform(&name, &value, settings)?;
        before.insert(name.clone(), now.get(&name).cloned().unwrap_or_default());
        after.insert(name, value);
    }
    Ok((before, after))
}

/// The same change as often as it is needed, under the types of the revision that made it.
fn evaluated_again(fields: Fields, settings: &StateSettings) -> log::Evaluate {
    let settings = settings.clone();
    Box::new(move |set| evaluate(set, &settings, &fields).map(|(_, after)| after))
}

/// Whether what these fields become depends on the state: if not, they need not be evaluated again.
pub fn depends_on_state(fields: &[(String, Template)]) -> bool {
    let mut expressions = fields.iter().flat_map(|(_, template)| template.expressions());
    expressions.any(|expression| expression.references().iter().any(|reference| reference.root == Root::State))
}

fn whole(set: &Map, settings: &StateSettings) -> Map {
    let field = |(name, initial): (&String, &Tree)| (name.clone(), set.get(name).unwrap_or(initial).clone());
    settings.initial.iter().map(field).collect()
}

fn conform(name: &str, value: &Value, settings: &StateSettings) -> Result<Tree, Failure> {
    // A field without a first value is null at first, so that its type is `secret|null`.
    let is_secret = |declared: &Type| match declared {
        Type::Nullable(inner) => **inner == Type::Secret,
        declared => *declared == Type::Secret,
    };
    if !settings.types.iter().any(|(field, declared)| field == name && is_secret(declared)) {
        shareable::check(value, &format!("the value for state field {name}"))?;
    }
    let Some((_, declared)) = settings.types.iter().find(|(field, _)| field == name) else { return Ok(value.tree().clone()) };
    declared.conform(value, Origin::Data).map(|value| value.tree().clone()).map_err(|mismatches| {
        let message = format!("state field {name} cannot be set: {}", shareable::all(&mismatches));
        Failure::new(FailureKind::Invalid, message).with_code("state_type")
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::journal::memory::MemoryStore;
    use crate::model::secret::Secret;

    fn revision() -> Digest {
        Digest::of(b"p")
    }

    fn settings() -> StateSettings {
        let initial = Map::from_iter([("status".to_owned(), Tree::from("idle")), ("count".to_owned(), Tree::Int(0))]);
        StateSettings { initial, types: vec![("count".to_owned(), Type::Int)], ..StateSettings::default() }
    }

    #[test]
    fn a_change_sees_the_state_at_that_moment() {
        let (cell, settings) = (StateCell::default(), settings());
        for expected in 1..=3 {
            let change = cell.change(&settings, raised(), || None).expect("an int is an int");
            assert_eq!(change.version, expected);
            assert_eq!(change.before.text(), format!(r#"{{"count":{}}}"#, expected - 1));
        }
        assert_eq!(cell.view(&settings, revision()).text(), r#"{"status":"idle","count":3}"#);
    }

    #[test]
    fn a_wrong_type_changes_nothing() {
        let (cell, settings) = (StateCell::default(), settings());
        let refused = cell.change(&settings, |_| Ok(vec![("count".to_owned(), Value::string("many"))]), || None);
        assert_eq!(refused.err().and_then(|failure| failure.into_particulars().code).as_deref(), Some("state_type"));
        assert_eq!(cell.view(&settings, revision()).text(), r#"{"status":"idle","count":0}"#);
    }

    #[test]
    fn a_secret_is_kept_where_one_is_declared_and_refused_elsewhere() {
        let (cell, mut settings) = (StateCell::default(), settings());
        settings.types.push(("token".to_owned(), Type::Nullable(Box::new(Type::Secret))));
        settings.initial.insert("token".to_owned(), Tree::Null);
        let set = |name: &str, value: Tree| cell.change(&settings, |_| Ok(vec![(name.to_owned(), Value::from(value))]), || None);
        let secret = || Tree::Secret(Secret::new("token", "hunter2"));
        assert_eq!(set("token", secret()).expect("it is declared").after.text(), r#"{"token":"«secret token»"}"#);
        assert_eq!(set("status", secret()).err().and_then(|failure| failure.into_particulars().code).as_deref(), Some("secret"));
        set("token", Tree::Null).expect("it may be null again");
        assert_eq!(cell.view(&settings, revision()).text(), r#"{"status":"idle","count":0,"token":null}"#);
    }

    #[test]
    fn fields_that_a_reload_adds_have_their_initial_value() {
        let (cell, mut settings) = (StateCell::default(), settings());
        cell.change(&settings, |_| Ok(vec![("count".to_owned(), Value::from(Tree::Int(9)))]), || None).expect("an int is an int");
        settings.initial.insert("new".to_owned(), Tree::Bool(true));
        assert_eq!(cell.view(&settings, Digest::of(b"q")).text(), r#"{"status":"idle","count":9,"new":true}"#);
    }

    #[test]
    fn what_is_forgotten_begins_anew_and_who_holds_it_keeps_it() {
        let (states, settings) = (States::default(), settings());
        let (mine, other) = (PipelineName::new("mine"), PipelineName::new("other"));
        let cells: Vec<_> = [&mine, &other].map(|name| states.cell(name, None)).into();
        for cell in &cells {
            cell.change(&settings, |_| Ok(vec![("count".to_owned(), Value::from(Tree::Int(9)))]), || None).expect("an int is an int");
        }
        let store = MemoryStore::new();
        drop(store.write(cells.iter().zip([&mine, &other]).filter_map(|(cell, name)| cell.hold().kept(name, None)).collect()));
        states.forget(&mine, &store);
        let kept = store.kept(Room::State).now_or_never().expect("at once").expect("never broken");
        assert_eq!(kept.iter().map(|kept| kept.owner.as_str()).collect::<Vec<_>>(), ["other"]);
        assert_eq!(cells[0].hold().kept(&mine, None), None, "what a run under way still has is not kept");
        assert!(states.find(&mine, None).is_none() && states.find(&other, None).is_some());
        assert_eq!(cells[0].view(&settings, revision()).text(), r#"{"status":"idle","count":9}"#);
    }

    #[test]
    fn one_state_too_many_is_refused() {
        let states = States::default();
        let pipeline = PipelineName::new("p");
        for key in 0..MOST {
            assert!(states.check(&pipeline, Some(&key.to_string())).is_ok());
            states.cell(&pipeline, Some(&key.to_string()));
        }
        assert_eq!(
            states.check(&pipeline, Some("more")).err().and_then(|failure| failure.into_particulars().code).as_deref(),
            Some("state_full")
        );
        assert!(states.check(&pipeline, Some("7")).is_ok());
    }

    fn raised() -> Fields {
        Box::new(|now| {
            let count = now.field("count").and_then(|count| count.tree().as_int()).unwrap_or_default();
            Ok(vec![("count".to_owned(), Value::from(Tree::Int(count + 1)))])
        })
    }

    #[test]
    fn what_is_taken_back_is_as_if_it_had_never_been_and_the_number_grows() {
        let (cell, settings) = (StateCell::default(), settings());
        let job = JobId::new(uuid::Uuid::from_u128(1));
        let promised = cell.promise(&settings, job, raised()).expect("an int is an int");
        assert_eq!((promised.version, promised.after.text()), (1, r#"{"count":1}"#));
        cell.change(&settings, raised(), || Some(raised())).expect("an int is an int");
        cell.change(&settings, |_| Ok(vec![("status".to_owned(), Value::string("busy"))]), || None).expect("a text is a text");
        let followed = cell.settle(&settings, job, false);
        let shown: Vec<_> = followed.iter().map(|one| (one.version, one.change, one.after.text().to_owned())).collect();
        assert_eq!(
            shown,
            [
                (4, StateChange::TakenBack, r#"{"count":0}"#.to_owned()),
                (5, StateChange::AppliedAgain, r#"{"count":1}"#.to_owned()),
                (6, StateChange::AppliedAgain, r#"{"status":"busy"}"#.to_owned()),
            ]
        );
        assert_eq!(cell.view(&settings, revision()).text(), r#"{"status":"busy","count":1}"#);
        assert!(cell.settle(&settings, job, false).is_empty(), "it is settled once");
    }

    #[test]
    fn a_promise_of_a_wrong_type_changes_nothing() {
        let (cell, settings) = (StateCell::default(), settings());
        let job = JobId::new(uuid::Uuid::from_u128(1));
        let wrong: Fields = Box::new(|_| Ok(vec![("count".to_owned(), Value::string("many"))]));
        assert_eq!(
            cell.promise(&settings, job, wrong).err().and_then(|failure| failure.into_particulars().code).as_deref(),
            Some("state_type")
        );
        assert!(cell.settle(&settings, job, false).is_empty());
    }
}
