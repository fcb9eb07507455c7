//! The attempt under way.

use core::time::Duration;

use serde::Serialize;

use crate::Failure;
use crate::bridge::abi::pipehost::executor::run as host;
use crate::bridge::to_text;

/// Tells how far it is. Live only: not recorded, not repeated after a crash.
///
/// # Errors
/// `bug` if this cannot be written as JSON.
pub fn progress(progress: &impl Serialize) -> Result<(), Failure> {
    host::progress(&to_text(progress)?);
    Ok(())
}

/// Emits an event to the pipeline's bus; held until the attempt succeeds, dropped if it fails.
///
/// # Errors
/// `denied` if the type is not granted; `bug` if the data cannot be written as JSON.
pub fn emit(event_type: &str, data: &impl Serialize) -> Result<(), Failure> {
    host::emit(event_type, &to_text(data)?).map_err(Failure::from)
}

/// Whether nobody wants the result any more. The work is stopped soon whether or not anybody asks.
pub fn cancelled() -> bool {
    host::cancelled()
}

/// How much time is left; `None` where there is no deadline.
pub fn remaining() -> Option<Duration> {
    host::remaining().map(Duration::from_millis)
}
