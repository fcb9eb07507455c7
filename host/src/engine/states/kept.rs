//! The form in which a state is kept, and what it is to the pipeline that is in force when it is read back.

use crate::engine::keeping::{read as read_field, written};
use crate::model::id::PipelineName;
use crate::model::record::{Kept, Room};
use crate::model::value::{Map, Tree, Value};
use crate::plan::pipeline::StateSettings;

use super::{Name, Unfit, conform};

/// A state as it was kept.
pub(super) struct KeptState {
    pub(super) name: Name,
    pub(super) version: u64,
    pub(super) fields: Map,
}

/// Writes a state. The one state of a pipeline without a `state_key` has an empty key; the others begin with `=`, so that no key is mistaken for it.
pub(super) fn of(pipeline: &PipelineName, key: Option<&str>, version: u64, fields: &Map) -> Kept {
    let (owner, key) = place(pipeline, key);
    let value = Map::from_iter([("version".to_owned(), written(&version)), ("fields".to_owned(), Tree::Map(fields.clone()))]);
    Kept { room: Room::State, owner, key, value: Value::from(Tree::Map(value)), until: None }
}

/// Under which owner and key a state is kept.
pub(super) fn place(pipeline: &PipelineName, key: Option<&str>) -> (String, String) {
    (pipeline.to_string(), key.map_or_else(String::new, |key| format!("={key}")))
}

/// Whose state is kept there. A key that is none of ours stands for the one state of a pipeline: whoever needs that must hear of it.
pub(super) fn name(owner: &str, key: &str) -> Name {
    (PipelineName::new(owner), key.strip_prefix('=').map(str::to_owned))
}

/// Reads a state; `None` if it is none.
pub(super) fn read(kept: &Kept) -> Option<KeptState> {
    let key = match kept.key.as_str() {
        "" => None,
        key => Some(key.strip_prefix('=')?.to_owned()),
    };
    let fields = kept.value.tree().field("fields")?.as_map()?.clone();
    Some(KeptState { name: (PipelineName::new(kept.owner.as_str()), key), version: read_field(&kept.value, "version")?, fields })
}

impl KeptState {
    /// The state with what the pipeline in force declares. `None` if it has changed its shape and its file says that its states may go. A pipeline that
    /// is not in force keeps its states: its file may come back. So do fields that are not declared any more.
    pub(super) fn fit<'a>(mut self, settings: impl Fn(&PipelineName) -> Option<&'a StateSettings>, unfit: &mut Vec<Unfit>) -> Option<Self> {
        let Some(settings) = settings(&self.name.0) else { return Some(self) };
        let is_lost = |name: &String| !settings.initial.contains_key(name);
        if settings.reset && self.fields.keys().any(is_lost) {
            return None;
        }
        let names: Vec<String> = self.fields.keys().filter(|name| !is_lost(name)).cloned().collect();
        for name in names {
            let Some(value) = self.fields.get(&name) else { continue };
            let Err(failure) = conform(&name, &Value::from(value.clone()), settings) else { continue };
            if settings.reset {
                return None;
            }
            self.fields.shift_remove(&name);
            let initial = settings.initial.get(&name).cloned().unwrap_or_default();
            let after = Value::from(Tree::Map(Map::from_iter([(name, initial)])));
            unfit.push(Unfit { key: self.name.1.clone(), version: self.version, after, failure });
        }
        Some(self)
    }
}
