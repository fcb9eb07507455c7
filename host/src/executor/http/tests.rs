//! Requests to a scripted server on a real socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::*;
use crate::executor::files::Folder;
use crate::executor::test_support::Still;
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::port::{Clock, Sleep};
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::value::{Tree, Value};

/// A request as it arrived: its head in lower case, and its body.
type Arrived = (String, Vec<u8>);

/// Answers each path with what the test wrote for it, and tells what arrived.
struct Server {
    origin: String,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    closed: Arc<Notify>,
}

impl Server {
    fn start(answers: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let answers: BTreeMap<String, String> = answers.iter().map(|(path, answer)| ((*path).to_owned(), (*answer).to_owned())).collect();
        let (tell, arrived) = mpsc::unbounded_channel();
        let closed = Arc::new(Notify::new());
        let told = Arc::clone(&closed);
        // It ends with the tests.
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.expect("a connection");
                let (head, body) = read(&mut socket);
                let path = head.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
                let _ = tell.send((head, body));
                match answers.get(&path) {
                    Some(answer) => drop(socket.write_all(answer.as_bytes())),
                    // It says nothing until the other side hangs up.
                    None => drop(socket.read(&mut [0])),
                }
                told.notify_one();
            }
        });
        Self { origin, arrived, closed }
    }

    fn next(&mut self) -> Arrived {
        self.arrived.try_recv().expect("a request has arrived")
    }
}

fn read(socket: &mut TcpStream) -> Arrived {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let length = socket.read(&mut piece).expect("a request");
        bytes.extend_from_slice(&piece[..length]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let wanted = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while bytes.len() < end + 4 + wanted {
            let length = socket.read(&mut piece).expect("a body");
            bytes.extend_from_slice(&piece[..length]);
        }
        return (head, bytes.split_off(end + 4));
    }
}

fn http_with(granted: &[&str], clock: Arc<dyn Clock>) -> Http {
    let granted = granted.iter().map(|origin| (*origin).to_owned()).collect();
    Http::new(Settings { executor: "fetch".into(), granted, configured: Vec::new(), clock })
}

fn http(granted: &[&str]) -> Http {
    http_with(granted, Arc::new(Still))
}

fn request(json: &str) -> Request {
    Request::read(Value::from_text(json).expect("JSON").tree()).expect("a request")
}

async fn send(http: &Http, json: &str) -> Result<String, Failure> {
    let folders = Folders { body: None, into: None };
    http.exchange(&request(json), folders, &Limits { output: 64, ..Limits::default() }).await.map(|value| value.text().to_owned())
}

fn ok(kind: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_answer_is_json_text_or_bytes() {
    // The first byte of a character of two.
    let not_text = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n\u{e9}";
    let server = Server::start(&[
        ("/json", &ok("application/json; charset=utf-8", r#"{"a":1}"#)),
        ("/text", &ok("text/plain", "hello")),
        ("/broken", &ok("application/json", "{")),
        ("/bytes", not_text),
    ]);
    let http = http(&[&server.origin]);
    let get = async |path: &str| send(&http, &format!(r#"{{"url":"{}{path}"}}"#, server.origin)).await;
    let json = get("/json").await.expect("an answer");
    assert!(json.starts_with(r#"{"status":200,"headers":{"content-type":"application/json; charset=utf-8","#), "{json}");
    assert!(json.ends_with(r#""size":7,"body":null,"json":{"a":1},"bytes":null,"file":null}"#), "{json}");
    assert!(get("/text").await.expect("an answer").ends_with(r#""size":5,"body":"hello","json":null,"bytes":null,"file":null}"#));
    assert_eq!(get("/broken").await.expect_err("no JSON").code.as_deref(), Some("not_json"));
    assert!(get("/bytes").await.expect("an answer").ends_with(r#""size":1,"body":null,"json":null,"bytes":"ww==","file":null}"#));
}

#[tokio::test]
async fn a_status_that_is_no_success_is_a_failure_unless_it_is_accepted() {
    let busy = "HTTP/1.1 429 Slow
Retry-After: 7
Connection: close

{\"error\":{\"message\":\"not so quickly \"}}";
    let server = Server::start(&[("/busy", busy), ("/gone", "HTTP/1.1 404 Gone\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")]);
    let http = http(&[&server.origin]);
    let failure = send(&http, &format!(r#"{{"url":"{}/busy?key=hunter2"}}"#, server.origin)).await.expect_err("429");
    assert_eq!((failure.kind, failure.status, failure.retry_after), (FailureKind::RateLimited, Some(429), Some(Duration::from_secs(7))));
    assert_eq!(failure.message, format!("GET {}/busy answered 429: not so quickly", server.origin));
    let gone = format!(r#"{{"url":"{}/gone"}}"#, server.origin);
    assert_eq!(send(&http, &gone).await.expect_err("404").kind, FailureKind::NotFound);
    let accepted = send(&http, &gone.replace('}', r#","accept":[404]}"#)).await.expect("an answer");
    assert!(accepted.starts_with(r#"{"status":404,"#) && accepted.contains(r#""body":"no""#), "{accepted}");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    let endless = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned() + "x".repeat(65).as_str();
    let server = Server::start(&[
        ("/said", &ok("text/plain", &"x".repeat(65))),
        ("/unsaid", &endless),
        ("/fits", &ok("text/plain", &"x".repeat(64))),
    ]);
    let http = http(&[&server.origin]);
    for path in ["said", "unsaid"] {
        let failure = send(&http, &format!(r#"{{"url":"{}/{path}"}}"#, server.origin)).await.expect_err(path);
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Permanent, Some("limit_output")));
        assert!(failure.message.contains("64 B") && failure.message.contains("`limits.output`"), "{failure}");
    }
    assert!(send(&http, &format!(r#"{{"url":"{}/fits"}}"#, server.origin)).await.is_ok());
}

#[tokio::test]
async fn a_redirect_asks_anew_and_drops_what_says_who_asks() {
    let mut other = Server::start(&[("/end", &ok("text/plain", "there"))]);
    let to =
        |url: &str, status: u16| format!("HTTP/1.1 {status} Moved\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let mut server = Server::start(&[
        ("/away", &to(&format!("{}/end", other.origin), 307)),
        ("/here", &to("/after", 302)),
        ("/after", &ok("text/plain", "here")),
        ("/inside", &to("http://169.254.169.254/latest/meta-data", 302)),
        ("/file", &to("file:///etc/passwd", 302)),
        ("/round", &to("/round", 302)),
    ]);
    let http = http(&[&server.origin, &other.origin]);
    let origin = server.origin.clone();
    let asked = |path: &str| {
        let mut asked =
            request(&format!(r#"{{"method":"POST","url":"{origin}{path}","headers":{{"Cookie":"a=b","X-Mine":"1"}},"body":"hi"}}"#));
        asked.secret("X-Key", "", &Tree::Secret(Secret::new("KEY", "hunter2"))).expect("a header");
        asked
    };
    let run = async |path: &str| http.exchange(&asked(path), Folders { body: None, into: None }, &Limits::default()).await;

    run("/away").await.expect("an answer");
    let (here, there) = (server.next(), other.next());
    assert!(here.0.contains("x-key: hunter2") && here.0.contains("cookie: a=b"), "{}", here.0);
    assert!(!there.0.contains("x-key") && !there.0.contains("cookie") && there.0.contains("x-mine: 1"), "{}", there.0);
    assert!(there.0.starts_with("post /end") && there.1 == b"hi", "307 keeps method and body");

    run("/here").await.expect("an answer");
    server.next();
    let after = server.next();
    assert!(after.0.starts_with("get /after") && after.0.contains("x-key: hunter2") && after.1.is_empty(), "{}", after.0);

    let failure = run("/inside").await.expect_err("not granted");
    assert_eq!(failure.kind, FailureKind::Denied);
    assert!(failure.message.contains("http://169.254.169.254"), "{failure}");
    assert_eq!(run("/file").await.expect_err("no web address").kind, FailureKind::Invalid);
    let failure = run("/round").await.expect_err("it goes round");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Permanent, Some("too_many_redirects")));
    assert_eq!(server.arrived.len(), 1 + 1 + 11);
}

#[tokio::test]
async fn a_server_that_repeats_a_secret_does_not_get_it_into_the_failure() {
    let server =
        Server::start(&[("/no", "HTTP/1.1 403 No\r\nConnection: close\r\n\r\n{\"message\":\"wrong key hunter2\",\"code\":\"key\"}")]);
    let mut asked = request(&format!(r#"{{"url":"{}/no"}}"#, server.origin));
    asked.secret("X-Key", "", &Tree::Secret(Secret::new("KEY", "hunter2"))).expect("a header");
    let failure = http(&[&server.origin]).exchange(&asked, Folders { body: None, into: None }, &Limits::default()).await.expect_err("403");
    assert!(failure.message.contains("wrong key «secret KEY»") && !format!("{failure:?}").contains("hunter2"), "{failure}");
}

#[tokio::test]
async fn a_part_of_a_file_is_sent_with_its_length_and_an_answer_written_into_one() {
    let mut server = Server::start(&[("/part", &ok("text/plain", "stored")), ("/big", &ok("text/plain", &"x".repeat(100)))]);
    let outer = tempfile::tempdir().expect("a folder");
    let folder = Arc::new(Folder::new("files".into(), outer.path().to_owned()));
    std::fs::write(outer.path().join("a.bin"), b"0123456789".repeat(50_000)).expect("written");
    let origin = server.origin.clone();
    let http = http(&[&origin]);
    let run = async |rest: &str| {
        let request = request(&format!(r#"{{"url":"{origin}{rest}}}"#));
        http.exchange(&request, Folders { body: Some(&folder), into: Some(&folder) }, &Limits { output: 64, ..Limits::default() }).await
    };
    run(r#"/part","method":"PUT","body":{"file":"a.bin","offset":100003,"length":300000}"#).await.expect("stored");
    let (head, body) = server.next();
    assert!(head.contains("content-length: 300000") && !head.contains("transfer-encoding"), "{head}");
    assert!(body.len() == 300_000 && body.starts_with(b"3456"));
    let failure = run(r#"/part","method":"PUT","body":{"file":"a.bin","offset":499999,"length":2}"#).await.expect_err("too far");
    assert_eq!(failure.code.as_deref(), Some("file_range"));

    let got = run(r#"/big","into":{"file":"down/b.txt"}"#).await.expect("written");
    assert!(got.text().ends_with(r#""size":100,"body":null,"json":null,"bytes":null,"file":"down/b.txt"}"#), "{}", got.text());
    assert_eq!(std::fs::read(outer.path().join("down/b.txt")).expect("it is there").len(), 100);
    let failure = run(r#"/big","into":{"file":"down/c.txt","max_bytes":99}"#).await.expect_err("too large");
    assert_eq!(failure.code.as_deref(), Some("file_too_large"));
    assert_eq!(std::fs::read_dir(outer.path().join("down")).expect("a folder").count(), 1, "half a file is no file");
}

/// A clock that the test puts forward.
struct Hand(Arc<(Mutex<Timestamp>, Notify)>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            loop {
                let moved = shared.1.notified();
                if *shared.0.lock().unwrap_or_else(PoisonError::into_inner) >= at {
                    return;
                }
                moved.await;
            }
        })
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_the_connection_closed() {
    let mut server = Server::start(&[]);
    let clock = Arc::new(Hand(Arc::new((Mutex::new(Timestamp::EPOCH), Notify::new()))));
    let http = http_with(&[&server.origin], Arc::clone(&clock) as _);
    let asked = format!(r#"{{"url":"{}/silence","idle_timeout":"5s"}}"#, server.origin);
    let (failed, ()) = tokio::join!(send(&http, &asked), async {
        server.arrived.recv().await.expect("it was asked");
        *clock.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Timestamp::EPOCH + Duration::from_secs(5);
        clock.0.1.notify_waiters();
    });
    let failure = failed.expect_err("silence");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Timeout, Some("idle")));
    server.closed.notified().await;
}

#[tokio::test]
async fn who_is_gone_is_not_connected_any_more() {
    let mut server = Server::start(&[]);
    let http = http(&[&server.origin]);
    let asked = format!(r#"{{"url":"{}/silence"}}"#, server.origin);
    tokio::select! {
        _ = send(&http, &asked) => panic!("nobody answers"),
        arrived = server.arrived.recv() => assert!(arrived.is_some()),
    }
    // The server waits for that.
    server.closed.notified().await;
}

#[tokio::test]
async fn nobody_there_is_transient_and_an_inner_name_denied() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let here = format!("http://{free}");
    let localhost = format!("http://localhost:{}", free.port());
    let failure = send(&http(&[&here]), &format!(r#"{{"url":"{here}"}}"#)).await.expect_err("nobody");
    assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Transient, Some("connection")));
    assert_eq!(send(&http(&[&localhost]), &format!(r#"{{"url":"{localhost}"}}"#)).await.expect_err("nobody").kind, FailureKind::Transient);
    // The name resolves to this machine, and only `localhost` itself may.
    let dotted = format!("http://localhost.:{}", free.port());
    let failure = send(&http(&[&dotted]), &format!(r#"{{"url":"{dotted}"}}"#)).await.expect_err("refused");
    assert!(failure.kind == FailureKind::Denied || failure.code.as_deref() == Some("connection"), "{failure:?}");
}
