//! `bulkhead`: so many calls at once, and so many waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::clock::Activity;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::policy::{BulkheadSettings, show_duration};
use crate::model::port::{Attempt, Clock};
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::policy::deadline;
use crate::policy::stack::{Inner, cancelled};

/// The code of a call that found no place.
pub const CODE: &str = "bulkhead_full";

/// The wrapper: one for each identity, shared by all who name it. Places go to those who wait in the order in which they came.
///
/// Own code and not a semaphore: the number of places changes with a reload, downwards too, and the queue has a bound.
pub struct Bulkhead {
    name: String,
    shared: Mutex<Shared>,
    clock: Arc<dyn Clock>,
    activity: Activity,
}

struct Shared {
    settings: BulkheadSettings,
    running: u32,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
    next: u64,
}

impl Shared {
    fn most(&self) -> u32 {
        self.settings.max_concurrent.max(1)
    }

    /// Gives free places to the first who wait.
    fn grant(&mut self) {
        while self.running < self.most() {
            let Some((_, place)) = self.waiting.pop_front() else { return };
            // Whoever goes after this gives the place back.
            if place.send(()).is_ok() {
                self.running += 1;
            }
        }
    }
}

impl Bulkhead {
    /// An empty one; `name` is what people see. A `max_concurrent` of zero is one.
    pub fn new(name: String, settings: BulkheadSettings, clock: Arc<dyn Clock>, activity: Activity) -> Self {
        let shared = Mutex::new(Shared { settings, running: 0, waiting: VecDeque::new(), next: 0 });
        Self { name, shared, clock, activity }
    }

    /// Other numbers from now on: more places are given away at once, fewer bind as calls end; nobody who waits is sent away.
    pub fn set(&self, settings: BulkheadSettings) {
        let mut shared = self.shared();
        shared.settings = settings;
        shared.grant();
    }

    /// How many calls are made and how many wait.
    pub fn load(&self) -> (u32, usize) {
        let shared = self.shared();
        (shared.running, shared.waiting.len())
    }

    /// One call, when there is a place.
    ///
    /// # Errors
    /// `rejected` if there is no place and no room to wait, or none came in time; `cancelled` if nobody wants it any more while it
    /// waits; else what came of the call.
    pub async fn call(&self, inner: Inner<'_>, job: Arc<Job>, attempt: Attempt) -> Result<Value, Failure> {
        let _place = self.place(&attempt).await?;
        inner.call(job, attempt).await
    }

    async fn place(&self, attempt: &Attempt) -> Result<Place<'_>, Failure> {
        let (mut waiting, max_wait) = {
            let mut shared = self.shared();
            if shared.running < shared.most() && shared.waiting.is_empty() {
                shared.running += 1;
                return Ok(Place(self));
            }
            let settings = shared.settings;
            if settings.max_wait.is_zero() || shared.waiting.len() >= settings.max_queue as usize {
                return Err(self.refusal(&settings, "no more can wait"));
            }
            let (sender, granted) = oneshot::channel();
            let number = shared.next;
            shared.next += 1;
            shared.waiting.push_back((number, sender));
            (Waiting { bulkhead: self, number: Some(number), granted }, settings.max_wait)
        };
        let due = deadline::earliest(self.clock.now(), Some(max_wait), attempt.deadline);
        let late = self.clock.sleep_until(due.unwrap_or(Timestamp::MAX));
        let cancel = std::pin::pin!(attempt.cancel.cancelled());
        // A place that is there counts more than the end of the wait, if both come at once.
        match self.activity.rest(select(&mut waiting.granted, select(cancel, late))).await {
            Either::Left((Ok(()), _)) => Ok(waiting.have()),
            Either::Left((Err(_), _)) | Either::Right((Either::Right(_), _)) => {
                let settings = self.shared().settings;
                Err(self.refusal(&settings, &format!("no place came within {}", show_duration(max_wait))))
            }
            Either::Right((Either::Left(_), _)) => Err(cancelled("while it waited for a place under `bulkhead`")),
        }
    }

    fn refusal(&self, settings: &BulkheadSettings, why: &str) -> Failure {
        let message = format!(
            "the bulkhead of `{}` is full: {} calls at once, {} waiting, and {why}; raise `max_concurrent` or `max_queue` with `max_wait`",
            self.name,
            settings.max_concurrent.max(1),
            settings.max_queue
        );
        Failure::new(FailureKind::Rejected, message).with_code(CODE)
    }

    fn leave(&self) {
        let mut shared = self.shared();
        shared.running = shared.running.saturating_sub(1);
        shared.grant();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is given back when it is dropped.
struct Place<'a>(&'a Bulkhead);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Somebody in the queue.
struct Waiting<'a> {
    bulkhead: &'a Bulkhead,
    number: Option<u64>,
    // Here, so that it outlives its place in the queue: a place is never sent to nobody and then given back as well.
    granted: oneshot::Receiver<()>,
}

impl<'a> Waiting<'a> {
    fn have(mut self) -> Place<'a> {
        self.number = None;
        Place(self.bulkhead)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut shared = self.bulkhead.shared();
        match shared.waiting.iter().position(|(waiting, _)| *waiting == number) {
            Some(place) => drop(shared.waiting.remove(place)),
            // Granted in the moment in which it went: the place is passed on.
            None => {
                shared.running = shared.running.saturating_sub(1);
                shared.grant();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::scripted::{Scene, Script};

    const SECOND: Duration = Duration::from_secs(1);

    fn bulkhead(scene: &Scene, max_concurrent: u32, max_queue: u32, max_wait: Duration) -> Arc<Bulkhead> {
        let settings = BulkheadSettings { max_concurrent, max_queue, max_wait };
        Arc::new(Bulkhead::new("p/api".to_owned(), settings, scene.clock(), scene.activity.clone()))
    }

    /// A call in a task of its own, so that it can be dropped from outside; counted as running.
    fn spawn(scene: &Scene, bulkhead: &Arc<Bulkhead>, script: &Script) -> tokio::task::JoinHandle<Result<Value, Failure>> {
        let (bulkhead, script, job, attempt, busy) =
            (Arc::clone(bulkhead), script.clone(), scene.job(), scene.attempt(), scene.activity.enter());
        tokio::spawn(async move {
            let _busy = busy;
            bulkhead.call(script.inner(), job, attempt).await
        })
    }

    fn code(result: &Result<Value, Failure>) -> Option<&str> {
        result.as_ref().err().and_then(|failure| failure.code.as_deref())
    }

    #[tokio::test]
    async fn a_full_one_rejects_at_once() {
        let scene = Scene::new();
        let bulkhead = bulkhead(&scene, 2, 0, Duration::ZERO);
        let script = Script::taking(scene.rests(SECOND));
        let calls: Vec<_> = (0..3).map(|_| spawn(&scene, &bulkhead, &script)).collect();
        scene.time.advance(Duration::ZERO).await;
        assert_eq!(bulkhead.load(), (2, 0));
        scene.time.advance(SECOND).await;
        let mut results = Vec::new();
        for call in calls {
            results.push(call.await.expect("no panic"));
        }
        assert_eq!([code(&results[0]), code(&results[1]), code(&results[2])], [None, None, Some("bulkhead_full")]);
        assert_eq!((bulkhead.load(), script.calls()), ((0, 0), 2));
    }

    #[tokio::test]
    async fn places_go_to_those_who_wait_in_their_order() {
        let scene = Scene::new();
        let bulkhead = bulkhead(&scene, 1, 2, SECOND * 10);
        let script = Script::taking(scene.rests(SECOND));
        let calls: Vec<_> = (0..4).map(|_| spawn(&scene, &bulkhead, &script)).collect();
        let ends = futures_util::future::join_all(calls.into_iter().map(async |call| (call.await.expect("no panic"), scene.time_now())));
        let ends = scene.time.run(ends).await;
        let shown: Vec<_> = ends.iter().map(|(result, at)| (code(result), at.since(Timestamp::EPOCH))).collect();
        assert_eq!(shown, [(None, SECOND), (None, SECOND * 2), (None, SECOND * 3), (Some("bulkhead_full"), Duration::ZERO)]);
    }

    #[tokio::test]
    async fn a_wait_ends_after_the_longest_and_leaves_the_queue() {
        let scene = Scene::new();
        let bulkhead = bulkhead(&scene, 1, 5, SECOND);
        let script = Script::taking(scene.rests(SECOND * 5));
        let (_first, second) = (spawn(&scene, &bulkhead, &script), spawn(&scene, &bulkhead, &script));
        scene.time.advance(SECOND).await;
        assert_eq!(bulkhead.load(), (1, 0));
        let result = second.await.expect("no panic");
        assert_eq!(code(&result), Some("bulkhead_full"));
        assert!(result.expect_err("full").message.contains("no place came within 1s"));
    }

    #[tokio::test]
    async fn who_is_dropped_while_waiting_leaves_the_queue() {
        let scene = Scene::new();
        let bulkhead = bulkhead(&scene, 1, 5, SECOND * 60);
        let script = Script::taking(scene.rests(SECOND));
        let calls: Vec<_> = (0..3).map(|_| spawn(&scene, &bulkhead, &script)).collect();
        scene.time.advance(Duration::ZERO).await;
        assert_eq!(bulkhead.load(), (1, 2));
        calls[1].abort();
        scene.time.advance(SECOND * 2).await;
        assert_eq!((bulkhead.load(), script.calls()), ((0, 0), 2));
    }

    #[tokio::test]
    async fn who_is_dropped_with_its_place_just_granted_passes_it_on() {
        let scene = Scene::new();
        let bulkhead = bulkhead(&scene, 1, 5, SECOND * 60);
        let attempts = [scene.attempt(), scene.attempt(), scene.attempt()];
        let first = bulkhead.place(&attempts[0]).await.expect("free");
        let mut second = Box::pin(bulkhead.place(&attempts[1]));
        let mut third = Box::pin(bulkhead.place(&attempts[2]));
        assert!(futures_util::poll!(&mut second).is_pending() && futures_util::poll!(&mut third).is_pending());
        drop(first);
        drop(second);
        assert!(third.await.is_ok());
        assert_eq!(bulkhead.load(), (0, 0));
    }

    #[tokio::test]
    async fn a_cancelled_wait_ends_at_once() {
        let scene = Scene::new();
        let bulkhead = bulkhead(&scene, 1, 5, SECOND * 60);
        let attempts = [scene.attempt(), scene.attempt()];
        let _first = bulkhead.place(&attempts[0]).await.expect("free");
        attempts[1].cancel.cancel();
        let kind = bulkhead.place(&attempts[1]).await.map(|_| ()).map_err(|failure| failure.kind);
        assert_eq!((kind, bulkhead.load()), (Err(FailureKind::Cancelled), (1, 0)));
    }

    #[tokio::test]
    async fn more_places_are_given_away_at_once_and_fewer_bind_as_calls_end() {
        let scene = Scene::new();
        let bulkhead = bulkhead(&scene, 1, 5, SECOND * 60);
        let script = Script::taking(scene.rests(SECOND));
        let _calls: Vec<_> = (0..4).map(|_| spawn(&scene, &bulkhead, &script)).collect();
        scene.time.advance(Duration::ZERO).await;
        let settings = |max_concurrent| BulkheadSettings { max_concurrent, max_queue: 5, max_wait: SECOND * 60 };
        bulkhead.set(settings(3));
        assert_eq!(bulkhead.load(), (3, 1));
        bulkhead.set(settings(1));
        scene.time.advance(SECOND).await;
        assert_eq!(bulkhead.load(), (1, 0), "three ended and one came");
    }
}
