//! Limits that cannot hold: an inner one longer than the outer, and retries whose waits outlast the deadline.

use std::time::Duration;

use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::policy::{RetrySettings, show_duration};
use crate::plan::codes;
use crate::plan::raw::Findings;
use crate::plan::raw::policy::Layers;
use crate::plan::source::Span;

/// Checks the whole stack of one step, its named policy included, within the flow's deadline. `place` tells where a layer's span is: a named
/// policy may stand in a library.
pub(in crate::plan) fn check(
    findings: &Findings<'_>,
    layers: &Layers<'_>,
    flow: Option<(Duration, Span)>,
    place: &dyn Fn(usize, Span) -> Place,
) {
    let step = layers.deadline.map(|deadline| (deadline.value, place(deadline.file, deadline.span)));
    let flow = flow.map(|(deadline, span)| (deadline, findings.place(span)));
    if let (Some((inner, here)), Some((outer, around))) = (&step, &flow) {
        longer(findings, ("`deadline`", *inner, here), ("the flow's `deadline`", *outer, around));
    }
    let name = if step.is_some() { "`deadline`" } else { "the flow's `deadline`" };
    let Some((deadline, around)) = step.or(flow) else { return };
    let waits = [
        ("`timeout`", layers.timeout.map(|timeout| (timeout.value, place(timeout.file, timeout.span)))),
        ("`rate_limit.max_wait`", layers.rate_limit.map(|limit| (limit.value.max_wait, place(limit.file, limit.span)))),
        ("`bulkhead.max_wait`", layers.bulkhead.map(|bulkhead| (bulkhead.value.max_wait, place(bulkhead.file, bulkhead.span)))),
    ];
    let mut good = true;
    for (inner_name, wait) in waits {
        if let Some((wait, here)) = wait {
            good &= longer(findings, (inner_name, wait, &here), (name, deadline, &around));
        }
    }
    if let Some(retry) = layers.retry.filter(|_| good) {
        let settings = retry.value.1;
        let timeout = layers.timeout.map(|timeout| timeout.value);
        let sum = total(&settings, settings.max_retries, timeout);
        if sum > deadline {
            let fits =
                (0..settings.max_retries.min(MOST_SHOWN)).take_while(|retries| total(&settings, *retries, timeout) <= deadline).last();
            let message = format!(
                "the retries cannot fit {name}: {} = {} > {}",
                terms(&settings, timeout),
                show_duration(sum),
                show_duration(deadline)
            );
            let way_out = match fits {
                Some(fits) if fits > 0 => format!("give `deadline` {} or more, or `max_retries` {fits} at most", show_duration(sum)),
                _ => format!("give `deadline` {} or more, or the retries shorter waits", show_duration(sum)),
            };
            let diagnostic =
                Diagnostic::error(codes::RETRIES, place(retry.file, retry.span), message).with_related(around, "the deadline is set here");
            findings.add(diagnostic, way_out);
        }
    }
}

/// The name of a limit, how long it is and where it stands.
type Limit<'a> = (&'a str, Duration, &'a Place);

/// Says of an inner limit that it is longer than the outer one; true if it is not.
pub(in crate::plan) fn longer(
    findings: &Findings<'_>,
    (inner_name, inner, here): Limit<'_>,
    (outer_name, outer, around): Limit<'_>,
) -> bool {
    if inner <= outer {
        return true;
    }
    let message = format!(
        "{inner_name} ({}) is longer than {outer_name} ({}) around it, so it never counts",
        show_duration(inner),
        show_duration(outer)
    );
    let diagnostic =
        Diagnostic::error(codes::INNER_LONGER, here.clone(), message).with_related(around.clone(), "the outer limit is set here");
    findings.add(diagnostic, "make the inner limit shorter, or the outer one longer");
    false
}

/// So many retries are looked at one by one; beyond, each wait is like the last.
const MOST_SHOWN: u32 = 1_000;

fn wait(settings: &RetrySettings, retry: u32) -> Duration {
    let factor = settings.multiplier.powf(f64::from(retry));
    Duration::try_from_secs_f64(settings.base_delay.as_secs_f64() * factor).unwrap_or(Duration::MAX).min(settings.max_delay)
}

fn total(settings: &RetrySettings, retries: u32, timeout: Option<Duration>) -> Duration {
    let counted = retries.min(MOST_SHOWN);
    let waits = (0..counted).map(|retry| wait(settings, retry)).fold(Duration::ZERO, Duration::saturating_add);
    let rest = wait(settings, counted).saturating_mul(retries - counted);
    let attempts = timeout.unwrap_or_default().saturating_mul(retries.saturating_add(1));
    attempts.saturating_add(waits).saturating_add(rest)
}

fn terms(settings: &RetrySettings, timeout: Option<Duration>) -> String {
    let mut terms: Vec<String> = Vec::new();
    if let Some(timeout) = timeout {
        terms.push(format!("{} × {}", u64::from(settings.max_retries) + 1, show_duration(timeout)));
    }
    let shown = |retry: u32| show_duration(wait(settings, retry));
    if settings.max_retries <= 8 {
        terms.extend((0..settings.max_retries).map(shown));
    } else {
        terms.extend((0..4).map(shown));
        terms.push("…".to_owned());
        terms.push(shown(settings.max_retries - 1));
    }
    terms.join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_shown_as_people_would_write_it() {
        let settings = RetrySettings::default();
        let timeout = Some(Duration::from_secs(10));
        assert_eq!(terms(&settings, timeout), "4 × 10s + 1s + 2s + 4s");
        assert_eq!(total(&settings, 3, timeout), Duration::from_secs(47));
    }

    #[test]
    fn absurd_numbers_saturate() {
        let settings = RetrySettings { max_retries: u32::MAX, max_delay: Duration::MAX, multiplier: 1e300, ..RetrySettings::default() };
        assert_eq!(total(&settings, settings.max_retries, Some(Duration::MAX)), Duration::MAX);
        assert_eq!(terms(&settings, None).matches('+').count(), 5);
    }
}
