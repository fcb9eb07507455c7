//! What the errors that servers write amount to. Pure.

use std::time::Duration;

use serde_json::Value as Json;

use crate::executor::excerpt::excerpt;
use crate::executor::http::kind;
use crate::model::failure::{Failure, FailureKind};

/// The failure of an answer that is none.
pub(super) fn failure(status: u16, url: &str, page: &str, location: Option<&str>, retry_after: Option<Duration>) -> Failure {
    let error = serde_json::from_str::<Json>(page).ok();
    let error = error.as_ref().map(|json| json.get("error").unwrap_or(json));
    let said = match error.and_then(message) {
        Some(message) => format!(": {}", excerpt(&message)),
        None if page.trim().is_empty() => String::new(),
        None => format!(": {}", excerpt(page)),
    };
    let way_out = match (status, location) {
        (300..=399, Some(location)) => format!("; it redirects to {location}, which is not followed: write that address as base_url"),
        (401 | 403, _) => "; check api_key".to_owned(),
        (404 | 410, _) => "; check base_url, which usually ends in /v1, and model".to_owned(),
        _ => String::new(),
    };
    let failure = Failure::new(kind(status), format!("{url} answered {status}{said}{way_out}")).with_status(status);
    let failure = match error.and_then(code) {
        Some(code) => failure.with_code(code),
        None => failure,
    };
    match retry_after {
        Some(wait) => failure.with_retry_after(wait),
        None => failure,
    }
}

/// The failure of an error that stands inside an answer with status 200.
pub(in crate::executor::builtin) fn of_error(error: &Json) -> Failure {
    let text = message(error).unwrap_or_else(|| error.to_string());
    let status = ["code", "status", "status_code"].iter().find_map(|name| {
        let field = error.get(name)?;
        let number = field.as_u64().or_else(|| field.as_str()?.parse().ok())?;
        u16::try_from(number).ok().filter(|status| (400..600).contains(status))
    });
    let words = ["type", "code", "status"].iter().filter_map(|name| error.get(name)?.as_str()).collect::<Vec<_>>().join(" ").to_lowercase();
    let kind = match status {
        Some(status) => kind(status),
        None => kind_of_words(&words),
    };
    let mut failure = Failure::new(kind, format!("the server ended the answer with an error: {}", excerpt(&text)));
    failure.status = status;
    match code(error) {
        Some(code) => failure.with_code(code),
        None => failure,
    }
}

fn kind_of_words(words: &str) -> FailureKind {
    let any = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    if any(&["rate_limit", "quota", "too_many"]) {
        FailureKind::RateLimited
    } else if any(&["authentication", "permission", "api_key", "unauthorized", "forbidden"]) {
        FailureKind::Denied
    } else if any(&["not_found"]) {
        FailureKind::NotFound
    } else if any(&["overloaded", "server_error", "internal", "unavailable", "timeout"]) {
        FailureKind::Transient
    } else if any(&["invalid", "bad_request", "context_length"]) {
        FailureKind::Invalid
    } else {
        FailureKind::Failed
    }
}

fn message(error: &Json) -> Option<String> {
    if let Some(text) = error.as_str() {
        return Some(text.to_owned());
    }
    ["message", "detail", "error"].iter().find_map(|name| error.get(name)?.as_str()).map(str::to_owned)
}

fn code(error: &Json) -> Option<String> {
    let code = ["code", "type"].iter().find_map(|name| error.get(name)?.as_str())?;
    // A word for programs, and no place for a server to write a page into.
    (!code.is_empty() && code.len() <= 64).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_stream_is_classified() {
        let of = |json: &str| of_error(&serde_json::from_str(json).expect("JSON"));
        assert_eq!(of(r#"{"message":"slow down","type":"rate_limit_exceeded"}"#).kind, FailureKind::RateLimited);
        assert_eq!(of(r#"{"message":"x","code":503}"#).kind, FailureKind::Transient);
        assert_eq!(of(r#"{"message":"x","code":"401"}"#).kind, FailureKind::Denied);
        assert_eq!(of(r#""it went wrong""#).message, "the server ended the answer with an error: it went wrong");
        assert_eq!(of("{}").kind, FailureKind::Failed);
    }
}
