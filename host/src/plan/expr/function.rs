//! The functions of expressions: all pure, each listed here with what it gives.

use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext, Position};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::secret::Secret;
use crate::model::types::Type;
use crate::model::value::Tree;
use crate::script::{kind_of, tree_of, value_of};

/// What a function gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gives {
    Any,
    Text,
    Int,
    Float,
    Truth,
    List,
}

impl Gives {
    pub(super) fn value_type(self) -> Type {
        match self {
            Self::Any => Type::Any,
            Self::Text => Type::String,
            Self::Int => Type::Int,
            Self::Float => Type::Float,
            Self::Truth => Type::Bool,
            Self::List => Type::List(Box::new(Type::Any)),
        }
    }
}

/// Every function: its name and what it gives. Those that take something to work on may be written `x.name()` too.
pub(super) const FUNCTIONS: [(&str, Gives); 32] = [
    ("now", Gives::Text),
    ("uuid", Gives::Text),
    ("hash", Gives::Text),
    ("url_encode", Gives::Text),
    ("len", Gives::Int),
    ("is_empty", Gives::Truth),
    ("contains", Gives::Truth),
    ("starts_with", Gives::Truth),
    ("ends_with", Gives::Truth),
    ("index_of", Gives::Int),
    ("sub_string", Gives::Text),
    ("to_upper", Gives::Text),
    ("to_lower", Gives::Text),
    ("trim", Gives::Text),
    ("replace", Gives::Text),
    ("split", Gives::List),
    ("join", Gives::Text),
    ("keys", Gives::List),
    ("values", Gives::List),
    ("first", Gives::Any),
    ("last", Gives::Any),
    ("to_string", Gives::Text),
    ("to_int", Gives::Int),
    ("to_float", Gives::Float),
    ("parse_int", Gives::Int),
    ("parse_float", Gives::Float),
    ("abs", Gives::Any),
    ("floor", Gives::Float),
    ("ceiling", Gives::Float),
    ("round", Gives::Float),
    ("min", Gives::Any),
    ("max", Gives::Any),
];

/// Functions that are not in this version.
pub(super) const LATER: [&str; 1] = ["room_members"];

/// What `now()` and `uuid()` give in one evaluation: taken from the scope before it, since a function cannot borrow the scope.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) now: String,
    pub(super) ids: Arc<Mutex<Vec<String>>>,
}

type Fallible<T> = Result<T, Box<EvalAltResult>>;

fn failed<T>(message: impl Into<String>) -> Fallible<T> {
    let message: String = message.into();
    Err(EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into())
}

/// Registers what the standard packages have not, or have with side effects.
pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("now", |context: NativeCallContext| match drawn(&context) {
        Some(drawn) => Ok(drawn.now),
        None => failed("now() is not known here"),
    });
    engine.register_fn("uuid", |context: NativeCallContext| {
        let next = drawn(&context).and_then(|drawn| drawn.ids.lock().unwrap_or_else(PoisonError::into_inner).pop());
        next.map_or_else(|| failed("uuid() is not known here"), Ok)
    });
    engine.register_fn("hash", hash);
    engine.register_fn("url_encode", url_encode);
    engine.register_fn("trim", |text: ImmutableString| text.trim().to_owned());
    engine.register_fn("replace", |text: ImmutableString, from: ImmutableString, to: ImmutableString| {
        text.replace(from.as_str(), to.as_str())
    });
    engine.register_fn("join", join);
    engine.register_fn("first", |list: Array| list.first().cloned().unwrap_or_default());
    engine.register_fn("last", |list: Array| list.last().cloned().unwrap_or_default());
    engine.register_fn("contains", |map: Map, name: ImmutableString| map.contains_key(name.as_str()));
    engine.register_fn("/", |left: i64, right: i64| divide(left as f64, right as f64));
    engine.register_fn("/", |left: i64, right: f64| divide(left as f64, right));
    engine.register_fn("/", |left: f64, right: i64| divide(left, right as f64));
    engine.register_fn("/", divide);
    engine.register_fn("+", |_: ImmutableString, (): ()| failed::<String>("null cannot be joined to text"));
    engine.register_fn("+", |(): (), _: ImmutableString| failed::<String>("null cannot be joined to text"));
}

fn drawn(context: &NativeCallContext) -> Option<Drawn> {
    context.tag().and_then(|tag| tag.clone().try_cast::<Drawn>())
}

fn divide(left: f64, right: f64) -> Fallible<f64> {
    if right == 0.0 { failed("a division by zero") } else { Ok(left / right) }
}

/// BLAKE3 in hexadecimal: of a text its bytes, of anything else its JSON.
fn hash(value: Dynamic) -> Fallible<String> {
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(blake3::hash(text.as_bytes()).to_hex().to_string());
    }
    if value.is::<Secret>() || tree_of(&value).holds_secret() {
        return failed("a secret cannot be hashed");
    }
    Ok(blake3::hash(value_of(value).text().as_bytes()).to_hex().to_string())
}

/// A text as one piece of an address, in its path or in its query: what means something there stands as `%` and two digits. Numbers are taken as
/// they are written.
fn url_encode(value: Dynamic) -> Fallible<String> {
    let text = match tree_of(&value) {
        Tree::Text(text) => text,
        number @ (Tree::Int(_) | Tree::Float(_)) => serde_json::to_string(&number).unwrap_or_default(),
        _ => return failed(format!("{} cannot be put into an address", kind_of(&value))),
    };
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            // What means nothing anywhere, by RFC 3986.
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(encoded)
}

fn join(list: Array, between: ImmutableString) -> Fallible<String> {
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            joined.push_str(&between);
        }
        match tree_of(item) {
            Tree::Text(text) => joined.push_str(&text),
            Tree::Null | Tree::Secret(_) => return failed(format!("{} cannot be joined to text", kind_of(item))),
            other => joined.push_str(&serde_json::to_string(&other).unwrap_or_default()),
        }
    }
    Ok(joined)
}
