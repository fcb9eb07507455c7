//! Happenings as lines of the log. The level of each stands here, and the data of none: a log line names what happened and to whom,
//! and never what was said.
//!
//! | level | what |
//! |---|---|
//! | error | a job or a run that failed or timed out, files that were refused, an event that reached nobody |
//! | warn | a retry, a breaker that opened, an activation that was not admitted |
//! | info | dispatch, success, cancellation, reply, publication, reload, documents |
//! | debug | start, progress, state, cache and dedup, what came too late |

use tracing::{debug, error, info, warn};

use crate::model::activation::RunOutcome;
use crate::model::failure::Failure;
use crate::model::happening::{Happening, JobLabel, LogLevel, RunLabel, StateChange, What};
use crate::model::job::JobOutcome;

/// The target of lines about runs as a whole.
const RUN: &str = "pipehost::run";
/// The target of lines about jobs.
const JOB: &str = "pipehost::job";
/// The target of lines about events on buses.
const BUS: &str = "pipehost::bus";
/// The target of lines about files.
const RELOAD: &str = "pipehost::reload";
/// The target of lines about what is kept.
const STORE: &str = "pipehost::store";
/// The target of what executors log themselves.
const EXECUTOR: &str = "pipehost::executor";

pub(super) fn wants_routine() -> bool {
    tracing::enabled!(target: JOB, tracing::Level::INFO)
        || tracing::enabled!(target: RUN, tracing::Level::INFO)
        || tracing::enabled!(target: BUS, tracing::Level::INFO)
}

pub(super) fn wants_detail() -> bool {
    tracing::enabled!(target: JOB, tracing::Level::DEBUG)
}

/// One line at the given level with the names that every line has: absent ones are left out.
macro_rules! line {
    ($level:ident, $target:expr, $run:expr, $($rest:tt)+) => {
        $level!(
            target: $target,
            pipeline = $run.map(|run| run.pipeline.as_str()),
            flow = $run.map(|run| run.flow.as_str()),
            run = $run.map(|run| tracing::field::display(run.run)),
            correlation_id = $run.map(|run| tracing::field::display(run.correlation_id)),
            $($rest)+
        )
    };
}

/// The same for a job.
macro_rules! job_line {
    ($level:ident, $target:expr, $run:expr, $job:expr, $($rest:tt)+) => {
        line!($level, $target, $run, step = $job.step.as_str(), executor = $job.executor.as_str(), job = %$job.job, $($rest)+)
    };
}

pub(super) fn write(happening: &Happening) {
    let run = happening.run.as_ref();
    match &happening.what {
        What::RunStarted => line!(debug, RUN, run, "run started"),
        What::RunEnded { outcome, elapsed, .. } => run_ended(run, outcome, elapsed.as_secs_f64() * 1e3),
        What::Replied { .. } => line!(info, RUN, run, "replied"),
        What::JobDispatched { job } => job_line!(info, JOB, run, job, "dispatched"),
        What::JobStarted { job, attempt } => job_line!(debug, JOB, run, job, attempt, "started"),
        What::Progress { job, .. } => job_line!(debug, JOB, run, job, "progress"),
        What::Retrying { job, attempt, failure, wait } => {
            let wait_milliseconds = wait.as_millis() as u64;
            job_line!(
                warn,
                JOB,
                run,
                job,
                attempt,
                wait_milliseconds,
                kind = failure.kind.as_str(),
                "will be tried again: {}",
                failure.message
            );
        }
        What::Deduplicated { job, verdict } => job_line!(debug, JOB, run, job, verdict, "is a duplicate"),
        What::CacheHit { job, stale } => job_line!(debug, JOB, run, job, stale, "the cache had it"),
        What::JobEnded { job, outcome } => job_ended(run, job, outcome),
        What::StepFailed { step, failure } => line!(warn, RUN, run, step = step.as_str(), "step failed: {failure}"),
        What::LateDropped { job, what } => job_line!(debug, JOB, run, job, what, "came after the end and was dropped"),
        What::Breaker { policy, state, .. } => match *state {
            "open" => warn!(target: JOB, policy, "the breaker opened"),
            state => info!(target: JOB, policy, state, "the breaker changed"),
        },
        What::StateSet { key, version, change: StateChange::Dropped, because, .. } => {
            let reason = because.as_ref().map(ToString::to_string).unwrap_or_default();
            line!(warn, RUN, run, key, version, reason, "state change dropped");
        }
        What::StateSet { key, version, change: StateChange::TakenBack, .. } => {
            line!(debug, RUN, run, key, version, "state change taken back");
        }
        What::StateSet { key, version, .. } => line!(debug, RUN, run, key, version, "state set"),
        What::Waiting { step, events, until } => {
            let events = events.iter().map(|event| event.as_str()).collect::<Vec<_>>().join(" or ");
            line!(info, RUN, run, step = step.as_str(), "waits for {events} until {until}");
        }
        What::Answered { step, answer } => line!(info, RUN, run, step = step.as_str(), "the wait took event {answer}"),
        What::WaitTimedOut { step } => line!(info, RUN, run, step = step.as_str(), "the wait has timed out"),
        What::Reminded { step, reminder } => line!(info, RUN, run, step = step.as_str(), reminder, "reminds"),
        What::AnswerRefused { refused, waiting, reason } => {
            line!(warn, RUN, run, "event {} {} was refused by run {waiting}: {reason}", refused.event_type, refused.id);
        }
        What::Dispatched { step, dispatched } => line!(debug, RUN, run, step = step.as_str(), "dispatched run {dispatched}"),
        What::Recovered => line!(info, RUN, run, "goes on after a restart"),
        What::StoreBusy { reason, wait } => {
            let wait_milliseconds = wait.as_millis() as u64;
            warn!(target: STORE, wait_milliseconds, "the store cannot be asked at this moment, and is asked again: {reason}");
        }
        What::Migrated { to } => line!(info, RUN, run, "goes over to the revision {to}"),
        What::Stalled { reason } => line!(warn, RUN, run, "cannot go on: {reason}"),
        What::DeadLetterGone { owner, key } => {
            warn!(target: RUN, flow = owner, key, "there are too many dead letters, and the oldest is gone: replay or drop some with `pipehost dlq`");
        }
        What::Published { published } => {
            info!(target: BUS, event_type = published.event_type.as_str(), event = %published.id, source = published.source.as_str(),
                correlation_id = %published.correlation_id, "published");
        }
        What::Undelivered { undelivered, subscriber, reason } => {
            error!(target: BUS, event_type = undelivered.event_type.as_str(), event = %undelivered.id, subscriber, "undelivered: {reason}");
        }
        What::OutboxTrouble { source, entry, reason } => warn!(target: BUS, source = source.as_str(), entry, "outbox: {reason}"),
        What::Unreadable { failure } => warn!(target: RUN, code = failure.code.as_deref().unwrap_or_default(), "{}", failure.message),
        What::NotAdmitted { target, reason } => warn!(target: RUN, flow = target, "not admitted: {reason}"),
        What::Log { job, level, message } => logged(run, job, *level, message),
        What::Reloaded { changed, removed, took } => {
            let milliseconds = took.as_secs_f64() * 1e3;
            info!(target: RELOAD, ?changed, ?removed, milliseconds, "other files are in force");
        }
        What::Unchanged => debug!(target: RELOAD, "files were saved and nothing changed"),
        What::ReloadRefused { mistakes } => {
            for mistake in mistakes {
                let (file, line) = (mistake.place.file.display(), mistake.place.line);
                error!(target: RELOAD, code = mistake.code, %file, line, "refused: {}", mistake.message);
            }
        }
        What::DocumentSkipped { index, file, reason } => warn!(target: RELOAD, index, file, "a document was skipped: {reason}"),
        What::Indexed { index, files, chunks } => info!(target: RELOAD, index, files, chunks, "documents were read"),
    }
}

fn run_ended(run: Option<&RunLabel>, outcome: &RunOutcome, milliseconds: f64) {
    match outcome {
        RunOutcome::Succeeded => line!(info, RUN, run, milliseconds, "succeeded"),
        RunOutcome::Cancelled { reason } => line!(info, RUN, run, milliseconds, reason = reason.as_str(), "cancelled"),
        RunOutcome::Failed { failure } => failed_run(run, failure, milliseconds, "failed"),
        RunOutcome::TimedOut { failure } => failed_run(run, failure, milliseconds, "timed out"),
        RunOutcome::Parked { left, .. } => {
            for (step, failure) in left {
                line!(error, RUN, run, milliseconds, step = step.as_str(), "parked: not undone: {failure}");
            }
        }
    }
}

fn failed_run(run: Option<&RunLabel>, failure: &Failure, milliseconds: f64, how: &str) {
    let step = failure.step.as_ref().map(|step| step.as_str());
    line!(error, RUN, run, step, milliseconds, kind = failure.kind.as_str(), code = failure.code.as_deref(), "{how}: {}", failure.message);
}

fn job_ended(run: Option<&RunLabel>, job: &JobLabel, outcome: &JobOutcome) {
    match outcome {
        JobOutcome::Succeeded { from, .. } => job_line!(info, JOB, run, job, from = ?from, "succeeded"),
        JobOutcome::Cancelled { reason } => job_line!(info, JOB, run, job, reason = reason.as_str(), "cancelled"),
        JobOutcome::Failed { failure } => failed_job(run, job, failure, "failed"),
        JobOutcome::TimedOut { failure } => failed_job(run, job, failure, "timed out"),
    }
}

fn failed_job(run: Option<&RunLabel>, job: &JobLabel, failure: &Failure, how: &str) {
    let code = failure.code.as_deref();
    job_line!(error, JOB, run, job, kind = failure.kind.as_str(), code, "{how}: {}", failure.message);
}

fn logged(run: Option<&RunLabel>, job: &JobLabel, level: LogLevel, message: &str) {
    match level {
        LogLevel::Debug => job_line!(debug, EXECUTOR, run, job, "{message}"),
        LogLevel::Info => job_line!(info, EXECUTOR, run, job, "{message}"),
        LogLevel::Warn => job_line!(warn, EXECUTOR, run, job, "{message}"),
        LogLevel::Error => job_line!(error, EXECUTOR, run, job, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tracing::Level;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::model::failure::FailureKind;
    use crate::model::id::{CorrelationId, ExecutorName, FlowName, JobId, PipelineName, RunId, StepId};
    use crate::model::job::ResultSource;
    use crate::model::time::Timestamp;
    use crate::model::value::Value;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn line(what: What) -> String {
        let page = Page::default();
        let subscriber = tracing_subscriber::fmt().json().with_max_level(Level::TRACE).without_time().with_writer(page.clone()).finish();
        let run = RunLabel {
            pipeline: PipelineName::new("chatbot"),
            flow: FlowName::new("main"),
            run: RunId::new(uuid::Uuid::nil()),
            correlation_id: CorrelationId::new(uuid::Uuid::nil()),
        };
        tracing::subscriber::with_default(subscriber, || write(&Happening { time: Timestamp::EPOCH, run: Some(run), what }));
        let bytes = page.0.lock().expect("nobody panicked").clone();
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    fn job() -> JobLabel {
        JobLabel { step: StepId::new("answer"), job: JobId::new(uuid::Uuid::nil()), executor: ExecutorName::new("quote"), undo: false }
    }

    #[test]
    fn levels_are_those_that_were_promised() {
        let failure = Failure::new(FailureKind::Transient, "the server answered 503");
        let output = Value::string("hi");
        let cases = [
            ("INFO", What::JobDispatched { job: job() }),
            ("DEBUG", What::JobStarted { job: job(), attempt: 1 }),
            ("DEBUG", What::Progress { job: job(), progress: output.clone() }),
            ("WARN", What::Retrying { job: job(), attempt: 1, failure: failure.clone(), wait: Duration::from_secs(1) }),
            ("ERROR", What::JobEnded { job: job(), outcome: JobOutcome::Failed { failure: failure.clone() } }),
            ("ERROR", What::RunEnded { outcome: RunOutcome::Failed { failure }, elapsed: Duration::ZERO, unheard: None }),
            ("INFO", What::JobEnded { job: job(), outcome: JobOutcome::Succeeded { output, from: ResultSource::Executor } }),
        ];
        for (level, what) in cases {
            let line = line(what);
            assert!(line.contains(&format!("\"level\":\"{level}\"")), "{level} expected: {line}");
            for name in ["\"pipeline\":\"chatbot\"", "\"flow\":\"main\"", "correlation_id"] {
                assert!(line.contains(name), "{name} is missing: {line}");
            }
        }
    }

    #[test]
    fn a_line_never_tells_what_was_said() {
        let said = Value::string("hunter2");
        let cases = [
            What::Progress { job: job(), progress: said.clone() },
            What::Replied { reply: said.clone() },
            What::StateSet { key: None, version: 1, change: StateChange::Set, after: said.clone(), because: None },
            What::JobEnded { job: job(), outcome: JobOutcome::Succeeded { output: said, from: ResultSource::Executor } },
        ];
        for what in cases {
            let line = line(what);
            assert!(!line.is_empty() && !line.contains("hunter2"), "{line}");
        }
    }
}
