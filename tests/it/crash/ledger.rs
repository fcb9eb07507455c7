//! The effect ledger: a process of its own that outlives every host, and notes each effect with its order and its idempotency key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::program::http::{self, Head, answer};

/// By which the process is told where its log is.
const LOG: &str = "PIPEHOST_TEST_LEDGER";
/// What it says before its address.
const READY: &str = "the ledger is at ";
/// How long it is waited for the next effect.
const NEXT: Duration = Duration::from_millis(50);

/// What was noted: by effect and order, the keys and how often each was given.
pub(super) type Effects = BTreeMap<(String, String), BTreeMap<String, usize>>;

/// The ledger's process; it ends with this.
pub(super) struct Ledger {
    process: Child,
    origin: String,
    log: PathBuf,
    /// Told of each effect.
    noted: Receiver<()>,
}

impl Ledger {
    /// Starts one that notes in this file: this very program, asked for one test only.
    pub(super) fn start(log: &Path) -> Self {
        let program = std::env::current_exe().expect("this is a program");
        let mut command = Command::new(program);
        command.args(["crash::ledger::serves_as_the_ledger", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        let mut process =
            command.env(LOG, log).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let origin =
            output.find_map(|line| line.split_once(READY).map(|(_, origin)| origin.trim().to_owned())).expect("it says where it is");
        let (tell, noted) = mpsc::channel();
        // Until the process has ended.
        std::thread::spawn(move || {
            for _ in output {
                // Who does not listen any more is done.
                let _ = tell.send(());
            }
        });
        Self { process, origin, log: log.to_owned(), noted }
    }

    /// Waits a moment for the next effect; whether one has come since this was asked last.
    pub(super) fn moves(&self) -> bool {
        let came = self.noted.recv_timeout(NEXT).is_ok();
        while self.noted.try_recv().is_ok() {}
        came
    }

    /// The number of its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its scheme, host and port.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What was noted so far.
    pub(super) fn effects(&self) -> Effects {
        let mut effects = Effects::new();
        let log = fs::read_to_string(&self.log).expect("it has a log");
        // What is being written at this moment is noted when all of it is there.
        let noted = log.rsplit_once('\n').map_or("", |(noted, _)| noted);
        for line in noted.lines() {
            let [effect, order, key] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?} is no effect") };
            *effects.entry((effect.to_owned(), order.to_owned())).or_default().entry(key.to_owned()).or_default() += 1;
        }
        effects
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process itself. Without a log it is no ledger, and nothing.
#[test]
#[ignore = "the other end of the tests here"]
fn serves_as_the_ledger() {
    let Some(log) = std::env::var_os(LOG) else { return };
    let file = OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
    let noted = Arc::new(Mutex::new((file, BTreeSet::new())));
    let origin = http::listen(http::ANYWHERE, move |socket| {
        let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
        let mut socket = socket;
        while let Some(head) = Head::read(&mut reader) {
            let mut body = vec![0; head.length()];
            reader.read_exact(&mut body).expect("all of it comes");
            let body = String::from_utf8_lossy(&body);
            let Some((order, key)) = body.split_once(' ') else { return };
            let effect = head.target.trim_start_matches('/');
            let first = {
                let mut noted = noted.lock().expect("no panic");
                // Before it answers: what was answered was noted.
                noted.0.write_all(format!("{effect} {order} {key}\n").as_bytes()).expect("the log can be written");
                noted.1.insert(key.to_owned())
            };
            println!("{effect}");
            if socket.write_all(answer(200, "", &format!("{{\"first\":{first}}}")).as_bytes()).is_err() {
                return;
            }
        }
    });
    println!("{READY}{origin}");
    // Until whoever started it is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
