//! JSON text straight to Rhai's form and back, without a tree between.

use std::fmt;

use rhai::{Array, Dynamic, Map};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::form::{Shape, base64};
use crate::model::json;
use crate::model::secret::Secret;
use crate::model::value::exact;

/// Rhai's form of JSON text; `None` if the text is no JSON.
pub(super) fn parse(text: &str) -> Option<Dynamic> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let dynamic = Reading.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(dynamic)
}

/// Compact JSON of Rhai's form; secrets sealed, and null for what JSON cannot say. In the exact form where that is asked for.
pub(super) fn write(dynamic: &Dynamic) -> Option<String> {
    json::text(&Written(dynamic)).ok()
}

struct Reading;

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Dynamic;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Dynamic, E> {
        Ok(Dynamic::from_bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Dynamic, E> {
        Ok(Dynamic::from_int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(number).map_or_else(|_| Dynamic::from_float(number as f64), Dynamic::from_int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Dynamic, E> {
        Ok(Dynamic::from_float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Dynamic, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut list = Array::with_capacity(items.size_hint().unwrap_or(0).min(1024));
        while let Some(item) = items.next_element_seed(Reading)? {
            list.push(item);
        }
        Ok(Dynamic::from_array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Dynamic, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key_seed(Name)? {
            map.insert(name, fields.next_value_seed(Reading)?);
        }
        Ok(Dynamic::from_map(map))
    }
}

/// The name of a field; short ones cost no allocation.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = rhai::Identifier;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<rhai::Identifier, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = rhai::Identifier;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<rhai::Identifier, E> {
        Ok(name.into())
    }
}

struct Written<'a>(&'a Dynamic);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Shape::of(self.0) {
            Shape::Null | Shape::Other => serializer.serialize_unit(),
            Shape::Bool(truth) => serializer.serialize_bool(truth),
            Shape::Int(number) => serializer.serialize_i64(number),
            Shape::Float(number) => exact::float(number, serializer),
            Shape::Character(character) => serializer.serialize_char(character),
            Shape::Text => match self.0.as_immutable_string_ref() {
                Ok(text) => serializer.serialize_str(&text),
                Err(_) => serializer.serialize_unit(),
            },
            Shape::Bytes => match self.0.as_blob_ref() {
                Ok(bytes) => serializer.serialize_str(&base64(&bytes)),
                Err(_) => serializer.serialize_unit(),
            },
            Shape::List => match self.0.as_array_ref() {
                Ok(items) => serializer.collect_seq(items.iter().map(Written)),
                Err(_) => serializer.serialize_unit(),
            },
            Shape::Map => match self.0.as_map_ref() {
                Ok(map) => serializer.collect_map(map.iter().map(|(name, field)| (exact::name(name), Written(field)))),
                Err(_) => serializer.serialize_unit(),
            },
            Shape::Secret => match self.0.read_lock::<Secret>() {
                Some(secret) => secret.serialize(serializer),
                None => serializer.serialize_unit(),
            },
            Shape::Shared => Written(&self.0.flatten_clone()).serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::value::exact::{Seal, exactly};
    use crate::model::value::{Map, Tree, Value};
    use crate::script::form::{dynamic_of_tree, value_of};

    struct Marked;

    impl Seal for Marked {
        fn seal(&self, secret: &Secret) -> Result<String, String> {
            Ok(format!("sealed {}", secret.name()))
        }

        fn open(&self, _: &str) -> Result<Secret, String> {
            Err("it is not opened here".to_owned())
        }
    }

    #[test]
    fn in_the_exact_form_it_says_what_its_tree_would() {
        let seal: Arc<dyn Seal> = Arc::new(Marked);
        let items = [Tree::Float(0.5), Tree::Float(f64::NAN), Tree::Float(-0.0), Tree::Float(5e-324), Tree::Int(i64::MIN), Tree::Null];
        let fields = [
            ("$sealed", Tree::from("no mark")),
            ("a", Tree::Secret(Secret::given("password", "hunter2"))),
            ("b\"", Tree::List(items.into())),
            ("c", Tree::Map(Map::from([("$".to_owned(), Tree::from("\n\u{1}ä"))]))),
        ];
        let tree = Tree::Map(fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect());
        let native = value_of(dynamic_of_tree(&tree));
        let written = |value: &Value| exactly(&seal, || json::text(value)).expect("it can be written");
        assert_eq!(written(&native), written(&Value::from(tree.clone())));
        assert!(native.tree_if_known().is_none(), "no tree is made for it");
        assert!(written(&native).contains(r#"{"$sealed":"sealed password"}"#));
        assert_eq!(native.text(), Value::from(tree).text(), "everywhere else it is JSON as everybody writes it");
    }
}
