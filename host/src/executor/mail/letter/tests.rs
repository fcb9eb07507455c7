//! What a letter looks like, and what is no letter.

use super::*;
use crate::model::value::Value;

fn draft(json: &str) -> Result<Draft, Failure> {
    Draft::read(Value::from_text(json).expect("JSON").tree())
}

fn letter(json: &str, key: &str) -> Letter {
    let from = address("from", "The Shop <shop@example.com>").expect("an address");
    draft(json).expect("a draft").into_letter(&from, key, Timestamp::EPOCH + Duration::from_secs(784_111_777)).expect("a letter")
}

fn text(letter: &Letter) -> String {
    String::from_utf8(letter.bytes.clone()).expect("it is plain text")
}

#[test]
fn a_letter_has_its_headers_and_its_text() {
    let letter = letter(
        r#"{"to":["Ada <ada@example.com>","bo@example.com"],"cc":"cy@example.com","bcc":"di@example.com","reply_to":"desk@example.com",
            "subject":"Your order","text":"It is on its way.\n.\nThe shop","headers":{"X-Order":"o-1"}}"#,
        "k-1",
    );
    let text = text(&letter);
    for line in [
        "From: \"The Shop\" <shop@example.com>\r\n",
        "To: Ada <ada@example.com>, bo@example.com\r\n",
        "Cc: cy@example.com\r\n",
        "Reply-To: desk@example.com\r\n",
        "Subject: Your order\r\n",
        "Date: Sun, 06 Nov 1994 08:49:37 +0000\r\n",
        "X-Order: o-1\r\n",
        "It is on its way.\r\n.\r\nThe shop",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("di@example.com"), "a blind copy stays blind: {text}");
    let recipients: Vec<String> = letter.recipients.iter().map(ToString::to_string).collect();
    assert_eq!(recipients, ["ada@example.com", "bo@example.com", "cy@example.com", "di@example.com"]);
}

#[test]
fn the_id_comes_of_the_key_alone_and_stays_for_each_attempt() {
    const SIMPLE: &str = r#"{"to":"ada@example.com","subject":"s","text":"t"}"#;
    let first = letter(SIMPLE, "k-1");
    assert_eq!(first.message_id, letter(SIMPLE, "k-1").message_id);
    assert_ne!(first.message_id, letter(SIMPLE, "k-2").message_id);
    assert!(first.message_id.starts_with('<') && first.message_id.ends_with("@example.com>"), "{}", first.message_id);
    assert!(text(&first).contains(&format!("Message-ID: {}\r\n", first.message_id)));
}

#[test]
fn html_goes_beside_the_text() {
    const BOTH: &str = r#"{"to":"ada@example.com","subject":"Grüße","text":"ä","html":"<b>ä</b>"}"#;
    let text = text(&letter(BOTH, "k-1"));
    assert!(text.contains("multipart/alternative") && text.contains("text/html") && text.contains("text/plain"), "{text}");
    assert!(text.is_ascii(), "{text}");
    assert_eq!(text, self::text(&letter(BOTH, "k-1")), "the same bytes each time");
}

#[test]
fn one_who_is_named_twice_gets_it_once() {
    let letter = letter(r#"{"to":["ada@example.com","ada@example.com"],"cc":"Ada <ada@example.com>","subject":"s","text":"t"}"#, "k");
    assert_eq!(letter.recipients.len(), 1);
}

#[test]
fn no_field_can_begin_another_header() {
    for (json, word) in [
        (r#"{"to":"ada@example.com\r\nBcc: eve@example.com","subject":"s","text":"t"}"#, "to"),
        (r#"{"to":"ada@example.com","cc":"Ada\nX: y <a@example.com>","subject":"s","text":"t"}"#, "cc"),
        (r#"{"to":"ada@example.com","reply_to":"a@example.com\n","subject":"s","text":"t"}"#, "reply_to"),
        (r#"{"to":"ada@example.com","subject":"s\r\nBcc: eve@example.com","text":"t"}"#, "subject"),
        (r#"{"to":"ada@example.com","subject":"s","text":"t","headers":{"X-A":"b\nBcc: eve@example.com"}}"#, "headers.X-A"),
        (r#"{"to":"ada@example.com","subject":"s","text":"t","headers":{"X-A: b\nBcc":"eve@example.com"}}"#, "name of a header"),
        (r#"{"to":"ada@example.com","subject":"s","text":"t","headers":{"BCC":"eve@example.com"}}"#, "BCC"),
        (r#"{"to":"ada@example.com","subject":"s","text":"t","headers":{"Content-Type":"text/html"}}"#, "Content-Type"),
        (r#"{"to":"ada@example.com","subject":"s","text":"t","headers":{"X-A":{}}}"#, "headers.X-A"),
        (r#"{"to":"ada@example.com","subject":"s","text":"t","headers":[]}"#, "headers"),
    ] {
        let failure = draft(json).expect_err(json);
        assert!(failure.kind == FailureKind::Invalid && failure.message.contains(word), "{json}: {failure}");
    }
}

#[test]
fn a_letter_has_somebody_to_go_to_and_an_end() {
    let list = |count: usize| (0..count).map(|number| format!(r#""u{number}@example.com""#)).collect::<Vec<_>>().join(",");
    assert!(draft(&format!(r#"{{"to":[{}],"subject":"s","text":"t"}}"#, list(100))).is_ok());
    let headers: Vec<String> = (0..33).map(|number| format!(r#""X-{number}":"v""#)).collect();
    for (json, word) in [
        (r#"{"to":[],"subject":"s","text":"t"}"#.to_owned(), "nobody"),
        (format!(r#"{{"to":[{}],"subject":"s","text":"t"}}"#, list(101)), "101"),
        (format!(r#"{{"to":[{}],"cc":"x@example.com","subject":"s","text":"t"}}"#, list(100)), "101"),
        (r#"{"to":7,"subject":"s","text":"t"}"#.to_owned(), "int"),
        (format!(r#"{{"to":"ada@example.com","subject":"{}","text":"t"}}"#, "s".repeat(LONGEST_LINE + 1)), "subject"),
        (format!(r#"{{"to":"ada@example.com","subject":"s","text":"{}"}}"#, "t".repeat(LARGEST + 1)), "bytes together"),
        (format!(r#"{{"to":"ada@example.com","subject":"s","text":"t","headers":{{{}}}}}"#, headers.join(",")), "33"),
    ] {
        let failure = draft(&json).expect_err(word);
        assert!(failure.kind == FailureKind::Invalid && failure.message.contains(word), "{word}: {failure}");
    }
}
