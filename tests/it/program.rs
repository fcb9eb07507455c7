//! The program as a user starts it: the real binary in a folder of its own, with real files, pipes and signals.
//!
//! Nothing here sleeps: a test waits for what the program writes, and a watchdog ends a program that takes too long by its process id,
//! which ends every wait with what was written so far.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;

use shared::{LIFETIME, Shared, lock};

#[cfg(unix)]
pub(crate) mod auth_server;
pub(crate) mod http;
pub(crate) mod model;
pub(crate) mod object_store;
#[cfg(unix)]
pub(crate) mod pseudo_terminal;
#[cfg(unix)]
pub(crate) mod running;
pub(crate) mod service;
pub(crate) mod shared;
pub(crate) mod smtp;

/// Held while a program is started, so that none inherits what another test is just opening.
static STARTING: Mutex<()> = Mutex::new(());

/// The pipeline that ships, as it is named within a [`Bench`].
pub(crate) const CHATBOT: &str = "pipelines/chatbot.yaml";

/// A folder of one test, and the environment of the programs started in it. Nothing of the machine's own environment reaches them.
pub(crate) struct Bench {
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
    /// How long a program may live.
    lifetime: Duration,
}

impl Bench {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), environment: Vec::new(), lifetime: LIFETIME }
    }

    /// A folder with copies of all that `pipelines/chatbot.yaml` needs.
    pub(crate) fn chatbot() -> Self {
        let bench = Self::empty();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        copy_folder(&root.join("pipelines"), &bench.path("pipelines"));
        fs::create_dir_all(bench.path("plugins/retrieve")).expect("made");
        let component = "plugins/retrieve/retrieve.wasm";
        fs::copy(root.join(component), bench.path(component)).expect("the component is committed");
        bench
    }

    /// With programs that may live so long, for a test that has a watchdog of its own.
    #[cfg(target_os = "linux")]
    pub(crate) fn living(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// With this environment variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Answered by this model.
    pub(crate) fn asking(self, model: &model::Model) -> Self {
        self.with("OPENAI_BASE_URL", model.base_url()).with("OPENAI_MODEL", "tiny")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in the bench")).expect("made");
        fs::write(path, content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Puts other words into a file, which must hold the old ones.
    pub(crate) fn replace(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "{name} does not hold {old:?}");
        self.write(name, text.replace(old, new));
    }

    /// The rows of the chatbot's database: conversation, role, text.
    pub(crate) fn messages(&self) -> Vec<(String, String, String)> {
        let path = self.path("pipelines/.pipehost/chatbot/chat.db");
        let database = rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
        let mut query = database.prepare("SELECT conversation, role, text FROM messages ORDER BY rowid").expect("a table");
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }

    /// The texts that a query finds in a database beneath the data folder of `pipelines`.
    pub(crate) fn rows(&self, database: &str, query: &str) -> Vec<String> {
        let path = self.path("pipelines/.pipehost").join(database);
        let database = rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
        let mut query = database.prepare(query).expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a text")).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipehost"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().envs(self.environment.iter().cloned());
        command
    }

    /// Starts the program and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped());
        Program::start(command, self.lifetime)
    }

    /// Starts the program with these environment variables besides.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Program {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied()).stdout(Stdio::piped());
        Program::start(command, self.lifetime)
    }

    /// Starts the program through another one: `before` and its arguments, then the program with its own.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_through(&self, before: &[&str], arguments: &[&str]) -> Program {
        let (through, first) = before.split_first().expect("there is one");
        let program = env!("CARGO_BIN_EXE_pipehost");
        let mut command = Command::new(through);
        command.args(first).arg(program).args(arguments).current_dir(self.folder.path()).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(self.environment.iter().cloned()).stdout(Stdio::piped());
        Program::start(command, self.lifetime)
    }

    /// Sends to a flow of the host that runs `pipelines`, and leaves whoever sends waiting for the reply.
    #[cfg(unix)]
    pub(crate) fn sending(&self, target: &str, input: &Json) -> Program {
        self.start(&["send", "--data", "pipelines/.pipehost", target, &input.to_string()])
    }

    /// Runs the program to its end with this input.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> Finished {
        self.start(arguments).finish_after(input)
    }

    /// The same with a file for its standard output.
    #[cfg(target_os = "linux")]
    pub(crate) fn run_into(&self, file: &str, arguments: &[&str], input: &[u8]) -> Finished {
        let target = fs::OpenOptions::new().write(true).open(file).expect("it can be written");
        let mut command = self.command(arguments);
        command.stdout(target);
        Program::start(command, self.lifetime).finish_after(input)
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("it can be listed");
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// A process that is ended when it takes too long, or when the test is over.
struct Process {
    child: Arc<Mutex<Child>>,
    id: u32,
    /// Dropped when the process has ended, which sends the watchdog home.
    _leash: mpsc::Sender<()>,
}

impl Process {
    fn watched(child: Child, lifetime: Duration) -> Self {
        let (leash, dog) = mpsc::channel::<()>();
        let id = child.id();
        let child = Arc::new(Mutex::new(child));
        let watched = Arc::clone(&child);
        thread::spawn(move || {
            if dog.recv_timeout(lifetime) == Err(RecvTimeoutError::Timeout) {
                // It does nothing to a process that has been waited for.
                let _ = lock(&watched).kill();
            }
        });
        Self { child, id, _leash: leash }
    }

    /// Sends a signal by its name, as `TERM`.
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id.to_string()).status().expect("kill is there");
        assert!(sent.success(), "process {} takes no signal", self.id);
    }

    /// Waits for its end; the number of the signal that ended it, if one did.
    #[cfg(target_os = "linux")]
    fn ended_by(&self) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&lock(&self.child).wait().expect("it can be waited for"))
    }

    /// The exit code, `None` if a signal ended it. Its outputs must have ended before.
    fn code(&self) -> Option<i32> {
        lock(&self.child).wait().expect("it can be waited for").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What a program writes, read as it comes by a thread of its own.
pub(crate) struct Output {
    shared: Arc<Shared<Written>>,
    /// What a test has looked at.
    seen: Cell<usize>,
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    /// Nothing more will come.
    has_ended: bool,
    /// Nothing more is wanted.
    is_closed: bool,
}

impl Output {
    fn of(mut reader: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::<Written>::default());
        let told = Arc::clone(&shared);
        thread::spawn(move || {
            let mut piece = [0; 64 << 10];
            loop {
                // A pseudo-terminal ends with an error.
                let length = reader.read(&mut piece).unwrap_or(0);
                let has_ended = told.change(|written| {
                    written.bytes.extend_from_slice(&piece[..length]);
                    written.has_ended = length == 0 || written.is_closed;
                    written.has_ended
                });
                if has_ended {
                    return;
                }
            }
        });
        Self { shared, seen: Cell::new(0) }
    }

    /// Waits until `find` finds something in what was not looked at yet: it says where that ends. Returns what came up to there.
    fn until(&self, find: impl Fn(&str) -> Option<usize>) -> Option<String> {
        let mut written = self.shared.lock();
        loop {
            let fresh = &written.bytes[self.seen.get()..];
            let whole = std::str::from_utf8(fresh).map_or_else(|error| error.valid_up_to(), str::len);
            let fresh = String::from_utf8_lossy(&fresh[..whole]);
            if let Some(end) = find(&fresh) {
                self.seen.set(self.seen.get() + end);
                return Some(fresh[..end].to_owned());
            }
            if written.has_ended {
                return None;
            }
            written = self.shared.next(written);
        }
    }

    /// Waits for words, and returns what came before and with them.
    pub(crate) fn expect(&self, words: &str) -> String {
        self.until(|text| text.find(words).map(|at| at + words.len()))
            .unwrap_or_else(|| panic!("{words:?} never came; this did:\n{}", self.so_far()))
    }

    /// Waits for words; whether they came before the end.
    #[cfg(target_os = "linux")]
    pub(crate) fn came(&self, words: &str) -> bool {
        self.until(|text| text.find(words).map(|at| at + words.len())).is_some()
    }

    /// The next line without its end; `None` when there is no other.
    pub(crate) fn line(&self) -> Option<String> {
        self.until(|text| text.find('\n').map(|at| at + 1)).map(|line| line.trim_end().to_owned())
    }

    /// All that was written so far.
    pub(crate) fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().bytes).into_owned()
    }

    /// Reads one more piece at most, then closes the pipe.
    fn close(&self) {
        self.shared.lock().is_closed = true;
    }

    fn to_end(&self) -> String {
        self.until(|_| None);
        self.so_far()
    }
}

/// A program that runs.
pub(crate) struct Program {
    input: Option<ChildStdin>,
    output: Option<Output>,
    pub(crate) errors: Output,
    process: Process,
}

impl Program {
    fn start(mut command: Command, lifetime: Duration) -> Self {
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let _starting = lock(&STARTING);
        let mut child = command.spawn().expect("the program starts");
        let input = child.stdin.take();
        let output = child.stdout.take().map(Output::of);
        let errors = child.stderr.take().map(Output::of).expect("a pipe");
        Self { input, output, errors, process: Process::watched(child, lifetime) }
    }

    /// The number of its process.
    #[cfg(target_os = "linux")]
    pub(crate) const fn id(&self) -> u32 {
        self.process.id
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("the program reads");
    }

    pub(crate) fn output(&self) -> &Output {
        self.output.as_ref().expect("the output is open")
    }

    /// The next event of that name on its standard output.
    pub(crate) fn event(&self, name: &str) -> Json {
        loop {
            let Some(line) = self.output().line() else {
                panic!("{name} never happened:\n{}\n{}", self.output().so_far(), self.errors.so_far());
            };
            let event: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if event["event"] == name {
                return event;
            }
        }
    }

    /// The next end of a run of that flow.
    pub(crate) fn until_ended(&self, pipeline: &str, flow: &str) -> Json {
        loop {
            let event = self.event("run_ended");
            if event["pipeline"] == pipeline && event["flow"] == flow {
                return event;
            }
        }
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until it has ended. The number of the signal that ended it, if one did.
    #[cfg(target_os = "linux")]
    pub(crate) fn ended_by(&self) -> Option<i32> {
        // While it lives its outputs are open; until then the watchdog must be able to reach it.
        let _ = self.errors.to_end();
        self.process.ended_by()
    }

    /// The most memory that it has had at once so far, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id)).expect("it runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("the system tells it") << 10
    }

    /// Says two things, and waits for the answer to each: for the second it takes at most so many bytes of memory more, whatever goes through it.
    #[cfg(target_os = "linux")]
    #[track_caller]
    #[expect(clippy::print_stdout, reason = "how much it takes is what the long form is run for")]
    pub(crate) fn stays_small(&mut self, bound: u64, said_and_answered: [(&str, &str); 2]) {
        let [before, most] = said_and_answered.map(|(line, answer)| {
            self.say(line);
            self.output().expect(answer);
            self.peak_memory()
        });
        println!("{} KiB before, {} KiB at most", before >> 10, most >> 10);
        assert!(most - before < bound, "{} KiB more", (most - before) >> 10);
    }

    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Reads its standard output no more.
    pub(crate) fn close_output(&self) {
        self.output().close();
    }

    /// Reads its standard error no more.
    pub(crate) fn close_errors(&self) {
        self.errors.close();
    }

    /// Writes this to its standard input, ends that and waits for its end.
    pub(crate) fn finish_after(mut self, input: &[u8]) -> Finished {
        if let Some(mut pipe) = self.input.take() {
            // A program that has ended reads nothing.
            let _ = pipe.write_all(input);
        }
        self.finish()
    }

    /// Ends its input and waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        self.end_input();
        let out = self.output.as_ref().map(Output::to_end).unwrap_or_default();
        let err = self.errors.to_end();
        Finished { code: self.process.code(), out, err }
    }
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Finished {
    /// It ended with this code and nothing panicked.
    #[track_caller]
    pub(crate) fn ends_with(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// It said all of these on standard error.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) -> &Self {
        for words in words {
            assert!(self.err.contains(words), "{words:?} is not said:\n{}", self.err);
        }
        self
    }

    /// The lines of its standard output, each of which must be a JSON object.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Json> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let objects: Vec<Json> = self.out.lines().map(parse).collect();
        assert!(objects.iter().all(Json::is_object), "{}", self.out);
        objects
    }
}

/// The text of a JSON field, as `a/b`.
#[track_caller]
pub(crate) fn text<'a>(json: &'a Json, path: &str) -> &'a str {
    json.pointer(&format!("/{path}")).and_then(Json::as_str).unwrap_or_else(|| panic!("no text at {path}: {json}"))
}
