//! `llm.chat` against a server that speaks the OpenAI protocol over a real socket, with all that such servers do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipehost::executor::builtin::Builtins;
use pipehost::executor::http::{self, Http};
use pipehost::executor::services::Services;
use pipehost::model::cancel::CancelSignal;
use pipehost::model::executor::{ExecutorReference, Home};
use pipehost::model::failure::{Failure, FailureKind};
use pipehost::model::grant::{Grants, Limits};
use pipehost::model::happening::LogLevel;
use pipehost::model::id::{CorrelationId, EventType, JobId, RunId};
use pipehost::model::job::Job;
use pipehost::model::port::{Attempt, Clock, JobChannel, Sleep};
use pipehost::model::secret::Secret;
use pipehost::model::time::Timestamp;
use pipehost::model::value::{Map, Tree, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

const KEY: &str = "sk-hunter2-not-to-be-shown";

/// A clock that the test moves.
struct HandClock(watch::Sender<Timestamp>);

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Timestamp::EPOCH)))
    }

    fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = *now + by);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            // It ends with an error only if the clock is gone, and nobody waits then.
            let _ = now.wait_for(|now| *now >= at).await;
        })
    }
}

/// Hands tokens on, and keeps log lines.
struct Channel {
    tokens: mpsc::UnboundedSender<String>,
    logs: Mutex<Vec<String>>,
}

impl JobChannel for Channel {
    fn progress(&self, progress: Value) {
        let token = progress.tree().field("token").and_then(Tree::as_text).expect("a token").to_owned();
        let _ = self.tokens.send(token);
    }

    fn emit(&self, _: EventType, _: Value) -> Result<(), Failure> {
        panic!("llm.chat emits nothing")
    }

    fn log(&self, _: LogLevel, message: String) {
        self.logs.lock().expect("no panic").push(message);
    }
}

/// What the server does after it has read the request.
enum Step {
    Send(Vec<u8>),
    /// Waits until the client closes the connection.
    UntilClosed,
}

struct Server {
    base_url: String,
    request: oneshot::Receiver<String>,
    closed: oneshot::Receiver<()>,
}

/// Serves one request by the steps, then closes.
async fn serve(steps: Vec<Step>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let (tell_request, request) = oneshot::channel();
    let (tell_closed, closed) = oneshot::channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let _ = tell_request.send(read_request(&mut socket).await);
        for step in steps {
            match step {
                Step::Send(bytes) => socket.write_all(&bytes).await.expect("sent"),
                Step::UntilClosed => {
                    let mut rest = Vec::new();
                    let _ = socket.read_to_end(&mut rest).await;
                    let _ = tell_closed.send(());
                    return;
                }
            }
        }
    });
    Server { base_url, request, closed }
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let length = socket.read(&mut piece).await.expect("a request");
        assert!(length > 0, "the request broke off");
        bytes.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if body.len() >= length.parse().expect("a number") {
                return text.into_owned();
            }
        }
    }
}

/// A streamed answer, cut into these chunks.
fn chunked(chunks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in chunks {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn whole_stream(stream: &str) -> Vec<Step> {
    let mut bytes = chunked(&[stream.as_bytes()]);
    bytes.extend_from_slice(b"0\r\n\r\n");
    vec![Step::Send(bytes)]
}

fn answered(head: &str, body: &str) -> Vec<Step> {
    vec![Step::Send(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())]
}

struct Answer {
    output: Result<Value, Failure>,
    tokens: Vec<String>,
}

impl Answer {
    fn text(&self) -> String {
        let output = self.output.as_ref().expect("an answer");
        output.tree().field("text").and_then(Tree::as_text).expect("a text").to_owned()
    }

    fn failure(&self) -> &Failure {
        let failure = self.output.as_ref().expect_err("a failure");
        assert!(!format!("{failure} {failure:?}").contains("hunter2"), "the key is shown: {failure:?}");
        failure
    }
}

fn job() -> Arc<Job> {
    let id = uuid::Uuid::nil();
    let input = r#"{
        "question": "how do retries work?",
        "passages": [
            { "text": "It waits.", "file": "docs/a.md", "lines": "1-2", "heading": "Retry" },
            { "text": "It opens.", "file": "docs/b.md", "lines": "7" }
        ],
        "history": [{ "role": "user", "text": "hi" }, { "role": "assistant", "text": "hello" }]
    }"#;
    Arc::new(Job {
        id: JobId::new(id),
        run: RunId::new(id),
        correlation_id: CorrelationId::new(id),
        pipeline: "chatbot".into(),
        flow: "main".into(),
        step: "answer".into(),
        executor: "answer".into(),
        attempt: 1,
        input: Value::from_text(input).expect("JSON"),
    })
}

/// Asks, and hands each token on as it comes.
async fn ask_as_it_streams(base_url: &str, clock: Arc<HandClock>, tokens: mpsc::UnboundedSender<String>) -> Result<Value, Failure> {
    let config: Map = [
        ("base_url", Tree::from(base_url)),
        ("model", Tree::from("tiny")),
        ("api_key", Tree::Secret(Secret::new("OPENAI_API_KEY", KEY))),
        ("max_tokens", Tree::Int(100)),
    ]
    .into_iter()
    .map(|(name, field)| (name.to_owned(), field))
    .collect();
    let reference = ExecutorReference {
        pipeline: "chatbot".into(),
        name: "answer".into(),
        home: Home::Builtin("llm.chat".to_owned()),
        config: Value::from(Tree::Map(config)),
        grants: Grants::default(),
        limits: Limits::default(),
        reuse: false,
        resources: Arc::new([]),
    };
    let host = Services {
        executor: "answer".into(),
        config: Value::null(),
        grants: Grants::default(),
        databases: BTreeMap::new(),
        stores: BTreeMap::new(),
        indexes: BTreeMap::new(),
        folders: BTreeMap::new(),
        http: Http::new(http::Settings { executor: "answer".into(), granted: Vec::new(), configured: Vec::new(), clock: clock.clone() }),
        limits: Limits::default(),
        secrets: BTreeMap::new(),
    };
    let executor = Builtins::new(clock).open(&reference, Arc::new(host)).unwrap_or_else(|problem| panic!("{problem:?}"));
    let channel = Arc::new(Channel { tokens, logs: Mutex::default() });
    let attempt = Attempt { deadline: None, cancel: CancelSignal::new(), channel: Arc::clone(&channel) as _ };
    let output = executor.process(job(), attempt).await;
    assert!(!channel.logs.lock().expect("no panic").iter().any(|line| line.contains(KEY)));
    output
}

async fn ask(base_url: &str) -> Answer {
    let (tell, mut told) = mpsc::unbounded_channel();
    let output = ask_as_it_streams(base_url, HandClock::new(), tell).await;
    let mut tokens = Vec::new();
    while let Ok(token) = told.try_recv() {
        tokens.push(token);
    }
    Answer { output, tokens }
}

async fn ask_server(steps: Vec<Step>) -> Answer {
    ask(&serve(steps).await.base_url).await
}

#[tokio::test]
async fn asks_as_the_protocol_wants_and_streams_the_answer() {
    let stream = "data: {\"model\":\"tiny-1\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"It \"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"opens [2], [9].\"},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n";
    let server = serve(whole_stream(stream)).await;
    let answer = ask(&server.base_url).await;
    assert_eq!(
        answer.output.as_ref().map(Value::text),
        Ok(
            r#"{"text":"It opens [2], [9].","provider":"openai","model":"tiny-1","citations":[{"number":2,"file":"docs/b.md","lines":"7"}],"usage":{"prompt_tokens":5,"completion_tokens":4}}"#
        )
    );
    assert_eq!(answer.tokens, ["It ", "opens [2], [9]."]);

    let request = server.request.await.expect("a request");
    let (head, body) = request.split_once("\r\n\r\n").expect("a body");
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains(&format!("authorization: bearer {KEY}")), "the key is sent");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["stream"], &body["model"], &body["max_tokens"]), (&true.into(), &"tiny".into(), &100.into()));
    let messages = body["messages"].as_array().expect("messages");
    let roles: Vec<_> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert!(messages[0]["content"].as_str().is_some_and(|system| system.contains("[1]")));
    let asked = "Passages:\n\n[1] docs/a.md:1-2 (Retry)\nIt waits.\n\n[2] docs/b.md:7\nIt opens.\n\nQuestion: how do retries work?";
    assert_eq!(messages[3]["content"], asked);
}

#[tokio::test]
async fn what_servers_do_differently_does_not_matter() {
    let tokens = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n";
    let last = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let done = "data: [DONE]\n\n";
    for (what, stream) in [
        ("as it should be", format!("{tokens}{last}{done}")),
        ("no space behind data:", format!("{tokens}{last}{done}").replace("data: ", "data:")),
        ("CRLF", format!("{tokens}{last}{done}").replace('\n', "\r\n")),
        ("comments and other fields", format!(": processing\n\nevent: message\n{tokens}: ping\n\nid: 7\n{last}{done}")),
        ("no [DONE]", format!("{tokens}{last}")),
        ("no empty line at the end", format!("{tokens}{}", last.trim_end())),
        ("no finish reason", format!("{tokens}{done}")),
        ("empty choices with usage", format!("{tokens}{last}data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":1}}}}\n\n{done}")),
        ("role only", format!("data: {{\"choices\":[{{\"delta\":{{\"role\":\"assistant\"}}}}]}}\n\n{tokens}{last}{done}")),
        ("reasoning", format!("data: {{\"choices\":[{{\"delta\":{{\"reasoning_content\":\"hm\"}}}}]}}\n\n{tokens}{last}{done}")),
        (
            "tool call fragments",
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":0,\"function\":{{\"arguments\":\"{{\"}}}}]}}}}]}}\n\n{tokens}{last}{done}"
            ),
        ),
        ("garbage after the end", format!("{tokens}{last}{done}data: garbage\n\n")),
        ("no empty lines", format!("{tokens}{last}{done}").replace("\n\n", "\n")),
    ] {
        let answer = ask_server(whole_stream(&stream)).await;
        assert_eq!(answer.text(), "Hello", "{what}");
        assert_eq!(answer.tokens.concat(), "Hello", "{what}");
    }
}

#[tokio::test]
async fn a_character_may_be_cut_in_two() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"wörld €\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    let every_byte: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
    let mut bytes = chunked(&every_byte);
    bytes.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(ask_server(vec![Step::Send(bytes)]).await.text(), "wörld €");
}

#[tokio::test]
async fn a_plain_json_reply_is_an_answer_too() {
    let body = r#"{"model":"m","choices":[{"message":{"role":"assistant","content":"All at once [1]"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2}}"#;
    let answer = ask_server(answered("200 OK\r\nContent-Type: application/json", body)).await;
    assert_eq!((answer.text().as_str(), answer.tokens.len()), ("All at once [1]", 1));
    let answer =
        ask_server(answered("200 OK\r\nContent-Type: application/json", r#"{"error":{"message":"no","type":"invalid_request_error"}}"#))
            .await;
    assert_eq!(answer.failure().kind, FailureKind::Invalid);
}

#[tokio::test]
async fn an_error_inside_a_stream_is_classified_and_keeps_the_key() {
    let token = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    for (error, kind) in [
        (r#"{"message":"slow down","type":"rate_limit_exceeded"}"#, FailureKind::RateLimited),
        (r#"{"message":"overloaded","type":"overloaded_error"}"#, FailureKind::Transient),
        (r#"{"message":"bad key sk-hunter2-not-to-be-shown","code":401}"#, FailureKind::Denied),
        (r#""something""#, FailureKind::Failed),
    ] {
        let answer = ask_server(whole_stream(&format!("{token}data: {{\"error\":{error}}}\n\n"))).await;
        assert_eq!(answer.failure().kind, kind, "{error}");
        assert_eq!(answer.tokens, ["Hel"]);
    }
}

#[tokio::test]
async fn statuses_are_classified_and_no_failure_shows_the_key() {
    let body = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}","code":"the_code"}}}}"#);
    for (status, kind) in [
        (408, FailureKind::Transient),
        (425, FailureKind::Transient),
        (500, FailureKind::Transient),
        (503, FailureKind::Transient),
        (429, FailureKind::RateLimited),
        (401, FailureKind::Denied),
        (403, FailureKind::Denied),
        (404, FailureKind::NotFound),
        (410, FailureKind::NotFound),
        (409, FailureKind::Conflict),
        (412, FailureKind::Conflict),
        (400, FailureKind::Invalid),
        (422, FailureKind::Invalid),
        (402, FailureKind::Permanent),
    ] {
        let answer = ask_server(answered(&format!("{status} X\r\nContent-Type: application/json\r\nRetry-After: 7"), &body)).await;
        let failure = answer.failure();
        assert_eq!((failure.kind, failure.status, failure.code.as_deref()), (kind, Some(status), Some("the_code")));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert!(failure.message.contains("«secret OPENAI_API_KEY»"), "{failure}");
    }
    let answer = ask_server(answered("429 X\r\nRetry-After: Thu, 01 Jan 1970 00:01:30 GMT", "")).await;
    assert_eq!(answer.failure().retry_after, Some(Duration::from_secs(90)));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_web_page_is_no_answer() {
    let answer = ask_server(answered("307 X\r\nLocation: http://other.example/v1?key=hunter2", "")).await;
    assert_eq!(answer.failure().kind, FailureKind::Permanent);
    assert!(answer.failure().message.contains("http://other.example/v1"), "{}", answer.failure());
    let answer = ask_server(answered("200 OK\r\nContent-Type: text/html", "<html>")).await;
    assert_eq!(answer.failure().code.as_deref(), Some("no_api"));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_transient() {
    let token = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    // The connection is closed in the middle; then a stream that ends well, but before the model did.
    let torn = ask_server(vec![Step::Send(chunked(&[token]))]).await;
    assert_eq!((torn.failure().kind, torn.tokens.len()), (FailureKind::Transient, 1));
    let short = ask_server(whole_stream(&String::from_utf8_lossy(token))).await;
    assert_eq!((short.failure().kind, short.failure().code.as_deref()), (FailureKind::Transient, Some("broke_off")));
    let nothing = ask_server(Vec::new()).await;
    assert_eq!(nothing.failure().kind, FailureKind::Transient);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    drop(listener);
    let answer = ask(&base_url).await;
    assert_eq!(answer.failure().kind, FailureKind::Transient);
    assert!(answer.failure().message.contains(&base_url), "{}", answer.failure());
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let long = "x".repeat(1 << 20);
    let token = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{long}\"}}}}]}}\n\n");
    let mut steps = vec![Step::Send(chunked(&[]))];
    steps.extend((0..17).map(|_| Step::Send(format!("{:x}\r\n{token}\r\n", token.len()).into_bytes())));
    steps.push(Step::UntilClosed);
    let server = serve(steps).await;
    assert_eq!(ask(&server.base_url).await.failure().code.as_deref(), Some("answer_too_large"));
}

#[tokio::test]
async fn dropping_the_answer_closes_the_connection() {
    let token = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    let server = serve(vec![Step::Send(chunked(&[token])), Step::UntilClosed]).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let asking = tokio::spawn(async move { ask_as_it_streams(&server.base_url, HandClock::new(), tell).await });
    assert_eq!(told.recv().await.as_deref(), Some("Hel"));
    asking.abort();
    server.closed.await.expect("the server sees the end of the connection");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_a_timeout_before_and_after_the_first_token() {
    let token = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    for first in [None, Some(chunked(&[token, b": still here\n\n"]))] {
        let speaks = first.is_some();
        let steps = first.into_iter().map(Step::Send).chain([Step::UntilClosed]).collect();
        let server = serve(steps).await;
        let clock = HandClock::new();
        let (tell, mut told) = mpsc::unbounded_channel();
        let base_url = server.base_url.clone();
        let asking = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move { ask_as_it_streams(&base_url, clock, tell).await }
        });
        server.request.await.expect("a request");
        if speaks {
            assert_eq!(told.recv().await.as_deref(), Some("Hel"));
        }
        clock.advance(Duration::from_secs(61));
        let failure = asking.await.expect("no panic").expect_err("it fell silent");
        assert_eq!((failure.kind, failure.code.as_deref()), (FailureKind::Timeout, Some("idle")));
        server.closed.await.expect("the connection is closed");
    }
}

#[tokio::test]
async fn an_answer_that_is_finished_does_not_wait_for_the_connection_to_end() {
    let last = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"},\"finish_reason\":\"stop\"}]}\n\n";
    let server = serve(vec![Step::Send(chunked(&[last])), Step::UntilClosed]).await;
    let clock = HandClock::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let asking = tokio::spawn({
        let clock = Arc::clone(&clock);
        async move { ask_as_it_streams(&server.base_url, clock, tell).await }
    });
    assert_eq!(told.recv().await.as_deref(), Some("Hello"));
    clock.advance(Duration::from_secs(2));
    let output = asking.await.expect("no panic").expect("an answer");
    assert_eq!(output.tree().field("text").and_then(Tree::as_text), Some("Hello"));
}
