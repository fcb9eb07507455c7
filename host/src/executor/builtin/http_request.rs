//! `http.request`: one request to a granted origin, and its answer as a value or in a file.

use std::sync::Arc;

use futures_util::FutureExt;

use super::declare::{describe, field, list, optional, record, want, with_default};
use super::{checked_input, wrong_config};
use crate::executor::host_api::HostApi;
use crate::executor::http::Request;
use crate::model::executor::Description;
use crate::model::job::Job;
use crate::model::port::{Attempt, CatalogProblem, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::{Map, Tree, Value};

/// Input `{ method, url, … }`; output `{ status, headers, size, body, json, bytes, file }`; config `{ headers, bearer, secret_headers,
/// idle_timeout }`, which the input adds to.
pub(super) fn description() -> Description {
    let file = "a granted folder's file";
    let into = record([
        field("file", Type::String, file),
        optional("folder", Type::String, "the folder, if more than one is granted"),
        optional("max_bytes", Type::Int, "the most that the file may have; null: 1 GiB"),
    ]);
    let input = record([
        with_default("method", Type::String, "GET", "GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"),
        field("url", Type::String, "where to; its scheme, host and port must be granted"),
        optional("query", Type::Any, "a map of what is added to the address; a list gives its name several times"),
        optional("headers", Type::Any, "a map of headers"),
        optional("bearer", Type::Secret, "sent as Authorization: Bearer"),
        secret_headers(),
        optional("body", Type::Any, "a text, or { file, folder, offset, length }: a part of a file, read as it is sent"),
        optional("json", Type::Any, "what is sent as JSON"),
        optional("form", Type::Any, "a map that is sent as a form"),
        with_default(
            "accept",
            list(Type::Int),
            Tree::List(Vec::new()),
            "statuses that are answers though they look like failures, as [404]",
        ),
        optional("into", into, "the file that the answer is written into as it comes"),
        optional("idle_timeout", Type::Duration, "how long the other side may say nothing; null: 30s"),
    ]);
    let output = record([
        field("status", Type::Int, "the HTTP status"),
        field("headers", Type::Any, "a map of the answer's headers, with names in lower case"),
        field("size", Type::Int, "how many bytes the answer has"),
        optional("body", Type::String, "the answer, if it is text and not JSON"),
        field("json", Type::Any, "the answer, if it says that it is JSON; else null"),
        optional("bytes", Type::Bytes, "the answer as base64, if it is no text"),
        optional("file", Type::String, "the file that the answer is in"),
    ]);
    let config = record([
        optional("headers", Type::Any, "headers of each request"),
        optional("bearer", Type::Secret, "sent with each request as Authorization: Bearer"),
        secret_headers(),
        optional("idle_timeout", Type::Duration, "how long the other side may say nothing; null: 30s"),
    ]);
    let described = describe("http.request", "Sends a request over HTTP", input, output);
    Description { config: Some(config), wants: vec![want("http", "to connect to")], ..described }
}

fn secret_headers() -> crate::model::types::Field {
    let header = record([
        field("name", Type::String, "the header"),
        field("value", Type::Secret, "its value"),
        optional("prefix", Type::String, "what stands before it, as 'Token '"),
    ]);
    with_default("secret_headers", list(header), Tree::List(Vec::new()), "headers with secrets; they go to the address's own origin alone")
}

pub(super) struct HttpRequest {
    description: Description,
    config: Map,
    host: Arc<dyn HostApi>,
}

impl HttpRequest {
    /// # Errors
    /// What is wrong with the config, found by reading a request that has only that.
    pub(super) fn new(description: Description, config: &Value, host: Arc<dyn HostApi>) -> Result<Self, CatalogProblem> {
        let config = config.tree().as_map().cloned().unwrap_or_default();
        let address = Map::from_iter([("url".to_owned(), Tree::from("http://localhost/"))]);
        match Request::read(&together(&config, &address)) {
            Ok(_) => Ok(Self { description, config, host }),
            Err(failure) => {
                Err(wrong_config("http.request", &failure.message, "it takes { headers, bearer, secret_headers, idle_timeout }"))
            }
        }
    }
}

impl Executor for HttpRequest {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            let request = Request::read(&together(&self.config, input.tree().as_map().unwrap_or(&Map::new())))?;
            self.host.http_request(&request).await
        }
        .boxed()
    }
}

/// The input's fields over those of the config; headers of both are sent, the input's where both have one.
fn together(config: &Map, input: &Map) -> Tree {
    let mut fields = config.clone();
    for (name, field) in input {
        match (fields.get_mut(name), field) {
            (Some(_), Tree::Null) => {}
            (Some(Tree::Map(before)), Tree::Map(more)) if name == "headers" => {
                before.retain(|name, _| !more.keys().any(|other| other.eq_ignore_ascii_case(name)));
                before.extend(more.clone());
            }
            (Some(Tree::List(before)), Tree::List(more)) if name == "secret_headers" => before.extend(more.iter().cloned()),
            _ => {
                fields.insert(name.clone(), field.clone());
            }
        }
    }
    Tree::Map(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_stands_over_the_config() {
        let map = |json: &str| Value::from_text(json).expect("JSON").tree().as_map().expect("a map").clone();
        let config = map(r#"{"headers":{"A":"1","b":"2"},"idle_timeout":"5s","secret_headers":[]}"#);
        let both = together(&config, &map(r#"{"url":"u","headers":{"a":"3"},"idle_timeout":null,"secret_headers":[1]}"#));
        assert_eq!(Value::from(both).text(), r#"{"headers":{"b":"2","a":"3"},"idle_timeout":"5s","secret_headers":[1],"url":"u"}"#);
    }
}
