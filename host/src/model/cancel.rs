//! Telling work that nobody wants it any more.

pub use tokio_util::sync::CancellationToken as CancelSignal;
