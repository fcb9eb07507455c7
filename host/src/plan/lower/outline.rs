//! What can be said of a file before it is checked: whether it is a pipeline, and what its tests need to be there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::load_time::LoadTime;
use crate::plan::Environment;
use crate::plan::source::{Content, Node, SourceFile};

/// A look at a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outline {
    /// The name that it gives its pipeline, if it gives one.
    pub pipeline: Option<String>,
    /// The secrets that it names.
    pub secrets: BTreeSet<String>,
    /// The other files that some of its tests put in force beside it, each once.
    pub files: Vec<PathBuf>,
}

/// Looks at a file. What is wrong with it is not told here: loading it tells.
pub fn outline(path: &Path) -> Outline {
    let Ok(file) = SourceFile::read(path) else { return Outline::default() };
    let Some(root) = file.parse().0 else { return Outline::default() };
    let load = LoadTime::new(&[], &root, &Environment::default());
    let secrets = load.secrets();
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files: Vec<PathBuf> = Vec::new();
    for test in root.get("tests").map(items).unwrap_or_default() {
        for file in test.get("files").map(items).unwrap_or_default().iter().filter_map(Node::text) {
            let file = folder.join(file);
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Outline {
        pipeline: root.get("pipeline").and_then(Node::text).map(str::to_owned),
        secrets: secrets.tree().as_map().map(|secrets| secrets.keys().cloned().collect()).unwrap_or_default(),
        files,
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.content {
        Content::List(items) => items,
        Content::Scalar(_) | Content::Map(_) => &[],
    }
}
