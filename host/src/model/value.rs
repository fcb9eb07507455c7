//! What flows between steps: JSON-shaped data that keeps the forms it already has.

pub mod exact;
mod tree;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

pub use tree::{Map, Tree};

use super::json;
use super::types::Type;

/// An executor's own form of a value, as a Rhai `Dynamic`, kept so that the next step of the same home need not convert.
pub trait Native: Any + Send + Sync {
    /// The value as a tree.
    fn to_tree(&self) -> Tree;

    /// One field, if this is a map that has it: saves building the whole tree for `steps.context.passages`.
    fn field(&self, name: &str) -> Option<Value>;

    /// The value as compact JSON, if this form can be written without a tree between; secrets sealed, as a tree would. Within
    /// [`exactly`](exact::exactly) in the exact form.
    fn to_text(&self) -> Option<String> {
        None
    }

    /// Whether this is the absent value; worth its own code where the tree is dear.
    fn is_null(&self) -> bool {
        matches!(self.to_tree(), Tree::Null)
    }

    /// Whether it is of that type as it stands. `false` says only that the tree has to be looked at.
    fn fits(&self, _: &Type) -> bool {
        false
    }

    /// Whether a secret stands in it; worth its own code where the tree is dear.
    fn holds_secret(&self) -> bool {
        self.to_tree().holds_secret()
    }

    /// About how many bytes its JSON takes, escapes not counted, without writing it; `None` if that cannot be said.
    fn weight(&self) -> Option<usize> {
        None
    }

    /// Itself, for [`Value::native`].
    fn as_any(&self) -> &dyn Any;
}

/// A value: cheap to clone, immutable, in up to three forms (text, tree, an executor's own).
///
/// A form is made when it is first asked for and kept from then on. Conversions are most of what a step costs, so a
/// value that comes as text and goes as text is never parsed on the way.
///
/// ```
/// use pipehost::model::value::Value;
///
/// let value = Value::from_text(r#"{"text":"hi","size":2}"#).unwrap();
/// assert_eq!(value.field("size").unwrap().tree().as_int(), Some(2));
/// assert_eq!(value.text(), r#"{"text":"hi","size":2}"#);
/// ```
///
/// The absent value has no forms: it is what most places hold that have nothing to say, and one that all threads share would have all of them count
/// their handles of it in one place.
#[derive(Clone)]
pub struct Value(Option<Arc<Forms>>);

struct Forms {
    tree: OnceLock<Tree>,
    text: OnceLock<Box<str>>,
    native: OnceLock<Box<dyn Native>>,
}

/// How deep lists and maps may be nested: the depth to which the JSON parser goes.
pub const DEEPEST: usize = 127;

/// How deep the lists and maps of valid JSON are nested. Checking JSON without keeping it does not bound the depth, parsing it does.
fn depth(json: &str) -> usize {
    let (mut deepest, mut now, mut in_text, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' if !in_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl Value {
    /// The absent value.
    pub const fn null() -> Self {
        Self(None)
    }

    /// Takes JSON text, which is checked here once and parsed only when somebody asks for another form.
    ///
    /// # Errors
    /// What is wrong with the JSON, with line and column.
    pub fn from_text(text: impl Into<Box<str>>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        serde_json::from_str::<serde::de::IgnoredAny>(&text)?;
        // Counting brackets is quick and tells of nearly every text that it cannot be too deep.
        let brackets = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
        if brackets > DEEPEST && depth(&text) > DEEPEST {
            return Err(serde::de::Error::custom(format!("nested deeper than {DEEPEST} lists and maps")));
        }
        Ok(Self::of(Forms { tree: OnceLock::new(), text: OnceLock::from(text), native: OnceLock::new() }))
    }

    fn of(forms: Forms) -> Self {
        Self(Some(Arc::new(forms)))
    }

    /// Takes an executor's own form.
    pub fn from_native(native: impl Native) -> Self {
        let native: Box<dyn Native> = Box::new(native);
        Self::of(Forms { tree: OnceLock::new(), text: OnceLock::new(), native: OnceLock::from(native) })
    }

    /// A text value (a JSON string), not JSON text.
    pub fn string(text: impl Into<String>) -> Self {
        Self::from(Tree::Text(text.into()))
    }

    /// A map of these fields, in this order.
    pub fn map<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        Self::from(Tree::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value.tree().clone())).collect()))
    }

    /// The value as a tree.
    pub fn tree(&self) -> &Tree {
        let Some(forms) = &self.0 else { return &Tree::Null };
        forms.tree.get_or_init(|| match (forms.native.get(), forms.text.get()) {
            (Some(native), _) => native.to_tree(),
            // Checked when it came in, its depth too, so it parses.
            (None, Some(text)) => serde_json::from_str(text).unwrap_or(Tree::Null),
            (None, None) => Tree::Null,
        })
    }

    /// The value as a tree of its own. What nobody else holds is not copied.
    pub fn into_tree(self) -> Tree {
        match self.0.map(Arc::try_unwrap) {
            None => Tree::Null,
            Some(Ok(Forms { tree, text, native })) => match (tree.into_inner(), native.into_inner()) {
                (Some(tree), _) => tree,
                (None, Some(native)) => native.to_tree(),
                (None, None) => text.get().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
            },
            Some(Err(shared)) => Self(Some(shared)).tree().clone(),
        }
    }

    /// The value as compact JSON. A secret in it is `«secret NAME»`.
    pub fn text(&self) -> &str {
        let Some(forms) = &self.0 else { return "null" };
        forms.text.get_or_init(|| {
            let native = if forms.tree.get().is_none() { forms.native.get().and_then(|native| native.to_text()) } else { None };
            native.unwrap_or_else(|| json::text(self.tree()).unwrap_or_default()).into()
        })
    }

    /// The executor's own form `T`, if the value has it.
    pub fn native<T: Native>(&self) -> Option<&T> {
        self.0.as_ref()?.native.get()?.as_any().downcast_ref()
    }

    /// The executor's own form `T`, made by `make` if the value has none yet and kept with it.
    ///
    /// Returns `None` if the value already has a form of some other home, or none at all, as the absent value; then the caller converts for itself.
    pub fn native_or_insert<T: Native>(&self, make: impl FnOnce(&Self) -> T) -> Option<&T> {
        let forms = self.0.as_ref()?;
        if forms.native.get().is_none() {
            let _ = forms.native.set(Box::new(make(self)));
        }
        self.native()
    }

    /// What [`Native::fits`] says; `None` if the value has no form of an executor.
    pub fn native_fits(&self, declared: &Type) -> Option<bool> {
        self.0.as_ref()?.native.get().map(|native| native.fits(declared))
    }

    /// What [`Native::weight`] says; `None` too if the value has no form of an executor.
    pub fn native_weight(&self) -> Option<usize> {
        self.0.as_ref()?.native.get()?.weight()
    }

    /// The JSON text if the value already has it, without making it.
    pub fn text_if_known(&self) -> Option<&str> {
        match &self.0 {
            Some(forms) => forms.text.get().map(|text| &**text),
            None => Some("null"),
        }
    }

    /// The tree if the value already has it, without making it.
    pub fn tree_if_known(&self) -> Option<&Tree> {
        match &self.0 {
            Some(forms) => forms.tree.get(),
            None => Some(&Tree::Null),
        }
    }

    /// One field of a map; `None` if this is no map or has no such field.
    pub fn field(&self, name: &str) -> Option<Self> {
        let forms = self.0.as_ref()?;
        if let Some(tree) = forms.tree.get() {
            return tree.field(name).cloned().map(Self::from);
        }
        match forms.native.get() {
            Some(native) => native.field(name),
            None => self.tree().field(name).cloned().map(Self::from),
        }
    }

    /// Whether a secret stands in it. No form is made for that.
    pub fn holds_secret(&self) -> bool {
        let Some(forms) = &self.0 else { return false };
        match (forms.tree.get(), forms.native.get()) {
            (Some(tree), _) => tree.holds_secret(),
            (None, Some(native)) => native.holds_secret(),
            // Text never holds one: it is sealed there.
            (None, None) => false,
        }
    }

    /// Whether this is the absent value.
    pub fn is_null(&self) -> bool {
        let Some(forms) = &self.0 else { return true };
        match (forms.tree.get(), forms.native.get(), forms.text.get()) {
            (Some(tree), ..) => matches!(tree, Tree::Null),
            (None, Some(native), _) => native.is_null(),
            (None, None, Some(text)) => text.trim() == "null",
            (None, None, None) => true,
        }
    }
}

impl From<Tree> for Value {
    fn from(tree: Tree) -> Self {
        match tree {
            Tree::Null => Self::null(),
            tree => Self::of(Forms { tree: OnceLock::from(tree), text: OnceLock::new(), native: OnceLock::new() }),
        }
    }
}

/// Equal if their trees are.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        };
        is_same || self.tree() == other.tree()
    }
}

/// As JSON, secrets sealed.
impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What an executor has made is written without a tree between, where it is written once and for all.
        if let Some(forms) = &self.0
            && let (None, Some(native)) = (forms.tree.get(), forms.native.get())
            && exact::is_exact()
            && let Some(text) = native.to_text()
        {
            return json::written(&text, serializer);
        }
        self.tree().serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Tree::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted(i64);

    impl Native for Counted {
        fn to_tree(&self) -> Tree {
            Tree::Int(self.0)
        }
        fn field(&self, _: &str) -> Option<Value> {
            None
        }
        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    #[test]
    fn keeps_the_text_it_came_with() {
        let value = Value::from_text(r#"{ "a" : 1 }"#).expect("this is JSON");
        assert_eq!(value.field("a"), Some(Value::from(Tree::Int(1))));
        assert_eq!(value.text(), r#"{ "a" : 1 }"#);
    }

    #[test]
    fn becomes_a_tree_of_its_own_in_whatever_form_it_is() {
        let number = Tree::Int(7);
        let text = Value::from_text("7").expect("this is JSON");
        let shared = text.clone();
        for value in [Value::from(number.clone()), Value::from_native(Counted(7)), text] {
            assert_eq!(value.into_tree(), number);
        }
        assert_eq!((shared.clone().into_tree(), Value::null().into_tree()), (number, Tree::Null));
        assert_eq!(shared.text(), "7", "nobody took it away");
    }

    #[test]
    fn refuses_text_that_is_no_json() {
        assert!(Value::from_text("{ a: 1").is_err());
        assert!(Value::from_text("[".repeat(128) + "]".repeat(128).as_str()).is_err());
        assert!(Value::from_text("[".repeat(127) + "]".repeat(127).as_str()).is_ok());
    }

    #[test]
    fn the_absent_value_is_one_in_whatever_form_it_came() {
        let null = Value::null();
        assert!(null.is_null() && !null.holds_secret() && null.field("a").is_none());
        assert_eq!(
            (null.text(), null.tree(), null.tree_if_known(), null.text_if_known()),
            ("null", &Tree::Null, Some(&Tree::Null), Some("null"))
        );
        assert!(null.native_or_insert(|_| Counted(7)).is_none(), "whoever wants its own form of it makes that");
        for other in
            [Value::from(Tree::Null), Value::from_text("null").expect("this is JSON"), Value::from_text(" null").expect("this too")]
        {
            assert_eq!(other, null);
            assert_eq!(other.into_tree(), Tree::Null);
        }
    }

    #[test]
    fn has_one_native_form() {
        let value = Value::from_native(Counted(7));
        assert_eq!(value.native::<Counted>().map(|counted| counted.0), Some(7));
        assert_eq!(value.text(), "7");
    }
}
