//! What every store must do, written against the port: each store's tests run all of it.

use std::sync::Arc;

use uuid::Uuid;

use crate::model::activation::RunOutcome;
use crate::model::id::RunId;
use crate::model::port::{Store, StoreError};
use crate::model::record::{Batch, Fact, LaneId, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// Runs the whole suite; `new` makes an empty store.
pub(in crate::journal) async fn all<S: Store + 'static>(new: impl Fn() -> Arc<S>) {
    facts_come_back_in_their_order(&*new()).await;
    an_unknown_run_has_no_facts(&*new()).await;
    what_does_not_follow_is_refused_and_changes_nothing(&*new()).await;
    runs_do_not_meet(&*new()).await;
    a_batch_stands_or_falls_as_one(&*new()).await;
    a_commit_is_there_when_it_has_ended(&*new()).await;
    only_one_of_two_writers_gets_a_number(new()).await;
}

/// A fact that holds this text.
pub(in crate::journal) fn filler(text: &str) -> Fact {
    Fact::StepDone { lane: LaneId(0), step: StepNumber(0), output: Value::string(text) }
}

/// The last fact of a run.
pub(in crate::journal) fn ended() -> Fact {
    Fact::Ended { outcome: RunOutcome::Succeeded, at: Timestamp::EPOCH }
}

fn run(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

fn batch(number: u128, first: u64, texts: &[&str]) -> Batch {
    Batch { run: run(number), first, facts: Arc::new(texts.iter().map(|text| filler(text)).collect()) }
}

async fn texts(store: &dyn Store, number: u128) -> Vec<String> {
    let facts = store.facts(run(number)).await.expect("the store is not broken");
    let text = |fact: Fact| {
        if let Fact::StepDone { output, .. } = fact { output.tree().as_text().unwrap_or("").to_owned() } else { String::new() }
    };
    facts.into_iter().map(text).collect()
}

async fn facts_come_back_in_their_order(store: &dyn Store) {
    store.commit(batch(1, 0, &["a"])).await.expect("it follows");
    store.commit(batch(1, 1, &["b", "c"])).await.expect("it follows");
    store.commit(batch(1, 3, &["d"])).await.expect("it follows");
    assert_eq!(texts(store, 1).await, ["a", "b", "c", "d"]);
}

async fn an_unknown_run_has_no_facts(store: &dyn Store) {
    assert!(texts(store, 1).await.is_empty());
}

async fn what_does_not_follow_is_refused_and_changes_nothing(store: &dyn Store) {
    let refused = store.commit(batch(1, 1, &["b"])).await;
    assert_eq!(refused, Err(StoreError::OutOfOrder { run: run(1), expected: 0, found: 1 }));
    store.commit(batch(1, 0, &["a", "b"])).await.expect("it follows");
    for found in [0, 1, 3, u64::MAX] {
        let refused = store.commit(batch(1, found, &["x"])).await;
        assert_eq!(refused, Err(StoreError::OutOfOrder { run: run(1), expected: 2, found }));
    }
    assert_eq!(texts(store, 1).await, ["a", "b"]);
}

async fn runs_do_not_meet(store: &dyn Store) {
    store.commit(batch(1, 0, &["a"])).await.expect("it follows");
    store.commit(batch(2, 0, &["b"])).await.expect("it follows");
    store.commit(batch(1, 1, &["c"])).await.expect("it follows");
    assert_eq!((texts(store, 1).await, texts(store, 2).await), (vec!["a".to_owned(), "c".to_owned()], vec!["b".to_owned()]));
}

async fn a_batch_stands_or_falls_as_one(store: &dyn Store) {
    store.commit(batch(1, 0, &["a"])).await.expect("it follows");
    assert!(store.commit(batch(1, 0, &["x", "y", "z"])).await.is_err());
    assert_eq!(texts(store, 1).await, ["a"]);
}

async fn a_commit_is_there_when_it_has_ended(store: &dyn Store) {
    for number in 0..100 {
        store.commit(batch(1, number, &["x"])).await.expect("it follows");
        assert_eq!(texts(store, 1).await.len() as u64, number + 1);
    }
}

async fn only_one_of_two_writers_gets_a_number<S: Store + 'static>(store: Arc<S>) {
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut taken = 0;
                for number in 0..50 {
                    taken += u32::from(store.commit(batch(1, number, &["x"])).await.is_ok());
                    tokio::task::yield_now().await;
                }
                taken
            })
        })
        .collect();
    let mut taken = 0;
    for writer in writers {
        taken += writer.await.expect("no panic");
    }
    assert_eq!(taken as usize, texts(&*store, 1).await.len());
    assert_eq!(taken, 50);
}
