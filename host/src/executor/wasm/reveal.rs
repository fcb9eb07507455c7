//! JSON text for a guest: secrets show their value where the guest's schema declares a secret, and their name everywhere else.

use std::borrow::Cow;

use crate::model::types::Type;
use crate::model::value::{Tree, Value};

/// The text of a value; usually the one that it has already.
pub(super) fn text<'a>(value: &'a Value, declared: Option<&Type>) -> Cow<'a, str> {
    // What only ever was text holds no secret: JSON has no form for one.
    let tree = match (value.tree_if_known(), value.text_if_known()) {
        (None, Some(text)) => return Cow::Borrowed(text),
        (Some(tree), _) => tree,
        (None, None) => value.tree(),
    };
    match declared {
        Some(declared) if tree.holds_secret() => Cow::Owned(Value::from(revealed(tree, declared)).text().to_owned()),
        _ => Cow::Borrowed(value.text()),
    }
}

fn revealed(tree: &Tree, declared: &Type) -> Tree {
    match (tree, declared) {
        (_, Type::Nullable(inner)) => revealed(tree, inner),
        (Tree::Secret(secret), Type::Secret) => Tree::from(secret.reveal()),
        (Tree::List(items), Type::List(item)) => Tree::List(items.iter().map(|part| revealed(part, item)).collect()),
        (Tree::Map(fields), Type::Record(_)) => {
            let part = |(name, field): (&String, &Tree)| {
                let field = declared.field(name).map_or_else(|| field.clone(), |declared| revealed(field, declared));
                (name.clone(), field)
            };
            Tree::Map(fields.iter().map(part).collect())
        }
        _ => tree.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;
    use crate::model::value::Map;

    #[test]
    fn a_secret_shows_its_value_only_where_one_is_declared() {
        let schema = serde_json::json!({ "type": "object", "properties": {
            "key": { "type": "string", "format": "secret" },
            "keys": { "type": "array", "items": { "type": "string", "format": "secret" } },
            "note": { "type": "string" },
        } });
        let secret = || Tree::Secret(Secret::new("KEY", "hunter2"));
        let fields = [("key", secret()), ("keys", Tree::List(vec![secret()])), ("note", secret()), ("other", secret())];
        let value = Value::from(Tree::Map(fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect::<Map>()));
        let expected = r#"{"key":"hunter2","keys":["hunter2"],"note":"«secret KEY»","other":"«secret KEY»"}"#;
        assert_eq!(text(&value, Some(&Type::from_schema(&schema))), expected);
        assert!(!text(&value, None).contains("hunter2"));
        // Also after somebody asked for the sealed text.
        assert!(!value.text().contains("hunter2"));
        assert_eq!(text(&value, Some(&Type::from_schema(&schema))), expected);
    }

    #[test]
    fn text_passes_as_it_came() {
        let value = Value::from_text(r#"{ "a" : 1 }"#).expect("this is JSON");
        assert!(matches!(text(&value, Some(&Type::Any)), Cow::Borrowed(r#"{ "a" : 1 }"#)));
        assert_eq!(value.tree_if_known(), None);
    }
}
