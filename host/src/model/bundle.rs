//! What the runs of a revision are made of: enough to make the pipeline again when its files are gone.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::id::{Digest, PipelineName};

/// The version of the bundles that this host writes. One of another version is refused by its number.
pub const FORMAT: u32 = 1;

/// The files of one pipeline as they were when its revision was loaded. Values of the environment and secrets are not in it: they are read again.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The version of this form: [`FORMAT`].
    pub format: u32,
    /// The digest of what it means.
    pub revision: Digest,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// Its YAML file.
    pub file: PathBuf,
    /// Every file with its content: the YAML file first, then imports, scripts and components, under the paths by which they were read: from the root,
    /// without `.` and `..`.
    pub files: Vec<(PathBuf, Arc<[u8]>)>,
}

impl Bundle {
    /// The bundle of a pipeline that was made of no files.
    pub fn of_nothing(pipeline: PipelineName, revision: Digest) -> Arc<Self> {
        Arc::new(Self { format: FORMAT, revision, pipeline, file: PathBuf::new(), files: Vec::new() })
    }
}

/// What its files hold is too long to be shown.
impl fmt::Debug for Bundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<String> = self.files.iter().map(|(path, content)| format!("{} ({} bytes)", path.display(), content.len())).collect();
        let Self { format, revision, pipeline, .. } = self;
        formatter
            .debug_struct("Bundle")
            .field("format", format)
            .field("revision", revision)
            .field("pipeline", pipeline)
            .field("files", &files)
            .finish()
    }
}
