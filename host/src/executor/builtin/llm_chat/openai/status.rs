//! What HTTP statuses and the errors that servers write amount to. Pure.

use std::time::Duration;

use serde_json::Value as Json;

use crate::model::failure::{Failure, FailureKind};
use crate::model::time::Timestamp;

/// The kind that an HTTP status amounts to.
pub(super) const fn kind(status: u16) -> FailureKind {
    match status {
        408 | 425 | 500..=599 => FailureKind::Transient,
        429 => FailureKind::RateLimited,
        401 | 403 => FailureKind::Denied,
        404 | 410 => FailureKind::NotFound,
        409 | 412 => FailureKind::Conflict,
        400 | 422 => FailureKind::Invalid,
        _ => FailureKind::Permanent,
    }
}

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
pub(super) fn of_error(error: &Json) -> Failure {
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

/// The wait that `Retry-After` asks for: seconds, or a date.
pub(super) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    let nanos = u64::try_from(date.as_nanosecond()).unwrap_or_default();
    Some(Timestamp::from_nanos(nanos).since(now))
}

/// The beginning of a text, on one line.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > LONGEST {
        line.truncate(line.floor_char_boundary(LONGEST));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_kinds_of_the_guide() {
        use FailureKind::{Conflict, Denied, Invalid, NotFound, Permanent, RateLimited, Transient};
        for (kinds, statuses) in [
            (Transient, &[408, 425, 500, 502, 503, 504, 529][..]),
            (RateLimited, &[429]),
            (Denied, &[401, 403]),
            (NotFound, &[404, 410]),
            (Conflict, &[409, 412]),
            (Invalid, &[400, 422]),
            (Permanent, &[302, 402, 405, 413, 418, 451]),
        ] {
            assert!(statuses.iter().all(|status| kind(*status) == kinds), "{statuses:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::EPOCH + Duration::from_secs(784_111_770);
        for (header, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("-3", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
        ] {
            assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs), "{header}");
        }
    }

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
