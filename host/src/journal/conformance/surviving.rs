//! What a store must do that survives its process.

use super::{Arc, Batch, Fact, Kept, Pending, PendingEvent, Room, RunQuery, Store, Write};
use super::{batch, began, ended, event, first, kept, pending, run, texts};
use crate::model::id::Digest;
use crate::model::port::StoreError;
use crate::model::record::{BlockNumber, InboxKey, LaneId, Part, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// Runs the second part of the suite; `open` opens the same store again, which nobody else has open then.
pub(in crate::journal) async fn survives<S: Store + 'static>(open: impl Fn() -> Arc<S>) {
    let before = open();
    let waiting = Batch { due: Some(Timestamp::from_nanos(50)), ..first(began(1, Some(event(5)))) };
    let keep = Kept { until: Some(Timestamp::from_nanos(700)), ..kept("p", "k", "v") };
    let bundle = super::bundle_of("one");
    let writes = vec![Write::Keep(keep.clone()), Write::Bundle(Arc::clone(&bundle))];
    before.commit(Batch { writes, ..waiting }).await.expect("it follows");
    before.commit(first(began(2, None))).await.expect("it follows");
    let part = Arc::new(Part { block: BlockNumber(1), input: Value::null(), outputs: Vec::new(), locals: Vec::new() });
    let facts = vec![
        Fact::Emitted { lane: LaneId(0), step: StepNumber(0), events: vec![event(6), event(7)] },
        Fact::Dispatched { lane: LaneId(0), step: StepNumber(1), run: run(9), part },
        ended(),
    ];
    before.commit(Batch::of(run(2), 1, Arc::new(facts))).await.expect("it follows");
    before.published(vec![event(6).id]);
    // What is written over it by a flow that is not durable goes with the process, and what was there before comes back.
    let passing = vec![Write::Keep(kept("p", "k", "passing")), Write::Keep(kept("p", "other", "passing"))];
    before.commit(Batch { durable: false, writes: passing, ..first(began(3, Some(event(8)))) }).await.expect("it follows");
    assert_eq!(before.claim(run(1)).await, Ok(1));
    // Given and not awaited: it is written when the store is closed.
    drop(before.commit(batch(4, 0, &["x"])));
    let (facts, records) = (before.facts(run(1)).await, before.runs(RunQuery::default()).await);
    drop(before);

    let after = open();
    assert_eq!(after.facts(run(1)).await, facts);
    let durable: Vec<_> = records.expect("the store is not broken").into_iter().filter(|record| record.run != run(3)).collect();
    assert_eq!(after.runs(RunQuery::default()).await, Ok(durable));
    let events = vec![PendingEvent { event: event(6), published: true }, PendingEvent { event: event(7), published: false }];
    let (claimed, dispatched) = (vec![(run(1), 1)], vec![(run(2), run(9))]);
    assert_eq!(pending(&*after).await, Pending { runs: vec![run(1)], claimed, dispatched, events, ..Pending::default() });
    assert_eq!(after.kept(Room::State).await, Ok(vec![keep]));
    assert_eq!(after.bundle(Digest::of(b"p")).await, Ok(Some(bundle)));
    let key = InboxKey { pipeline: "p".into(), flow: "main".into(), event: event(5).id };
    assert_eq!(after.has_taken(key.clone()).await, Ok(true));
    let passed = InboxKey { event: event(8).id, ..key };
    assert_eq!(after.has_taken(passed).await, Ok(false), "what took it is gone");
    assert!(after.facts(run(3)).await.expect("the store is not broken").is_empty(), "it was in memory only");
    assert_eq!(texts(&*after, 4).await, ["x"]);
    assert_eq!(after.claim(run(1)).await, Ok(2), "it was taken up before, and nothing was added");
    assert_eq!(
        after.commit(batch(1, 0, &["x"])).await,
        Err(StoreError::OutOfOrder { run: run(1), expected: 1, found: 0 }),
        "it knows where each run is"
    );
    after.commit(batch(1, 1, &["x"])).await.expect("it follows");
    drop(after);
    assert_eq!(open().facts(run(1)).await.expect("the store is not broken").len(), 2);
}
