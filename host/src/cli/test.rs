//! `pipehost test`: runs the tests that stand in pipeline files, and says what came of them.

mod junit;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::arguments::{Test, TestFormat, TestStore};
use super::check::many;
use super::exit::{Exit, after_writing, not_started, say};
use super::style::Style;
use super::words::duration;
use super::{diagnostics, environment};
use crate::model::diagnostic::Diagnostic;
use crate::testing::{self, Coverage, FileReport, Report, Settings, StoreKind, TestReport};

/// How much real time a test may take: each takes milliseconds, and one that runs executors for real, seconds.
const WATCHDOG: Duration = Duration::from_secs(30);

/// The folder that is looked in where none is named.
const FOLDER: &str = "pipelines";

/// Runs the tests and tells on standard output what came of them.
pub(super) fn test(arguments: &Test) -> Exit {
    let paths = match arguments.paths.as_slice() {
        [] if Path::new(FOLDER).is_dir() => vec![PathBuf::from(FOLDER)],
        [] => vec![PathBuf::from(".")],
        paths => paths.to_vec(),
    };
    let files = match testing::files_of(&paths) {
        Ok(files) => files,
        Err(failure) => {
            say(&format!("error: {}\n", failure.message));
            return Exit::Usage;
        }
    };
    let run = environment::read(None).and_then(|environment| {
        testing::run(&Settings {
            files,
            filter: arguments.filter.clone(),
            environment,
            data: arguments.data.clone(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            watchdog: WATCHDOG,
            store: match arguments.store {
                TestStore::Memory => StoreKind::Memory,
                TestStore::Sqlite => StoreKind::Sqlite,
            },
        })
    });
    let report = match run {
        Ok(report) => report,
        Err(failure) => return not_started(&failure),
    };
    let found = report.files.iter().map(|file| file.tests.len()).sum::<usize>();
    let nothing_fits = arguments.filter.is_some() && found == 0 && report.files.iter().all(FileReport::passed);
    let exit = if report.files.iter().all(FileReport::passed) && !nothing_fits { Exit::Good } else { Exit::Failed };
    let style = Style::of(&io::stdout());
    let shown = match arguments.format {
        TestFormat::Text if nothing_fits => String::new(),
        TestFormat::Text => text(&report, style, arguments),
        TestFormat::Json => lines(&report),
        TestFormat::Junit => match junit::document(&report) {
            Ok(document) => document,
            Err(failure) => return not_started(&failure),
        },
    };
    let mut out = io::stdout().lock();
    let written = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
    if let Some(filter) = arguments.filter.as_ref().filter(|_| nothing_fits) {
        say(&format!("no test has a name that holds {filter:?}\n"));
    }
    match if arguments.update { update(&report) } else { Ok(()) } {
        Ok(()) => after_writing(written, exit),
        Err(failure) => not_started(&failure),
    }
}

/// One line a test, then the mistakes of each file, then the sum. Of files in which a filter chose nothing, only their mistakes are told.
fn text(report: &Report, style: Style, arguments: &Test) -> String {
    let mut shown = String::new();
    let is_chosen = |file: &&FileReport| arguments.filter.is_none() || !file.tests.is_empty() || !mistakes(file).is_empty();
    for file in report.files.iter().filter(is_chosen) {
        let _ = writeln!(shown, "{}", style.bold(&file.file.display().to_string()));
        for test in &file.tests {
            let mark = if test.passed() { style.green("✓") } else { style.red("✗") };
            let _ = writeln!(shown, "  {mark} {} {}", test.name, style.dim(&format!("({})", duration(test.elapsed))));
        }
        if file.pipeline.is_some() && file.tests.is_empty() {
            let _ = writeln!(shown, "  {}", style.dim("no tests"));
        }
        if let Some(coverage) = &file.coverage {
            let Coverage { steps, branches, missed } = coverage;
            let line = format!("  steps {}/{}, branches {}/{}", steps.taken, steps.all, branches.taken, branches.all);
            let _ = writeln!(shown, "{}", style.dim(&line));
            for missed in missed.iter().filter(|_| arguments.coverage) {
                let _ = writeln!(shown, "    {}: {}", diagnostics::place(&missed.place), missed.what);
            }
        }
        shown.push('\n');
        let mistakes = mistakes(file);
        if !mistakes.is_empty() {
            shown.push_str(&diagnostics::text(&mistakes, &report.sources, style.is_coloured()));
            shown.push('\n');
        }
    }
    let tests = || report.files.iter().flat_map(|file| &file.tests);
    let passed = tests().filter(|test| test.passed()).count();
    let failed = tests().count() - passed;
    let broken = report.files.iter().filter(|file| file.pipeline.is_none()).count();
    let mut sum = vec![format!("{} passed", many(passed, "test"))];
    if failed > 0 {
        sum.push(style.red(&format!("{failed} failed")));
    }
    if broken > 0 {
        sum.push(style.red(&format!("{} could not be loaded", many(broken, "file"))));
    }
    let _ = writeln!(shown, "{}", sum.join(", "));
    shown
}

/// What is wrong with a file, and with each of its tests.
fn mistakes(file: &FileReport) -> Vec<Diagnostic> {
    let mut mistakes = file.diagnostics.clone();
    for mistake in file.tests.iter().flat_map(|test| &test.mistakes) {
        // A file that cannot be loaded in the surroundings of its tests says so once.
        if !mistakes.contains(mistake) {
            mistakes.push(mistake.clone());
        }
    }
    mistakes
}

/// One JSON object a line: one for each test, then one for its file.
fn lines(report: &Report) -> String {
    let mut shown = String::new();
    let listed = |mistakes: &[Diagnostic]| -> serde_json::Value {
        serde_json::from_str(&diagnostics::json(mistakes, &report.sources, false)).unwrap_or_default()
    };
    for file in &report.files {
        let name = file.file.to_string_lossy();
        for test in &file.tests {
            let line = json!({
                "file": name,
                "line": test.place.line,
                "pipeline": file.pipeline,
                "test": test.name,
                "passed": test.passed(),
                "virtual_milliseconds": milliseconds(test.elapsed),
                "milliseconds": milliseconds(test.took),
                "mistakes": listed(&test.mistakes),
            });
            let _ = writeln!(shown, "{line}");
        }
        let coverage = file.coverage.as_ref().map(|coverage| {
            let missed =
                |missed: &testing::Missed| json!({ "line": missed.place.line, "column": missed.place.column, "what": missed.what });
            json!({
                "steps": { "taken": coverage.steps.taken, "all": coverage.steps.all },
                "branches": { "taken": coverage.branches.taken, "all": coverage.branches.all },
                "missed": coverage.missed.iter().map(missed).collect::<Vec<_>>(),
            })
        });
        let tests = file.tests.len();
        let passed = file.tests.iter().filter(|test| test.passed()).count();
        let line = json!({
            "file": name,
            "pipeline": file.pipeline,
            "tests": tests,
            "passed": passed,
            "failed": tests - passed,
            "mistakes": listed(&file.diagnostics),
            "coverage": coverage,
        });
        let _ = writeln!(shown, "{line}");
    }
    shown
}

fn update(report: &Report) -> Result<(), crate::model::failure::Failure> {
    let updated = testing::update(report)?;
    for file in &updated {
        say(&format!("{}: {} written anew\n", file.file.display(), many(file.written, "expectation")));
        for place in &file.left {
            say(&format!("{}: left as it is: it cannot be written without touching more than this value\n", diagnostics::place(place)));
        }
    }
    if updated.is_empty() {
        say("every expectation is met: nothing is written\n");
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// What is said of a test that failed, without colours.
fn story(test: &TestReport, report: &Report) -> String {
    diagnostics::text(&test.mistakes, &report.sources, false)
}
