//! `state`: its fields, what they are at first, and who may see them.

use super::template::Compiler;
use crate::model::types::Type;
use crate::model::value::Tree;
use crate::plan::check::fit::{field, inner, nullable};
use crate::plan::codes;
use crate::plan::pipeline::StateSettings;
use crate::plan::raw::{Table, closest, keys};
use crate::plan::source::{Key, Node};

const EXAMPLE: &str = "{ initial: { status: idle } }";

impl Compiler<'_> {
    /// Reads `state`.
    pub(super) fn state(&self, node: Option<&Node>) -> StateSettings {
        let mut state = StateSettings::default();
        let Some(table) = node.and_then(|node| self.findings.table(node, "`state`", keys::STATE, EXAMPLE)) else {
            return state;
        };
        state.place = node.map(|node| self.findings.place(node.span));
        if let Some(node) = table.get("reset") {
            state.reset = self.findings.truth(node, "`reset`").unwrap_or_default();
        }
        let entries = |key: &str| -> &[(Key, Node)] {
            let inner: Option<Table<'_>> = table.get(key).and_then(|node| self.findings.map(node, &format!("`{key}`"), "{ status: … }"));
            inner.map(|inner| inner.entries).unwrap_or_default()
        };
        for (key, node) in entries("types") {
            let declared = self.findings.declared_type(node).unwrap_or_default();
            state.types.push((key.name.clone(), declared));
        }
        for (key, node) in entries("initial") {
            let declared = state.types.iter().find(|(name, _)| *name == key.name).map(|(_, declared)| declared.clone());
            let value = self.findings.literal_of(node, declared.as_ref().unwrap_or(&Type::Any), &format!("`state.initial.{}`", key.name));
            let tree = value.map(|value| value.tree().clone()).unwrap_or_default();
            if declared.is_none() {
                state.types.push((key.name.clone(), of_initial(&tree)));
            }
            state.initial.insert(key.name.clone(), tree);
        }
        for (name, declared) in &mut state.types {
            if !state.initial.contains_key(name) {
                // Without a first value there is none at first.
                state.initial.insert(name.clone(), Tree::Null);
                *declared = nullable(std::mem::take(declared));
            }
        }
        if let Some(node) = table.get("public") {
            for (name, span) in self.findings.texts(node, "`public`", "[status]") {
                match state.types.iter().find(|(field, _)| field == name) {
                    Some((_, declared)) if *inner(declared) == Type::Secret => {
                        self.findings.error(
                            codes::SECRET_PLACE,
                            span,
                            format!("`{name}` is a secret and cannot be public"),
                            "take it out of `public`",
                        );
                    }
                    Some(_) => state.public.push(name.to_owned()),
                    None => self.undeclared_field(name, span, &state),
                }
            }
        }
        state
    }

    /// Says that the state has no such field.
    pub(super) fn undeclared_field(&self, name: &str, span: crate::plan::source::Span, state: &StateSettings) {
        let help = match closest(name, state.types.iter().map(|(field, _)| field.as_str())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it, as state: {{ initial: {{ {name}: null }} }}"),
        };
        self.findings.error(codes::UNDECLARED_FIELD, span, format!("the state has no field `{name}`"), help);
    }
}

/// `state` as expressions see it.
pub(super) fn state_type(state: &StateSettings) -> Type {
    Type::Record(state.types.iter().map(|(name, declared)| field(name, declared.clone())).collect())
}

/// What an initial value says of later ones: a null or a map says nothing, a list only that there is one.
fn of_initial(tree: &Tree) -> Type {
    match tree {
        Tree::Bool(_) => Type::Bool,
        Tree::Int(_) => Type::Int,
        Tree::Float(_) => Type::Float,
        Tree::Text(_) => Type::String,
        Tree::List(_) => Type::List(Box::new(Type::Any)),
        Tree::Null | Tree::Map(_) | Tree::Secret(_) => Type::Any,
    }
}
