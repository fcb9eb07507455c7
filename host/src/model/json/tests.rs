//! What is written here is what `serde_json` writes, byte for byte.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;

use super::*;

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Newtype(String);

#[derive(Serialize)]
struct Pair(u8, i64);

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outside {
    Nothing,
    One(Vec<Option<f64>>),
    Two(char, bool),
    Named { first: Unit, second: (u64, f32) },
}

#[derive(Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Inwards {
    Empty,
    Fields { numbers: [i128; 2], none: Option<u8> },
    Other(BTreeMap<String, u128>),
}

fn is_the_same<T: Serialize>(what: &T) {
    let theirs = serde_json::to_string(what).expect("it is JSON");
    assert_eq!(text(what).expect("it is JSON"), theirs);
    let mut list = List::with_room_for(0);
    let taken = [list.push(what).expect("it is JSON"), list.push(what).expect("it is JSON")];
    assert_eq!(taken, [theirs.len(); 2]);
    assert_eq!(list.bytes(), 2 + 2 * theirs.len());
    assert_eq!(list.end(), format!("[{theirs},{theirs}]"));
}

#[test]
fn every_shape_is_written_as_others_write_it() {
    is_the_same(&Unit);
    is_the_same(&Newtype("a\"b".to_owned()));
    is_the_same(&Pair(7, -12));
    is_the_same(&[Outside::Nothing, Outside::One(vec![None, Some(0.5), Some(f64::NAN)]), Outside::One(Vec::new())]);
    is_the_same(&[Outside::Two('\u{1f}', true), Outside::Named { first: Unit, second: (u64::MAX, 1.5) }]);
    is_the_same(&[Inwards::Empty, Inwards::Fields { numbers: [i128::MIN, 3], none: None }]);
    is_the_same(&Inwards::Other([("a".to_owned(), u128::MAX), ("ü\n".to_owned(), 0)].into()));
    is_the_same(&(serde_json::json!([[], {}, [[]], [{}], { "a": {} }, "", null, true, false]), ()));
    is_the_same(&BTreeMap::from([(-1_i8, "x"), (10, "y")]));
    is_the_same(&BTreeMap::from([(true, 1), (false, 0)]));
    is_the_same(&BTreeMap::from([('"', 1)]));
    is_the_same(&serde_json::value::to_raw_value(&1).map(|_| std::str::from_utf8(b"raw").ok()).expect("it is JSON"));
}

#[test]
fn a_key_that_is_no_text_is_refused() {
    for refused in [text(&BTreeMap::from([(Some(1).xor(None::<u8>).into_iter().collect::<Vec<_>>(), 1)])), text(&BTreeMap::from([((), 1)]))]
    {
        assert!(refused.is_err_and(|error| error.to_string().contains("key must be a string")));
    }
}

#[test]
fn what_is_json_already_stands_as_it_is_and_what_follows_does_not() {
    struct Already;
    impl Serialize for Already {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            written(r#"{"a":"\n"}"#, serializer)
        }
    }
    assert_eq!(text(&(Already, "\n", [Already])).expect("it is JSON"), r#"[{"a":"\n"},"\n",[{"a":"\n"}]]"#);
}

#[test]
fn a_plain_text_is_a_text_to_others() {
    struct Id;
    impl Serialize for Id {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            plain("01a2", serializer)
        }
    }
    is_the_same(&(Id, "\n", [Id], BTreeMap::from([("id\"", Id)])));
}

proptest! {
    #[test]
    fn any_text_and_number_is_written_as_others_write_it(texts in prop::collection::vec(".{0,40}|[\\x00-\\x7f]{0,40}", 0..4), whole: i64, natural: u64, bits: u64) {
        is_the_same(&(texts, whole, natural, f64::from_bits(bits), natural as u8, whole as i32));
    }
}
