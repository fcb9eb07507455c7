//! The states of pipelines: one for each key, versioned, changed one whole `set` at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{Digest, PipelineName};
use crate::model::types::Origin;
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::StateSettings;

use super::shareable;

/// How many keyed states the host holds in memory. One more is refused: to forget one silently would be to lose it.
const MOST: usize = 100_000;

/// A pipeline and the key of one of its states.
type Name = (PipelineName, Option<String>);

/// All states, by pipeline and key. They outlive reloads.
#[derive(Default)]
pub struct States {
    cells: Mutex<HashMap<Name, Arc<StateCell>>>,
}

impl States {
    /// The state of that key, made of the initial values if it is not there yet.
    ///
    /// # Errors
    /// `rejected` (`state_full`) if there are too many.
    pub fn cell(&self, pipeline: &PipelineName, key: Option<&str>) -> Result<Arc<StateCell>, Failure> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (pipeline.clone(), key.map(str::to_owned));
        if let Some(cell) = cells.get(&name) {
            return Ok(Arc::clone(cell));
        }
        if cells.len() >= MOST {
            let message = format!("{pipeline} has more than {MOST} states; use a state_key with fewer values");
            return Err(Failure::new(FailureKind::Rejected, message).with_code("state_full"));
        }
        let cell = Arc::new(StateCell::default());
        cells.insert(name, Arc::clone(&cell));
        Ok(cell)
    }

    /// Forgets all states of a pipeline. A run under way goes on with the one that it has.
    pub fn forget(&self, pipeline: &PipelineName) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _), _| name != pipeline);
    }

    /// The state of that key if it was ever set.
    pub fn find(&self, pipeline: &PipelineName, key: Option<&str>) -> Option<Arc<StateCell>> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.get(&(pipeline.clone(), key.map(str::to_owned))).cloned()
    }
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
    set: Map,
    /// What [`StateCell::view`] last gave, and for which revision's settings: most looks come between two changes.
    seen: Option<(Digest, Value)>,
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

impl StateCell {
    /// All fields at this moment, as that revision of the pipeline has them.
    pub fn view(&self, settings: &StateSettings, revision: Digest) -> Value {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match &inner.seen {
            Some((of, view)) if *of == revision => view.clone(),
            _ => {
                let view = Value::from(Tree::Map(whole(&inner.set, settings)));
                inner.seen = Some((revision, view.clone()));
                view
            }
        }
    }

    /// Sets fields: `fields` is told the state at this moment, and nobody else sets anything until it has answered.
    ///
    /// # Errors
    /// What `fields` failed with, and `invalid` for a value that is not of the field's type.
    pub fn change(
        &self,
        settings: &StateSettings,
        fields: impl FnOnce(&Value) -> Result<Vec<(String, Value)>, Failure>,
    ) -> Result<Change, Failure> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = whole(&inner.set, settings);
        let fields = fields(&Value::from(Tree::Map(now.clone())))?;
        let (mut before, mut after) = (Map::new(), Map::new());
        for (name, value) in fields {
            let value = conform(&name, &value, settings)?;
            before.insert(name.clone(), now.get(&name).cloned().unwrap_or_default());
            after.insert(name, value);
        }
        for (name, value) in &after {
            inner.set.insert(name.clone(), value.clone());
        }
        inner.version += 1;
        inner.seen = None;
        Ok(Change { version: inner.version, before: Value::from(Tree::Map(before)), after: Value::from(Tree::Map(after)) })
    }
}

fn whole(set: &Map, settings: &StateSettings) -> Map {
    let field = |(name, initial): (&String, &Tree)| (name.clone(), set.get(name).unwrap_or(initial).clone());
    settings.initial.iter().map(field).collect()
}

fn conform(name: &str, value: &Value, settings: &StateSettings) -> Result<Tree, Failure> {
    let declared_secret = settings.types.iter().any(|(field, declared)| field == name && *declared == crate::model::types::Type::Secret);
    if !declared_secret {
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
    use super::*;
    use crate::model::types::Type;

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
            let change = cell
                .change(&settings, |now| {
                    let count = now.field("count").and_then(|count| count.tree().as_int()).unwrap_or_default();
                    Ok(vec![("count".to_owned(), Value::from(Tree::Int(count + 1)))])
                })
                .expect("an int is an int");
            assert_eq!(change.version, expected);
            assert_eq!(change.before.text(), format!(r#"{{"count":{}}}"#, expected - 1));
        }
        assert_eq!(cell.view(&settings, revision()).text(), r#"{"status":"idle","count":3}"#);
    }

    #[test]
    fn a_wrong_type_changes_nothing() {
        let (cell, settings) = (StateCell::default(), settings());
        let refused = cell.change(&settings, |_| Ok(vec![("count".to_owned(), Value::string("many"))]));
        assert_eq!(refused.err().and_then(|failure| failure.code).as_deref(), Some("state_type"));
        assert_eq!(cell.view(&settings, revision()).text(), r#"{"status":"idle","count":0}"#);
    }

    #[test]
    fn fields_that_a_reload_adds_have_their_initial_value() {
        let (cell, mut settings) = (StateCell::default(), settings());
        cell.change(&settings, |_| Ok(vec![("count".to_owned(), Value::from(Tree::Int(9)))])).expect("an int is an int");
        settings.initial.insert("new".to_owned(), Tree::Bool(true));
        assert_eq!(cell.view(&settings, Digest::of(b"q")).text(), r#"{"status":"idle","count":9,"new":true}"#);
    }

    #[test]
    fn what_is_forgotten_begins_anew_and_who_holds_it_keeps_it() {
        let (states, settings) = (States::default(), settings());
        let (mine, other) = (PipelineName::new("mine"), PipelineName::new("other"));
        let cells: Vec<_> = [&mine, &other].map(|name| states.cell(name, None).expect("there is room")).into();
        for cell in &cells {
            cell.change(&settings, |_| Ok(vec![("count".to_owned(), Value::from(Tree::Int(9)))])).expect("an int is an int");
        }
        states.forget(&mine);
        assert!(states.find(&mine, None).is_none() && states.find(&other, None).is_some());
        assert_eq!(cells[0].view(&settings, revision()).text(), r#"{"status":"idle","count":9}"#);
    }

    #[test]
    fn one_state_too_many_is_refused() {
        let states = States::default();
        let pipeline = PipelineName::new("p");
        for key in 0..MOST {
            states.cell(&pipeline, Some(&key.to_string())).expect("there is room");
        }
        assert_eq!(states.cell(&pipeline, Some("more")).err().and_then(|failure| failure.code).as_deref(), Some("state_full"));
        assert!(states.cell(&pipeline, Some("7")).is_ok());
    }
}
