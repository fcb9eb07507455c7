//! The table by itself: who is found, what is kept, what is remembered, and when all of that is full.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::key::keys;
use super::table::{CLOSED, Closing, Found, KEPT, MEMORY, Place, Table};
use crate::engine::fixture::{Sketch, pipeline};
use crate::model::event::{Event, Scope};
use crate::model::fixture;
use crate::model::id::{Digest, EventId, RunId};
use crate::model::record::{LaneId, RefusedAnswer, StepNumber};
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};
use crate::plan::pipeline::Listen;
use crate::plan::template::Template;

const NOW: Timestamp = Timestamp::EPOCH;

fn run(number: u128) -> RunId {
    RunId::new(Uuid::from_u128(number))
}

fn place(number: u128) -> Place {
    Place { run: run(number), lane: LaneId(0), step: StepNumber(0) }
}

fn event(id: u128, request: i64) -> Arc<Event> {
    let data = Value::map([("request", Value::from(Tree::Int(request)))]);
    Arc::new(Event { time: NOW, data, ..fixture::event(id, "Told") })
}

fn of(request: i64) -> Vec<Digest> {
    keys(&["Told".into()], &[("request".to_owned(), Value::from(Tree::Int(request)))]).expect("an int is a key")
}

fn table(runs: u128) -> Table {
    let mut table = Table::default();
    let matching = vec![("request".to_owned(), Template::Literal(Value::null()))];
    table.learn(&Listen { types: vec!["Told".into()], matching });
    let pipeline = pipeline(&Sketch::of(1));
    (1..=runs).for_each(|number| table.begin(run(number), &pipeline));
    table
}

fn asked(found: &Found) -> Vec<(RunId, usize)> {
    found.offers.iter().map(|offer| (offer.run, offer.waits.len())).collect()
}

#[test]
fn an_event_finds_the_waits_of_all_runs_that_it_meets_and_no_others() {
    let mut table = table(3);
    table.open(place(1), &of(7));
    table.open(place(2), &of(7));
    table.open(place(3), &of(8));
    let found = table.offer(&event(1, 7), false, NOW);
    assert_eq!(asked(&found), [(run(1), 1), (run(2), 1)]);
}

#[test]
fn an_event_of_another_private_bus_is_not_heard_unless_it_is_exported() {
    let mut table = table(1);
    table.open(place(1), &of(7));
    let foreign = |id| Arc::new(Event { scope: Scope::Private("q".into()), source: "q".into(), ..(*event(id, 7)).clone() });
    assert!(asked(&table.offer(&foreign(1), false, NOW)).is_empty());
    assert_eq!(asked(&table.offer(&foreign(2), true, NOW)), [(run(1), 1)]);
}

#[test]
fn one_run_is_asked_once_and_its_first_wait_first() {
    let mut table = table(1);
    let later = Place { lane: LaneId(4), ..place(1) };
    table.open(place(1), &of(7));
    table.open(later, &of(7));
    let found = table.offer(&event(1, 7), false, NOW);
    assert_eq!(found.offers[0].waits, [(LaneId(0), StepNumber(0)), (LaneId(4), StepNumber(0))]);
    assert!(asked(&table.offer(&event(1, 7), false, NOW)).is_empty(), "the same event again is no second answer");
}

#[test]
fn a_fast_answer_is_there_when_the_wait_begins_and_only_for_runs_that_began_before_it() {
    let mut table = table(1);
    assert!(asked(&table.offer(&event(1, 7), false, NOW)).is_empty());
    table.begin(run(2), &pipeline(&Sketch::of(1)));
    assert_eq!(table.open(place(1), &of(7)).len(), 1);
    assert!(table.open(place(2), &of(7)).is_empty());
    table.used(run(1), event(1, 7).id);
    assert!(table.open(Place { lane: LaneId(1), ..place(1) }, &of(7)).is_empty(), "an earlier wait took it");
}

#[test]
fn a_second_answer_is_double_and_one_after_the_timeout_late() {
    let mut table = table(2);
    table.open(place(1), &of(7));
    table.open(place(2), &of(8));
    table.close(place(1), &of(7), Closing::Took(event(1, 7).id), NOW);
    table.close(place(2), &of(8), Closing::GivenUp, NOW);
    let double = table.offer(&event(2, 7), false, NOW);
    assert_eq!(double.offers[0].otherwise, Some(RefusedAnswer::Double));
    assert!(asked(&table.offer(&event(1, 7), false, NOW)).is_empty(), "the one that it took is no second answer");
    table.end(run(2));
    assert_eq!(table.offer(&event(3, 8), false, NOW).over, [(place(2), RefusedAnswer::Late)]);
    let later = NOW + MEMORY + Duration::from_secs(1);
    assert!(table.offer(&event(4, 8), false, later).over.is_empty(), "after seven days it is forgotten");
}

#[test]
fn nothing_is_kept_once_all_runs_that_began_before_it_have_ended() {
    let mut table = table(2);
    table.offer(&event(1, 7), false, NOW);
    table.end(run(1));
    assert_eq!(table.sizes().1, 1);
    table.end(run(2));
    assert_eq!(table.sizes().1, 0);
    table.offer(&event(2, 7), false, NOW);
    assert_eq!(table.sizes().1, 0, "nobody can ever want it");
}

#[test]
fn one_event_too_many_pushes_out_the_oldest() {
    let mut table = table(1);
    for id in 0..KEPT as u128 {
        assert!(table.offer(&event(id, 7), false, NOW).forgotten.is_none());
    }
    let forgotten = table.offer(&event(KEPT as u128, 7), false, NOW).forgotten.expect("it is full");
    assert_eq!((forgotten.id, table.sizes().1), (event(0, 7).id, KEPT));
}

#[test]
fn one_closed_wait_too_many_pushes_out_the_oldest() {
    let mut table = table(1);
    for request in 0..=CLOSED as i64 {
        table.open(place(1), &of(request));
        table.close(place(1), &of(request), Closing::GivenUp, NOW);
    }
    assert_eq!(table.sizes(), (0, 0, CLOSED));
    assert_eq!(table.why_closed(place(1), &of(0)), None);
    assert_eq!(table.why_closed(place(1), &of(1)), Some(RefusedAnswer::Late));
}

#[test]
fn an_event_cancels_the_runs_that_named_it_until_they_say_no_more() {
    let mut table = table(1);
    assert!(!table.cancel_on(run(1), &of(7)));
    assert_eq!(table.offer(&event(1, 7), false, NOW).cancels, [run(1)]);
    table.stop_cancelling(run(1), &of(7));
    assert!(table.offer(&event(2, 7), false, NOW).cancels.is_empty());
}

#[test]
fn a_null_or_a_map_is_no_key() {
    let key = |value| keys(&["Told".into()], &[("request".to_owned(), value)]);
    assert!(key(Value::null()).is_err());
    assert!(key(Value::map([("a", Value::null())])).is_err());
}

#[test]
fn runs_that_are_taken_up_in_any_order_take_what_came_after_they_began() {
    let at = |seconds| NOW + Duration::from_secs(seconds);
    let published = |id, seconds| (Arc::new(Event { time: at(seconds), ..(*event(id, 7)).clone() }), false);
    let pipeline = pipeline(&Sketch::of(1));
    let mut table = table(0);
    table.replay(vec![published(1, 5), published(2, 20)]);
    // What comes before all runs are known is kept for those that are not.
    table.offer(&event(3, 7), false, at(100));
    let ids = |events: Vec<Arc<Event>>| events.iter().map(|event| event.id).collect::<Vec<_>>();
    for (number, began, expected) in [(1, 30, vec![3]), (2, 10, vec![2, 3]), (3, 10, vec![2, 3]), (4, 1, vec![1, 2, 3])] {
        table.begin_at(run(number), &pipeline, at(began));
        let expected: Vec<EventId> = expected.into_iter().map(|id| EventId::new(Uuid::from_u128(id))).collect();
        assert_eq!(ids(table.open(place(number), &of(7))), expected, "run {number}");
    }
    table.end(run(4));
    table.all_are_known();
    assert_eq!(table.sizes().1, 2, "nobody who is left began before the first");
    [1, 2, 3].into_iter().for_each(|number| table.end(run(number)));
    assert_eq!(table.sizes().1, 0);
}
