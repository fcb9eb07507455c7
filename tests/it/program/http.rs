//! What the servers of the tests share: a thread a connection, the head of a request, and an answer in JSON.

use std::io::{BufRead, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// An address of this machine with a free port.
pub(crate) const ANYWHERE: &str = "127.0.0.1:0";

/// Serves each connection to this address on a thread of its own. The threads end with the tests. Returns scheme, host and port.
pub(crate) fn listen(address: &str, serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind(address).expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (serve, socket) = (serve.clone(), socket.expect("a connection"));
            thread::spawn(move || serve(socket));
        }
    });
    origin
}

/// The first line of a request and its headers.
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// `None` when the other side has hung up.
    pub(crate) fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let mut first = lines.first()?.split(' ');
        let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
        let header = |line: &String| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Self { method, target, headers: lines.iter().skip(1).filter_map(header).collect() })
    }

    /// A header, by its name in whatever case; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// How many bytes follow.
    pub(crate) fn length(&self) -> usize {
        self.header("content-length").parse().unwrap_or_default()
    }

    /// The bytes that follow; `None` when the other side has hung up.
    pub(crate) fn body(&self, reader: &mut impl Read) -> Option<Vec<u8>> {
        let mut body = vec![0; self.length()];
        reader.read_exact(&mut body).ok()?;
        Some(body)
    }
}

/// An answer in JSON, with further headers, each with its line's end.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}
