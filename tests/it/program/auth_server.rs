//! An API with tokens on a real socket: `POST /login`, `POST /refresh`, and everything else for whoever has the newest access token.
//!
//! It is as careless as servers are: what it refuses it repeats in its answer, tokens too.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::http;
use super::shared::Shared;

/// The one password that it takes.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// The API. Its threads end with the tests.
pub(crate) struct AuthServer {
    origin: String,
    shared: Arc<Shared<State>>,
}

#[derive(Default)]
struct State {
    /// How many pairs of tokens were given out; the last one is good, unless it has expired.
    pairs: usize,
    expired: bool,
    /// What `/refresh` answers in the place of tokens, each once.
    refresh_fails: Vec<u16>,
    /// So many requests with a token that has run out have to be there before any of them is answered.
    together: usize,
    waiting: usize,
    /// What was asked: `POST /login`, `GET /orders 2` with the number of the token's pair, in the order of the answers.
    asked: Vec<String>,
}

impl AuthServer {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let server = Arc::clone(&shared);
        Self { origin: http::listen(http::ANYWHERE, move |socket| serve(socket, &server)), shared }
    }

    /// Its scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The access token that is good now is so no longer.
    pub(crate) fn expire(&self) {
        self.shared.lock().expired = true;
    }

    /// `/refresh` answers with these, one after the other, before it gives tokens again.
    pub(crate) fn refresh_fails(&self, statuses: &[u16]) {
        self.shared.lock().refresh_fails.extend(statuses.iter().rev());
    }

    /// Refuses nobody for a token that has run out until so many ask with one.
    pub(crate) fn refuses_together(&self, requests: usize) {
        self.shared.lock().together = requests;
    }

    /// What was asked so far, and forgets it.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().asked)
    }

    /// Every token that was ever given out.
    pub(crate) fn tokens(&self) -> Vec<String> {
        (1..=self.shared.lock().pairs).flat_map(|pair| [access(pair), refresh(pair)]).collect()
    }
}

fn access(pair: usize) -> String {
    format!("acc3ss-{pair:04}-t0ken")
}

fn refresh(pair: usize) -> String {
    format!("r3fresh-{pair:04}-t0ken")
}

fn serve(socket: TcpStream, shared: &Shared<State>) {
    let mut writer = socket.try_clone().expect("a socket");
    let mut reader = BufReader::new(socket);
    while let Some(request) = Request::read(&mut reader) {
        let (status, answer) = answer(&request, shared);
        if writer.write_all(http::answer(status, "", &answer.to_string()).as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(request: &Request, shared: &Shared<State>) -> (u16, Json) {
    let refused = |status: u16, what: &str| (status, json!({ "message": format!("refused {what}") }));
    let mut state = shared.lock();
    let tokens = |state: &mut State| {
        state.pairs += 1;
        state.expired = false;
        (200, json!({ "access_token": access(state.pairs), "refresh_token": refresh(state.pairs), "more": access(state.pairs) }))
    };
    match request.target.as_str() {
        "/login" => {
            state.asked.push("POST /login".to_owned());
            if request.password == PASSWORD { tokens(&mut state) } else { refused(401, &request.password) }
        }
        "/refresh" => {
            state.asked.push("POST /refresh".to_owned());
            match state.refresh_fails.pop() {
                Some(status) => refused(status, &request.bearer),
                None if request.bearer == refresh(state.pairs) => tokens(&mut state),
                None => refused(401, &request.bearer),
            }
        }
        target => {
            let pair = (1..=state.pairs).find(|pair| access(*pair) == request.bearer).unwrap_or_default();
            let is_good = pair == state.pairs && !state.expired;
            if !is_good {
                drop(state);
                shared.change(|state| state.waiting += 1);
                state = shared.until(|state| state.waiting >= state.together);
            }
            state.asked.push(format!("{} {target} {pair}", request.method));
            if is_good { (200, json!({ "path": target })) } else { refused(401, &request.bearer) }
        }
    }
}

struct Request {
    method: String,
    target: String,
    bearer: String,
    password: String,
}

impl Request {
    /// `None` when the other side has hung up.
    fn read(reader: &mut BufReader<TcpStream>) -> Option<Self> {
        let head = http::Head::read(reader)?;
        head.body(reader)?;
        let bearer = head.header("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
        let password = head.header("x-password").to_owned();
        Some(Self { method: head.method, target: head.target, bearer, password })
    }
}
