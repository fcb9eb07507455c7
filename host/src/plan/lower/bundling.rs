//! What a pipeline is made of, kept together, so that it can be made again when its files are gone.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pipeline::Draft;
use crate::files::{Files, plain};
use crate::model::bundle::{Bundle, FORMAT};
use crate::model::executor::CodeFile;
use crate::model::id::{Digest, PipelineName};

/// The bundle of a pipeline: its file first, then its libraries, then the code of its executors. What was read out of a bundle is that bundle.
pub(super) fn bundle<'c>(
    files: &Files,
    drafts: &[&Draft<'_>],
    code: impl Iterator<Item = &'c CodeFile>,
    (pipeline, revision): (&PipelineName, Digest),
) -> Arc<Bundle> {
    if let Files::Bundle(bundle) = files {
        return Arc::clone(bundle);
    }
    let mut kept = Kept::default();
    let texts: Vec<(&Path, Arc<[u8]>)> =
        drafts.iter().map(|draft| (draft.findings.file.path.as_path(), Arc::from(draft.findings.file.text.as_bytes()))).collect();
    for (path, text) in &texts {
        kept.add(path, text);
    }
    // Links are gone in a bundle, so that each name which leads to a library has to be in it. The name by which it was read stands before these.
    for import in drafts.iter().flat_map(|draft| &draft.imports) {
        if let Some((_, text)) = texts.iter().find(|(path, _)| files.identity(path) == import.file) {
            kept.add(&import.path, text);
        }
    }
    for CodeFile { path, content } in code {
        kept.add(path, content);
    }
    let file = drafts.first().map(|draft| plain(&draft.findings.file.path)).unwrap_or_default();
    Arc::new(Bundle { format: FORMAT, revision, pipeline: pipeline.clone(), file, files: kept.files })
}

#[derive(Default)]
struct Kept {
    files: Vec<(PathBuf, Arc<[u8]>)>,
    known: HashSet<PathBuf>,
}

impl Kept {
    fn add(&mut self, path: &Path, content: &Arc<[u8]>) {
        let path = plain(path);
        if self.known.insert(path.clone()) {
            self.files.push((path, Arc::clone(content)));
        }
    }
}
