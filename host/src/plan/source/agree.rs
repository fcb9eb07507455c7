//! Two readers of YAML must see the same tree: where they differ, a file would mean one thing to its writer and another to the host.

use super::SourceFile;
use super::tree::{Content, Node};
use crate::model::diagnostic::Diagnostic;
use crate::model::value::Tree;
use crate::plan::codes;

/// The first value that the deserialiser reads differently, if any.
pub(super) fn check(file: &SourceFile, root: &Node) -> Option<Diagnostic> {
    match serde_yaml::from_str::<Tree>(&file.text) {
        Ok(other) => differ(root, &other).map(|node| {
            Diagnostic::error(codes::AMBIGUOUS, file.place(node.span), "YAML readers do not agree on what this value is")
                .with_help("quote it if it is text; write a number in plain decimal digits if it is one")
        }),
        Err(error) => {
            let span = error.location().map_or_else(
                || root.span,
                |location| {
                    let start = file.text.get(..location.index()).map_or(0, |before| before.chars().count());
                    super::Span { start, end: start + 1 }
                },
            );
            let message = format!("YAML readers do not agree on this file: {error}");
            Some(Diagnostic::error(codes::AMBIGUOUS, file.place(span), message).with_help("quote the value here, or write it more plainly"))
        }
    }
}

fn differ<'a>(node: &'a Node, other: &Tree) -> Option<&'a Node> {
    match (&node.content, other) {
        (Content::Scalar(scalar), other) => {
            let same = match (&scalar.value, other) {
                (Tree::Float(one), Tree::Float(two)) => one == two || (one.is_nan() && two.is_nan()),
                (one, two) => one == two,
            };
            (!same).then_some(node)
        }
        (Content::List(items), Tree::List(others)) if items.len() == others.len() => {
            items.iter().zip(others).find_map(|(item, other)| differ(item, other))
        }
        (Content::Map(entries), Tree::Map(others)) if entries.len() == others.len() => {
            entries.iter().find_map(|(key, value)| others.get(&key.name).map_or(Some(value), |other| differ(value, other)))
        }
        _ => Some(node),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_values_are_read_alike_or_refused(text in r"[-+0-9a-zA-Z._~]{1,12}") {
            let yaml = format!("a: {text}\nb: [{text}, '{text}']\n");
            let file = SourceFile::new(Path::new("x.yaml"), &yaml);
            let (node, found) = file.parse();
            if found.is_empty() {
                let other: Tree = serde_yaml::from_str(&yaml).expect("both read it");
                let ours = format!("{:?}", node.map(|node| node.tree()));
                prop_assert_eq!(ours, format!("{:?}", Some(other)));
            }
        }
    }

    #[test]
    fn the_usual_ways_of_writing_are_not_refused() {
        for value in [
            "1",
            "-7",
            "1.5",
            "true",
            "null",
            "~",
            "''",
            "x y",
            "10s",
            "1e3",
            "\"a\\tb\"",
            "|\n  one\n  two",
            ">-\n  one\n  two",
            "007",
            "1.2.3",
            "0x1f",
        ] {
            let yaml = format!("a: {value}\n");
            let (_, found) = SourceFile::new(Path::new("x.yaml"), &yaml).parse();
            assert!(found.is_empty(), "{value}: {found:?}");
        }
    }
}
