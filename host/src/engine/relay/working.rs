//! The relay's task: looks at what may go, sends it, and looks into the outboxes of users' databases.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::clock::Busy;
use crate::engine::shared::Shared;
use crate::model::id::PipelineName;
use crate::model::time::Timestamp;

use super::lines::Mark;
use super::sending::{self, AGAIN};
use super::tables;

/// Works until the host stops. What is under way then is kept, and goes out after the next start.
pub(super) async fn work(shared: Arc<Shared>, mut busy: Busy) {
    // As many as there are entries in memory: one that is not taken holds up nobody else's.
    let mut under_way: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let clock = Arc::clone(&shared.ports.clock);
    loop {
        begin(&shared, &mut under_way);
        let due = shared.relay.tables().next_due();
        let next = async {
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => true,
                Some(()) = under_way.next() => false,
                () = shared.relay.wake.notified() => false,
                () = clock.sleep_until(due.unwrap_or(Timestamp::MAX)), if due.is_some() => false,
            }
        };
        if busy.rest(next).await {
            return;
        }
    }
}

/// Begins all that may begin.
fn begin(shared: &Arc<Shared>, under_way: &mut FuturesUnordered<BoxFuture<'static, ()>>) {
    let relay = &shared.relay;
    loop {
        let next = relay.lines().next();
        let Some(entry) = next else { break };
        under_way.push(sending::send(Arc::clone(shared), entry).boxed());
    }
    let wants_page = relay.lines().wants_page();
    if wants_page {
        // Marked before it is polled, so that it is read once.
        let mark = relay.lines().begin_page();
        under_way.push(page(Arc::clone(shared), mark).boxed());
    }
    for look in relay.tables().due(shared.ports.clock.now()) {
        under_way.push(tables::read(Arc::clone(shared), look).boxed());
    }
}

/// Reads a page of the store, as often as that takes.
async fn page(shared: Arc<Shared>, mark: Mark) {
    let mut busy = shared.ports.activity.enter();
    while let Err(error) = shared.relay.page(&shared, &mark).await {
        sending::tell(&shared, &PipelineName::new("pipehost"), "outbox".to_owned(), format!("{error}; it is tried again in 5s"));
        busy.rest(shared.ports.clock.sleep_until(shared.ports.clock.now() + AGAIN)).await;
    }
}
