//! The chatbot that ships, as a user meets it: answers that quote, refusals that are honest, rows in a database.

use crate::program::model::Model;
use crate::program::{Bench, CHATBOT, text};

#[test]
fn a_question_is_answered_with_quotes_of_the_documents_and_kept() {
    let bench = Bench::chatbot();
    let ended = bench.run(&["run", CHATBOT], b"how do retries work?\n");
    ended.ends_with(0).says(&["pipehost 0.", "extractive (no language model configured)"]);
    let replies = ended.objects();
    assert_eq!(replies.len(), 1);
    let answer = text(&replies[0], "text");
    // Each quote says where it stands, and it stands there.
    let (file, lines) = answer
        .split_once("[1] ")
        .and_then(|(_, place)| place.split_whitespace().next())
        .and_then(|place| place.split_once(':'))
        .unwrap_or_else(|| panic!("no [1] file:lines in {answer}"));
    let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
    let (first, last): (usize, usize) = (first.parse().expect("a line"), last.parse().expect("a line"));
    let document = bench.read(&format!("pipelines/{file}"));
    let quoted = document.lines().skip(first - 1).take(last - first + 1).collect::<Vec<_>>().join(" ");
    assert!(quoted.to_lowercase().contains("retr"), "{file}:{lines} is {quoted}");
    let kept = bench.messages();
    let row = |role: &str, text: &str| ("terminal".to_owned(), role.to_owned(), text.to_owned());
    assert_eq!(kept, [row("user", "how do retries work?"), row("assistant", answer)]);
}

#[test]
fn what_the_documents_do_not_answer_is_refused_and_kept_too() {
    let bench = Bench::chatbot();
    let ended = bench.run(&["run", CHATBOT], b"what is the capital of Mongolia?\n");
    let replies = ended.ends_with(0).objects();
    let answer = text(&replies[0], "text");
    assert!(answer.contains("I found nothing about that in the documents") && !answer.contains("[1]"), "{answer}");
    assert_eq!(bench.messages().len(), 2);
}

#[test]
fn a_model_is_asked_with_the_passages_and_its_answer_is_kept() {
    let model = Model::start();
    let bench = Bench::chatbot().asking(&model);
    let mut program = bench.start(&["run", CHATBOT]);
    program.say("how do retries work?");
    let mut question = model.asked();
    assert!(question.body.contains("08-retries-and-time-limits.md"), "the passages are sent along: {}", question.body);
    question.token("They try ");
    question.token("again.");
    question.end();
    let ended = program.finish();
    let replies = ended.ends_with(0).says(&["tiny"]).objects();
    assert_eq!(text(&replies[0], "text"), "They try again.");
    assert_eq!(bench.messages().last().map(|row| row.2.clone()).as_deref(), Some("They try again."));
}

#[test]
fn a_second_start_goes_on_in_the_same_database() {
    let bench = Bench::chatbot();
    for rows in [2, 4] {
        bench.run(&["run", CHATBOT, "--input", r#"{"text":"how do retries work?"}"#], b"").ends_with(0);
        assert_eq!(bench.messages().len(), rows);
    }
}
