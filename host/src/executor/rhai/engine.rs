//! The engines of scripts: one kept for each job at a time, with every limit set and a slot for the job that it runs.

use std::sync::{Arc, Mutex, PoisonError};

use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, Module, Scope, Shared};

use super::body::{Body, Kept};
use super::objects::{self, Tag};
use super::running::Running;
use crate::executor::limit::{self, DEEPEST_CALLS, MODULES, VARIABLES};
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
    let parts = limit::parts(limits);
    bound(
        &mut engine,
        Bounds {
            operations: limits.operations.max(1),
            call_depth: limits.call_depth.clamp(1, DEEPEST_CALLS) as usize,
            text: limit::text(limits),
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

/// The job that an engine runs, if it runs one.
pub(super) type Slot = Arc<Mutex<Option<Arc<Running>>>>;

/// The job that runs in a slot.
pub(super) fn running(slot: &Slot) -> Option<Arc<Running>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// An engine with the slot of the job that it runs.
pub(super) struct Instance {
    /// Boxed, as is what is kept: they are large, and taken and given back for every job.
    engine: Box<Engine>,
    slot: Slot,
    /// The slot as the engine carries it along: made once, a handle of it for each job.
    tag: Dynamic,
    /// What is kept for the next job, if the script can be evaluated without a call.
    kept: Option<Box<Kept>>,
    turns: u32,
}

impl Instance {
    /// One for this script and no other.
    pub(super) fn new(limits: &Limits, config: Shared<Module>, body: Option<&Body>) -> Self {
        let slot = Slot::default();
        let mut engine = engine(limits);
        engine.register_global_module(config);
        let watched = Arc::clone(&slot);
        engine.on_progress(move |operations| if operations % EACH == 0 { stop(&watched, operations) } else { None });
        let printing = Arc::clone(&slot);
        engine.on_print(move |text| log(&printing, LogLevel::Info, text.to_owned()));
        let debugging = Arc::clone(&slot);
        engine.on_debug(move |text, _, _| log(&debugging, LogLevel::Debug, text.to_owned()));
        let tag = Dynamic::from(Tag(Arc::clone(&slot))).into_shared();
        Self { engine: Box::new(engine), slot, tag, kept: body.map(|body| Box::new(body.room())), turns: 0 }
    }

    /// Takes the job in whose name the engine works from now on.
    pub(super) fn take(&mut self, running: Arc<Running>) {
        self.turns = self.turns.wrapping_add(1);
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }

    /// Gives the job back.
    pub(super) fn give_back(&self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How many jobs it has had.
    pub(super) const fn turns(&self) -> u32 {
        self.turns
    }

    /// Has its script process a job: evaluates the body of `process`, or calls it.
    ///
    /// # Errors
    /// How it failed.
    pub(super) fn process(&mut self, ast: &AST, body: Option<&Body>, first: Dynamic) -> Result<Dynamic, Box<EvalAltResult>> {
        let (Some(body), Some(kept)) = (body, &mut self.kept) else {
            let options = CallFnOptions::new().with_tag(self.tag.clone());
            return self.engine.call_fn_with_options(options, &mut Scope::new(), ast, "process", (first,));
        };
        let mut global = self.engine.new_global_runtime_state();
        global.lib.push(ast.shared_lib().clone());
        global.tag = self.tag.clone();
        body.evaluate(&self.engine, &mut global, kept, first)
    }

    /// What it keeps for the next job.
    #[cfg(test)]
    pub(super) fn kept(&mut self) -> Option<&mut Kept> {
        self.kept.as_deref_mut()
    }
}

/// Whether the job must stop now. Apart from what is done for each operation, which is little then.
#[cold]
#[inline(never)]
fn stop(slot: &Slot, operations: u64) -> Option<Dynamic> {
    running(slot)?.stop(operations).map(Dynamic::from)
}

fn log(slot: &Slot, level: LogLevel, text: String) {
    if let Some(running) = running(slot) {
        running.channel().log(level, text);
    }
}
