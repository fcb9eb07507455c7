//! Points in time, as the host records them.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use jiff::tz::Offset;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json;

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

    /// RFC 3339 in UTC, to the last nanosecond that is not nought. Nearly every fact has such a text: it is put together digit by digit, since the
    /// formatters cost more than twice as much.
    fn rfc3339(self, text: &mut [u8; 30]) -> &str {
        const SECOND: u64 = 1_000_000_000;
        let nanos = (self.0 % SECOND) as u32;
        // Within the 584 years that a timestamp reaches nothing of this fails.
        let time =
            jiff::Timestamp::from_second((self.0 / SECOND).cast_signed()).map(|time| Offset::UTC.to_datetime(time)).unwrap_or_default();
        let length = match nanos {
            0 => 20,
            _ => 30 - trailing_noughts(nanos),
        };
        text[0..4].copy_from_slice(&digits::<4>(time.year().unsigned_abs().into()));
        text[5..7].copy_from_slice(&digits::<2>(time.month().unsigned_abs().into()));
        text[8..10].copy_from_slice(&digits::<2>(time.day().unsigned_abs().into()));
        text[11..13].copy_from_slice(&digits::<2>(time.hour().unsigned_abs().into()));
        text[14..16].copy_from_slice(&digits::<2>(time.minute().unsigned_abs().into()));
        text[17..19].copy_from_slice(&digits::<2>(time.second().unsigned_abs().into()));
        text[20..29].copy_from_slice(&digits::<9>(nanos));
        text[length - 1] = b'Z';
        // It is ASCII.
        std::str::from_utf8(&text[..length]).unwrap_or_default()
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The last so many digits of a number.
#[inline]
fn digits<const COUNT: usize>(mut number: u32) -> [u8; COUNT] {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// How many of nine digits are noughts at the end.
const fn trailing_noughts(mut nanos: u32) -> usize {
    let mut noughts = 0;
    while noughts < 9 && nanos.is_multiple_of(10) {
        nanos /= 10;
        noughts += 1;
    }
    noughts
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
        if serializer.is_human_readable() {
            json::plain(self.rfc3339(&mut { LONGEST }), serializer)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

/// The longest text of a point in time, with its digits to be filled in.
const LONGEST: [u8; 30] = *b"0000-00-00T00:00:00.000000000Z";

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads a text, which need not be kept for that.
struct Text;

impl Visitor<'_> for Text {
    type Value = Timestamp;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a time as RFC 3339 has it")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
        let time: jiff::Timestamp = text.parse().map_err(E::custom)?;
        u64::try_from(time.as_nanosecond()).map(Timestamp).map_err(|_| E::custom(format!("{text} is not between 1970 and 2554")))
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
    fn its_text_is_what_the_calendar_says() {
        let (mut instants, mut bits) =
            (vec![0, 1, 999, 1_000_000_000, 951_782_400_000_000_000, u64::MAX - 1, u64::MAX], 0x9e37_79b9_7f4a_7c15_u64);
        // Each second around each turn of a year, with fractions of every length.
        for year in 0..584_u64 {
            let turn = (year * 365 + (year + 1) / 4) * 86_400 * 1_000_000_000;
            instants.extend((0..10).flat_map(|length| [turn + 10_u64.pow(length), turn.saturating_sub(10_u64.pow(length)), turn]));
        }
        instants.extend((0..50_000).map(|number| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if number % 2 == 0 { bits } else { bits / 1_000_000_000 * 1_000_000_000 }
        }));
        for nanos in instants {
            let calendar = jiff::Timestamp::from_nanosecond(i128::from(nanos)).expect("it is within reach").to_string();
            assert_eq!(Timestamp(nanos).rfc3339(&mut { LONGEST }), calendar);
        }
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
