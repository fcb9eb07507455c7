//! Many runs wait when a host starts, and some of them are due: these come first, in the order of their times, and each once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use super::meeting::{World, computed, flow, plan, text};
use super::{Scripted, scripted, started};
use crate::engine::Recovered;
use crate::journal::memory::MemoryStore;
use crate::model::activation::Activation;
use crate::model::id::RunId;
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Answer, Commit, Root, RunQuery, Store, forward_store};
use crate::model::record::{Batch, Fact};
use crate::model::value::Value;
use crate::plan::pipeline::{Concurrency, Pipeline, Verb};

const DUE: usize = 400;
const WAITING: usize = 3_600;

/// A store that knows in which order runs ended, and how many were read until then.
#[derive(Default)]
struct Watched {
    inner: MemoryStore,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    read: HashSet<RunId>,
    /// Each run that ended, with how many had been read then.
    ended: Vec<(RunId, usize)>,
    replied: Vec<RunId>,
}

impl Store for Watched {
    fn commit(&self, batch: Batch) -> Commit {
        if batch.facts.iter().any(|fact| matches!(fact, Fact::Ended { .. })) {
            let mut seen = self.seen.lock().expect("no panic");
            let read = seen.read.len();
            seen.ended.push((batch.run, read));
        }
        let replies = batch.facts.iter().filter(|fact| matches!(fact, Fact::Replied { .. })).count();
        self.seen.lock().expect("no panic").replied.extend(vec![batch.run; replies]);
        self.inner.commit(batch)
    }

    fn facts(&self, run: RunId) -> Answer<Vec<Fact>> {
        self.seen.lock().expect("no panic").read.insert(run);
        self.inner.facts(run)
    }

    forward_store!(inner: write, published);
}

fn idle() -> Arc<Scripted> {
    scripted(|_, _| async { Ok(Value::null()) }.boxed())
}

/// A flow that sleeps as long as its input says, and replies.
fn sleeper() -> Pipeline {
    let length = computed(|scope| Ok(scope.lookup(Root::Input, None).unwrap_or_else(Value::null)));
    let mut pipeline = plan(vec![flow("main", vec![("nap", Verb::Sleep(length)), ("reply", Verb::Reply(text("awake")))])]);
    let main = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    main.concurrency = Concurrency { max_concurrent: u32::MAX, ..Concurrency::default() };
    pipeline
}

async fn sleep(world: &World, seconds: usize) -> RunId {
    let activation = Activation::new("p", "main", Value::string(format!("{seconds}s")));
    started(&world.engine.activate(activation).await)
}

#[tokio::test]
async fn those_that_are_due_at_the_start_fire_first_in_their_order_and_each_once() {
    let store = Arc::new(Watched::default());
    let pipeline = Arc::new(sleeper());
    let first = World::on(store.clone(), Arc::clone(&pipeline), &idle(), 1);
    let mut due = Vec::with_capacity(DUE);
    for number in 0..DUE + WAITING {
        match number % 10 {
            // Each second once, in no order.
            0 => {
                let seconds = 10 + (number / 10) * 7_919 % DUE;
                due.push((seconds, sleep(&first, seconds).await));
            }
            _ => drop(sleep(&first, 100_000 + number).await),
        }
    }
    due.sort_unstable();
    let due: Vec<RunId> = due.into_iter().map(|(_, run)| run).collect();
    assert_eq!(due.len(), DUE);
    first.engine.stop(CancelReason::Shutdown).await;
    *store.seen.lock().expect("no panic") = Seen::default();

    let second = World::on(store.clone(), pipeline, &idle(), 2);
    second.clock.advance(Duration::from_secs(5_000)).await;
    let recovered = second.engine.recover().await.expect("the store is good");
    assert_eq!(recovered, Recovered { waiting: DUE + WAITING, ..Recovered::default() });
    let Seen { ended, replied, .. } = std::mem::take(&mut *store.seen.lock().expect("no panic"));
    assert!(ended.iter().map(|(run, _)| *run).eq(due.iter().copied()), "all that were due, in their order, each once, and no other");
    assert_eq!(replied, due, "each did once what it was due for");
    let most = ended.iter().map(|(_, read)| *read).max().expect("some ended");
    assert!(most <= DUE + 3 * 512, "{most} runs were read before the last that was due had fired");
    second.clock.settle().await;
    let open = RunQuery { outcome: Some("open".to_owned()), ..RunQuery::default() };
    assert_eq!(store.inner.runs(open).await.expect("never broken").len(), WAITING);
    assert_eq!(second.engine.running().len(), WAITING, "the others rest");
    assert!(store.seen.lock().expect("no panic").ended.is_empty());
}
