//! Every order of emitting, keeping and being over, without a store.

use uuid::Uuid;

use super::*;
use crate::model::fixture::event;

fn id(number: usize) -> EventId {
    EventId::new(Uuid::from_u128(number as u128))
}

fn entry(number: usize, key: Option<&str>) -> Arc<Entry> {
    Arc::new(Entry::new(Arc::new(event(number as u128, "Told")), false, key.map(str::to_owned)))
}

/// The numbers of all that may go now.
fn going(lines: &mut Lines) -> Vec<EventId> {
    std::iter::from_fn(|| lines.next()).map(|entry| entry.event.id).collect()
}

#[test]
fn an_entry_goes_when_it_is_kept_and_the_next_of_its_key_when_it_is_over() {
    let mut lines = Lines::default();
    for (number, key) in [(1, Some("a")), (2, Some("a")), (3, Some("b")), (4, None)] {
        assert!(lines.emit(entry(number, key)));
    }
    assert!(going(&mut lines).is_empty(), "nothing is kept yet");
    lines.settle(id(2), true);
    assert!(going(&mut lines).is_empty(), "the one before it is not known to be kept");
    lines.settle(id(4), true);
    lines.settle(id(3), true);
    assert_eq!(going(&mut lines), [id(4), id(3)]);
    lines.settle(id(1), true);
    assert_eq!(going(&mut lines), [id(1)]);
    lines.done(id(1));
    assert_eq!(going(&mut lines), [id(2)]);
}

#[test]
fn one_that_is_not_kept_leaves_its_place_to_the_next() {
    let mut lines = Lines::default();
    assert!(lines.emit(entry(1, Some("a"))) && lines.emit(entry(2, Some("a"))));
    lines.settle(id(2), true);
    lines.settle(id(1), false);
    assert_eq!(going(&mut lines), [id(2)]);
    lines.done(id(2));
    assert!(lines.held.is_empty() && lines.lines.is_empty() && lines.bytes == 0, "nothing is left behind");
}

#[test]
fn one_that_waits_for_its_pipeline_holds_up_its_own_key_only() {
    let mut lines = Lines::default();
    for (number, key) in [(1, Some("a")), (2, Some("a")), (3, None)] {
        assert!(lines.found(entry(number, key)));
    }
    assert_eq!(going(&mut lines), [id(1), id(3)]);
    lines.park(id(1));
    assert!(going(&mut lines).is_empty());
    lines.unpark();
    assert_eq!(going(&mut lines), [id(1)]);
    lines.done(id(1));
    assert_eq!(going(&mut lines), [id(2)]);
}

#[test]
fn what_finds_no_room_comes_from_the_store_behind_those_before_it() {
    let mut lines = Lines::default();
    for number in 1..=MOST {
        assert!(lines.found(entry(number, Some("a"))));
    }
    assert!(!lines.emit(entry(MOST + 1, Some("a"))), "it is full");
    lines.done(id(1));
    assert!(!lines.emit(entry(MOST + 2, Some("a"))), "there is a place, and the one before it has not come yet");
    assert!(lines.room() > 0 && !lines.wants_page());
    lines.settle_beyond();
    for number in 2..=MOST {
        lines.done(id(number));
    }
    assert!(!lines.wants_page(), "one may not be in the store yet");
    lines.settle_beyond();
    assert!(lines.wants_page());
    let mark = lines.begin_page();
    assert!(!lines.wants_page(), "it is being read");
    assert!(lines.found(entry(MOST + 1, Some("a"))) && lines.found(entry(MOST + 2, Some("a"))));
    lines.end_page(&mark, true);
    assert!(lines.emit(entry(MOST + 3, Some("a"))), "all are in memory again");
    lines.settle(id(MOST + 3), true);
    going(&mut lines);
    lines.done(id(MOST + 1));
    assert_eq!(going(&mut lines), [id(MOST + 2)]);
    lines.done(id(MOST + 2));
    assert_eq!(going(&mut lines), [id(MOST + 3)]);
}

#[test]
fn a_page_brings_back_nothing_that_was_over_while_it_was_read() {
    let mut lines = Lines::default();
    assert!(lines.found(entry(1, None)));
    going(&mut lines);
    let mark = lines.begin_page();
    lines.done(id(1));
    assert!(lines.found(entry(1, None)) && lines.found(entry(2, None)));
    lines.end_page(&mark, true);
    assert_eq!(going(&mut lines), [id(2)]);
    assert!(!lines.wants_page());
}

#[test]
fn what_goes_beyond_while_a_page_is_read_is_read_by_the_next() {
    let mut lines = Lines { beyond: true, ..Lines::default() };
    let mark = lines.begin_page();
    assert!(!lines.emit(entry(1, None)));
    lines.settle_beyond();
    lines.end_page(&mark, true);
    assert!(lines.wants_page());
}
