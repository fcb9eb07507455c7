//! Fields that somebody gave and that nothing declares: they are taken, and no expression reads them by name. Mostly they are misspelt.

use crate::model::types::Type;
use crate::model::value::{Tree, Value};
use crate::plan::closest;

/// Of so many fields it is said.
const MOST: usize = 8;

/// A sentence for each field of the data that the type does not declare, the first eight. `of` names what the data are, as `the input of shop.order`.
pub(super) fn unread(declared: &Type, data: &Value, of: &str) -> Vec<String> {
    // A value of its own: what goes on to the run keeps the one form that it came in.
    let tree = Value::from_text(data.text()).map(|data| data.tree().clone()).unwrap_or_default();
    let mut found = Vec::new();
    look(declared, &tree, &mut String::new(), &mut |path, name, known| {
        let near = closest(name, known.iter().copied()).map_or_else(String::new, |near| format!(". Did you mean `{near}`?"));
        found.push(format!("there is no field `{path}` in {of}; no expression reads it{near}"));
        found.len() < MOST
    });
    found
}

/// Tells each field that is not declared, with its path, its name and the names beside it, until it is told to stop. Returns whether to go on.
fn look(declared: &Type, tree: &Tree, path: &mut String, tell: &mut dyn FnMut(&str, &str, &[&str]) -> bool) -> bool {
    match (declared, tree) {
        (Type::Nullable(inner), _) => look(inner, tree, path, tell),
        (Type::List(item), Tree::List(items)) => {
            items.iter().enumerate().all(|(index, tree)| within(path, &format!("[{index}]"), |path| look(item, tree, path, tell)))
        }
        (Type::Record(fields), Tree::Map(map)) => map.iter().all(|(name, tree)| {
            let dot = if path.is_empty() { "" } else { "." };
            within(path, &format!("{dot}{name}"), |path| match fields.iter().find(|field| field.name == *name) {
                Some(field) => look(&field.value_type, tree, path, tell),
                None => {
                    let known: Vec<&str> =
                        fields.iter().map(|field| field.name.as_str()).filter(|known| !map.contains_key(*known)).collect();
                    tell(path, name, &known)
                }
            })
        }),
        _ => true,
    }
}

fn within<T>(path: &mut String, part: &str, then: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    path.push_str(part);
    let came_to = then(path);
    path.truncate(length);
    came_to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::types::Field;

    fn record(fields: &[(&str, Type)]) -> Type {
        let field = |(name, value_type): &(&str, Type)| Field {
            name: (*name).to_owned(),
            value_type: value_type.clone(),
            default: None,
            description: None,
        };
        Type::Record(fields.iter().map(field).collect())
    }

    fn told(declared: &Type, json: &str) -> Vec<String> {
        unread(declared, &Value::from_text(json).expect("JSON"), "the input of shop.order")
    }

    #[test]
    fn a_field_that_is_not_declared_is_told_with_what_may_be_meant() {
        let maybe = Type::Nullable(Box::new(record(&[("sku", Type::String)])));
        let declared = record(&[("order", Type::String), ("fail_at", Type::String), ("parts", Type::List(Box::new(maybe)))]);
        assert_eq!(
            told(&declared, r#"{"order":"c1","fale_at":"ship","parts":[{"sku":"a"},null,{"colour":1}]}"#),
            [
                "there is no field `fale_at` in the input of shop.order; no expression reads it. Did you mean `fail_at`?",
                "there is no field `parts[2].colour` in the input of shop.order; no expression reads it",
            ]
        );
        let given = told(&declared, r#"{"order":"c1","fail_at":"pay","fale_at":"ship"}"#);
        assert_eq!(given, ["there is no field `fale_at` in the input of shop.order; no expression reads it"], "that one was given");
        assert!(told(&declared, r#"{"order":"c1"}"#).is_empty() && told(&Type::Any, r#"{"a":1}"#).is_empty());
    }

    #[test]
    fn of_very_many_the_first_are_told() {
        let many: Vec<String> = (0..100).map(|number| format!("\"f{number}\":1")).collect();
        assert_eq!(told(&record(&[]), &format!("{{{}}}", many.join(","))).len(), MOST);
    }
}
