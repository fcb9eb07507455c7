//! `pipelines/cloud_upload.yaml` with a cloud over a real socket, which looks at names and idempotency keys.
//!
//! The exact waits are those of its own tests, in virtual time; here they are cut.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};

use crate::program::{Bench, Program, http, text};

const FILE: &str = "pipelines/cloud_upload.yaml";

/// What the cloud does with a file.
#[derive(Clone, Copy)]
enum Act {
    /// It takes it.
    Well,
    /// It does not, and answers so.
    Refuses(u16),
    /// It takes it, and the connection is gone before its answer.
    TakesAndHangsUp,
}

/// A cloud. A file that comes with a key that it knows is not stored again.
#[derive(Clone)]
struct Cloud {
    origin: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    acts: Vec<Act>,
    /// Path and key of each file that was posted.
    posted: Vec<(String, String)>,
    /// By path: what is stored, and how often it was.
    files: BTreeMap<String, (String, usize)>,
    keys: Vec<String>,
    is_well: bool,
    asked_how_it_is: usize,
}

impl Cloud {
    /// One that does this from file to file; the last stays.
    fn start(acts: &[Act]) -> Self {
        let state = Arc::new(Mutex::new(State { acts: acts.to_vec(), ..State::default() }));
        let served = Arc::clone(&state);
        Self { origin: http::listen(http::ANYWHERE, move |socket| serve(socket, &served)), state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(socket: TcpStream, state: &Mutex<State>) {
    let mut writer = socket.try_clone().expect("a socket");
    let mut reader = BufReader::new(socket);
    while let Some(head) = http::Head::read(&mut reader) {
        let mut body = vec![0; head.length()];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let status = if head.target == "/health" {
            state.asked_how_it_is += 1;
            if state.is_well { 200 } else { 503 }
        } else {
            let (path, key) = (head.target.clone(), head.header("idempotency-key").to_owned());
            let act = state.acts.get(state.posted.len()).or(state.acts.last()).copied().unwrap_or(Act::Well);
            state.posted.push((path.clone(), key.clone()));
            if !matches!(act, Act::Refuses(_)) && !state.keys.contains(&key) {
                state.keys.push(key);
                let file = state.files.entry(path).or_default();
                *file = (String::from_utf8_lossy(&body).into_owned(), file.1 + 1);
            }
            match act {
                Act::Well => 200,
                Act::Refuses(status) => status,
                Act::TakesAndHangsUp => {
                    let _ = writer.shutdown(Shutdown::Both);
                    return;
                }
            }
        };
        drop(state);
        // Whoever has hung up meanwhile hears nothing.
        let _ = writer.write_all(http::answer(status, "", "{}").as_bytes());
    }
}

/// A bench with a file, whose waits are cut.
fn bench(cloud: &Cloud) -> Bench {
    let bench = Bench::chatbot().with("CLOUD_URL", &cloud.origin);
    bench.write("pipelines/outbox/file.json", r#"{"request":"req-123"}"#);
    bench.replace(FILE, "max_retries: 4", "max_retries: 4, base_delay: 20ms");
    bench.replace(FILE, "every: 30s", "every: 100ms");
    bench
}

fn upload(program: &mut Program) -> Json {
    program.say("file.json");
    program.event("replied")["reply"].clone()
}

/// The paths and keys that were posted, each once.
fn distinct(cloud: &Cloud) -> Vec<(String, String)> {
    let mut posted = cloud.state().posted.clone();
    posted.dedup();
    posted
}

#[test]
fn three_attempts_under_one_name_and_one_key_are_one_file() {
    let cloud = Cloud::start(&[Act::Refuses(503), Act::Refuses(500), Act::Well]);
    let bench = bench(&cloud);
    let mut program = bench.start(&["run", FILE, "--events", "json"]);
    assert_eq!(text(&upload(&mut program), "status"), "uploaded");
    program.finish().ends_with(0);
    let [(path, key)] = distinct(&cloud).try_into().expect("one name and one key");
    assert_eq!((path.as_str(), key.is_empty(), cloud.state().posted.len()), ("/files/file.json", false, 3));
    assert_eq!(cloud.state().files, BTreeMap::from([(path, (r#"{"request":"req-123"}"#.to_owned(), 1))]));
}

#[test]
fn a_file_with_an_odd_name_is_one_name_in_the_address_and_cuts_nothing_off() {
    let cloud = Cloud::start(&[Act::Well]);
    let bench = bench(&cloud);
    bench.write("pipelines/outbox/a b?x=..#c.json", "odd");
    let mut program = bench.start(&["run", FILE, "--events", "json"]);
    program.say("a b?x=..#c.json");
    assert_eq!(text(&program.event("replied")["reply"], "status"), "uploaded");
    program.finish().ends_with(0);
    let path = "/files/a%20b%3Fx%3D..%23c.json".to_owned();
    assert_eq!(cloud.state().files, BTreeMap::from([(path, ("odd".to_owned(), 1))]));
}

#[test]
fn a_file_whose_answer_was_lost_is_not_stored_twice() {
    let cloud = Cloud::start(&[Act::TakesAndHangsUp, Act::TakesAndHangsUp, Act::Well]);
    let bench = bench(&cloud);
    let mut program = bench.start(&["run", FILE, "--events", "json"]);
    assert_eq!(text(&upload(&mut program), "status"), "uploaded");
    program.finish().ends_with(0);
    assert_eq!((distinct(&cloud).len(), cloud.state().posted.len()), (1, 3));
    let stored: Vec<usize> = cloud.state().files.values().map(|(_, times)| *times).collect();
    assert_eq!(stored, [1]);
}

#[test]
fn a_cloud_that_is_down_is_left_alone_until_it_says_that_it_is_well() {
    let down = vec![Act::Refuses(503); 5];
    let cloud = Cloud::start(&[down, vec![Act::Well]].concat());
    let bench = bench(&cloud);
    let mut program = bench.start(&["run", FILE, "--events", "json"]);
    let given_up = upload(&mut program);
    assert_eq!((text(&given_up, "kind"), cloud.state().posted.len()), ("transient", 5));
    let refused = upload(&mut program);
    assert_eq!((text(&refused, "code"), cloud.state().posted.len()), ("breaker_open", 5), "{refused}");
    cloud.state().is_well = true;
    // It is asked by and by; until it has answered, nothing goes out.
    let uploaded = loop {
        let reply = upload(&mut program);
        if reply["status"] == "uploaded" {
            break reply;
        }
        assert_eq!((text(&reply, "code"), cloud.state().posted.len()), ("breaker_open", 5));
    };
    assert_eq!((uploaded["file"].clone(), cloud.state().posted.len()), (json!("file.json"), 6));
    assert!(cloud.state().asked_how_it_is > 0);
    program.finish().ends_with(1);
}

#[test]
fn a_refusal_is_not_tried_again() {
    let cloud = Cloud::start(&[Act::Refuses(403)]);
    let bench = bench(&cloud);
    let mut program = bench.start(&["run", FILE, "--events", "json"]);
    assert_eq!((text(&upload(&mut program), "kind"), cloud.state().posted.len()), ("denied", 1));
    program.finish().ends_with(1);
}
