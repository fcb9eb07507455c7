//! The pipelines `auth` and `profile` that ship, from the real binary, against an API with tokens on a real socket.

use serde_json::{Value as Json, json};

use crate::program::auth_server::{AuthServer, PASSWORD};
use crate::program::{Bench, Finished, Program, text};

/// A host with both pipelines, and all that was sent to it.
struct Shown {
    server: AuthServer,
    bench: Bench,
    host: Program,
    /// Everything that any program has printed.
    printed: std::cell::RefCell<String>,
}

impl Shown {
    fn start() -> Self {
        let server = AuthServer::start();
        let bench = Bench::chatbot().with("AUTH_API", server.origin());
        let both = ["run", "pipelines/auth.yaml", "pipelines/profile.yaml", "--events", "json", "--log", "json", "--log-level", "trace"];
        let host = bench.start(&both);
        host.errors.expect("It stays until");
        Self { server, bench, host, printed: std::cell::RefCell::default() }
    }

    fn sending(&self, target: &str, input: &Json) -> Program {
        self.bench.sending(target, input)
    }

    fn finished(&self, program: Program) -> Finished {
        let finished = program.finish();
        self.printed.borrow_mut().push_str(&finished.out);
        self.printed.borrow_mut().push_str(&finished.err);
        finished
    }

    fn send(&self, target: &str, input: &Json) -> Json {
        let finished = self.finished(self.sending(target, input));
        assert!(matches!(finished.code, Some(0 | 1)), "{}\n{}", finished.out, finished.err);
        finished.objects().remove(0)
    }

    fn log_in(&self) {
        assert_eq!(self.send("auth.login", &json!({ "user": "ada", "password": PASSWORD })), json!({ "user": "ada" }));
        assert_eq!(self.server.asked(), ["POST /login"]);
    }

    fn request(&self, path: &str) -> Json {
        self.send("auth.request", &json!({ "user": "ada", "path": path }))
    }

    /// Ends the host and gives its events. No token and no password stands in anything that any program has printed, nor in any file.
    fn end(self) -> Vec<Json> {
        self.host.signal("TERM");
        let finished = self.host.finish();
        let events = finished.ends_with(0).objects();
        let mut everything = [self.printed.into_inner().as_str(), &finished.out, &finished.err].concat();
        let mut folders = vec![self.bench.path("pipelines/.pipehost")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it can be listed") {
                let path = entry.expect("it is there").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => everything += &String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()),
                }
            }
        }
        for secret in self.server.tokens().iter().map(String::as_str).chain([PASSWORD]) {
            assert!(!everything.contains(secret), "{secret} is shown");
        }
        assert!(everything.contains("«secret access_token»"), "they are shown sealed, so what was searched is the right text");
        events
    }
}

/// The published events of a type, with the scope in which each was emitted.
fn published<'a>(events: &'a [Json], name: &str) -> Vec<&'a Json> {
    let of_type = |event: &&Json| event["event"] == "published" && event["published"]["type"] == name;
    events.iter().filter(of_type).map(|event| &event["published"]).collect()
}

/// How often flows of that name were started.
fn started(events: &[Json], pipeline: &str, flow: &str) -> usize {
    events.iter().filter(|event| event["event"] == "run_started" && event["pipeline"] == pipeline && event["flow"] == flow).count()
}

#[test]
fn a_401_makes_one_refresh_and_the_request_is_sent_once_more_with_the_new_token() {
    let shown = Shown::start();
    assert_eq!(text(&shown.request("/orders"), "error"), "ada is not logged in");
    shown.log_in();
    assert_eq!(shown.request("/orders"), json!({ "status": 200, "data": { "path": "/orders" } }));
    shown.server.expire();
    assert_eq!(shown.request("/orders"), json!({ "status": 200, "data": { "path": "/orders" } }));
    assert_eq!(shown.server.asked(), ["GET /orders 1", "GET /orders 1", "POST /refresh", "GET /orders 2"]);
    assert_eq!(shown.send("profile.show", &json!({ "user": "ada" })), json!({ "here": true, "visits": 1 }));
    assert_eq!(shown.send("auth.logout", &json!({ "user": "ada" })), json!({ "user": "ada" }));
    assert_eq!(text(&shown.request("/orders"), "error"), "ada is not logged in");
    assert!(shown.server.asked().is_empty());
    let events = shown.end();
    // Internal events stay where they are; others hear of coming and going alone.
    assert_eq!((published(&events, "TokensRefreshed").len(), started(&events, "auth", "trail")), (1, 1));
    assert_eq!((published(&events, "UserLoggedIn").len(), started(&events, "profile", "came")), (1, 1));
    assert_eq!((published(&events, "UserLoggedOut").len(), started(&events, "profile", "went")), (1, 1));
}

#[test]
fn a_hundred_401s_at_once_make_one_refresh() {
    const MANY: usize = 100;
    let shown = Shown::start();
    shown.log_in();
    shown.server.expire();
    shown.server.refuses_together(MANY);
    for number in 0..MANY {
        let input = json!({ "user": "ada", "path": format!("/{number}") }).to_string();
        // A host has 64 connections; nobody needs one while its run goes on.
        let sent = shown.bench.start(&["send", "--no-wait", "--data", "pipelines/.pipehost", "auth.request", &input]);
        shown.finished(sent).ends_with(0);
    }
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < MANY {
        let replied = shown.host.event("replied");
        if replied["flow"] == "request" {
            assert_eq!(replied["reply"]["status"], 200, "{replied}");
            answered.insert(text(&replied, "reply/data/path").to_owned());
        }
    }
    let asked = shown.server.asked();
    let count = |end: &str| asked.iter().filter(|asked| asked.ends_with(end)).count();
    assert_eq!((count(" 1"), count("/refresh"), count(" 2"), asked.len()), (MANY, 1, MANY, 2 * MANY + 1));
    let events = shown.end();
    assert_eq!(published(&events, "TokensRefreshed").len(), 1);
}

#[test]
fn a_refresh_that_fails_logs_out_once_and_nothing_goes_round() {
    let shown = Shown::start();
    shown.log_in();
    shown.server.expire();
    // What may pass is tried again; a refusal is the end.
    shown.server.refresh_fails(&[503, 401]);
    let refused = shown.request("/orders");
    let said = format!("auth.refresh: POST {}/refresh answered 401: refused «secret refresh_token»", shown.server.origin());
    assert_eq!(refused, json!({ "error": said, "kind": "denied" }));
    assert_eq!(shown.server.asked(), ["GET /orders 1", "POST /refresh", "POST /refresh"]);
    assert_eq!(text(&shown.request("/orders"), "error"), "ada is not logged in");
    assert!(shown.server.asked().is_empty(), "nobody is asked without a token");
    assert_eq!(shown.send("profile.show", &json!({ "user": "ada" })), json!({ "here": false, "visits": 1 }));
    let wrong = shown.send("auth.login", &json!({ "user": "ada", "password": "wr0ng-passw0rd" }));
    let said = format!("POST {}/login answered 401: refused «secret password»", shown.server.origin());
    assert_eq!(wrong, json!({ "error": said, "kind": "denied" }));
    shown.server.asked();
    shown.log_in();
    assert_eq!(text(&shown.request("/orders"), "data/path"), "/orders");
    let events = shown.end();
    let out = published(&events, "UserLoggedOut");
    assert_eq!((out.len(), &out[0]["data"]), (1, &json!({ "user": "ada", "reason": "expired" })));
    assert_eq!(published(&events, "RefreshFailed").len(), 1);
}

#[test]
fn what_would_let_a_token_out_is_found_when_the_file_is_loaded() {
    let bench = Bench::chatbot();
    for (old, new) in [
        ("emit: { UserLoggedIn: { user: '${input.user}' } }", "emit: { UserLoggedIn: { user: '${state.access_token}' } }"),
        ("reply: { session: '${state.session}' }", "reply: { session: '${state.access_token}' }"),
        ("message: '${event.type} of", "message: '${state.refresh_token} of"),
    ] {
        let before = bench.read("pipelines/auth.yaml");
        bench.replace("pipelines/auth.yaml", old, new);
        let checked = bench.run(&["check", "pipelines/auth.yaml"], b"");
        assert!(checked.code == Some(1) && checked.out.contains("error[E0355]"), "{new}: {}{}", checked.out, checked.err);
        bench.write("pipelines/auth.yaml", before);
    }
    // Nor can others hear what is not exported.
    bench.replace(
        "pipelines/profile.yaml",
        "trigger: { event: UserLoggedOut, mode: observe }",
        "trigger: { event: TokensRefreshed, mode: observe }",
    );
    let checked = bench.run(&["check", "pipelines/auth.yaml", "pipelines/profile.yaml"], b"");
    assert!(checked.code == Some(1) && checked.out.contains("TokensRefreshed"), "{}{}", checked.out, checked.err);
}
