//! What a reload says of files that change, break and go while others stay as they are.

use std::fs;
use std::path::Path;

use super::*;
use crate::clock::{Activity, VirtualClock};
use crate::executor::registry::RegistrySettings;
use crate::model::fixture::Deaf;
use crate::model::time::Timestamp;

const PIPELINE: &str = "pipeline: NAME\ntrigger: manual\nsteps: [{ reply: yes }]\n";

/// Whatever is put in force, nobody runs it.
struct Nobody;

impl Install for Nobody {
    fn install(&self, _: Vec<Arc<Bound>>) {}
}

struct Bench {
    folder: tempfile::TempDir,
    reload: Reload,
}

impl Bench {
    /// Follows these of the folder's files and folders, which the others are not.
    fn new(given: &[&str], files: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(Activity::new()));
        let secrets: crate::executor::registry::SecretSource = Arc::new(|_| None);
        let data = folder.path().join("data");
        let settings = RegistrySettings { data, secrets, clock: Arc::clone(&clock), sink: Arc::new(Deaf) };
        let given = given.iter().map(|name| folder.path().join(name)).collect();
        let parts = Parts {
            registry: Arc::new(Registry::new(settings).expect("the homes are there")),
            engine: Arc::new(Nobody),
            sink: Arc::new(Deaf),
            clock,
            environment: Arc::default(),
            files: given,
        };
        let bench = Self { folder, reload: Reload::new(parts) };
        files.iter().for_each(|name| bench.write(name, &PIPELINE.replace("NAME", stem(name))));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// What comes of the start, or of a change of these files.
    async fn take(&mut self, changed: &[&str]) -> (Outcome, Vec<Diagnostic>) {
        let files: Vec<PathBuf> = changed.iter().map(|name| self.path(name)).collect();
        let at = Timestamp::EPOCH;
        let change = (!files.is_empty()).then_some(Change { files, last_write: at, quiet_at: at, assumed: false });
        let report = self.reload.attempt(change.as_ref()).await;
        (report.outcome, report.diagnostics)
    }
}

fn stem(name: &str) -> &str {
    Path::new(name).file_stem().and_then(|stem| stem.to_str()).expect("it has a name")
}

#[tokio::test]
async fn a_file_that_goes_while_others_run_is_told_as_gone_and_at_a_start_as_a_name_that_leads_nowhere() {
    let mut bench = Bench::new(&["a.yaml", "b.yaml"], &["a.yaml", "b.yaml"]);
    assert!(matches!(bench.take(&[]).await.0, Outcome::Swapped { .. }));
    fs::rename(bench.path("b.yaml"), bench.path("c.yaml")).expect("moved away");
    let (outcome, told) = bench.take(&["b.yaml"]).await;
    assert_eq!((outcome, told.len()), (Outcome::Refused, 1));
    assert_eq!(told[0].message, format!("{} is gone: it was deleted or moved away", bench.path("b.yaml").display()));
    assert_eq!(told[0].help.as_deref(), Some("put it back, or stop the host; until then what was loaded from it goes on"));
    fs::rename(bench.path("c.yaml"), bench.path("b.yaml")).expect("put back");
    assert_eq!(bench.take(&["b.yaml"]).await, (Outcome::Unchanged, Vec::new()));

    let (outcome, told) = Bench::new(&["d.yaml"], &[]).take(&[]).await;
    assert_eq!(outcome, Outcome::Refused);
    assert!(told[0].message.starts_with("there is no file"), "{}", told[0].message);
}

#[tokio::test]
async fn a_file_that_goes_before_anything_is_in_force_is_told_as_gone_and_nothing_goes_on() {
    let mut bench = Bench::new(&["a.yaml"], &[]);
    bench.write("a.yaml", "pipeline: a\n");
    assert_eq!(bench.take(&[]).await.0, Outcome::Refused);
    fs::remove_file(bench.path("a.yaml")).expect("removed");
    let told = bench.take(&["a.yaml"]).await.1;
    assert_eq!(told[0].help.as_deref(), Some("put it back, or stop the host"));
}

#[tokio::test]
async fn a_wrong_config_that_comes_from_outside_names_the_variable_and_the_secret() {
    let pipeline = "pipeline: a\nenv: [URL]\ntrigger: manual\nexecutors: { ask: { builtin: llm.chat, config: { base_url: '${env.URL ?? null}', \
                    api_key: '${secret.KEY ?? null}' } } }\nsteps: [{ run: ask, with: { question: hi } }]\n";
    let told = async |url: &str| {
        let mut bench = Bench::new(&["a.yaml"], &[]);
        bench.write("a.yaml", pipeline);
        let pair = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into_iter().collect();
        bench.reload.parts.environment = Arc::new(Environment { variables: pair("URL", url), secrets: pair("KEY", "hunter\u{1}2") });
        let mistake = bench.take(&[]).await.1.remove(0);
        assert!(!mistake.message.contains("hunter"), "{mistake:?}");
        (mistake.message, mistake.help.unwrap_or_default())
    };
    let (message, help) = told("localhost:11434").await;
    assert_eq!(message, "the config of llm.chat is wrong: base_url is no web address; it comes from the environment variable URL");
    assert_eq!(help, "write it with scheme and path, as http://localhost:11434/v1; set the environment variable URL anew and start again");
    let (message, help) = told("http://localhost:1/v1").await;
    assert_eq!(message, "the config of llm.chat is wrong: api_key holds characters that no header can hold; it comes from the secret KEY");
    assert_eq!(help, "check the secret for line breaks; set the secret KEY anew and start again");
}

#[tokio::test]
async fn a_warning_is_told_once_until_its_file_changes_whatever_becomes_of_the_others() {
    let mut bench = Bench::new(&["all"], &["all/a.yaml"]);
    bench.write("all/compose.yaml", "services: {}\n");
    let codes = |told: Vec<Diagnostic>| told.iter().map(|diagnostic| diagnostic.code).collect::<Vec<_>>();
    assert_eq!(codes(bench.take(&[]).await.1), ["W0103"]);
    bench.write("all/b.yaml", "pipeline: b\n");
    let (outcome, told) = bench.take(&["all/b.yaml"]).await;
    assert_eq!(outcome, Outcome::Refused);
    assert!(told.iter().all(|diagnostic| diagnostic.severity == Severity::Error), "{told:?}");
    let again = bench.take(&["all/b.yaml"]).await.1;
    assert_eq!(again, told, "a mistake stands in the way each time");
    fs::remove_file(bench.path("all/b.yaml")).expect("removed");
    bench.write("all/other.yaml", "more: {}\n");
    let told = bench.take(&["all/b.yaml", "all/other.yaml"]).await.1;
    assert_eq!(told.iter().map(|warning| &warning.place.file).collect::<Vec<_>>(), [&bench.path("all/other.yaml")]);
    bench.write("all/compose.yaml", "services: { one: {} }\n");
    assert_eq!(codes(bench.take(&["all/compose.yaml"]).await.1), ["W0103"]);
}
