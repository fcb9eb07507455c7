//! `pipelines/purchase.yaml` and its four neighbours from the real binary: five databases, and a mail server over a real socket.

use rusqlite::Connection;
use serde_json::{Value as Json, json};

use crate::program::running::{Running, reply};
use crate::program::smtp::{Act, MailServer, Turn};
use crate::program::{Bench, text};

const SHOP: [&str; 5] = ["purchase", "basket", "catalog", "finance", "notification"];

/// A bench whose letters go to that server.
fn bench(mail: &MailServer) -> Bench {
    Bench::chatbot().with("SMTP_SERVER", mail.address())
}

/// A shop with two books, one of them on sale, and both in Ada's basket.
fn stocked(bench: &Bench) -> Running<'_> {
    let shop = Running::start(bench, &SHOP);
    shop.send("catalog.put", &json!({ "book": "b-1", "title": "Emma", "list_price": 1200, "sale_price": 900 }));
    shop.send("catalog.put", &json!({ "book": "b-2", "title": "Ulysses", "list_price": 2000 }));
    shop.send("basket.add", &json!({ "customer": "ada", "book": "b-1", "quantity": 2 }));
    let basket = shop.send("basket.add", &json!({ "customer": "ada", "book": "b-2" }));
    assert_eq!(basket["items"], json!([{ "book": "b-1", "quantity": 2 }, { "book": "b-2", "quantity": 1 }]));
    shop
}

fn checkout(request: &str) -> Json {
    json!({ "customer": "ada", "email": "ada@example.com", "request": request })
}

/// What a database of the shop holds; nothing if it was never written to.
fn rows(bench: &Bench, database: &str, query: &str) -> Vec<String> {
    let is_used = bench.path(&format!("pipelines/.pipehost/{database}")).exists()
        && !bench.rows(database, "SELECT name FROM sqlite_schema").is_empty();
    if is_used { bench.rows(database, query) } else { Vec::new() }
}

fn orders(bench: &Bench) -> Vec<String> {
    rows(bench, "purchase/orders.db", "SELECT customer || ' pays ' || total || ', ' || status FROM orders ORDER BY id")
}

fn payments(bench: &Bench) -> Vec<String> {
    rows(bench, "finance/ledger.db", "SELECT customer || ' paid ' || amount || ', ' || status FROM payments ORDER BY order_id")
}

#[test]
fn a_purchase_goes_from_the_basket_to_the_letter() {
    let mail = MailServer::start();
    let bench = bench(&mail);
    let shop = stocked(&bench);
    let bought = shop.send("purchase.checkout", &checkout("r-1"));
    assert_eq!((text(&bought, "status"), &bought["total"]), ("confirmed", &json!(2 * 900 + 2000)), "{bought}");
    let [letter] = mail.wait_for(1).try_into().expect("one letter");
    assert_eq!((letter.to, letter.text.contains("3800 cents")), (vec!["ada@example.com".to_owned()], true));
    shop.until_ended("notification", "confirmed");

    // The same request: the same order, and nobody does anything once more.
    assert_eq!(shop.send("purchase.checkout", &checkout("r-1")), bought);
    // Another one finds the basket empty.
    assert_eq!(text(&shop.send("purchase.checkout", &checkout("r-2")), "code"), "empty_basket");
    shop.stop().ends_with(0);
    assert_eq!(orders(&bench), ["ada pays 3800, Confirmed"]);
    assert_eq!(payments(&bench), ["ada paid 3800, Paid"]);
    let lines = rows(&bench, "purchase/orders.db", "SELECT book || ' ' || quantity || ' x ' || price FROM lines ORDER BY book");
    assert_eq!(lines, ["b-1 2 x 900", "b-2 1 x 2000"]);
    assert_eq!(rows(&bench, "basket/baskets.db", "SELECT book FROM lines WHERE order_id IS NULL"), [""; 0]);
    assert_eq!(rows(&bench, "notification/sent.db", "SELECT subject FROM sent"), ["confirmed"]);
    assert_eq!(mail.letters().len(), 1);
}

#[test]
fn one_book_that_is_missing_keeps_all_from_being_written() {
    let mail = MailServer::start();
    let bench = bench(&mail);
    let shop = stocked(&bench);
    shop.send("catalog.put", &json!({ "book": "b-2", "title": "Ulysses", "list_price": 2000, "available": false }));
    shop.send("basket.add", &json!({ "customer": "ada", "book": "b-9" }));
    let refused = shop.send("purchase.checkout", &checkout("r-1"));
    assert_eq!((text(&refused, "kind"), text(&refused, "error")), ("conflict", "these books cannot be had: [\"b-2\",\"b-9\"]"));
    // Once it can be had the same request goes well: a failure is no answer to keep.
    shop.send("catalog.put", &json!({ "book": "b-2", "title": "Ulysses", "list_price": 2100 }));
    shop.send("catalog.put", &json!({ "book": "b-9", "title": "Dubliners", "list_price": 700 }));
    assert_eq!((orders(&bench), payments(&bench)), (Vec::new(), Vec::new()));
    assert_eq!(shop.send("purchase.checkout", &checkout("r-1"))["total"], json!(2 * 900 + 2100 + 700));
    shop.stop().ends_with(0);
}

#[test]
fn of_two_checkouts_at_once_one_wins_and_the_other_hears_conflict() {
    let mail = MailServer::start();
    let bench = bench(&mail);
    let shop = stocked(&bench);
    // Another program writes into the orders: the first checkout is under way until it is done.
    let other = Connection::open(bench.path("pipelines/.pipehost/purchase/orders.db")).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE held (a)").expect("it is locked");
    let first = shop.sending("purchase.checkout", &checkout("r-1"));
    while shop.event("job_started")["pipeline"] != "purchase" {}
    let second = shop.sending("purchase.checkout", &checkout("r-2")).finish();
    second.ends_with(1).says(&["purchase.checkout", "under way", "(conflict)"]);
    other.execute_batch("ROLLBACK").expect("it is free again");
    assert_eq!(text(&reply(first), "status"), "confirmed");
    shop.stop().ends_with(0);
    assert_eq!(orders(&bench), ["ada pays 3800, Confirmed"]);
}

#[test]
fn a_basket_that_cannot_be_cleared_rolls_everything_back() {
    let mail = MailServer::start();
    let bench = bench(&mail);
    let script = "pipelines/scripts/basket_lines.rhai";
    bench.replace(script, "\"take\" {", "\"take\" {\n        throw permanent(\"the basket is stuck\");");
    let shop = stocked(&bench);
    let refused = shop.send("purchase.checkout", &checkout("r-1"));
    assert_eq!(text(&refused, "error"), "the basket could not be cleared: the basket is stuck");
    shop.until_ended("finance", "give_back");
    let letters = mail.wait_for(2);
    assert!(letters[1].header("Subject").is_some_and(|subject| subject.ends_with("was cancelled")), "{letters:?}");
    let basket = shop.send("basket.show", &json!({ "customer": "ada" }));
    assert_eq!(basket["items"].as_array().map(Vec::len), Some(2), "all of it is still there");
    shop.stop().ends_with(0);
    assert_eq!(
        (orders(&bench), payments(&bench)),
        (vec!["ada pays 3800, Cancelled".to_owned()], vec!["ada paid 3800, Refunded".to_owned()])
    );
}

#[test]
fn a_payment_that_is_refused_cancels_the_order_and_keeps_the_basket() {
    let mail = MailServer::start();
    let bench = bench(&mail);
    let shop = stocked(&bench);
    shop.send("basket.add", &json!({ "customer": "ada", "book": "b-2", "quantity": 100 }));
    let refused = shop.send("purchase.checkout", &checkout("r-1"));
    assert_eq!(text(&refused, "error"), "a payment of 203800 is over the limit of 50000");
    shop.until_ended("basket", "bring_back");
    let basket = shop.send("basket.show", &json!({ "customer": "ada" }));
    assert_eq!(basket["items"][1], json!({ "book": "b-2", "quantity": 101 }));
    shop.stop().ends_with(0);
    assert_eq!(orders(&bench), ["ada pays 203800, Cancelled"]);
    assert_eq!(mail.letters(), []);
}

#[test]
fn a_letter_that_cannot_be_sent_is_tried_again_and_the_order_stands() {
    let mail = MailServer::start();
    // Nobody listens, then no room, then the answer is lost after the letter was taken.
    mail.does(Turn::Greeting, &[Act::HangsUp, Act::Well]);
    mail.does(Turn::Content, &[Act::Says("452 no room"), Act::HangsUp, Act::Well]);
    let bench = bench(&mail);
    bench.replace("pipelines/notification.yaml", "max_retries: 20,", "max_retries: 20, base_delay: 10ms,");
    let shop = stocked(&bench);
    assert_eq!(text(&shop.send("purchase.checkout", &checkout("r-1")), "status"), "confirmed");
    let letters = mail.wait_for(2);
    let ids: Vec<_> = letters.iter().map(|letter| letter.header("Message-ID").expect("an id")).collect();
    assert_eq!(ids[0], ids[1], "whoever gets both sees that they are one");
    assert_eq!(text(&shop.until_ended("notification", "confirmed"), "outcome"), "succeeded");
    shop.stop().ends_with(0);
    assert_eq!(orders(&bench), ["ada pays 3800, Confirmed"]);
    assert_eq!(rows(&bench, "notification/sent.db", "SELECT message_id FROM sent"), [ids[0]]);
}
