//! Rhai's own form of a value, and the ways between it and trees.

use std::any::Any;

use rhai::{Dynamic, Map as RhaiMap};

use super::json;
use crate::model::secret::Secret;
use crate::model::types::Type;
use crate::model::value::{Map, Native, Tree, Value};

/// A value in Rhai's own form, kept with the [`Value`] so that the next expression or script need not convert.
#[derive(Clone, Debug, Default)]
pub struct Form {
    dynamic: Dynamic,
    /// Whether it is known that no secret stands in it; it is looked for where it is not.
    is_plain: bool,
    /// About how many bytes its JSON takes; 0 if nobody has looked.
    bytes: u32,
}

impl Form {
    /// Rhai's form of a value: from its tree if it has one, else straight from its text.
    pub fn of(value: &Value) -> Self {
        let parsed = match (value.tree_if_known(), value.text_if_known()) {
            (None, Some(text)) => json::parse(text),
            _ => None,
        };
        // Text never holds a secret: it is sealed there.
        let is_plain = parsed.is_some();
        Self { dynamic: parsed.unwrap_or_else(|| dynamic_of_tree(value.tree())), is_plain, bytes: 0 }
    }

    /// The value as Rhai has it.
    pub const fn dynamic(&self) -> &Dynamic {
        &self.dynamic
    }
}

impl Native for Form {
    fn to_tree(&self) -> Tree {
        tree_of(&self.dynamic)
    }

    fn field(&self, name: &str) -> Option<Value> {
        let map = self.dynamic.as_map_ref().ok()?;
        map.get(name).cloned().map(value_of)
    }

    fn to_text(&self) -> Option<String> {
        json::write(&self.dynamic)
    }

    fn is_null(&self) -> bool {
        self.dynamic.is_unit()
    }

    fn fits(&self, declared: &Type) -> bool {
        fits(&self.dynamic, declared)
    }

    fn holds_secret(&self) -> bool {
        !self.is_plain && holds_secret(&self.dynamic)
    }

    fn weight(&self) -> Option<usize> {
        if self.bytes > 0 {
            return Some(self.bytes as usize);
        }
        let mut look = Look { left: usize::MAX, is_plain: true };
        look.at(&self.dynamic).ok()?;
        Some(usize::MAX - look.left)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// As [`Native::fits`] has it; what is rare is left to the tree.
fn fits(dynamic: &Dynamic, declared: &Type) -> bool {
    match (declared, Shape::of(dynamic)) {
        (Type::Any, _)
        | (Type::Nullable(_), Shape::Null)
        | (Type::String, Shape::Text)
        | (Type::Int, Shape::Int(_))
        | (Type::Float, Shape::Float(_))
        | (Type::Bool, Shape::Bool(_)) => true,
        (Type::Nullable(inner), _) => fits(dynamic, inner),
        (Type::List(item), Shape::List) => dynamic.as_array_ref().is_ok_and(|items| items.iter().all(|each| fits(each, item))),
        (Type::Record(fields), Shape::Map) => dynamic.as_map_ref().is_ok_and(|map| {
            fields.iter().all(|field| match map.get(field.name.as_str()) {
                Some(found) if field.default.is_some() && found.is_unit() => false,
                Some(found) => fits(found, &field.value_type),
                None => false,
            })
        }),
        _ => false,
    }
}

fn holds_secret(dynamic: &Dynamic) -> bool {
    // Most of what a map holds; asking whether it is a secret costs more than asking for all of these.
    if dynamic.is_string() || dynamic.is_int() || dynamic.is_float() || dynamic.is_bool() || dynamic.is_unit() {
        return false;
    }
    if let Ok(items) = dynamic.as_array_ref() {
        return items.iter().any(holds_secret);
    }
    match dynamic.as_map_ref() {
        Ok(fields) => fields.values().any(holds_secret),
        Err(_) => dynamic.is::<Secret>(),
    }
}

/// A call as Rhai names it, with the names of types that people know: `* (string, int)`.
pub fn signature_of(call: &str) -> String {
    let types = [("&str | ImmutableString | String", "string"), ("i64", "int"), ("f64", "float")];
    types.iter().fold(call.to_owned(), |call, (rusts, ours)| call.replace(rusts, ours))
}

/// What Rhai gets of a value: a copy of the form that the value keeps from now on.
pub fn dynamic_of(value: &Value) -> Dynamic {
    match form_of(value) {
        Some(form) => form.dynamic.clone(),
        None => dynamic_of_tree(value.tree()),
    }
}

/// The form that a value keeps, made if it is not there yet; `None` if the value has the form of another home.
pub fn form_of(value: &Value) -> Option<&Form> {
    value.native_or_insert(Form::of)
}

/// A value that Rhai made.
pub fn value_of(dynamic: Dynamic) -> Value {
    kept_as(dynamic.flatten(), false, 0)
}

fn kept_as(dynamic: Dynamic, is_plain: bool, bytes: u32) -> Value {
    if dynamic.is_unit() { Value::null() } else { Value::from_native(Form { dynamic, is_plain, bytes }) }
}

/// A tree in Rhai's form. Null becomes `()`, maps are sorted by name.
pub fn dynamic_of_tree(tree: &Tree) -> Dynamic {
    match tree {
        Tree::Null => Dynamic::UNIT,
        Tree::Bool(truth) => Dynamic::from_bool(*truth),
        Tree::Int(number) => Dynamic::from_int(*number),
        Tree::Float(number) => Dynamic::from_float(*number),
        Tree::Text(text) => text.as_str().into(),
        Tree::List(items) => Dynamic::from_array(items.iter().map(dynamic_of_tree).collect()),
        Tree::Map(fields) => Dynamic::from_map(fields.iter().map(|(name, field)| (name.as_str().into(), dynamic_of_tree(field))).collect()),
        Tree::Secret(secret) => Dynamic::from(secret.clone()),
    }
}

/// A value of Rhai as a tree. Bytes become base64 text; what is no data (a function) becomes null.
pub fn tree_of(dynamic: &Dynamic) -> Tree {
    match Shape::of(dynamic) {
        Shape::Null | Shape::Other => Tree::Null,
        Shape::Bool(truth) => Tree::Bool(truth),
        Shape::Int(number) => Tree::Int(number),
        Shape::Float(number) => Tree::Float(number),
        Shape::Text => Tree::Text(dynamic.as_immutable_string_ref().map(|text| text.to_string()).unwrap_or_default()),
        Shape::Character(character) => Tree::Text(character.to_string()),
        Shape::Bytes => Tree::Text(dynamic.as_blob_ref().map(|bytes| base64(&bytes)).unwrap_or_default()),
        Shape::List => Tree::List(dynamic.as_array_ref().map(|items| items.iter().map(tree_of).collect()).unwrap_or_default()),
        Shape::Map => Tree::Map(dynamic.as_map_ref().map(|map| map_of(&map)).unwrap_or_default()),
        Shape::Secret => dynamic.read_lock::<Secret>().map_or(Tree::Null, |secret| Tree::Secret(secret.clone())),
        Shape::Shared => tree_of(&dynamic.flatten_clone()),
    }
}

fn map_of(map: &RhaiMap) -> Map {
    map.iter().map(|(name, field)| (name.to_string(), tree_of(field))).collect()
}

/// What kind of value this is, in the words that users write; `function` and the like for what is no data.
pub fn kind_of(dynamic: &Dynamic) -> &str {
    match Shape::of(dynamic) {
        Shape::Null => "null",
        Shape::Bool(_) => "bool",
        Shape::Int(_) => "int",
        Shape::Float(_) => "float",
        Shape::Text | Shape::Character(_) => "string",
        Shape::Bytes => "bytes",
        Shape::List => "list",
        Shape::Map => "map",
        Shape::Secret => "secret",
        Shape::Shared => "shared value",
        Shape::Other if dynamic.is_fnptr() => "function",
        Shape::Other => "range or other thing that is no data",
    }
}

/// What a Rhai value is, with the small ones taken out.
pub(super) enum Shape {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text,
    Character(char),
    Bytes,
    List,
    Map,
    Secret,
    Shared,
    Other,
}

impl Shape {
    /// What most values are comes first. A kind is asked for before its value: the refusal of a value has its kind's name looked up.
    pub(super) fn of(dynamic: &Dynamic) -> Self {
        match () {
            () if dynamic.is_shared() => Self::Shared,
            () if dynamic.is_string() => Self::Text,
            () if dynamic.is_int() => Self::Int(dynamic.as_int().unwrap_or_default()),
            () if dynamic.is_float() => Self::Float(dynamic.as_float().unwrap_or_default()),
            () if dynamic.is_bool() => Self::Bool(dynamic.as_bool().unwrap_or_default()),
            () if dynamic.is_map() => Self::Map,
            () if dynamic.is_array() => Self::List,
            () if dynamic.is_unit() => Self::Null,
            () if dynamic.is_char() => Self::Character(dynamic.as_char().unwrap_or_default()),
            () if dynamic.is_blob() => Self::Bytes,
            () if dynamic.is::<Secret>() => Self::Secret,
            () => Self::Other,
        }
    }
}

/// What in a value is no data, in words, if anything: an executor's output and an expression's value must be data.
pub fn not_data(dynamic: &Dynamic) -> Option<&'static str> {
    match Shape::of(dynamic) {
        Shape::Other if dynamic.is_fnptr() => Some("a function"),
        Shape::Other => Some("a range or another thing that is no data"),
        Shape::List => dynamic.as_array_ref().ok().and_then(|items| items.iter().find_map(not_data)),
        Shape::Map => dynamic.as_map_ref().ok().and_then(|map| map.values().find_map(not_data)),
        _ => None,
    }
}

/// Why a value is no output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// Something in it is no data: what, in words.
    NoData(&'static str),
    /// Its JSON is too long.
    TooLong,
}

/// The output of a script: it is data, and its JSON at most so many bytes long, escapes not counted. One walk for both, which stops at the first of
/// either and sees on its way whether there are secrets: every output is looked at like this.
///
/// # Errors
/// Why it is none.
pub fn output_of(dynamic: Dynamic, most: usize) -> Result<Value, Unfit> {
    let dynamic = dynamic.flatten();
    let mut look = Look { left: most, is_plain: true };
    look.at(&dynamic)?;
    Ok(kept_as(dynamic, look.is_plain, u32::try_from(most - look.left).unwrap_or(0)))
}

/// What was seen of an output so far.
struct Look {
    /// So many bytes it may have yet.
    left: usize,
    is_plain: bool,
}

impl Look {
    fn take(&mut self, bytes: usize) -> Result<(), Unfit> {
        self.left = self.left.checked_sub(bytes).ok_or(Unfit::TooLong)?;
        Ok(())
    }

    fn at(&mut self, value: &Dynamic) -> Result<(), Unfit> {
        match Shape::of(value) {
            Shape::Text => self.take(value.as_immutable_string_ref().map_or(0, |text| text.len()) + 2),
            Shape::Map => {
                self.take(2)?;
                let Ok(map) = value.as_map_ref() else { return Ok(()) };
                map.iter().try_for_each(|(name, field)| {
                    self.take(name.len() + 4)?;
                    self.at(field)
                })
            }
            Shape::List => {
                self.take(2)?;
                let Ok(items) = value.as_array_ref() else { return Ok(()) };
                items.iter().try_for_each(|item| {
                    self.take(1)?;
                    self.at(item)
                })
            }
            Shape::Bytes => self.take(value.as_blob_ref().map_or(0, |bytes| bytes.len()) / 3 * 4 + 2),
            Shape::Shared => self.at(&value.flatten_clone()),
            Shape::Other => Err(Unfit::NoData(not_data(value).unwrap_or("no data"))),
            Shape::Secret => {
                self.is_plain = false;
                self.take(1)
            }
            Shape::Null | Shape::Bool(_) | Shape::Int(_) | Shape::Float(_) | Shape::Character(_) => self.take(1),
        }
    }
}

/// Base64 with padding, as the type `bytes` is written.
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| (group << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * position)) as usize & 63];
            text.push(if position > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::types::{Field, Origin};

    #[test]
    fn secrets_pass_through_and_show_only_their_names() {
        let tree = Tree::Secret(Secret::new("KEY", "hunter2"));
        let value = value_of(dynamic_of_tree(&tree));
        assert_eq!(value.text(), "\"«secret KEY»\"");
        assert_eq!(value.tree(), &tree);
    }

    #[test]
    fn a_secret_is_found_wherever_an_output_comes_from_and_wherever_it_stands() {
        let secret = || Dynamic::from(Secret::new("KEY", "hunter2"));
        let hidden = |secret: Dynamic| Dynamic::from_array(vec![Dynamic::from_map([("a".into(), secret)].into())]);
        for (dynamic, holds) in [
            (secret(), true),
            (hidden(secret()), true),
            (hidden(secret().into_shared()), true),
            (hidden(Dynamic::from("hunter2")), false),
            (Dynamic::from_int(1), false),
        ] {
            assert_eq!(value_of(dynamic.clone()).holds_secret(), holds, "{dynamic:?}");
            assert_eq!(output_of(dynamic.clone(), 100).map(|value| value.holds_secret()), Ok(holds), "{dynamic:?}");
        }
        let text = Value::from_text(r#"["hunter2"]"#).expect("this is JSON");
        let _ = dynamic_of(&text);
        assert!(!text.holds_secret());
        let tree = Value::from(Tree::List(vec![Tree::Secret(Secret::new("KEY", "hunter2"))]));
        assert!(form_of(&tree).is_some_and(Native::holds_secret));
    }

    #[test]
    fn an_output_is_data_and_no_longer_than_it_may_be() {
        let list = || Dynamic::from_array(vec![Dynamic::from("four"), Dynamic::from_int(1)]);
        assert_eq!(output_of(list(), 11).map(|value| value.text().to_owned()), Ok(r#"["four",1]"#.to_owned()));
        assert_eq!(output_of(list(), 10), Err(Unfit::TooLong));
        let function = Dynamic::from(rhai::FnPtr::new("process").expect("it is a name"));
        assert_eq!(output_of(Dynamic::from_array(vec![function]), 100), Err(Unfit::NoData("a function")));
    }

    #[test]
    fn a_field_is_had_without_the_tree() {
        let value = value_of(dynamic_of(&Value::from_text(r#"{"a":{"b":[1,2.5,null,"x"]}}"#).expect("this is JSON")));
        let field = value.field("a").and_then(|a| a.field("b")).expect("the field is there");
        assert!(value.tree_if_known().is_none());
        assert_eq!(field.text(), r#"[1,2.5,null,"x"]"#);
        assert!(field.tree_if_known().is_none());
        assert_eq!(value.field("c"), None);
    }

    #[test]
    fn an_output_that_is_what_was_declared_is_not_taken_apart() {
        let field = |name: &str, value_type| Field { name: name.to_owned(), value_type, default: None, description: None };
        let tags = Type::Nullable(Box::new(Type::List(Box::new(Type::String))));
        let declared = Type::Record(vec![field("price", Type::Float), field("tags", tags)]);
        let value = |json: &str| value_of(dynamic_of(&Value::from_text(json).expect("this is JSON")));
        for fitting in [r#"{"price":1.5,"tags":["x"]}"#, r#"{"price":1.5,"tags":null,"more":1}"#] {
            let fitting = value(fitting);
            assert!(declared.conform(&fitting, Origin::Data).is_ok() && fitting.tree_if_known().is_none());
        }
        let filled = declared.conform(&value(r#"{"price":1}"#), Origin::Data).expect("what is missing may be null");
        assert_eq!(filled.text(), r#"{"price":1.0,"tags":null}"#);
        assert!(declared.conform(&value(r#"{"price":1.5,"tags":[1]}"#), Origin::Data).is_err());
    }

    #[test]
    fn bytes_are_written_as_base64() {
        for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes), text);
        }
    }

    #[test]
    fn the_form_is_made_once_and_kept() {
        let value = Value::from_text("[1,2]").expect("this is JSON");
        let _ = dynamic_of(&value);
        assert!(value.native::<Form>().is_some());
        assert!(value.tree_if_known().is_none());
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            Just(Tree::Null),
            any::<bool>().prop_map(Tree::Bool),
            any::<i64>().prop_map(Tree::Int),
            any::<i32>().prop_map(|number| Tree::Float(f64::from(number) / 4.0)),
            ".{0,12}".prop_map(Tree::Text),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::List),
                prop::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(|map| Tree::Map(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn trees_and_texts_come_back_as_they_went(tree in trees()) {
            prop_assert_eq!(&tree_of(&dynamic_of_tree(&tree)), &tree);
            let text = serde_json::to_string(&tree).expect("a tree is JSON");
            let straight = value_of(dynamic_of(&Value::from_text(text.clone()).expect("it is JSON")));
            prop_assert_eq!(straight.text(), &text);
        }
    }

    #[test]
    fn a_value_weighs_what_its_json_takes_whether_it_was_looked_at_before_or_not() {
        let map = || dynamic_of_tree(&Tree::Map([("text".to_owned(), Tree::Text("x".repeat(5_000)))].into_iter().collect()));
        let weight = |value: &Value| value.native_weight().expect("only Rhai has it");
        let (looked_at, new) = (output_of(map(), 10_000).expect("it is data"), value_of(map()));
        assert_eq!(weight(&looked_at), weight(&new));
        let text = looked_at.text().len();
        assert!((text - 10..text + 10).contains(&weight(&looked_at)), "{} of {text}", weight(&looked_at));
    }
}
