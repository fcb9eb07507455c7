//! `transform`: gives back what it is given. Its `with` has been evaluated by then, so that expressions alone make a step's output.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::describe;
use crate::model::executor::Description;
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;

/// Input anything; output the same. The plan knows that its type is that of `with`.
pub(super) fn description() -> Description {
    describe("transform", "Gives back what `with` came to", Type::Any, Type::Any)
}

pub(super) struct Transform {
    description: Description,
}

impl Transform {
    pub(super) fn new(description: Description) -> Self {
        Self { description }
    }
}

impl Executor for Transform {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        std::future::ready(Ok(job.input.clone())).boxed()
    }
}
