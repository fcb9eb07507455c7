//! Waits that are written out, one after the other, against the flow's deadline.

use std::time::Duration;

use super::branches::Body;
use crate::model::diagnostic::Diagnostic;
use crate::model::policy::{parse_duration, show_duration};
use crate::model::record::BlockNumber;
use crate::plan::codes;
use crate::plan::pipeline::{Join, Verb};
use crate::plan::raw::Findings;
use crate::plan::source::Span;
use crate::plan::template::Template;

/// So many terms of a sum are shown.
const MOST_SHOWN: usize = 8;

/// Warns if the longest way through a block waits longer than the flow may take. One wait alone that does is an error, and told elsewhere.
pub(in crate::plan) fn check(findings: &Findings<'_>, body: Body<'_>, (deadline, span): (Duration, Span)) {
    let way = longest(body, BlockNumber(0));
    if way.total <= deadline || way.terms.iter().any(|term| *term > deadline) {
        return;
    }
    let mut terms: Vec<String> = way.terms.iter().take(MOST_SHOWN).map(|term| show_duration(*term)).collect();
    if way.terms.len() > MOST_SHOWN {
        terms.push("…".to_owned());
    }
    let message = format!(
        "the waits of this flow can outlast its `deadline`: {} = {} > {}",
        terms.join(" + "),
        show_duration(way.total),
        show_duration(deadline)
    );
    let diagnostic = Diagnostic::warning(codes::LONG_WAY, findings.place(span), message);
    findings.add(diagnostic, format!("give `deadline` {} or more, or the waits less", show_duration(way.total)));
}

/// The waits on one way.
#[derive(Default)]
struct Way {
    total: Duration,
    terms: Vec<Duration>,
}

impl Way {
    fn then(&mut self, other: Self) {
        self.total = self.total.saturating_add(other.total);
        self.terms.extend(other.terms);
    }
}

fn longest(body: Body<'_>, block: BlockNumber) -> Way {
    let mut way = Way::default();
    for step in body.block(block) {
        way.then(match &step.verb {
            Verb::Sleep(time) => one(time),
            Verb::Wait(wait) => one(&wait.timeout),
            Verb::Switch(cases) => of(cases.iter().map(|case| longest(body, case.block)), Join::All),
            Verb::Parallel(parallel) => of(parallel.branches.iter().map(|(_, block)| longest(body, *block)), parallel.join),
            // How many items there will be is not known: one is the least that is worth a warning.
            Verb::Each(each) => longest(body, each.block),
            _ => Way::default(),
        });
    }
    way
}

/// The longest of these; of a quorum the one that decides it.
fn of(ways: impl Iterator<Item = Way>, join: Join) -> Way {
    let mut ways: Vec<Way> = ways.collect();
    ways.sort_by_key(|way| way.total);
    let decides = match join {
        Join::All => ways.len(),
        Join::Quorum(quorum) => quorum as usize,
    };
    ways.into_iter().nth(decides.saturating_sub(1)).unwrap_or_default()
}

fn one(time: &Template) -> Way {
    let written = match time {
        Template::Literal(value) => value.tree().as_text().and_then(|text| parse_duration(text).ok()),
        _ => None,
    };
    written.map_or_else(Way::default, |time| Way { total: time, terms: vec![time] })
}
