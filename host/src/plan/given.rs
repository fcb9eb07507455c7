//! What the command line names: files, and folders of them. A folder stands for the pipeline files that lie directly in it, found anew
//! with each load, so that a new file comes into force and a deleted one leaves.

use std::fs;
use std::path::{Path, PathBuf};

use super::codes;
use super::load::{Environment, Loaded, load};
use super::source::LARGEST_FILE;
use crate::model::diagnostic::{Diagnostic, Place, Severity};
use crate::model::port::Catalog;

/// How the name of a file ends that a folder stands for.
pub const ENDINGS: &[&str] = &["yaml", "yml"];

/// So many files of one folder are taken at most; pipelines are written by people.
const MOST_FILES: usize = 1_000;

/// The keys with one of which a pipeline's file begins.
const MARKS: [&str; 2] = ["pipeline", "library"];

/// The files that are meant.
#[derive(Debug, Default)]
pub struct Given {
    /// In the order in which they were named; those of a folder by name.
    pub files: Vec<PathBuf>,
    /// What is wrong with what was named, and which files of folders were skipped.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether a file lies directly in a named folder and ends as pipeline files do.
pub fn belongs(given: &[PathBuf], file: &Path) -> bool {
    is_candidate(file) && file.parent().is_some_and(|folder| given.iter().any(|given| given == folder))
}

/// Finds the files that are meant. A file that a folder holds and that is named itself as well is taken once.
pub fn find(given: &[PathBuf]) -> Given {
    let mut found = Given::default();
    let mut named: Vec<PathBuf> = Vec::new();
    for path in given {
        let real = real(path);
        if named.contains(&real) {
            let message = format!("{} is named twice", path.display());
            found.diagnostics.push(Diagnostic::error(codes::GIVEN_TWICE, Place::whole(path), message).with_help("name it once"));
            continue;
        }
        named.push(real);
        if path.is_dir() {
            in_folder(path, &mut found);
        } else {
            found.files.push(path.clone());
        }
    }
    let mut seen = Vec::new();
    found.files.retain(|file| {
        let real = real(file);
        let new = !seen.contains(&real);
        seen.push(real);
        new
    });
    found
}

/// What is wrong when something is to be run or shown, and all that is named are libraries.
pub fn libraries_only(given: &[PathBuf]) -> Diagnostic {
    let shown = given.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let message = match given {
        [file] if !file.is_dir() => format!("{shown} is a library, and a library has no flows: there is nothing to run"),
        _ => format!("there are only libraries in {shown}, and a library has no flows: there is nothing to run"),
    };
    let place = Place::whole(given.first().cloned().unwrap_or_default());
    Diagnostic::error(codes::LIBRARIES_ONLY, place, message)
        .with_help("name a pipeline that imports it; `pipehost check` looks at a library by itself")
}

/// Loads what is named: see [`load`] and [`find`].
pub fn load_given(given: &[PathBuf], catalog: &dyn Catalog, environment: &Environment) -> Loaded {
    let found = find(given);
    let mut loaded = load(&found.files, catalog, environment);
    if found.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        loaded.plan = None;
    }
    loaded.diagnostics.splice(0..0, found.diagnostics);
    loaded
}

/// Says of files that were read before and are not there any more that they are gone: how a name is spelt concerns only a start. `goes_on` is whether
/// something is in force meanwhile.
pub fn say_gone(diagnostics: &mut [Diagnostic], read_before: &[PathBuf], goes_on: bool) {
    let whole = diagnostics.iter_mut().filter(|diagnostic| diagnostic.code == codes::UNREADABLE && diagnostic.place.line == 0);
    for diagnostic in whole {
        let file = &diagnostic.place.file;
        if read_before.contains(file) && fs::exists(file).is_ok_and(|exists| !exists) {
            diagnostic.message = format!("{} is gone: it was deleted or moved away", file.display());
            let until_then = if goes_on { "; until then what was loaded from it goes on" } else { "" };
            diagnostic.help = Some(format!("put it back, or stop the host{until_then}"));
        }
    }
}

fn in_folder(folder: &Path, found: &mut Given) {
    let shown = folder.display();
    let mut files: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_candidate(path) && !path.is_dir()).collect(),
        Err(error) => {
            let message = format!("the folder {shown} cannot be read: {error}");
            found.diagnostics.push(Diagnostic::error(codes::UNREADABLE, Place::whole(folder), message).with_help("check who may read it"));
            return;
        }
    };
    files.sort();
    let before = found.files.len();
    for file in files {
        if found.files.len() - before == MOST_FILES {
            let message = format!("the folder {shown} holds more than {MOST_FILES} pipeline files");
            found
                .diagnostics
                .push(Diagnostic::error(codes::TOO_MANY, Place::whole(folder), message).with_help("make several folders of it"));
            return;
        }
        if is_meant(&file) {
            found.files.push(file);
        } else {
            let message = format!("{} is skipped: it has neither `pipeline:` nor `library:`", file.display());
            let help = "a pipeline's file begins with pipeline: NAME; a file that is named itself is never skipped";
            found.diagnostics.push(Diagnostic::warning(codes::SKIPPED, Place::whole(file), message).with_help(help));
        }
    }
    if found.files.len() == before {
        let message = format!("the folder {shown} holds no pipeline");
        let help = "a folder stands for the *.yaml and *.yml directly in it that have a line `pipeline: NAME`; folders within it are not looked into";
        found.diagnostics.push(Diagnostic::error(codes::NO_PIPELINE, Place::whole(folder), message).with_help(help));
    }
}

fn is_candidate(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().first() == Some(&b'.'));
    let ends = path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
    ends && !hidden
}

/// Whether a file of a folder is a pipeline's, by a line that begins with the key: a file with a syntax error shall be told, not skipped.
/// What cannot be read is meant too, so that the loader says why.
fn is_meant(file: &Path) -> bool {
    let small = fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LARGEST_FILE);
    if !small {
        return true;
    }
    let Ok(bytes) = fs::read(file) else { return true };
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    text.lines().any(begins_with_mark)
}

/// Whether a line begins with a key that begins a pipeline's file.
pub(in crate::plan) fn begins_with_mark(line: &str) -> bool {
    // One flow map over the whole file is YAML too.
    let line = line.strip_prefix('{').map_or(line, str::trim_start);
    MARKS.iter().any(|mark| {
        ["", "'", "\""].iter().any(|quote| {
            let rest = line.strip_prefix(quote).and_then(|rest| rest.strip_prefix(mark)).and_then(|rest| rest.strip_prefix(quote));
            rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
        })
    })
}

fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new(files: &[(&str, &str)]) -> Self {
            let bench = Self(tempfile::tempdir().expect("a folder"));
            for (name, text) in files {
                let path = bench.path(name);
                fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
                fs::write(path, text).expect("written");
            }
            bench
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn names(&self, given: &[&str]) -> (Vec<String>, Vec<&'static str>) {
            let found = find(&given.iter().map(|name| self.path(name)).collect::<Vec<_>>());
            let name = |file: &PathBuf| file.strip_prefix(self.0.path()).expect("it lies in the bench").display().to_string();
            (found.files.iter().map(name).collect(), found.diagnostics.iter().map(|diagnostic| diagnostic.code).collect())
        }
    }

    #[test]
    fn a_folder_is_its_pipeline_files_by_name_and_nothing_beneath_it() {
        let bench = Bench::new(&[
            ("all/b.yml", "pipeline: b\n"),
            ("all/a.yaml", "# first\n\"library\" : a\n"),
            ("all/broken.yaml", "steps: [\npipeline: broken\n"),
            ("all/compose.yaml", "services:\n  pipeline: x\n"),
            ("all/.hidden.yaml", "pipeline: hidden\n"),
            ("all/notes.md", "pipeline: notes\n"),
            ("all/within/c.yaml", "pipeline: c\n"),
        ]);
        let files = ["all/a.yaml", "all/b.yml", "all/broken.yaml"].map(str::to_owned).to_vec();
        assert_eq!(bench.names(&["all"]), (files, vec![codes::SKIPPED]));
        assert!(belongs(&[bench.path("all")], &bench.path("all/new.yaml")));
        assert!(!belongs(&[bench.path("all")], &bench.path("all/within/c.yaml")));
    }

    #[test]
    fn what_is_named_twice_is_a_mistake_and_what_a_folder_holds_as_well_is_none() {
        let bench = Bench::new(&[("all/a.yaml", "pipeline: a\n"), ("all/b.yaml", "pipeline: b\n")]);
        assert_eq!(bench.names(&["all/b.yaml", "all"]).0, ["all/b.yaml", "all/a.yaml"]);
        assert_eq!(bench.names(&["all/a.yaml", "all/../all/a.yaml"]).1, [codes::GIVEN_TWICE]);
        assert_eq!(bench.names(&["all", "all/"]).1, [codes::GIVEN_TWICE]);
    }

    #[test]
    fn a_folder_without_a_pipeline_is_a_mistake() {
        let bench = Bench::new(&[("empty/notes.md", ""), ("other/compose.yaml", "services: {}\n")]);
        assert_eq!(bench.names(&["empty"]), (Vec::new(), vec![codes::NO_PIPELINE]));
        assert_eq!(bench.names(&["other"]), (Vec::new(), vec![codes::SKIPPED, codes::NO_PIPELINE]));
    }
}
