//! By what a wait and an event meet: one digest of the event's type and the fields that must be equal.

use crate::model::failure::Failure;
use crate::model::id::{Digest, EventType};
use crate::model::value::{Tree, Value};
use crate::policy::key::text;

/// The keys of a wait: one for each type.
///
/// # Errors
/// `invalid` (`key`) for a value that cannot be a key: null, a map, a secret.
pub fn keys(types: &[EventType], matching: &[(String, Value)]) -> Result<Vec<Digest>, Failure> {
    let mut fields = matching.iter().map(|(name, value)| Ok((name.as_str(), text(value)?))).collect::<Result<Vec<_>, Failure>>()?;
    fields.sort();
    Ok(types.iter().map(|event_type| digest(event_type, &fields)).collect())
}

/// The key of an event for waits that look at these fields, which are sorted; `None` if no wait can mean it.
pub(super) fn of_event(event_type: &EventType, data: &Tree, fields: &[String]) -> Option<Digest> {
    let mut found = Vec::with_capacity(fields.len());
    for name in fields {
        found.push((name.as_str(), text(&Value::from(data.field(name)?.clone())).ok()?));
    }
    Some(digest(event_type, &found))
}

fn digest(event_type: &EventType, fields: &[(&str, String)]) -> Digest {
    let parts = fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    Digest::of_parts(std::iter::once(event_type.as_str().as_bytes()).chain(parts))
}
