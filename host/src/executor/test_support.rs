//! A clock that stands still, and connections to nowhere: what tests of this room hand in.

use std::sync::Arc;

use crate::executor::http::{self, Http};
use crate::model::port::{Clock, Sleep};
use crate::model::time::Timestamp;

/// It is always the epoch, and no wait for a later time ends.
pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        if at <= Timestamp::EPOCH { Box::pin(std::future::ready(())) } else { Box::pin(std::future::pending()) }
    }
}

/// Requests that may go nowhere.
pub(crate) fn no_http() -> Http {
    Http::new(http::Settings { executor: "it".into(), granted: Vec::new(), configured: Vec::new(), clock: Arc::new(Still) })
}
