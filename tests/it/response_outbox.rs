//! `pipelines/response_outbox.yaml` with its real databases: rows and the news of them, other programs' rows, and hosts that are killed.

use std::collections::BTreeMap;

use serde_json::json;

use crate::program::Bench;
use crate::program::running::Running;

const FILE: &str = "pipelines/response_outbox.yaml";
const RESPONSES: &str = "response_outbox/responses.db";
const DELIVERIES: &str = "response_outbox/deliveries.db";
const DELIVERED: &str = "SELECT device || ' ' || request FROM deliveries ORDER BY place";

fn line(request: &str, device: &str) -> String {
    format!("{}\n", json!({ "request": request, "device": device, "text": "yes" }))
}

#[test]
fn a_response_and_its_event_are_one_transaction_and_who_hears_it_hears_it_once() {
    let bench = Bench::chatbot();
    let lines = [line("r-1", "truck-001"), line("r-1", "truck-001"), line("r-2", "truck-001")].concat();
    bench.run(&["run", FILE], lines.as_bytes());
    // Lines are worked on at the same time: which of them comes first is open, and from there on the order stays.
    let written = bench.rows(RESPONSES, "SELECT request || ' ' || device FROM responses ORDER BY rowid");
    assert_eq!(written.len(), 2, "the second r-1 was refused: {written:?}");
    let told =
        "SELECT json_extract(data, '$.row.request') || ' ' || order_key FROM pipehost_outbox WHERE published IS NOT NULL ORDER BY position";
    assert_eq!(bench.rows(RESPONSES, told), written);
    assert_eq!(bench.rows(RESPONSES, "SELECT id FROM pipehost_outbox WHERE published IS NULL"), [""; 0]);
    assert_eq!(bench.rows(DELIVERIES, "SELECT request || ' ' || device FROM deliveries ORDER BY place"), written);
}

#[test]
fn rows_of_another_program_are_told_and_one_that_is_no_event_holds_up_nobody() {
    let bench = Bench::chatbot();
    bench.run(&["run", FILE], line("r-1", "truck-001").as_bytes()).ends_with(0);
    let database = rusqlite::Connection::open(bench.path("pipelines/.pipehost").join(RESPONSES)).expect("it is there");
    let rows = "INSERT INTO pipehost_outbox (id, source, type, data, order_key) VALUES
        ('no id', 'response_outbox', 'ResponseReady', '{}', 'truck-001'),
        ('00000000-0000-4000-8000-000000000001', 'response_outbox', 'Unheard', '{}', 'truck-001'),
        ('00000000-0000-4000-8000-000000000002', 'response_outbox', 'ResponseReady', '{\"row\":{}}', 'truck-001'),
        ('00000000-0000-4000-8000-000000000003', 'response_outbox', 'ResponseReady',
            '{\"row\":{\"request\":\"r-7\",\"device\":\"truck-001\",\"text\":\"by another\"}}', 'truck-001'),
        ('00000000-0000-4000-8000-000000000004', 'another_pipeline', 'ResponseReady', '{}', NULL)";
    database.execute_batch(rows).expect("they are written");
    drop(database);
    bench.run(&["run", FILE], line("r-2", "truck-001").as_bytes()).ends_with(0);
    assert_eq!(bench.rows(DELIVERIES, DELIVERED), ["truck-001 r-1", "truck-001 r-7", "truck-001 r-2"]);
    let refused = bench.rows(RESPONSES, "SELECT refused FROM pipehost_outbox WHERE refused IS NOT NULL ORDER BY position");
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused[0].contains("`id` is \"no id\", which is no UUID"), "{}", refused[0]);
    assert!(refused[1].contains("declares no event Unheard"), "{}", refused[1]);
    assert!(refused[2].contains("ResponseReady is not what is declared"), "{}", refused[2]);
    let waiting = bench.rows(RESPONSES, "SELECT source FROM pipehost_outbox WHERE published IS NULL AND refused IS NULL");
    assert_eq!(waiting, ["another_pipeline"], "it is not this pipeline's");
}

/// Hosts are killed while they write and tell; whatever was written is told to each once, and in the order of its device.
#[test]
fn hosts_that_are_killed_leave_nothing_untold() {
    let bench = Bench::chatbot();
    let mut number = 0;
    for life in 0..4 {
        let host = Running::start_talking(&bench, &["response_outbox"]);
        let mut senders = Vec::new();
        for device in ["truck-001", "warehouse-01"] {
            for _ in 0..3 {
                number += 1;
                let input = json!({ "request": format!("r-{number}"), "device": device, "text": "yes" });
                senders.push(host.sending("response_outbox.respond", &input));
            }
        }
        // Each life ends a little later than the one before it.
        for _ in 0..=life {
            host.event("run_ended");
        }
        host.kill();
    }
    // The last one goes on with every run, and ends when nothing is under way any more.
    bench.run(&["run", FILE], line("last", "truck-001").as_bytes()).ends_with(0);
    assert_eq!(bench.rows(RESPONSES, "SELECT id FROM pipehost_outbox WHERE published IS NULL"), [""; 0]);
    let by_device = |rows: Vec<String>| {
        let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in rows {
            let (device, request) = row.split_once(' ').expect("two words");
            of.entry(device.to_owned()).or_default().push(request.to_owned());
        }
        of
    };
    let written = bench.rows(RESPONSES, "SELECT device || ' ' || request FROM responses ORDER BY rowid");
    assert!(written.len() > 4, "hosts were killed before they wrote anything: {written:?}");
    assert_eq!(by_device(bench.rows(DELIVERIES, DELIVERED)), by_device(written.clone()));
    // The table of deliveries would hide a second one: each who hears it has one run for each response, and all of these ended well.
    for flow in ["deliver", "audit"] {
        let list =
            ["runs", "list", "--data", "pipelines/.pipehost", "--pipeline", "response_outbox", "--flow", flow, "--limit", "1000", "--json"];
        let runs = bench.run(&list, b"").ends_with(0).objects();
        let well = runs.iter().filter(|run| run["status"] == "succeeded").count();
        assert_eq!((runs.len(), well), (written.len(), written.len()), "{flow}: {runs:?}");
    }
}
