//! The suite against scripts.

use std::sync::Arc;

use pipehost::executor::host_api::HostApi;
use pipehost::executor::rhai::Rhai;
use pipehost::model::executor::Home as Place;
use pipehost::model::grant::Limits;
use pipehost::model::port::Executor;

use super::{Home, Promise, WallClock, shipped};

struct Scripts;

impl Home for Scripts {
    fn open(&self, limits: Limits, host: Arc<dyn HostApi>) -> Arc<dyn Executor> {
        let home = Rhai::new(Arc::new(WallClock::start()));
        let place = Place::Rhai(shipped("tests/guests/conformance.rhai"));
        home.open(&self.reference(place, limits), host).unwrap_or_else(|problem| panic!("{problem:?}"))
    }

    fn promise(&self, deed: &str) -> Promise {
        Promise::Stops(match deed {
            "loop" => "limit_wall",
            "memory" => "limit_memory",
            "recursion" => "limit_call_depth",
            "trap" => "script_error",
            _ => "limit_output",
        })
    }

    fn shown(&self) -> &'static str {
        "conformance.rhai"
    }
}

super::suite!(Scripts);
