//! `pipelines/order_events.yaml` with its real databases: who hears an order, and what a second telling changes.

use serde_json::Value as Json;

use crate::program::{Bench, text};

const FILE: &str = "pipelines/order_events.yaml";
const STOCK: &str = "SELECT sku || ' ' || SUM(change) FROM movements GROUP BY sku ORDER BY sku";

fn told(bench: &Bench, lines: &str) -> Vec<Json> {
    bench.run(&["run", FILE, "--events", "json"], lines.as_bytes()).ends_with(0).objects()
}

fn published(events: &[Json], event_type: &str) -> Vec<Json> {
    let of_type = |event: &&Json| event["event"] == "published" && event["published"]["type"] == event_type;
    events.iter().filter(of_type).map(|event| event["published"]["data"].clone()).collect()
}

fn ends(events: &[Json], flow: &str) -> Vec<String> {
    let of_flow = |event: &&Json| event["event"] == "run_ended" && event["flow"] == flow;
    events.iter().filter(of_flow).map(|event| text(event, "outcome").to_owned()).collect()
}

fn stock(bench: &Bench) -> Vec<String> {
    bench.rows("order_events/shop.db", STOCK)
}

fn invited(bench: &Bench) -> Vec<String> {
    bench.rows("order_events/ratings.db", "SELECT customer FROM invitations ORDER BY order_id")
}

#[test]
fn an_order_is_taken_from_the_stock_and_rated_once_however_often_it_is_told() {
    let bench = Bench::chatbot();
    let order = r#"{"order":"o-1","customer":"ada","lines":[{"sku":"tea","quantity":2},{"sku":"pot","quantity":1}]}"#;
    let other = r#"{"order":"o-2","customer":"bo","lines":[{"sku":"tea","quantity":3}]}"#;
    let events = told(&bench, &format!("{order}\n{order}\n{other}\n"));
    assert_eq!(ends(&events, "complete"), ["succeeded"; 3]);
    assert_eq!((ends(&events, "inventory"), ends(&events, "rating")), (vec!["succeeded".to_owned(); 3], vec!["succeeded".to_owned(); 3]));
    assert_eq!((published(&events, "InventoryUpdated").len(), published(&events, "RatingInvited").len()), (2, 2));
    assert_eq!((stock(&bench), invited(&bench)), (vec!["pot 9".to_owned(), "tea 5".to_owned()], vec!["ada".to_owned(), "bo".to_owned()]));

    // The program that knew the order has ended; its rows have not.
    told(&bench, &format!("{order}\n"));
    assert_eq!((stock(&bench), invited(&bench).len()), (vec!["pot 9".to_owned(), "tea 5".to_owned()], 2));
}

#[test]
fn an_inventory_that_fails_leaves_the_invitation_alone_and_the_stock_as_it_was() {
    let bench = Bench::chatbot();
    let events = told(
        &bench,
        "{\"order\":\"o-1\",\"customer\":\"ada\",\"lines\":[{\"sku\":\"pot\",\"quantity\":1},{\"sku\":\"tea\",\"quantity\":11}]}\n",
    );
    assert_eq!((ends(&events, "inventory"), ends(&events, "rating")), (vec!["failed".to_owned()], vec!["succeeded".to_owned()]));
    assert_eq!((published(&events, "InventoryUpdated").len(), published(&events, "RatingInvited").len()), (0, 1));
    assert_eq!((stock(&bench), invited(&bench)), (vec!["pot 10".to_owned(), "tea 10".to_owned()], vec!["ada".to_owned()]));
}

#[test]
fn a_database_of_the_ratings_that_is_broken_leaves_the_inventory_alone() {
    let bench = Bench::chatbot();
    bench.replace("pipelines/scripts/order_events_invite.rhai", "INSERT OR IGNORE INTO invitations", "INSERT INTO no_such_table");
    let events = told(&bench, "{\"order\":\"o-1\",\"customer\":\"ada\",\"lines\":[{\"sku\":\"tea\",\"quantity\":1}]}\n");
    assert_eq!((ends(&events, "inventory"), ends(&events, "rating")), (vec!["succeeded".to_owned()], vec!["failed".to_owned()]));
    assert_eq!(published(&events, "InventoryUpdated"), [serde_json::json!({ "order": "o-1", "left": [{ "sku": "tea", "left": 9 }] })]);
    assert_eq!((stock(&bench), invited(&bench).len()), (vec!["tea 9".to_owned()], 0));
}
