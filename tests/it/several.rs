//! Several files and folders in one program: their pipelines hear each other, and a folder is followed as files come and go.

use std::fs;

use crate::program::{Bench, text};

const ORDERS: &str = "pipeline: orders
bus: { scope: global }
events: { Placed: { order: string } }
trigger: { stdin: line }
steps:
  - emit: { Placed: { order: '${input.text}' } }
  - reply: { placed: '${input.text}' }
";

const MAIL: &str = "pipeline: mail
trigger: { event: Placed }
steps:
  - run: log
    with: { message: 'thank you for ${input.order}' }
";

#[test]
fn pipelines_of_several_files_talk_over_the_global_bus() {
    let bench = Bench::empty();
    bench.write("orders.yaml", ORDERS);
    bench.write("mail.yaml", MAIL);
    let ended = bench.run(&["run", "mail.yaml", "orders.yaml", "--events", "json"], b"o1\n");
    let events = ended.ends_with(0).objects();
    let log = events.iter().find(|event| event["event"] == "log").unwrap_or_else(|| panic!("{}", ended.out));
    assert_eq!((text(log, "pipeline"), text(log, "message")), ("mail", "thank you for o1"));
    assert!(bench.path(".pipehost").exists());
    ended.says(&["orders.yaml", "mail.yaml", "go to orders.main"]);
}

#[test]
fn a_folder_is_followed_as_files_come_and_go() {
    let bench = Bench::empty();
    bench.write("all/orders.yaml", ORDERS);
    bench.write("all/compose.yaml", "services: {}\n");
    let mut program = bench.start(&["run", "all", "--events", "json"]);
    program.errors.expect("warning[W0103]: all/compose.yaml is skipped");
    program.errors.expect("Reading messages");
    assert!(bench.path("all/.pipehost").exists());
    bench.write("all/mail.yml", MAIL);
    while program.event("reloaded")["changed"] != serde_json::json!(["mail"]) {}
    program.say("o2");
    assert_eq!(text(&program.event("log"), "message"), "thank you for o2");
    fs::remove_file(bench.path("all/mail.yml")).expect("removed");
    assert_eq!(program.event("reloaded")["removed"][0], "mail");
    program.say("o3");
    assert_eq!(program.event("replied")["reply"]["placed"], "o3");
    let ended = program.finish();
    assert!(!ended.ends_with(0).out.contains("thank you for o3"), "{}", ended.out);
}

#[test]
fn what_is_named_wrongly_is_told_with_the_way_out() {
    let bench = Bench::empty();
    bench.write("orders.yaml", ORDERS);
    fs::create_dir_all(bench.path("empty")).expect("made");
    let twice = bench.run(&["run", "orders.yaml", "./orders.yaml"], b"");
    twice.ends_with(3).says(&["error[E0113]: ./orders.yaml is named twice", "help: name it once", "Nothing was started."]);
    let empty = bench.run(&["check", "empty"], b"");
    let expected = "error[E0114]: the folder empty holds no pipeline\n --> empty\n  |\nhelp: a folder stands for the *.yaml and *.yml directly in it \
                    that have a line `pipeline: NAME`; folders within it are not looked into\n\n1 error\n";
    assert_eq!(empty.ends_with(1).out, expected);
    bench.write("empty/compose.yaml", "services: {}\n");
    let skipped = bench.run(&["check", "empty"], b"").ends_with(1).out.clone();
    assert!(skipped.contains("W0103") && skipped.contains("E0114"), "{skipped}");
    bench.run(&["check", "."], b"").ends_with(0).says(&["1 pipeline: no mistakes"]);
    bench.run(&["check", "nowhere"], b"").ends_with(1);
}

#[test]
fn a_library_alone_cannot_be_run() {
    let bench = Bench::empty();
    bench.write("shared.yaml", "library: shared\npolicies: { api: { retry: 3 } }\n");
    let words = ["error[E0116]: shared.yaml is a library, and a library has no flows: there is nothing to run", "help: name a pipeline"];
    bench.run(&["run", "shared.yaml"], b"").ends_with(3).says(&words);
    bench.run(&["explain", "shared.yaml"], b"").ends_with(1).says(&words);
    bench.run(&["graph", "shared.yaml"], b"").ends_with(1).says(&words);
    bench.run(&["check", "shared.yaml"], b"").ends_with(0).says(&["only libraries: no mistakes"]);
}

#[test]
fn what_one_pipeline_invalidates_in_the_cache_of_a_library_another_one_fetches_anew() {
    let bench = Bench::empty();
    let shared = "library: shared\npolicies: { parts: { cache: { key: x, ttl: 1h } } }\n";
    let reader = "pipeline: reader\nimport: [shared.yaml]\ntrigger: manual\nsteps:\n  - id: it\n    run: transform\n    with: '${uuid()}'\n    \
                  policy: parts\n  - reply: '${steps.it}'\n";
    // No step of this one has the cache.
    let writer = "pipeline: writer\nimport: [shared.yaml]\ntrigger: manual\nsteps:\n  - id: gone\n    run: cache.invalidate\n    \
                  with: { policy: parts, key: x }\n  - reply: '${steps.gone.removed}'\n";
    for (name, text) in [("shared.yaml", shared), ("reader.yaml", reader), ("writer.yaml", writer)] {
        bench.write(name, text);
    }
    let program = bench.start(&["run", "reader.yaml", "writer.yaml"]);
    program.errors.expect("It stays until");
    let send = |name: &str| bench.run(&["send", name], b"").ends_with(0).out.clone();
    let first = send("reader");
    assert_eq!(send("reader"), first, "it comes from the cache");
    assert_eq!(send("writer"), "1\n");
    assert_ne!(send("reader"), first);
    program.signal("TERM");
    program.finish().ends_with(0);
}
