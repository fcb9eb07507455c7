//! An object store on a real socket: multipart uploads as the well-known ones have them, with JSON instead of XML.
//!
//! `POST KEY?uploads` → `{ upload_id }`; `PUT KEY?partNumber=N&uploadId=ID` → `{ etag }`, the digest of the part; `POST KEY?uploadId=ID` with
//! `{ parts: [{ number, etag }] }` → `{ size, digest }`, that of all parts one after the other; `DELETE KEY?uploadId=ID`; `GET KEY` → the
//! attributes `{ size, digest }`; `GET KEY?pattern=SIZE` → so many bytes of [`pattern`]. Bytes are counted and digested, never kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value as Json, json};

use super::http;
use super::shared::{LIFETIME, lock};

/// What the store is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Operation {
    Create,
    Part,
    Complete,
    Abort,
    Get,
}

/// What the store does instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It answers with this status.
    Status(u16),
    /// It says nothing until the other side hangs up.
    Hang,
}

/// A store. Its threads end with the tests.
pub(crate) struct ObjectStore {
    origin: String,
    state: Arc<Mutex<State>>,
    hangs: mpsc::Receiver<()>,
    hung_up: mpsc::Receiver<()>,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<Operation, usize>,
    faults: Vec<(Operation, usize, Fault)>,
    last_upload: usize,
    uploads: BTreeMap<String, BTreeMap<u64, Part>>,
    objects: BTreeMap<String, (u64, String)>,
}

struct Part {
    size: u64,
    etag: String,
}

impl ObjectStore {
    pub(crate) fn start() -> Self {
        Self::at(http::ANYWHERE)
    }

    /// One that listens at this address.
    pub(crate) fn at(address: &str) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let ((begins, hangs), (ends, hung_up)) = (mpsc::channel(), mpsc::channel());
        let tell = [begins, ends];
        let origin = http::listen(address, move |socket| serve(socket, &shared, &tell));
        Self { origin, state, hangs, hung_up }
    }

    /// Its scheme, host and port: what has to be granted.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Does this instead when it is asked to do that for the n-th time, from 1.
    pub(crate) fn fails(&self, operation: Operation, nth: usize, fault: Fault) {
        lock(&self.state).faults.push((operation, nth, fault));
    }

    /// How often it was asked to do that.
    pub(crate) fn count(&self, operation: Operation) -> usize {
        lock(&self.state).counts.get(&operation).copied().unwrap_or_default()
    }

    /// Size and digest of a complete object.
    pub(crate) fn object(&self, key: &str) -> Option<(u64, String)> {
        lock(&self.state).objects.get(key).cloned()
    }

    /// How many uploads were neither completed nor aborted.
    pub(crate) fn open_uploads(&self) -> usize {
        lock(&self.state).uploads.len()
    }

    /// Waits until it lets somebody hang.
    pub(crate) fn wait_until_it_hangs(&self) {
        self.hangs.recv_timeout(LIFETIME).expect("somebody asks");
    }

    /// Waits until somebody whom it let hang has hung up.
    pub(crate) fn wait_for_hang_up(&self) {
        self.hung_up.recv_timeout(LIFETIME).expect("somebody hangs up");
    }
}

/// The digest by which parts and objects are known.
pub(crate) fn digest_of_parts<'a>(etags: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    etags.into_iter().for_each(|etag| {
        hasher.update(etag.as_bytes());
    });
    hasher.finalize().to_hex().to_string()
}

/// A piece of bytes that differ from place to place, so that a part from the wrong place is noticed.
pub(crate) fn pattern(offset: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| ((offset + index) / 4093 + (offset + index) % 251) as u8).collect()
}

/// Writes a file of so many bytes of [`pattern`]: the digests of its parts as the store has them.
pub(crate) fn pattern_file(path: &Path, size: u64, part: u64) -> Vec<String> {
    let mut file = File::create(path).expect("made");
    let mut digests = Vec::new();
    let mut offset = 0;
    while offset < size {
        let end = (offset + part).min(size);
        let mut hasher = blake3::Hasher::new();
        while offset < end {
            let bytes = pattern(offset, usize::try_from((end - offset).min(1 << 20)).expect("it is small"));
            file.write_all(&bytes).expect("written");
            hasher.update(&bytes);
            offset += bytes.len() as u64;
        }
        digests.push(hasher.finalize().to_hex().to_string());
    }
    digests
}

fn serve(socket: TcpStream, state: &Mutex<State>, [begins, ends]: &[mpsc::Sender<()>; 2]) {
    let mut writer = socket.try_clone().expect("a socket");
    let mut reader = BufReader::with_capacity(64 << 10, socket);
    while let Some(request) = Request::read(&mut reader) {
        let fault = {
            let mut state = lock(state);
            let count = state.counts.entry(request.operation).or_default();
            *count += 1;
            let count = *count;
            state.faults.iter().find(|(operation, nth, _)| *operation == request.operation && *nth == count).map(|(.., fault)| *fault)
        };
        let (status, answer) = match fault {
            Some(Fault::Hang) => {
                let _ = begins.send(());
                let _ = reader.read(&mut [0]);
                let _ = ends.send(());
                return;
            }
            // As careless as servers are: it repeats what it was given.
            Some(Fault::Status(status)) => (status, json!({ "message": format!("refused {}", request.authorization), "code": "as_told" })),
            None if request.query.contains_key("pattern") => {
                stream(&mut writer, request.number("pattern"));
                continue;
            }
            None => lock(state).answer(&request),
        };
        let retry = if status == 429 { "Retry-After: 0\r\n" } else { "" };
        if writer.write_all(http::answer(status, retry, &answer.to_string()).as_bytes()).is_err() {
            return;
        }
    }
}

fn stream(writer: &mut TcpStream, size: u64) {
    const PIECE: usize = 64 << 10;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n");
    let mut sent = 0;
    let mut going = writer.write_all(head.as_bytes()).is_ok();
    while going && sent < size {
        let length = usize::try_from(size - sent).unwrap_or(PIECE).min(PIECE);
        going = writer.write_all(&pattern(sent, length)).is_ok();
        sent += length as u64;
    }
}

struct Request {
    operation: Operation,
    key: String,
    query: BTreeMap<String, String>,
    authorization: String,
    size: u64,
    etag: String,
    /// Kept only for what is no part.
    text: String,
}

impl Request {
    /// `None` when the other side has hung up.
    fn read(reader: &mut BufReader<TcpStream>) -> Option<Self> {
        let head = http::Head::read(reader)?;
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let pair =
            |pair: &str| pair.split_once('=').map_or((pair.to_owned(), String::new()), |(name, value)| (name.to_owned(), value.to_owned()));
        let query: BTreeMap<String, String> = query.split('&').map(pair).collect();
        let operation = match (head.method.as_str(), query.contains_key("uploadId")) {
            ("POST", false) => Operation::Create,
            ("PUT", _) => Operation::Part,
            ("POST", true) => Operation::Complete,
            ("DELETE", _) => Operation::Abort,
            _ => Operation::Get,
        };
        let size = head.length() as u64;
        let mut hasher = blake3::Hasher::new();
        let (mut left, mut text, mut piece) = (size, Vec::new(), vec![0; 64 << 10]);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(piece.len()).min(piece.len());
            let length = reader.read(&mut piece[..wanted]).ok().filter(|length| *length > 0)?;
            hasher.update(&piece[..length]);
            if operation != Operation::Part {
                text.extend_from_slice(&piece[..length]);
            }
            left -= length as u64;
        }
        Some(Self {
            operation,
            key: path.trim_start_matches('/').to_owned(),
            query,
            authorization: head.header("authorization").to_owned(),
            size,
            etag: hasher.finalize().to_hex().to_string(),
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    fn number(&self, name: &str) -> u64 {
        self.query.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> (u16, Json) {
        let no_upload = (404, json!({ "message": "no such upload", "code": "no_such_upload" }));
        let id = request.query.get("uploadId").cloned().unwrap_or_default();
        match request.operation {
            Operation::Create => {
                self.last_upload += 1;
                let id = format!("u{}", self.last_upload);
                self.uploads.insert(id.clone(), BTreeMap::new());
                (200, json!({ "upload_id": id }))
            }
            Operation::Part => {
                let Some(upload) = self.uploads.get_mut(&id) else { return no_upload };
                upload.insert(request.number("partNumber"), Part { size: request.size, etag: request.etag.clone() });
                (200, json!({ "etag": request.etag }))
            }
            Operation::Complete => {
                let Some(upload) = self.uploads.get(&id) else { return no_upload };
                let body: Json = serde_json::from_str(&request.text).unwrap_or_default();
                let named: Vec<_> =
                    body["parts"].as_array().into_iter().flatten().map(|part| (part["number"].as_u64(), part["etag"].as_str())).collect();
                let stored: Vec<_> = upload.iter().map(|(number, part)| (Some(*number), Some(part.etag.as_str()))).collect();
                if named != stored {
                    return (400, json!({ "message": "the parts are not those that were stored", "code": "invalid_part" }));
                }
                let (size, digest) =
                    (upload.values().map(|part| part.size).sum::<u64>(), digest_of_parts(upload.values().map(|part| part.etag.as_str())));
                self.uploads.remove(&id);
                self.objects.insert(request.key.clone(), (size, digest.clone()));
                (200, json!({ "size": size, "digest": digest }))
            }
            Operation::Abort => match self.uploads.remove(&id) {
                Some(_) => (200, json!({})),
                None => no_upload,
            },
            Operation::Get => match self.objects.get(&request.key) {
                Some((size, digest)) => (200, json!({ "size": size, "digest": digest })),
                None => (404, json!({ "message": "no such key", "code": "no_such_key" })),
            },
        }
    }
}
