//! The digest of a pipeline's bundle. Comments, layout and the order of keys are no change; code is.

use crate::model::id::Digest;
use crate::plan::source::{Content, Node};

/// The digest of the content of a file and its libraries, and of the executors' code.
pub(super) fn digest(roots: &[&Node], executors: &[(String, [u8; 32])]) -> Digest {
    let canonical = |root: &&Node| {
        let mut canonical = String::new();
        write(root, &mut canonical);
        canonical
    };
    let files: Vec<String> = roots.iter().map(canonical).collect();
    let mut parts: Vec<&[u8]> = files.iter().map(String::as_bytes).collect();
    for (name, digest) in executors {
        parts.push(name.as_bytes());
        parts.push(digest);
    }
    Digest::of_parts(parts)
}

/// Writes what a node means as JSON with sorted keys.
fn write(node: &Node, to: &mut String) {
    match &node.content {
        Content::Scalar(scalar) => to.push_str(&serde_json::to_string(&scalar.value).unwrap_or_else(|_| scalar.text.clone())),
        Content::List(items) => {
            to.push('[');
            for item in items {
                write(item, to);
                to.push(',');
            }
            to.push(']');
        }
        Content::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_unstable_by(|(one, _), (other, _)| one.name.cmp(&other.name));
            to.push('{');
            for (key, value) in sorted {
                to.push_str(&serde_json::to_string(&key.name).unwrap_or_default());
                to.push(':');
                write(value, to);
                to.push(',');
            }
            to.push('}');
        }
    }
}
