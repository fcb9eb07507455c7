//! `pipelines/order_saga.yaml` beside `order_choreography.yaml`, both with real databases: whatever happens to an order, what the services
//! are left with is the same.

use serde_json::{Value as Json, json};

use crate::order_choreography::kept_by;
use crate::program::{Bench, text};

const SAGA: &str = "order_saga";
const CHOREOGRAPHY: &str = "order_choreography";

/// Both do the same orders, one after the other, each over databases of its own.
struct Both {
    bench: Bench,
    replies: Vec<(Json, Json)>,
}

impl Both {
    fn new() -> Self {
        Self { bench: Bench::chatbot(), replies: Vec::new() }
    }

    fn order(mut self, order: &Json) -> Self {
        let reply = |pipeline: &str| {
            let file = format!("pipelines/{pipeline}.yaml");
            let events = self.bench.run(&["run", &file, "--events", "json", "--input", &order.to_string()], b"").objects();
            events.iter().find(|event| event["event"] == "replied").expect("there is a reply")["reply"].clone()
        };
        let replies = (reply(SAGA), reply(CHOREOGRAPHY));
        self.replies.push(replies);
        self
    }

    /// What the services of both are left with, which must be the same.
    fn kept(&self) -> Vec<String> {
        let kept = kept_by(&self.bench, SAGA);
        assert_eq!(kept, kept_by(&self.bench, CHOREOGRAPHY));
        kept
    }

    /// What the customers of both were told last: status and reason, which must be the same.
    fn told(&self) -> (&str, Option<&str>) {
        let (saga, choreography) = self.replies.last().expect("something was ordered");
        let told = |reply: &'_ Json| (reply["order"].clone(), reply["status"].clone(), reply["error"].clone());
        assert_eq!(told(saga), told(choreography));
        (text(saga, "status"), saga["error"].as_str())
    }
}

#[test]
fn what_goes_well_goes_well_in_both() {
    let both = Both::new().order(&json!({ "order": "o-1", "sku": "bolt", "quantity": 2, "price": 5 }));
    assert_eq!(both.told(), ("completed", None));
    assert_eq!(both.kept(), ["o-1 is Completed", "o-1 has 2", "o-1 costs 10, Ordered", "o-1 came, 2"]);
}

#[test]
fn a_failure_at_each_step_leaves_the_same_behind() {
    for (order, error, kept) in [
        (json!({ "order": "o-2", "sku": "bolt", "quantity": 11, "price": 5 }), "there are 10 of bolt, and 11 are wanted", &[][..]),
        (json!({ "order": "o-3", "sku": "bolt", "quantity": 1, "price": 5000 }), "a purchase of 5000 is over the limit of 1000", &[]),
        (
            json!({ "order": "o-4", "sku": "bolt", "quantity": 6, "price": 5 }),
            "there is room for 5 of bolt, and 6 came",
            &["o-4 costs 30, Cancelled"],
        ),
    ] {
        let both = Both::new().order(&order);
        assert_eq!(both.told(), ("deleted", Some(error)));
        assert_eq!(both.kept(), kept);
    }
}

#[test]
fn what_is_refused_at_once_is_refused_by_both() {
    let both = Both::new().order(&json!({ "order": "o-1", "sku": "bolt", "quantity": 0, "price": 5 }));
    assert_eq!(both.told(), ("refused", Some("the quantity is at least 1")));
    assert_eq!(both.kept(), [""; 0]);
}

#[test]
fn one_after_the_other_they_find_the_same_things_there() {
    let order = |number: u32, quantity: u32, price: u32| json!({ "order": format!("o-{number}"), "sku": "bolt", "quantity": quantity, "price": price });
    let both = [order(1, 5, 5), order(2, 6, 5), order(3, 5, 5000), order(4, 5, 5), order(5, 1, 5)].iter().fold(Both::new(), Both::order);
    let statuses: Vec<&str> = both.replies.iter().map(|(saga, _)| text(saga, "status")).collect();
    assert_eq!(statuses, ["completed", "deleted", "deleted", "completed", "deleted"]);
    assert_eq!(both.told(), ("deleted", Some("there are 0 of bolt, and 1 are wanted")));
    assert_eq!(both.kept().len(), 4 * 2);
}

#[test]
fn a_compensation_that_fails_is_shown_and_the_others_are_made_in_both() {
    let both = Both::new();
    both.bench.replace(
        "pipelines/scripts/order_choreography_purchasing.rhai",
        "if wanted[\"do\"] == \"cancel\" {",
        "if wanted[\"do\"] == \"cancel\" {\n        throw permanent(\"the supplier says no\");",
    );
    let order = json!({ "order": "o-4", "sku": "bolt", "quantity": 6, "price": 5 });
    let events = both.bench.run(&["run", "pipelines/order_saga.yaml", "--events", "json", "--input", &order.to_string()], b"").objects();
    let ended = events.iter().find(|event| event["event"] == "run_ended").expect("the run has an end");
    assert_eq!(text(ended, "outcome"), "parked", "{ended}");
    let [step, failure] = [&ended["left"][0][0], &ended["left"][0][1]];
    assert_eq!((step.as_str(), text(failure, "message")), (Some("purchase"), "the supplier says no"), "{ended}");
    both.bench.run(&["run", "pipelines/order_choreography.yaml", "--input", &order.to_string()], b"").ends_with(0);
    assert_eq!(both.kept(), ["o-4 costs 30, Ordered"]);
}
