//! The digest of a pipeline's bundle: what its files mean, its scripts, its components and the contract that these speak. Comments, layout, the
//! order of keys and descriptions for people are no change; everything else is. What a built-in does belongs to the host, not to the pipeline.

use crate::model::executor::Description;
use crate::model::id::Digest;
use crate::plan::source::{Content, Key, Node};

/// The version of the way in which the digest is made: it stands first in what is hashed.
const VERSION: &str = "pipehost revision 1";

/// The digest of the content of a file and its libraries, and of the code of its executors: each with its name.
pub(super) fn digest<'a>(roots: &[&Node], code: impl Iterator<Item = (&'a str, &'a Description)>) -> Digest {
    let canonical = |root: &&Node| {
        let mut canonical = String::new();
        write(root, Place::File, &mut canonical);
        canonical
    };
    let files: Vec<String> = roots.iter().map(canonical).collect();
    let mut code: Vec<(&str, &Description)> = code.collect();
    code.sort_unstable_by_key(|(name, _)| *name);
    let mut parts: Vec<&[u8]> = vec![VERSION.as_bytes()];
    parts.extend(files.iter().map(String::as_bytes));
    for (name, description) in code {
        parts.extend([name.as_bytes(), description.digest.as_bytes(), description.abi.as_deref().unwrap_or_default().as_bytes()]);
    }
    Digest::of_parts(parts)
}

/// Where a node stands, as far as a `description` there is a word for people and not somebody's own field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A file, or a flow in it.
    File,
    /// The flows of a file by name.
    Flows,
    /// `state`.
    State,
    /// Types by name: declared events, or the fields of a record.
    Types,
    /// What a field of a record is declared as: in short, or as `{ type, default, description }`.
    Field,
    /// A type.
    Type,
    /// Anything else.
    Other,
}

impl Place {
    /// Where the value of a key of a map in this place stands.
    fn beneath(self, node: &Node, key: &str) -> Self {
        match (self, key) {
            (Self::File, "flows") => Self::Flows,
            (Self::File, "state") => Self::State,
            (Self::File, "events") | (Self::State, "types") => Self::Types,
            (Self::File, "input") => Self::Type,
            (Self::Flows, _) => Self::File,
            (Self::Types, _) => Self::Type,
            (Self::Field, "type") if is_long(node) => Self::Type,
            (Self::Field, _) if is_long(node) => Self::Other,
            (Self::Type | Self::Field, _) => Self::Field,
            _ => Self::Other,
        }
    }

    fn is_label(self, node: &Node, key: &Key) -> bool {
        key.name == "description" && (self == Self::File || self == Self::Field && is_long(node))
    }
}

/// Whether a field's declaration is the long form.
fn is_long(node: &Node) -> bool {
    let Content::Map(entries) = &node.content else { return false };
    node.get("type").is_some() && entries.iter().all(|(key, _)| matches!(key.name.as_str(), "type" | "default" | "description"))
}

/// Writes what a node means as JSON with sorted keys.
fn write(node: &Node, place: Place, to: &mut String) {
    match &node.content {
        Content::Scalar(scalar) => to.push_str(&serde_json::to_string(&scalar.value).unwrap_or_else(|_| scalar.text.clone())),
        Content::List(items) => {
            to.push('[');
            for item in items {
                write(item, if place == Place::Field { Place::Type } else { place }, to);
                to.push(',');
            }
            to.push(']');
        }
        Content::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().filter(|(key, _)| !place.is_label(node, key)).collect();
            sorted.sort_unstable_by(|(one, _), (other, _)| one.name.cmp(&other.name));
            to.push('{');
            for (key, value) in sorted {
                to.push_str(&serde_json::to_string(&key.name).unwrap_or_default());
                to.push(':');
                write(value, place.beneath(node, &key.name), to);
                to.push(',');
            }
            to.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::source::SourceFile;

    fn of(text: &str) -> Digest {
        let file = SourceFile::new(Path::new("a.yaml"), text);
        digest(&[&file.parse().0.expect("it is YAML")], std::iter::empty())
    }

    fn code(abi: Option<&str>, digest: &[u8]) -> Description {
        Description { abi: abi.map(str::to_owned), ..Description::new("x", Digest::of(digest)) }
    }

    const PLAIN: &str = "pipeline: p\nevents: { Told: { text: string } }\ninput: { a: int, b: { type: [{ c: string }], default: null } }\nsteps: [{ run: log, with: { text: x, description: y } }]\n";

    #[test]
    fn comments_labels_layout_and_the_order_of_keys_are_no_change() {
        let same = [
            "# why\nsteps:\n  - with:\n      description: y\n      text: 'x'  # a comment\n    run: log\ninput:\n  b: { default: null, type: [{ c: string }] }\n  a: int\nevents: { Told: { text: string } }\npipeline: p\n",
            "pipeline: p\ndescription: What it does\nevents: { Told: { text: string } }\ninput: { a: int, b: { type: [{ c: string }], default: null, description: Some } }\nsteps: [{ run: log, with: { text: x, description: y } }]\n",
        ];
        for same in same {
            assert_eq!(of(same), of(PLAIN), "{same}");
        }
    }

    #[test]
    fn everything_else_is_a_change() {
        let changes = [
            ("pipeline: p", "pipeline: q"),
            ("text: string", "text: int"),
            ("Told: { text: string }", "Told: { text: string, description: string }"),
            ("Told: { text: string }", "Told: { text: string, type: string, description: string }"),
            ("a: int", "a: string"),
            ("default: null", "default: []"),
            ("c: string", "c: int"),
            ("run: log", "run: lag"),
            ("text: x,", "text: z,"),
            ("text: x,", "text: 1,"),
            ("description: y", "description: z"),
            (", description: y", ""),
        ];
        let all: Vec<Digest> = changes.iter().map(|(old, new)| of(&PLAIN.replacen(old, new, 1))).chain([of(PLAIN)]).collect();
        for (number, one) in all.iter().enumerate() {
            assert!(!all[..number].contains(one), "change {number} is none");
        }
        let long = "pipeline: p\nevents: { T: { type: string, description: string } }\n";
        assert_ne!(of(long), of(&long.replace(", description: string", "")), "an event may have fields of these names");
    }

    #[test]
    fn code_its_name_and_its_contract_are_part_of_it_and_the_order_of_executors_is_not() {
        let file = SourceFile::new(Path::new("a.yaml"), PLAIN);
        let root = file.parse().0.expect("it is YAML");
        let of = |executors: &[(&'static str, Description)]| digest(&[&root], executors.iter().map(|(name, code)| (*name, code)));
        let (one, other) = (code(Some("c@1"), b"one"), code(None, b"other"));
        let plain = of(&[("a", one.clone()), ("b", other.clone())]);
        assert_eq!(of(&[("b", other.clone()), ("a", one.clone())]), plain);
        assert_ne!(of(&[("c", one.clone()), ("b", other.clone())]), plain);
        assert_ne!(of(&[("a", code(Some("c@2"), b"one")), ("b", other.clone())]), plain);
        assert_ne!(of(&[("a", code(Some("c@1"), b"two")), ("b", other)]), plain);
    }
}
