//! Points in time, as the host records them.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z. It reaches to the year 2554; sums saturate there.
///
/// Deadlines, due times and the times in records are absolute, so that they mean the same after a restart. Formats that people read have
/// it as RFC 3339 text to the nanosecond, others as a number of nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z: where the virtual clock begins.
    pub const EPOCH: Self = Self(0);
    /// The last point in time that can be told.
    pub const MAX: Self = Self(u64::MAX);

    /// The point so many nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// As RFC 3339 in UTC with milliseconds: `2026-11-21T09:30:00.250Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => write!(formatter, "{time:.3}"),
            Err(_) => write!(formatter, "{}ns", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) if serializer.is_human_readable() => serializer.collect_str(&time),
            _ => serializer.serialize_u64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        u64::try_from(time.as_nanosecond()).map(Self).map_err(|_| D::Error::custom(format!("{text} is not between 1970 and 2554")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_it_as_text_and_loses_no_nanosecond() {
        for nanos in [0, 1, 1_795_269_619_954_695_032, u64::MAX] {
            let json = serde_json::to_string(&Timestamp(nanos)).expect("a time is JSON");
            assert!(json.starts_with('"') && json.ends_with("Z\""), "{json}");
            assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("it was one"), Timestamp(nanos));
        }
        assert!(serde_json::from_str::<Timestamp>("\"1969-12-31T23:59:59Z\"").is_err());
    }

    #[test]
    fn sums_saturate() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH + Duration::MAX, Timestamp::MAX);
    }

    #[test]
    fn is_shown_with_milliseconds() {
        assert_eq!((Timestamp::EPOCH + Duration::from_millis(1_250)).to_string(), "1970-01-01T00:00:01.250Z");
    }
}
