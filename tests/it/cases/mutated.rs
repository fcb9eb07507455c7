//! Pipeline files that nobody would write: cases with pieces taken out, put in and mixed, and structures of absurd depth and width. This seeded
//! test is the fuzz target: it needs no other tools than cargo.
//!
//! `PIPEHOST_MUTATIONS=100000 cargo test --test it mutated` is its long form; a tenth of it runs each time.

use std::path::Path;
use std::time::{Duration, Instant};

use pipehost::cli::diagnostics;

use super::{load, names, root};

/// So many files where the environment does not say it.
const USUAL: usize = 10_000;

/// So long one file may take; ten times that in a build that is not optimised.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

const THREADS: usize = 2;

/// A small generator of its own, so that a seed gives the same files on every machine.
struct Seed(u64);

impl Seed {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or_default()
    }
}

const BITS: &[&str] = &[
    "${",
    "}",
    "{",
    "[",
    "]",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "'",
    "\"",
    "#",
    " #",
    "*a",
    "&a ",
    "!t ",
    "<<: ",
    "|",
    ">-",
    "null",
    "0s",
    "-1",
    "1e999",
    "é",
    "🎉",
    "\t",
    "$${",
    "steps",
    "when: ",
    "??",
    ".",
    "\\u0041",
    "\r\n",
    "---\n",
    "99999999999999999999",
    "\u{feff}",
    "\0",
];

fn cases() -> Vec<Vec<char>> {
    let mut texts = Vec::new();
    for kind in ["valid", "invalid"] {
        for name in names(&root().join(kind), ".yaml") {
            let file = root().join(kind).join(format!("{name}.yaml"));
            texts.push(std::fs::read_to_string(file).expect("the case is text").chars().collect());
        }
    }
    texts
}

fn mutated(texts: &[Vec<char>], seed: &mut Seed) -> String {
    let mut characters = texts[seed.below(texts.len())].clone();
    for _ in 0..=seed.below(4) {
        let at = seed.below(characters.len() + 1);
        match seed.below(4) {
            0 if at < characters.len() => drop(characters.remove(at)),
            1 => {
                let end = (at + seed.below(40)).min(characters.len());
                characters.drain(at..end);
            }
            2 => {
                let other = &texts[seed.below(texts.len())];
                let from = seed.below(other.len());
                let taken: Vec<char> = other.iter().copied().skip(from).take(seed.below(60)).collect();
                characters.splice(at..at, taken);
            }
            _ => drop(characters.splice(at..at, BITS[seed.below(BITS.len())].chars())),
        }
    }
    characters.into_iter().collect()
}

/// Loads a text and prints what is found in it; gives how long that took, and whether a plan came of it.
#[expect(clippy::disallowed_methods, reason = "how long a file takes is real time")]
fn checked(path: &Path, text: &str, color: bool) -> (Duration, bool) {
    std::fs::write(path, text).expect("it can be written");
    let begin = Instant::now();
    let files = [path.to_owned()];
    let result = std::panic::catch_unwind(|| {
        let loaded = load(&files);
        let shown = diagnostics::text(&loaded.diagnostics, &loaded.sources, color);
        diagnostics::github(&loaded.diagnostics, &loaded.sources, false);
        assert_eq!(loaded.plan.is_none(), loaded.diagnostics.iter().any(|one| one.code.starts_with('E')), "{shown}");
        assert!(!shown.contains("E0117"), "a mistake is kept from whoever made it: {shown}");
        loaded.plan.is_some()
    });
    let took = begin.elapsed();
    let Ok(planned) = result else { panic!("this file makes a panic:\n{text}") };
    (took, planned)
}

/// The least of three times, unless the first is short: others use the machine too.
fn least(path: &Path, text: &str) -> Duration {
    let mut took = checked(path, text, false).0;
    for _ in 0..2 {
        if took > LIMIT / 10 {
            took = took.min(checked(path, text, true).0);
        }
    }
    took
}

#[test]
fn mutated_files_never_panic_and_are_looked_through_in_no_time() {
    let rounds = std::env::var_os("PIPEHOST_MUTATIONS").and_then(|rounds| rounds.to_str()?.parse().ok()).unwrap_or(USUAL);
    let texts = cases();
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let texts = &texts;
            scope.spawn(move || {
                let folder = tempfile::tempdir().expect("there is a place for files");
                let path = folder.path().join("mutated.yaml");
                let mut seed = Seed(0x9e37_79b9_7f4a_7c15 ^ (number as u64) << 32);
                let mut slowest = (Duration::ZERO, 0, String::new());
                for round in 0..rounds / THREADS {
                    let text = mutated(texts, &mut seed);
                    let took = least(&path, &text);
                    if took > slowest.0 {
                        slowest = (took, round, text);
                    }
                }
                let (took, round, text) = slowest;
                eprintln!("thread {number}: {} files, the slowest, of round {round}, took {took:?}", rounds / THREADS);
                assert!(took <= LIMIT, "round {round} of thread {number} took {took:?} for this file:\n{text}");
            });
        }
    });
}

#[test]
fn structures_of_absurd_depth_are_an_error() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let path = folder.path().join("deep.yaml");
    let begin = "pipeline: p\ntrigger: manual\nsteps: ";
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{begin}[{}{{ run: log, with: {{ message: a }} }}{}]\n", open.repeat(depth), close.repeat(depth))
    };
    let structures = [
        ("{ switch: [{ else: [", "] }] }"),
        ("{ each: { in: 3, steps: [", "] } }"),
        ("{ parallel: { a: [", "] } }"),
        ("{ run: log, with: { message: a }, on_error: [", "] }"),
        ("{ wait: { event: A, match: { a: 1 }, timeout: 1s, on_timeout: [", "] } }"),
    ];
    for (open, close) in structures {
        let (took, planned) = checked(&path, &nested(open, close, 10_000), false);
        assert!(!planned, "{open} ten thousand times in itself");
        assert!(took < LIMIT * 10, "{open} ten thousand times in itself took {took:?}");
        checked(&path, &nested(open, close, 12), false);
    }
    let indented: String =
        (0..10_000).map(|depth| format!("{}- switch:\n{}- else:\n", " ".repeat(depth * 4), " ".repeat(depth * 4 + 2))).collect();
    // Longer than a file may be, and cut where that is.
    let cut: String = indented.chars().take(1 << 20).collect();
    assert!(!checked(&path, &format!("pipeline: p\ntrigger: manual\nsteps:\n{cut}"), false).1);
}

#[test]
fn a_flow_of_two_thousand_steps_is_looked_through_in_a_moment() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let path = folder.path().join("wide.yaml");
    let steps: String = (0..2_000)
        .map(|step| match step {
            0 => "  - id: step_0\n    run: log\n    with: { message: a }\n".to_owned(),
            _ => format!("  - id: step_{step}\n    run: log\n    with: {{ message: '${{steps.step_{}.text}}' }}\n", step - 1),
        })
        .collect();
    let text = format!("pipeline: p\ntrigger: manual\nsteps:\n{steps}");
    let (took, planned) = checked(&path, &text, false);
    assert!(planned);
    assert!(took < LIMIT * 10, "it took {took:?}");
}
