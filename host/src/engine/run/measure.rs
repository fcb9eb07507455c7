//! What a store has refused for its size is decided once more, and measured: the step fails that comes to more than a store takes. Otherwise nothing is
//! measured here, since whoever writes it has to do that anyway.

use serde::Serialize;

use crate::model::failure::{Failure, FailureKind};
use crate::model::record::Fact;
use crate::model::size;

use super::machine::Machine;

/// The code of a step that comes to more than a store takes.
pub const TOO_LARGE: &str = "too_large";

/// Room for what stands round a value in a fact, and for what a store writes otherwise than others do.
const ROUND: u64 = 64 << 10;

/// So many bytes are enough for one batch: what follows comes with the next.
const ENOUGH: u64 = 8 << 20;

/// How much is decided so far, in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Measure(u64);

impl Measure {
    pub(super) const fn is_full(&self) -> bool {
        self.0 >= ENOUGH
    }
}

/// The failure of a step that comes to so many bytes.
pub fn too_large(bytes: u64) -> Failure {
    let message = format!(
        "it comes to {bytes} bytes, and the history of a run takes {} MiB of one value at most; put large content into a file, and pass its path",
        size::MOST >> 20
    );
    Failure::new(FailureKind::Permanent, message).with_code(TOO_LARGE)
}

impl Machine<'_> {
    /// Whether a store has room for that in one fact; without a measure it has.
    ///
    /// # Errors
    /// `permanent` with [`TOO_LARGE`].
    pub(super) fn fits(&self, what: &impl Serialize) -> Result<(), Failure> {
        match self.measure {
            None => Ok(()),
            Some(_) => match size::of(what) {
                bytes if bytes > size::MOST - ROUND => Err(too_large(bytes)),
                _ => Ok(()),
            },
        }
    }

    /// The fact, or that its step has failed if what the step gave is too large.
    pub(super) fn fitting(&mut self, fact: Fact) -> Fact {
        if self.measure.is_none() {
            return fact;
        }
        let fact = match fact {
            Fact::StepDone { lane, step, output } => match self.fits(&output) {
                Ok(()) => Fact::StepDone { lane, step, output },
                Err(failure) => {
                    let failure = failure.at_step(&self.state.flow.step(step).id);
                    Fact::StepFailed { lane, step, failure }
                }
            },
            other => other,
        };
        if let Some(Measure(bytes)) = &mut self.measure {
            *bytes = bytes.saturating_add(size::of(&fact));
        }
        fact
    }
}
