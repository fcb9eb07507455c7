//! A pipeline made again out of its bundle, for runs that began with a revision which is in force no more. Its files may be edited, broken or gone: nothing
//! of it is read from the disk but data, which are where they always were.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::task::spawn_blocking;

use super::BROKE_OFF;
use crate::executor::registry::{Bundled, Registry};
use crate::files::Files;
use crate::model::bundle::{Bundle, FORMAT};
use crate::model::diagnostic::{Diagnostic, Place, Severity};
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::CatalogProblem;
use crate::plan::pipeline::{DeclaredExecutor, Pipeline};
use crate::plan::{Bound, Environment, Rebuild, load_bundle};

/// A bundle has a form that this host does not read.
pub const OTHER_FORMAT: &str = "E0755";
/// A bundle does not make its pipeline any more: an environment variable or a secret is gone, or this host is stricter.
pub const FROM_BUNDLE: &str = "E0756";
/// What a bundle makes is not the revision that it was kept for.
pub const OTHER_REVISION: &str = "E0757";
/// An executor of a bundle cannot be opened: a resource is gone, a component needs another contract.
pub const CANNOT_OPEN: &str = "E0758";

/// Makes pipelines again out of their bundles. It watches nothing, tells no warning twice, and keeps nothing of what it made.
pub struct Rebuilder {
    registry: Arc<Registry>,
    environment: Arc<Environment>,
}

impl Rebuilder {
    /// With the executors and resources of everything else, and the environment as it is now.
    pub const fn new(registry: Arc<Registry>, environment: Arc<Environment>) -> Self {
        Self { registry, environment }
    }
}

impl Rebuild for Rebuilder {
    fn rebuild(&self, bundle: Arc<Bundle>) -> BoxFuture<'static, Result<Arc<Bound>, Failure>> {
        let (registry, environment) = (Arc::clone(&self.registry), Arc::clone(&self.environment));
        Box::pin(async move {
            let pipeline = pipeline_of(&bundle, &registry, environment).await?;
            let files = Files::Bundle(bundle);
            let mut executors = Vec::with_capacity(pipeline.executors.len());
            for declared in &pipeline.executors {
                let opened = registry.open_from(&files, &declared.reference).await;
                executors.push(opened.map_err(|problem| cannot_open(&pipeline, declared, problem))?);
            }
            Ok(Arc::new(Bound { pipeline, executors }))
        })
    }
}

/// The pipeline of a bundle, with none of its executors opened. Loading it compiles code, so it has a thread of its own.
///
/// # Errors
/// `permanent` with [`OTHER_FORMAT`], [`FROM_BUNDLE`] or [`OTHER_REVISION`].
async fn pipeline_of(bundle: &Arc<Bundle>, registry: &Arc<Registry>, environment: Arc<Environment>) -> Result<Arc<Pipeline>, Failure> {
    let pipeline = named_in(bundle, registry, environment).await?;
    if pipeline.revision != bundle.revision {
        let message = format!(
            "{} cannot be made again: of what was kept this host makes the revision {}; start the host that kept it",
            shown(bundle),
            pipeline.revision.short()
        );
        return Err(refused(OTHER_REVISION, message));
    }
    Ok(pipeline)
}

/// The same for whoever only reads the names in it: it is not asked whether this host would still carry it out in the same way.
///
/// # Errors
/// `permanent` with [`OTHER_FORMAT`] or [`FROM_BUNDLE`].
pub async fn named_in(bundle: &Arc<Bundle>, registry: &Arc<Registry>, environment: Arc<Environment>) -> Result<Arc<Pipeline>, Failure> {
    if bundle.format != FORMAT {
        let message = format!(
            "{} was kept in the form {} of bundles, and this host reads the form {FORMAT}: start the host that kept it",
            shown(bundle),
            bundle.format
        );
        return Err(refused(OTHER_FORMAT, message));
    }
    let (of_thread, registry) = (Arc::clone(bundle), Arc::clone(registry));
    let loading = spawn_blocking(move || {
        let files = Files::Bundle(Arc::clone(&of_thread));
        load_bundle(&of_thread, &Bundled { registry: &registry, files: &files }, &environment)
    });
    let Ok(loaded) = loading.await else {
        let message = format!("{} could not be made again: pipehost itself made a mistake; please report it", shown(bundle));
        return Err(Failure::new(FailureKind::Bug, message).with_code(BROKE_OFF));
    };
    let made = loaded.plan.and_then(|plan| plan.pipelines.into_values().next());
    let Some(pipeline) = made else {
        let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        let mistakes: Vec<&Diagnostic> = errors.collect();
        return Err(refused(FROM_BUNDLE, format!("{} cannot be made again: {}", shown(bundle), in_words(&mistakes))));
    };
    Ok(pipeline)
}

/// `the revision 0a1b2c3d4e5f of order`.
fn shown(bundle: &Bundle) -> String {
    format!("the revision {} of {}", bundle.revision.short(), bundle.pipeline)
}

fn refused(code: &'static str, message: String) -> Failure {
    Failure::new(FailureKind::Permanent, message).with_code(code)
}

/// The first mistakes with their places and ways out, and how many more there are.
fn in_words(mistakes: &[&Diagnostic]) -> String {
    const MOST: usize = 3;
    let one = |mistake: &&Diagnostic| format!("{}: {}: {}{}", at(&mistake.place), mistake.code, mistake.message, way_out(&mistake.help));
    let mut words: Vec<String> = mistakes.iter().take(MOST).map(one).collect();
    if mistakes.len() > MOST {
        words.push(format!("and {} more", mistakes.len() - MOST));
    }
    if words.is_empty() { "it holds no pipeline".to_owned() } else { words.join("; ") }
}

fn cannot_open(pipeline: &Pipeline, declared: &DeclaredExecutor, problem: CatalogProblem) -> Failure {
    let CatalogProblem { code, message, place, help } = problem;
    let place = place.map_or_else(|| at(&declared.place), |(file, line, column)| format!("{}:{line}:{column}", file.display()));
    let (name, revision) = (&declared.reference.name, pipeline.revision.short());
    let message =
        format!("`{name}` of the revision {revision} of {} cannot be opened: {place}: {code}: {message}{}", pipeline.name, way_out(&help));
    refused(CANNOT_OPEN, message)
}

fn at(place: &Place) -> String {
    match place.line {
        0 => place.file.display().to_string(),
        line => format!("{}:{line}:{}", place.file.display(), place.column),
    }
}

fn way_out(help: &Option<String>) -> String {
    help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
