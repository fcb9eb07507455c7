//! Which parts of a scope an expression reads, so that only they are fetched and handed to Rhai.

use std::collections::BTreeMap;

use rhai::{Dynamic, Map as RhaiMap};

use crate::model::port::{Reference, Root, Scope};
use crate::model::value::{Tree, Value};
use crate::script::{Form, dynamic_of, dynamic_of_tree, form_of};

/// How much of a value is read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Uses {
    /// All of it, because it is read as a whole.
    whole: bool,
    /// Null if the scope has no such thing.
    optional: bool,
    /// Only these fields of it.
    fields: BTreeMap<String, Uses>,
}

/// A name that an expression begins with, and what is read of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RootUse {
    /// The root.
    pub(super) root: Root,
    /// As it is written: a local's name is its own.
    pub(super) name: String,
    /// What is read of it.
    pub(super) uses: Uses,
}

/// Whether the scope is asked for single fields of this root.
pub(super) const fn is_keyed(root: Root) -> bool {
    matches!(root, Root::Steps | Root::Env | Root::Secret | Root::State)
}

impl Uses {
    /// Notes that what is at the end of this path is read.
    pub(super) fn add(&mut self, path: &[String], optional: bool) {
        match path {
            [] => self.whole = true,
            [first, rest @ ..] => {
                let field = self.fields.entry(first.clone()).or_default();
                field.optional |= optional;
                field.add(rest, false);
            }
        }
    }

    /// The part of a value that is read. What is not there stays out, so that reading it fails.
    fn of(&self, value: &Value) -> Dynamic {
        if self.whole || self.fields.is_empty() {
            return dynamic_of(value);
        }
        if value.native::<Form>().is_none()
            && let Some(tree) = value.tree_if_known()
        {
            return self.of_tree(tree);
        }
        match form_of(value) {
            Some(form) => self.of_dynamic(form.dynamic()),
            None => self.of_tree(value.tree()),
        }
    }

    fn of_dynamic(&self, value: &Dynamic) -> Dynamic {
        match value.as_map_ref() {
            Ok(map) if !self.whole && !self.fields.is_empty() => {
                let read = |(name, uses): (&String, &Self)| Some((name.as_str().into(), uses.of_dynamic(map.get(name.as_str())?)));
                Dynamic::from_map(self.fields.iter().filter_map(read).collect())
            }
            _ => value.clone(),
        }
    }

    fn of_tree(&self, value: &Tree) -> Dynamic {
        match value {
            Tree::Map(map) if !self.whole && !self.fields.is_empty() => {
                let read = |(name, uses): (&String, &Self)| Some((name.as_str().into(), uses.of_tree(map.get(name)?)));
                Dynamic::from_map(self.fields.iter().filter_map(read).collect())
            }
            _ => dynamic_of_tree(value),
        }
    }
}

impl RootUse {
    /// What Rhai gets for this name; `None` if the scope has nothing of it.
    pub(super) fn fetch(&self, scope: &dyn Scope) -> Option<Dynamic> {
        if self.root == Root::Local {
            return Some(self.uses.of(&scope.lookup(Root::Local, Some(&self.name))?));
        }
        if !is_keyed(self.root) || self.uses.whole {
            return Some(self.uses.of(&scope.lookup(self.root, None)?));
        }
        let mut map = RhaiMap::new();
        for (name, uses) in &self.uses.fields {
            match scope.lookup(self.root, Some(name)) {
                Some(value) => map.insert(name.as_str().into(), uses.of(&value)),
                None if uses.optional => map.insert(name.as_str().into(), Dynamic::UNIT),
                None => None,
            };
        }
        Some(Dynamic::from_map(map))
    }

    /// What the plan is told that is read.
    pub(super) fn references(&self) -> Vec<Reference> {
        if self.root == Root::Local {
            return vec![Reference { root: Root::Local, field: Some(self.name.clone()) }];
        }
        if !is_keyed(self.root) {
            return vec![Reference { root: self.root, field: None }];
        }
        let whole = self.uses.whole.then_some(None);
        let fields = self.uses.fields.keys().map(|name| Some(name.clone()));
        whole.into_iter().chain(fields).map(|field| Reference { root: self.root, field }).collect()
    }
}
