//! Rounds of orders, each ended by a death of the host, and what must hold after the last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join_all, select};
use pipehost::control::{Answer, Client, Request, SendRequest};
use pipehost::model::value::Value;
use serde_json::json;
use tokio::runtime::Runtime;

use super::idle::is_idle;
use super::ledger::{Effects, Ledger};
use super::number;
use crate::program::{Bench, Program};

/// The five services of an order, each a flow of its own that hears of the one before it.
const EFFECTS: [&str; 5] = ["create", "reserve", "purchase", "inventory", "complete"];
/// So many send orders at once.
const SENDERS: usize = 4;
/// So many orders are sent in a round at most.
const ORDERS: u64 = 120;
/// Each order of so many has a note that is too large for a row of the journal.
const LARGE: u64 = 6;
/// How large, in bytes.
const NOTE: usize = 70_000;
/// The folder of large values in the data folder.
const PAYLOADS: &str = "payloads";
/// Of the ledger: which events of a flow's were heard, under their ids. Who hears them keeps no record, so that nothing that was told too early is
/// made good by what is recorded next.
const SEEN: &str = "seen";
/// After so many looks at which nothing has changed and nobody was at work, each as long as [`Ledger::moves`] waits, what is left is stuck: 20 s.
const PATIENCE: usize = 400;
/// The same where it is expected.
const LITTLE_PATIENCE: usize = 60;
/// So many looks at most at which nothing has changed, whoever is at work: 5 minutes.
const NO_MORE: usize = 6_000;
/// How long a host may live: what it does not come to the end of is found by looking at it.
const LONG: Duration = Duration::from_secs(900);
/// So much longer a sync takes on a slow disk, in milliseconds.
const SLOW: &str = "100";
/// What the system calls the end of a process that ends itself.
const ABORTED: i32 = 6;

/// How a round ends.
pub(super) enum Death {
    /// Killed after so many orders were acknowledged.
    Killed {
        /// How many.
        after: u64,
    },
    /// It dies by itself the nth time that it comes to a point.
    At {
        /// The point.
        point: &'static str,
        /// Which time.
        nth: u64,
    },
    /// Killed, and of its files only what was synced is left.
    PowerCut {
        /// After so many acknowledged orders.
        after: u64,
        /// Whether its syncs are not carried out.
        skips_sync: bool,
    },
}

/// What has come of all rounds.
pub(super) struct Rounds {
    bench: Bench,
    ledger: Ledger,
    runtime: Runtime,
    random: u64,
    name: &'static str,
    seed: u64,
    planted: Option<&'static str>,
    slow: bool,
    next: u64,
    /// The orders that the host said it has.
    acknowledged: BTreeSet<String>,
    shim: Option<PathBuf>,
}

impl Rounds {
    pub(super) fn start(name: &'static str) -> Self {
        Self::start_again(name, 0)
    }

    /// The same for the nth time, from 0: each time dies at other moments.
    #[expect(clippy::print_stderr, reason = "whoever repeats this test needs its seed")]
    pub(super) fn start_again(name: &'static str, time: u64) -> Self {
        let seed = number("PIPEHOST_SEED").unwrap_or_else(|| u64::from(std::process::id())).wrapping_add(time);
        eprintln!("{name}: PIPEHOST_SEED={seed}");
        let bench = Bench::empty().living(LONG);
        let ledger = Ledger::start(&bench.path("ledger.log"));
        bench.write("orders.yaml", pipeline(ledger.origin()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self {
            bench,
            ledger,
            runtime,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            name,
            seed,
            planted: None,
            slow: false,
            next: 0,
            acknowledged: BTreeSet::new(),
            shim: None,
        }
    }

    /// With this defect in the host.
    pub(super) fn planted(self, defect: &'static str) -> Self {
        Self { planted: Some(defect), ..self }
    }

    /// On a disk on which each sync takes long, so that much waits for its commit.
    pub(super) fn on_a_slow_disk(self) -> Self {
        Self { slow: true, ..self }
    }

    /// A number below that one, of the seed.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// Has the host die at this point, however often that has to be tried: whether there is something to take up is chance.
    pub(super) fn die_at(&mut self, point: &'static str, nth: u64) {
        if self.round(&Death::At { point, nth }) {
            return;
        }
        for _ in 0..5 {
            self.round(&Death::Killed { after: 20 });
            if self.round(&Death::At { point, nth: 1 }) {
                return;
            }
        }
        panic!("{} (PIPEHOST_SEED={}): the host never came to {point}", self.name, self.seed);
    }

    /// Starts the host, sends orders, and has it die. Whether it died by itself.
    pub(super) fn round(&mut self, death: &Death) -> bool {
        let mut environment: Vec<(String, String)> = Vec::new();
        if let Some(defect) = self.planted {
            environment.push(("PIPEHOST_PLANTED".into(), defect.into()));
        }
        let after = match death {
            Death::Killed { after } => Some(*after),
            Death::At { point, nth } => {
                environment.push(("PIPEHOST_DIE_AT".into(), format!("{point}:{nth}")));
                None
            }
            Death::PowerCut { after, skips_sync } => {
                environment.extend(self.on_a_watched_disk(*skips_sync));
                Some(*after)
            }
        };
        if self.slow {
            environment.extend(self.shimmed());
            environment.push(("SHIM_DELAY".into(), SLOW.into()));
        }
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let program = self.bench.start_with(&environment, &["run", "orders.yaml", "--data", "data", "--no-watch"]);
        // One that dies while it starts has nothing to say.
        let fell_silent = !program.errors.came("It stays until") || self.send(after, &program);
        let died = matches!(death, Death::At { .. }) && fell_silent && program.ended_by() == Some(ABORTED);
        drop(program);
        if let Death::PowerCut { .. } = death {
            self.cut_power();
        }
        died
    }

    /// Sends orders until the host is gone, so many are acknowledged, or enough were sent. At the end of a round that does not end by a number,
    /// the host dies where it is told to. Whether it fell silent before.
    fn send(&mut self, after: Option<u64>, program: &Program) -> bool {
        let (acknowledged, sending) = self.sending(after, program);
        let all = self.runtime.block_on(sending);
        self.acknowledged.extend(acknowledged.lock().expect("no panic").drain(..));
        !all
    }

    /// The same, until the host stands still.
    fn send_until_still(&mut self, program: &Program) {
        let (acknowledged, sending) = self.sending(None, program);
        // One that stands still answers nobody any more.
        self.runtime.block_on(select(pin!(sending), pin!(stands_still(program))));
        self.acknowledged.extend(acknowledged.lock().expect("no panic").drain(..));
    }

    /// The orders that are acknowledged, and the sending of them: whether the host has answered each.
    fn sending<'a>(&mut self, after: Option<u64>, program: &'a Program) -> (Arc<Mutex<Vec<String>>>, impl Future<Output = bool> + use<'a>) {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let first = self.next;
        self.next += ORDERS;
        let data = self.bench.path("data");
        let senders = (0..SENDERS as u64).map(|sender| {
            let (acknowledged, data) = (Arc::clone(&acknowledged), data.clone());
            async move {
                for number in (first + sender..first + ORDERS).step_by(SENDERS) {
                    let order = format!("order-{number}");
                    // Whoever gets no answer does not know whether the order is taken, and does not send it again.
                    let note = if number % LARGE == 0 { order.repeat(NOTE / order.len()) } else { String::new() };
                    let Some(()) = place(&data, &order, &note).await else { return false };
                    let mut acknowledged = acknowledged.lock().expect("no panic");
                    acknowledged.push(order);
                    if after.is_some_and(|after| acknowledged.len() as u64 >= after) {
                        program.signal("KILL");
                        return true;
                    }
                }
                true
            }
        });
        let all = join_all(senders);
        (acknowledged, async move { all.await.into_iter().all(|answered| answered) })
    }

    /// The library between the host and its disk.
    fn shimmed(&mut self) -> [(String, String); 2] {
        let shim = self.shim.get_or_insert_with(|| shim(&self.bench.path("shim.so")));
        let shim = shim.to_str().expect("it is text").to_owned();
        [("LD_PRELOAD".to_owned(), shim), ("SHIM_PATH".to_owned(), format!("/data/journal:/data/{PAYLOADS}"))]
    }

    /// Has the library beside the host note what is synced.
    fn on_a_watched_disk(&mut self, skips_sync: bool) -> Vec<(String, String)> {
        let shadow = self.bench.path("shadow");
        fs::create_dir_all(&shadow).expect("it can be made");
        // What is there when the power comes back was on the disk.
        for name in files(&self.bench.path("data")) {
            fs::copy(self.bench.path("data").join(&name), shadow.join(&name)).expect("it can be copied");
        }
        let payloads = self.bench.path("data").join(PAYLOADS);
        if payloads.is_dir() {
            copy_files(&payloads, &shadow.join(PAYLOADS));
            fs::write(named(&shadow), "").expect("it can be written");
        }
        let text = |path: &Path| path.to_str().expect("it is text").to_owned();
        let mut environment = self.shimmed().to_vec();
        environment.push(("SHIM_SHADOW".to_owned(), text(&shadow)));
        environment.push(("SHIM_FOLDER".to_owned(), text(&payloads)));
        if skips_sync {
            environment.push(("SHIM_SKIP_SYNC".to_owned(), "1".to_owned()));
        }
        environment
    }

    /// Leaves of the journal's files only what was synced.
    fn cut_power(&self) {
        let (data, shadow) = (self.bench.path("data"), self.bench.path("shadow"));
        for name in files(&data) {
            fs::remove_file(data.join(&name)).expect("it is there");
        }
        for name in files(&shadow) {
            fs::copy(shadow.join(&name), data.join(&name)).expect("it can be copied");
        }
        // A folder whose own name was never synced goes with all that is in it.
        let _ = fs::remove_dir_all(data.join(PAYLOADS));
        if named(&shadow).exists() {
            copy_files(&shadow.join(PAYLOADS), &data.join(PAYLOADS));
        }
        let _ = fs::remove_dir_all(&shadow);
    }

    /// Starts the host once more, waits until it has done all that is left, and says what is wrong.
    #[expect(clippy::print_stderr, reason = "how much was looked at is what the long form is run for")]
    pub(super) fn end(self) -> Found {
        let program = self.bench.start_with(&[], &["run", "orders.yaml", "--data", "data", "--no-watch"]);
        let mut wrong = Vec::new();
        if program.errors.came("It stays until") {
            wrong.extend(self.settle(&program).into_iter().map(|left| format!("stuck: {left}")));
            if !wrong.is_empty() {
                let runs = self.bench.run(&["runs", "list", "--data", "data"], b"");
                wrong.push(format!("the host said: {}\nits runs: {}{}", program.errors.so_far(), runs.out, runs.err));
            }
        } else {
            wrong.push(format!("it does not start: {}", program.errors.so_far()));
        }
        if program.errors.so_far().contains("may be lost") {
            wrong.push(format!("suspect: {}", program.errors.so_far()));
        }
        program.signal("KILL");
        drop(program);
        let verified = self.bench.run(&["store", "verify", "--data", "data"], b"");
        if verified.code != Some(0) {
            wrong.push(format!("damaged: {}{}", verified.out, verified.err));
        }
        let effects = self.ledger.effects();
        let taken: BTreeSet<&String> = taken(&effects).collect();
        for order in taken.iter().filter(|order| !self.acknowledged.contains(**order)) {
            // Nobody was told that it is taken, and yet what was begun is done to its end.
            if EFFECTS.iter().any(|effect| !effects.contains_key(&((*effect).to_owned(), (*order).clone()))) {
                wrong.push(format!("unfinished: {order}"));
            }
        }
        for order in &self.acknowledged {
            for effect in EFFECTS {
                if !effects.contains_key(&(effect.to_owned(), order.clone())) {
                    wrong.push(format!("lost: {effect} of {order}, which was acknowledged"));
                }
            }
        }
        for ((effect, order), keys) in &effects {
            if keys.len() != 1 {
                wrong.push(format!("doubled: {effect} of {order} under {} keys", keys.len()));
            }
        }
        let repeated = effects.values().flat_map(BTreeMap::values).filter(|calls| **calls > 1).count();
        eprintln!(
            "{}: {} orders acknowledged, {} taken, {} effects of {} each, {repeated} of them told more than once under their key",
            self.name,
            self.acknowledged.len(),
            taken.len(),
            effects.keys().filter(|(effect, _)| effect != SEEN).count(),
            EFFECTS.len(),
        );
        Found { name: self.name, seed: self.seed, acknowledged: self.acknowledged.len(), wrong }
    }

    /// One host stands still in the middle of its work and another is started in its place, on a file system whose locks do nothing; then the first
    /// one goes on, and does not know.
    pub(super) fn replaced(&mut self, defect: &str) {
        let planted = ("PIPEHOST_PLANTED", defect);
        let run = ["run", "orders.yaml", "--data", "data", "--no-watch"];
        // Behind a commit it holds no lock of the journal: with one, nobody could take its place.
        let stop = format!("journal.after_commit:{}", 40 + self.below(60));
        let old = self.bench.start_with(&[planted, ("PIPEHOST_STOP_AT", &stop)], &run);
        assert!(old.errors.came("It stays until"), "{}", old.errors.so_far());
        self.send_until_still(&old);
        let new = self.bench.start_with(&[planted], &run);
        assert!(new.errors.came("It stays until"), "{}", new.errors.so_far());
        let _ = self.settle(&new);
        old.signal("CONT");
        // Time for the old one to do what it had begun.
        self.send(Some(20), &new);
        old.signal("KILL");
    }

    /// Waits until no run is open and every order is done. Returns what is left, if it comes to no end.
    fn settle(&self, program: &Program) -> Vec<String> {
        let journal = open_journal(&self.bench.path("data"));
        let (mut seen, mut same, mut idle) = ((0, 0), 0, 0);
        let patience = if self.planted.is_some() { LITTLE_PATIENCE } else { PATIENCE };
        loop {
            // The orders first: between two flows an order has no run for a moment.
            let effects = self.ledger.effects();
            let done = |order: &String| effects.contains_key(&("complete".to_owned(), order.clone()));
            let all: BTreeSet<&String> = self.acknowledged.iter().chain(taken(&effects)).collect();
            let mut left: Vec<String> = all.into_iter().filter(|order| !done(order)).cloned().collect();
            let open = open_runs(&journal);
            let now = (effects.len(), open.len());
            // On a busy machine it may be long until somebody has his turn, or the disk has time.
            let is_idle = is_idle(program.id()) && is_idle(self.ledger.id());
            (same, idle) = if now == seen { (same + 1, idle + usize::from(is_idle)) } else { (0, 0) };
            seen = now;
            if (left.is_empty() && open.is_empty()) || idle > patience || same > NO_MORE {
                left.extend(open);
                return left;
            }
            if self.ledger.moves() {
                (same, idle) = (0, 0);
            }
        }
    }
}

/// What is wrong after all rounds.
pub(super) struct Found {
    name: &'static str,
    seed: u64,
    acknowledged: usize,
    wrong: Vec<String>,
}

impl Found {
    pub(super) fn expect_good(&self) {
        assert!(self.acknowledged > 0, "{}: nothing was tried", self.name);
        assert!(self.wrong.is_empty(), "{} (PIPEHOST_SEED={}): {:#?}", self.name, self.seed, self.wrong);
    }

    /// Whether it was found out, by what the defect does.
    pub(super) fn is_bad(&self, signs: &[&str]) -> bool {
        self.wrong.iter().any(|wrong| signs.iter().any(|sign| wrong.starts_with(sign)))
    }

    /// It was found out, by what the defect does.
    pub(super) fn expect_bad(&self, signs: &[&str]) {
        assert!(self.is_bad(signs), "{} (PIPEHOST_SEED={}): the defect was not found: {:?}", self.name, self.seed, self.wrong);
    }
}

/// The files of the journal in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("journal")).collect()
}

/// Copies all files of a folder.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it can be made");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
    }
}

/// Beside what was synced: says that the folder of large values has its name for good.
fn named(shadow: &Path) -> PathBuf {
    shadow.join(format!("{PAYLOADS}.named"))
}

/// The orders that were begun, whether anybody was told or not, each as often as it has effects.
fn taken(effects: &Effects) -> impl Iterator<Item = &String> {
    effects.keys().filter(|(effect, _)| effect != SEEN).map(|(_, order)| order)
}

/// Waits until a process stands still, as the system has it.
async fn stands_still(program: &Program) {
    let state = format!("/proc/{}/stat", program.id());
    while fs::read_to_string(&state).is_ok_and(|state| !state.contains(") T ")) {
        tokio::task::yield_now().await;
    }
    // One that has ended is seen by those who speak to it.
    if fs::read_to_string(&state).is_err() {
        std::future::pending::<()>().await;
    }
}

/// Places an order. `None` if the host does not say that it has it.
async fn place(data: &Path, order: &str, note: &str) -> Option<()> {
    let mut client = Client::connect(data).await.ok()?;
    let input = Value::from_text(json!({ "order": order, "note": note }).to_string()).expect("it is JSON");
    let request = Request::Send(SendRequest { target: "orders.create".to_owned(), input, caller: None, wait: false });
    client.ask(&request).await.ok()?;
    match client.next().await.ok()? {
        Answer::Accepted { run: Some(_), .. } => Some(()),
        _ => None,
    }
}

/// The journal beside the host that writes it.
fn open_journal(data: &Path) -> rusqlite::Connection {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    rusqlite::Connection::open_with_flags(data.join("journal.db"), flags).expect("it is a SQLite file")
}

/// The runs that are open, and what was given up, as the journal has them.
fn open_runs(journal: &rusqlite::Connection) -> Vec<String> {
    let left = "SELECT 'run ' || hex(run) || ' of ' || flow FROM runs WHERE ended IS NULL
        UNION ALL SELECT 'run ' || hex(run) || ' of ' || flow || ' ' || outcome FROM runs WHERE outcome <> 'succeeded'
        UNION ALL SELECT 'dead letter ' || key FROM kept WHERE room = 'dead_letter'";
    let mut left = journal.prepare(left).expect("it is a journal");
    let left = left.query_map([], |row| row.get(0)).expect("rows");
    left.map(|row| row.expect("a text")).collect()
}

/// The disk that says what is synced, compiled.
fn shim(file: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/store/shim.c");
    let compiled = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).args([file, &source]).args(["-ldl", "-lpthread"]).status();
    assert!(compiled.expect("there is a C compiler").success(), "the disk does not compile");
    file.to_owned()
}

/// The order workload: one flow a service, each with one effect, and an event from one to the next. The first of these takes the order's note along.
/// Two of them are seen by whoever keeps no record too.
fn pipeline(ledger: &str) -> String {
    let mut text = format!(
        "pipeline: orders\nevents:\n  Created: {{ order: string, note: string }}\n  Reserved: {{ order: string }}\n  Purchased: {{ order: string }}\n  Counted: {{ order: string }}\n\
         executors:\n  effect: {{ builtin: http.request, grants: {{ http: ['{ledger}'] }} }}\nflows:\n"
    );
    let tells = ["Created", "Reserved", "Purchased", "Counted"];
    for (place, effect) in EFFECTS.iter().enumerate() {
        let trigger = match place {
            0 => "manual".to_owned(),
            _ => format!("{{ event: {}, mode: direct }}", tells[place - 1]),
        };
        text.push_str(&format!(
            "  {effect}:\n    trigger: {trigger}\n    input: {{ order: string{} }}\n    steps:\n      - id: done\n        run: effect\n        \
             with: {{ method: POST, url: '{ledger}/{effect}', body: '${{input.order}} ${{job.key}}' }}\n        \
             retry: {{ max_retries: 5, base_delay: 50ms }}\n",
            if place < 2 { ", note: string" } else { "" }
        ));
        if let Some(event) = tells.get(place) {
            let note = if place == 0 { ", note: '${input.note}'" } else { "" };
            text.push_str(&format!("      - emit: {{ {event}: {{ order: '${{input.order}}'{note} }} }}\n"));
        }
    }
    for place in [0, 2] {
        let event = tells[place];
        text.push_str(&format!(
            "  sees_{place}:\n    trigger: {{ event: {event}, mode: direct }}\n    durable: false\n    steps:\n      - run: effect\n        \
             with: {{ method: POST, url: '{ledger}/{SEEN}', body: '{event}-${{event.data.order}} ${{event.id}}' }}\n"
        ));
    }
    text
}
