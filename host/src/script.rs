//! What expressions and scripts share of Rhai: values to and fro, the bare engine with its limits, and comparisons that fail on unlike kinds.

mod base;
mod compare;
mod form;
mod json;

pub use base::{Bounds, bare_engine, bound};
pub use compare::{equal, register_strict_comparisons};
pub use form::{Form, Unfit, dynamic_of, dynamic_of_tree, form_of, kind_of, not_data, output_of, signature_of, tree_of, value_of};
