//! `pipelines/upload.yaml` with its real parts: the real binary, real files, and an object store over HTTP that fails as it is told.

use serde_json::{Value as Json, json};

use crate::program::object_store::{Fault, ObjectStore, Operation, digest_of_parts, pattern_file};
use crate::program::{Bench, Finished, text};

const UPLOAD: &str = "pipelines/upload.yaml";

/// What calls off the upload of `big.bin`.
const CANCEL: [&str; 5] = ["send", "--data", "pipelines/.pipehost", "upload.cancel", r#"{"file":"big.bin"}"#];

/// The shipped pipelines and a store.
struct Scene {
    bench: Bench,
    store: ObjectStore,
}

impl Scene {
    /// Retries wait hardly at all here, and a chunk may take two seconds.
    fn new() -> Self {
        let store = ObjectStore::start();
        let bench = Bench::chatbot().with("STORE_URL", store.origin());
        bench.replace(UPLOAD, "timeout: 60s", "timeout: 2s");
        bench.replace(UPLOAD, "max_retries: 2\n", "max_retries: 2\n      base_delay: 1ms\n");
        Self { bench, store }
    }

    /// Writes a file into the folder: the digest of the object that it becomes.
    fn file(&self, name: &str, size: u64, chunk: u64) -> String {
        let path = format!("pipelines/uploads/{name}");
        self.bench.write(&path, "");
        let digests = pattern_file(&self.bench.path(&path), size, chunk);
        digest_of_parts(digests.iter().map(String::as_str))
    }

    /// Uploads `big.bin` in chunks of 1000 bytes.
    fn upload(&self, events: &[&str]) -> Finished {
        let arguments: Vec<&str> = ["run", UPLOAD].into_iter().chain(events.iter().copied()).collect();
        self.bench.run(&arguments, b"{\"text\":\"big.bin\",\"chunk_size\":1000}\n")
    }

    fn url(&self, key: &str) -> String {
        format!("{}/uploads/{key}", self.store.origin())
    }

    /// The upload was aborted, once, and nothing of it is left in the store.
    #[track_caller]
    fn gave_up_once(&self) {
        assert_eq!((self.store.count(Operation::Abort), self.store.open_uploads()), (1, 0));
        assert_eq!((self.store.count(Operation::Complete), self.store.object("uploads/big.bin")), (0, None));
    }
}

fn named<'a>(events: &'a [Json], name: &str) -> Vec<&'a Json> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn chunks_go_in_order_are_told_and_become_the_object() {
    let scene = Scene::new();
    let digest = scene.file("big.bin", 9_500, 1_000);
    let events = scene.upload(&["--events", "json"]).ends_with(0).objects();
    let told: Vec<Json> = named(&events, "progress").into_iter().map(|event| event["progress"].clone()).collect();
    let expected: Vec<Json> = (1..=10)
        .map(
            |number| json!({ "token": format!("{number}/10 "), "progress": f64::from(number) / 10.0, "chunks_done": number, "chunks": 10 }),
        )
        .collect();
    assert_eq!(told, expected);
    assert_eq!(scene.store.object("uploads/big.bin"), Some((9_500, digest)));
    assert_eq!((scene.store.count(Operation::Part), scene.store.open_uploads()), (10, 0));
    let replied = named(&events, "replied");
    assert_eq!(text(replied[0], "reply/url"), scene.url("big.bin"));
    assert_eq!((replied.len(), named(&events, "run_ended").len()), (1, 1));
}

#[test]
fn a_chunk_that_fails_for_now_is_sent_again_and_no_other() {
    let scene = Scene::new();
    let digest = scene.file("big.bin", 3_000, 1_000);
    // The first chunk meets a 503; the second a 500 and then silence; the third nothing.
    scene.store.fails(Operation::Part, 1, Fault::Status(503));
    scene.store.fails(Operation::Part, 3, Fault::Status(500));
    scene.store.fails(Operation::Part, 4, Fault::Hang);
    let ended = scene.upload(&[]);
    assert_eq!(text(&ended.ends_with(0).objects()[0], "url"), scene.url("big.bin"));
    assert_eq!((scene.store.count(Operation::Part), scene.store.object("uploads/big.bin")), (6, Some((3_000, digest))));
    scene.store.wait_for_hang_up();
}

#[test]
fn after_three_attempts_it_is_given_up_and_so_is_what_the_store_keeps() {
    let scene = Scene::new();
    scene.file("big.bin", 3_000, 1_000);
    (2..=4).for_each(|nth| scene.store.fails(Operation::Part, nth, Fault::Status(503)));
    let ended = scene.upload(&[]);
    let reply = ended.ends_with(1).objects().remove(0);
    assert_eq!((text(&reply, "kind"), scene.store.count(Operation::Part)), ("transient", 4), "{reply}");
    scene.gave_up_once();
}

#[test]
fn every_4xx_fails_at_once() {
    for status in [400, 403, 404, 408, 409, 429] {
        let scene = Scene::new();
        scene.file("big.bin", 3_000, 1_000);
        scene.store.fails(Operation::Part, 2, Fault::Status(status));
        let ended = scene.upload(&[]);
        let reply = ended.ends_with(1).objects().remove(0);
        assert!(text(&reply, "error").contains(&format!("answered {status}")), "{reply}");
        assert_eq!(scene.store.count(Operation::Part), 2, "{status}");
        scene.gave_up_once();
    }
}

#[test]
#[cfg(unix)]
fn an_upload_is_called_off_in_the_middle_of_a_chunk() {
    let scene = Scene::new();
    scene.bench.replace(UPLOAD, "timeout: 2s", "timeout: 50s");
    scene.file("big.bin", 9_000, 1_000);
    scene.store.fails(Operation::Part, 3, Fault::Hang);
    let mut program = scene.bench.start(&["run", UPLOAD, "--events", "json"]);
    program.say(r#"{"text":"big.bin","chunk_size":1000}"#);
    scene.store.wait_until_it_hangs();
    scene.bench.run(&CANCEL, b"").ends_with(0);
    scene.store.wait_for_hang_up();
    let ended = program.finish();
    let events = ended.objects();
    let of_upload = |name: &str| named(&events, name).into_iter().filter(|event| event["flow"] == "upload").cloned().collect::<Vec<_>>();
    let ends = of_upload("run_ended");
    assert_eq!((ends.len(), text(&ends[0], "outcome")), (1, "cancelled"), "{}", ends[0]);
    let told = of_upload("progress");
    assert_eq!((told.len(), &told[1]["progress"]["chunks_done"]), (2, &json!(2)));
    assert_eq!(scene.store.count(Operation::Part), 3);
    scene.gave_up_once();
}

#[test]
fn files_that_are_empty_or_oddly_named_pass_and_those_outside_of_the_folder_do_not() {
    let scene = Scene::new();
    let empty = digest_of_parts([blake3::hash(b"").to_hex().as_str()]);
    scene.file("empty.bin", 0, 1);
    let odd = scene.file("what is 100%? #1.bin", 10, 8_388_608);
    scene.bench.write("pipelines/secret.bin", "secret");
    let ended = scene.bench.run(&["run", UPLOAD], b"empty.bin\nwhat is 100%? #1.bin\n../secret.bin\nmissing.bin\n");
    let replies = ended.objects();
    assert_eq!(text(&replies[0], "url"), scene.url("empty.bin"));
    assert_eq!(scene.store.object("uploads/empty.bin"), Some((0, empty)));
    assert_eq!(text(&replies[1], "url"), scene.url("what is 100%25%3F %231.bin"));
    assert_eq!(scene.store.object("uploads/what%20is%20100%25%3F%20%231.bin"), Some((10, odd)));
    assert_eq!((text(&replies[2], "kind"), text(&replies[3], "kind")), ("denied", "not_found"));
    assert_eq!(scene.store.count(Operation::Create), 2, "of the others nothing was begun");
}

/// How much more memory an upload may take than the program had before, whatever its size.
#[cfg(target_os = "linux")]
const MORE_MEMORY: u64 = 64 << 20;

/// Uploads a small file and then one of that size in chunks of 8 MiB, and looks at the memory that the program takes.
#[cfg(target_os = "linux")]
fn passes_in_little_memory(size: u64) {
    const CHUNK: u64 = 8 << 20;
    let scene = Scene::new();
    scene.bench.replace(UPLOAD, "timeout: 2s", "timeout: 50s");
    scene.file("small.bin", 10, CHUNK);
    let digest = scene.file("big.bin", size, CHUNK);
    let mut program = scene.bench.start(&["run", UPLOAD]);
    program.stays_small(MORE_MEMORY, [("small.bin", "small.bin"), ("big.bin", &scene.url("big.bin"))]);
    assert_eq!(scene.store.object("uploads/big.bin"), Some((size, digest)));
    assert_eq!(scene.store.count(Operation::Part) as u64, size.div_ceil(CHUNK) + 1);
    program.finish().ends_with(0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_of_256_mib_passes_in_the_memory_of_a_small_one() {
    passes_in_little_memory(256 << 20);
}

/// `cargo test --release -p pipehost --test it -- --ignored a_file_of_1_gib --nocapture`
#[test]
#[ignore = "writes and sends 1 GiB"]
#[cfg(target_os = "linux")]
fn a_file_of_1_gib_passes_in_the_memory_of_a_small_one() {
    passes_in_little_memory(1 << 30);
}
