//! What statuses, their headers and what servers write of their errors amount to. Pure.

use std::time::Duration;

use crate::model::failure::FailureKind;
use crate::model::time::Timestamp;

/// The kind of failure that a status is.
pub(in crate::executor) const fn kind(status: u16) -> FailureKind {
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

/// The wait that `Retry-After` asks for: seconds, or a date.
pub(in crate::executor) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    let nanos = u64::try_from(date.as_nanosecond()).unwrap_or_default();
    Some(Timestamp::from_nanos(nanos).since(now))
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
}
