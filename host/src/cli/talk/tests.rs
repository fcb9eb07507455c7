//! Conversations as a terminal and as a pipe would have them.

use super::*;
use crate::model::failure::FailureKind;
use crate::model::id::{RunId, StepId};
use crate::trigger::stdin::Refusal;

const WORDS: Manner = Manner::Words { prompt: true };

fn ended(outcome: RunOutcome) -> Said {
    let end = RunEnd { run: RunId::new(uuid::Uuid::nil()), outcome, degraded: false, output: Value::null() };
    Said::Ended { line: 4, end }
}

fn tokens(text: &str) -> Said {
    Said::Tokens(text.to_owned())
}

fn failure() -> Failure {
    Failure::new(FailureKind::Transient, "the server answered 503").at_step(&StepId::new("answer"))
}

fn reply(fields: &[(&str, &str)]) -> Said {
    Said::Reply(Value::map(fields.iter().map(|(name, text)| (*name, Value::string(*text)))))
}

/// What stands on the output, what stands aside, and whether it failed.
fn shown(manner: Manner, said: Vec<Said>) -> (String, String, bool) {
    let mut talk = Talk::new(Vec::new(), Vec::new(), manner, Style::PLAIN);
    for said in said {
        talk.show(said).expect("memory can be written");
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&talk.out), text(&talk.aside), talk.has_failed())
}

#[test]
fn at_a_terminal_the_text_of_a_streamed_reply_is_not_said_again() {
    let said = vec![
        Said::Ready,
        tokens("He"),
        tokens("llo"),
        reply(&[("text", "Hello"), ("message_id", "7")]),
        ended(RunOutcome::Succeeded),
        Said::Ready,
    ];
    let (out, aside, failed) = shown(WORDS, said);
    assert_eq!(out, "> Hello\nmessage_id: 7\n\n> ");
    assert_eq!((aside.as_str(), failed), ("", false));
}

#[test]
fn a_reply_without_a_stream_is_said_whole() {
    let (out, ..) = shown(WORDS, vec![Said::Ready, reply(&[("text", "Hello")]), ended(RunOutcome::Succeeded)]);
    assert_eq!(out, "> Hello\n\n");
}

#[test]
fn a_cancelled_stream_ends_with_a_word() {
    let cancelled = RunOutcome::Cancelled { reason: CancelReason::Requested };
    let (out, ..) = shown(WORDS, vec![Said::Ready, tokens("He"), ended(cancelled), Said::Ready]);
    assert_eq!(out, "> He cancelled\n\n> ");
}

#[test]
fn an_error_that_the_reply_told_is_not_told_twice_at_a_terminal() {
    let said =
        || vec![reply(&[("error", "the server answered 503"), ("step", "answer")]), ended(RunOutcome::Failed { failure: failure() })];
    let (out, aside, failed) = shown(WORDS, said());
    assert_eq!(out, "error: the server answered 503\nstep: answer\n\n");
    assert_eq!((aside.as_str(), failed), ("", true));
    let (out, aside, _) = shown(Manner::Lines, said());
    assert_eq!(out, "{\"error\":\"the server answered 503\",\"step\":\"answer\"}\n");
    assert_eq!(aside, "line 4: error in step answer: the server answered 503 (transient)\n");
}

#[test]
fn a_pipe_gets_one_reply_a_line_and_nothing_else() {
    let said = vec![
        Said::Ready,
        tokens("a"),
        reply(&[("text", "a\nb")]),
        ended(RunOutcome::Succeeded),
        reply(&[("text", "c")]),
        ended(RunOutcome::Succeeded),
        Said::Over,
    ];
    let (out, aside, failed) = shown(Manner::Lines, said);
    assert_eq!(out, "{\"text\":\"a\\nb\"}\n{\"text\":\"c\"}\n");
    assert_eq!((aside.as_str(), failed), ("", false));
}

#[test]
fn a_line_that_was_not_taken_is_named_where_nobody_sees_it() {
    let said = || vec![Said::NotTaken { line: 3, refusal: Refusal::TooLong { bytes: 10 << 20 } }];
    let (_, aside, failed) = shown(Manner::Lines, said());
    assert!(aside.starts_with("line 3 not taken: it has 10485760 bytes, and the limit is 1048576"), "{aside}");
    assert!(failed);
    assert!(shown(WORDS, said()).1.starts_with("not taken: "));
}

#[test]
fn a_notice_takes_the_place_of_the_prompt_and_asks_again() {
    let mut talk = Talk::new(Vec::new(), Vec::new(), WORDS, Style::PLAIN);
    talk.show(Said::Ready).expect("memory can be written");
    talk.beside("saved\n").expect("memory can be written");
    assert_eq!(String::from_utf8(talk.out).expect("UTF-8"), "> \r\x1b[K> ");
    assert_eq!(talk.aside, b"saved\n");
}

#[test]
fn a_notice_while_an_answer_is_awaited_asks_for_nothing() {
    let mut talk = Talk::new(Vec::new(), Vec::new(), WORDS, Style::PLAIN);
    talk.show(Said::Ready).expect("memory can be written");
    talk.entered();
    talk.beside("again in 1 s").expect("memory can be written");
    talk.show(reply(&[("text", "Hello")])).expect("memory can be written");
    assert_eq!(String::from_utf8(talk.out).expect("UTF-8"), "> Hello\n");
}

#[test]
fn a_broken_pipe_is_told_to_the_caller() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut talk = Talk::new(Broken, Vec::new(), Manner::Lines, Style::PLAIN);
    let error = talk.show(reply(&[("text", "a")])).expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
