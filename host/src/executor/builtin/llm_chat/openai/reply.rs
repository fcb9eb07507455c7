//! Puts an answer together from its events. Pure.

use serde_json::Value as Json;

use super::status;
use crate::executor::excerpt::excerpt;
use crate::model::failure::{Failure, FailureKind};
use crate::model::value::{Tree, Value};

/// What has come of an answer.
#[derive(Default, Debug)]
pub(super) struct Reply {
    /// All tokens, joined.
    pub(super) text: String,
    /// The model that the server named.
    pub(super) model: Option<String>,
    usage: Option<Json>,
    finish_reason: Option<String>,
    /// Whether the model has said all: a `finish_reason` came, or the end.
    pub(super) finished: bool,
    /// Whether `[DONE]` came: nothing of use comes after it.
    pub(super) done: bool,
}

impl Reply {
    /// Takes an event's data: the token in it, if there is one. Reasoning and tool calls are no text.
    ///
    /// # Errors
    /// An error that the server put into the stream, or data that is no JSON.
    pub(super) fn event(&mut self, data: &str) -> Result<Option<String>, Failure> {
        if self.done || data.trim().is_empty() {
            return Ok(None);
        }
        if data.trim() == "[DONE]" {
            (self.done, self.finished) = (true, true);
            return Ok(None);
        }
        match serde_json::from_str(data) {
            Ok(json) => self.json(&json),
            // Servers that leave out the empty line between events exist: then each line is one.
            Err(_) if data.contains('\n') => {
                let mut token = String::new();
                for line in data.split('\n') {
                    token.push_str(&self.event(line)?.unwrap_or_default());
                }
                Ok(Some(token).filter(|token| !token.is_empty()))
            }
            Err(error) => {
                let message = format!("the stream holds what is no JSON ({error}): {}", excerpt(data));
                Err(Failure::new(FailureKind::Transient, message).with_code("stream"))
            }
        }
    }

    /// Takes an answer that came as one JSON document.
    ///
    /// # Errors
    /// An error in it, or that it is no JSON.
    pub(super) fn document(&mut self, document: &str) -> Result<Option<String>, Failure> {
        let json = serde_json::from_str(document).map_err(|error| {
            let message = format!("the answer is no JSON ({error}): {}", excerpt(document));
            Failure::new(FailureKind::Transient, message).with_code("stream")
        })?;
        let token = self.json(&json)?;
        if json.get("choices").is_some() {
            self.finished = true;
        }
        Ok(token)
    }

    fn json(&mut self, json: &Json) -> Result<Option<String>, Failure> {
        if let Some(error) = json.get("error").filter(|error| !error.is_null()) {
            return Err(status::of_error(error));
        }
        if let Some(model) = json.get("model").and_then(Json::as_str).filter(|model| !model.is_empty()) {
            self.model = Some(model.to_owned());
        }
        if let Some(usage) = json.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(usage.clone());
        }
        // Empty where only the counts come.
        let Some(choice) = json.get("choices").and_then(|choices| choices.get(0)) else { return Ok(None) };
        if let Some(reason) = choice.get("finish_reason").and_then(Json::as_str) {
            self.finish_reason = Some(reason.to_owned());
            self.finished = true;
        }
        let said = ["delta", "message"].iter().find_map(|place| choice.get(place)?.get("content"));
        let token = match said {
            Some(Json::String(text)) => text.clone(),
            Some(Json::Array(parts)) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
            _ => String::new(),
        };
        self.text.push_str(&token);
        Ok(Some(token).filter(|token| !token.is_empty()))
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// `transient` if the model had not said all, `failed` if it said nothing.
    pub(super) fn end(self) -> Result<Self, Failure> {
        if !self.finished {
            let message = format!("the answer broke off after {} characters, before the model had ended it", self.text.chars().count());
            return Err(Failure::new(FailureKind::Transient, message).with_code("broke_off"));
        }
        if self.text.is_empty() {
            let reason = self.finish_reason.as_deref().unwrap_or("none given");
            let message = format!("the model answered without any text (finish reason: {reason}); if it is length, raise max_tokens");
            return Err(Failure::new(FailureKind::Failed, message).with_code("empty_answer"));
        }
        Ok(self)
    }

    /// `usage` of the output; null if the server counted nothing.
    pub(super) fn usage_value(&self) -> Value {
        let Some(usage) = &self.usage else { return Value::null() };
        let count = |name: &str| Value::from(usage.get(name).and_then(Json::as_i64).map_or(Tree::Null, Tree::Int));
        Value::map(["prompt_tokens", "completion_tokens"].map(|name| (name, count(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &[&str]) -> (Vec<String>, Result<Reply, Failure>) {
        let mut reply = Reply::default();
        let mut tokens = Vec::new();
        for event in events {
            match reply.event(event) {
                Ok(token) => tokens.extend(token),
                Err(failure) => return (tokens, Err(failure)),
            }
        }
        (tokens, reply.end())
    }

    #[test]
    fn only_text_becomes_tokens() {
        let (tokens, reply) = read(&[
            r#"{"model":"m","choices":[{"delta":{"role":"assistant"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm","content":null}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#,
            r#"{"choices":[{"delta":{"content":"He"}}]}"#,
            r#"{"choices":[{"delta":{"content":"llo"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
            "[DONE]",
            "after the end anything may come",
        ]);
        let reply = reply.expect("an answer");
        assert_eq!((tokens, reply.text.as_str(), reply.model.as_deref()), (vec!["He".to_owned(), "llo".to_owned()], "Hello", Some("m")));
        assert_eq!(reply.usage_value().text(), r#"{"prompt_tokens":3,"completion_tokens":2}"#);
    }

    #[test]
    fn an_answer_ends_or_broke_off() {
        let token = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
        let last = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
        assert!(read(&[token, last]).1.is_ok(), "[DONE] may be missing");
        assert!(read(&[token, "[DONE]"]).1.is_ok(), "so may a finish reason");
        assert_eq!(read(&[token]).1.expect_err("it broke off").kind, FailureKind::Transient);
        assert_eq!(read(&[last]).1.expect_err("it is empty").code.as_deref(), Some("empty_answer"));
        assert_eq!(read(&["{"]).1.expect_err("no JSON").kind, FailureKind::Transient);
        assert!(read(&[&format!("{token}\n{last}")]).1.is_ok(), "so may the empty lines");
    }
}
