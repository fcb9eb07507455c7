//! The form in which a wait that is over is kept, to tell a late answer from a second one.

use crate::engine::keeping::{read as read_field, written};
use crate::model::event::Scope;
use crate::model::id::{Digest, EventId, RunId};
use crate::model::record::{Kept, LaneId, Room, StepNumber, Write};
use crate::model::time::Timestamp;
use crate::model::value::{Map, Tree, Value};

use super::table::{Closing, MEMORY, Place};

/// A wait that is over.
#[derive(Clone, PartialEq, Debug)]
pub struct Closed {
    /// Which.
    pub place: Place,
    /// By which events met it.
    pub keys: Vec<Digest>,
    /// What its pipeline hears.
    pub scope: Scope,
    /// How it came to its end.
    pub closing: Closing,
    /// When.
    pub at: Timestamp,
}

/// Writes it: by its run, so that what is forgotten of a run can be told by its id, and by lane and step.
pub(super) fn of(closed: Closed) -> Write {
    let Closed { place, keys, scope, closing, at } = closed;
    let mut fields = Map::from_iter([
        ("lane".to_owned(), written(&place.lane)),
        ("step".to_owned(), written(&place.step)),
        ("keys".to_owned(), written(&keys)),
        ("scope".to_owned(), written(&scope)),
        ("at".to_owned(), written(&at)),
    ]);
    if let Closing::Took(event) = closing {
        fields.insert("took".to_owned(), written(&event));
    }
    let value = Value::from(Tree::Map(fields));
    Write::Keep(Kept { room: Room::Wait, owner: place.run.to_string(), key: key(place), value, until: Some(at + MEMORY) })
}

/// Reads it; `None` if it is none.
pub fn read(kept: &Kept) -> Option<Closed> {
    let value = &kept.value;
    let run: RunId = serde_json::from_value(serde_json::Value::String(kept.owner.clone())).ok()?;
    let (lane, step): (LaneId, StepNumber) = (read_field(value, "lane")?, read_field(value, "step")?);
    let closing = match value.tree().field("took") {
        None => Closing::GivenUp,
        Some(_) => Closing::Took(read_field::<EventId>(value, "took")?),
    };
    let place = Place { run, lane, step };
    Some(Closed { place, keys: read_field(value, "keys")?, scope: read_field(value, "scope")?, closing, at: read_field(value, "at")? })
}

/// Forgets it.
pub(super) fn forget(place: Place) -> Write {
    Write::Forget { room: Room::Wait, owner: place.run.to_string(), key: Some(key(place)) }
}

fn key(place: Place) -> String {
    format!("{}.{}", place.lane.0, place.step.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_and_nothing_else_does() {
        let place = Place { run: RunId::new(uuid::Uuid::from_u128(7)), lane: LaneId(3), step: StepNumber(5) };
        let keys = vec![Digest::of(b"one"), Digest::of(b"two")];
        let scopes = [Scope::Private("p".into()), Scope::Named("shop".to_owned()), Scope::Global];
        let closings = [Closing::GivenUp, Closing::Took(EventId::new(uuid::Uuid::from_u128(9)))];
        for (scope, closing) in scopes.into_iter().zip(closings.into_iter().cycle()) {
            let closed = Closed { place, keys: keys.clone(), scope, closing, at: Timestamp::from_nanos(1_795_269_619_954_695_032) };
            let Write::Keep(kept) = of(closed.clone()) else { panic!("it is kept") };
            assert_eq!(read(&kept), Some(closed.clone()));
            assert_eq!(kept.until, Some(closed.at + MEMORY));
            let Write::Forget { owner, key, .. } = forget(place) else { panic!("it is forgotten") };
            assert_eq!((owner, key.as_ref()), (kept.owner.clone(), Some(&kept.key)));
            assert_eq!(read(&Kept { owner: "no run".to_owned(), ..kept.clone() }), None);
            assert_eq!(read(&Kept { value: Value::null(), ..kept }), None);
        }
    }
}
