//! Executors as the plan refers to them and as they describe themselves.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::grant::{Grants, Limits};
use super::id::{Digest, ExecutorName, PipelineName};
use super::resource::Resource;
use super::types::Type;
use super::value::Value;

/// Which home an executor has, and where its code is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Home {
    /// A WASM component in this file.
    Wasm(PathBuf),
    /// A Rhai script in this file.
    Rhai(PathBuf),
    /// A Rhai script that stands in the YAML.
    Script {
        /// Its text.
        text: Arc<str>,
        /// The YAML file that it stands in.
        file: PathBuf,
        /// The line of that file, from 1, on which its first line stands.
        first_line: usize,
    },
    /// A built-in of this dotted name, as `llm.chat`.
    Builtin(String),
}

/// One executor as a pipeline declares it: all that is needed to describe and to open it.
#[derive(Clone, PartialEq, Debug)]
pub struct ExecutorReference {
    /// The pipeline that declares it.
    pub pipeline: PipelineName,
    /// Its name there.
    pub name: ExecutorName,
    /// Its home.
    pub home: Home,
    /// Its configuration, evaluated at load; null where there is none.
    pub config: Value,
    /// What it may use.
    pub grants: Grants,
    /// How much of it.
    pub limits: Limits,
    /// Whether a live instance serves several jobs.
    pub reuse: bool,
    /// The pipeline's resources: what the grants name.
    pub resources: Arc<[Resource]>,
}

impl ExecutorReference {
    /// An executor with neither config nor grants nor resources, with the limits that hold unless others are set; each job has a fresh instance.
    pub fn new(pipeline: impl Into<PipelineName>, name: impl Into<ExecutorName>, home: Home) -> Self {
        Self {
            pipeline: pipeline.into(),
            name: name.into(),
            home,
            config: Value::null(),
            grants: Grants::default(),
            limits: Limits::default(),
            reuse: false,
            resources: Arc::from([]),
        }
    }
}

/// Something that an executor says it needs, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// The grant's kind, as `index` or `http`.
    pub grant: String,
    /// What for: shown beside the refusal.
    pub reason: String,
}

/// What an executor says of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// Its own name, which need not be the one the YAML gives it.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// What `with` must be, if it says.
    pub input: Option<Type>,
    /// What its output is, if it says.
    pub output: Option<Type>,
    /// What `config` must be, if it says.
    pub config: Option<Type>,
    /// What it needs.
    pub wants: Vec<Want>,
    /// The interfaces it imports, for a component.
    pub imports: Vec<String>,
    /// The contract it speaks, as `pipehost:executor@0.1.0`; `None` for a script or a built-in.
    pub abi: Option<String>,
    /// The digest of its code; for a built-in, of its name and the host's version.
    pub digest: Digest,
    /// The files its code was read from: what a reload watches, and what a bundle keeps.
    pub files: Vec<CodeFile>,
}

impl Description {
    /// That of an executor which says nothing of itself but its name; a built-in's or a script's, as it speaks no contract.
    pub fn new(name: impl Into<String>, digest: Digest) -> Self {
        Self {
            name: name.into(),
            summary: String::new(),
            input: None,
            output: None,
            config: None,
            wants: Vec::new(),
            imports: Vec::new(),
            abi: None,
            digest,
            files: Vec::new(),
        }
    }
}

/// A file that code was read from, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeFile {
    /// The path by which it was read.
    pub path: PathBuf,
    /// What it held.
    pub content: Arc<[u8]>,
}

/// Code is too long to be shown.
impl fmt::Debug for CodeFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({} bytes)", self.path.display(), self.content.len())
    }
}
