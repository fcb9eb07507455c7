//! The rules, each a pure function from a file's name and text to what is untidy in it.

use std::fmt;

use super::source::{Source, declared_modules, paths};

/// The rooms with their floors, as ARCHITECTURE.md has them: a room imports only from floors below its own.
const FLOORS: [(&str, u8); 18] = [
    ("main", 7),
    ("cli", 6),
    ("testing", 5),
    ("control", 5),
    ("app", 4),
    ("engine", 3),
    ("reload", 3),
    ("policy", 2),
    ("executor", 2),
    ("bus", 2),
    ("journal", 2),
    ("trigger", 2),
    ("plan", 2),
    ("telemetry", 1),
    ("watch", 1),
    ("clock", 1),
    ("script", 1),
    ("files", 1),
];

/// The room that everybody may import from.
const GROUND: &str = "model";

/// What is named only in certain places beneath `host/src`.
const HOMES: [(&str, &[&str]); 21] = [
    ("wasmtime", &["executor/wasm"]),
    ("rhai", &["script", "executor/rhai", "plan/expr"]),
    ("notify", &["watch"]),
    ("saphyr_parser", &["plan/source"]),
    ("serde_yaml", &["plan/source"]),
    ("pretty_yaml", &["plan/source"]),
    ("moka", &["executor/wasm"]),
    ("rusqlite", &["executor/database", "journal/sqlite"]),
    ("ring", &["journal/sqlite/seal"]),
    ("reqwest", &["executor/builtin", "executor/llm", "executor/http"]),
    ("lettre", &["executor/mail"]),
    ("rustls", &["executor/builtin", "executor/llm", "executor/http"]),
    ("cap_std", &["executor/files"]),
    ("clap", &["cli"]),
    ("quick_junit", &["cli/test"]),
    ("mimalloc", &["main"]),
    ("rand", &["clock"]),
    ("tokio::time", &["clock"]),
    ("std::time::Instant", &["clock"]),
    // The cache of compiled code writes into its files' times when they were used, as the clock tells it; it never asks for the time.
    ("std::time::SystemTime", &["clock", "executor/wasm/cache"]),
    ("std::thread::sleep", &["clock"]),
];

/// Lines of a file.
const LONGEST: usize = 600;

/// Lines of `main.rs`: it only hands over to the command line.
const LONGEST_MAIN: usize = 40;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 8] = ["mod", "util", "utils", "common", "helper", "helpers", "manager", "managers"];

/// Something untidy, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    file: String,
    line: usize,
    rule: &'static str,
    message: String,
}

/// `host/src/policy/retry.rs:12: floors: …`.
impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}: {}", self.file, self.line, self.rule, self.message)
    }
}

fn violation(file: &str, line: usize, rule: &'static str, message: String) -> Violation {
    Violation { file: file.to_owned(), line, rule, message }
}

fn floor(room: &str) -> Option<u8> {
    if room == GROUND {
        return Some(0);
    }
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The path beneath `host/src` without its ending: `policy/retry`.
fn module(file: &str) -> Option<&str> {
    file.strip_prefix("host/src/")?.strip_suffix(".rs")
}

/// A room imports only from floors below its own; rooms of one floor do not know each other. Tests are free.
pub(super) fn floors(file: &str, text: &str) -> Vec<Violation> {
    let Some(module) = module(file).filter(|module| *module != "lib" && !module.ends_with("/tests") && !module.contains("/tests/")) else {
        return Vec::new();
    };
    let own = module.split('/').next().unwrap_or(module);
    let Some(own_floor) = floor(own) else {
        return vec![violation(file, 1, "floors", format!("room {own} has no floor; give it one in ARCHITECTURE.md and in FLOORS"))];
    };
    let depth = module.split('/').count();
    let mut found = Vec::new();
    for path in paths(&Source::new(text).code_without_tests()) {
        let supers = path.parts.iter().take_while(|part| *part == "super").count();
        let room = match path.parts.first().map(String::as_str) {
            Some("crate" | "pipehost") => path.parts.get(1),
            Some("super") if supers >= depth => path.parts.get(supers).filter(|name| floor(name).is_some()),
            _ => None,
        };
        let Some(room) = room.filter(|room| *room != own) else { continue };
        match floor(room) {
            None => found.push(violation(file, path.line, "floors", format!("crate::{room} is no room that has a floor"))),
            Some(floor) if floor >= own_floor => found.push(violation(
                file,
                path.line,
                "floors",
                format!("{own} (floor {own_floor}) imports from {room} (floor {floor}); only floors below its own are open to it"),
            )),
            Some(_) => {}
        }
    }
    found
}

/// Every room that the library declares has a floor, every floor's room is declared and stands in the picture.
pub(super) fn rooms(library_file: &str, library: &str, picture_file: &str, picture: &str) -> Vec<Violation> {
    let declared = declared_modules(&Source::new(library).code);
    let mut found: Vec<Violation> = declared
        .iter()
        .filter(|room| floor(room).is_none())
        .map(|room| violation(library_file, 1, "rooms", format!("room {room} has no floor")))
        .collect();
    for (room, _) in FLOORS.iter().chain(&[(GROUND, 0)]) {
        if *room != "main" && !declared.iter().any(|name| name == room) {
            found.push(violation(library_file, 1, "rooms", format!("room {room} has a floor and does not exist")));
        }
        if !picture.split(|character: char| !character.is_alphanumeric() && character != '_').any(|word| word == *room) {
            found.push(violation(picture_file, 1, "rooms", format!("room {room} is not in the picture")));
        }
    }
    found
}

/// Outside crates, real time and randomness are named only in their homes, in tests too.
pub(super) fn homes(file: &str, text: &str) -> Vec<Violation> {
    let Some(module) = module(file) else { return Vec::new() };
    let mut found = Vec::new();
    for path in paths(&Source::new(text).code) {
        for (name, allowed) in HOMES {
            let named = name.split("::").zip(path.parts.iter()).filter(|(wanted, part)| wanted == part).count() == name.split("::").count();
            let at_home = allowed.iter().any(|home| module == *home || module.strip_prefix(home).is_some_and(|rest| rest.starts_with('/')));
            if named && !at_home {
                found.push(violation(file, path.line, "homes", format!("{name} is named only in {}", allowed.join(", "))));
            }
        }
    }
    found
}

/// No file is longer than one can keep in mind.
pub(super) fn length(file: &str, text: &str) -> Vec<Violation> {
    let longest = if file == "host/src/main.rs" { LONGEST_MAIN } else { LONGEST };
    let lines = text.lines().count();
    if lines <= longest {
        return Vec::new();
    }
    vec![violation(file, longest + 1, "length", format!("{lines} lines, and {longest} are the most; make rooms of it"))]
}

/// `name.rs` beside `name/`, and a name that says what is inside.
pub(super) fn names(file: &str, _text: &str) -> Vec<Violation> {
    let parts = file.strip_suffix(".rs").unwrap_or(file).split('/');
    parts
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| violation(file, 1, "names", format!("{part:?} says nothing of what is inside; name it after that")))
        .collect()
}

/// Every file says in its first line what it is for.
pub(super) fn head(file: &str, text: &str) -> Vec<Violation> {
    if text.starts_with("//! ") {
        return Vec::new();
    }
    vec![violation(file, 1, "head", "the first line is a `//!` sentence that says what the file is for".to_owned())]
}

/// What is not done is not merged.
pub(super) fn leftovers(file: &str, text: &str) -> Vec<Violation> {
    // Put together so that this file does not hold what it looks for.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let macros = [concat!("todo", "!"), concat!("unimplemented", "!")];
    let source = Source::new(text);
    let mut found = Vec::new();
    for (number, (comment, code)) in source.comments.lines().zip(source.code.lines()).enumerate() {
        let in_comment =
            words.iter().filter(|word| comment.split(|character: char| !character.is_alphanumeric()).any(|part| part == **word));
        let in_code = macros.iter().filter(|name| code.contains(**name));
        for what in in_comment.chain(in_code) {
            found.push(violation(file, number + 1, "leftovers", format!("{what}: do it, or file it as an issue")));
        }
    }
    found
}

/// What a module exports is written out.
pub(super) fn globs(file: &str, text: &str) -> Vec<Violation> {
    let code = Source::new(text).code;
    let exported = code.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        line.starts_with("pub") && line.contains(" use ") && line.contains('*')
    });
    exported
        .map(|(number, _)| violation(file, number + 1, "globs", "an export by `*` hides what is exported; write it out".to_owned()))
        .collect()
}

/// The project stands for itself: it names no folder beside it and no machine.
pub(super) fn outside(file: &str, text: &str) -> Vec<Violation> {
    let places = [concat!("../", "shared"), concat!("../", "seeds"), concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for place in places.iter().filter(|place| line.contains(**place)) {
            found.push(violation(file, number + 1, "outside", format!("{place} is not part of the project")));
        }
    }
    found
}

/// Every relative link of a Markdown file leads to something, as `exists` says. Code is not looked at.
pub(super) fn links(file: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !exists(path) {
                found.push(violation(file, number + 1, "links", format!("{path} does not exist")));
            }
        }
    }
    found
}

/// Every code that the host's sources give stands in the guide, and every code of the guide stands in the sources.
pub(super) fn codes(sources: &[(String, String)], guide_file: &str, guide: &str) -> Vec<Violation> {
    let mut given = Vec::new();
    for (file, text) in sources {
        for (number, line) in text.lines().enumerate() {
            given.extend(line.split('"').skip(1).step_by(2).filter(|text| is_code(text)).map(|code| (file, number + 1, code)));
        }
    }
    let listed: Vec<(usize, &str)> = guide
        .lines()
        .enumerate()
        .filter_map(|(number, line)| Some((number + 1, line.strip_prefix("| ")?.split(' ').next().filter(|word| is_code(word))?)))
        .collect();
    let missing = given.iter().filter(|(_, _, code)| !listed.iter().any(|(_, word)| word == code));
    let unknown = listed.iter().filter(|(_, word)| !given.iter().any(|(_, _, code)| code == word));
    missing
        .map(|(file, line, code)| violation(file, *line, "codes", format!("{code} is not listed in {guide_file}")))
        .chain(unknown.map(|(line, code)| violation(guide_file, *line, "codes", format!("the host never gives {code}"))))
        .collect()
}

/// Codes of loading that no file of a case can show, each with the reason. Tests beside the code that gives them have them all.
const SHOWN_ELSEWHERE: [(&str, &str); 15] = [
    ("E0101", "is of a file that is not there"),
    ("E0102", "is of a file that is no text"),
    ("E0103", "is of a file of more than 4 MiB"),
    ("E0113", "is of the command line"),
    ("E0114", "is of a folder"),
    ("W0103", "is of a folder"),
    ("E0115", "is of `pipehost fmt`, which lays no such file out that anybody found"),
    ("E0116", "is of commands that run something"),
    ("E0117", "is a mistake of pipehost's own"),
    ("E0118", "is of a script or document in the place of a pipeline"),
    ("E0220", "is of a reload"),
    ("E0527", "is of a component with code that fails"),
    ("E0528", "is of a component with code that answers wrongly"),
    ("E0541", "is of an executor that is opened"),
    ("E0550", "is a mistake of pipehost's own"),
];

/// Every code of the guide that loading files can give stands in the text of a case, or in the list of those that no file can show.
pub(super) fn golden(guide_file: &str, guide: &str, texts: &[(String, String)]) -> Vec<Violation> {
    let is_of_loading = |code: &str| {
        let number = code.get(1..).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        matches!(number, 101..=599 | 651..=699 | 900..=999)
    };
    let listed = guide.lines().enumerate().filter_map(|(number, line)| {
        let code = line.strip_prefix("| ")?.split(' ').next().filter(|word| is_code(word) && is_of_loading(word))?;
        Some((number + 1, code))
    });
    listed
        .filter(|(_, code)| !SHOWN_ELSEWHERE.iter().any(|(known, _)| known == code))
        .filter(|(_, code)| !texts.iter().any(|(_, text)| text.contains(&format!("[{code}]: "))))
        .map(|(line, code)| violation(guide_file, line, "golden", format!("no case beneath tests/cases has the text of {code}")))
        .collect()
}

fn is_code(text: &str) -> bool {
    text.len() == 5 && text.starts_with(['E', 'W']) && text[1..].starts_with('0') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(violations: Vec<Violation>) -> Vec<usize> {
        violations.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn an_import_from_above_or_from_beside_is_found() {
        let text = "//! x\nuse crate::model::id::RunId;\nuse crate::{model::job::Job, engine::Engine};\nfn f() { crate::bus::x(); }\n";
        assert_eq!(lines(floors("host/src/policy/retry.rs", text)), [3, 4]);
        let shown = floors("host/src/policy/retry.rs", text)[0].to_string();
        assert!(shown.starts_with("host/src/policy/retry.rs:3: floors: policy (floor 2) imports from engine (floor 3)"), "{shown}");
    }

    #[test]
    fn a_way_round_by_super_is_found() {
        assert_eq!(lines(floors("host/src/policy.rs", "use super::engine::Engine;\n")), [1]);
        assert_eq!(lines(floors("host/src/policy/retry.rs", "use super::super::engine::Engine;\nuse super::stack::Stack;\n")), [1]);
    }

    #[test]
    fn one_s_own_room_lower_floors_tests_and_comments_are_free() {
        let text = "//! [`crate::cli`]\nuse crate::policy::stack;\nuse crate::clock::Real;\n#[cfg(test)]\nmod tests {\n    use crate::app::App;\n}\n";
        assert_eq!(floors("host/src/policy/retry.rs", text), []);
    }

    #[test]
    fn a_room_without_a_floor_is_found() {
        assert_eq!(lines(floors("host/src/attic/box.rs", "")), [1]);
        assert_eq!(lines(floors("host/src/policy.rs", "use crate::attic::Box;\n")), [1]);
        let picture: String = FLOORS.iter().map(|(room, _)| format!("{room} ")).collect();
        let library: String = FLOORS.iter().map(|(room, _)| format!("pub mod {room};\n")).collect();
        let found = rooms("lib.rs", &format!("{library}pub mod attic;\n"), "A.md", &picture);
        let shown: Vec<_> = found.iter().map(|violation| violation.message.as_str()).collect();
        let missing = ["room attic has no floor", "room model has a floor and does not exist", "room model is not in the picture"];
        assert_eq!(shown, missing);
    }

    #[test]
    fn a_crate_outside_its_home_is_found() {
        assert_eq!(lines(homes("host/src/executor/rhai.rs", "use wasmtime::Engine;\nuse rhai::AST;\n")), [1]);
        assert_eq!(lines(homes("host/src/bus.rs", "fn f() {\n    std::time::Instant::now();\n}\n")), [2]);
        assert_eq!(lines(homes("host/src/bus.rs", "use std::time::{Duration, SystemTime};\nuse tokio::{sync, time};\n")), [1, 2]);
        assert_eq!(homes("host/src/executor/wasm/engine.rs", "use wasmtime::Engine;\n"), []);
        assert_eq!(homes("host/src/executor/registry.rs", "use super::{rhai::Rhai, wasm::Wasm};\n"), []);
        assert_eq!(lines(homes("host/src/watching.rs", "use notify::Event;\n")), [1]);
    }

    #[test]
    fn a_file_that_is_too_long_is_found() {
        assert_eq!(lines(length("host/src/bus.rs", &"x\n".repeat(601))), [601]);
        assert_eq!(length("host/src/bus.rs", &"x\n".repeat(600)), []);
        assert_eq!(lines(length("host/src/main.rs", &"x\n".repeat(41))), [41]);
    }

    #[test]
    fn an_empty_name_is_found() {
        assert_eq!(lines(names("host/src/bus/mod.rs", "")), [1]);
        assert_eq!(lines(names("host/src/utils/text.rs", "")), [1]);
        assert_eq!(names("host/src/model.rs", ""), []);
    }

    #[test]
    fn a_missing_head_is_found() {
        assert_eq!(lines(head("host/src/bus.rs", "use x;\n")), [1]);
        assert_eq!(head("host/src/bus.rs", "//! The bus.\n"), []);
    }

    #[test]
    fn what_is_left_for_later_is_found() {
        let text = format!(
            "//! x\n// {}: later\nfn f() {{ {}() }}\nlet s = \"{}\";\n",
            concat!("TO", "DO"),
            concat!("todo", "!"),
            concat!("TO", "DO")
        );
        assert_eq!(lines(leftovers("host/src/bus.rs", &text)), [2, 3]);
    }

    #[test]
    fn an_export_by_glob_is_found() {
        assert_eq!(lines(globs("host/src/bus.rs", "use super::x;\npub use inner::*;\npub(crate) use a::{b, c};\n")), [2]);
    }

    #[test]
    fn a_place_outside_is_found() {
        assert_eq!(lines(outside("README.md", concat!("fine\nsee ../", "shared/design\n"))), [2]);
    }

    #[test]
    fn a_code_that_only_one_side_knows_is_found() {
        let sources = [("host/src/plan.rs".to_owned(), "x\n(\"E0101\", \"no file\"), (\"E0102\", \"E0999 within text\")\n".to_owned())];
        let found = codes(&sources, "codes.md", "| code | means |\n| E0101 | no file |\n| W0103 | no more |\n");
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["host/src/plan.rs:2: codes: E0102 is not listed in codes.md", "codes.md:3: codes: the host never gives W0103"]);
    }

    #[test]
    fn a_link_to_nowhere_is_found() {
        let text = "[a](docs/a.md#top) [b](https://x.example)\n[c](gone.md)\n```\n[d](gone.md)\n```\n[e](#here)\n";
        assert_eq!(lines(links("README.md", text, |path| path == "docs/a.md")), [2]);
    }

    #[test]
    fn a_code_of_loading_without_a_case_is_found() {
        let guide = "| E0104 | a |\n| E0203 | b |\n| E0103 | of a large file |\n| E0720 | of a start |\n";
        let texts = [("a.err".to_owned(), "error[E0203]: a step has two verbs\n".to_owned())];
        assert_eq!(lines(golden("guide.md", guide, &texts)), [1]);
    }
}
