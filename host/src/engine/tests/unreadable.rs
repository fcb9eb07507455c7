//! What outlives runs and cannot be read when a host starts: it hinders itself only, and a state never becomes the initial one without a word.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::keeping::{again, counting, raised, state, succeeds};
use super::meeting::{World, flow, plan, text};
use crate::engine::RunStatus;
use crate::journal::memory::MemoryStore;
use crate::model::activation::{Activation, Admission};
use crate::model::failure::Failure;
use crate::model::id::{Digest, RunId};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Answer, Commit, Page, Store, Unreadable, forward_store};
use crate::model::record::{Batch, Fact, Kept, Room, Write};
use crate::model::value::Value;
use crate::plan::pipeline::{Idempotency, Pipeline, Verb};

const HOUR: Duration = Duration::from_secs(3_600);

/// A store in which nothing of these rooms can be read.
#[derive(Default)]
struct Garbled {
    inner: MemoryStore,
    rooms: Mutex<Vec<Room>>,
}

impl Garbled {
    fn garble(&self, rooms: &[Room]) {
        *self.rooms.lock().expect("no panic") = rooms.to_vec();
    }
}

impl Store for Garbled {
    fn commit(&self, batch: Batch) -> Commit {
        self.inner.commit(batch)
    }

    fn kept(&self, room: Room) -> Answer<Vec<Kept>> {
        let page = self.first_kept(room, usize::MAX);
        Box::pin(async move { page.await?.whole() })
    }

    fn first_kept(&self, room: Room, most: usize) -> Answer<Page> {
        let page = self.inner.first_kept(room, most);
        let is_garbled = self.rooms.lock().expect("no panic").contains(&room);
        Box::pin(async move {
            let page = page.await?;
            if !is_garbled {
                return Ok(page);
            }
            let broken = |kept: Kept| Unreadable { owner: kept.owner, key: kept.key, why: "half of it".to_owned(), until: kept.until };
            Ok(Page { kept: Vec::new(), unreadable: page.kept.into_iter().map(broken).collect() })
        })
    }

    forward_store!(without rooms inner: facts, write, published);
}

fn pipeline() -> Pipeline {
    let nap = flow("nap", vec![("nap", Verb::Sleep(text("1h"))), ("s", Verb::Set(raised()))]);
    counting(plan(vec![flow("main", vec![("s", Verb::Set(raised()))]), nap]))
}

async fn activate(world: &World, flow: &str) -> Admission {
    let activation = Activation::new("p", flow, Value::null());
    world.engine.activate(activation).await
}

fn refused(admission: Admission) -> Failure {
    let Admission::Refused(failure) = admission else { panic!("it is refused: {admission:?}") };
    failure
}

async fn in_room(store: &Garbled, room: Room) -> Vec<Kept> {
    store.inner.kept(room).await.expect("never broken")
}

/// A store with a state that was set once, and a run that sleeps for an hour before it sets it again.
async fn left_behind(pipeline: &Arc<Pipeline>) -> (Arc<Garbled>, RunId) {
    let store = Arc::new(Garbled::default());
    let first = World::on(store.clone(), Arc::clone(pipeline), &succeeds(), 1);
    first.ask("main").await;
    let (nap, _) = first.ask("nap").await;
    first.clock.settle().await;
    assert_eq!(state(&first), r#"{"status":"idle","count":1}"#);
    first.engine.stop(CancelReason::Shutdown).await;
    (store, nap)
}

#[tokio::test]
async fn a_state_that_cannot_be_read_refuses_its_runs_until_somebody_begins_it_anew() {
    let pipeline = Arc::new(pipeline());
    let (store, nap) = left_behind(&pipeline).await;
    store.garble(&[Room::State]);
    let second = again(store.clone(), &pipeline, &succeeds()).await;
    assert_eq!(second.diary.count("unreadable E0759"), 1);

    let failure = refused(activate(&second, "main").await);
    assert_eq!(failure.code.as_deref(), Some("E0759"));
    let letters = second.engine.dead_letters().await.expect("never broken");
    let [letter] = &letters[..] else { panic!("one stands for the state: {letters:?}") };
    assert_eq!((letter.cause.as_str(), letter.owner.as_str()), ("unreadable_state", "p"));
    let way_out = format!("pipehost dlq drop {}", letter.key);
    assert!(failure.message.starts_with("the state of p cannot be read: half of it; ") && failure.message.ends_with(&way_out));
    let views = second.engine.views().await;
    let [view] = &views[..] else { panic!("the sleeper is there: {views:?}") };
    assert_eq!((view.run, view.target.as_str()), (nap, "p.nap"));
    assert!(matches!(&view.status, RunStatus::Stalled { reason } if reason.ends_with(&way_out)), "{view:?}");
    let failure = second.engine.replay(&letter.key).await.expect_err("it says nothing that could be done again");
    assert!(failure.message.ends_with(&format!("{way_out} begins that state anew")), "{failure}");
    assert_eq!(in_room(&store, Room::State).await.len(), 1, "it is still there");

    second.engine.drop_letter(&letter.key).await.expect("it is there");
    assert_eq!(second.engine.dead_letters().await.expect("never broken"), []);
    assert!(in_room(&store, Room::State).await.is_empty());
    assert!(matches!(activate(&second, "main").await, Admission::Started(_)));
    second.clock.advance(2 * HOUR).await;
    assert_eq!(state(&second), r#"{"status":"idle","count":2}"#, "the sleeper went on too");
    second.engine.stop(CancelReason::Shutdown).await;
}

#[tokio::test]
async fn a_state_that_can_be_read_again_is_what_it_was_and_its_letter_goes() {
    let pipeline = Arc::new(pipeline());
    let (store, nap) = left_behind(&pipeline).await;
    store.garble(&[Room::State]);
    for seed in [2, 3] {
        let host = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), seed);
        host.engine.recover().await.expect("the store is good");
        assert_eq!(host.engine.dead_letters().await.expect("never broken").len(), 1, "there is one letter however often it is tried");
        host.engine.stop(CancelReason::Shutdown).await;
    }
    store.garble(&[]);
    let last = World::on(store.clone(), Arc::clone(&pipeline), &succeeds(), 4);
    last.engine.recover().await.expect("the store is good");
    assert_eq!((state(&last).as_str(), last.diary.count("unreadable E0759")), (r#"{"status":"idle","count":1}"#, 0));
    assert_eq!(last.engine.dead_letters().await.expect("never broken"), []);
    last.clock.advance(2 * HOUR).await;
    assert!(store.inner.facts(nap).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::Ended { .. })));
    assert_eq!(state(&last), r#"{"status":"idle","count":2}"#);
}

#[tokio::test]
async fn what_is_no_state_is_not_forgotten() {
    let pipeline = Arc::new(pipeline());
    let (store, _) = left_behind(&pipeline).await;
    let odd = Kept { room: Room::State, owner: "p".to_owned(), key: String::new(), value: Value::string("odd"), until: None };
    store.inner.write(vec![Write::Keep(odd.clone())]).await.expect("never broken");
    let second = again(store.clone(), &pipeline, &succeeds()).await;
    assert_eq!(refused(activate(&second, "main").await).code.as_deref(), Some("E0759"));
    assert_eq!(in_room(&store, Room::State).await, [odd]);
}

#[tokio::test]
async fn one_that_cannot_be_read_in_any_room_ends_no_start_and_is_told() {
    let pipeline = Arc::new(pipeline());
    let (store, nap) = left_behind(&pipeline).await;
    let rooms = [Room::Dedup, Room::Cache, Room::Answer, Room::Wait, Room::DeadLetter];
    for room in rooms {
        let kept = Kept { room, owner: "p.main".to_owned(), key: "0198-7".to_owned(), value: Value::null(), until: None };
        store.inner.write(vec![Write::Keep(kept)]).await.expect("never broken");
    }
    store.garble(&rooms);
    let second = again(store.clone(), &pipeline, &succeeds()).await;
    assert_eq!(second.diary.count("unreadable E0759"), rooms.len());
    let letters = second.engine.dead_letters().await.expect("never broken");
    let [letter] = &letters[..] else { panic!("it is listed: {letters:?}") };
    assert_eq!((letter.cause.as_str(), letter.key.as_str()), ("unreadable_letter", "0198-7"));
    second.engine.drop_letter("0198-7").await.expect("it is there");
    assert!(in_room(&store, Room::DeadLetter).await.is_empty());
    second.clock.advance(2 * HOUR).await;
    assert!(store.inner.facts(nap).await.expect("never broken").iter().any(|fact| matches!(fact, Fact::Ended { .. })));
}

#[tokio::test]
async fn a_request_whose_result_cannot_be_read_is_refused_until_its_time_is_over() {
    let mut pipeline = pipeline();
    let main = pipeline.flows.first_mut().and_then(Arc::get_mut).expect("nobody else has it");
    main.idempotency = Some(Idempotency { key: text("order-1"), retention: HOUR });
    let pipeline = Arc::new(pipeline);
    let (store, _) = left_behind(&pipeline).await;
    assert!(matches!(&in_room(&store, Room::Answer).await[..], [kept] if Digest::from_hex(&kept.key).is_some()));
    store.garble(&[Room::Answer]);
    let second = again(store.clone(), &pipeline, &succeeds()).await;
    let failure = refused(activate(&second, "main").await);
    assert_eq!(failure.code.as_deref(), Some("E0759"));
    assert!(failure.message.starts_with("the result of a request to p.main cannot be read: half of it; "), "{failure}");
    assert_eq!(state(&second), r#"{"status":"idle","count":1}"#, "it was not done twice");
    second.clock.advance(2 * HOUR).await;
    assert!(matches!(activate(&second, "main").await, Admission::Started(_)));
}
