//! From files to what came of their tests: finds them, loads each in the surroundings that its tests give it, and runs the tests on all cores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::app::default_folder;
use crate::clock::{Activity, RealClock, VirtualClock};
use crate::executor::registry::{Registry, RegistrySettings};
use crate::model::diagnostic::{Diagnostic, Place, Severity};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::PipelineName;
use crate::model::port::{Clock, Sink};
use crate::plan::pipeline::{Pipeline, Plan};
use crate::plan::{Environment, Loaded, Sources, codes, load, outline};
use crate::telemetry::Telemetry;

use super::compare::Difference;
use super::coverage::{Coverage, Walked, coverage};
use super::double::CaseOf;
use super::keeping::StoreKind;
use super::real::secrets;
use super::world::{self, Done};

/// Which tests to run, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline files.
    pub files: Vec<PathBuf>,
    /// Only tests whose name holds this text.
    pub filter: Option<String>,
    /// The variables of the process: by them the files are looked at first. Tests see only what they give themselves.
    pub environment: Environment,
    /// Where what is compiled of components is kept; by default in the data folder beside the first file.
    pub data: Option<PathBuf>,
    /// How many tests run at once, at least 1.
    pub threads: usize,
    /// How much real time a test may take.
    pub watchdog: Duration,
    /// What the runs of each test are kept in.
    pub store: StoreKind,
}

/// What came of all tests.
#[derive(Debug)]
pub struct Report {
    /// By file, in the order in which they were given.
    pub files: Vec<FileReport>,
    /// The texts that the mistakes speak of.
    pub sources: Sources,
}

/// What came of the tests of one file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub file: PathBuf,
    /// Its pipeline, if the file could be loaded.
    pub pipeline: Option<PipelineName>,
    /// What is wrong with the file itself; warnings too. If there is an error, none of its tests ran.
    pub diagnostics: Vec<Diagnostic>,
    /// The tests that ran, in the order of the file.
    pub tests: Vec<TestReport>,
    /// How much of the pipeline all tests together have taken; `None` if they did not all run.
    pub coverage: Option<Coverage>,
}

/// What came of one test.
#[derive(Debug)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// How much virtual time passed in it.
    pub elapsed: Duration,
    /// How much real time it took.
    pub took: Duration,
    /// Everything that is wrong; empty if it passed.
    pub mistakes: Vec<Diagnostic>,
    pub(super) differences: Vec<Difference>,
}

impl TestReport {
    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.mistakes.is_empty()
    }
}

impl FileReport {
    /// Whether the file could be loaded and all its tests passed.
    pub fn passed(&self) -> bool {
        self.pipeline.is_some() && self.tests.iter().all(TestReport::passed)
    }
}

/// Files loaded in the surroundings of a test.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    /// The test's own file first.
    pub(super) files: Vec<PathBuf>,
    pub(super) environment: Environment,
    /// Where what is compiled of components is.
    pub(super) compiled: PathBuf,
    pub(super) store: StoreKind,
}

/// The files that are meant by these paths: a file is itself; a folder is every `*.yaml` file in it that is a pipeline, by name.
///
/// # Errors
/// A folder that cannot be read, or in which there is no pipeline.
pub fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let refuse = |why: String| Failure::new(FailureKind::NotFound, format!("the folder {} {why}", path.display()));
        let entries = std::fs::read_dir(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|file| is_pipeline(file)).collect();
        if found.is_empty() {
            return Err(refuse("holds no pipeline: a file that ends in .yaml and begins with `pipeline: NAME`".to_owned()));
        }
        found.sort();
        files.extend(found);
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

/// Also one that is broken further down: its mistakes are to be told.
fn is_pipeline(file: &Path) -> bool {
    let is_yaml = file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let declares = |text: String| text.lines().any(|line| line.starts_with("pipeline:"));
    is_yaml && file.is_file() && (std::fs::read_to_string(file).is_ok_and(declares) || outline(file).pipeline.is_some())
}

/// Runs the tests of the files. What is wrong with files and tests is in the report.
///
/// # Errors
/// An executor home cannot be set up, or no thread can be had.
pub fn run(settings: &Settings) -> Result<Report, Failure> {
    let data = settings.data.clone().unwrap_or_else(|| default_folder(&settings.files));
    let suite = Suite::new(data, settings.store)?;
    let mut sources = Sources::default();
    let mut files: Vec<(FileReport, Vec<Planned>)> =
        settings.files.iter().map(|file| suite.prepare(file, settings, &mut sources)).collect();

    let planned: Vec<(usize, Planned)> = files
        .iter_mut()
        .enumerate()
        .flat_map(|(file, (_, planned))| std::mem::take(planned).into_iter().map(move |one| (file, one)))
        .collect();
    let results: Mutex<BTreeMap<usize, (TestReport, Walked)>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let cannot = |error: std::io::Error| {
        Failure::new(FailureKind::Failed, format!("the system does not let the tests begin: {error}")).with_code("E0701")
    };
    std::thread::scope(|scope| {
        let work = || -> Result<(), Failure> {
            while let Some((number, (_, planned))) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|next| Some((next, planned.get(next)?)))
            {
                let result = suite.test(planned, settings.watchdog).map_err(cannot)?;
                results.lock().unwrap_or_else(PoisonError::into_inner).insert(number, result);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..settings.threads.max(1).min(planned.len())).map(|_| scope.spawn(work)).collect();
        // A thread that panicked has told why; its test is missing and is told below.
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Result<Vec<()>, Failure>>()
    })?;

    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut walked: Vec<Walked> = files.iter().map(|_| Walked::default()).collect();
    for (number, (file, planned)) in planned.iter().enumerate() {
        let (test, way) = results.remove(&number).unwrap_or_else(|| (broken(planned), Walked::default()));
        if let Some((report, _)) = files.get_mut(*file) {
            report.tests.push(test);
        }
        if let Some(walked) = walked.get_mut(*file) {
            walked.add(way);
        }
    }
    for ((report, _), walked) in files.iter_mut().zip(&walked) {
        // Of a part of the tests it cannot be said what the tests take.
        let pipeline =
            planned.iter().map(|(_, planned)| &planned.case.pipeline).find(|pipeline| Some(&pipeline.name) == report.pipeline.as_ref());
        report.coverage = pipeline.filter(|_| settings.filter.is_none()).map(|pipeline| coverage(pipeline, walked));
    }
    Ok(Report { files: files.into_iter().map(|(report, _)| report).collect(), sources })
}

/// A test that ended its own thread: a mistake in pipehost.
fn broken(planned: &Planned) -> TestReport {
    let case = planned.case.case();
    let mistake = Diagnostic::error(codes::NO_END, case.place.clone(), "the test broke off: pipehost itself made a mistake")
        .with_help("report it with this file");
    TestReport {
        name: case.name.clone(),
        place: case.place.clone(),
        elapsed: Duration::ZERO,
        took: Duration::ZERO,
        mistakes: vec![mistake],
        differences: Vec::new(),
    }
}

/// A test that is to be run: with what it needs, or with what is wrong.
struct Planned {
    case: CaseOf,
    prepared: Result<Arc<Prepared>, Vec<Diagnostic>>,
}

struct Suite {
    /// Describes executors, and opens those that need nothing from outside. Its clock stands: they have no use for time.
    registry: Arc<Registry>,
    compiled: PathBuf,
    store: StoreKind,
}

impl Suite {
    fn new(data: PathBuf, store: StoreKind) -> Result<Self, Failure> {
        let compiled = data.join("compiled");
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(Activity::new()));
        let sink: Arc<dyn Sink> = Arc::new(Telemetry::new());
        let registry = Registry::new(RegistrySettings { data, secrets: secrets(&Environment::default()), clock, sink })?;
        Ok(Self { registry: Arc::new(registry), compiled, store })
    }

    /// Loads a file and what its tests need.
    fn prepare(&self, file: &Path, settings: &Settings, sources: &mut Sources) -> (FileReport, Vec<Planned>) {
        let look = outline(file);
        let files: Vec<PathBuf> = std::iter::once(file.to_owned()).chain(look.files.clone()).collect();
        let named = files.iter().skip(1).map(|file| outline(file)).flat_map(|look| look.secrets).chain(look.secrets.clone());
        let made_up: BTreeMap<String, String> = named.map(|name| (name.clone(), format!("the-{name}-of-tests"))).collect();
        let environment = Environment { variables: settings.environment.variables.clone(), secrets: made_up.clone() };
        let loaded = load(&files, &*self.registry, &environment);
        keep_texts(sources, &loaded);
        let mut report =
            FileReport { file: file.to_owned(), pipeline: None, diagnostics: loaded.diagnostics, tests: Vec::new(), coverage: None };
        // Two files may have one name only if they are one.
        let found = loaded.plan.as_ref().and_then(|plan| plan.pipelines.values().find(|pipeline| pipeline.file == file).cloned());
        let (Some(plan), Some(pipeline)) = (loaded.plan, found) else {
            report.diagnostics.retain(|one| one.severity == Severity::Error);
            return (report, Vec::new());
        };
        report.pipeline = Some(pipeline.name.clone());
        let base = Prepared { plan, files, environment, compiled: self.compiled.clone(), store: self.store };
        let planned = self.plan(base, &pipeline, &made_up, settings, sources);
        (report, planned)
    }

    /// Loads the files once for each of the different surroundings that tests ask for.
    fn plan(
        &self,
        base: Prepared,
        pipeline: &Arc<Pipeline>,
        made_up: &BTreeMap<String, String>,
        settings: &Settings,
        sources: &mut Sources,
    ) -> Vec<Planned> {
        type Surroundings = (Vec<PathBuf>, BTreeMap<String, String>, BTreeMap<String, String>);
        type Kept = Result<Arc<Prepared>, Vec<Diagnostic>>;
        let base_files = base.files.clone();
        let mut known: Vec<(Surroundings, Kept)> = Vec::new();
        // What reads no variable is the same without them.
        if base.plan.pipelines.values().all(|pipeline| reads_nothing(pipeline)) {
            known.push(((base.files.clone(), BTreeMap::new(), made_up.clone()), Ok(Arc::new(base))));
        }
        let mut planned = Vec::new();
        for (number, case) in pipeline.tests.iter().enumerate() {
            if settings.filter.as_ref().is_some_and(|text| !case.name.contains(text.as_str())) {
                continue;
            }
            let files: Vec<PathBuf> = base_files.iter().take(1).chain(&case.files).cloned().collect();
            let mut secrets = made_up.clone();
            secrets.extend(case.secrets.clone());
            let surroundings = (files, case.environment.clone(), secrets);
            let prepared = match known.iter().find(|(other, _)| *other == surroundings) {
                Some((_, prepared)) => prepared.clone(),
                None => {
                    let prepared = self.load(&surroundings.0, &surroundings.1, &surroundings.2, sources);
                    known.push((surroundings, prepared.clone()));
                    prepared
                }
            };
            planned.push(Planned { case: CaseOf { pipeline: Arc::clone(pipeline), number }, prepared });
        }
        planned
    }

    fn load(
        &self,
        files: &[PathBuf],
        variables: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, String>,
        sources: &mut Sources,
    ) -> Result<Arc<Prepared>, Vec<Diagnostic>> {
        let environment = Environment { variables: variables.clone(), secrets: secrets.clone() };
        let loaded = load(files, &*self.registry, &environment);
        keep_texts(sources, &loaded);
        match loaded.plan {
            Some(plan) => {
                Ok(Arc::new(Prepared { plan, files: files.to_vec(), environment, compiled: self.compiled.clone(), store: self.store }))
            }
            None => Err(loaded.diagnostics.into_iter().filter(|one| one.severity == Severity::Error).collect()),
        }
    }

    /// Does one test.
    fn test(&self, planned: &Planned, watchdog: Duration) -> std::io::Result<(TestReport, Walked)> {
        let (case, real) = (planned.case.case(), RealClock::new());
        let began = real.now();
        let done = match &planned.prepared {
            Ok(prepared) => world::run(prepared, planned.case.clone(), &self.registry, watchdog)?,
            Err(mistakes) => Done {
                elapsed: Duration::ZERO,
                mistakes: mistakes.iter().cloned().map(|mistake| surrounded(mistake, &case.name)).collect(),
                differences: Vec::new(),
                walked: Walked::default(),
            },
        };
        let report = TestReport {
            name: case.name.clone(),
            place: case.place.clone(),
            elapsed: done.elapsed,
            took: real.now().since(began),
            mistakes: done.mistakes,
            differences: done.differences,
        };
        Ok((report, done.walked))
    }
}

/// A mistake that a file has only in a test: there it sees no variable but those of the test's `env`.
fn surrounded(mistake: Diagnostic, case: &str) -> Diagnostic {
    let help = mistake.help.clone().unwrap_or_default();
    let more = format!("this is so in the test `{case}`, which sees only the variables of its own `env`");
    mistake.with_help(if help.is_empty() { more } else { format!("{help}; {more}") })
}

fn reads_nothing(pipeline: &Pipeline) -> bool {
    pipeline.environment.tree().as_map().is_none_or(|variables| variables.values().all(|value| *value == crate::model::value::Tree::Null))
}

fn keep_texts(sources: &mut Sources, loaded: &Loaded) {
    let places = loaded.diagnostics.iter().map(|diagnostic| &diagnostic.place.file);
    for file in loaded.files.iter().chain(places) {
        if let Some(text) = loaded.sources.text(file) {
            sources.insert(file.clone(), text);
        }
    }
}
