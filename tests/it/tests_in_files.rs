//! `pipehost test` as a user starts it: the tests of every pipeline that ships, and what is printed of tests that fail.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::program::{Bench, CHATBOT};

/// Every pipeline in the folder `pipelines` passes its own tests.
#[test]
fn every_shipped_pipeline_passes_its_tests() {
    let finished = Bench::chatbot().run(&["test"], b"");
    assert_eq!(finished.code, Some(0), "{}{}", finished.out, finished.err);
    assert!(finished.out.contains("✓ a second message cancels the first (6s)"), "{}", finished.out);
    assert!(!finished.out.contains('\u{1b}'), "no colours where nobody sees them");
}

/// The same on the store that keeps runs over the end of the host.
#[test]
fn every_shipped_pipeline_passes_its_tests_on_the_store_that_lasts() {
    let bench = Bench::chatbot();
    let (in_memory, lasting) = (bench.run(&["test"], b""), bench.run(&["test", "--store", "sqlite"], b""));
    assert_eq!(lasting.code, Some(0), "{}{}", lasting.out, lasting.err);
    assert_eq!(lasting.out, in_memory.out);
}

#[test]
fn every_shipped_pipeline_is_laid_out() {
    let looked = Bench::chatbot().run(&["fmt", "--check", "pipelines"], b"");
    looked.ends_with(0).says(&["nothing to do"]);
}

/// Each `run/NAME.yaml` with what is printed of it in `NAME.out`; `PIPEHOST_UPDATE=1` writes these anew.
#[test]
fn differences_are_told_as_it_is_written_beside_their_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/run");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("there are cases")
        .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let bench = Bench::empty();
        let file = format!("{name}.yaml");
        bench.write(&file, fs::read(folder.join(&file)).expect("the case is there"));
        let finished = bench.run(&["test", &file, "--coverage"], b"");
        let expected = folder.join(format!("{name}.out"));
        if std::env::var_os("PIPEHOST_UPDATE").is_some() {
            fs::write(&expected, &finished.out).expect("it can be written");
        }
        assert_eq!(finished.out, fs::read_to_string(&expected).unwrap_or_default(), "{name}: {}", finished.err);
        assert_eq!(finished.code, Some(1), "{name}");
    }
}

#[test]
fn programs_and_build_servers_get_the_same() {
    let bench = Bench::chatbot();
    bench.replace(
        "pipelines/chatbot.yaml",
        "runs: [{ outcome: cancelled, reason: replaced }",
        r#"runs: [{ outcome: cancelled, reason: "a<b&\x01" }"#,
    );
    let json = bench.run(&["test", CHATBOT, "--format", "json"], b"");
    assert_eq!(json.code, Some(1), "{}", json.err);
    let lines: Vec<Json> = json.out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let failed: Vec<&Json> = lines.iter().filter(|line| line["passed"] == false).collect();
    assert_eq!((failed.len(), failed[0]["mistakes"][0]["code"].as_str()), (1, Some("E0801")));
    let file = lines.last().expect("the file has a line");
    assert!(file["coverage"]["steps"]["taken"].as_u64() > Some(0), "{file}");

    let junit = bench.run(&["test", CHATBOT, "--format", "junit"], b"");
    assert_eq!(junit.code, Some(1));
    let tests = format!("tests=\"{}\"", lines.len() - 1);
    assert!(junit.out.starts_with("<?xml") && junit.out.contains(&tests) && junit.out.contains("failures=\"1\""), "{}", junit.out);
    assert!(junit.out.contains("a&lt;b&amp;") && !junit.out.contains('\u{1}'), "{}", junit.out);
}

#[test]
fn a_filter_chooses_and_exit_codes_tell() {
    let bench = Bench::chatbot();
    let one = bench.run(&["test", "--filter", "second message"], b"");
    assert!(one.code == Some(0) && one.out.contains("\n1 test passed\n"), "{}", one.out);
    assert!(
        one.out.starts_with("pipelines/chatbot.yaml\n  ✓") && !one.out.contains("no tests"),
        "only what is chosen is shown: {}",
        one.out
    );
    let none = bench.run(&["test", "--filter", "no such test"], b"");
    none.ends_with(1).says(&["no test has a name that holds \"no such test\""]);
    assert_eq!(none.out, "", "nothing was run, and nothing is summed up");
    assert_eq!(bench.run(&["test", "pipelines/docs"], b"").code, Some(2), "there is no pipeline in it");
    let missing = bench.run(&["test", "missing.yaml"], b"");
    assert!(missing.code == Some(1) && missing.out.contains("error[E0101]"), "{}", missing.out);
    bench.write("pipelines/broken.yaml", "pipeline: broken\ntrigger: manual\nsteps: [{ run: wrok }]\n");
    let broken = bench.run(&["test"], b"");
    assert!(broken.code == Some(1) && broken.out.contains("error[E0551]"), "{}", broken.out);
    assert!(broken.out.contains("✓ a second message"), "the other file's tests run: {}", broken.out);
}

#[test]
fn an_update_writes_into_the_file_and_tests_touch_no_data() {
    let bench = Bench::chatbot();
    bench.replace("pipelines/chatbot.yaml", "calls: { context: 2, answer: 2, save: 1 }", "calls: { context: 2, answer: 7, save: 1 }");
    let updated = bench.run(&["test", "--update"], b"");
    assert!(updated.err.contains("1 expectation written anew"), "{}", updated.err);
    assert_eq!(bench.run(&["test"], b"").code, Some(0));
    assert!(bench.read("pipelines/chatbot.yaml").contains("calls: { context: 2, answer: 2, save: 1 }"));
    assert!(!bench.path("pipelines/.pipehost/chatbot").exists(), "the database was not touched");
}
