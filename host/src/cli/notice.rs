//! What happens beside the talk, in one line for people; most of it is not worth one.

use std::collections::{BTreeSet, VecDeque};

use super::check::many;
use super::style::{Style, harmless};
use crate::app::Left;
use crate::model::activation::RunOutcome;
use crate::model::failure::Failure;
use crate::model::happening::{Happening, RunLabel, Unheard, What};
use crate::model::id::{RunId, StepId};
use crate::model::job::JobOutcome;
use crate::model::policy::show_wait;
use crate::model::port::Health;

/// The line for a happening, if people want to know of it while they talk. `names_run` is whether a line that comes again and again says of which run it is.
pub(super) fn line(happening: &Happening, style: Style, names_run: bool) -> Option<String> {
    let line = match &happening.what {
        What::Retrying { job, attempt, failure, wait } => {
            let wait = show_wait(*wait);
            let of = happening.run.as_ref().map(|run| format!("{}, ", flow_of(run, names_run))).unwrap_or_default();
            // A step without an id has its number, which says little by itself.
            let by = if job.step.as_str().starts_with('#') { format!(" ({})", job.executor) } else { String::new() };
            style.yellow(&format!("{of}step {}{by}: attempt {attempt} failed ({}); again in {wait}", job.step, failure.message))
        }
        What::Breaker { policy, state, probed } => match *state {
            "open" => {
                let until = if *probed { "its probe succeeds" } else { "its cooldown is over" };
                style.yellow(&format!("{policy}: too many failures; calls are refused until {until}"))
            }
            "closed" => style.dim(&format!("{policy}: calls go through again")),
            _ => return None,
        },
        What::Reloaded { changed, removed, took } => {
            let names: Vec<_> = changed.iter().map(|name| name.as_str()).collect();
            let gone: Vec<_> = removed.iter().map(|name| name.as_str()).collect();
            let parts = [("in force: ", names), ("gone: ", gone)].into_iter().filter(|(_, names)| !names.is_empty());
            let parts: Vec<_> = parts.map(|(word, names)| format!("{word}{}", names.join(", "))).collect();
            style.green(&format!("saved, and {} ({:.0} ms)", parts.join("; "), took.as_secs_f64() * 1e3))
        }
        What::Unchanged => style.dim("saved, and nothing changed"),
        What::Indexed { index, files, chunks } => {
            style.dim(&format!("{index}: {}, {}", many(*files, "document"), many(*chunks, "passage")))
        }
        What::DocumentSkipped { index, file, reason } => style.yellow(&format!("{index}: {file} was skipped: {reason}")),
        What::Undelivered { undelivered, subscriber, reason } => {
            style.yellow(&format!("{} did not reach {subscriber}: {reason}", undelivered.event_type))
        }
        What::Unreadable { failure } => {
            style.yellow(&format!("warning[{}]: {}", failure.code.as_deref().unwrap_or_default(), failure.message))
        }
        What::OutboxTrouble { source, entry, reason } => style.yellow(&format!("outbox of {source}: {entry}: {reason}")),
        What::Waiting { step, events, until } => {
            let RunLabel { pipeline, flow, run, .. } = happening.run.as_ref()?;
            let words: Vec<&str> = events.iter().map(|event| event.as_str()).collect();
            let (words, first) = (words.join(" or "), words.first()?);
            style.dim(&format!(
                "{pipeline}.{flow} waits in step {step} for {words} until {until}; pipehost signal {run} {first} '{{…}}' answers it, and pipehost runs list shows all that wait"
            ))
        }
        What::RunEnded { outcome, unheard: Some(unheard), .. } => style.red(&ended(happening.run.as_ref()?, outcome, *unheard)?),
        What::Stalled { reason } => style.yellow(&format!("{reason}; see pipehost runs list")),
        What::DeadLetterGone { owner, key } => style.yellow(&format!(
            "there are too many dead letters, and the oldest is gone: {key} of {owner}; replay or drop some: see pipehost dlq list"
        )),
        _ => return None,
    };
    Some(if style.is_coloured() { line } else { harmless(&line) })
}

/// `shop.order`, or `shop.order 01a1fe73-0253-792e`: as much of the id as tells apart runs that begin in the same moment, and names the run in commands.
fn flow_of(run: &RunLabel, names_run: bool) -> String {
    let RunLabel { pipeline, flow, run, .. } = run;
    let id = run.to_string();
    let id = id.get(..TELLING).filter(|_| names_run);
    id.map_or_else(|| format!("{pipeline}.{flow}"), |id| format!("{pipeline}.{flow} {id}"))
}

/// So much of an id is its time to the millisecond, and what counts up within one.
const TELLING: usize = 18;

/// The bad end of a run that nobody else was told of.
fn ended(run: &RunLabel, outcome: &RunOutcome, unheard: Unheard) -> Option<String> {
    let in_step = |how: &str, failure: &Failure| {
        let step = failure.step.as_ref().map_or_else(String::new, |step| format!(" in step {step}"));
        format!("{how}{step}: {}", failure.message)
    };
    let how = match outcome {
        RunOutcome::Failed { failure } => in_step("failed", failure),
        RunOutcome::TimedOut { failure } => in_step("timed out", failure),
        RunOutcome::Parked { left, .. } => parked(left),
        RunOutcome::Succeeded | RunOutcome::Cancelled { .. } => return None,
    };
    let look = match (outcome, unheard) {
        (RunOutcome::Parked { .. }, _) => resumes(run.run),
        (_, Unheard::DeadLetter) => format!("pipehost dlq replay {0} does it again, pipehost dlq show {0} tells all", run.run),
        (_, Unheard::Recorded) => format!("pipehost runs retry {0} does it again, pipehost runs show {0} tells all", run.run),
    };
    Some(format!("{}.{} {how}; {look}", run.pipeline, run.flow))
}

/// `is parked, as what step pay did could not be undone (the bank is closed)`.
pub(super) fn parked(left: &[(StepId, Failure)]) -> String {
    let left: Vec<String> =
        left.iter().map(|(step, failure)| format!("what step {step} did could not be undone ({})", failure.message)).collect();
    format!("is parked, as {}", left.join(", and "))
}

/// What can be done about a parked run.
pub(super) fn resumes(run: RunId) -> String {
    format!("pipehost runs resume {run} tries that again, pipehost runs show {run} tells all")
}

/// The journal takes no new runs any more, or takes them again.
pub(super) fn room(was: &Health, now: &Health) -> Option<String> {
    Some(match (was, now) {
        (_, Health::Full(why)) => format!(
            "there is no room where the data folder is ({}): new runs are refused, and runs under way go on; make room there",
            harmless(why)
        ),
        (_, Health::Held(why)) => format!(
            "another program holds the journal in the data folder ({}): new runs are refused, and runs under way wait; end that program, or wait until it is done",
            harmless(why)
        ),
        (Health::Full(_), Health::Good) => "there is room again where the data folder is: new runs are taken".to_owned(),
        (Health::Held(_), Health::Good) => "nobody else holds the journal any more: new runs are taken".to_owned(),
        _ => return None,
    })
}

/// What a host that has ended left for its next start.
pub(super) fn left(left: Left) -> String {
    let Left { runs, stalled } = left;
    let go_on = if runs == 1 { "waits and goes on" } else { "wait and go on" };
    let waits = (runs > 0).then(|| format!("{} {go_on} at the next start", many(runs, "run")));
    let are_stalled = (stalled > 0).then(|| match runs {
        0 => format!("{} stalled", many(stalled, "run")),
        _ => format!("{stalled} stalled"),
    });
    let parts: Vec<String> = waits.into_iter().chain(are_stalled).collect();
    format!("{}: pipehost runs list --status open", parts.join(", "))
}

/// So many lines wait for a moment to be said; the oldest go first, and how many went is said.
const MOST: usize = 64;

/// What waits to be said between two answers.
#[derive(Debug, Default)]
pub(super) struct Notices {
    lines: VecDeque<String>,
    left_out: usize,
    /// The steps of which it was said that runs wait there.
    waits: BTreeSet<String>,
    /// The steps of runs of which it was said that they are tried again, until it is known what came of that.
    retried: BTreeSet<(RunId, StepId)>,
    /// Runs of which something was heard, and not their end.
    under_way: BTreeSet<RunId>,
}

/// Of so many steps it is said.
const MOST_WAITS: usize = 64;
/// Of so many steps that are tried again at one time it is said what came of it.
const MOST_RETRIED: usize = 1_024;
/// One of several under way is named; beyond so many nobody needs to know which.
const MOST_UNDER_WAY: usize = 1_024;

impl Notices {
    /// Whether it is worth saying: that runs wait is said for the first one at each step, as there may be very many.
    pub(super) fn is_news(&mut self, happening: &Happening) -> bool {
        let (What::Waiting { step, .. }, Some(run)) = (&happening.what, &happening.run) else { return true };
        self.waits.len() < MOST_WAITS && self.waits.insert(format!("{}.{}.{step}", run.pipeline, run.flow))
    }

    /// Whether a line about this run has to say which it is, as others are under way. To be asked of everything that happens.
    pub(super) fn names_run(&mut self, happening: &Happening) -> bool {
        let Some(run) = happening.run.as_ref().map(|run| run.run) else { return false };
        if self.under_way.len() < MOST_UNDER_WAY {
            self.under_way.insert(run);
        }
        let others = self.under_way.len() > 1 || !self.under_way.contains(&run);
        if matches!(happening.what, What::RunEnded { .. }) {
            self.under_way.remove(&run);
        }
        others
    }

    /// What came of a step of which it was said that it is tried again, if that is not a good end: nothing else might say so.
    pub(super) fn after_retries(&mut self, happening: &Happening, style: Style, names_run: bool) -> Option<String> {
        let run = happening.run.as_ref()?;
        let (step, line) = match &happening.what {
            What::Retrying { job, .. } => {
                if self.retried.len() < MOST_RETRIED {
                    self.retried.insert((run.run, job.step.clone()));
                }
                return None;
            }
            What::StepFailed { step, failure } => {
                (step, Some(format!("the last attempt failed ({}); its fallback stands in", failure.message)))
            }
            What::JobEnded { job, outcome: JobOutcome::Failed { failure } | JobOutcome::TimedOut { failure } } => {
                (&job.step, Some(format!("the last attempt failed ({})", failure.message)))
            }
            What::JobEnded { job, .. } => (&job.step, None),
            _ => return None,
        };
        if !self.retried.remove(&(run.run, step.clone())) {
            return None;
        }
        let line = style.yellow(&format!("{}, step {step}: {}", flow_of(run, names_run), line?));
        Some(if style.is_coloured() { line } else { harmless(&line) })
    }

    /// One more.
    pub(super) fn keep(&mut self, line: String) {
        if self.lines.len() == MOST {
            self.lines.pop_front();
            self.left_out += 1;
        }
        self.lines.push_back(line);
    }

    /// All of them, to be said now.
    pub(super) fn take(&mut self) -> Vec<String> {
        let left_out = std::mem::take(&mut self.left_out);
        let left_out = (left_out > 0).then(|| format!("{} left out; with --log text nothing is", many(left_out, "line")));
        left_out.into_iter().chain(self.lines.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::failure::FailureKind;
    use crate::model::happening::JobLabel;
    use crate::model::id::{CorrelationId, ExecutorName, FlowName, JobId, PipelineName};
    use crate::model::job::CancelReason;
    use crate::model::time::Timestamp;

    fn label() -> RunLabel {
        RunLabel {
            pipeline: PipelineName::new("shop"),
            flow: FlowName::new("order"),
            run: RunId::new(uuid::Uuid::nil()),
            correlation_id: CorrelationId::new(uuid::Uuid::nil()),
        }
    }

    fn shown(run: Option<RunLabel>, what: What) -> Option<String> {
        line(&Happening { time: Timestamp::EPOCH, run, what }, Style::PLAIN, false)
    }

    #[test]
    fn a_reload_says_what_is_in_force_and_how_long_it_took() {
        let took = Duration::from_millis(12);
        let what = What::Reloaded { changed: vec![PipelineName::new("chatbot")], removed: vec![], took };
        assert_eq!(shown(None, what).as_deref(), Some("saved, and in force: chatbot (12 ms)"));
    }

    #[test]
    fn a_bad_end_that_nobody_heard_is_told_with_what_can_be_done() {
        let failure = Failure::new(FailureKind::Conflict, "it is gone").at_step(&StepId::new("write"));
        let ended = |outcome: RunOutcome, unheard| shown(Some(label()), What::RunEnded { outcome, elapsed: Duration::ZERO, unheard });
        let run = "00000000-0000-0000-0000-000000000000";
        let failed = RunOutcome::Failed { failure: failure.clone() };
        assert_eq!(
            ended(failed.clone(), Some(Unheard::DeadLetter)),
            Some(format!(
                "shop.order failed in step write: it is gone; pipehost dlq replay {run} does it again, pipehost dlq show {run} tells all"
            ))
        );
        assert_eq!(
            ended(RunOutcome::TimedOut { failure: failure.clone() }, Some(Unheard::Recorded)),
            Some(format!(
                "shop.order timed out in step write: it is gone; pipehost runs retry {run} does it again, pipehost runs show {run} tells all"
            ))
        );
        let parked = RunOutcome::Parked {
            because: Box::new(RunOutcome::Cancelled { reason: CancelReason::Requested }),
            left: vec![(StepId::new("write"), failure)],
        };
        assert_eq!(
            ended(parked, Some(Unheard::Recorded)),
            Some(format!(
                "shop.order is parked, as what step write did could not be undone (it is gone); pipehost runs resume {run} tries that again, pipehost runs show {run} tells all"
            ))
        );
        assert_eq!(ended(failed, None), None, "whoever waited for it was told");
    }

    #[test]
    fn that_new_runs_are_refused_is_said_with_its_cause_and_so_is_its_end() {
        let why = || "why".to_owned();
        let (full, held) = (Health::Full(why()), Health::Held(why()));
        let said = |was: &Health, now: &Health| room(was, now).expect("it is worth a line");
        assert!(said(&Health::Good, &full).starts_with("there is no room where the data folder is (why)"));
        assert!(said(&full, &held).starts_with("another program holds the journal in the data folder (why)"));
        assert_eq!(said(&full, &Health::Good), "there is room again where the data folder is: new runs are taken");
        assert_eq!(said(&held, &Health::Good), "nobody else holds the journal any more: new runs are taken");
        assert_eq!(room(&Health::Good, &Health::Good), None);
    }

    #[test]
    fn that_runs_wait_is_said_of_the_first_at_each_step_with_what_answers_it() {
        let waiting = |step: &str| What::Waiting {
            step: StepId::new(step),
            events: vec!["Approved".into(), "Rejected".into()],
            until: Timestamp::EPOCH,
        };
        let line = "shop.order waits in step approval for Approved or Rejected until 1970-01-01T00:00:00.000Z; pipehost signal 00000000-0000-0000-0000-000000000000 Approved '{…}' answers it, and pipehost runs list shows all that wait";
        assert_eq!(shown(Some(label()), waiting("approval")).as_deref(), Some(line));
        let mut notices = Notices::default();
        let mut is_news = |step: &str| notices.is_news(&Happening { time: Timestamp::EPOCH, run: Some(label()), what: waiting(step) });
        assert_eq!([is_news("approval"), is_news("approval"), is_news("payment")], [true, false, true]);
        assert_eq!((0..100).filter(|number| is_news(&number.to_string())).count(), MOST_WAITS - 2);
    }

    #[test]
    fn what_a_host_leaves_is_told_with_the_command_that_lists_it() {
        let told = |runs, stalled| left(Left { runs, stalled });
        assert_eq!(told(2, 0), "2 runs wait and go on at the next start: pipehost runs list --status open");
        assert_eq!(told(1, 3), "1 run waits and goes on at the next start, 3 stalled: pipehost runs list --status open");
        assert_eq!(told(0, 1), "1 run stalled: pipehost runs list --status open");
    }

    #[test]
    fn what_waits_to_be_said_is_bounded_and_what_goes_is_counted() {
        let mut notices = Notices::default();
        (0..MOST + 2).for_each(|number| notices.keep(number.to_string()));
        let said = notices.take();
        assert_eq!((said.len(), said[0].as_str(), said[1].as_str()), (MOST + 1, "2 lines left out; with --log text nothing is", "2"));
        assert!(notices.take().is_empty());
    }

    #[test]
    fn a_retry_says_of_which_flow_it_is_since_many_run_beside_the_talk() {
        let job =
            JobLabel { step: StepId::new("pay"), job: JobId::new(uuid::Uuid::nil()), executor: ExecutorName::new("bank"), undo: false };
        let failure = Failure::new(FailureKind::Transient, "busy");
        let what = What::Retrying { job, attempt: 2, failure, wait: Duration::from_millis(1500) };
        assert_eq!(shown(Some(label()), what).as_deref(), Some("shop.order, step pay: attempt 2 failed (busy); again in 1.5 s"));
    }

    #[test]
    fn what_came_of_a_step_that_was_tried_again_is_told_unless_it_went_well() {
        let job =
            JobLabel { step: StepId::new("pay"), job: JobId::new(uuid::Uuid::nil()), executor: ExecutorName::new("bank"), undo: false };
        let failure = || Failure::new(FailureKind::Transient, "busy");
        let mut notices = Notices::default();
        let mut told = |what| notices.after_retries(&Happening { time: Timestamp::EPOCH, run: Some(label()), what }, Style::PLAIN, false);
        let retrying = || What::Retrying { job: job.clone(), attempt: 1, failure: failure(), wait: Duration::ZERO };
        let stands_in = || What::StepFailed { step: StepId::new("pay"), failure: failure() };
        let ended = |outcome| What::JobEnded { job: job.clone(), outcome };
        let failed = || ended(JobOutcome::Failed { failure: failure() });
        assert_eq!((told(failed()), told(stands_in())), (None, None), "nothing was said of it before");
        told(retrying());
        assert_eq!(told(stands_in()).as_deref(), Some("shop.order, step pay: the last attempt failed (busy); its fallback stands in"));
        assert_eq!(told(failed()), None, "it is said once");
        told(retrying());
        assert_eq!(told(failed()).as_deref(), Some("shop.order, step pay: the last attempt failed (busy)"));
        told(retrying());
        let output = crate::model::value::Value::null();
        assert_eq!(told(ended(JobOutcome::Succeeded { output, from: crate::model::job::ResultSource::Executor })), None);
        assert_eq!(told(failed()), None, "it went well, and this is another");
        (0..MOST_RETRIED + 1).for_each(|number| {
            let job = JobLabel { step: StepId::new(number.to_string()), ..job.clone() };
            told(What::Retrying { job, attempt: 1, failure: failure(), wait: Duration::ZERO });
        });
        assert_eq!(notices.retried.len(), MOST_RETRIED);
    }

    #[test]
    fn a_retry_says_of_which_run_it_is_while_others_are_under_way() {
        let job =
            JobLabel { step: StepId::new("pay"), job: JobId::new(uuid::Uuid::nil()), executor: ExecutorName::new("bank"), undo: false };
        let failure = || Failure::new(FailureKind::Transient, "busy");
        let retrying = || What::Retrying { job: job.clone(), attempt: 1, failure: failure(), wait: Duration::from_millis(212) };
        let ended = || What::RunEnded { outcome: RunOutcome::Succeeded, elapsed: Duration::ZERO, unheard: None };
        let mut notices = Notices::default();
        let mut told = |number: u128, what: What| {
            let run = RunLabel { run: RunId::new(uuid::Uuid::from_u128(0x01a1_fe73_0253_792e_9686_0000_0000_0000 + number)), ..label() };
            let happening = Happening { time: Timestamp::EPOCH, run: Some(run), what };
            let names_run = notices.names_run(&happening);
            let after = notices.after_retries(&happening, Style::PLAIN, names_run);
            after.or_else(|| line(&happening, Style::PLAIN, names_run)).unwrap_or_default()
        };
        assert_eq!(told(1, retrying()), "shop.order, step pay: attempt 1 failed (busy); again in 0.2 s");
        told(2, What::RunStarted);
        assert_eq!(told(1, retrying()), "shop.order 01a1fe73-0253-792e, step pay: attempt 1 failed (busy); again in 0.2 s");
        let failed = || What::JobEnded { job: job.clone(), outcome: JobOutcome::Failed { failure: failure() } };
        assert_eq!(told(1, failed()), "shop.order 01a1fe73-0253-792e, step pay: the last attempt failed (busy)");
        told(2, ended());
        assert_eq!(told(1, retrying()), "shop.order, step pay: attempt 1 failed (busy); again in 0.2 s");
        (0..2 * MOST_UNDER_WAY as u128).for_each(|number| drop(told(number, What::RunStarted)));
        assert_eq!(notices.under_way.len(), MOST_UNDER_WAY);
    }

    #[test]
    fn a_breaker_that_opened_says_what_closes_it() {
        let opened = |probed| shown(None, What::Breaker { policy: "p/bank".to_owned(), state: "open", probed });
        assert_eq!(opened(false).as_deref(), Some("p/bank: too many failures; calls are refused until its cooldown is over"));
        assert_eq!(opened(true).as_deref(), Some("p/bank: too many failures; calls are refused until its probe succeeds"));
    }

    #[test]
    fn the_beginning_of_a_run_is_not_worth_a_line() {
        assert_eq!(shown(None, What::RunStarted), None);
    }
}
