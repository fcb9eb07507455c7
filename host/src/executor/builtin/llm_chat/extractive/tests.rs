//! Questions over passages as a guide has them.

use super::*;
use crate::model::fixture::Told;
use crate::model::value::Tree;

fn passage(heading: &str, lines: &str, text: &str) -> Passage {
    Passage { text: text.to_owned(), file: "docs/guide.md".to_owned(), lines: lines.to_owned(), heading: heading.to_owned() }
}

/// In the order of nobody's judgement: the tests must not lean on the search.
fn guide() -> Vec<Passage> {
    vec![
        passage(
            "pipehost › What it is",
            "3-9",
            "pipehost is a host for pipelines. A YAML file names executors and says in which order they run. Text such as \
             headings is written with capital letters.\n\nEverything is checked before anything starts: all mistakes are shown at once, each at its line.",
        ),
        passage(
            "Policies › Timeouts",
            "40-46",
            "`timeout` is the time for one attempt, `deadline` the time for the step with all its retries.\nWhat is left of a deadline is handed down to called flows.",
        ),
        passage(
            "Policies › Retry",
            "50-62",
            "When an attempt fails, the step is tried again after a wait. The wait begins with `base_delay` and doubles each time, up to \
             `max_delay`; `max_retries: 3` makes four executions at most. Only failures that nobody called hopeless are tried again: \
             transient, timeout, rate_limited and failed.\n\n```yaml\nretry: { max_retries: 3, base_delay: 1s }\n```\n\nA cancel ends the wait at once.",
        ),
        passage(
            "Policies › Breaker",
            "64-70",
            "After five failures within a minute the breaker opens, and calls are rejected at once. After its cooldown it lets one call \
             through; a success closes it. Rejected calls are not retried.",
        ),
        passage(
            "Reload",
            "80-85",
            "Files are watched. When you save one, the new plan is checked beside the running one and takes its place if nothing is wrong.\n\
             Runs in flight end on the revision that they began with.",
        ),
        passage(
            "Resources › Databases",
            "90-97",
            "A SQLite file is declared under `resources` and granted to the executors that may use it:\n\n- `sqlite` names the file, beneath the data folder\n- every message is a row in it afterwards",
        ),
    ]
}

async fn ask(question: &str) -> (String, Value) {
    let told = Told::default();
    let question = Question { text: question.to_owned(), history: Vec::new() };
    let output = answer(&question, &guide(), &told).await;
    let text = output.tree().field("text").and_then(Tree::as_text).expect("a text").to_owned();
    assert_eq!(told.tokens().concat(), text, "the tokens are the text");
    (text, output)
}

#[tokio::test]
async fn how_do_retries_work_quotes_the_passage_about_retries() {
    let (text, output) = ask("how do retries work?").await;
    assert!(text.starts_with("“When an attempt fails, the step is tried again after a wait. The wait begins"), "{text}");
    assert!(text.contains("” [1] docs/guide.md:50-62"), "{text}");
    let citations = output.field("citations").expect("citations");
    assert!(citations.text().starts_with(r#"[{"number":1,"file":"docs/guide.md","lines":"50-62"}"#), "{citations:?}");
}

#[tokio::test]
async fn each_question_finds_its_passage() {
    for (question, lines) in [
        ("What is pipehost?", "3-9"),
        ("what does a timeout do", "40-46"),
        ("When does the breaker open?", "64-70"),
        ("what happens to runs in flight when I save a file?", "80-85"),
        ("where are messages stored in the database", "90-97"),
        ("How long is the wait between retries?", "50-62"),
        ("What is base_delay?", "50-62"),
        ("how can I declare a sqlite file?", "90-97"),
        ("retry", "50-62"),
    ] {
        let (text, _) = ask(question).await;
        assert!(text.contains(&format!("[1] docs/guide.md:{lines}")), "{question}: {text}");
    }
}

#[tokio::test]
async fn what_the_documents_do_not_answer_is_refused() {
    for question in [
        "what is the capital of France?",
        "Who won the world cup?",
        "How do I bake bread?",
        "who wrote Hamlet",
        "what is the weather like in Paris tomorrow?",
        "What is the meaning of life?",
        "how does it work?",
        "Wie wird das Wetter?",
        "¿?",
        "what is 2 + 2?",
        "hello",
        "how do I declare a kubernetes cluster?",
    ] {
        let (text, output) = ask(question).await;
        assert_eq!(text, NOTHING_FOUND, "{question}");
        assert_eq!(output.field("citations").expect("citations").text(), "[]");
    }
}

#[tokio::test]
async fn the_same_question_gets_the_same_answer_and_only_quotes() {
    let (text, _) = ask("what ends the wait of a retry?").await;
    assert_eq!(ask("what ends the wait of a retry?").await.0, text);
    let sources = guide().iter().map(|passage| passage.text.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    for quote in text.split('“').skip(1).filter_map(|rest| rest.split('”').next()) {
        assert!(sources.iter().any(|source| source.contains(quote)), "{quote:?} stands nowhere");
    }
}

#[tokio::test]
async fn without_passages_there_is_no_answer() {
    let told = Told::default();
    let question = Question { text: "how do retries work?".to_owned(), history: Vec::new() };
    answer(&question, &[], &told).await;
    assert_eq!(told.tokens().concat(), NOTHING_FOUND);
}
