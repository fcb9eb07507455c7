//! A service on a real socket that does as it is told: it answers, refuses, or says nothing until it is told otherwise.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::http;
use super::shared::Shared;

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
    shared: Arc<Shared<State>>,
}

#[derive(Default)]
struct State {
    /// By path: what it does from request to request; the last stays. What it was told nothing of it answers with `{}`.
    manners: BTreeMap<String, Vec<Manner>>,
    asked: BTreeMap<String, usize>,
    /// By path: the idempotency key of each request.
    keys: BTreeMap<String, Vec<String>>,
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
        self.shared.change(|state| state.manners.insert(path.to_owned(), manners.to_vec()));
    }

    /// How often it was asked for that path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.shared.lock().asked.get(path).copied().unwrap_or_default()
    }

    /// The idempotency key of each request for that path; empty where there was none.
    pub(crate) fn keys(&self, path: &str) -> Vec<String> {
        self.shared.lock().keys.get(path).cloned().unwrap_or_default()
    }

    /// Waits until it was asked for that path so often. The watchdog of the program that asks ends a wait that never ends.
    pub(crate) fn wait_until_asked(&self, path: &str, times: usize) {
        drop(self.shared.until(|state| state.asked.get(path).copied().unwrap_or_default() >= times));
    }

    /// Waits until so many of those whom it kept waiting have hung up.
    pub(crate) fn wait_for_hang_ups(&self, times: usize) {
        drop(self.shared.until(|state| state.hung_up >= times));
    }
}

fn serve(socket: TcpStream, shared: &Arc<Shared<State>>) {
    let mut writer = socket.try_clone().expect("a socket");
    let mut reader = BufReader::new(socket);
    let Some(head) = http::Head::read(&mut reader) else { return };
    let path = head.target.clone();
    let nth = shared.change(|state| {
        state.keys.entry(path.clone()).or_default().push(head.header("idempotency-key").to_owned());
        let count = state.asked.entry(path.clone()).or_default();
        *count += 1;
        *count
    });
    let gone = Arc::new(AtomicBool::new(false));
    let (hears, left) = (Arc::clone(shared), Arc::clone(&gone));
    thread::spawn(move || {
        // A client that is answered says nothing more, and closes.
        let _ = reader.read(&mut [0]);
        hears.change(|_| left.store(true, Ordering::SeqCst));
    });
    let is_gone = || gone.load(Ordering::SeqCst);
    let manner = shared.until(|state| state.manner(&path, nth) != Manner::Silent || is_gone()).manner(&path, nth);
    let (status, body) = match manner {
        Manner::Answers(body) => (200, body),
        Manner::Refuses(status) => (status, r#"{"message":"as it was told"}"#),
        Manner::Silent => return shared.change(|state| state.hung_up += 1),
    };
    // Whoever has hung up meanwhile hears nothing.
    let _ = writer.write_all(http::answer(status, "Connection: close\r\n", body).as_bytes());
}
