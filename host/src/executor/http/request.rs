//! A request as an executor writes it, read and checked before anything goes out. Pure.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::executor::files::Range;
use crate::model::failure::{Failure, FailureKind};
use crate::model::policy::parse_duration;
use crate::model::secret::Secret;
use crate::model::value::{Map, Tree};

/// The methods that a request may have.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// How long the other side may say nothing, unless the request says otherwise.
const IDLE: Duration = Duration::from_secs(30);

/// The most bytes that an answer's file may have, unless the request says otherwise.
const FILE: u64 = 1 << 30;

/// Headers that belong to the connection: written by hand they would say something else than what is sent, or to whom.
const OWN_HEADERS: [&str; 8] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];

/// What is asked, and of whom.
#[derive(Clone, Debug)]
pub struct Request {
    pub(in crate::executor) method: Method,
    pub(in crate::executor) url: Url,
    pub(in crate::executor) headers: HeaderMap,
    /// Headers that go to this origin alone: those with secrets, and those that say who asks.
    pub(in crate::executor) credentials: HeaderMap,
    /// What failures must not show.
    pub(in crate::executor) secrets: Vec<Secret>,
    pub(in crate::executor) body: Body,
    pub(in crate::executor) idle: Duration,
    /// Statuses that are answers though they look like failures.
    pub(in crate::executor) accept: Vec<u16>,
    pub(in crate::executor) into: Option<Download>,
}

/// What is sent along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(Bytes),
    /// A part of a file, read as it is sent.
    File {
        /// The granted folder, if it is named.
        folder: Option<String>,
        /// The file beneath it.
        file: String,
        /// Which part of it.
        range: Range,
    },
}

/// The file that an answer is written into as it comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Download {
    /// The granted folder, if it is named.
    pub folder: Option<String>,
    /// The file beneath it.
    pub file: String,
    /// The most bytes that it may have.
    pub max_bytes: u64,
}

impl Request {
    /// A request without body.
    pub(in crate::executor) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            credentials: HeaderMap::new(),
            secrets: Vec::new(),
            body: Body::None,
            idle: IDLE,
            accept: Vec::new(),
            into: None,
        }
    }

    /// Reads `{ method, url, query, headers, bearer, secret_headers, body | json | form, accept, into, idle_timeout }`.
    ///
    /// # Errors
    /// `invalid` with the field that is wrong.
    pub fn read(tree: &Tree) -> Result<Self, Failure> {
        let set = |name: &str| tree.field(name).filter(|field| !matches!(field, Tree::Null));
        let method = match set("method") {
            None => Method::GET,
            Some(Tree::Text(name)) if METHODS.contains(&name.to_ascii_uppercase().as_str()) => {
                Method::from_bytes(name.to_ascii_uppercase().as_bytes()).map_err(|error| wrong(format!("method: {error}")))?
            }
            Some(_) => return Err(wrong(format!("method is one of {}", METHODS.join(", ")))),
        };
        let Some(Tree::Text(url)) = set("url") else { return Err(wrong("url is a text, as https://api.example.com/path")) };
        let url =
            Url::parse(url).map_err(|error| wrong(format!("url is no address ({error}); write it as https://api.example.com/path")))?;
        let mut request = Self::new(method, url);
        let query = set("query").map(|query| pairs("query", query)).transpose()?.unwrap_or_default();
        if !query.is_empty() {
            request.url.query_pairs_mut().extend_pairs(query);
        }
        for (name, value) in set("headers").map(|headers| pairs("headers", headers)).transpose()?.unwrap_or_default() {
            request.header(&name, &value)?;
        }
        if let Some(bearer) = set("bearer") {
            request.secret("authorization", "Bearer ", bearer)?;
        }
        for header in items("secret_headers", set("secret_headers"))? {
            let (Some(Tree::Text(name)), Some(value)) = (header.field("name"), header.field("value")) else {
                return Err(wrong("each of secret_headers is { name, value } and may have a prefix"));
            };
            request.secret(name, header.field("prefix").and_then(Tree::as_text).unwrap_or_default(), value)?;
        }
        request.body(set("body"), set("json"), set("form"))?;
        for status in items("accept", set("accept"))? {
            let status = status.as_int().and_then(|status| u16::try_from(status).ok()).filter(|status| (100..600).contains(status));
            request.accept.push(status.ok_or_else(|| wrong("accept lists HTTP statuses, as [404]"))?);
        }
        if let Some(into) = set("into") {
            let file =
                into.field("file").and_then(Tree::as_text).ok_or_else(|| wrong("into is { file } and may have folder and max_bytes"))?;
            let max_bytes = whole("into.max_bytes", into.field("max_bytes"))?.unwrap_or(FILE);
            request.into = Some(Download { folder: folder_of(into), file: file.to_owned(), max_bytes });
        }
        if let Some(idle) = set("idle_timeout") {
            let idle = idle.as_text().and_then(|text| parse_duration(text).ok()).filter(|idle| !idle.is_zero());
            request.idle = idle.ok_or_else(|| wrong("idle_timeout is a duration above 0, as 30s"))?;
        }
        Ok(request)
    }

    fn body(&mut self, body: Option<&Tree>, json: Option<&Tree>, form: Option<&Tree>) -> Result<(), Failure> {
        let (bytes, kind) = match (body, json, form) {
            (None, None, None) => return Ok(()),
            (Some(Tree::Text(text)), None, None) => (text.clone(), "text/plain; charset=utf-8"),
            (Some(part), None, None) => {
                let Some(file) = part.field("file").and_then(Tree::as_text) else {
                    return Err(wrong("body is a text, or { file } and may then have folder, offset and length"));
                };
                let range = Range {
                    offset: whole("body.offset", part.field("offset"))?.unwrap_or_default(),
                    length: whole("body.length", part.field("length"))?,
                };
                self.body = Body::File { folder: folder_of(part), file: file.to_owned(), range };
                return Ok(());
            }
            (None, Some(json), None) => {
                if json.holds_secret() {
                    return Err(wrong("json holds a secret; secrets go as bearer or secret_headers"));
                }
                (serde_json::to_string(json).unwrap_or_default(), "application/json")
            }
            (None, None, Some(form)) => {
                let mut fields = Url::parse("form:x").map_err(|error| wrong(error.to_string()))?;
                fields.query_pairs_mut().extend_pairs(pairs("form", form)?);
                (fields.query().unwrap_or_default().to_owned(), "application/x-www-form-urlencoded")
            }
            _ => return Err(wrong("a request has one of body, json and form")),
        };
        self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        self.body = Body::Bytes(bytes.into());
        Ok(())
    }

    fn header(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let (name, value) = (header_name(name)?, header_value(name, value)?);
        let says_who = matches!(name.as_str(), "authorization" | "cookie" | "proxy-authorization");
        let of = if says_who { &mut self.credentials } else { &mut self.headers };
        of.insert(name, value);
        Ok(())
    }

    /// A header that holds a secret, behind a text that may be shown.
    pub(in crate::executor) fn secret(&mut self, name: &str, prefix: &str, value: &Tree) -> Result<(), Failure> {
        let Tree::Secret(secret) = value else { return Err(wrong(format!("the value of {name} is a secret, as '${{secret.NAME}}'"))) };
        let mut header = header_value(name, &format!("{prefix}{}", secret.reveal().trim()))?;
        header.set_sensitive(true);
        self.credentials.insert(header_name(name)?, header);
        self.secrets.push(secret.clone());
        Ok(())
    }

    /// A text without the secrets that went out with the request: servers like to repeat what they refuse.
    pub(in crate::executor) fn without_secrets(&self, text: &str) -> String {
        let shown = self.secrets.iter().filter(|secret| !secret.reveal().trim().is_empty());
        shown.fold(text.to_owned(), |text, secret| text.replace(secret.reveal().trim(), &secret.to_string()))
    }
}

fn wrong(message: impl AsRef<str>) -> Failure {
    Failure::new(FailureKind::Invalid, format!("the request is wrong: {}", message.as_ref())).with_code("input")
}

fn header_name(name: &str) -> Result<HeaderName, Failure> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(format!("{name:?} is no name of a header")))?;
    if OWN_HEADERS.contains(&parsed.as_str()) || parsed.as_str().starts_with("proxy-") {
        return Err(wrong(format!("the header {name} belongs to the connection and is written by the host")));
    }
    Ok(parsed)
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(value)
        .map_err(|_| wrong(format!("the value of the header {name} holds what no header can: look for line breaks")))
}

/// The fields of a map as texts; a list gives its name once for each item, null is left out.
fn pairs(what: &str, tree: &Tree) -> Result<Vec<(String, String)>, Failure> {
    let Some(fields) = tree.as_map() else { return Err(wrong(format!("{what} is a map, and this is {}", tree.kind()))) };
    let mut pairs = Vec::with_capacity(fields.len());
    for (name, field) in fields as &Map {
        let items = if let Tree::List(items) = field { items.as_slice() } else { std::slice::from_ref(field) };
        for item in items {
            let text = match item {
                Tree::Null => continue,
                Tree::Text(text) => text.clone(),
                Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) => serde_json::to_string(item).unwrap_or_default(),
                Tree::Secret(_) => return Err(wrong(format!("{what}.{name} is a secret; secrets go as bearer or secret_headers"))),
                Tree::List(_) | Tree::Map(_) => return Err(wrong(format!("{what}.{name} is {}, not a text or a number", item.kind()))),
            };
            pairs.push((name.clone(), text));
        }
    }
    Ok(pairs)
}

fn items<'a>(what: &str, tree: Option<&'a Tree>) -> Result<&'a [Tree], Failure> {
    tree.map_or(Ok(&[][..]), |tree| tree.as_list().ok_or_else(|| wrong(format!("{what} is a list, and this is {}", tree.kind()))))
}

fn whole(what: &str, tree: Option<&Tree>) -> Result<Option<u64>, Failure> {
    match tree {
        None | Some(Tree::Null) => Ok(None),
        Some(tree) => {
            let number = tree.as_int().and_then(|number| u64::try_from(number).ok());
            number.map(Some).ok_or_else(|| wrong(format!("{what} is a whole number from 0, in bytes")))
        }
    }
}

fn folder_of(tree: &Tree) -> Option<String> {
    tree.field("folder").and_then(Tree::as_text).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Value;

    fn read(json: &str) -> Result<Request, Failure> {
        Request::read(Value::from_text(json).expect("JSON").tree())
    }

    #[test]
    fn a_request_is_read_with_its_defaults() {
        let request =
            read(r#"{"url":"https://h/p?a=1","query":{"q":"x y","n":[1,2],"gone":null},"headers":{"X-A":"b"}}"#).expect("a request");
        assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", "https://h/p?a=1&q=x+y&n=1&n=2"));
        assert_eq!(request.headers.get("x-a").map(HeaderValue::as_bytes), Some(&b"b"[..]));
        let request = read(r#"{"method":"post","url":"https://h","form":{"a":"1&2"}}"#).expect("a request");
        assert_eq!(request.body, Body::Bytes("a=1%262".into()));
        let request = read(r#"{"method":"PUT","url":"https://h","body":{"file":"a.bin","offset":5,"length":3}}"#).expect("a request");
        assert_eq!(request.body, Body::File { folder: None, file: "a.bin".to_owned(), range: Range { offset: 5, length: Some(3) } });
    }

    #[test]
    fn a_mistake_names_its_field() {
        for (json, word) in [
            ("{}", "url"),
            (r#"{"url":"nowhere"}"#, "url"),
            (r#"{"url":"https://h","method":"CONNECT"}"#, "method"),
            (r#"{"url":"https://h","headers":{"Host":"x"}}"#, "Host"),
            (r#"{"url":"https://h","headers":{"a b":"x"}}"#, "a b"),
            (r#"{"url":"https://h","headers":{"a":"x\ny"}}"#, "line breaks"),
            (r#"{"url":"https://h","query":[1]}"#, "query"),
            (r#"{"url":"https://h","query":{"a":{}}}"#, "query.a"),
            (r#"{"url":"https://h","body":"x","json":1}"#, "one of"),
            (r#"{"url":"https://h","body":{"offset":1}}"#, "body"),
            (r#"{"url":"https://h","body":{"file":"a","offset":-1}}"#, "body.offset"),
            (r#"{"url":"https://h","accept":[4]}"#, "accept"),
            (r#"{"url":"https://h","bearer":"x"}"#, "secret"),
            (r#"{"url":"https://h","idle_timeout":"0s"}"#, "idle_timeout"),
            (r#"{"url":"https://h","into":{}}"#, "into"),
        ] {
            let failure = read(json).expect_err(json);
            assert!(failure.kind == FailureKind::Invalid && failure.message.contains(word), "{json}: {failure}");
        }
    }

    #[test]
    fn a_secret_is_kept_apart_and_never_shown() {
        let secret = Tree::Secret(Secret::new("TOKEN", "hunter2"));
        let mut request = Request::new(Method::GET, Url::parse("https://h").expect("an address"));
        request.secret("Authorization", "Bearer ", &secret).expect("a header");
        assert!(request.headers.is_empty() && !format!("{request:?}").contains("hunter2"));
        assert_eq!(request.without_secrets("no hunter2 here"), "no «secret TOKEN» here");
    }
}
