//! Bundles of a pipeline with everything in it, made again while its files are edited, broken and gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::clock::{Activity, VirtualClock};
use crate::executor::registry::RegistrySettings;
use crate::model::fixture::{self, Deaf};
use crate::model::job::Job;
use crate::model::port::Clock;
use crate::model::value::Value;
use crate::plan::{Loaded, load};

/// A pipeline with a library in another folder, a script that imports another one, a component, a database and a folder.
const YAML: &str = "pipeline: order
description: Takes orders
import: [shared/lib.yaml]
env: [PLACE]
resources: { main: { sqlite: orders.db }, inbox: { folder: inbox } }
events: { Wanted: { id: string } }
executors:
  keep: { rhai: scripts/keep.rhai, grants: { sql: [main], files: [inbox] } }
  echo: { wasm: echo.wasm }
  talk: { script: 'fn process(job) { config.place }', config: { place: '${env.PLACE ?? \"here\"}' } }
trigger: [manual, { event: Asked }]
steps:
  - run: keep
    with: { n: 20 }
    policy: api
  - run: twice
  - run: echo
    with: { do: echo, value: 1 }
  - run: talk
  - call: other.main
";

struct Bench {
    folder: tempfile::TempDir,
    registry: Arc<Registry>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(Activity::new()));
        let data = folder.path().join("data");
        let secrets: crate::executor::registry::SecretSource = Arc::new(|_| None);
        let registry = Registry::new(RegistrySettings { data, secrets, clock, sink: Arc::new(Deaf) }).expect("the homes are there");
        let bench = Self { folder, registry: Arc::new(registry) };
        bench.write("order.yaml", YAML);
        bench.write("other.yaml", "pipeline: other\nevents: { Asked: { id: string } }\nbus: { exports: [Asked] }\ntrigger: manual\nsteps: [{ run: log, with: { message: hi } }, { emit: { Asked: { id: x } } }]\n");
        let library =
            "library: shared\nimport: [./deeper.yaml]\npolicies: { api: { timeout: 5s } }\nexecutors: { twice: { rhai: twice.rhai } }\n";
        bench.write("shared/lib.yaml", library);
        bench.write("shared/deeper.yaml", "library: deeper\npolicies: { unused: { timeout: 5s } }\n");
        bench.write("shared/twice.rhai", "fn process(job) { 2 }");
        bench.write("scripts/keep.rhai", "import \"parts\" as parts;\nfn process(job) { parts::more(job.input.n) }");
        bench.write("scripts/parts.rhai", "fn more(n) { n + 1 }");
        let component = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/conformance/conformance.wasm");
        fs::copy(component, bench.path("echo.wasm")).expect("it is committed");
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

    fn load(&self, files: &[&str], variables: &[(&str, &str)]) -> Loaded {
        let files: Vec<PathBuf> = files.iter().map(|name| self.path(name)).collect();
        load(&files, &*self.registry, &environment(variables))
    }

    fn pipeline(&self) -> Arc<Pipeline> {
        let loaded = self.load(&["order.yaml", "other.yaml"], &[]);
        let plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        Arc::clone(&plan.pipelines["order"])
    }

    async fn rebuild(&self, bundle: &Arc<Bundle>) -> Result<Arc<Bound>, Failure> {
        Rebuilder::new(Arc::clone(&self.registry), Arc::new(environment(&[]))).rebuild(Arc::clone(bundle)).await
    }

    /// What an executor of it gives.
    async fn run(bound: &Bound, name: &str, input: &str) -> String {
        let number = bound.pipeline.executors.iter().position(|declared| declared.reference.name.as_str() == name).expect("it is used");
        let input = Value::from_text(input).expect("JSON");
        let job = Job { pipeline: "order".into(), executor: name.into(), ..fixture::job(input) };
        bound.executors[number]
            .process(Arc::new(job), fixture::attempt())
            .await
            .map_or_else(|failure| failure.into_particulars().message, |value| value.text().to_owned())
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Environment { variables, secrets: BTreeMap::new() }
}

fn names(bundle: &Bundle, folder: &Path) -> Vec<String> {
    let name = |path: &PathBuf| path.strip_prefix(folder).expect("it lies there").display().to_string();
    bundle.files.iter().map(|(path, _)| name(path)).collect()
}

#[test]
fn a_bundle_has_every_file_of_the_pipeline_once_and_nothing_of_the_environment() {
    let bench = Bench::new();
    let loaded = bench.load(&["order.yaml", "other.yaml"], &[("PLACE", "hunter2")]);
    let plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let bundle = &plan.pipelines["order"].bundle;
    let all = [
        "order.yaml",
        "shared/deeper.yaml",
        "shared/lib.yaml",
        "scripts/keep.rhai",
        "scripts/parts.rhai",
        "echo.wasm",
        "shared/twice.rhai",
    ];
    assert_eq!(names(bundle, bench.folder.path()), all);
    assert_eq!((bundle.file.clone(), bundle.revision), (bench.path("order.yaml"), plan.pipelines["order"].revision));
    assert!(bundle.files.iter().all(|(_, content)| !String::from_utf8_lossy(content).contains("hunter2")));
    assert_eq!(bundle.revision, bench.pipeline().revision, "the environment is no part of the revision");
}

#[tokio::test]
async fn a_pipeline_is_made_again_when_its_files_are_edited_broken_or_gone() {
    let bench = Bench::new();
    let pipeline = bench.pipeline();
    bench.write("scripts/parts.rhai", "fn more(n) { n + 100 }");
    bench.write("shared/lib.yaml", "library: shared\n");
    bench.write("order.yaml", "pipeline: order\nsteps: [");
    fs::remove_file(bench.path("echo.wasm")).expect("it was there");
    for gone in [false, true] {
        if gone {
            ["scripts", "shared"].iter().for_each(|folder| fs::remove_dir_all(bench.path(folder)).expect("they were there"));
            fs::remove_file(bench.path("order.yaml")).expect("it was there");
        }
        let bound = bench.rebuild(&pipeline.bundle).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!((bound.pipeline.revision, &bound.pipeline.bundle), (pipeline.revision, &pipeline.bundle));
        assert_eq!(bound.pipeline.resources, pipeline.resources, "data are where they were");
        assert_eq!(bound.pipeline.flows[0].steps.len(), pipeline.flows[0].steps.len());
        assert_eq!(Bench::run(&bound, "keep", r#"{"n":20}"#).await, "21");
        assert_eq!(Bench::run(&bound, "twice", "null").await, "2");
        assert_eq!(Bench::run(&bound, "echo", r#"{"do":"echo","value":7}"#).await, "7");
        assert_eq!(Bench::run(&bound, "talk", "null").await, "\"here\"");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_library_that_is_reached_by_two_names_is_one_also_in_a_bundle() {
    let bench = Bench::new();
    std::os::unix::fs::symlink(bench.path("shared"), bench.path("link")).expect("a link");
    bench.write("order.yaml", &YAML.replace("[shared/lib.yaml]", "[link/lib.yaml, shared/deeper.yaml]"));
    let pipeline = bench.pipeline();
    ["shared", "link"].iter().for_each(|folder| fs::rename(bench.path(folder), bench.path(&format!("{folder}.away"))).expect("moved"));
    let bound = bench.rebuild(&pipeline.bundle).await.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(bound.pipeline.revision, pipeline.revision);
    assert_eq!(Bench::run(&bound, "twice", "null").await, "2");
}

/// What a bundle is refused with, its folder and the revisions left out.
async fn refusal(bench: &Bench, bundle: Bundle) -> (String, String) {
    let revision = bundle.revision.short();
    let failure = bench.rebuild(&Arc::new(bundle)).await.err().expect("it is refused");
    let message = failure.message.replace(&bench.folder.path().display().to_string(), "…").replace(&revision, "R");
    (failure.into_particulars().code.expect("it has one"), message)
}

#[tokio::test]
async fn what_hinders_making_it_again_is_said_with_its_place_and_the_way_out() {
    let bench = Bench::new();
    let bundle = Arc::clone(&bench.pipeline().bundle);
    let (code, message) = refusal(&bench, Bundle { format: 2, ..(*bundle).clone() }).await;
    let wanted = "the revision R of order was kept in the form 2 of bundles, and this host reads the form 1: start the host that kept it";
    assert_eq!((code.as_str(), message.as_str()), (OTHER_FORMAT, wanted));

    let without = |name: &str| {
        let mut bundle = (*bundle).clone();
        bundle.files.retain(|(path, _)| !path.ends_with(name));
        bundle
    };
    let (code, message) = refusal(&bench, without("keep.rhai")).await;
    let wanted = "the revision R of order cannot be made again: …/order.yaml:8:17: E0510: …/scripts/keep.rhai cannot be read: its bundle does not have it (the path is relative to the YAML file that names it)";
    assert_eq!((code.as_str(), message.as_str()), (FROM_BUNDLE, wanted));
    let (code, message) = refusal(&bench, Bundle { file: "/nowhere.yaml".into(), ..(*bundle).clone() }).await;
    assert_eq!((code.as_str(), message.contains("E0101")), (FROM_BUNDLE, true), "{message}");

    let mut changed = (*bundle).clone();
    let script = changed.files.iter_mut().find(|(path, _)| path.ends_with("twice.rhai")).expect("it has it");
    script.1 = Arc::from(&b"fn process(job) { 3 }"[..]);
    let (code, message) = refusal(&bench, changed).await;
    assert_eq!(code, OTHER_REVISION);
    assert!(
        message.starts_with("the revision R of order cannot be made again: of what was kept this host makes the revision "),
        "{message}"
    );

    fs::remove_dir_all(bench.path("data/order")).unwrap_or_default();
    bench.write("data/order", "in the way of the databases");
    let (code, message) = refusal(&bench, (*bundle).clone()).await;
    assert_eq!(code, CANNOT_OPEN);
    assert!(
        message.starts_with(
            "`keep` of the revision R of order cannot be opened: …/order.yaml:8:3: E0601: the resource main cannot be opened: "
        ),
        "{message}"
    );
}
