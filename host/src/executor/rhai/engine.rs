//! The engines of scripts: one kept for each job at a time, with every limit set and a slot for the job that it runs.

use std::sync::{Arc, Mutex, PoisonError};

use rhai::{Dynamic, Engine, Module, Scope, Shared};

use super::objects;
use super::running::Running;
use crate::executor::limit::{DEEPEST_CALLS, MODULES, VARIABLES};
use crate::model::grant::Limits;
use crate::model::happening::LogLevel;
use crate::script::{Bounds, bare_engine, bound};

/// Operations between two looks at the cancel signal and the clock.
const EACH: u64 = 256;

/// An engine that no job has reached yet, for compiling and describing.
pub(super) fn engine(limits: &Limits) -> Engine {
    let mut engine = bare_engine();
    engine.register_global_module(objects::module());
    engine.set_strict_variables(true);
    // Rhai counts the parts of one value, not bytes, and it counts them after each change: small bounds are what keeps that quick.
    let parts = usize::try_from(limits.memory / 4096).unwrap_or(usize::MAX).clamp(256, 65_536);
    bound(
        &mut engine,
        Bounds {
            operations: limits.operations.max(1),
            call_depth: limits.call_depth.clamp(1, DEEPEST_CALLS) as usize,
            text: usize::try_from(limits.memory / 8).unwrap_or(usize::MAX).clamp(4096, 64 << 20),
            items: parts,
            fields: parts,
            nesting: 32,
            variables: VARIABLES,
            functions: 256,
            modules: MODULES,
        },
    );
    engine
}

/// The names that scripts may use without declaring them.
pub(super) fn known_names() -> Scope<'static> {
    let mut scope = Scope::new();
    for name in objects::NAMES {
        // As a variable: the value of a constant would be built into the script.
        scope.push_dynamic(name, Dynamic::UNIT);
    }
    scope
}

/// `config` as scripts see it.
pub(super) fn config_module(config: Dynamic) -> Shared<Module> {
    let mut module = Module::new();
    module.set_var("config", config);
    module.build_index();
    module.into()
}

/// An engine with the slot of the job that it runs.
pub(super) struct Instance {
    /// Boxed: it is large, and taken and given back for every job.
    pub(super) engine: Box<Engine>,
    slot: Arc<Mutex<Option<Arc<Running>>>>,
}

impl Instance {
    pub(super) fn new(limits: &Limits, config: Shared<Module>) -> Self {
        let slot: Arc<Mutex<Option<Arc<Running>>>> = Arc::default();
        let mut engine = engine(limits);
        engine.register_global_module(config);
        let watched = Arc::clone(&slot);
        engine.on_progress(move |operations| {
            if operations % EACH != 0 {
                return None;
            }
            let running = watched.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
            running.stop(operations).map(Dynamic::from)
        });
        let printing = Arc::clone(&slot);
        engine.on_print(move |text| log(&printing, LogLevel::Info, text.to_owned()));
        let debugging = Arc::clone(&slot);
        engine.on_debug(move |text, _, _| log(&debugging, LogLevel::Debug, text.to_owned()));
        Self { engine: Box::new(engine), slot }
    }

    /// Takes the job in whose name the engine works from now on; `None` gives it back.
    pub(super) fn set(&self, running: Option<Arc<Running>>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

fn log(slot: &Mutex<Option<Arc<Running>>>, level: LogLevel, text: String) {
    let running = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(running) = running {
        running.channel().log(level, text);
    }
}
