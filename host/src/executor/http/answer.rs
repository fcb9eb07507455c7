//! An answer, read piece by piece and never beyond a bound.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, Response, Url};

use super::client::{Activity, Http, broken};
use super::reach::shown;
use super::request::Request;
use super::status::{kind, retry_after};
use crate::executor::excerpt::excerpt;
use crate::model::failure::Failure;
use crate::model::value::{Map, Tree};

/// How many bytes of an error's page are read.
const MAX_ERROR: usize = 64 << 10;

/// An answer that has begun. Dropping it closes the connection, unless all of it was read.
pub(in crate::executor) struct Answer {
    response: Response,
    activity: Activity,
    idle: Duration,
    method: Method,
    url: Url,
}

impl Answer {
    pub(super) fn new(response: Response, activity: Activity, request: &Request, method: &Method, url: &Url) -> Self {
        Self { response, activity, idle: request.idle, method: method.clone(), url: url.clone() }
    }

    /// The HTTP status.
    pub(in crate::executor) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Whether the status says that all is well, or the request takes it as an answer.
    pub(in crate::executor) fn is_welcome(&self, request: &Request) -> bool {
        self.response.status().is_success() || request.accept.contains(&self.status())
    }

    /// Who answered what, as `GET https://api.example.com/path`.
    pub(in crate::executor) fn shown(&self) -> String {
        format!("{} {}", self.method, shown(&self.url))
    }

    /// The headers: names in lower case, several of one name joined by commas.
    pub(super) fn headers(&self) -> Tree {
        let mut headers = Map::new();
        for (name, value) in self.response.headers() {
            let value = String::from_utf8_lossy(value.as_bytes());
            match headers.get_mut(name.as_str()) {
                Some(Tree::Text(before)) => *before = format!("{before}, {value}"),
                _ => {
                    headers.insert(name.as_str().to_owned(), Tree::Text(value.into_owned()));
                }
            }
        }
        Tree::Map(headers)
    }

    /// Whether the body says of itself that it is JSON.
    pub(super) fn is_json(&self) -> bool {
        let kind = self.response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// `transient` for a connection that breaks, `timeout` for one that idles.
    pub(in crate::executor) async fn piece(&mut self, http: &Http) -> Result<Option<Bytes>, Failure> {
        self.activity.heard(http.clock.now());
        let next = http.in_time(&self.activity, self.idle, &self.url, self.response.chunk()).await?;
        next.map_err(|error| broken(&self.url, error))
    }

    /// The whole body; `None` if it has more than `most` bytes, which are not read.
    ///
    /// # Errors
    /// As [`Answer::piece`].
    pub(in crate::executor) async fn whole(&mut self, http: &Http, most: u64) -> Result<Option<Vec<u8>>, Failure> {
        let mut body = Vec::new();
        if self.response.content_length().is_some_and(|length| length > most && self.method != Method::HEAD) {
            return Ok(None);
        }
        while let Some(piece) = self.piece(http).await? {
            if (body.len() + piece.len()) as u64 > most {
                return Ok(None);
            }
            body.extend_from_slice(&piece);
        }
        Ok(Some(body))
    }

    /// The failure that an answer is whose status is none of success. Nothing of the request's secrets is in it.
    pub(in crate::executor) async fn refusal(mut self, http: &Http, request: &Request) -> Failure {
        let status = self.status();
        let wait = self.response.headers().get(RETRY_AFTER).and_then(|header| header.to_str().ok());
        let wait = wait.and_then(|header| retry_after(header, http.clock.now()));
        let mut page = Vec::new();
        // What cannot be read of an error's page is not worth another error.
        while let Ok(Some(piece)) = self.piece(http).await {
            page.extend_from_slice(&piece);
            if page.len() >= MAX_ERROR {
                page.truncate(MAX_ERROR);
                break;
            }
        }
        let page = request.without_secrets(&String::from_utf8_lossy(&page));
        let (said, code) = said(&page);
        let mut failure = Failure::new(kind(status), format!("{} answered {status}{said}", self.shown())).with_status(status);
        failure.message = request.without_secrets(&failure.message);
        failure.code = code;
        failure.retry_after = wait;
        failure
    }
}

/// What a page of an error says, in one line, and its word for programs. Many servers write `{ error: { message, code } }` or nearly so.
fn said(page: &str) -> (String, Option<String>) {
    let json = serde_json::from_str::<serde_json::Value>(page).ok();
    let error = json.as_ref().map(|json| json.get("error").filter(|error| error.is_object()).unwrap_or(json));
    let text = |names: [&str; 3]| error.and_then(|error| names.iter().find_map(|name| error.get(name)?.as_str()));
    let message = text(["message", "detail", "error"]).unwrap_or(page);
    // A word for programs, and no place for a server to write a page into.
    let code = text(["code", "type", "title"]).filter(|code| (1..=64).contains(&code.len()));
    let said = if message.trim().is_empty() { String::new() } else { format!(": {}", excerpt(message)) };
    (said, code.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_an_error_is_told_in_one_line() {
        assert_eq!(said(r#"{"error":{"message":"slow\ndown","code":"busy"}}"#), (": slow down".to_owned(), Some("busy".to_owned())));
        assert_eq!(said(r#"{"error":"gone"}"#), (": gone".to_owned(), None));
        assert_eq!(said("<h1>no</h1>"), (": <h1>no</h1>".to_owned(), None));
        assert_eq!(said(" "), (String::new(), None));
    }
}
