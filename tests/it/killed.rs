//! Pipelines that ship, killed in the middle of what they do and started anew over the same data: nothing is lost, and nothing is done twice.

use std::collections::BTreeSet;

use rusqlite::Connection;
use serde_json::{Value as Json, json};

use crate::order_choreography::kept_by;
use crate::program::running::Running;
use crate::program::service::{Manner, Service};
use crate::program::smtp::{Act, MailServer, Turn};
use crate::program::{Bench, text};

/// Keeps others from writing into a database beneath the data folder, until it is dropped.
fn held(bench: &Bench, database: &str) -> Connection {
    let other = Connection::open(bench.path(&format!("pipelines/.pipehost/{database}"))).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE held (a)").expect("it is locked");
    other
}

/// Waits until a step's job has begun.
fn until_begun(host: &Running<'_>, step: &str) {
    while host.event("job_started")["step"] != step {}
}

#[test]
fn an_order_that_is_killed_in_the_middle_goes_on_where_it_was() {
    let bench = Bench::chatbot();
    let host = Running::start_talking(&bench, &["order_saga"]);
    let purchasing = held(&bench, "order_saga/purchasing.db");
    let order = json!({ "order": "o-1", "sku": "bolt", "quantity": 2, "price": 5 });
    let _sender = host.sending("order_saga.main", &order);
    until_begun(&host, "purchase");
    host.kill();
    drop(purchasing);
    assert_eq!(kept_by(&bench, "order_saga"), ["o-1 is Pending", "o-1 has 2"]);

    let host = Running::start_talking(&bench, &["order_saga"]);
    assert_eq!(text(&host.until_ended("order_saga", "main"), "outcome"), "succeeded");
    // Whoever asks again gets the answer that nobody has heard.
    assert_eq!(host.send("order_saga.main", &order), json!({ "order": "o-1", "status": "completed" }));
    host.stop().ends_with(0);
    assert_eq!(kept_by(&bench, "order_saga"), ["o-1 is Completed", "o-1 has 2", "o-1 costs 10, Ordered", "o-1 came, 2"]);
}

#[test]
fn an_order_that_is_killed_while_it_is_taken_back_is_taken_back_to_the_end() {
    let bench = Bench::chatbot();
    let host = Running::start_talking(&bench, &["order_saga"]);
    // There is no room for six, which the fourth step finds out; and then the parts cannot be released.
    let _sender = host.sending("order_saga.main", &json!({ "order": "o-4", "sku": "bolt", "quantity": 6, "price": 5 }));
    until_begun(&host, "purchase");
    let parts = held(&bench, "order_saga/parts.db");
    until_begun(&host, "reserve");
    host.kill();
    drop(parts);
    let host = Running::start_talking(&bench, &["order_saga"]);
    assert_eq!(text(&host.until_ended("order_saga", "main"), "outcome"), "failed");
    host.stop().ends_with(0);
    assert_eq!(kept_by(&bench, "order_saga"), ["o-4 costs 30, Cancelled"]);
}

#[test]
fn a_purchase_that_is_killed_before_it_is_paid_is_paid_once() {
    let mail = MailServer::start();
    let bench = Bench::chatbot().with("SMTP_SERVER", mail.address());
    let shop = ["purchase", "basket", "catalog", "finance", "notification"];
    let host = Running::start(&bench, &shop);
    host.send("catalog.put", &json!({ "book": "b-1", "title": "Emma", "list_price": 1200 }));
    host.send("basket.add", &json!({ "customer": "ada", "book": "b-1" }));
    let ledger = held(&bench, "finance/ledger.db");
    let checkout = json!({ "customer": "ada", "email": "ada@example.com", "request": "r-1" });
    let _sender = host.sending("purchase.checkout", &checkout);
    while host.event("job_started")["pipeline"] != "finance" {}
    host.kill();
    drop(ledger);

    let host = Running::start(&bench, &shop);
    assert_eq!(text(&host.until_ended("notification", "confirmed"), "outcome"), "succeeded");
    let bought = host.send("purchase.checkout", &checkout);
    assert_eq!((text(&bought, "status"), &bought["total"]), ("confirmed", &json!(1200)));
    host.stop().ends_with(0);
    assert_eq!(bench.rows("finance/ledger.db", "SELECT status || ' ' || amount FROM payments"), ["Paid 1200"]);
    assert_eq!(bench.rows("purchase/orders.db", "SELECT status FROM orders"), ["Confirmed"]);
    assert_eq!(bench.rows("basket/baskets.db", "SELECT book FROM lines WHERE order_id IS NULL"), [""; 0]);
    assert_eq!(mail.letters().len(), 1);
}

#[test]
fn a_letter_whose_answer_was_lost_in_the_crash_comes_again_under_the_same_id() {
    let mail = MailServer::start();
    // It takes the first letter and never says so.
    mail.does(Turn::Quit, &[Act::Well]);
    mail.does(Turn::Content, &[Act::TakesAndIsSilent, Act::Well]);
    let bench = Bench::chatbot().with("SMTP_SERVER", mail.address());
    let shop = ["purchase", "basket", "catalog", "finance", "notification"];
    let host = Running::start(&bench, &shop);
    host.send("catalog.put", &json!({ "book": "b-1", "title": "Emma", "list_price": 1200 }));
    host.send("basket.add", &json!({ "customer": "ada", "book": "b-1" }));
    host.send("purchase.checkout", &json!({ "customer": "ada", "email": "ada@example.com", "request": "r-1" }));
    mail.wait_for(1);
    host.kill();
    let host = Running::start(&bench, &shop);
    let letters = mail.wait_for(2);
    assert_eq!(letters[0].header("Message-ID"), letters[1].header("Message-ID"));
    host.until_ended("notification", "confirmed");
    host.stop().ends_with(0);
}

#[test]
fn a_request_that_waits_is_answered_after_the_host_was_killed() {
    let mail = MailServer::start();
    let bench = Bench::chatbot().with("SMTP_SERVER", mail.address());
    let mut host = Running::start_talking(&bench, &["request_routing"]);
    let wanted = json!({ "type": "order_parts", "requester": "tom", "parts": [{ "sku": "pump", "quantity": 20 }] });
    let _sender = host.sending("request_routing.ask", &wanted);
    let waiting = host.event("waiting");
    let run = text(&waiting, "run").to_owned();
    mail.wait_for(1);
    for _ in 0..10 {
        host.kill();
        host = Running::start_talking(&bench, &["request_routing"]);
    }
    let answer = |by: &str| host.send("request_routing.answer", &json!({ "request": run, "by": by, "approve": true }));
    assert_eq!(text(&answer("rosa"), "refused/0/reason"), "guard");
    assert_eq!(answer("rita")["refused"], json!([]));
    // Its letters are runs of the same flow.
    let ended = std::iter::repeat_with(|| host.until_ended("request_routing", "ask")).find(|ended| ended["run"] == run.as_str());
    assert_eq!(text(&ended.expect("it ends"), "outcome"), "succeeded");
    let read = host.send("request_routing.trail", &json!({ "request": run }));
    let told: Vec<&str> = read["trail"].as_array().expect("a trail").iter().map(|row: &Json| text(row, "what")).collect();
    assert_eq!(told, ["routed", "asked", "answer refused", "approved", "chosen"]);
    host.stop().ends_with(0);
    // A letter that was under way when the host was killed comes again, and whoever gets both sees that they are one.
    let ids: BTreeSet<String> = mail.letters().iter().map(|letter| letter.header("Message-ID").expect("an id").to_owned()).collect();
    assert_eq!(ids.len(), 1, "nobody is asked twice");
}

#[test]
fn an_upload_that_is_killed_in_an_attempt_goes_on_under_the_same_key() {
    let cloud = Service::start();
    cloud.does("/files/file.json", &[Manner::Silent, Manner::Answers("{}")]);
    let bench = Bench::chatbot().with("CLOUD_URL", cloud.origin());
    bench.write("pipelines/outbox/file.json", r#"{"request":"req-123"}"#);
    let host = Running::start_talking(&bench, &["cloud_upload"]);
    let _sender = host.sending("cloud_upload.main", &json!({ "text": "file.json" }));
    cloud.wait_until_asked("/files/file.json", 1);
    host.kill();
    let host = Running::start_talking(&bench, &["cloud_upload"]);
    let ended = host.until_ended("cloud_upload", "main");
    assert_eq!((text(&ended, "outcome"), cloud.asked("/files/file.json")), ("succeeded", 2));
    let keys = cloud.keys("/files/file.json");
    assert!(!keys[0].is_empty() && keys[0] == keys[1], "both are one upload: {keys:?}");
    host.stop().ends_with(0);
}
