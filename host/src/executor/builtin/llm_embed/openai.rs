//! Asks a server that speaks the OpenAI protocol for vectors, some texts at a time.

use std::sync::Arc;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value as Json;

use super::super::llm_chat::of_error;
use super::{Config, Embedded};
use crate::executor::http::{Answer, Body, Http, Request, Settings};
use crate::executor::index::MAX_DIMENSIONS;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::ExecutorName;
use crate::model::port::Clock;
use crate::model::value::Tree;

/// The most bytes of one answer.
const MAX_ANSWER: u64 = 64 << 20;

/// A server and how to ask it.
pub(super) struct OpenAi {
    config: Config,
    request: Request,
    http: Http,
}

impl OpenAi {
    /// Makes ready to ask; connects to nothing yet.
    ///
    /// # Errors
    /// A key that no header can hold, and the way out.
    pub(super) fn new(url: Url, config: Config, executor: ExecutorName, clock: Arc<dyn Clock>) -> Result<Self, (String, &'static str)> {
        let configured = vec![url.to_string()];
        let mut request = Request::new(Method::POST, url);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.idle = config.idle;
        if let Some(key) = &config.api_key {
            let wrong = |_| ("api_key holds characters that no header can hold".to_owned(), "check the secret for line breaks");
            request.secret("authorization", "Bearer ", &Tree::Secret(key.clone())).map_err(wrong)?;
        }
        // An address in the built-in's own config counts as granted literally.
        let http = Http::new(Settings { executor, granted: Vec::new(), configured, clock });
        Ok(Self { config, request, http })
    }

    /// One vector for each text, in their order.
    ///
    /// # Errors
    /// As [`Http::send`]; what the status or an error in the answer amounts to; `permanent` for an answer that does not fit the question.
    /// None of them holds the key.
    pub(super) async fn embed(&self, texts: &[&str]) -> Result<Embedded, Failure> {
        let mut embedded = Embedded { vectors: Vec::with_capacity(texts.len()), model: self.config.model.clone() };
        for texts in texts.chunks(self.config.batch) {
            let asked = self.ask(texts, &mut embedded).await;
            asked.map_err(|failure| failure.with_texts(&|text| self.request.without_secrets(text)))?;
        }
        Ok(embedded)
    }

    async fn ask(&self, texts: &[&str], embedded: &mut Embedded) -> Result<(), Failure> {
        let mut body = serde_json::json!({ "input": texts, "encoding_format": "float" });
        if let Some(fields) = body.as_object_mut() {
            fields.extend(self.config.model.as_deref().map(|model| ("model".to_owned(), Json::from(model))));
            fields.extend(self.config.dimensions.map(|dimensions| ("dimensions".to_owned(), Json::from(dimensions))));
        }
        let request = Request { body: Body::Bytes(body.to_string().into()), ..self.request.clone() };
        let mut answer = self.http.send(&request, None).await?;
        if !answer.is_welcome(&request) {
            let failure = answer.refusal(&self.http, &request).await;
            let way_out = match failure.kind {
                FailureKind::Denied => "; check api_key",
                FailureKind::NotFound => "; check base_url, which usually ends in /v1, and model",
                _ => "",
            };
            let message = format!("{}{way_out}", failure.message);
            return Err(failure.with_message(message));
        }
        let page = answer.whole(&self.http, MAX_ANSWER).await?;
        let page = page.ok_or_else(|| no_embedding(&answer, "has more than 64 MiB; make batch smaller"))?;
        let json: Json = serde_json::from_slice(&page).map_err(|error| no_embedding(&answer, &format!("is no JSON ({error})")))?;
        if let Some(error) = json.get("error").filter(|error| !error.is_null()) {
            return Err(of_error(error));
        }
        let vectors = vectors(&json, texts.len()).map_err(|why| no_embedding(&answer, &why))?;
        if let (Some(before), Some(now)) = (embedded.vectors.first(), vectors.first())
            && before.len() != now.len()
        {
            return Err(no_embedding(&answer, "has vectors of another length than the answer before"));
        }
        embedded.vectors.extend(vectors);
        if let Some(model) = json.get("model").and_then(Json::as_str).filter(|model| !model.is_empty()) {
            embedded.model = Some(model.to_owned());
        }
        Ok(())
    }
}

fn no_embedding(answer: &Answer, why: &str) -> Failure {
    let message = format!("the answer of {} {why}; base_url usually ends in /v1", answer.shown());
    Failure::new(FailureKind::Permanent, message).with_code("no_embedding")
}

/// The vectors of an answer in the order of the texts: servers may answer in another one, and say so by `index`.
fn vectors(json: &Json, wanted: usize) -> Result<Vec<Vec<f64>>, String> {
    let data = json.get("data").and_then(Json::as_array).ok_or("has no `data`")?;
    if data.len() != wanted {
        return Err(format!("has {} vectors for {wanted} texts", data.len()));
    }
    let mut vectors: Vec<Option<Vec<f64>>> = vec![None; wanted];
    for (place, item) in data.iter().enumerate() {
        let index = item.get("index").and_then(Json::as_u64).map_or(Some(place), |index| usize::try_from(index).ok());
        let numbers: Option<Vec<f64>> =
            item.get("embedding").and_then(Json::as_array).and_then(|numbers| numbers.iter().map(Json::as_f64).collect());
        let numbers =
            numbers.filter(|numbers| (1..=MAX_DIMENSIONS).contains(&numbers.len())).ok_or("has a vector that is no list of numbers")?;
        let slot = index.and_then(|index| vectors.get_mut(index)).filter(|slot| slot.is_none());
        *slot.ok_or("numbers its vectors wrongly")? = Some(numbers);
    }
    let vectors: Vec<Vec<f64>> = vectors.into_iter().flatten().collect();
    match vectors.first() {
        Some(first) if vectors.iter().any(|vector| vector.len() != first.len()) => Err("has vectors of several lengths".to_owned()),
        _ => Ok(vectors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, wanted: usize) -> Result<Vec<Vec<f64>>, String> {
        vectors(&serde_json::from_str(json).expect("JSON"), wanted)
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let one = vec![vec![1.0, 2.0], vec![3.0, 4.0]];
        assert_eq!(read(r#"{"data":[{"embedding":[1,2]},{"embedding":[3,4.0]}]}"#, 2), Ok(one.clone()));
        assert_eq!(read(r#"{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}]}"#, 2), Ok(one));
    }

    #[test]
    fn an_answer_that_does_not_fit_is_refused() {
        for json in [
            "{}",
            r#"{"data":[]}"#,
            r#"{"data":[{"embedding":[]}]}"#,
            r#"{"data":[{"embedding":["x"]}]}"#,
            r#"{"data":[{"index":1,"embedding":[1]}]}"#,
        ] {
            assert!(read(json, 1).is_err(), "{json}");
        }
        assert!(read(r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#, 2).is_err());
        assert!(read(r#"{"data":[{"embedding":[1]},{"embedding":[1,2]}]}"#, 2).is_err());
    }
}
