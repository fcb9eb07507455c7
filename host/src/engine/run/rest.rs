//! `sleep`: a lane that goes on at a point in time.

use std::time::Duration;

use crate::model::failure::{Failure, FailureKind};
use crate::model::policy::{parse_duration, show_wait};
use crate::model::record::{Fact, StepNumber};
use crate::model::value::Value;
use crate::plan::pipeline::Flow;
use crate::plan::template::Template;

use super::lanes::Lane;
use super::machine::Machine;

impl Machine<'_> {
    /// Begins to sleep; a sleep of no time is over at once.
    pub(super) fn sleep(&mut self, lane: &Lane, step: StepNumber, length: &Template) {
        match self.evaluate(length, lane).and_then(|length| duration(&length)).and_then(|length| self.may_sleep(length)) {
            Ok(Duration::ZERO) => self.record(Fact::StepDone { lane: lane.id, step, output: Value::null() }),
            Ok(length) => self.record(Fact::SleepBegan { lane: lane.id, step, due: self.around.now + length }),
            Err(failure) => self.fail_step(lane.id, step, failure),
        }
    }

    /// What is written out was looked at when the file was loaded; what an expression gives is known only here.
    fn may_sleep(&self, length: Duration) -> Result<Duration, Failure> {
        if self.state.flow.durable || length <= Flow::LONGEST_UNJOURNALED_SLEEP {
            return Ok(length);
        }
        let message = format!(
            "`sleep` over a minute needs a durable flow, and this one has `durable: false`: it would sleep {}, and a crash would forget the run; take `durable: false` out",
            show_wait(length)
        );
        Err(Failure::new(FailureKind::Invalid, message).with_code("not_durable"))
    }

    /// Wakes the lanes whose sleep is over.
    pub(super) fn wake(&mut self) {
        for id in self.state.lanes.rested(self.around.now) {
            if let Some(step) = self.state.present_step(id) {
                self.record(Fact::StepDone { lane: id, step, output: Value::null() });
            }
        }
    }
}

/// A duration that was written or came out of an expression: text with a unit.
///
/// # Errors
/// `invalid`, with what to write instead.
pub(super) fn duration(value: &Value) -> Result<Duration, Failure> {
    let refuse = |message: String| Failure::new(FailureKind::Invalid, message).with_code("duration");
    match value.tree().as_text() {
        Some(text) => parse_duration(text).map_err(refuse),
        None => Err(refuse(format!("{} is no duration; a duration is text with a unit, as \"30s\"", value.text()))),
    }
}
