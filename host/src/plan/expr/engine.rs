//! The one engine of all expressions.

use std::sync::OnceLock;

use rhai::{AST, Engine, OptimizationLevel, Token};

use super::Mistake;
use super::function;
use super::slip;
use crate::script::{Bounds, bare_engine, bound, register_strict_comparisons};

/// So many operations may an evaluation take.
pub(super) const OPERATIONS: u64 = 100_000;

/// Built once, for all expressions of all files.
pub(super) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut engine = bare_engine();
        bound(
            &mut engine,
            Bounds {
                operations: OPERATIONS,
                call_depth: 4,
                text: 16 << 20,
                items: 100_000,
                fields: 100_000,
                nesting: 64,
                variables: 64,
                functions: 1,
                modules: 0,
            },
        );
        // Folding would take the checks away, and names would not be where they were written.
        engine.set_optimization_level(OptimizationLevel::None);
        engine.set_strict_variables(false);
        engine.set_fail_on_invalid_map_property(true);
        engine.set_fast_operators(false);
        engine.set_allow_anonymous_fn(false);
        engine.set_allow_switch_expression(false);
        engine.set_allow_loop_expressions(false);
        engine.set_allow_statement_expression(false);
        register_strict_comparisons(&mut engine);
        function::register(&mut engine);
        // What people are told of kinds is told in their words.
        engine
            .register_type_with_name::<i64>("int")
            .register_type_with_name::<f64>("float")
            .register_type_with_name::<rhai::ImmutableString>("string")
            .register_type_with_name::<rhai::Array>("list")
            .register_type_with_name::<rhai::Map>("map")
            .register_type_with_name::<()>("null");
        #[expect(deprecated, reason = "the callback is marked volatile, not deprecated; there is no other way to read `null` as `()`")]
        engine.on_parse_token(|token, _, _| match token {
            Token::Reserved(word) if word.as_str() == "null" => Token::Unit,
            token => token,
        });
        engine
    })
}

/// Parses one expression.
pub(super) fn parse(source: &str) -> Result<AST, Vec<Mistake>> {
    engine().compile_expression(source).map_err(|error| vec![slip::explain(source, &error)])
}
