//! Whether JSON text is of a type as it stands. Nothing of it is kept: most values need no filling in, and a tree built only to learn that
//! costs more than all the rest of an activation.
//!
//! The text is known to be JSON, so that it is only walked along and not parsed a second time: names are compared as they are written, texts and what nobody
//! has declared are stepped over. Refused is serde's parser, which takes four times as long to check again what was checked when the value came.

use super::{Field, Type};

/// Fields of one record that are looked for; a record with more is checked by its tree.
const MOST_FIELDS: usize = 64;

/// Numbers that are written longer are left to the tree: they may be larger than any number is.
const LONGEST_NUMBER: usize = 32;

/// Whether this JSON is of the type and nothing has to be filled in or converted. `false` says only that the tree has to be looked at.
pub(super) fn text_fits(declared: &Type, json: &str) -> bool {
    Walk { left: json.as_bytes() }.fits(declared, true).is_some()
}

/// What is left of valid JSON. Each step is `None` if the tree has to be looked at.
struct Walk<'a> {
    left: &'a [u8],
}

impl<'a> Walk<'a> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.left {
                [b' ' | b'\t' | b'\n' | b'\r', left @ ..] => self.left = left,
                [byte, ..] => return Some(*byte),
                [] => return None,
            }
        }
    }

    fn skip(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (skipped, left) = self.left.split_at_checked(bytes)?;
        self.left = left;
        Some(skipped)
    }

    /// Steps over that byte.
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.skip(1)).flatten().map(drop)
    }

    /// Steps over a value, which is of the type. `takes_null` is false where a default would take the place of null.
    fn fits(&mut self, declared: &Type, takes_null: bool) -> Option<()> {
        let mut wanted = declared;
        while let Type::Nullable(inner) = wanted {
            wanted = inner;
        }
        match (self.peek()?, wanted) {
            (b'n', _) => (takes_null && declared.takes_null()).then(|| self.skip(4)).flatten().map(drop),
            (_, Type::Any) => self.value(),
            (b'"', Type::String) => self.text().filter(|text| is_readable(text)).map(drop),
            (b'"', Type::Bytes | Type::Time | Type::Duration) => {
                let text = self.text().filter(|text| !text.contains(&b'\\'))?;
                wanted.reads(str::from_utf8(text).ok()?).then_some(())
            }
            (b't', Type::Bool) => self.skip(4).map(drop),
            (b'f', Type::Bool) => self.skip(5).map(drop),
            (b'-' | b'0'..=b'9', Type::Int | Type::Float) => (self.number()? == *wanted).then_some(()),
            (b'[', Type::List(item)) => self.items(|walk| walk.fits(item, true)),
            (b'{', Type::Record(fields)) if fields.len() <= MOST_FIELDS => self.record(fields),
            _ => None,
        }
    }

    /// Steps over what stands between brackets, or braces, with commas between.
    fn items(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip(1)?;
        if matches!(self.peek()?, b']' | b'}') {
            return self.skip(1).map(drop);
        }
        loop {
            item(self)?;
            match self.peek()? {
                b',' => self.skip(1)?,
                _ => return self.skip(1).map(drop),
            };
            self.peek()?;
        }
    }

    fn record(&mut self, fields: &[Field]) -> Option<()> {
        let mut missing = u64::MAX.checked_shr(MOST_FIELDS as u32 - fields.len() as u32).unwrap_or(0);
        self.items(|walk| {
            // A name with escapes may be any other, spelt so.
            let name = walk.text().filter(|name| !name.contains(&b'\\'))?;
            walk.expect(b':')?;
            match fields.iter().position(|field| field.name.as_bytes() == name) {
                // Of a field that comes twice the last counts; here each has to fit, so that it does not matter which.
                Some(index) => {
                    let field = fields.get(index)?;
                    missing &= !(1 << index);
                    walk.fits(&field.value_type, field.default.is_none())
                }
                None => {
                    walk.peek()?;
                    walk.value()
                }
            }
        })?;
        (missing == 0).then_some(())
    }

    /// Steps over a text, and gives it as it is written.
    fn text(&mut self) -> Option<&'a [u8]> {
        let inside = self.left.get(1..)?;
        let mut at = 0;
        loop {
            at += memchr::memchr2(b'"', b'\\', inside.get(at..)?)?;
            match inside.get(at)? {
                b'"' => break,
                _ => at += 2,
            }
        }
        self.left = inside.get(at + 1..)?;
        inside.get(..at)
    }

    /// Steps over a number, and says whether it is a whole one. What is neither for sure is left to the tree.
    fn number(&mut self) -> Option<Type> {
        let length = self.left.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let digits = self.skip(length.unwrap_or(self.left.len())).filter(|digits| digits.len() <= LONGEST_NUMBER)?;
        match digits {
            _ if digits.iter().any(|byte| matches!(byte, b'e' | b'E')) => None,
            // JSON has one zero that is negative, and it is no whole number.
            _ if digits.contains(&b'.') || digits == b"-0" => Some(Type::Float),
            _ => str::from_utf8(digits).ok()?.parse::<i64>().ok().map(|_| Type::Int),
        }
    }

    /// Steps over a value, whatever it is.
    fn value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.left.first()? {
                b'"' => drop(self.text().filter(|text| is_readable(text))?),
                b'-' | b'0'..=b'9' => drop(self.number()?),
                b'[' | b'{' => {
                    depth += 1;
                    self.skip(1)?;
                }
                b']' | b'}' => {
                    depth = depth.checked_sub(1)?;
                    self.skip(1)?;
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => drop(self.skip(1)?),
                b'f' => drop(self.skip(5)?),
                _ => drop(self.skip(4)?),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// Whether each escaped character of a text is one, for sure: half a character is found out only when it is read.
fn is_readable(text: &[u8]) -> bool {
    let is_half = |escape: &[u8]| matches!(escape, [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F']);
    memchr::memchr(b'\\', text).is_none() || !text.windows(4).any(is_half)
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
            Just(r#""a \\ b \" c ] } , ""#.to_owned()),
            Just(r#""\ud800""#.to_owned()),
            Just("1e999".to_owned()),
            Just("9".repeat(400)),
            Just(" [ 1 , { \"a\" : [ ] } ] ".to_owned()),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let fields = prop::collection::vec(("[abcd]|\\\\u0061", inner.clone()), 0..5);
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
