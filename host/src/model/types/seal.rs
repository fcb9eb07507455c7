//! Secrets that come from outside: text that stands where a secret is declared is sealed there and then.

use super::{Field, Mismatch, Origin, Type};
use crate::model::secret::Secret;
use crate::model::value::{Tree, Value};

impl Type {
    /// As [`conform`](Self::conform), for what comes into the host: the input of a run, the output of an executor. There a text that stands where a
    /// secret is declared becomes one, named after its field. What a file says itself is never sealed: a secret does not stand in a file.
    ///
    /// # Errors
    /// As [`conform`](Self::conform).
    pub fn receive(&self, value: &Value, origin: Origin) -> Result<Value, Vec<Mismatch>> {
        // Hardly anything declares a secret, and what does never fits as text: the usual way pays nothing.
        self.conform(value, origin).or_else(|mismatches| match self.sealed(value.tree(), &mut String::new()) {
            Some(sealed) => self.conform(&Value::from(sealed), origin),
            None => Err(mismatches),
        })
    }

    /// This type as it is before anything is sealed: with texts in the place of secrets.
    pub fn unsealed(&self) -> Self {
        match self {
            Self::Secret => Self::String,
            Self::Nullable(inner) => Self::Nullable(Box::new(inner.unsealed())),
            Self::List(item) => Self::List(Box::new(item.unsealed())),
            Self::Record(fields) => {
                Self::Record(fields.iter().map(|field| Field { value_type: field.value_type.unsealed(), ..field.clone() }).collect())
            }
            other => other.clone(),
        }
    }

    /// The value with its secrets sealed; `None` if there are none to seal.
    fn sealed(&self, tree: &Tree, path: &mut String) -> Option<Tree> {
        match (self, tree) {
            (Self::Secret, Tree::Text(text)) => Some(Tree::Secret(Secret::given(path.as_str(), text.as_str()))),
            (Self::Nullable(inner), _) => inner.sealed(tree, path),
            (Self::List(item), Tree::List(items)) => {
                let mut changed: Option<Vec<Tree>> = None;
                for (index, tree) in items.iter().enumerate() {
                    let sealed = below(path, &format!("[{index}]"), |path| item.sealed(tree, path));
                    if let Some(sealed) = sealed
                        && let Some(place) = changed.get_or_insert_with(|| items.clone()).get_mut(index)
                    {
                        *place = sealed;
                    }
                }
                changed.map(Tree::List)
            }
            (Self::Record(fields), Tree::Map(map)) => {
                let mut changed = None;
                for field in fields {
                    let Some(tree) = map.get(&field.name) else { continue };
                    let name = if path.is_empty() { field.name.clone() } else { format!(".{}", field.name) };
                    if let Some(sealed) = below(path, &name, |path| field.value_type.sealed(tree, path)) {
                        changed.get_or_insert_with(|| map.clone()).insert(field.name.clone(), sealed);
                    }
                }
                changed.map(Tree::Map)
            }
            _ => None,
        }
    }
}

/// Does something one name further down the path.
fn below<T>(path: &mut String, name: &str, act: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    path.push_str(name);
    let done = act(path);
    path.truncate(length);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value_type: Type) -> Field {
        Field { name: name.to_owned(), value_type, default: None, description: None }
    }

    fn tokens() -> Type {
        let secret_or_null = Type::Nullable(Box::new(Type::Secret));
        Type::Record(vec![
            field("user", Type::String),
            field("token", Type::Secret),
            field("more", Type::List(Box::new(Type::Record(vec![field("key", secret_or_null)])))),
        ])
    }

    fn value(json: &str) -> Value {
        Value::from_text(json).expect("this is JSON")
    }

    #[test]
    fn text_is_sealed_where_a_secret_is_declared_and_nowhere_else() {
        let came = value(r#"{"user":"ada","token":"hunter2","more":[{"key":null},{"key":"hunter3"}]}"#);
        let received = tokens().receive(&came, Origin::Data).expect("it fits");
        assert_eq!(received.text(), r#"{"user":"ada","token":"«secret token»","more":[{"key":null},{"key":"«secret more[1].key»"}]}"#);
        let token = received.field("token").expect("it is there");
        assert!(matches!(token.tree(), Tree::Secret(secret) if secret.reveal() == "hunter2"));
        assert_eq!(tokens().receive(&received, Origin::Data).expect("it fits as it is").tree(), received.tree());
    }

    #[test]
    fn what_is_no_text_is_no_secret_and_is_not_shown() {
        let refused = tokens().receive(&value(r#"{"user":"ada","token":4711,"more":[]}"#), Origin::Data).expect_err("a number");
        assert_eq!(refused.iter().map(ToString::to_string).collect::<Vec<_>>(), ["token is int, not secret"]);
    }

    #[test]
    fn before_it_is_sealed_a_secret_is_a_text() {
        assert_eq!(tokens().unsealed().to_string(), "{ user: string, token: string, more: [{ key: string|null }] }");
    }
}
