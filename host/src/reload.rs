//! From files to what is in force. A start is a reload from the empty plan; whatever goes wrong changes nothing.
//!
//! The candidate is built and checked wholly beside what runs: load, compare, open the executors of what changed. Only then is everything
//! swapped at one instant; pipelines of the same revision keep their executors.

mod rebuilding;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::executor::registry::Registry;
use crate::model::diagnostic::{Diagnostic, Place, Severity};
use crate::model::executor::{ExecutorReference, Home};
use crate::model::happening::{Happening, What};
use crate::model::id::PipelineName;
use crate::model::port::{CatalogProblem, Clock, Sink};
use crate::plan::pipeline::{DeclaredExecutor, Outside, Pipeline, Plan};
use crate::plan::{self, Bound, Environment, Install, Loaded, Sources, diff, libraries_only, load_given, misfits, say_gone};
use crate::watch::Change;

pub use rebuilding::{CANNOT_OPEN, FROM_BUNDLE, OTHER_FORMAT, OTHER_REVISION, Rebuilder, named_in};

/// The loader broke off: a mistake in pipehost itself.
pub const BROKE_OFF: &str = "E0704";

/// The code of an executor changed between its check and its opening.
pub const CHANGED_MEANWHILE: &str = "E0707";

/// What a reload works with.
pub struct Parts {
    /// Describes and opens executors.
    pub registry: Arc<Registry>,
    /// What the plan is installed in.
    pub engine: Arc<dyn Install>,
    /// Where it is told.
    pub sink: Arc<dyn Sink>,
    /// What it is timed by.
    pub clock: Arc<dyn Clock>,
    /// Where `env` and `secret` get their values from.
    pub environment: Arc<Environment>,
    /// The files and folders that were asked for.
    pub files: Vec<PathBuf>,
}

/// What came of one reload.
#[derive(Debug)]
pub struct Report {
    /// What is in force now.
    pub outcome: Outcome,
    /// Every mistake and warning.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that they speak of.
    pub sources: Sources,
}

/// What is in force after a reload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The new plan.
    Swapped {
        /// The pipelines that are new or of another revision.
        changed: Vec<PipelineName>,
        /// The pipelines that are gone.
        removed: Vec<PipelineName>,
        /// From the end of the quiet time to the swap; for a start, from its beginning.
        took: Duration,
    },
    /// What was in force before, since the new plan is the same but for comments and layout.
    Unchanged,
    /// What was in force before, since the files have mistakes.
    Refused,
}

/// Keeps what is in force, and puts other files in its place.
pub struct Reload {
    parts: Parts,
    plan: Plan,
    bounds: Vec<Arc<Bound>>,
    files: Vec<PathBuf>,
    /// What was wrong with the last candidate, if anything was.
    refused: Vec<Diagnostic>,
    /// The warnings of the last candidate, which were told.
    warned: Vec<Diagnostic>,
}

impl Reload {
    /// A reload from the empty plan.
    pub fn new(parts: Parts) -> Self {
        let files = parts.files.clone();
        Self { parts, plan: Plan::default(), bounds: Vec::new(), files, refused: Vec::new(), warned: Vec::new() }
    }

    /// The files to watch: those that are in force, and those of the last candidate if it was refused.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The folders that were asked for: a file that comes into them is put in force, and one that goes leaves.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.parts.files.iter().filter(|path| path.is_dir()).cloned().collect()
    }

    /// Whether a change is about the plan, not only about documents.
    pub fn is_about_plan(&self, change: &Change) -> bool {
        change.files.iter().any(|file| self.files.contains(file) || plan::belongs(&self.parts.files, file))
    }

    /// The executors in force whose code is in one of these files and has to be compiled: worth preparing before it is known whether they
    /// changed.
    pub fn compiled_from(&self, files: &[PathBuf]) -> Vec<ExecutorReference> {
        let declared = self.bounds.iter().flat_map(|bound| &bound.pipeline.executors);
        let concerned = |declared: &&DeclaredExecutor| match &declared.reference.home {
            Home::Wasm(path) => files.contains(path),
            Home::Builtin(_) | Home::Rhai(_) | Home::Script { .. } => false,
        };
        declared.filter(concerned).map(|declared| declared.reference.clone()).collect()
    }

    /// Puts the files in force as they are now. `change` is what was noticed; `None` at the start. The report leaves out the warnings that the last one had,
    /// until their file changes: mistakes stand in the way each time, and a warning was heard.
    pub async fn attempt(&mut self, change: Option<&Change>) -> Report {
        let mut report = self.take(change).await;
        let Some(change) = change else {
            self.warned = warnings(&report);
            return report;
        };
        // Of a precaution that changes nothing nobody hears.
        if !change.assumed || report.outcome != Outcome::Unchanged {
            let told = std::mem::replace(&mut self.warned, warnings(&report));
            report.diagnostics.retain(|diagnostic| !told.contains(diagnostic) || change.files.contains(&diagnostic.place.file));
        }
        report
    }

    async fn take(&mut self, change: Option<&Change>) -> Report {
        let began = change.map_or_else(|| self.parts.clock.now(), |change| change.quiet_at);
        let Loaded { plan, mut diagnostics, sources, files } = self.load().await;
        if change.is_some() {
            say_gone(&mut diagnostics, &self.files, !self.plan.pipelines.is_empty());
        }
        let Some(plan) = plan else {
            self.watch_also(files);
            return self.refuse(change, diagnostics, sources);
        };
        if plan.pipelines.is_empty() {
            diagnostics.push(libraries_only(&self.parts.files));
            self.watch_also(files);
            return self.refuse(change, diagnostics, sources);
        }
        let difference = diff(&self.plan, &plan);
        if difference.changed.is_empty() && difference.removed.is_empty() {
            self.files = files;
            self.refused.clear();
            if change.is_some_and(|change| !change.assumed) {
                self.tell(What::Unchanged);
            }
            return Report { outcome: Outcome::Unchanged, diagnostics, sources };
        }
        let misfits = misfits(&self.plan, &plan);
        if !misfits.is_empty() {
            diagnostics.extend(misfits);
            self.watch_also(files);
            return self.refuse(change, diagnostics, sources);
        }
        let bounds = match self.bind(&plan).await {
            Ok(bounds) => bounds,
            Err(mistakes) => {
                diagnostics.extend(mistakes);
                self.watch_also(files);
                return self.refuse(change, diagnostics, sources);
            }
        };
        self.parts.engine.install(bounds.clone());
        let took = self.parts.clock.now().since(began);
        (self.plan, self.bounds, self.files) = (plan, bounds, files);
        self.refused.clear();
        let (changed, removed) = (difference.changed, difference.removed);
        self.tell(What::Reloaded { changed: changed.clone(), removed: removed.clone(), took });
        Report { outcome: Outcome::Swapped { changed, removed, took }, diagnostics, sources }
    }

    /// Loading reads files and compiles code, so it has a thread of its own.
    async fn load(&self) -> Loaded {
        let (registry, environment) = (Arc::clone(&self.parts.registry), Arc::clone(&self.parts.environment));
        let files = self.parts.files.clone();
        let loading = spawn_blocking(move || load_given(&files, &*registry, &environment));
        loading.await.unwrap_or_else(|_| {
            let files = self.parts.files.clone();
            let place = Place::whole(files.first().cloned().unwrap_or_default());
            let mistake = Diagnostic::error(BROKE_OFF, place, "the file could not be checked: pipehost itself made a mistake")
                .with_help("report it with this file; what was in force before still is");
            Loaded { plan: None, diagnostics: vec![mistake], sources: Sources::default(), files }
        })
    }

    /// The pipelines with their executors: what did not change as it is, what did with its executors opened.
    async fn bind(&self, plan: &Plan) -> Result<Vec<Arc<Bound>>, Vec<Diagnostic>> {
        let (mut bounds, mut mistakes) = (Vec::new(), Vec::new());
        for pipeline in plan.pipelines.values() {
            match self.bounds.iter().find(|bound| is_same(&bound.pipeline, pipeline)) {
                Some(bound) => bounds.push(Arc::clone(bound)),
                None => match self.open(pipeline).await {
                    Ok(bound) => bounds.push(Arc::new(bound)),
                    Err(more) => mistakes.extend(more),
                },
            }
        }
        if mistakes.is_empty() { Ok(bounds) } else { Err(mistakes) }
    }

    async fn open(&self, pipeline: &Arc<Pipeline>) -> Result<Bound, Vec<Diagnostic>> {
        let (mut executors, mut mistakes) = (Vec::new(), Vec::new());
        for declared in &pipeline.executors {
            match self.parts.registry.open(&declared.reference).await {
                // Saved between the two looks at it: what was checked is not what would run, and the save brings another candidate.
                Ok(executor) if executor.description().digest != declared.description.digest => {
                    let message = format!("the code of {} changed while it was read", declared.reference.name);
                    let mistake = Diagnostic::error(CHANGED_MEANWHILE, declared.place.clone(), message);
                    mistakes.push(mistake.with_help("save it again when it is complete"));
                }
                Ok(executor) => executors.push(executor),
                Err(problem) => mistakes.push(mistake(declared, problem)),
            }
        }
        match mistakes.is_empty() {
            true => Ok(Bound { pipeline: Arc::clone(pipeline), executors }),
            false => Err(mistakes),
        }
    }

    fn refuse(&mut self, change: Option<&Change>, diagnostics: Vec<Diagnostic>, sources: Sources) -> Report {
        if change.is_some_and(|change| change.assumed) && self.refused == diagnostics {
            // Looked at again as a precaution, and told already.
            return Report { outcome: Outcome::Unchanged, diagnostics, sources };
        }
        self.refused.clone_from(&diagnostics);
        self.tell(What::ReloadRefused { mistakes: diagnostics.clone() });
        Report { outcome: Outcome::Refused, diagnostics, sources }
    }

    /// What is in force stays watched: putting it back is a way out too.
    fn watch_also(&mut self, files: Vec<PathBuf>) {
        for file in files {
            if !self.files.contains(&file) {
                self.files.push(file);
            }
        }
    }

    fn tell(&self, what: What) {
        self.parts.sink.accept(Happening { time: self.parts.clock.now(), run: None, what });
    }
}

fn warnings(report: &Report) -> Vec<Diagnostic> {
    report.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning).cloned().collect()
}

fn is_same(old: &Pipeline, new: &Pipeline) -> bool {
    old.name == new.name && old.revision == new.revision
}

/// What is wrong with an executor's code, at the place in the code if that is known, with the place in the YAML beside it.
fn mistake(declared: &DeclaredExecutor, mut problem: CatalogProblem) -> Diagnostic {
    Outside::name_in(&declared.outside, &mut problem);
    let CatalogProblem { code, message, place, help } = problem;
    let mut mistake = match place {
        Some((file, line, column)) => {
            let words = format!("`{}` is declared here", declared.reference.name);
            Diagnostic::error(code, Place { file, line, column, length: 1 }, message).with_related(declared.place.clone(), words)
        }
        None => Diagnostic::error(code, declared.place.clone(), message),
    };
    mistake.help = help;
    mistake
}

/// The changed files that are documents: those beneath one of these folders.
pub fn documents(change: &Change, folders: &[PathBuf]) -> Vec<PathBuf> {
    change.files.iter().filter(|file| folders.iter().any(|folder| file.starts_with(folder))).cloned().collect()
}

#[cfg(test)]
mod tests;
