//! A pipeline with its executors opened, and the port through which such pipelines are put in force.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::pipeline::Pipeline;
use crate::model::bundle::Bundle;
use crate::model::failure::Failure;
use crate::model::port::Executor;

/// A pipeline with its executors opened: what a run is pinned to.
pub struct Bound {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// Its executors, in the order of [`Pipeline::executors`].
    pub executors: Vec<Arc<dyn Executor>>,
}

/// Puts pipelines in force: implemented by the engine, called by a reload. The two stand on one floor and know only this of each other.
pub trait Install: Send + Sync {
    /// Puts these pipelines in force, all at one instant, in the place of all that were. Runs under way end on what they began with.
    fn install(&self, bounds: Vec<Arc<Bound>>);
}

/// Makes a pipeline again out of its bundle: implemented by `reload`, called by the engine for runs that belong to a revision that is in force no more.
pub trait Rebuild: Send + Sync {
    /// The pipeline with its executors opened, though its files may be gone.
    ///
    /// # Errors
    /// What hinders it, for people: a bundle of another format, a resource that is not there any more.
    fn rebuild(&self, bundle: Arc<Bundle>) -> BoxFuture<'static, Result<Arc<Bound>, Failure>>;
}
