//! The pipelines `cart` and `product` that ship, from the real binary, with their real databases.

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value as Json, json};

use crate::program::running::Running;
use crate::program::{Bench, text};

const DATA: &str = "pipelines/.pipehost";

fn number(bench: &Bench, database: &str, query: &str) -> i64 {
    let path = bench.path(&format!("{DATA}/{database}"));
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
    database.query_row(query, [], |row| row.get(0)).expect("a number")
}

#[test]
fn both_pipelines_follow_each_other_and_each_event_is_handled_once_by_each() {
    let bench = Bench::chatbot();
    let host = Running::start(&bench, &["cart", "product"]);
    assert_eq!(host.send("product.deliver", &json!({ "sku": "tea", "quantity": 3 })), json!({ "left": 3 }));
    host.until_ended("cart", "stock");
    assert_eq!(host.send("cart.add", &json!({ "customer": "ada", "sku": "tea", "quantity": 2 })), json!({ "in_cart": 2 }));
    host.until_ended("cart", "stock");
    // Of the delivery the cart knows what is left, and of the cart the product what is gone.
    let refused = host.send("cart.add", &json!({ "customer": "ada", "sku": "tea", "quantity": 2 }));
    assert_eq!(refused, json!({ "error": "only 1 of tea are left", "count": 2 }));
    let cart = host.send("cart.show", &json!({ "customer": "ada" }));
    let items = json!([{ "sku": "tea", "quantity": 2 }]);
    assert_eq!(cart, json!({ "count": 2, "items": items, "confirmed": 2, "last_error": "only 1 of tea are left" }));
    assert_eq!(host.send("product.show", &json!({ "sku": "tea" })), json!({ "left": 1 }));
    assert_eq!(number(&bench, "cart/carts.db", "SELECT sum(quantity) FROM lines"), 2);
    assert_eq!(number(&bench, "product/stock.db", "SELECT sum(quantity) FROM movements"), 1);

    let finished = host.stop();
    let events = finished.ends_with(0).objects();
    let published = |name: &str| {
        let of_type = |event: &&Json| event["event"] == "published" && event["published"]["type"] == name;
        events.iter().filter(of_type).map(|event| text(&event["published"], "id").to_owned()).collect::<Vec<_>>()
    };
    let started = |pipeline: &str, flow: &str| {
        events.iter().filter(|event| event["event"] == "run_started" && event["pipeline"] == pipeline && event["flow"] == flow).count()
    };
    assert_eq!((published("CartUpdated").len(), started("cart", "confirmed"), started("product", "sold")), (1, 1, 1));
    assert_eq!((published("StockChanged").len(), started("product", "changed"), started("cart", "stock")), (2, 2, 2));
}

#[test]
fn what_is_asked_for_is_seen_while_the_database_is_busy_and_overlapping_adds_are_both_kept() {
    let bench = Bench::chatbot();
    let host = Running::start(&bench, &["cart", "product"]);
    assert_eq!(host.send("product.deliver", &json!({ "sku": "jam", "quantity": 9 })), json!({ "left": 9 }));
    host.until_ended("cart", "stock");
    assert_eq!(host.send("cart.add", &json!({ "customer": "ada", "sku": "jam" })), json!({ "in_cart": 1 }));
    host.until_ended("cart", "stock");
    // Another program writes into the database: the executor waits, and retries if it waits too long.
    let other = Connection::open(bench.path(&format!("{DATA}/cart/carts.db"))).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO stock (sku, left) VALUES ('tea', 1)").expect("it is locked");
    let too_many = host.sending("cart.add", &json!({ "customer": "ada", "sku": "tea", "quantity": 2 }));
    let one = host.sending("cart.add", &json!({ "customer": "ada", "sku": "jam" }));
    let promised = loop {
        let event = host.event("state_set");
        if event["change"] == "optimistic" && event["after"]["count"] == 4 {
            break event;
        }
    };
    assert_eq!(promised["after"]["items"].as_array().map(Vec::len), Some(3));
    let seen = host.send("cart.show", &json!({ "customer": "ada" }));
    assert_eq!((&seen["count"], &seen["confirmed"]), (&json!(4), &json!(1)), "before the executor is done: {seen}");
    other.execute_batch("COMMIT").expect("it is free again");
    let refused = too_many.finish().objects().remove(0);
    assert_eq!(text(&refused, "error"), "only 1 of tea are left");
    assert_eq!(one.finish().ends_with(0).objects(), [json!({ "in_cart": 2 })]);
    host.until_ended("cart", "stock");
    assert_eq!(host.send("product.show", &json!({ "sku": "jam" })), json!({ "left": 7 }));
    let cart = host.send("cart.show", &json!({ "customer": "ada" }));
    let jam = json!({ "sku": "jam", "quantity": 1 });
    assert_eq!((&cart["count"], &cart["items"]), (&json!(2), &json!([jam, jam])));
    assert_eq!(number(&bench, "cart/carts.db", "SELECT count(*) FROM lines"), 2);
    host.stop().ends_with(0);
}
