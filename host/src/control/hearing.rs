//! What a run tells a connection, kept until it is written: progress is bounded and may be left out, the reply and the end are not.

use std::collections::VecDeque;

use super::request::Answer;
use crate::model::activation::{Requester, RunEnd};
use crate::model::id::RunId;
use crate::model::value::Value;
use crate::trigger::mailbox::Mailbox;

/// So many progresses wait to be written.
const MOST_WAITING: usize = 1_024;
/// So many bytes of them, too.
const MOST_BYTES: usize = 4 << 20;

/// Listens to one run. Clones listen to the same.
#[derive(Clone, Default)]
pub(super) struct Hearing(Mailbox<Told>);

#[derive(Default)]
struct Told {
    progress: VecDeque<Value>,
    bytes: usize,
    lost: u64,
    reply: Option<Value>,
    end: Option<RunEnd>,
    left: Option<RunId>,
}

impl Hearing {
    /// Waits for what comes next; after [`Answer::Ended`] and [`Answer::Left`] nothing does. Dropping the wait loses nothing.
    pub(super) async fn next(&self) -> Answer {
        self.0.next(Told::take).await
    }
}

impl Told {
    fn take(&mut self) -> Option<Answer> {
        if let Some(progress) = self.progress.pop_front() {
            self.bytes = self.bytes.saturating_sub(progress.text().len());
            return Some(Answer::Progress { progress });
        }
        if self.lost > 0 {
            return Some(Answer::Lost { count: std::mem::take(&mut self.lost) });
        }
        if let Some(reply) = self.reply.take() {
            return Some(Answer::Reply { reply });
        }
        let ended = self.end.take().map(|RunEnd { run, outcome, degraded, .. }| Answer::Ended { run, degraded, outcome });
        ended.or_else(|| self.left.take().map(|run| Answer::Left { run }))
    }
}

impl Requester for Hearing {
    fn progress(&self, progress: &Value) {
        let bytes = progress.text().len();
        self.0.tell(|told| {
            // Once something is lost the rest is too, until that was told: pieces with holes between them mislead.
            if told.lost > 0 || told.progress.len() == MOST_WAITING || told.bytes + bytes > MOST_BYTES {
                told.lost += 1;
            } else {
                told.bytes += bytes;
                told.progress.push_back(progress.clone());
            }
        });
    }

    fn reply(&self, reply: &Value) {
        self.0.tell(|told| told.reply = Some(reply.clone()));
    }

    fn end(&self, end: &RunEnd) {
        self.0.tell(|told| told.end = Some(end.clone()));
    }

    fn left(&self, run: RunId) {
        self.0.tell(|told| told.left = Some(run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::activation::RunOutcome;

    #[tokio::test]
    async fn progress_is_bounded_and_counted_and_reply_and_end_always_come() {
        let hearing = Hearing::default();
        (0..2_000).for_each(|_| hearing.progress(&Value::string("x")));
        hearing.reply(&Value::string("bye"));
        hearing.end(&RunEnd { run: RunId::new(uuid::Uuid::nil()), outcome: RunOutcome::Succeeded, degraded: false, output: Value::null() });
        for _ in 0..MOST_WAITING {
            assert!(matches!(hearing.next().await, Answer::Progress { .. }));
        }
        assert_eq!(hearing.next().await, Answer::Lost { count: 2_000 - MOST_WAITING as u64 });
        assert_eq!(hearing.next().await, Answer::Reply { reply: Value::string("bye") });
        assert!(matches!(hearing.next().await, Answer::Ended { .. }));
    }

    #[tokio::test]
    async fn that_the_host_leaves_a_run_is_no_end_of_it() {
        let hearing = Hearing::default();
        let run = RunId::new(uuid::Uuid::nil());
        hearing.reply(&Value::string("so far"));
        hearing.left(run);
        assert_eq!(hearing.next().await, Answer::Reply { reply: Value::string("so far") });
        assert_eq!(hearing.next().await, Answer::Left { run });
    }

    #[tokio::test]
    async fn large_progress_is_bounded_by_its_bytes() {
        let hearing = Hearing::default();
        let large = Value::string("x".repeat(1 << 20));
        (0..8).for_each(|_| hearing.progress(&large));
        let mut heard = 0;
        while let Answer::Progress { .. } = hearing.next().await {
            heard += 1;
        }
        assert_eq!(heard, 3);
    }
}
