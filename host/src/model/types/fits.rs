//! Whether JSON text is of a type as it stands. Nothing of it is kept: most values need no filling in, and a tree built only to learn that
//! costs more than all the rest of an activation.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Field, Type};

/// Fields of one record that are looked for; a record with more is checked by its tree.
const MOST_FIELDS: usize = 64;

/// Whether this JSON is of the type and nothing has to be filled in or converted. `false` says only that the tree has to be looked at.
pub(super) fn text_fits(declared: &Type, json: &str) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Check { declared, takes_null: true }.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_ok()
}

/// A check of one value.
#[derive(Clone, Copy)]
struct Check<'a> {
    declared: &'a Type,
    /// Not where a default would take the place of null.
    takes_null: bool,
}

impl<'a> Check<'a> {
    /// What it must be if it is not null.
    fn wanted(self) -> &'a Type {
        let mut wanted = self.declared;
        while let Type::Nullable(inner) = wanted {
            wanted = inner;
        }
        wanted
    }

    fn is<E: Error>(self, fits: impl FnOnce(&'a Type) -> bool) -> Result<(), E> {
        if fits(self.wanted()) { Ok(()) } else { Err(unlike()) }
    }
}

/// That the tree has to be looked at; nobody reads it.
fn unlike<E: Error>() -> E {
    E::custom("unlike")
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.wanted() {
            Type::Any if self.takes_null => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.declared, formatter)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.takes_null && self.declared.takes_null() { Ok(()) } else { Err(unlike()) }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.is(|wanted| matches!(wanted, Type::Bool | Type::Any))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.is(|wanted| matches!(wanted, Type::Int | Type::Any))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        if i64::try_from(number).is_ok() { self.visit_i64(0) } else { self.visit_f64(0.0) }
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.is(|wanted| matches!(wanted, Type::Float | Type::Any))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.is(|wanted| match wanted {
            Type::String | Type::Any => true,
            Type::Bytes | Type::Time | Type::Duration => wanted.reads(text),
            _ => false,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let item = match self.wanted() {
            Type::List(item) => item,
            any @ Type::Any => any,
            _ => return Err(unlike()),
        };
        while items.next_element_seed(Check { declared: item, takes_null: true })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let fields = match self.wanted() {
            Type::Record(fields) if fields.len() <= MOST_FIELDS => fields.as_slice(),
            Type::Any => &[],
            _ => return Err(unlike()),
        };
        let mut missing = u64::MAX.checked_shr(MOST_FIELDS as u32 - fields.len() as u32).unwrap_or(0);
        while let Some(index) = map.next_key_seed(Name(fields))? {
            match index.and_then(|index| Some((index, fields.get(index)?))) {
                // Of a field that comes twice the last counts; here each has to fit, so that it does not matter which.
                Some((index, field)) => {
                    missing &= !(1 << index);
                    map.next_value_seed(Check { declared: &field.value_type, takes_null: field.default.is_none() })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if missing == 0 { Ok(()) } else { Err(unlike()) }
    }
}

/// Which of the declared fields a name is.
struct Name<'a>(&'a [Field]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|field| field.name == name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::types::Origin;
    use crate::model::value::{Tree, Value};

    fn types() -> impl Strategy<Value = Type> {
        let leaf = prop_oneof![
            Just(Type::Any),
            Just(Type::String),
            Just(Type::Int),
            Just(Type::Float),
            Just(Type::Bool),
            Just(Type::Bytes),
            Just(Type::Duration),
            Just(Type::Secret),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let default = prop_oneof![Just(None), Just(Some(Value::from(Tree::Int(1))))];
            let field = ("[abc]", inner.clone(), default);
            prop_oneof![
                inner.clone().prop_map(|item| Type::List(Box::new(item))),
                inner.prop_map(|some| Type::Nullable(Box::new(some))),
                prop::collection::vec(field, 0..4).prop_map(|fields| {
                    let field = |(name, value_type, default)| Field { name, value_type, default, description: None };
                    Type::Record(fields.into_iter().map(field).collect())
                }),
            ]
        })
    }

    fn texts() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("7".to_owned()),
            Just("18446744073709551615".to_owned()),
            Just("-0".to_owned()),
            Just("1.5".to_owned()),
            Just("\"x\"".to_owned()),
            Just("\"5s\"".to_owned()),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let fields = prop::collection::vec(("[abcd]", inner.clone()), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(","))),
                fields.prop_map(|fields| {
                    let fields: Vec<_> = fields.into_iter().map(|(name, field)| format!("\"{name}\":{field}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_fits_by_its_text_is_left_as_it_is_by_its_tree(declared in types(), text in texts()) {
            let by_tree = Value::from(Value::from_text(text.clone()).expect("it is JSON").tree().clone());
            let stays = declared.conform(&by_tree, Origin::Data).is_ok_and(|conformed| conformed.tree() == by_tree.tree());
            if text_fits(&declared, &text) {
                prop_assert!(stays, "{declared} {text}");
            }
        }
    }

    #[test]
    fn text_that_fits_is_not_taken_apart() {
        let field = |name: &str, value_type| Field { name: name.to_owned(), value_type, default: None, description: None };
        let declared =
            Type::Record(vec![field("id", Type::String), field("price", Type::Float), field("tags", Type::List(Type::String.into()))]);
        let value = Value::from_text(r#"{"id":"a\n","price":19.5,"tags":["x"],"more":[{}]}"#).expect("it is JSON");
        assert!(declared.conform(&value, Origin::Data).is_ok() && value.tree_if_known().is_none());
        assert!(!text_fits(&declared, r#"{"id":"a","price":19.5}"#), "a field is missing");
        assert!(!text_fits(&declared, r#"{"id":"a","price":19,"tags":[]}"#), "a whole number becomes a fraction");
        assert!(!text_fits(&Type::Record((0..65).map(|number| field(&number.to_string(), Type::Any)).collect()), "{}"), "too many fields");
    }
}
