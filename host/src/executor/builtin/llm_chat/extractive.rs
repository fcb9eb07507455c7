//! Answers by quoting: offline, the same for the same input, and honest when the passages do not answer.

mod choose;
mod sentences;

use super::citations;
use super::passage::{Passage, Question, tell};
use crate::model::port::JobChannel;
use crate::model::value::Value;

/// What is said when the passages do not answer.
pub const NOTHING_FOUND: &str = "I found nothing about that in the documents. Ask with other words, or add a document that answers it.";

/// Answers and tells the answer word by word.
pub(super) async fn answer(question: &Question, passages: &[Passage], channel: &dyn JobChannel) -> Value {
    let quotes = choose::quotes(&question.text, passages);
    let cited = quotes.iter().zip(1_usize..).map(|(quote, number)| (number, quote.passage));
    let paragraphs: Vec<String> =
        quotes.iter().zip(1_usize..).map(|(quote, number)| format!("“{}” [{number}] {}", quote.text, quote.passage.place())).collect();
    let text = if paragraphs.is_empty() { NOTHING_FOUND.to_owned() } else { paragraphs.join("\n\n") };
    for word in text.split_inclusive([' ', '\n']) {
        tell(channel, word);
        // Whoever listens takes the word before the next one comes, and a cancel has its chance.
        tokio::task::yield_now().await;
    }
    citations::output(&text, "extractive", None, citations::value(cited), Value::null())
}

#[cfg(test)]
mod tests;
