//! The program at a terminal: the prompt, words as they come, and every way to cancel and to leave.

use crate::program::model::Model;
use crate::program::pseudo_terminal::{CTRL_C, CTRL_D};
use crate::program::{Bench, CHATBOT};

fn plain() -> Bench {
    Bench::chatbot().with("NO_COLOR", "1")
}

#[test]
fn a_typed_question_is_answered_at_the_prompt_and_ctrl_c_there_ends_it() {
    let bench = plain();
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT]);
    let banner = terminal.asks();
    let documents = format!("{} files", std::fs::read_dir(bench.path("pipelines/docs")).expect("the guide is there").count());
    for words in ["pipehost 0.", "extractive", &documents, "Ctrl-C cancels an answer"] {
        assert!(banner.contains(words), "{words:?} is not in {banner}");
    }
    assert!(!banner.contains('\x1b'), "NO_COLOR is respected: {banner:?}");
    terminal.enter("how do retries work?");
    let answer = terminal.asks();
    assert!(answer.contains("[1] docs/"), "{answer}");
    assert_eq!(answer.matches("[1] docs/").count(), 1, "what was streamed is not shown again: {answer}");
    terminal.press(CTRL_C);
    terminal.finish().ends_with(0);
}

#[test]
fn words_are_shown_as_they_come_and_ctrl_c_cancels_that_answer_only() {
    let model = Model::start();
    let bench = plain().asking(&model);
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT, "--log", "json"]);
    terminal.asks();
    terminal.enter("how do retries work?");
    let mut question = model.asked();
    for word in ["They ", "go "] {
        question.token(word);
        terminal.shows(word.trim_end());
    }
    terminal.press(CTRL_C);
    let rest = terminal.asks();
    let cancelled = |target: &str| {
        let is = |line: &&str| line.contains("\"message\":\"cancelled\"") && line.contains(&format!("\"target\":\"pipehost::{target}\""));
        rest.lines().filter(is).count()
    };
    assert_eq!((cancelled("job"), cancelled("run"), rest.matches(" cancelled\r\n").count()), (1, 1, 1), "{rest}");
    question.wait_for_hang_up();
    assert!(bench.path("pipelines/.pipehost/chatbot/chat.db").exists());
    terminal.enter("how do retries work, then?");
    model.answers(&["Again and again."]);
    terminal.shows("Again and again.");
    terminal.asks();
    let kept: Vec<String> = bench.messages().into_iter().map(|row| row.2).collect();
    assert_eq!(kept, ["how do retries work, then?", "Again and again."], "the cancelled one is not kept");
    terminal.press(CTRL_D);
    terminal.finish().ends_with(0);
}

#[test]
fn a_new_line_takes_the_place_of_the_answer_that_streams() {
    let model = Model::start();
    let bench = plain().asking(&model);
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT]);
    terminal.asks();
    terminal.enter("how do retries work?");
    let mut first = model.asked();
    first.token("The first");
    terminal.shows("The first");
    terminal.enter("what is a policy?");
    first.wait_for_hang_up();
    model.answers(&["The second."]);
    let shown = terminal.shows("The second.");
    assert_eq!(shown.matches("cancelled: a newer message took its place").count(), 1, "{shown}");
    terminal.asks();
    assert_eq!(bench.messages().len(), 2);
    terminal.press(CTRL_C);
    terminal.finish().ends_with(0);
}

#[test]
fn ctrl_d_at_the_prompt_ends_it() {
    let bench = plain();
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT]);
    terminal.asks();
    terminal.press(CTRL_D);
    terminal.finish().ends_with(0);
}

#[test]
fn a_signal_to_end_while_an_answer_streams_ends_it_cleanly() {
    let model = Model::start();
    let bench = plain().asking(&model);
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT]);
    terminal.asks();
    terminal.enter("how do retries work?");
    let mut question = model.asked();
    question.token("They");
    terminal.shows("They");
    terminal.signal("TERM");
    terminal.shows("pipehost is ending; this goes on when it starts again");
    question.wait_for_hang_up();
    terminal.finish().ends_with(0);
}

#[test]
fn a_signal_to_end_at_the_prompt_ends_it() {
    let bench = plain();
    let terminal = bench.start_at_terminal(&["run", CHATBOT]);
    terminal.asks();
    terminal.signal("TERM");
    terminal.finish().ends_with(0);
}

#[test]
fn an_empty_line_is_overlooked() {
    let bench = plain();
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT]);
    terminal.asks();
    terminal.enter("");
    assert!(!terminal.asks().contains("error"));
    terminal.press(CTRL_D);
    terminal.finish().ends_with(0);
}

#[test]
fn a_first_start_with_a_bad_file_waits_for_a_good_one() {
    let bench = plain();
    bench.replace(CHATBOT, "pipeline: chatbot", "pipelin: chatbot");
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT]);
    let mistakes = terminal.shows("Waiting for a better version");
    assert!(mistakes.contains("error[E0201]") && mistakes.contains("did you mean `pipeline`?"), "{mistakes}");
    bench.replace(CHATBOT, "pipelin: chatbot", "pipeline: chatbot");
    terminal.asks();
    terminal.press(CTRL_D);
    terminal.finish().ends_with(0);
}

#[test]
fn who_waits_for_a_better_file_may_leave() {
    let bench = plain();
    bench.write(CHATBOT, "steps: [");
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT]);
    terminal.shows("Ctrl-C ends.");
    terminal.press(CTRL_C);
    terminal.finish().ends_with(0);
}

#[test]
fn a_file_that_is_not_there_is_not_waited_for() {
    let bench = plain();
    bench.start_at_terminal(&["run", "pipelines/chatbt.yaml"]).finish().ends_with(3);
}

#[test]
fn a_terminal_has_colours_unless_they_are_refused() {
    let bench = Bench::chatbot();
    let mut terminal = bench.start_at_terminal(&["run", CHATBOT]);
    terminal.shows("\x1b[1m> \x1b[0m");
    terminal.press(CTRL_D);
    terminal.finish().ends_with(0);
}
