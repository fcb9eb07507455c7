//! `pipelines/search.yaml` with its real parts: an index on disk with words and vectors, the offline embedder, and a server of embeddings
//! on a real socket that can be slow or down.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use serde_json::{Value as Json, json};

use crate::program::shared::Shared;
use crate::program::{Bench, Program, http, text};

const SEARCH: &str = "pipelines/search.yaml";

/// Sends to the host and returns its reply.
fn send(bench: &Bench, flow: &str, input: &Json) -> Json {
    bench.sending(&format!("search.{flow}"), input).finish().ends_with(0).objects().remove(0)
}

fn ask(bench: &Bench, question: &str) -> Json {
    send(bench, "search", &json!({ "text": question }))
}

fn add(bench: &Bench, id: &str, text: &str) {
    send(bench, "add", &json!({ "id": id, "title": id, "author": "Nobody", "text": text }));
}

fn ids(reply: &Json) -> Vec<&str> {
    reply["books"].as_array().expect("books").iter().map(|book| text(book, "id")).collect()
}

fn start(bench: &Bench) -> Program {
    let program = bench.start(&["run", SEARCH, "--events", "json"]);
    program.errors.expect("Reading messages");
    program
}

/// Ends it: how often each of these steps of the flow `rank` was begun.
fn end<const N: usize>(program: Program, steps: [&str; N]) -> [usize; N] {
    let events = program.finish().ends_with(0).objects();
    steps.map(|step| {
        let begun = |event: &&Json| event["event"] == "job_started" && event["flow"] == "rank" && event["step"] == step;
        events.iter().filter(begun).count()
    })
}

#[test]
fn books_are_found_by_words_and_nearness_and_a_hit_asks_nobody() {
    let bench = Bench::chatbot();
    let program = start(&bench);
    assert_eq!(ask(&bench, "oceans")["books"], json!([]), "nothing is in yet, and that is an answer");
    assert_eq!(send(&bench, "fill", &json!({}))["added"], 8);
    let oceans = ask(&bench, "oceans");
    assert_eq!(
        (ids(&oceans), &oceans["degraded"]),
        (vec!["moby-dick", "twenty-thousand-leagues"], &json!(false)),
        "the new books are found"
    );
    assert_eq!(ask(&bench, " Oceans"), oceans);
    // No word of the index is spelt so: only the vectors are near.
    assert_eq!(ids(&ask(&bench, "submarines oceanic"))[0], "twenty-thousand-leagues");
    assert_eq!(ids(&ask(&bench, "vampiric"))[0], "dracula");
    assert_eq!(ask(&bench, "zzzz qqqq")["total"], 0);
    assert_eq!(end(program, ["meaning", "words", "near", "merged"]), [5; 4]);
}

#[test]
fn ranks_survive_paging_and_a_restart_and_there_are_no_doubles() {
    let bench = Bench::chatbot();
    let program = start(&bench);
    // Twins have equal scores.
    for number in 1..=7 {
        add(&bench, &format!("twin{number}"), "Two islands and a lighthouse.");
    }
    let page = |page: u64, size: u64| send(&bench, "search", &json!({ "text": "lighthouse islands", "page": page, "size": size }));
    let all = page(1, 100);
    let mut names = ids(&all);
    assert_eq!(
        all["books"].as_array().map(|books| books.iter().map(|book| book["rank"].as_u64()).collect()),
        Some((1..=7).map(Some).collect::<Vec<_>>())
    );
    let pages =
        |size: u64| (1..=7_u64.div_ceil(size)).flat_map(move |number| page(number, size)["books"].as_array().expect("books").clone());
    for size in 1..=4 {
        assert_eq!(Json::Array(pages(size).collect()), all["books"], "pages of {size}");
    }
    end(program, []);
    let again = start(&bench);
    assert_eq!(page(1, 100), all, "the index is on disk, and equal scores have one order");
    end(again, []);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 7);
}

/// A server of embeddings. It knows two things that a text can be about: the sea, and love.
#[derive(Clone)]
struct Embedder {
    base_url: String,
    shared: Arc<Shared<Asked>>,
}

#[derive(Default)]
struct Asked {
    texts: Vec<String>,
    down: bool,
    /// What is not answered yet.
    held: Option<String>,
}

impl Asked {
    fn count(&self, asked: &str) -> usize {
        self.texts.iter().filter(|text| *text == asked).count()
    }
}

impl Embedder {
    fn start() -> Self {
        let embedder = Self { base_url: String::new(), shared: Arc::default() };
        let own = embedder.clone();
        let origin = http::listen(http::ANYWHERE, move |socket| own.serve(socket));
        Self { base_url: format!("{origin}/v1"), ..embedder }
    }

    fn change(&self, change: impl FnOnce(&mut Asked)) {
        self.shared.change(change);
    }

    /// Waits until that was asked so often.
    fn wait_for(&self, asked: &str, times: usize) {
        drop(self.shared.until(|state| state.count(asked) >= times));
    }

    fn count(&self, asked: &str) -> usize {
        self.shared.lock().count(asked)
    }

    /// When it is down it hangs up instead of answering.
    fn serve(&self, socket: TcpStream) {
        let mut socket = BufReader::new(socket);
        let Some(head) = http::Head::read(&mut socket) else { return };
        let body = head.body(&mut socket).expect("a body");
        let asked: Json = serde_json::from_slice(&body).expect("JSON");
        let texts: Vec<String> =
            asked["input"].as_array().expect("texts").iter().map(|text| text.as_str().expect("a text").to_owned()).collect();
        self.change(|state| state.texts.extend(texts.iter().cloned()));
        if self.shared.until(|state| state.held.as_ref().is_none_or(|held| !texts.contains(held))).down {
            return;
        }
        let vector = |(index, text): (usize, &String)| json!({ "index": index, "embedding": about(text) });
        let data: Vec<Json> = texts.iter().enumerate().map(vector).collect();
        let answer = json!({ "model": "two-things", "data": data }).to_string();
        // Whoever asked may have gone.
        let _ = socket.get_mut().write_all(http::answer(200, "Connection: close\r\n", &answer).as_bytes());
    }
}

fn about(text: &str) -> [f64; 3] {
    let has = |words: &[&str]| words.iter().filter(|word| text.contains(**word)).count() as f64;
    [has(&["ocean", "ship", "sails", "marine", "whale"]), has(&["love", "marriage", "romance"]), 0.1]
}

/// The shipped pipeline with that server, which may take its time.
fn with_server() -> (Bench, Embedder) {
    let server = Embedder::start();
    let bench = Bench::chatbot().with("OPENAI_BASE_URL", &server.base_url).with("EMBEDDING_MODEL", "two-things");
    bench.replace(SEARCH, "timeout: 2s", "timeout: 20s");
    bench.replace(SEARCH, "deadline: 5s", "deadline: 50s");
    (bench, server)
}

#[test]
fn a_server_is_asked_once_and_finds_what_is_meant() {
    let (bench, server) = with_server();
    let program = start(&bench);
    send(&bench, "fill", &json!({}));
    let mut found = ask(&bench, "marine biology");
    assert_eq!(ids(&ask(&bench, "romance")), ["persuasion"], "no book has the word");
    for _ in 0..2 {
        assert_eq!(ask(&bench, "marine biology"), found);
    }
    assert_eq!(server.count("marine biology"), 1);
    let mut names = ids(&found);
    names.sort_unstable();
    assert_eq!(names, ["moby-dick", "treasure-island", "twenty-thousand-leagues"]);
    add(&bench, "the-sea-wolf", "A ship and its cruel captain.");
    found = ask(&bench, "marine biology");
    assert!(ids(&found).contains(&"the-sea-wolf") && server.count("marine biology") == 2, "{found}");
    end(program, []);
}

#[test]
fn with_the_server_down_books_are_found_by_words_which_is_said_and_not_kept() {
    let (bench, server) = with_server();
    let program = start(&bench);
    send(&bench, "fill", &json!({}));
    server.change(|state| state.down = true);
    for times in [2, 4] {
        let found = ask(&bench, "whale ocean");
        assert_eq!((&found["degraded"], ids(&found)), (&json!(true), vec!["moby-dick", "twenty-thousand-leagues"]));
        assert_eq!(server.count("whale ocean"), times, "two attempts each time: nothing was kept");
    }
    server.change(|state| state.down = false);
    let found = ask(&bench, "whale ocean");
    assert_eq!((&found["degraded"], ids(&found).len()), (&json!(false), 3), "Treasure Island sails, too: {found}");
    assert_eq!((ask(&bench, "whale ocean"), server.count("whale ocean")), (found, 5));
    end(program, []);
}

#[test]
fn where_nobody_listens_books_are_found_by_words() {
    let bench = Bench::chatbot();
    let program = start(&bench);
    send(&bench, "fill", &json!({}));
    end(program, []);
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let bench = bench.with("OPENAI_BASE_URL", &format!("http://127.0.0.1:{port}/v1"));
    let program = start(&bench);
    let found = ask(&bench, "pirates");
    assert_eq!((&found["degraded"], ids(&found)), (&json!(true), vec!["treasure-island"]));
    assert_eq!(end(program, ["meaning", "words", "near"]), [2, 1, 0]);
}

#[test]
fn a_search_that_a_new_book_overtakes_does_not_put_its_ranking_into_the_cache() {
    let (bench, server) = with_server();
    let program = start(&bench);
    server.change(|state| state.held = Some("whale".to_owned()));
    let first = thread::scope(|scope| {
        let [first, second] = [scope.spawn(|| ask(&bench, "whale")), scope.spawn(|| ask(&bench, "whale"))];
        server.wait_for("whale", 1);
        add(&bench, "moby-dick", "A captain hunts the white whale.");
        server.change(|state| state.held = None);
        let first = first.join().expect("it is answered");
        assert_eq!(second.join().expect("it is answered")["degraded"], false);
        first
    });
    assert_eq!(first["degraded"], false);
    let before = server.count("whale");
    for _ in 0..3 {
        assert_eq!(ids(&ask(&bench, "whale")), ["moby-dick"]);
    }
    assert_eq!(server.count("whale"), before + 1, "asked anew once, and then kept");
    end(program, []);
}
