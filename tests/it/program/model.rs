//! A language model on a real socket that says each token when the test tells it to.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use super::http;
use super::shared::LIFETIME;

/// A server that speaks the OpenAI protocol.
pub(crate) struct Model {
    base_url: String,
    questions: mpsc::Receiver<Question>,
}

impl Model {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let (sender, questions) = mpsc::channel();
        // It ends when the test is over and one more asks, or with the tests.
        thread::spawn(move || {
            for socket in listener.incoming() {
                let question = Question::read(socket.expect("a connection"));
                if sender.send(question).is_err() {
                    return;
                }
            }
        });
        Self { base_url, questions }
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Waits for a question, whose answer has begun then.
    pub(crate) fn asked(&self) -> Question {
        self.questions.recv_timeout(LIFETIME).expect("the model is asked")
    }

    /// Answers the next question with these tokens.
    pub(crate) fn answers(&self, tokens: &[&str]) {
        let mut question = self.asked();
        tokens.iter().for_each(|token| question.token(token));
        question.end();
    }
}

/// One request, and the answer to it.
pub(crate) struct Question {
    pub(crate) body: String,
    socket: TcpStream,
}

impl Question {
    fn read(mut socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(LIFETIME)).expect("set");
        let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
        let body = http::Head::read(&mut reader).and_then(|head| head.body(&mut reader)).expect("the request did not break off");
        let body = String::from_utf8(body).expect("a text");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).expect("sent");
        Self { body, socket }
    }

    /// Says one token.
    pub(crate) fn token(&mut self, token: &str) {
        let data = serde_json::json!({ "choices": [{ "index": 0, "delta": { "content": token } }] });
        self.socket.write_all(format!("data: {data}\n\n").as_bytes()).expect("sent");
    }

    /// Ends the answer.
    pub(crate) fn end(mut self) {
        let data = serde_json::json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
        self.socket.write_all(format!("data: {data}\n\ndata: [DONE]\n\n").as_bytes()).expect("sent");
    }

    /// Waits until whoever asked has hung up.
    pub(crate) fn wait_for_hang_up(mut self) {
        let mut rest = Vec::new();
        // A reset is an end too; a time-out is none.
        if let Err(error) = self.socket.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "nobody hung up: {error}");
        }
    }
}
