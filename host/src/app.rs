//! The composition root: the one room with all doors. It builds the parts, starts them, and stops them in the reverse order.
//!
//! Who shows something to people holds an [`App`] and uses its views and subscriptions, never the insides.

mod asked;
mod commands;
mod data;
pub mod explain;
mod follow;
mod hearing;
mod migrating;
mod owner;
pub mod store;
mod signal;
mod taking_up;
mod unread;
pub mod views;

use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::bus::Bus;
use crate::clock::{Activity, RealClock, SystemRandom};
use crate::engine::{Engine, Ports};
use crate::executor::registry::{Registry, RegistrySettings, SecretSource};
use crate::journal::sqlite::{Options, SqliteStore};
use crate::model::cancel::CancelSignal;
use crate::model::failure::Failure;
use crate::model::id::{FlowName, PipelineName};
use crate::model::job::CancelReason;
use crate::model::port::{Activate, Clock, Health, Random, Sink, Store, StoreError};
use crate::plan::pipeline::{Pipeline, Trigger};
use crate::plan::{Environment, Loaded, load_given};
use crate::policy::Policies;
use crate::reload::{Parts, Rebuilder, Reload};
use crate::telemetry::{Detail, Subscription, Telemetry};

pub use crate::engine::{Left, Recovered};
pub use crate::journal::sqlite::CANNOT_OPEN as JOURNAL_UNUSABLE;
pub use crate::journal::sqlite::Integrity;
pub use crate::reload::{Outcome, Report};
pub use asked::{Asked, ENDED};
pub use commands::{Commands, NOT_SENDABLE, Sent, is_manual};
pub use data::{DATA_FOLDER, NETWORK, NOT_A_FOLDER, NOT_WRITABLE, default_folder};
pub use hearing::{Hearer, hearers};
pub use migrating::{MigrationRow, MigrationWanted, MigrationWord};
pub use owner::OWNED;
pub use signal::{NOT_AWAITED, REFUSED, Signal, Signalled, Verdict, WRONG_DATA};
pub use views::{RunsWanted, Views};

use follow::Follower;
use owner::Owner;
use taking_up::TakingUp;

/// So many reports wait for one who listens; a slower one gets the newest.
const REPORTS: usize = 16;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline files, and folders that hold some: see [`find`](crate::plan::find).
    pub files: Vec<PathBuf>,
    /// Where everything lives that outlives a run. By default [`DATA_FOLDER`] beside the first file.
    pub data: Option<PathBuf>,
    /// Whether files are watched, and put in force when they change.
    pub watch: bool,
    /// When it is made to last how far the journal has come.
    pub integrity: Integrity,
    /// Where `env` and `secret` get their values from.
    pub environment: Environment,
}

impl Settings {
    /// These files with this data folder, as they are now: not watched, and without an environment.
    pub fn new(files: Vec<PathBuf>, data: PathBuf) -> Self {
        Self { files, data: Some(data), watch: false, integrity: Integrity::default(), environment: Environment::default() }
    }

    /// The data folder that they amount to.
    pub fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| default_folder(&self.files))
    }
}

/// Everything that runs. It must be stopped with [`stop`](Self::stop): dropping it leaves runs that are not durable unfinished.
pub struct App {
    telemetry: Telling,
    commands: Commands,
    registry: Arc<Registry>,
    data: PathBuf,
    /// Where everything that lasts is kept: closed when everything else has ended.
    store: SqliteStore,
    taking_up: TakingUp,
    /// Held until everything else has ended.
    owner: Owner,
    watching: bool,
    reload: Option<Reload>,
    reports: broadcast::Sender<Arc<Report>>,
    stop: CancelSignal,
    follower: Option<JoinHandle<()>>,
}

/// Ends the telling with the app, also where it is dropped in the middle of its stop: whoever still reads then gets what waits, and the end.
struct Telling(Telemetry);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Whether the journal takes new runs: it does not where there is no room, or while another program holds it.
pub struct Room {
    now: watch::Receiver<Health>,
    /// What was said last.
    said: Health,
}

impl Room {
    /// Waits until that changes: what it was, and what it is. For ever if it does not. Dropping the wait loses nothing.
    pub async fn changed(&mut self) -> (Health, Health) {
        let said = discriminant(&self.said);
        let changed = self.now.wait_for(|now| discriminant(now) != said).await.map(|now| now.clone());
        match changed {
            Ok(now) => (std::mem::replace(&mut self.said, now.clone()), now),
            // It was closed.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A flow that can be started from the outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entrance {
    /// Lines of the standard input.
    Lines,
    /// One given input: a flow that takes lines, else one that is started by name.
    Once,
}

impl App {
    /// Makes the data folder and all parts, and starts none of them. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The data folder cannot be made or written to, or another host has it, or an executor home cannot be set up. The failure's code is the diagnostic's.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        let data = settings.data_folder();
        data::prepare(&data)?;
        let owner = owner::own(&data)?;
        Self::of(owner, data, settings)
    }

    /// The same, right after the last host was killed: while the system takes that one apart, it is waited for.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn after_the_last(settings: Settings) -> Result<Self, Failure> {
        let data = settings.data_folder();
        data::prepare(&data)?;
        let owner = owner::own_when_left(&data, &RealClock::new(), owner::is_ending).await?;
        Self::of(owner, data, settings)
    }

    fn of(owner: Owner, data: PathBuf, settings: Settings) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
        let telemetry = Telemetry::new();
        let sink: Arc<dyn Sink> = Arc::new(telemetry.clone());
        let environment = Arc::new(settings.environment);
        let registry = Arc::new(registry(&data, &environment, &clock, &sink)?);
        let activity = Activity::new();
        let store =
            SqliteStore::open(&data, &clock, secrets(&environment), Options { integrity: settings.integrity, ..Options::default() })?;
        let of_engine: Arc<dyn Store> = Arc::new(store.clone());
        let engine = Engine::new(Ports {
            store: Arc::clone(&of_engine),
            clock: Arc::clone(&clock),
            random,
            sink: Arc::clone(&sink),
            policies: Policies::counted_by(Arc::clone(&clock), Arc::clone(&sink), activity.clone()),
            bus: Bus::counted_by(Arc::clone(&clock), Arc::clone(&sink), activity.clone()),
            activity,
        });
        registry.caches().connect(&engine.caches());
        engine.rebuilds_with(Arc::new(Rebuilder::new(Arc::clone(&registry), Arc::clone(&environment))));
        let pinned = views::Pinned::new(Arc::clone(&of_engine), Arc::clone(&registry), Arc::clone(&environment));
        let views = views::of_host(engine.clone(), of_engine, pinned);
        let commands = Commands { engine: engine.clone(), clock: Arc::clone(&clock), given: settings.files.as_slice().into(), views };
        let reload = Reload::new(Parts {
            registry: Arc::clone(&registry),
            engine: Arc::new(engine),
            sink,
            clock,
            environment,
            files: settings.files,
        });
        let (reports, _) = broadcast::channel(REPORTS);
        let (stop, watching) = (CancelSignal::new(), settings.watch);
        let reload = Some(reload);
        let taking_up = TakingUp::of(&commands.engine);
        Ok(Self {
            telemetry: Telling(telemetry),
            commands,
            registry,
            data,
            store,
            taking_up,
            owner,
            watching,
            reload,
            reports,
            stop,
            follower: None,
        })
    }

    /// Puts the files in force, and from then on whatever they become, if files are watched: every write after this returns is seen. A refused start is no error here: who
    /// waits for better files need only wait for the next [report](Self::reports). Does nothing more when it is called again.
    pub async fn start(&mut self) -> Option<Arc<Report>> {
        let mut reload = self.reload.take()?;
        let began = self.commands.clock.now();
        let report = Arc::new(reload.attempt(None).await);
        self.taking_up.after(&report.outcome).await;
        if self.watching {
            let follower = Follower {
                reload,
                registry: Arc::clone(&self.registry),
                clock: Arc::clone(&self.commands.clock),
                reports: self.reports.clone(),
                sink: Arc::new(self.telemetry.0.clone()),
                data: self.data.clone(),
                preparing: None,
                taking_up: self.taking_up.clone(),
            };
            // Before this returns, so that whoever writes a file from now on need not hope that the watch was quicker.
            let watch = follower.watch(began).await;
            self.follower = Some(tokio::spawn(follower.run(watch, self.stop.clone())));
        }
        Some(report)
    }

    /// What the last host left behind and this one has taken up; `None` as long as no files are in force.
    ///
    /// # Errors
    /// What is wrong with the journal: then nothing goes on.
    pub fn recovered(&self) -> Option<Result<Recovered, StoreError>> {
        self.taking_up.came_to()
    }

    /// What happens from now on; see [`Telemetry::subscribe`].
    pub fn subscribe(&self, capacity: usize, detail: Detail) -> Subscription {
        self.telemetry.0.subscribe(capacity, detail)
    }

    /// What comes of every later change of the files.
    pub fn reports(&self) -> broadcast::Receiver<Arc<Report>> {
        self.reports.subscribe()
    }

    /// Starts and cancels runs.
    pub fn activate(&self) -> Arc<dyn Activate> {
        Arc::new(self.commands.engine.clone())
    }

    /// What others may ask while it runs.
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Waits until no run is under way or waits, and no event is on its way to a flow.
    pub async fn quiet(&self) {
        self.commands.engine.quiet().await;
    }

    /// How many events with `via: outbox` have not reached everybody: the next start sends them on.
    pub fn in_outbox(&self) -> usize {
        self.commands.engine.in_outbox()
    }

    /// The pipelines in force, in the order in which their files were named.
    pub fn pipelines(&self) -> Vec<Arc<Pipeline>> {
        self.commands.pipelines()
    }

    /// Finds the flow behind an entrance, the first in the order of the pipelines, anew with each call, as a reload may change it.
    pub fn target(&self, entrance: Entrance) -> impl Fn() -> Option<(PipelineName, FlowName)> + Send + use<> {
        let commands = self.commands.clone();
        move || {
            let pipelines = commands.pipelines();
            let find = |trigger: &Trigger| {
                pipelines.iter().find_map(|pipeline| {
                    let flow = pipeline.flows.iter().find(|flow| flow.triggers.contains(trigger))?;
                    Some((pipeline.name.clone(), flow.name.clone()))
                })
            };
            match entrance {
                Entrance::Lines => find(&Trigger::StdinLine),
                Entrance::Once => find(&Trigger::StdinLine).or_else(|| find(&Trigger::Manual)),
            }
        }
    }

    /// Where the data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What people have to know of the data folder before anything begins: that something may be lost of it, or that it is on a disk which may lose something.
    pub fn troubles(&self) -> Vec<Failure> {
        let suspicion = match self.store.health() {
            Health::Suspect(why) => Some(store::suspicion(&self.data, &why)),
            Health::Good | Health::Full(_) | Health::Held(_) | Health::Broken(_) => None,
        };
        data::warning(&self.data).into_iter().chain(suspicion).collect()
    }

    /// Waits until the journal cannot be written any more: then the host must end, whatever is under way. For ever, if that does not come to pass.
    pub fn broken(&self) -> impl Future<Output = Failure> + Send + use<> {
        let (broken, data) = (self.store.broken(), self.data.clone());
        async move { store::broken(&data, &broken.await) }
    }

    /// What people have to know of the room that the journal has, when that changes; see [`Room`].
    pub fn room(&self) -> Room {
        Room { now: self.store.short(), said: Health::Good }
    }

    /// Whether files are watched.
    pub const fn is_watching(&self) -> bool {
        self.watching
    }

    /// Stops everything in order: no more reloads, then the runs, of which those that are durable are left for the next start, then the buses, then the
    /// journal, then the telling. Returns what is left for the next start.
    pub async fn stop(self) -> Left {
        self.stop.cancel();
        if let Some(follower) = self.follower {
            // It fails only if the task panicked, which the panic hook has told.
            let _ = follower.await;
        }
        let left = self.commands.engine.stop(CancelReason::Shutdown).await;
        let store = self.store;
        // It blocks until all is written. A panic in there is told by the panic hook.
        let _ = spawn_blocking(move || store.close()).await;
        self.telemetry.0.close();
        drop(self.owner);
        left
    }
}

/// Loads files as [`App::start`] would, and starts nothing: for `check` and `graph`. Of the data folder only
/// what is compiled of components is made.
///
/// # Errors
/// An executor home cannot be set up.
pub fn look(files: &[PathBuf], data: Option<PathBuf>, environment: Environment) -> Result<Loaded, Failure> {
    let data = data.unwrap_or_else(|| default_folder(files));
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let sink: Arc<dyn Sink> = Arc::new(Telemetry::new());
    let environment = Arc::new(environment);
    let registry = registry(&data, &environment, &clock, &sink)?;
    Ok(load_given(files, &registry, &environment))
}

fn registry(data: &Path, environment: &Arc<Environment>, clock: &Arc<dyn Clock>, sink: &Arc<dyn Sink>) -> Result<Registry, Failure> {
    let (data, clock, sink, environment) = (data.to_owned(), Arc::clone(clock), Arc::clone(sink), Arc::clone(environment));
    Registry::new(RegistrySettings { data, secrets: secrets(&environment), clock, sink })
}

/// Where the values of secrets come from: by their names.
fn secrets(environment: &Arc<Environment>) -> SecretSource {
    let environment = Arc::clone(environment);
    Arc::new(move |name| environment.secrets.get(name).or_else(|| environment.variables.get(name)).cloned())
}
