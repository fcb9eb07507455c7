//! A compiled expression and its evaluation: a mere path without Rhai, anything else with only what it reads.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex};

use rhai::{AST, Caches, Dynamic, EvalAltResult, Position, Scope as RhaiScope};

use super::Wanted;
use super::check::{Checked, Path};
use super::engine::{OPERATIONS, engine};
use super::function::Drawn;
use super::place::{offset, word_at};
use super::uses::RootUse;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{Expression, Reference, Scope};
use crate::model::value::Value;
use crate::script::{Form, kind_of, not_data, signature_of, value_of};

/// So many functions that were found are kept.
const FOUND: usize = 1_024;

thread_local! {
    /// Which functions the operators and calls of expressions mean with which kinds of values: the same in all of them, since they have one engine.
    static KEPT: Cell<Caches> = const { Cell::new(Caches::new()) };
}

/// Evaluates something with the functions that were found before on this thread, and keeps what is found now.
fn with_found<T, E>(evaluate: impl FnOnce(&mut Caches) -> Result<T, E>) -> Result<T, E> {
    let mut found = KEPT.take();
    let result = evaluate(&mut found);
    if result.is_ok() && found.fn_resolution_cache_mut().dict.len() <= FOUND {
        KEPT.set(found);
    }
    result
}

/// A compiled expression.
pub(super) struct Script {
    source: String,
    ast: AST,
    wanted: Wanted,
    roots: Vec<RootUse>,
    references: Vec<Reference>,
    path: Option<Path>,
    ids: usize,
    asks_time: bool,
}

impl Script {
    pub(super) fn new(source: &str, ast: AST, checked: Checked, wanted: Wanted) -> Self {
        let Checked { roots, path, ids, asks_time, .. } = checked;
        let references = roots.iter().flat_map(RootUse::references).collect();
        Self { source: source.to_owned(), ast, wanted, roots, references, path, ids, asks_time }
    }

    /// Evaluates with Rhai.
    pub(super) fn run(&self, scope: &dyn Scope) -> Result<Value, Failure> {
        let mut variables = RhaiScope::with_capacity(self.roots.len());
        for root in &self.roots {
            if let Some(value) = root.fetch(scope) {
                // As a variable: a constant would be folded, and lose its checks.
                variables.push_dynamic(root.name.as_str(), value);
            }
        }
        let engine = engine();
        let mut global = engine.new_global_runtime_state();
        if self.asks_time || self.ids > 0 {
            let ids = (0..self.ids).map(|_| scope.uuid().to_string()).rev().collect();
            let now = if self.asks_time { scope.now().to_string() } else { String::new() };
            global.tag = Dynamic::from(Drawn { now, ids: Arc::new(Mutex::new(ids)) });
        }
        #[expect(deprecated, reason = "the one way to evaluate with a tag that needs no function round the expression")]
        let result = with_found(|found| engine.eval_statements_raw(&mut global, found, &mut variables, self.ast.statements()));
        let value = result.map_err(|error| self.failure(*error))?;
        match not_data(&value) {
            None => Ok(value_of(value)),
            Some(what) => Err(self.invalid("no_data", &format!("its value is {what}, not data"))),
        }
    }

    fn invalid(&self, code: &str, what: &str) -> Failure {
        Failure::new(FailureKind::Invalid, format!("`{}`: {what}", self.source.trim())).with_code(code)
    }

    fn word(&self, position: Position) -> &str {
        word_at(&self.source, offset(&self.source, position))
    }

    fn failure(&self, error: EvalAltResult) -> Failure {
        match error {
            EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => self.failure(*inner),
            EvalAltResult::ErrorPropertyNotFound(name, _) => {
                self.invalid("no_field", &format!("there is no field `{name}`; fields that may be absent are declared, as string|null"))
            }
            EvalAltResult::ErrorDotExpr(why, position) => {
                let name = self.word(position);
                if why.contains("'null'") {
                    self.invalid("null_read", &format!("`{name}` is read of null; write ?. where null is meant to be"))
                } else {
                    self.invalid("no_field", &format!("there is no field `{name}`"))
                }
            }
            EvalAltResult::ErrorVariableNotFound(name, _) => self.invalid("no_name", &format!("there is no `{name}` at this point")),
            EvalAltResult::ErrorIndexingType(kind, _) => self.invalid("no_item", &format!("nothing can be taken out by index: {kind}")),
            EvalAltResult::ErrorArrayBounds(length, index, _) => {
                self.invalid("no_item", &format!("there is no item {index}: the list has {length}"))
            }
            EvalAltResult::ErrorStringBounds(length, index, _) => {
                self.invalid("no_item", &format!("there is no character {index}: the text has {length}"))
            }
            EvalAltResult::ErrorRuntime(why, _) => self.invalid("unlike_types", &why.to_string()),
            EvalAltResult::ErrorArithmetic(why, _) => self.invalid("arithmetic", &why),
            EvalAltResult::ErrorFunctionNotFound(signature, _) => {
                self.invalid("unlike_types", &format!("there is no {}: these kinds do not go together", signature_of(&signature)))
            }
            EvalAltResult::ErrorMismatchDataType(wanted, found, _) => {
                self.invalid("unlike_types", &format!("{wanted} is wanted, and {found} is there"))
            }
            EvalAltResult::ErrorTooManyOperations(_) => {
                self.invalid("limit_operations", &format!("it takes more than {OPERATIONS} operations"))
            }
            EvalAltResult::ErrorDataTooLarge(what, _) => self.invalid("limit_memory", &format!("a value is too large: {what}")),
            other => {
                let mut other = other;
                let _ = other.take_position();
                self.invalid("expression", &other.to_string())
            }
        }
    }

    fn truth(&self, value: Value) -> Result<Value, Failure> {
        let (is_bool, kind) = match value.native::<Form>() {
            Some(form) => (form.dynamic().is_bool(), kind_of(form.dynamic()).to_owned()),
            None => (value.tree().as_bool().is_some(), value.tree().kind().to_owned()),
        };
        if is_bool { Ok(value) } else { Err(self.invalid("not_bool", &format!("a condition is true or false, and this is {kind}"))) }
    }
}

impl Path {
    /// The value, if it can be had without Rhai. `None` says nothing: Rhai then knows what is wrong.
    fn value(&self, scope: &dyn Scope) -> Option<Value> {
        let mut value = match scope.lookup(self.root, self.field.as_deref()) {
            Some(value) => value,
            None if self.optional => Value::null(),
            None => return None,
        };
        for (name, null_safe) in &self.links {
            if *null_safe && value.is_null() {
                return Some(Value::null());
            }
            value = value.field(name)?;
        }
        Some(value)
    }
}

impl Expression for Script {
    fn source(&self) -> &str {
        &self.source
    }

    fn references(&self) -> &[Reference] {
        &self.references
    }

    fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Failure> {
        let value = match self.path.as_ref().and_then(|path| path.value(scope)) {
            Some(value) => value,
            None => self.run(scope)?,
        };
        match self.wanted {
            Wanted::Value => Ok(value),
            Wanted::Condition => self.truth(value),
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Expression").field(&self.source).finish()
    }
}
