//! The numbers of policies. What they do is in the `policy` room; which expressions stand beside them, in the plan.

use std::time::Duration;

use super::value::Value;

/// Which layer of the one stack, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// What stands in for a result that could not be had.
    Fallback,
    /// One of several equal jobs at a time.
    Dedup,
    /// A result kept for some time.
    Cache,
    /// The time for the step with all its retries.
    Deadline,
    /// Trying again.
    Retry,
    /// Not calling what keeps failing.
    Breaker,
    /// So many calls in so much time.
    RateLimit,
    /// So many calls at once.
    Bulkhead,
    /// The time for one attempt.
    Timeout,
}

impl Layer {
    /// All of them, outermost first.
    pub const ALL: [Self; 9] = [
        Self::Fallback,
        Self::Dedup,
        Self::Cache,
        Self::Deadline,
        Self::Retry,
        Self::Breaker,
        Self::RateLimit,
        Self::Bulkhead,
        Self::Timeout,
    ];

    /// The key that it is written under.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Dedup => "dedup",
            Self::Cache => "cache",
            Self::Deadline => "deadline",
            Self::Retry => "retry",
            Self::Breaker => "breaker",
            Self::RateLimit => "rate_limit",
            Self::Bulkhead => "bulkhead",
            Self::Timeout => "timeout",
        }
    }
}

/// Whose state a policy has: all who name it share it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PolicyIdentity {
    /// A policy under a name, of a pipeline or a library.
    Named {
        /// The pipeline or library that declares it.
        owner: String,
        /// Its name there.
        policy: String,
    },
    /// A policy beside a step.
    Step {
        /// The pipeline.
        pipeline: String,
        /// The flow.
        flow: String,
        /// The step.
        step: String,
    },
}

/// What to do with a job whose dedup key is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnDuplicate {
    /// Wait for the other one's result and take it.
    #[default]
    Join,
    /// Succeed with null.
    Skip,
    /// Fail as rejected.
    Reject,
}

/// How long a dedup key is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DedupWindow {
    /// Until the terminal event.
    #[default]
    Running,
    /// A success so long after it; anything else frees the key.
    Keep(Duration),
}

/// The numbers of `dedup`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DedupSettings {
    /// How long the key is held.
    pub window: DedupWindow,
    /// What a duplicate gets.
    pub on_duplicate: OnDuplicate,
}

/// The numbers of `cache`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheSettings {
    /// How long an entry is fresh.
    pub ttl: Duration,
    /// How long after that it is still served while a new one is fetched behind it.
    pub stale: Duration,
    /// How many entries at most; the least recently used goes.
    pub max_entries: u64,
}

/// The numbers of `retry`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RetrySettings {
    /// Re-tries: 3 make 4 executions.
    pub max_retries: u32,
    /// The first wait.
    pub base_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// What each wait is multiplied by for the next.
    pub multiplier: f64,
    /// Whether a wait is drawn between nothing and itself.
    pub jitter: bool,
    /// Whether a progress ends the retrying.
    pub stop_after_first_progress: bool,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_retries: 3,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            multiplier: 2.0,
            jitter: false,
            stop_after_first_progress: false,
        }
    }
}

/// The numbers of `breaker`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerSettings {
    /// So many failures inside the window open it.
    pub failures: u32,
    /// The window.
    pub window: Duration,
    /// How long it stays open before it tries.
    pub cooldown: Duration,
    /// How many calls it lets through to try.
    pub half_open: u32,
    /// How often a probe is asked while it is open. With one, no calls are let through to try, whatever the cooldown: the probe's success closes it.
    pub probe_every: Option<Duration>,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 5, window: Duration::from_secs(60), cooldown: Duration::from_secs(30), half_open: 1, probe_every: None }
    }
}

/// The numbers of `rate_limit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimitSettings {
    /// So many calls.
    pub limit: u32,
    /// In so much time.
    pub per: Duration,
    /// So many at once after a quiet time.
    pub burst: u32,
    /// How long a call may wait for its turn.
    pub max_wait: Duration,
}

/// The numbers of `bulkhead`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BulkheadSettings {
    /// So many calls at once.
    pub max_concurrent: u32,
    /// So many waiting.
    pub max_queue: u32,
    /// How long a call may wait for its place.
    pub max_wait: Duration,
}

/// The attempt half of a step's stack: what wraps one executor call. `None` means that the layer is not there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AttemptSettings {
    /// The breaker and whose state it has.
    pub breaker: Option<(PolicyIdentity, BreakerSettings)>,
    /// The rate limit and whose state it has.
    pub rate_limit: Option<(PolicyIdentity, RateLimitSettings)>,
    /// The bulkhead and whose state it has.
    pub bulkhead: Option<(PolicyIdentity, BulkheadSettings)>,
    /// The time for one attempt.
    pub timeout: Option<Duration>,
    /// What is asked while the breaker is open.
    pub probe: Option<ProbeSettings>,
}

/// `probe` of a breaker.
#[derive(Clone, PartialEq, Debug)]
pub struct ProbeSettings {
    /// The executor that is asked, by its number in the pipeline.
    pub executor: usize,
    /// Its input, fixed at load.
    pub input: Value,
    /// How often it is asked; a probe that takes longer has failed.
    pub every: Duration,
}

/// What stands in for a result that could not be had, already evaluated.
#[derive(Clone, PartialEq, Debug)]
pub struct FallbackValue(pub Value);

/// Reads a duration with its unit: `250ms`, `10s`, `1.5h`, `1h30m`. Units are ns, us, ms, s, m, h, d.
///
/// # Errors
/// What to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("an empty duration; write a number with a unit, as 30s".to_owned());
    }
    if let Ok(number) = rest.parse::<f64>() {
        return Err(format!("{number} what? write {number}s"));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let number: f64 = number.parse().map_err(|_| format!("{text:?} is no duration; write a number with a unit, as 30s"))?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => match long_unit(unit) {
                Some(short) => return Err(format!("{unit:?} is no unit of time; write {number}{short}")),
                None => return Err(format!("{unit:?} is no unit of time; the units are ns, us, ms, s, m, h and d")),
            },
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("{text:?} is too long"))?;
        total = total.checked_add(part).ok_or_else(|| format!("{text:?} is too long"))?;
        rest = next.trim_start();
    }
    Ok(total)
}

/// The unit that people write out.
fn long_unit(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().trim_end_matches('s') {
        "millisecond" | "milli" | "msec" => "ms",
        "sec" | "second" => "s",
        "min" | "minute" => "m",
        "hr" | "hour" => "h",
        "day" => "d",
        _ => return None,
    })
}

/// Writes a duration as [`parse_duration`] reads it, in its largest whole units: `1m30s`, `250ms`, `0s`.
pub fn show_duration(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    let units = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut shown = String::new();
    for (unit, size) in units {
        if nanos >= size {
            shown.push_str(&format!("{}{unit}", nanos / size));
            nanos %= size;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

/// Writes a wait that was computed as people say it: `0.3 s`, `29.7 s`, `2m5s`. What stands in a file is shown as it stands there, by [`show_duration`].
pub fn show_wait(wait: Duration) -> String {
    let seconds = wait.as_secs_f64();
    // 59.96 would be shown as 60.
    if seconds >= 59.95 {
        return show_duration(Duration::from_secs(seconds.round() as u64));
    }
    let digits = if seconds < 0.095 { 100.0 } else { 10.0 };
    let rounded = (seconds * digits).round() / digits;
    if rounded == 0.0 && !wait.is_zero() { "0.01 s".to_owned() } else { format!("{rounded} s") }
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that leaves a whole number: `64MiB`, `1000B`.
pub fn show_size(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits)
        .map_or_else(|| format!("{bytes}B"), |(bits, unit)| format!("{}{unit}", bytes >> bits))
}

/// Reads a size with its unit: `64MiB`, `10kB`. Units are B, kB, MB, GB, KiB, MiB, GiB.
///
/// # Errors
/// What to write instead.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return Err(format!("{number} what? write {number}MiB or {number}B"));
    }
    let split = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no size; write a number with a unit, as 64MiB"))?;
    let factor = match unit.trim() {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        unit => return Err(format!("{unit:?} is no unit of size; the units are B, kB, MB, GB, KiB, MiB and GiB")),
    };
    let bytes = number * factor;
    if bytes > 9e15 { Err(format!("{text:?} is too large")) } else { Ok(bytes as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_written() {
        for text in ["250ms", "10s", "1h30m", "4h", "1d2h3m4s5ms", "0s"] {
            assert_eq!(parse_duration(text).map(show_duration).as_deref(), Ok(text));
        }
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("10 s"), Ok(Duration::from_secs(10)));
    }

    #[test]
    fn a_wait_that_was_computed_is_told_in_few_digits() {
        let told = |nanos: u64| show_wait(Duration::from_nanos(nanos));
        let waits =
            [0, 1, 20_000_000, 96_000_000, 250_000_000, 1_500_000_000, 29_688_363_282, 30_000_000_000, 59_960_000_000, 125_400_000_000];
        assert_eq!(waits.map(told), ["0 s", "0.01 s", "0.02 s", "0.1 s", "0.3 s", "1.5 s", "29.7 s", "30 s", "1m", "2m5s"]);
        assert_eq!(told(u64::MAX), show_duration(Duration::from_secs(u64::MAX / 1_000_000_000 + 1)));
    }

    #[test]
    fn a_bare_number_is_asked_what_it_means() {
        assert_eq!(parse_duration("30"), Err("30 what? write 30s".to_owned()));
        assert!(parse_size("64").is_err());
    }

    #[test]
    fn a_unit_that_is_written_out_is_told_its_short_form() {
        for (text, wanted) in [("10 seconds", "write 10s"), ("1 minute", "write 1m"), ("2hrs", "write 2h")] {
            assert!(parse_duration(text).is_err_and(|error| error.ends_with(wanted)), "{text}");
        }
    }

    #[test]
    fn sizes_know_both_kinds_of_units() {
        assert_eq!((parse_size("64MiB"), parse_size("10kB")), (Ok(64 << 20), Ok(10_000)));
        assert_eq!([64 << 20, 1_000, 3 << 10, 0].map(show_size), ["64MiB", "1000B", "3KiB", "0B"]);
    }

    #[test]
    fn nonsense_is_refused_without_a_panic() {
        for text in ["", "s", "1..2s", "9999999999999999999999d", "1x", "-5s", "1e400s"] {
            assert!(parse_duration(text).is_err(), "{text:?} was taken");
        }
    }
}
