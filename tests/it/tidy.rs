//! Keeps the house in order: floors, single homes, names, sizes, links. Each rule is a pure function over text in `rules`, and each
//! is shown a planted violation there, so that it is known to be able to fail.

use std::fs;
use std::path::{Path, PathBuf};

mod rules;
mod source;

use rules::Violation;

/// The workspace's own folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

/// Folders that no one of us wrote.
const NOT_OURS: [&str; 5] = ["target", "target-plugin", ".git", ".pipehost", "node_modules"];

/// Every file beneath `folder` with one of these endings, as its path from the root with `/`, and its text; in a fixed order.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !NOT_OURS.contains(&name.as_str()) && !path.is_symlink() {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let shown = path.strip_prefix(&root).expect("it lies beneath the root").to_string_lossy().replace('\\', "/");
                found.push((shown, fs::read_to_string(&path).expect("sources are UTF-8")));
            }
        }
    }
    found.sort();
    found
}

/// Everything in Rust that is ours: host, SDK, guests, tests, benches.
fn rust_files() -> Vec<(String, String)> {
    files(".", &[".rs"])
}

fn host_files() -> Vec<(String, String)> {
    let files = files("host/src", &[".rs"]);
    assert!(files.len() > 20, "the host's sources were not found: {} files", files.len());
    files
}

fn fail_on(violations: &[Violation]) {
    let shown: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(shown.is_empty(), "{} untidy places:\n{}", shown.len(), shown.join("\n"));
}

fn check(files: &[(String, String)], rule: impl Fn(&str, &str) -> Vec<Violation>) {
    let violations: Vec<Violation> = files.iter().flat_map(|(file, text)| rule(file, text)).collect();
    fail_on(&violations);
}

#[test]
fn rooms_import_only_from_floors_below() {
    check(&host_files(), rules::floors);
}

#[test]
fn every_room_has_a_floor_and_every_floor_stands_in_the_picture() {
    let library = fs::read_to_string(root().join("host/src/lib.rs")).expect("the library has a root");
    let picture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("there is a picture");
    fail_on(&rules::rooms("host/src/lib.rs", &library, "ARCHITECTURE.md", &picture));
}

#[test]
fn each_outside_crate_is_named_only_in_its_home() {
    check(&host_files(), rules::homes);
}

#[test]
fn no_file_is_too_long() {
    check(&rust_files(), rules::length);
}

#[test]
fn modules_have_telling_names() {
    check(&rust_files(), rules::names);
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    check(&rust_files(), rules::head);
}

#[test]
fn nothing_is_left_for_later() {
    check(&rust_files(), rules::leftovers);
}

#[test]
fn nothing_is_exported_by_a_glob() {
    check(&host_files(), rules::globs);
}

#[test]
fn no_file_names_a_place_outside_the_project() {
    check(&files(".", &[".rs", ".md", ".yaml", ".yml", ".rhai", ".toml", ".wit", "run"]), rules::outside);
}

#[test]
fn every_relative_link_leads_somewhere() {
    let root = root();
    let documents = files(".", &[".md"]);
    assert!(documents.iter().any(|(file, _)| file == "README.md"), "the README was not found");
    check(&documents, |file, text| {
        let folder = root.join(file).parent().map(Path::to_owned).unwrap_or_default();
        rules::links(file, text, |link| folder.join(link).exists())
    });
}

#[test]
fn the_guide_lists_the_codes_that_the_host_gives() {
    let guide = "pipelines/docs/21-error-codes.md";
    let listed = fs::read_to_string(root().join(guide)).expect("the guide lists the codes");
    let sources: Vec<_> = host_files().into_iter().filter(|(file, _)| !file.contains("/tests")).collect();
    fail_on(&rules::codes(&sources, guide, &listed));
}

#[test]
fn every_code_of_loading_has_a_case_of_its_exact_text() {
    let guide = "pipelines/docs/21-error-codes.md";
    let listed = fs::read_to_string(root().join(guide)).expect("the guide lists the codes");
    fail_on(&rules::golden(guide, &listed, &files("tests/cases", &[".err"])));
}
