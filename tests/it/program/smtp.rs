//! A mail server on a real socket: it takes letters, and refuses, hangs up or says nothing where it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::http;
use super::shared::Shared;

/// The turns of the conversation at which the server can be told what to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Turn {
    /// Somebody connects.
    Greeting,
    /// AUTH.
    Login,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// The end of a letter's text.
    Content,
    /// QUIT.
    Quit,
}

/// What the server does at a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// What it ought to.
    Well,
    /// It answers with this line. A letter at whose end it says so is not taken, unless the line begins with 2.
    Says(&'static str),
    /// It takes what it was given, and the connection is gone before its answer.
    HangsUp,
    /// It says nothing until the other side hangs up.
    Silent,
    /// It takes what it was given, and says nothing until the other side hangs up.
    TakesAndIsSilent,
}

/// How the server keeps what is said to it from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tls {
    /// Not at all.
    Never,
    /// After STARTTLS.
    WhenAsked,
    /// From the first byte on.
    Always,
}

/// The server's certificate, as `SSL_CERT_FILE` takes it: nobody else vouches for it. It is good for 127.0.0.1 until the year 2120.
pub(crate) const CERTIFICATE: &str = include_str!("smtp/certificate.pem");

/// The key of [`CERTIFICATE`], and of nothing else.
const KEY: &str = include_str!("smtp/key.pem");

/// A letter that the server has taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Letter {
    /// MAIL FROM.
    pub(crate) from: String,
    /// Each RCPT TO.
    pub(crate) to: Vec<String>,
    /// Headers and text as they came, without the dots of the conversation.
    pub(crate) text: String,
}

impl Letter {
    /// The value of a header that stands on one line.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A server. Its threads end with the tests.
pub(crate) struct MailServer {
    address: String,
    shared: Arc<Shared<State>>,
}

#[derive(Default)]
struct State {
    /// By turn: what it does from time to time; the last stays.
    acts: BTreeMap<Turn, Vec<Act>>,
    turns: BTreeMap<Turn, usize>,
    /// User and password, where it wants them.
    login: Option<(String, String)>,
    letters: Vec<Letter>,
    /// Every line that was said to it but for the texts of letters.
    heard: Vec<String>,
    hung_up: usize,
}

impl MailServer {
    pub(crate) fn start() -> Self {
        Self::with(Tls::Never)
    }

    /// One that speaks TLS, under [`CERTIFICATE`].
    pub(crate) fn with(tls: Tls) -> Self {
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let origin = http::listen(http::ANYWHERE, move |socket| Conversation::new(socket, tls, Arc::clone(&served)).lead());
        Self { address: origin.trim_start_matches("http://").to_owned(), shared }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it does at that turn, one act a time, counted from the first of all; the last stays.
    pub(crate) fn does(&self, turn: Turn, acts: &[Act]) {
        self.shared.lock().acts.insert(turn, acts.to_vec());
    }

    /// From now on it takes letters only after this login.
    pub(crate) fn wants(&self, user: &str, password: &str) {
        self.shared.lock().login = Some((user.to_owned(), password.to_owned()));
    }

    /// The letters that it has taken, in their order.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.shared.lock().letters.clone()
    }

    /// What was said to it, but for the texts of letters.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.shared.lock().heard.clone()
    }

    /// Waits until it has taken so many letters.
    pub(crate) fn wait_for(&self, letters: usize) -> Vec<Letter> {
        self.shared.until(|state| state.letters.len() >= letters).letters.clone()
    }

    /// Waits until so many have hung up that it said nothing to.
    pub(crate) fn wait_for_hang_ups(&self, times: usize) {
        drop(self.shared.until(|state| state.hung_up >= times));
    }
}

/// What goes to and fro, in the open or not.
trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// One connection.
struct Conversation {
    wire: BufReader<Box<dyn Wire>>,
    socket: TcpStream,
    tls: Tls,
    shared: Arc<Shared<State>>,
    from: String,
    to: Vec<String>,
    known: bool,
}

/// The conversation is over.
struct Over;

impl Conversation {
    fn new(socket: TcpStream, tls: Tls, shared: Arc<Shared<State>>) -> Self {
        let wire: Box<dyn Wire> = Box::new(socket.try_clone().expect("a socket"));
        let mut new = Self { wire: BufReader::new(wire), socket, tls, shared, from: String::new(), to: Vec::new(), known: false };
        if tls == Tls::Always {
            new.encrypt();
        }
        new
    }

    /// From now on all that goes to and fro is encrypted.
    fn encrypt(&mut self) {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let config = builder.with_single_cert(vec![certificate], key).expect("they belong together");
        let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
        let stream: Box<dyn Wire> = Box::new(StreamOwned::new(connection, self.socket.try_clone().expect("a socket")));
        (self.wire, self.tls) = (BufReader::new(stream), Tls::Always);
    }

    fn lead(mut self) {
        let _ = self.turn(Turn::Greeting, "220 here", |_| {});
        while let Ok(line) = self.line() {
            self.shared.lock().heard.push(line.clone());
            if self.answer(&line).is_err() {
                return;
            }
        }
    }

    fn line(&mut self) -> Result<String, Over> {
        let mut line = String::new();
        match self.wire.read_line(&mut line) {
            Ok(1..) => Ok(line.trim_end().to_owned()),
            _ => Err(Over),
        }
    }

    fn say(&mut self, line: &str) -> Result<(), Over> {
        let wire = self.wire.get_mut();
        wire.write_all(format!("{line}\r\n").as_bytes()).and_then(|()| wire.flush()).map_err(|_| Over)
    }

    /// Does what it was told to do at this turn; `well` is done with the state if it takes what it was given.
    fn turn(&mut self, turn: Turn, answer: &str, well: impl FnOnce(&mut State)) -> Result<(), Over> {
        let act = self.shared.change(|state| {
            let count = state.turns.entry(turn).or_default();
            let nth = *count;
            *count += 1;
            let acts = state.acts.get(&turn).map(Vec::as_slice).unwrap_or_default();
            let act = acts.get(nth).or(acts.last()).copied().unwrap_or(Act::Well);
            if matches!(act, Act::Well | Act::HangsUp | Act::TakesAndIsSilent) || matches!(act, Act::Says(line) if line.starts_with('2')) {
                well(state);
            }
            act
        });
        match act {
            Act::Well => self.say(answer),
            Act::Says(line) => self.say(line),
            Act::HangsUp => {
                let _ = self.socket.shutdown(std::net::Shutdown::Both);
                Err(Over)
            }
            Act::Silent | Act::TakesAndIsSilent => {
                while self.line().is_ok() {}
                self.shared.change(|state| state.hung_up += 1);
                Err(Over)
            }
        }
    }

    fn answer(&mut self, line: &str) -> Result<(), Over> {
        let login = self.shared.lock().login.clone();
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("EHLO") {
            let tls = if self.tls == Tls::WhenAsked { "250-STARTTLS\r\n" } else { "" };
            let login = if login.is_some() { "250-AUTH PLAIN\r\n" } else { "" };
            return self.say(&format!("250-here\r\n{tls}{login}250 8BITMIME"));
        }
        if let Some(proof) = line.strip_prefix("AUTH PLAIN ") {
            let said = base64::engine::general_purpose::STANDARD.decode(proof).unwrap_or_default();
            let (user, password) = login.unwrap_or_default();
            self.known = said == format!("\0{user}\0{password}").into_bytes();
            let answer = if self.known { "235 welcome".to_owned() } else { format!("535 who is {proof}, of {password}?") };
            return self.turn(Turn::Login, &answer, |_| {});
        }
        if upper.starts_with("MAIL FROM:") {
            if login.is_some() && !self.known {
                return self.say("530 log in first");
            }
            self.from = inner(line);
            return self.turn(Turn::Sender, "250 well", |_| {});
        }
        if upper.starts_with("RCPT TO:") {
            self.to.push(inner(line));
            return self.turn(Turn::Recipient, "250 well", |_| {});
        }
        match upper.as_str() {
            "STARTTLS" if self.tls == Tls::WhenAsked => {
                self.say("220 go on")?;
                self.encrypt();
                Ok(())
            }
            "DATA" => {
                self.say("354 go on")?;
                let mut text = String::new();
                loop {
                    let line = self.line()?;
                    if line == "." {
                        break;
                    }
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push_str("\r\n");
                }
                let letter = Letter { from: std::mem::take(&mut self.from), to: std::mem::take(&mut self.to), text };
                self.turn(Turn::Content, "250 taken", |state| state.letters.push(letter))
            }
            "QUIT" => {
                self.turn(Turn::Quit, "221 good-bye", |_| {})?;
                Err(Over)
            }
            _ => self.say("500 what?"),
        }
    }
}

/// What stands between the angle brackets.
fn inner(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}
