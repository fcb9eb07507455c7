//! Pipeline files with the exact text that `pipehost check` prints for them: one case for each kind of mistake.
//!
//! `PIPEHOST_UPDATE=1 cargo test --test it cases` writes the texts anew; read each of them as a user would.

mod mutated;
mod required;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use pipehost::cli::diagnostics;
use pipehost::clock::RealClock;
use pipehost::executor::registry::{Registry, RegistrySettings};
use pipehost::plan::{self, Environment, Loaded};
use pipehost::telemetry::Telemetry;

/// The executors that there are: those with which `pipehost check` loads.
fn catalog() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let settings = RegistrySettings {
            data: Path::new(env!("CARGO_TARGET_TMPDIR")).join("cases"),
            secrets: Arc::new(|_| None),
            clock: Arc::new(RealClock::new()),
            sink: Arc::new(Telemetry::new()),
        };
        Registry::new(settings).expect("the homes can be made ready")
    })
}

/// Loads files with the environment of the cases.
pub(crate) fn load(files: &[PathBuf]) -> Loaded {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let environment = Environment { variables: pairs(&[("REGION", "north")]), secrets: pairs(&[("API_TOKEN", "hunter2")]) };
    plan::load(files, catalog(), &environment)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases")
}

fn names(folder: &Path, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder of cases is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .filter_map(|name| name.strip_suffix(ending).map(str::to_owned))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "there are no cases in {}", folder.display());
    names
}

/// What is printed, with the folder of the cases taken away from file names.
fn printed(loaded: &Loaded, folder: &Path) -> String {
    let text = diagnostics::text(&loaded.diagnostics, &loaded.sources, false);
    text.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), "FOLDER")
}

/// The components of cases are made of the texts beside them; each is committed, and compared here.
fn components(folder: &Path, update: bool) {
    for name in names(folder, ".wat") {
        let binary = wat::parse_file(folder.join(format!("{name}.wat"))).expect("the text is right");
        let file = folder.join(format!("{name}.wasm"));
        if update {
            std::fs::write(&file, &binary).expect("the component can be written");
        }
        assert_eq!(std::fs::read(&file).expect("it is committed"), binary, "{name}");
    }
}

#[test]
fn every_mistake_is_told_as_it_is_written_beside_its_case() {
    let folder = root().join("invalid");
    let update = std::env::var_os("PIPEHOST_UPDATE").is_some();
    components(&folder.join("parts"), update);
    let mut wrong = String::new();
    for name in names(&folder, ".yaml") {
        let loaded = load(&[folder.join(format!("{name}.yaml"))]);
        let text = printed(&loaded, &folder);
        let file = folder.join(format!("{name}.err"));
        if update {
            std::fs::write(&file, &text).expect("the text can be written");
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if text != expected {
            let _ = writeln!(wrong, "--- {name}: expected\n{expected}--- {name}: printed\n{text}");
        }
        for without in loaded.diagnostics.iter().filter(|found| found.help.is_none()) {
            let _ = writeln!(wrong, "--- {name}: there is no way out of {}: {}", without.code, without.message);
        }
        let warning_only = name.starts_with("warning_");
        if loaded.plan.is_some() != warning_only || loaded.diagnostics.is_empty() {
            let _ = writeln!(wrong, "--- {name}: a plan must come of it exactly if there are warnings only, and something must be said");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn good_files_load_without_a_word() {
    let folder = root().join("valid");
    for name in names(&folder, ".yaml") {
        let loaded = load(&[folder.join(format!("{name}.yaml"))]);
        assert_eq!(printed(&loaded, &folder), "", "{name}");
        assert!(loaded.plan.is_some(), "{name} gives a plan");
    }
}

#[test]
fn what_only_several_files_together_show_is_told() {
    let root = root().join("together");
    let update = std::env::var_os("PIPEHOST_UPDATE").is_some();
    let mut wrong = String::new();
    for entry in std::fs::read_dir(&root).expect("the folder of cases is there") {
        let folder = entry.expect("it can be listed").path();
        let files: Vec<PathBuf> = names(&folder, ".yaml").iter().map(|name| folder.join(format!("{name}.yaml"))).collect();
        let text = printed(&load(&files), &folder);
        let file = folder.join("all.err");
        if update {
            std::fs::write(&file, &text).expect("the text can be written");
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if text != expected || text.is_empty() {
            let _ = writeln!(wrong, "--- {}: expected\n{expected}--- printed\n{text}", folder.display());
        }
        for file in &files {
            let alone = load(std::slice::from_ref(file));
            let codes: Vec<_> =
                alone.diagnostics.iter().map(|diagnostic| diagnostic.code).filter(|code| !["E0212", "E0221"].contains(code)).collect();
            assert!(codes.is_empty(), "{} alone: {codes:?}", file.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_library_is_part_of_the_revision_and_its_policies_share_their_state() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path
    };
    let shared = |timeout: &str| {
        let text = format!("library: shared\npolicies: {{ api: {{ timeout: {timeout}, bulkhead: {{ max_concurrent: 1 }} }} }}\n");
        write("shared.yaml", &text)
    };
    let pipeline = |name: &str| {
        let text = format!(
            "pipeline: {name}\nimport: [shared.yaml]\ntrigger: manual\nsteps: [{{ run: log, with: {{ message: a }}, policy: api }}]\n"
        );
        write(&format!("{name}.yaml"), &text)
    };
    let library = shared("1s");
    let files = [pipeline("a"), pipeline("b")];
    let before = load(&files);
    let plan = before.plan.expect("it is right");
    let identities: Vec<_> = plan.pipelines.values().map(|pipeline| pipeline.policies()).collect();
    assert_eq!(identities[0], identities[1], "both have the state of the library's policy");
    assert!(format!("{:?}", identities[0]).contains("shared"), "{identities:?}");
    assert!(before.files.contains(&library), "a change of the library is noticed: {:?}", before.files);
    shared("2s");
    let after = load(&files).plan.expect("it is right");
    assert_eq!(plan::diff(&plan, &after).changed.len(), 2);
}

#[test]
fn files_that_cannot_be_read_are_named_with_the_way_out() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        path
    };
    let files = [
        folder.path().join("missing.yaml"),
        folder.path().to_owned(),
        file("latin1.yaml", b"pipeline: caf\xe9\n"),
        file("large.yaml", &vec![b'#'; (4 << 20) + 1]),
        file("empty.yaml", b""),
        file("nulls.yaml", b"pipeline: \0\0"),
    ];
    let loaded = load(&files);
    let codes: Vec<_> = loaded.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    for code in ["E0101", "E0102", "E0103", "E0108"] {
        assert!(codes.contains(&code), "{code} is not among {codes:?}");
    }
    assert!(loaded.plan.is_none());
    assert_eq!(loaded.files.len(), files.len(), "all files are watched, also those that are broken");
    for diagnostic in loaded.diagnostics.iter().filter(|diagnostic| diagnostic.code < "E0104") {
        assert!(diagnostic.help.is_some(), "{} has no way out", diagnostic.message);
    }
}

#[test]
fn two_files_of_one_pipeline_are_refused_and_events_are_known_across_files() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path
    };
    let one = write(
        "one.yaml",
        "pipeline: a\nbus: { scope: global }\nevents: { Placed: { order: string } }\ntrigger: manual\nsteps: [{ emit: { Placed: { order: x } } }]\n",
    );
    let same = write("same.yaml", "pipeline: a\ntrigger: manual\nsteps: [{ run: log, with: { message: a } }]\n");
    let other = write("other.yaml", "pipeline: b\ntrigger: { event: Placed }\nsteps: [{ run: log, with: { message: '${input.ordr}' } }]\n");
    let codes = |files: &[PathBuf]| load(files).diagnostics.iter().map(|diagnostic| diagnostic.code).collect::<Vec<_>>();
    assert_eq!(codes(&[one.clone(), same]), ["E0219"]);
    assert_eq!(codes(std::slice::from_ref(&other)), [""; 0], "an event that nobody declares may have any data");
    assert_eq!(codes(&[one, other]).len(), 1, "a declared one has no field `ordr`");
}

#[test]
fn comments_and_layout_are_no_change_and_values_are() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let revision = |text: &str| {
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, text).expect("it can be written");
        let loaded = load(&[path]);
        loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
    };
    let plain = revision("pipeline: a\ntrigger: manual\nsteps:\n  - run: log\n    with: { message: hi, level: info }\n");
    let moved = revision("# why\nsteps: [{ with: { level: 'info', message: \"hi\" }, run: log }]\n\ntrigger: manual\npipeline: a\n");
    let other = revision("pipeline: a\ntrigger: manual\nsteps:\n  - run: log\n    with: { message: ho, level: info }\n");
    assert_eq!(plan::diff(&plain, &moved).unchanged.len(), 1);
    assert_eq!(plan::diff(&plain, &other).changed.len(), 1);
    let gone = plan::diff(&plain, &plan::pipeline::Plan::default());
    assert_eq!((gone.removed.len(), gone.changed.len()), (1, 0));
}

#[test]
fn secrets_never_stand_in_what_is_printed() {
    for (name, loaded) in names(&root().join("invalid"), ".yaml").into_iter().map(|name| {
        let loaded = load(&[root().join("invalid").join(format!("{name}.yaml"))]);
        (name, loaded)
    }) {
        let shown = format!("{:?}{}", loaded.plan, diagnostics::json(&loaded.diagnostics, &loaded.sources, false));
        assert!(!shown.contains("hunter2"), "{name} shows a secret");
    }
}
