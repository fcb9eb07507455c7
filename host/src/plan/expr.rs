//! Expressions: compiled once, at load, against the names and types that are known there; handed on as `dyn Expression`.
//!
//! They are Rhai's, less statements and functions, and stricter: what is misspelt fails, and never is `false`.

mod check;
mod compiled;
mod engine;
mod function;
mod meant;
mod place;
mod slip;
mod steps;
mod uses;
mod word;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::id::EventType;
use crate::model::port::{Expression, Root};
use crate::model::types::Type;

pub(in crate::plan) use meant::meant;
pub use steps::Steps;

/// Every code that a mistake in an expression can have, with what it means: the guide lists them.
pub const CODES: [(&str, &str); 12] = [
    ("E0301", "this is no expression"),
    ("E0302", "expressions cannot do this: no statements, functions, loops or text with holes"),
    ("E0303", "there is no such name here"),
    ("E0304", "the field is not declared"),
    ("E0305", "this may be null: read it with ?."),
    ("E0306", "a reserved word cannot be a field's name after a dot"),
    ("E0307", "there is no such function in expressions"),
    ("E0308", "${ } inside an expression"),
    ("E0309", "this is not true or false"),
    ("E0310", "two kinds of values that cannot be compared"),
    ("E0311", "the expression is too long or nested too deeply"),
    ("E0312", "a word is compared that never stands there"),
];

/// Compiles an expression and finds every mistake in it that can be found without values.
///
/// ```
/// use pipehost::plan::expr::{Names, Wanted, compile};
///
/// let mistakes = compile("inptu.text", &Names::default(), Wanted::Value).unwrap_err();
/// assert_eq!((mistakes[0].code, mistakes[0].offset, mistakes[0].length), ("E0303", 0, 5));
/// ```
///
/// # Errors
/// All mistakes, in the order in which they stand; one that keeps the rest from being read comes alone.
pub fn compile(source: &str, names: &Names, wanted: Wanted) -> Result<Compiled, Vec<Mistake>> {
    word::check(source)?;
    let ast = engine::parse(source)?;
    let checked = check::check(source, &ast, names, wanted)?;
    let value_type = checked.value_type.clone();
    Ok(Compiled { expression: Arc::new(compiled::Script::new(source, ast, checked, wanted)), value_type })
}

/// What an expression may read, with what is known of it. A record's undeclared field is a mistake; a nullable one needs `?.`.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The roots that may be used here, but for `steps`.
    pub roots: Arc<BTreeMap<Root, Type>>,
    /// The steps that are seen from here; `None` where `steps` may not be used.
    pub steps: Option<Steps>,
    /// Names that the YAML gave: `as` of an `each`, and `index`.
    pub locals: Vec<(String, Type)>,
    /// Paths that give one of a few words, as `steps.answer.type` after a `wait` for these events.
    pub words: Words,
}

/// The words that a path may give, by path; where there are none, it may give any.
pub type Words = Arc<BTreeMap<String, Vec<EventType>>>;

/// What an expression is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Any value.
    Value,
    /// `true` or `false`, and nothing else.
    Condition,
}

/// An expression that may be evaluated, and what is known of its value.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The expression.
    pub expression: Arc<dyn Expression>,
    /// What its value is, as far as it is known.
    pub value_type: Type,
}

/// A mistake in an expression. Offsets are bytes of the expression's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The code of the diagnostic.
    pub code: &'static str,
    /// What is wrong, without a full stop.
    pub message: String,
    /// Where it begins.
    pub offset: usize,
    /// How many bytes are meant, at least 1.
    pub length: usize,
    /// The way out.
    pub help: Option<String>,
}

#[cfg(test)]
mod tests;
