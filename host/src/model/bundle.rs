//! What the runs of a revision are made of: enough to make the pipeline again when its files are gone.

use std::path::PathBuf;
use std::sync::Arc;

use super::id::{Digest, PipelineName};

/// The version of the bundles that this host writes. One of another version is refused by its number.
pub const FORMAT: u32 = 1;

/// The files of one pipeline as they were when its revision was loaded. Values of the environment and secrets are not in it: they are read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    /// The version of this form: [`FORMAT`].
    pub format: u32,
    /// The digest of what it means.
    pub revision: Digest,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// Its YAML file.
    pub file: PathBuf,
    /// Every file with its content: the YAML file first, then imports, scripts and components, under the paths by which they were read.
    pub files: Vec<(PathBuf, Arc<[u8]>)>,
}
