//! The engine that expressions and scripts both begin with: the pure standard packages, no input or output, no `eval`.

use std::sync::OnceLock;

use rhai::packages::{Package, StandardPackage};
use rhai::{Engine, Module, Shared};

use crate::model::secret::Secret;

/// How much an engine may do before it stops. All of them are finite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Operations in one evaluation.
    pub operations: u64,
    /// Calls within calls.
    pub call_depth: usize,
    /// Bytes of all text within one value.
    pub text: usize,
    /// Items of all lists within one value.
    pub items: usize,
    /// Fields of all maps within one value.
    pub fields: usize,
    /// How deep expressions may be nested.
    pub nesting: usize,
    /// Variables that live at once.
    pub variables: usize,
    /// Functions in one script.
    pub functions: usize,
    /// Modules that one script imports.
    pub modules: usize,
}

/// An engine with the standard packages and secrets that show only their names; nothing in it reaches outside.
pub fn bare_engine() -> Engine {
    let mut engine = Engine::new_raw();
    engine.register_global_module(standard_functions());
    engine.register_global_module(secret_functions());
    engine.disable_symbol("eval");
    engine
}

/// Sets every limit that the engine has.
pub fn bound(engine: &mut Engine, bounds: Bounds) {
    engine
        .set_max_operations(bounds.operations)
        .set_max_call_levels(bounds.call_depth)
        .set_max_string_size(bounds.text)
        .set_max_array_size(bounds.items)
        .set_max_map_size(bounds.fields)
        .set_max_expr_depths(bounds.nesting, bounds.nesting)
        .set_max_variables(bounds.variables)
        .set_max_functions(bounds.functions)
        .set_max_modules(bounds.modules);
}

/// Built once: registering the packages costs a thousand times what sharing them does.
fn standard_functions() -> Shared<Module> {
    static STANDARD: OnceLock<Shared<Module>> = OnceLock::new();
    STANDARD.get_or_init(|| StandardPackage::new().as_shared_module()).clone()
}

fn secret_functions() -> Shared<Module> {
    static SECRETS: OnceLock<Shared<Module>> = OnceLock::new();
    SECRETS
        .get_or_init(|| {
            let mut module = Module::new();
            module.set_custom_type::<Secret>("secret");
            module.set_native_fn("to_string", |secret: &mut Secret| Ok(secret.to_string()));
            module.set_native_fn("to_debug", |secret: &mut Secret| Ok(secret.to_string()));
            module.build_index();
            module.into()
        })
        .clone()
}
