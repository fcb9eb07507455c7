//! The suite against components, each job in a fresh instance and in a kept one.

use std::path::PathBuf;
use std::sync::Arc;

use pipehost::executor::host_api::HostApi;
use pipehost::executor::wasm::{Settings, Wasm};
use pipehost::model::executor::{ExecutorReference, Home as Place};
use pipehost::model::grant::Limits;
use pipehost::model::port::Executor;

use super::{Home, Promise, WallClock, shipped};

struct Components {
    reuse: bool,
}

impl Home for Components {
    fn open(&self, limits: Limits, host: Arc<dyn HostApi>) -> Arc<dyn Executor> {
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled");
        let home = Wasm::new(Settings { cache, clock: Arc::new(WallClock::start()) }).expect("this machine runs WebAssembly");
        let place = Place::Wasm(shipped("tests/guests/conformance/conformance.wasm"));
        let reference = ExecutorReference { reuse: self.reuse, ..self.reference(place, limits) };
        home.open(&reference, host).expect("the guest is an executor")
    }

    fn promise(&self, deed: &str) -> Promise {
        Promise::Stops(match deed {
            "loop" => "limit_wall",
            "memory" => "limit_memory",
            "recursion" => "limit_stack",
            "trap" => "trap",
            _ => "limit_output",
        })
    }

    fn shown(&self) -> &'static str {
        "executor `guest` (plugin `conformance`) in job 0"
    }
}

mod fresh {
    super::super::suite!(super::Components { reuse: false });
}

mod kept {
    super::super::suite!(super::Components { reuse: true });
}
