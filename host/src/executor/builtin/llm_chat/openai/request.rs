//! What the server is asked.

use serde_json::{Value as Json, json};

use super::super::config::Config;
use super::super::passage::{Passage, Question};

/// What the model is told first, unless `system` says otherwise.
const SYSTEM: &str = "You answer questions from the numbered passages that come with them, and from nothing else. \
    Put the number of the passage that a statement rests on behind it in brackets, as [1]. \
    If the passages do not answer the question, say so in one sentence.";

/// The JSON body.
pub(super) fn body(config: &Config, question: &Question, passages: &[Passage]) -> Vec<u8> {
    let mut messages = vec![json!({ "role": "system", "content": config.system.as_deref().unwrap_or(SYSTEM) })];
    messages.extend(question.history.iter().map(|(role, text)| json!({ "role": role, "content": text })));
    messages.push(json!({ "role": "user", "content": with_passages(question, passages) }));
    let mut body = json!({ "messages": messages, "stream": true, "stream_options": { "include_usage": true } });
    let optional = [
        ("model", config.model.as_deref().map(Json::from)),
        ("max_tokens", config.max_tokens.map(Json::from)),
        ("temperature", config.temperature.map(Json::from)),
    ];
    if let Some(fields) = body.as_object_mut() {
        fields.extend(optional.into_iter().filter_map(|(name, field)| Some((name.to_owned(), field?))));
    }
    body.to_string().into_bytes()
}

fn with_passages(question: &Question, passages: &[Passage]) -> String {
    if passages.is_empty() {
        return format!("There are no passages.\n\nQuestion: {}", question.text);
    }
    let numbered: Vec<String> = passages
        .iter()
        .zip(1_usize..)
        .map(|(passage, number)| match passage.heading.as_str() {
            "" => format!("[{number}] {}\n{}", passage.place(), passage.text),
            heading => format!("[{number}] {} ({heading})\n{}", passage.place(), passage.text),
        })
        .collect();
    format!("Passages:\n\n{}\n\nQuestion: {}", numbered.join("\n\n"), question.text)
}
