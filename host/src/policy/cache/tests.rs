//! What the table of results answers, forgets and keeps.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::secret::Secret;
use crate::model::value::Tree;

const SECOND: Duration = Duration::from_secs(1);
const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
const SETTINGS: CacheSettings = CacheSettings { ttl: Duration::from_secs(10), stale: Duration::from_secs(5), max_entries: 3 };

fn policy(name: &str) -> PolicyIdentity {
    PolicyIdentity::Named { owner: "p".to_owned(), policy: name.to_owned() }
}

fn job(number: u128) -> JobId {
    JobId::new(Uuid::from_u128(number))
}

fn of(value: Value, tags: &[&str]) -> Fetched {
    Fetched { value, tags: tags.iter().map(|tag| (*tag).to_owned()).collect() }
}

fn filled(keys: &[&str]) -> Table {
    let mut table = Table::new();
    for (number, key) in keys.iter().enumerate() {
        let job = job(number as u128);
        assert_eq!(table.lookup(&policy("a"), key, job, &SETTINGS, NOW), Lookup::Lead);
        assert!(table.store(&policy("a"), key, job, of(Value::string(*key), &[&format!("tag of {key}")]), &SETTINGS, NOW));
    }
    table
}

fn has(table: &mut Table, key: &str) -> bool {
    matches!(table.lookup(&policy("a"), key, job(999), &SETTINGS, NOW), Lookup::Fresh(_))
}

#[test]
fn a_miss_is_fetched_once() {
    let (mut table, a) = (Table::new(), policy("a"));
    assert_eq!(table.lookup(&a, "k", job(1), &SETTINGS, NOW), Lookup::Lead);
    assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, NOW), Lookup::Join { leader: job(1) });
    assert!(table.store(&a, "k", job(1), of(Value::string("v"), &[]), &SETTINGS, NOW));
    assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, NOW), Lookup::Fresh(Value::string("v")));
}

#[test]
fn a_failure_is_not_stored_and_the_next_one_fetches() {
    let (mut table, a) = (Table::new(), policy("a"));
    table.lookup(&a, "k", job(1), &SETTINGS, NOW);
    assert!(!table.release(&a, "k", job(2)), "job 2 does not fetch");
    assert!(table.release(&a, "k", job(1)));
    assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, NOW), Lookup::Lead);
}

#[test]
fn a_stale_result_is_served_while_one_job_fetches() {
    let (mut table, a) = (filled(&["k"]), policy("a"));
    let value = Value::string("k");
    assert_eq!(table.lookup(&a, "k", job(1), &SETTINGS, NOW + SECOND * 9), Lookup::Fresh(value.clone()));
    let late = NOW + SECOND * 10;
    assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, late), Lookup::Stale { value: value.clone(), refresh: true });
    assert_eq!(table.lookup(&a, "k", job(3), &SETTINGS, late), Lookup::Stale { value, refresh: false });
    assert!(table.store(&a, "k", job(2), of(Value::string("new"), &[]), &SETTINGS, late));
    assert_eq!(table.lookup(&a, "k", job(4), &SETTINGS, late + SECOND * 9), Lookup::Fresh(Value::string("new")));
    assert_eq!(table.lookup(&a, "k", job(5), &SETTINGS, late + SECOND * 15), Lookup::Lead);
    assert_eq!(table.len(&a), 0, "what is past its stale time is gone");
}

#[test]
fn what_was_stored_before_answers_by_its_own_times_and_the_bounds_hold() {
    let (mut table, a) = (Table::new(), policy("a"));
    table.most_bytes = 10;
    let until = NOW + SECOND * 15;
    for key in ["1", "2", "3"] {
        assert!(table.restore(&a, key, of(Value::string("12"), &["t"]), (NOW, until), NOW + SECOND * 9));
    }
    assert_eq!(table.take_gone(), [(a.clone(), "1".to_owned())], "4 bytes each, so that the first goes for the third");
    assert!(!table.restore(&a, "3", of(Value::string("other"), &[]), (NOW, until), NOW + SECOND * 9), "it is there");
    assert!(!table.restore(&a, "4", of(Value::string("12"), &[]), (NOW, until), until), "its time is over");
    assert!(!table.restore(&a, "4", of(Value::string("123456789"), &[]), (NOW, until), NOW), "it is larger than all");
    assert_eq!(table.lookup(&a, "3", job(1), &SETTINGS, NOW + SECOND * 9), Lookup::Fresh(Value::string("12")));
    let late = table.lookup(&a, "3", job(1), &SETTINGS, NOW + SECOND * 10);
    assert_eq!(late, Lookup::Stale { value: Value::string("12"), refresh: true });
    assert_eq!(table.invalidate(&a, &Selector::Tag("t".to_owned())).len(), 2);
}

#[test]
fn what_goes_before_its_time_is_told_and_nothing_else() {
    let mut table = filled(&["a", "b", "c"]);
    let a = policy("a");
    table.lookup(&a, "d", job(9), &SETTINGS, NOW);
    table.store(&a, "d", job(9), of(Value::null(), &[]), &SETTINGS, NOW);
    assert_eq!(table.take_gone(), [(a.clone(), "a".to_owned())], "there is room for three");
    let shorter = CacheSettings { ttl: SECOND, stale: Duration::ZERO, ..SETTINGS };
    table.lookup(&a, "b", job(8), &shorter, NOW + SECOND);
    assert_eq!(table.take_gone(), [(a.clone(), "b".to_owned())]);
    table.lookup(&a, "c", job(8), &SETTINGS, NOW + SECOND * 15);
    assert_eq!(table.take_gone(), [], "its time was over");
    table.retain(&[]);
    assert_eq!(table.take_gone(), [(a, "d".to_owned())]);
}

#[test]
fn the_least_recently_used_goes() {
    let mut table = filled(&["a", "b", "c"]);
    assert!(has(&mut table, "a"));
    table.lookup(&policy("a"), "d", job(9), &SETTINGS, NOW);
    table.store(&policy("a"), "d", job(9), of(Value::null(), &[]), &SETTINGS, NOW);
    assert_eq!((has(&mut table, "a"), has(&mut table, "b"), has(&mut table, "c"), has(&mut table, "d")), (true, false, true, true));
}

#[test]
fn fewer_entries_and_a_shorter_life_count_at_once() {
    let (mut table, a) = (filled(&["a", "b", "c"]), policy("a"));
    let fewer = CacheSettings { max_entries: 1, ..SETTINGS };
    assert!(matches!(table.lookup(&a, "c", job(9), &fewer, NOW), Lookup::Fresh(_)));
    assert_eq!(table.len(&a), 1);
    let shorter = CacheSettings { ttl: SECOND, stale: Duration::ZERO, ..SETTINGS };
    assert_eq!(table.lookup(&a, "c", job(9), &shorter, NOW + SECOND), Lookup::Lead);
    let none = CacheSettings { max_entries: 0, ..SETTINGS };
    assert!(!table.store(&a, "c", job(9), of(Value::null(), &[]), &none, NOW));
}

#[test]
fn a_read_from_before_an_invalidation_is_neither_stored_nor_joined() {
    for selector in [Selector::Key("k".to_owned()), Selector::Prefix("k".to_owned()), Selector::Tag("any".to_owned())] {
        let (mut table, a) = (Table::new(), policy("a"));
        table.lookup(&a, "k", job(1), &SETTINGS, NOW);
        table.invalidate(&a, &selector);
        assert_eq!(table.lookup(&a, "k", job(2), &SETTINGS, NOW), Lookup::Lead, "{selector:?}");
        assert!(!table.store(&a, "k", job(1), of(Value::string("old"), &[]), &SETTINGS, NOW));
        assert!(table.store(&a, "k", job(2), of(Value::string("new"), &[]), &SETTINGS, NOW));
    }
}

/// Two reads, an invalidation, and the first read going over to another job, in every order that there is.
#[test]
fn in_no_order_does_a_read_from_before_an_invalidation_come_back() {
    const MOVES: [&str; 6] = ["one begins", "one is handed on", "one ends", "two begins", "two ends", "invalidate"];
    fn orders(left: &[usize], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left.is_empty() {
            all.push(order.clone());
        }
        for next in left {
            order.push(*next);
            let rest: Vec<usize> = left.iter().copied().filter(|other| other != next).collect();
            orders(&rest, order, all);
            order.pop();
        }
    }
    let mut all = Vec::new();
    orders(&[0, 1, 2, 3, 4, 5], &mut Vec::new(), &mut all);
    for selector in [Selector::Key("k".to_owned()), Selector::Prefix("k".to_owned()), Selector::Tag("t".to_owned())] {
        for order in &all {
            let at = |name: &str| order.iter().position(|index| MOVES[*index] == name).unwrap_or_default();
            let possible = at("one begins") < at("one is handed on") && at("one is handed on") < at("one ends");
            if !possible || at("two begins") > at("two ends") {
                continue;
            }
            let (mut table, a) = (Table::new(), policy("a"));
            let mut led = [false; 2];
            for index in order {
                match *index {
                    0 => led[0] = table.lookup(&a, "k", job(1), &SETTINGS, NOW) == Lookup::Lead,
                    1 if led[0] => table.pass_on(&a, "k", job(1), job(3)),
                    2 if led[0] => drop(table.store(&a, "k", job(3), of(Value::string("one"), &["t"]), &SETTINGS, NOW)),
                    3 => led[1] = table.lookup(&a, "k", job(2), &SETTINGS, NOW) == Lookup::Lead,
                    4 if led[1] => drop(table.store(&a, "k", job(2), of(Value::string("two"), &["t"]), &SETTINGS, NOW)),
                    5 => drop(table.invalidate(&a, &selector)),
                    _ => {}
                }
            }
            let kept = match table.lookup(&a, "k", job(9), &SETTINGS, NOW) {
                Lookup::Fresh(value) => Some(value),
                _ => None,
            };
            let after = |begins: &str| at(begins) > at("invalidate");
            // Whoever leads after the invalidation is kept; nobody who led before it is.
            let wanted = [("one", led[0] && after("one begins")), ("two", led[1] && after("two begins"))];
            let wanted: Vec<Value> = wanted.iter().filter(|(_, kept)| *kept).map(|(name, _)| Value::string(*name)).collect();
            assert_eq!(kept.is_some(), !wanted.is_empty(), "{selector:?} {order:?}");
            assert!(kept.is_none_or(|kept| wanted.contains(&kept)), "{selector:?} {order:?}");
        }
    }
}

#[test]
fn an_invalidation_of_others_does_no_harm() {
    let (mut table, a) = (Table::new(), policy("a"));
    table.lookup(&a, "k", job(1), &SETTINGS, NOW);
    table.invalidate(&a, &Selector::Key("other".to_owned()));
    table.invalidate(&policy("b"), &Selector::Key("k".to_owned()));
    assert!(table.store(&a, "k", job(1), of(Value::null(), &[]), &SETTINGS, NOW));
}

#[test]
fn entries_go_by_key_prefix_and_tag() {
    let keys = ["x1", "x2", "y"];
    let left = |selector: Selector| {
        let mut table = filled(&keys);
        let gone = table.invalidate(&policy("a"), &selector).len();
        (gone, keys.map(|key| has(&mut table, key)))
    };
    assert_eq!(left(Selector::Key("x1".to_owned())), (1, [false, true, true]));
    assert_eq!(left(Selector::Prefix("x".to_owned())), (2, [false, false, true]));
    assert_eq!(left(Selector::Tag("tag of y".to_owned())), (1, [true, true, false]));
    assert_eq!(left(Selector::Tag("no".to_owned())), (0, [true, true, true]));
}

#[test]
fn keys_do_not_meet_across_policies() {
    let mut table = filled(&["k"]);
    assert_eq!(table.lookup(&policy("b"), "k", job(9), &SETTINGS, NOW), Lookup::Lead);
    table.retain(&[policy("b")]);
    assert_eq!(table.len(&policy("a")), 0);
    assert_eq!(table.lookup(&policy("b"), "k", job(8), &SETTINGS, NOW), Lookup::Join { leader: job(9) });
}

#[test]
fn a_secret_is_not_stored() {
    let (mut table, a) = (Table::new(), policy("a"));
    table.lookup(&a, "k", job(1), &SETTINGS, NOW);
    let secret = Value::from(Tree::List(vec![Tree::Secret(Secret::new("KEY", "x"))]));
    assert!(!table.store(&a, "k", job(1), of(secret, &[]), &SETTINGS, NOW));
    assert_eq!(table.len(&a), 0);
}

#[test]
fn what_is_too_large_pushes_the_others_out_and_no_more() {
    let (mut table, a) = (filled(&["a"]), policy("a"));
    table.most_bytes = 100;
    let large = Value::string("x".repeat(90));
    table.lookup(&a, "b", job(1), &SETTINGS, NOW);
    assert!(table.store(&a, "b", job(1), of(large, &[]), &SETTINGS, NOW));
    assert!(has(&mut table, "a"), "both fit");
    let larger = Value::string("x".repeat(98));
    table.lookup(&a, "c", job(2), &SETTINGS, NOW);
    assert!(table.store(&a, "c", job(2), of(larger, &[]), &SETTINGS, NOW));
    assert_eq!(table.len(&a), 1);
    table.lookup(&a, "d", job(3), &SETTINGS, NOW);
    assert!(!table.store(&a, "d", job(3), of(Value::string("x".repeat(100)), &[]), &SETTINGS, NOW));
}
