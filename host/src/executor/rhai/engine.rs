//! The engines of scripts: one kept for each job at a time, with every limit set and a slot for the job that it runs.

use std::sync::{Arc, Mutex, PoisonError};

use rhai::{AST, Caches, CallFnOptions, Dynamic, Engine, EvalAltResult, EvalContext, Module, Scope, Shared};

use super::objects::{self, Tag};
use super::running::Running;
use crate::executor::limit::{DEEPEST_CALLS, MODULES, VARIABLES};
use crate::model::grant::Limits;
use crate::model::happening::LogLevel;
use crate::script::{Bounds, bare_engine, bound};

/// Operations between two looks at the cancel signal and the clock.
const EACH: u64 = 256;

/// So many functions that were found are kept for the next jobs: the calls in a script with the kinds of values that they are made with. Names that
/// a script puts together as it goes could be without end.
pub(super) const FOUND: usize = 1_024;

/// What a call by [`EvalContext`] counts as calls within calls, itself included, before the script makes its first.
const LEVELS: usize = 2;

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

/// The job that an engine runs, if it runs one.
pub(super) type Slot = Arc<Mutex<Option<Arc<Running>>>>;

/// The job that runs in a slot.
pub(super) fn running(slot: &Slot) -> Option<Arc<Running>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// An engine with the slot of the job that it runs.
pub(super) struct Instance {
    /// Boxed, as is what was found: they are large, and taken and given back for every job.
    engine: Box<Engine>,
    slot: Slot,
    /// The slot as the engine carries it along: made once, a handle of it for each job.
    tag: Dynamic,
    /// Which functions the calls of the script mean, if that is the same for each job. Finding them again would be a good part of what a small
    /// script takes.
    found: Option<Box<Caches>>,
    turns: u32,
}

impl Instance {
    /// One for this script and no other.
    pub(super) fn new(limits: &Limits, config: Shared<Module>, ast: &AST) -> Self {
        let slot = Slot::default();
        let mut engine = engine(limits);
        let found = has_only_functions(ast).then(|| Box::new(Caches::new()));
        if found.is_some() {
            engine.set_max_call_levels(engine.max_call_levels() + LEVELS);
        }
        engine.register_global_module(config);
        let watched = Arc::clone(&slot);
        engine.on_progress(move |operations| {
            if operations % EACH != 0 {
                return None;
            }
            running(&watched)?.stop(operations).map(Dynamic::from)
        });
        let printing = Arc::clone(&slot);
        engine.on_print(move |text| log(&printing, LogLevel::Info, text.to_owned()));
        let debugging = Arc::clone(&slot);
        engine.on_debug(move |text, _, _| log(&debugging, LogLevel::Debug, text.to_owned()));
        let tag = Dynamic::from(Tag(Arc::clone(&slot))).into_shared();
        Self { engine: Box::new(engine), slot, tag, found, turns: 0 }
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

    /// Calls `process` of its script.
    ///
    /// # Errors
    /// How it failed.
    pub(super) fn process(&mut self, ast: &AST, mut job: Dynamic) -> Result<Dynamic, Box<EvalAltResult>> {
        let Some(found) = &mut self.found else {
            // What stands at the top of a script is evaluated for each job, and what it imports may change what a call means.
            let options = CallFnOptions::new().with_tag(self.tag.clone());
            return self.engine.call_fn_with_options(options, &mut Scope::new(), ast, "process", (job,));
        };
        let mut global = self.engine.new_global_runtime_state();
        global.lib.push(ast.shared_lib().clone());
        global.tag = self.tag.clone();
        let mut scope = Scope::new();
        let result =
            EvalContext::new(&self.engine, &mut global, found, &mut scope, None).call_fn_raw("process", false, false, &mut [&mut job]);
        if result.is_err() || found.fn_resolution_cache_mut().dict.len() > FOUND {
            **found = Caches::new();
        }
        result
    }

    /// How many functions that were found it keeps.
    #[cfg(test)]
    pub(super) fn kept(&mut self) -> usize {
        self.found.as_mut().map_or(0, |found| found.fn_resolution_cache_mut().dict.len())
    }
}

/// Whether there is nothing beside functions in a script: no constants, and nothing that it imports.
fn has_only_functions(ast: &AST) -> bool {
    ast.statements().is_empty() && ast.resolver().is_none()
}

fn log(slot: &Slot, level: LogLevel, text: String) {
    if let Some(running) = running(slot) {
        running.channel().log(level, text);
    }
}
