//! Tables of good expressions, of mistakes and of failures; and that nothing panics.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::{Reference, Scope};
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::types::Field;
use crate::model::value::{Tree, Value};

fn field(name: &str, value_type: Type) -> Field {
    Field { name: name.to_owned(), value_type, default: None, description: None }
}

fn nullable(inner: Type) -> Type {
    Type::Nullable(Box::new(inner))
}

fn names() -> Names {
    let item = Type::Record(vec![field("text", Type::String), field("score", Type::Float)]);
    let input = Type::Record(vec![
        field("text", Type::String),
        field("count", Type::Int),
        field("note", nullable(Type::String)),
        field("default", Type::Bool),
        field("items", Type::List(Box::new(item.clone()))),
        field("any", Type::Any),
    ]);
    let steps = [
        ("context", Type::Record(vec![field("passages", Type::List(Box::new(item)))])),
        ("maybe", nullable(Type::Record(vec![field("id", Type::String)]))),
        ("free", Type::Any),
    ];
    let roots = BTreeMap::from([
        (Root::Input, input),
        (Root::Run, Type::Any),
        (Root::Env, Type::Record(vec![field("URL", nullable(Type::String)), field("GONE", nullable(Type::String))])),
        (Root::Secret, Type::Record(vec![field("KEY", Type::Secret)])),
    ]);
    Names {
        roots: Arc::new(roots),
        steps: Some(steps.into_iter().collect()),
        locals: vec![("item".to_owned(), Type::Any), ("index".to_owned(), Type::Int)],
        words: Words::default(),
    }
}

struct Given;

impl Scope for Given {
    fn lookup(&self, root: Root, field: Option<&str>) -> Option<Value> {
        let json = |text: &str| Value::from_text(text).expect("this is JSON");
        let input = r#"{"text":"hello","count":3,"note":null,"default":true,"items":[{"text":"a","score":0.5}],"any":{"deep":[1,2]}}"#;
        match (root, field) {
            (Root::Input, None) => Some(json(input)),
            (Root::Steps, Some("context")) => Some(json(r#"{"passages":[{"text":"p","score":1.0}]}"#)),
            (Root::Steps, Some("maybe")) => Some(Value::null()),
            (Root::Steps, Some("free")) => Some(json(r#"{"x":{"y":7}}"#)),
            (Root::Run, None) => Some(json(r#"{"id":"r1"}"#)),
            (Root::Env, Some("URL")) => Some(Value::string("http://here")),
            (Root::Secret, Some("KEY")) => Some(Value::from(Tree::Secret(Secret::new("KEY", "hunter2")))),
            (Root::Local, Some("item")) => Some(json(r#"{"name":"it"}"#)),
            (Root::Local, Some("index")) => Some(Value::from(Tree::Int(2))),
            _ => None,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn uuid(&self) -> Uuid {
        Uuid::nil()
    }
}

fn evaluate(source: &str) -> Result<Value, Failure> {
    let compiled = compile(source, &names(), Wanted::Value).unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"));
    compiled.expression.evaluate(&Given)
}

#[test]
fn good_expressions_have_these_values() {
    for (source, expected) in [
        ("input.text", r#""hello""#),
        ("input[\"default\"]", "true"),
        ("steps.context.passages[0].score", "1.0"),
        ("steps.maybe?.id", "null"),
        ("steps.maybe?.id ?? \"none\"", r#""none""#),
        ("steps.free.x.y", "7"),
        ("env.URL ?? \"default\"", r#""http://here""#),
        ("env.GONE ?? null", "null"),
        ("env.GONE ?? \"default\"", r#""default""#),
        ("null", "null"),
        ("[1, null, 2.5]", "[1,null,2.5]"),
        ("#{ b: input.count, \"a\": \"x\" }", r#"{"a":"x","b":3}"#),
        ("input.count / 2", "1.5"),
        ("4 / 2", "2.0"),
        ("7 % 4 + 2 * 3 - 1", "8"),
        ("input.count > 2 && !(input.text == \"x\") || false", "true"),
        ("input.count == 3.0", "true"),
        ("input.note == null", "true"),
        ("input.count != null", "true"),
        ("\"a\" + \"b\" + 1", r#""ab1""#),
        ("if input.count > 1 { \"many\" } else { \"one\" }", r#""many""#),
        ("input.items.len() + input.items.len", "2"),
        ("input.items[0].text", r#""a""#),
        ("input.any.deep[1]", "2"),
        ("\"  x \".trim().to_upper()", r#""X""#),
        ("\"a,b\".split(\",\").join(\"+\")", r#""a+b""#),
        ("\"b\" in [\"a\", \"b\"]", "true"),
        ("url_encode(\"a b?x=../c#d%.json\")", "\"a%20b%3Fx%3D..%2Fc%23d%25.json\""),
        ("\"~a-B_9.\".url_encode() + url_encode(\"ä\") + url_encode(7)", "\"~a-B_9.%C3%A47\""),
        ("hash(\"abc\")", "\"6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85\""),
        ("now()", r#""1970-01-01T00:00:00.000Z""#),
        ("uuid()", r#""00000000-0000-0000-0000-000000000000""#),
        ("item.name + index", r#""it2""#),
        ("secret.KEY", "\"«secret KEY»\""),
        ("input.any", r#"{"deep":[1,2]}"#),
        ("max(input.count, 5)", "5"),
    ] {
        let value = evaluate(source).unwrap_or_else(|failure| panic!("{source}: {failure}"));
        assert_eq!(value.text(), expected, "{source}");
    }
}

#[test]
fn mistakes_are_found_where_they_stand() {
    for (source, code, offset, length, words) in [
        ("", "E0301", 0, 1, "empty"),
        ("input.", "E0301", 5, 1, ""),
        ("1 +", "E0301", 2, 1, "ends too early"),
        ("let x = 1", "E0302", 0, 3, "`let` is a statement"),
        ("while true { }", "E0302", 0, 5, "`while` is a statement"),
        ("fn f() { 1 }", "E0302", 0, 2, "`fn` belongs into a script"),
        ("import \"x\" as y", "E0302", 0, 6, "`import` belongs"),
        ("input.count = 3", "E0302", 12, 1, "== "),
        ("inptu.text", "E0303", 0, 5, "did you mean `input`?"),
        ("state.x", "E0303", 0, 5, "cannot be read in this place"),
        ("input.txet", "E0304", 6, 4, "did you mean `text`?"),
        ("\"é\" + input.txet", "E0304", 13, 4, "did you mean `text`?"),
        ("input\n  .txet", "E0304", 9, 4, "did you mean `text`?"),
        ("input.items[0].scor", "E0304", 15, 4, "did you mean `score`?"),
        ("input.count.x", "E0304", 12, 1, "is int and has no fields"),
        ("steps.contxt.passages", "E0304", 6, 6, "did you mean `context`?"),
        ("steps.maybe.id", "E0305", 12, 2, "write ?."),
        ("input.default", "E0306", 6, 7, "[\"default\"]"),
        ("input.match", "E0306", 6, 5, "[\"match\"]"),
        ("eval(\"1\")", "E0301", 0, 4, ""),
        ("print(1)", "E0307", 0, 5, "there is no function `print`"),
        ("room_members(\"lobby\")", "E0307", 0, 12, "`room_members` is not in this version"),
        ("input.text.lenn()", "E0307", 11, 4, "did you mean `len`?"),
        ("${input.text}", "E0308", 0, 1, "leave ${ and } out"),
        ("!input.text", "E0309", 0, 1, "not true or false"),
        ("input.count && true", "E0309", 0, 5, "is int"),
        ("input.count == \"3\"", "E0310", 12, 1, "int and string cannot be compared"),
        ("[1] > [2]", "E0310", 4, 1, "has no order"),
    ] {
        let mistakes = compile(source, &names(), Wanted::Value).expect_err(source);
        let first = &mistakes[0];
        assert_eq!((first.code, first.offset, first.length), (code, offset, length), "{source}: {mistakes:?}");
        let text = format!("{} {} ", first.message, first.help.clone().unwrap_or_default());
        assert!(text.contains(words), "{source}: {text}");
    }
}

#[test]
fn every_mistake_comes_in_one_go() {
    let mistakes = compile("input.a + input.b + nope()", &names(), Wanted::Value).expect_err("three things are wrong");
    assert_eq!(mistakes.iter().map(|mistake| mistake.code).collect::<Vec<_>>(), ["E0304", "E0304", "E0307"]);
}

#[test]
fn what_was_evaluated_before_changes_nothing() {
    for _ in 0..4 {
        for (source, expected) in [
            ("input.count + 1", Some("4")),
            ("input.text + 1", Some(r#""hello1""#)),
            ("input.any + 1", None),
            ("input.count / 2 + 1", Some("2.5")),
            ("input.count > 2", Some("true")),
            ("input.note > \"a\"", None),
            ("input.text > \"a\"", Some("true")),
            ("uuid() == uuid()", Some("true")),
            ("now()", Some(r#""1970-01-01T00:00:00.000Z""#)),
        ] {
            let found = evaluate(source);
            assert_eq!(found.as_ref().ok().map(Value::text), expected, "{source}: {found:?}");
        }
    }
}

#[test]
fn what_fails_at_run_time_fails_as_invalid_and_is_never_false() {
    for (source, words) in [
        ("steps.free.typo > 1000", "no field `typo`"),
        ("steps.free.typo", "no field `typo`"),
        ("input.any.deep.x", "no field `x`"),
        ("input.note > \"a\"", "null and string have no order"),
        ("steps.free.x > 3", "map and int have no order"),
        ("input.any == 3", "map and int cannot be compared"),
        ("input.items[7].text", "no item 7"),
        ("1 / 0", "division by zero"),
        ("\"a\" + input.note", "null cannot be joined"),
        ("input.any + 1", "do not go together"),
        ("steps.free.gone ?? 1", "no field `gone`"),
        ("if run.id { 1 } else { 2 }", "bool"),
        ("hash(secret.KEY)", "secret cannot be hashed"),
        ("url_encode(secret.KEY)", "cannot be put into an address"),
        ("url_encode(input.note)", "null cannot be put into an address"),
    ] {
        let failure = evaluate(source).expect_err(source);
        assert_eq!(failure.kind, FailureKind::Invalid, "{source}");
        assert!(failure.message.contains(words) && failure.message.contains(source), "{source}: {}", failure.message);
    }
}

#[test]
fn a_condition_is_true_or_false_and_nothing_else() {
    let condition = |source: &str| compile(source, &names(), Wanted::Condition);
    assert_eq!(condition("input.text").expect_err("text is no condition")[0].code, "E0309");
    assert_eq!(condition("input.note == null").expect("it is one").value_type, Type::Bool);
    let failure = condition("run.id").expect("nobody knows yet").expression.evaluate(&Given).expect_err("it is text");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Invalid, Some("not_bool")));
}

#[test]
fn types_are_known_as_far_as_they_are_declared() {
    for (source, expected) in [
        ("input.text", Type::String),
        ("steps.maybe?.id", nullable(Type::String)),
        ("env.URL ?? \"x\"", Type::String),
        ("env.URL ?? null", nullable(Type::String)),
        ("input.count > 1", Type::Bool),
        ("input.items.len()", Type::Int),
        ("run.id", Type::Any),
    ] {
        assert_eq!(compile(source, &names(), Wanted::Value).expect(source).value_type, expected, "{source}");
    }
}

#[test]
fn only_what_is_read_is_asked_for() {
    let compiled = compile("steps.context.passages.len() + steps.free.x.y + input.count + item.n", &names(), Wanted::Value);
    let reference = |root, field: Option<&str>| Reference { root, field: field.map(str::to_owned) };
    assert_eq!(
        compiled.expect("it is right").expression.references(),
        [
            reference(Root::Steps, Some("context")),
            reference(Root::Steps, Some("free")),
            reference(Root::Input, None),
            reference(Root::Local, Some("item")),
        ]
    );
}

#[test]
fn deep_and_long_expressions_are_refused_and_not_crashed_on() {
    for source in
        ["(".repeat(300) + "1" + ")".repeat(300).as_str(), "!".repeat(500) + "true", "a.".repeat(5_000) + "a", "1+".repeat(300) + "1"]
    {
        assert_eq!(compile(&source, &names(), Wanted::Value).expect_err("too much")[0].code, "E0311");
    }
    assert!(compile(&("input.any".to_owned() + ".a".repeat(20).as_str()), &names(), Wanted::Value).is_ok());
}

/// The same expression by way of Rhai: in brackets it is no mere path any more.
fn with_rhai(source: &str) -> Result<Value, Failure> {
    let checked = compile(source, &names(), Wanted::Value).expect("it is right");
    let engine_only = compile(&format!("[{}]", checked.expression.source()), &names(), Wanted::Value).expect("it is right");
    engine_only.expression.evaluate(&Given).map(|list| Value::from(list.tree().as_list().expect("a list")[0].clone()))
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(source in r#"[a-z0-9.\[\]()+\-*/!?&|<>= "'`${}#:;,_\\é\n]{0,40}"#) {
        for wanted in [Wanted::Value, Wanted::Condition] {
            match compile(&source, &names(), wanted) {
                Ok(compiled) => drop(compiled.expression.evaluate(&Given)),
                Err(mistakes) => for mistake in mistakes {
                    prop_assert!(mistake.length >= 1 && source.is_char_boundary(mistake.offset), "{mistake:?}");
                    prop_assert!(mistake.help.is_some_and(|help| !help.is_empty()), "{source}: there is no way out");
                },
            }
        }
    }

    #[test]
    fn a_path_has_the_same_value_with_and_without_rhai(
        root in prop_oneof![Just("steps.free"), Just("input.any"), Just("run"), Just("item"), Just("env.GONE"), Just("steps.maybe")],
        links in prop::collection::vec(prop_oneof![Just("?.x"), Just("?.y"), Just("?.id"), Just("?.deep"), Just("?[\"name\"]"), Just("?.len")], 0..3),
    ) {
        let source = format!("{root}{}", links.concat());
        if compile(&source, &names(), Wanted::Value).is_ok() {
            match (evaluate(&source), with_rhai(&source)) {
                (Ok(fast), Ok(slow)) => prop_assert_eq!(fast, slow),
                (Err(fast), Err(slow)) => prop_assert_eq!((fast.kind, &fast.code), (slow.kind, &slow.code)),
                (fast, slow) => prop_assert!(false, "{source}: {fast:?} and {slow:?}"),
            }
        }
    }
}
