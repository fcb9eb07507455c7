//! Whether a value of one type can be one of another, as far as that is known before anything runs.

use crate::model::types::{Field, Type};
use crate::model::value::Tree;

/// Whether a value of type `found` may be what `wanted` declares. What depends on the value itself is let pass: the run checks it.
pub(in crate::plan) fn may_be(found: &Type, wanted: &Type) -> bool {
    match (found, wanted) {
        (Type::Secret, _) => matches!(inner(wanted), Type::Secret),
        // One that may be null is one all the same: it would slip through as something that may be anything.
        (Type::Nullable(found), _) if *inner(found) == Type::Secret => may_be(inner(found), wanted),
        (Type::Any, _) | (_, Type::Any) => true,
        (Type::Nullable(found), wanted) => may_be(found, inner(wanted)),
        (found, Type::Nullable(wanted)) => may_be(found, wanted),
        (Type::Int, Type::Float) | (Type::String, Type::Time | Type::Duration | Type::Bytes) => true,
        (Type::Time | Type::Duration | Type::Bytes, Type::String) => true,
        (Type::List(found), Type::List(wanted)) => may_be(found, wanted),
        (Type::Record(found), Type::Record(wanted)) => wanted.iter().all(|field| field_may_be(found, field)),
        _ => std::mem::discriminant(found) == std::mem::discriminant(wanted),
    }
}

fn field_may_be(found: &[Field], wanted: &Field) -> bool {
    match found.iter().find(|field| field.name == wanted.name) {
        Some(field) => may_be(&field.value_type, &wanted.value_type),
        None => is_optional(wanted),
    }
}

/// Whether a field may be left out.
pub(in crate::plan) fn is_optional(field: &Field) -> bool {
    field.default.is_some() || field.value_type.takes_null()
}

/// The type without its `|null`.
pub(in crate::plan) fn inner(declared: &Type) -> &Type {
    match declared {
        Type::Nullable(inner) => self::inner(inner),
        other => other,
    }
}

/// The type, or null.
pub(in crate::plan) fn nullable(declared: Type) -> Type {
    match declared {
        Type::Nullable(_) => declared,
        other => Type::Nullable(Box::new(other)),
    }
}

/// A record of these fields.
pub(in crate::plan) fn record<'a>(fields: impl IntoIterator<Item = (&'a str, Type)>) -> Type {
    Type::Record(fields.into_iter().map(|(name, value_type)| field(name, value_type)).collect())
}

/// A field without a default.
pub(in crate::plan) fn field(name: &str, value_type: Type) -> Field {
    Field { name: name.to_owned(), value_type, default: None, description: None }
}

/// The type of a literal. Maps are closed records: what is not written is not there.
pub(in crate::plan) fn of_literal(tree: &Tree) -> Type {
    match tree {
        Tree::Null => Type::Nullable(Box::new(Type::Any)),
        Tree::Bool(_) => Type::Bool,
        Tree::Int(_) => Type::Int,
        Tree::Float(_) => Type::Float,
        Tree::Text(_) => Type::String,
        Tree::Secret(_) => Type::Secret,
        Tree::List(items) => Type::List(Box::new(common(items.iter().map(of_literal)))),
        Tree::Map(fields) => Type::Record(fields.iter().map(|(name, value)| field(name, of_literal(value))).collect()),
    }
}

/// The one type that all of these are; anything, if they differ.
pub(in crate::plan) fn common(types: impl IntoIterator<Item = Type>) -> Type {
    let mut types = types.into_iter();
    let first = types.next().unwrap_or_default();
    if types.all(|other| other == first) { first } else { Type::Any }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_fit_is_refused() {
        let text_or_null = nullable(Type::String);
        assert!(may_be(&text_or_null, &Type::String), "the run checks for null");
        assert!(may_be(&Type::Int, &nullable(Type::Float)));
        assert!(!may_be(&Type::String, &Type::Int));
        assert!(!may_be(&record([("a", Type::Int)]), &record([("a", Type::Int), ("b", Type::Int)])));
        assert!(may_be(&record([("a", Type::Int)]), &record([("b", text_or_null)])));
    }

    #[test]
    fn a_secret_fits_only_where_one_is_declared() {
        assert!(may_be(&Type::Secret, &nullable(Type::Secret)));
        assert!(!may_be(&Type::Secret, &Type::Any));
        assert!(!may_be(&nullable(Type::Secret), &Type::Any) && may_be(&nullable(Type::Secret), &nullable(Type::Secret)));
        assert!(!may_be(&Type::Secret, &Type::String));
    }
}
