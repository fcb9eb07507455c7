//! `pipelines/order_choreography.yaml` with the real databases of its four services: what each of them is left with.

use serde_json::{Value as Json, json};

use crate::program::{Bench, text};

const FILE: &str = "pipelines/order_choreography.yaml";

/// What the four databases hold, in the words of a person; a service that was never asked has none.
fn kept(bench: &Bench) -> Vec<String> {
    kept_by(bench, "order_choreography")
}

/// The same of any pipeline whose services these are.
pub(crate) fn kept_by(bench: &Bench, pipeline: &str) -> Vec<String> {
    let rows = |service: &str, query: &str| {
        let database = format!("{pipeline}/{service}.db");
        let is_used = bench.path(&format!("pipelines/.pipehost/{database}")).exists()
            && !bench.rows(&database, "SELECT name FROM sqlite_schema").is_empty();
        if is_used { bench.rows(&database, query) } else { Vec::new() }
    };
    [
        rows("orders", "SELECT id || ' is ' || status FROM orders ORDER BY id"),
        rows("parts", "SELECT order_id || ' has ' || quantity FROM reservations ORDER BY order_id"),
        rows("purchasing", "SELECT order_id || ' costs ' || total || ', ' || status FROM purchases ORDER BY order_id"),
        rows("inventory", "SELECT order_id || ' came, ' || quantity FROM entries ORDER BY order_id"),
    ]
    .concat()
}

/// Places an order; gives the reply and the types of the events in their order.
fn place(bench: &Bench, order: &Json) -> (Json, Vec<String>) {
    let events = bench.run(&["run", FILE, "--events", "json", "--input", &order.to_string()], b"").ends_with(0).objects();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    let types = named("published").into_iter().map(|event| text(event, "published/type").to_owned()).collect();
    (named("replied").first().expect("there is a reply")["reply"].clone(), types)
}

#[test]
fn an_order_that_all_services_can_carry_out_is_kept_by_all_of_them() {
    let bench = Bench::chatbot();
    let (reply, events) = place(&bench, &json!({ "order": "o-1", "sku": "bolt", "quantity": 2, "price": 5 }));
    assert_eq!(reply, json!({ "order": "o-1", "status": "completed" }));
    assert_eq!(events, ["OrderCreated", "PartsReserved", "PurchaseOrdered", "InventoryUpdated", "OrderCompleted"]);
    assert_eq!(kept(&bench), ["o-1 is Completed", "o-1 has 2", "o-1 costs 10, Ordered", "o-1 came, 2"]);
}

#[test]
fn one_that_fails_at_the_second_step_is_deleted() {
    let bench = Bench::chatbot();
    let (reply, events) = place(&bench, &json!({ "order": "o-2", "sku": "bolt", "quantity": 11, "price": 5 }));
    let why = "there are 10 of bolt, and 11 are wanted";
    assert_eq!(reply, json!({ "order": "o-2", "status": "deleted", "error": why, "left": [] }));
    assert_eq!(events, ["OrderCreated", "PartsRefused", "OrderDeleted"]);
    assert_eq!(kept(&bench), [""; 0]);
}

#[test]
fn one_that_fails_at_the_third_step_is_unreserved_and_deleted() {
    let bench = Bench::chatbot();
    let (reply, events) = place(&bench, &json!({ "order": "o-3", "sku": "bolt", "quantity": 1, "price": 5000 }));
    let why = "a purchase of 5000 is over the limit of 1000";
    assert_eq!(reply, json!({ "order": "o-3", "status": "deleted", "error": why, "left": [] }));
    assert_eq!(events, ["OrderCreated", "PartsReserved", "PurchaseFailed", "PartsReleased", "OrderDeleted"]);
    assert_eq!(kept(&bench), [""; 0]);
}

#[test]
fn one_that_fails_at_the_fourth_step_is_cancelled_unreserved_and_deleted() {
    let bench = Bench::chatbot();
    let (reply, events) = place(&bench, &json!({ "order": "o-4", "sku": "bolt", "quantity": 6, "price": 5 }));
    let why = "there is room for 5 of bolt, and 6 came";
    assert_eq!(reply, json!({ "order": "o-4", "status": "deleted", "error": why, "left": [] }));
    let way = ["PurchaseOrdered", "InventoryFailed", "PurchaseCancelled", "PartsReleased", "OrderDeleted"];
    assert_eq!(events[2..], way);
    assert_eq!(kept(&bench), ["o-4 costs 30, Cancelled"]);
}

#[test]
fn a_service_that_cannot_take_back_is_named_and_the_others_do() {
    let bench = Bench::chatbot();
    let script = "pipelines/scripts/order_choreography_purchasing.rhai";
    bench.replace(
        script,
        "if wanted[\"do\"] == \"cancel\" {",
        "if wanted[\"do\"] == \"cancel\" {\n        throw permanent(\"the supplier says no\");",
    );
    let (reply, _) = place(&bench, &json!({ "order": "o-4", "sku": "bolt", "quantity": 6, "price": 5 }));
    assert_eq!((text(&reply, "status"), &reply["left"]), ("deleted", &json!(["purchase"])));
    assert_eq!(kept(&bench), ["o-4 costs 30, Ordered"]);
}

#[test]
fn orders_of_many_customers_at_once_do_not_get_in_each_others_way() {
    let bench = Bench::chatbot();
    let order = |number: usize| {
        let (quantity, price) = if number.is_multiple_of(3) { (1, 5000) } else { (1, 5) };
        json!({ "order": format!("o-{number}"), "sku": format!("bolt-{}", number % 2), "quantity": quantity, "price": price }).to_string()
    };
    let lines: Vec<String> = (1..=12).map(order).collect();
    let ended = bench.run(&["run", FILE], format!("{}\n", lines.join("\n")).as_bytes());
    let replies = ended.ends_with(0).objects();
    let statuses: Vec<&str> = replies.iter().map(|reply| text(reply, "status")).collect();
    assert_eq!(statuses, ["completed", "completed", "deleted"].repeat(4));
    let completed = |row: &&String| row.ends_with("Completed");
    assert_eq!((kept(&bench).iter().filter(completed).count(), kept(&bench).len()), (8, 4 * 8));
}
