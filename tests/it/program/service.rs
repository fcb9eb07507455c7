//! A service on a real socket that does as it is told: it answers, refuses, or says nothing until it is told otherwise.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use super::{http, lock};

/// What the service does when it is asked for a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// It answers with this JSON.
    Answers(&'static str),
    /// It answers with this status.
    Refuses(u16),
    /// It says nothing until it is told to do something else, or until the other side hangs up.
    Silent,
}

/// A service. Its threads end with the tests.
pub(crate) struct Service {
    origin: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By path: what it does from request to request; the last stays. What it was told nothing of it answers with `{}`.
    manners: BTreeMap<String, Vec<Manner>>,
    asked: BTreeMap<String, usize>,
    hung_up: usize,
}

impl State {
    fn manner(&self, path: &str, nth: usize) -> Manner {
        let manners = self.manners.get(path).map(Vec::as_slice).unwrap_or_default();
        manners.get(nth - 1).or(manners.last()).copied().unwrap_or(Manner::Answers("{}"))
    }
}

impl Service {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        Self { origin: http::listen(http::ANYWHERE, move |socket| serve(socket, &served)), shared }
    }

    /// Its scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// From now on it does this when it is asked for that path: one thing a request, counted from the first of all, and the last one stays.
    /// Whoever it has kept waiting is answered so too.
    pub(crate) fn does(&self, path: &str, manners: &[Manner]) {
        lock(&self.shared.state).manners.insert(path.to_owned(), manners.to_vec());
        self.shared.changed.notify_all();
    }

    /// How often it was asked for that path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        lock(&self.shared.state).asked.get(path).copied().unwrap_or_default()
    }

    /// Waits until it was asked for that path so often. The watchdog of the program that asks ends a wait that never ends.
    pub(crate) fn wait_until_asked(&self, path: &str, times: usize) {
        self.wait_until(|state| state.asked.get(path).copied().unwrap_or_default() >= times);
    }

    /// Waits until so many of those whom it kept waiting have hung up.
    pub(crate) fn wait_for_hang_ups(&self, times: usize) {
        self.wait_until(|state| state.hung_up >= times);
    }

    fn wait_until(&self, is_so: impl Fn(&State) -> bool) {
        let state = lock(&self.shared.state);
        let waited = self.shared.changed.wait_timeout_while(state, super::LIFETIME, |state| !is_so(state));
        let late = waited.unwrap_or_else(PoisonError::into_inner).1;
        assert!(!late.timed_out(), "it never came to that");
    }
}

fn serve(socket: TcpStream, shared: &Arc<Shared>) {
    let mut writer = socket.try_clone().expect("a socket");
    let mut reader = BufReader::new(socket);
    let Some(http::Head { target: path, .. }) = http::Head::read(&mut reader) else { return };
    let nth = {
        let mut state = lock(&shared.state);
        let count = state.asked.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    shared.changed.notify_all();
    let hears = Arc::clone(shared);
    let gone = Arc::new(Mutex::new(false));
    let left = Arc::clone(&gone);
    thread::spawn(move || {
        // A client that is answered says nothing more, and closes.
        let _ = reader.read(&mut [0]);
        let state = lock(&hears.state);
        *lock(&left) = true;
        drop(state);
        hears.changed.notify_all();
    });
    let (status, body) = {
        let mut state = lock(&shared.state);
        loop {
            match state.manner(&path, nth) {
                Manner::Answers(body) => break (200, body),
                Manner::Refuses(status) => break (status, r#"{"message":"as it was told"}"#),
                Manner::Silent if *lock(&gone) => {
                    state.hung_up += 1;
                    drop(state);
                    return shared.changed.notify_all();
                }
                Manner::Silent => state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    };
    // Whoever has hung up meanwhile hears nothing.
    let _ = writer.write_all(http::answer(status, "Connection: close\r\n", body).as_bytes());
}
