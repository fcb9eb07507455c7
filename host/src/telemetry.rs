//! What happens in the host, told on: to the log, and to whoever subscribed. Telling never blocks and never fails.

pub mod failpoint;
mod log;
mod subscription;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::happening::{Happening, What};
use crate::model::port::Sink;

pub use subscription::{Subscription, Told};

use subscription::Queue;

/// How much a subscriber wants to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Runs, jobs, events, state, reloads: what happened.
    Coarse,
    /// Each start of an attempt and each progress too.
    Fine,
}

/// The one place where happenings come together. A cheap handle: clones tell the same listeners.
#[derive(Clone, Default)]
pub struct Telemetry(Arc<Listeners>);

#[derive(Default)]
struct Listeners {
    queues: Mutex<Vec<Arc<Queue>>>,
    /// How many there are, so that nobody takes the lock to find that nobody listens.
    listening: AtomicUsize,
    /// How many of them want it fine.
    fine: AtomicUsize,
    closed: AtomicBool,
}

impl Telemetry {
    /// Telemetry that nobody listens to yet but the log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens from now on. At most `capacity` happenings wait (at least 1); a subscriber that is slower loses the oldest and is
    /// told how many. Dropping the subscription ends it. After [`close`](Self::close) it is over at once.
    pub fn subscribe(&self, capacity: usize, detail: Detail) -> Subscription {
        let queue = Arc::new(Queue::new(capacity, detail));
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.closed.load(Ordering::Acquire) {
            queue.close();
        } else {
            queues.push(Arc::clone(&queue));
            self.0.count(&queues);
        }
        Subscription::new(queue, self.clone())
    }

    /// Tells every subscriber that nothing more comes: each still gets what waits for it, then the end.
    pub fn close(&self) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.closed.store(true, Ordering::Release);
        queues.drain(..).for_each(|queue| queue.close());
        self.0.count(&queues);
    }

    fn forget(&self, gone: &Arc<Queue>) {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| !Arc::ptr_eq(queue, gone));
        self.0.count(&queues);
    }
}

impl Listeners {
    fn count(&self, queues: &[Arc<Queue>]) {
        self.listening.store(queues.len(), Ordering::Release);
        self.fine.store(queues.iter().filter(|queue| queue.detail() == Detail::Fine).count(), Ordering::Release);
    }
}

impl Sink for Telemetry {
    fn accept(&self, happening: Happening) {
        log::write(&happening);
        if self.0.listening.load(Ordering::Acquire) == 0 {
            return;
        }
        let detail = detail_of(&happening.what);
        let happening = Arc::new(happening);
        let queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.iter().filter(|queue| detail == Detail::Coarse || queue.detail() == Detail::Fine) {
            queue.push(Arc::clone(&happening));
        }
    }

    fn wants_routine(&self) -> bool {
        self.0.listening.load(Ordering::Relaxed) > 0 || log::wants_routine()
    }

    fn wants_detail(&self) -> bool {
        self.0.fine.load(Ordering::Relaxed) > 0 || log::wants_detail()
    }
}

fn detail_of(what: &What) -> Detail {
    match what {
        What::JobStarted { .. } | What::Progress { .. } => Detail::Fine,
        _ => Detail::Coarse,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::happening::JobLabel;
    use crate::model::id::{ExecutorName, JobId, StepId};
    use crate::model::time::Timestamp;
    use crate::model::value::Value;

    fn indexed(files: usize) -> Happening {
        let what = What::Indexed { index: "chatbot/docs".to_owned(), files, chunks: files };
        Happening { time: Timestamp::EPOCH + Duration::from_secs(files as u64), run: None, what }
    }

    fn progress() -> Happening {
        let job = JobLabel {
            step: StepId::new("answer"),
            job: JobId::new(uuid::Uuid::nil()),
            executor: ExecutorName::new("answer"),
            undo: false,
        };
        Happening { time: Timestamp::EPOCH, run: None, what: What::Progress { job, progress: Value::null() } }
    }

    fn files(told: Option<Told>) -> usize {
        match told {
            Some(Told::Happening(happening)) => match happening.what {
                What::Indexed { files, .. } => files,
                ref other => panic!("expected documents, not {other:?}"),
            },
            other => panic!("expected a happening, not {other:?}"),
        }
    }

    #[tokio::test]
    async fn every_subscriber_hears_everything_in_order() {
        let telemetry = Telemetry::new();
        let (mut first, mut second) = (telemetry.subscribe(8, Detail::Coarse), telemetry.subscribe(8, Detail::Fine));
        telemetry.accept(indexed(1));
        telemetry.accept(indexed(2));
        for subscription in [&mut first, &mut second] {
            assert_eq!(files(subscription.next().await), 1);
            assert_eq!(files(subscription.next().await), 2);
        }
    }

    #[tokio::test]
    async fn a_slow_subscriber_loses_the_oldest_and_is_told_how_many() {
        let telemetry = Telemetry::new();
        let mut slow = telemetry.subscribe(2, Detail::Coarse);
        let mut quick = telemetry.subscribe(8, Detail::Coarse);
        (1..=5).for_each(|number| telemetry.accept(indexed(number)));
        assert_eq!(slow.next().await, Some(Told::Lost(3)));
        assert_eq!(files(slow.next().await), 4);
        assert_eq!(files(slow.next().await), 5);
        assert_eq!(files(quick.next().await), 1, "the others lose nothing");
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_next_happening() {
        let telemetry = Telemetry::new();
        let mut subscription = telemetry.subscribe(1, Detail::Coarse);
        let waiting = tokio::spawn(async move { subscription.next().await });
        tokio::task::yield_now().await;
        telemetry.accept(indexed(7));
        assert_eq!(files(waiting.await.expect("no panic")), 7);
    }

    #[tokio::test]
    async fn closing_gives_what_waits_and_then_the_end() {
        let telemetry = Telemetry::new();
        let mut subscription = telemetry.subscribe(4, Detail::Coarse);
        telemetry.accept(indexed(1));
        telemetry.close();
        telemetry.accept(indexed(2));
        assert_eq!(files(subscription.next().await), 1);
        assert_eq!(subscription.next().await, None);
        assert_eq!(telemetry.subscribe(4, Detail::Coarse).next().await, None);
    }

    #[test]
    fn detail_is_wanted_only_while_somebody_subscribed_to_it() {
        let telemetry = Telemetry::new();
        let coarse = telemetry.subscribe(4, Detail::Coarse);
        assert!(!telemetry.wants_detail());
        let fine = telemetry.subscribe(4, Detail::Fine);
        assert!(telemetry.wants_detail());
        drop(fine);
        assert!(!telemetry.wants_detail());
        drop(coarse);
    }

    #[test]
    fn a_coarse_subscriber_hears_no_progress() {
        let telemetry = Telemetry::new();
        let mut coarse = telemetry.subscribe(4, Detail::Coarse);
        let mut fine = telemetry.subscribe(4, Detail::Fine);
        telemetry.accept(progress());
        assert_eq!(coarse.try_next(), None);
        assert!(fine.try_next().is_some());
    }
}
