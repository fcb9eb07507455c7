//! What the values in the rooms of a store are made of: ids, times and lists, written and read back. What does not read back is nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::value::{Tree, Value};

/// The tree of anything but a value of a pipeline, which has one already and may hold secrets.
pub(super) fn written(anything: &impl Serialize) -> Tree {
    serde_json::to_value(anything).map_or(Tree::Null, Tree::from)
}

/// What stands in a field; `None` if it is not what was asked for.
pub(super) fn read<T: DeserializeOwned>(value: &Value, field: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::from(value.tree().field(field)?)).ok()
}

/// A name that is made of several parts, none of which can be mistaken for another.
pub(super) fn joined(parts: &[&str]) -> String {
    serde_json::to_string(parts).unwrap_or_default()
}

/// The parts of such a name; `None` if it is none.
pub(super) fn parted(name: &str) -> Option<Vec<String>> {
    serde_json::from_str(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let at = Timestamp::from_nanos(1_795_269_619_954_695_032);
        let value = Value::from(Tree::Map([("at".to_owned(), written(&at))].into_iter().collect()));
        assert_eq!(read(&value, "at"), Some(at));
        assert_eq!(read::<u64>(&value, "at"), None);
        assert_eq!(read::<Timestamp>(&value, "not there"), None);
        assert_eq!(parted(&joined(&["a.b", "c\"]"])), Some(vec!["a.b".to_owned(), "c\"]".to_owned()]));
        assert_eq!(parted("a.b"), None);
    }
}
