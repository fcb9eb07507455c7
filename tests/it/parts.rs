//! The built-ins with real parts, from the real binary: an object store over HTTP, files, stores and indexes.

use std::fmt::Write as _;
use std::io::{BufReader, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::program::object_store::{Fault, ObjectStore, Operation, digest_of_parts, pattern, pattern_file};
use crate::program::{Bench, http, text};

/// The input of a pipeline that is run once.
const GO: &str = r#"{"text":"go"}"#;

const MIB: u64 = 1 << 20;

/// How much more memory a transfer may take than the program had before, whatever its size.
#[cfg(target_os = "linux")]
const MORE_MEMORY: u64 = 24 * MIB;

/// A pipeline that uploads `files/big.bin` in parts of `part` bytes, one step a part.
fn upload(store: &ObjectStore, size: u64, part: u64, policy: &str) -> String {
    let origin = store.origin();
    let mut yaml = format!(
        "pipeline: upload
trigger: {{ stdin: line }}
resources: {{ files: {{ folder: files }} }}
executors: {{ store: {{ builtin: http.request, grants: {{ http: ['{origin}'], files: [files] }} }} }}
input: {{ text: string }}
steps:
  - when: 'input.text == \"hello\"'
    reply: {{ text: hello }}
  - id: create
    when: 'input.text != \"hello\"'
    run: store
    with: {{ method: POST, url: '{origin}/bucket/big.bin?uploads' }}
"
    );
    let mut named = String::new();
    for (number, offset) in (1..).zip((0..size).step_by(usize::try_from(part).expect("it is small"))) {
        let length = part.min(size - offset);
        writeln!(
            yaml,
            "  - id: part{number}
    when: 'input.text != \"hello\"'
    run: store
    with: {{ method: PUT, url: '{origin}/bucket/big.bin?partNumber={number}&uploadId=${{steps.create?.json.upload_id}}', body: {{ file: big.bin, offset: {offset}, length: {length} }} }}{policy}"
        )
        .expect("a text");
        write!(named, "{{ number: {number}, etag: '${{steps.part{number}?.json.etag}}' }}, ").expect("a text");
    }
    write!(
        yaml,
        "  - id: complete
    when: 'input.text != \"hello\"'
    run: store
    with: {{ method: POST, url: '{origin}/bucket/big.bin?uploadId=${{steps.create?.json.upload_id}}', json: {{ parts: [{named}] }} }}
  - when: 'input.text != \"hello\"'
    reply: {{ text: '${{steps.complete?.json.digest}}' }}
on_error:
  - reply: {{ text: '${{error.kind}} ${{error.status ?? 0}} ${{error.message}}' }}
"
    )
    .expect("a text");
    yaml
}

/// Writes `files/big.bin`: the digests of its parts as the store has them.
fn big_file(bench: &Bench, size: u64, part: u64) -> Vec<String> {
    bench.write("files/big.bin", "");
    pattern_file(&bench.path("files/big.bin"), size, part)
}

/// Uploads a file of that size, and looks at the memory that the program takes.
#[cfg(target_os = "linux")]
fn an_upload_takes_no_more_memory(size: u64, part: u64) {
    let (bench, store) = (Bench::empty(), ObjectStore::start());
    let digests = big_file(&bench, size, part);
    bench.write("upload.yaml", upload(&store, size, part, ""));
    let mut program = bench.start(&["run", "upload.yaml"]);
    let digest = digest_of_parts(digests.iter().map(String::as_str));
    program.stays_small(MORE_MEMORY, [("hello", "hello"), ("go", &digest)]);
    assert_eq!(store.object("bucket/big.bin"), Some((size, digest)));
    assert_eq!((store.count(Operation::Part) as u64, store.open_uploads()), (size.div_ceil(part), 0));
    program.finish().ends_with(0);
}

#[test]
#[cfg(target_os = "linux")]
fn an_upload_of_256_mib_takes_no_more_memory_than_a_small_one() {
    an_upload_takes_no_more_memory(256 * MIB, 64 * MIB);
}

/// `cargo test -p pipehost --test it -- --ignored an_upload_of_1_gib --nocapture`
#[test]
#[ignore = "writes and sends 1 GiB"]
#[cfg(target_os = "linux")]
fn an_upload_of_1_gib_takes_no_more_memory_than_a_small_one() {
    an_upload_takes_no_more_memory(1024 * MIB, 128 * MIB);
}

#[test]
#[cfg(target_os = "linux")]
fn an_answer_that_is_written_into_a_file_is_never_in_memory() {
    const SIZE: u64 = 64 * MIB;
    let (bench, store) = (Bench::empty(), ObjectStore::start());
    let origin = store.origin();
    bench.write(
        "download.yaml",
        format!(
            "pipeline: download
trigger: {{ stdin: line }}
input: {{ text: string, size: int }}
resources: {{ files: {{ folder: files }} }}
executors: {{ store: {{ builtin: http.request, grants: {{ http: ['{origin}'], files: [files] }} }} }}
steps:
  - id: got
    run: store
    with: {{ url: '{origin}/x', query: {{ pattern: '${{input.size}}' }}, into: {{ file: '${{input.text}}' }} }}
  - reply: {{ text: '${{steps.got.file}} has ${{steps.got.size}}' }}
"
        ),
    );
    let mut program = bench.start(&["run", "download.yaml"]);
    let small = (r#"{"text":"small.bin","size":3}"#, "small.bin has 3");
    let (line, answer) = (format!(r#"{{"text":"big.bin","size":{SIZE}}}"#), format!("big.bin has {SIZE}"));
    program.stays_small(MORE_MEMORY, [small, (&line, &answer)]);
    program.finish().ends_with(0);
    let written = std::fs::read(bench.path("files/big.bin")).expect("it is there");
    assert!(written.len() as u64 == SIZE && written[60 << 20..].starts_with(&pattern(60 * MIB, 1000)));
}

#[test]
fn a_part_that_fails_for_now_is_tried_again_and_one_that_is_denied_is_not() {
    let (bench, store) = (Bench::empty(), ObjectStore::start());
    let digests = big_file(&bench, 3000, 1000);
    bench.write("upload.yaml", upload(&store, 3000, 1000, "\n    retry: { max_retries: 2, base_delay: 1ms }"));
    store.fails(Operation::Part, 1, Fault::Status(503));
    store.fails(Operation::Part, 3, Fault::Status(500));
    store.fails(Operation::Part, 4, Fault::Status(429));
    let ended = bench.run(&["run", "upload.yaml", "--input", GO], b"");
    assert_eq!(text(&ended.ends_with(0).objects()[0], "text"), digest_of_parts(digests.iter().map(String::as_str)));
    assert_eq!(store.count(Operation::Part), 6);

    store.fails(Operation::Part, 7, Fault::Status(403));
    let ended = bench.run(&["run", "upload.yaml", "--input", GO], b"");
    let reply = ended.objects().remove(0);
    assert!(text(&reply, "text").starts_with("denied 403 PUT http://127.0.0.1:"), "{reply}");
    assert_eq!((store.count(Operation::Part), store.open_uploads()), (7, 1));
}

#[test]
fn a_store_that_hangs_is_hung_up_on() {
    let (bench, store) = (Bench::empty(), ObjectStore::start());
    big_file(&bench, 10, 10);
    bench.write("upload.yaml", upload(&store, 10, 10, "\n    timeout: 300ms"));
    store.fails(Operation::Part, 1, Fault::Hang);
    let ended = bench.run(&["run", "upload.yaml", "--input", GO], b"");
    let reply = ended.objects().remove(0);
    assert!(text(&reply, "text").starts_with("timeout 0 "), "{reply}");
    store.wait_for_hang_up();
}

#[test]
fn a_secret_goes_out_in_a_header_and_is_shown_nowhere() {
    let store = ObjectStore::start();
    let bench = Bench::empty().with("TOKEN", "hunter2");
    let origin = store.origin();
    bench.write(
        "get.yaml",
        format!(
            "pipeline: get
trigger: {{ stdin: line }}
input: {{ text: string }}
executors:
  inner: {{ builtin: http.request, config: {{ bearer: '${{secret.TOKEN}}' }}, grants: {{ http: ['{origin}'] }} }}
  other: {{ builtin: http.request, grants: {{ http: ['{origin}'] }} }}
steps:
  - id: first
    run: inner
    with: {{ url: '{origin}/x' }}
    on_error:
      - run: transform
        with: {{ said: '${{error.message}}' }}
  - id: second
    run: other
    with: {{ url: '{origin}/x', bearer: '${{secret.TOKEN}}' }}
on_error:
  - reply: {{ first: '${{steps.first?.said}}', second: '${{error.message}}' }}
"
        ),
    );
    store.fails(Operation::Get, 1, Fault::Status(401));
    store.fails(Operation::Get, 2, Fault::Status(401));
    let ended = bench.run(&["run", "get.yaml", "--input", GO], b"");
    let reply = ended.objects().remove(0);
    for field in ["first", "second"] {
        assert_eq!(text(&reply, field), format!("GET {origin}/x answered 401: refused Bearer «secret TOKEN»"));
    }
    assert!(!ended.out.contains("hunter2") && !ended.err.contains("hunter2"));
}

#[test]
fn what_is_not_granted_is_refused_with_the_yaml_to_add() {
    let (bench, store) = (Bench::empty(), ObjectStore::start());
    let origin = store.origin();
    bench.write(
        "get.yaml",
        format!(
            "pipeline: get
trigger: {{ stdin: line }}
executors: {{ fetch: {{ builtin: http.request, grants: {{ http: ['https://api.example.com'] }} }} }}
steps:
  - run: fetch
    with: {{ url: '{origin}/x' }}
on_error:
  - reply: {{ text: '${{error.kind}}: ${{error.message}}' }}
"
        ),
    );
    let ended = bench.run(&["run", "get.yaml", "--input", GO], b"");
    let expected = format!(
        "denied: fetch may not connect to {origin}; to allow it, write under executors: fetch: grants: {{ http: ['https://api.example.com', '{origin}'] }}"
    );
    assert_eq!(text(&ended.objects()[0], "text"), expected);
    assert_eq!(store.count(Operation::Get), 0);
}

#[test]
fn a_script_asks_by_the_same_grant() {
    let (bench, store) = (Bench::empty(), ObjectStore::start());
    let origin = store.origin();
    bench.write(
        "get.yaml",
        format!(
            "pipeline: get
trigger: {{ stdin: line }}
executors:
  script:
    grants: {{ http: ['{origin}'] }}
    script: |
      fn process(job) {{
        let made = http.request(#{{ method: \"POST\", url: `{origin}/a?uploads` }});
        let caught = \"\";
        try {{ http.request(#{{ url: \"http://127.0.0.1:1/\" }}) }} catch (error) {{ caught = error.kind; }}
        #{{ text: `${{made.json.upload_id}} ${{caught}}` }}
      }}
steps:
  - id: it
    run: script
  - reply: {{ text: '${{steps.it.text}}' }}
"
        ),
    );
    let ended = bench.run(&["run", "get.yaml", "--input", GO], b"");
    assert_eq!(text(&ended.ends_with(0).objects()[0], "text"), "u1 denied");
}

#[test]
fn texts_are_embedded_put_in_found_and_merged() {
    let bench = Bench::empty();
    bench.write(
        "shop.yaml",
        "pipeline: shop
trigger: { stdin: line }
input: { text: string }
resources: { products: { index: {} }, seen: { kv: seen.db }, files: { folder: out } }
executors:
  put: { builtin: index.put, grants: { index: [products] } }
  search: { builtin: index.search, grants: { index: [products] } }
  remember: { builtin: kv.set, grants: { kv: [seen] } }
  recall: { builtin: kv.get, grants: { kv: [seen] } }
  write: { builtin: files.write, grants: { files: [files] } }
  read: { builtin: files.read, grants: { files: [files] } }
steps:
  - id: vectors
    run: llm.embed
    with: { texts: ['red wooden chair', 'blue chairs of metal', '${input.text}'] }
  - run: put
    with: { id: p1, text: red wooden chair, vector: '${steps.vectors.vectors[0]}', data: { price: 40 } }
  - run: put
    with: { id: p2, text: blue chairs of metal, vector: '${steps.vectors.vectors[1]}', data: { price: 30 } }
  - id: words
    run: search
    with: { query: '${input.text}' }
  - id: near
    run: search
    with: { vector: '${steps.vectors.vectors[2]}' }
  - id: merged
    run: index.merge
    with: { lists: ['${steps.words.passages}', '${steps.near.passages}'], top_k: 1 }
  - id: both
    run: search
    with: { query: '${input.text}', vector: '${steps.vectors.vectors[2]}', top_k: 1 }
  - run: remember
    with: { key: last, value: '${input.text}' }
  - id: last
    run: recall
    with: { key: last }
  - run: write
    with: { file: found/last.json, json: '${steps.merged.passages}' }
  - id: file
    run: read
    with: { file: found/last.json, as: json }
  - id: made
    run: transform
    with: { id: '${steps.both.passages[0].id}', price: '${steps.both.passages[0].data.price}' }
  - reply: { made: '${steps.made}', merged: '${steps.merged.passages[0].id}', last: '${steps.last.value}', file: '${steps.file.json[0].rank}', model: '${steps.vectors.provider}' }
",
    );
    let ended = bench.run(&["run", "shop.yaml", "--input", r#"{"text":"metal chair"}"#], b"");
    let reply = ended.ends_with(0).objects().remove(0);
    let expected = r#"{"made":{"id":"p2#1","price":30},"merged":"p2#1","last":"metal chair","file":1,"model":"hashed_words"}"#;
    assert_eq!(reply, serde_json::from_str::<serde_json::Value>(expected).expect("JSON"));
}

/// A server of embeddings that is busy at first and answers backwards: the vector of a text is its length and 1. It repeats its key.
fn embedder() -> String {
    let requests = Arc::new(AtomicUsize::new(0));
    let origin = http::listen(http::ANYWHERE, move |socket| {
        let mut socket = BufReader::new(socket);
        let head = http::Head::read(&mut socket).expect("a request");
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/v1/embeddings"));
        assert_eq!(head.header("authorization"), "Bearer hunter2");
        let body = head.body(&mut socket).expect("a body");
        let asked: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let texts = asked["input"].as_array().expect("texts").clone();
        let vector =
            |(index, text): (usize, &serde_json::Value)| json!({ "index": index, "embedding": [text.as_str().expect("a text").len(), 1] });
        let data: Vec<_> = texts.iter().enumerate().map(vector).rev().collect();
        let is_first = requests.fetch_add(1, Ordering::SeqCst) == 0;
        let (status, headers, answer) = match (is_first, texts.iter().any(|text| text == "refuse")) {
            (true, _) => (429, "Retry-After: 0\r\n", json!({ "error": { "message": "busy" } })),
            (_, true) => (401, "", json!({ "error": { "message": "wrong key hunter2" } })),
            _ => (200, "", json!({ "model": asked["model"], "data": data })),
        };
        let answer = http::answer(status, &format!("{headers}Connection: close\r\n"), &answer.to_string());
        socket.get_mut().write_all(answer.as_bytes()).expect("sent");
    });
    format!("{origin}/v1")
}

#[test]
fn a_server_embeds_some_texts_at_a_time_and_its_key_is_shown_nowhere() {
    let bench = Bench::empty().with("KEY", "hunter2");
    let base_url = embedder();
    bench.write(
        "embed.yaml",
        format!(
            "pipeline: embed
trigger: {{ stdin: line }}
input: {{ text: string }}
executors:
  embed: {{ builtin: llm.embed, config: {{ base_url: '{base_url}', model: tiny, api_key: '${{secret.KEY}}', batch: 2 }} }}
steps:
  - id: it
    run: embed
    with: {{ texts: [a, '${{input.text}}', bbb] }}
    retry: {{ max_retries: 1, base_delay: 1ms }}
  - reply: {{ vectors: '${{steps.it.vectors}}', model: '${{steps.it.model}}', dimensions: '${{steps.it.dimensions}}' }}
on_error:
  - reply: {{ text: '${{error.kind}} ${{error.message}}' }}
"
        ),
    );
    let ended = bench.run(&["run", "embed.yaml", "--input", GO], b"");
    let expected = serde_json::json!({ "vectors": [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]], "model": "tiny", "dimensions": 2 });
    assert_eq!(ended.ends_with(0).objects()[0], expected);
    let ended = bench.run(&["run", "embed.yaml", "--input", r#"{"text":"refuse"}"#], b"");
    let expected = format!("denied POST {base_url}/embeddings answered 401: wrong key «secret KEY»; check api_key");
    assert_eq!(text(&ended.objects()[0], "text"), expected);
    assert!(!ended.out.contains("hunter2") && !ended.err.contains("hunter2"));
}

#[test]
fn a_wrong_config_of_a_built_in_is_refused_before_anything_runs() {
    let bench = Bench::empty();
    for (declared, code, words) in [
        ("{ builtin: http.request, config: { bearer: x }, grants: { http: ['http://localhost:1'] } }", "E0213", "secret"),
        ("{ builtin: http.request, config: { headers: { Host: x } }, grants: { http: ['http://localhost:1'] } }", "E0541", "Host"),
        ("{ builtin: http.request, config: { base_url: x }, grants: { http: ['http://localhost:1'] } }", "E0213", "base_url"),
        ("{ builtin: http.request, grants: { http: ['localhost:1'] } }", "E0655", "localhost:1"),
        ("{ builtin: llm.embed, config: { base_url: nowhere } }", "E0541", "base_url"),
        ("{ builtin: llm.embed, config: { dimensions: 0 } }", "E0541", "dimensions"),
        ("{ builtin: kv.get, config: { store: x } }", "E0541", "takes none"),
    ] {
        let with = if declared.contains("http") {
            "{ url: 'http://localhost:1/' }"
        } else if declared.contains("kv") {
            "{ key: a }"
        } else {
            "{ texts: [] }"
        };
        bench.write(
            "wrong.yaml",
            format!(
                "pipeline: wrong\ntrigger: {{ stdin: line }}\nexecutors: {{ it: {declared} }}\nsteps:\n  - run: it\n    with: {with}\n"
            ),
        );
        let ended = bench.run(&["run", "wrong.yaml", "--input", GO], b"");
        assert!(ended.code != Some(0) && ended.err.contains(code) && ended.err.contains(words), "{declared}: {}", ended.err);
    }
}
