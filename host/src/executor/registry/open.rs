//! Opens what grants name: each file once, for as long as somebody has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::RegistrySettings;
use crate::executor::database::{Access, CORRUPT, Database};
use crate::executor::files::Folder;
use crate::executor::grants::ResourceGrant;
use crate::executor::http::{self, Http};
use crate::executor::index::{Index, Settings};
use crate::executor::services::Services;
use crate::executor::services::key_value::KeyValue;
use crate::model::executor::ExecutorReference;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::id::ResourceName;
use crate::model::port::CatalogProblem;
use crate::model::resource::ResourceKind;
use crate::model::secret::Secret;

// The first four are the plan's own codes for the same mistakes: it finds them first, with their line.

/// A grant names a resource that is not declared.
pub const UNKNOWN_RESOURCE: &str = "E0651";
/// A grant names a resource of another kind.
pub const WRONG_RESOURCE: &str = "E0652";
/// A resource's file is not beneath the data folder of its pipeline.
pub const BAD_PATH: &str = "E0653";
/// The pattern of an index is wrong.
pub const BAD_PATTERN: &str = "E0654";
/// A file or its folder cannot be opened: it is a folder, may not be written to, or is in use.
pub const CANNOT_OPEN_RESOURCE: &str = "E0601";
/// A file is damaged, or no database.
pub const CORRUPT_RESOURCE: &str = "E0602";
/// The documents of an index cannot be read.
pub const DOCUMENTS_UNREADABLE: &str = "E0603";
/// A secret is granted and has no value.
pub const MISSING_SECRET: &str = "E0604";

/// A file of ours and what it is opened as.
type Opened<T> = BTreeMap<PathBuf, Weak<T>>;

/// An index is another one if its file, or the folder or pattern of the files that it follows is another.
type IndexIdentity = (PathBuf, Option<(PathBuf, String)>);

pub(super) struct Resources {
    settings: RegistrySettings,
    /// Held while something is opened, so that nothing is opened twice. Entries of what is closed go at the next opening.
    opened: tokio::sync::Mutex<Open>,
    /// The open indexes once more: asked for where nobody can wait.
    indexes: Mutex<Vec<Weak<Index>>>,
}

#[derive(Default)]
struct Open {
    users: Opened<Database>,
    own: Opened<Database>,
    stores: Opened<KeyValue>,
    indexes: BTreeMap<IndexIdentity, Weak<Index>>,
}

impl Resources {
    pub(super) fn new(settings: RegistrySettings) -> Self {
        Self { settings, opened: tokio::sync::Mutex::default(), indexes: Mutex::default() }
    }

    /// The services of one executor, with all that its grants name open.
    pub(super) async fn services(&self, reference: &ExecutorReference) -> Result<Services, CatalogProblem> {
        let mut services = Services {
            executor: reference.name.clone(),
            config: reference.config.clone(),
            grants: reference.grants.clone(),
            databases: BTreeMap::new(),
            stores: BTreeMap::new(),
            indexes: BTreeMap::new(),
            folders: BTreeMap::new(),
            http: Http::new(http::Settings {
                executor: reference.name.clone(),
                granted: reference.grants.http.clone(),
                configured: Vec::new(),
                clock: Arc::clone(&self.settings.clock),
            }),
            limits: reference.limits.clone(),
            secrets: self.secrets(reference)?,
        };
        let mut open = self.opened.lock().await;
        open.forget_closed();
        for name in &reference.grants.sql {
            let ResourceKind::Sqlite(file) = declared(reference, ResourceGrant::Sql, name)? else { continue };
            let path = self.beneath_data(reference, name, file)?;
            let database = open_database(&mut open.users, path, Access::Users).await.map_err(|failure| problem(name, failure))?;
            services.databases.insert(name.clone(), database);
        }
        for name in &reference.grants.kv {
            let ResourceKind::Kv(file) = declared(reference, ResourceGrant::Kv, name)? else { continue };
            let path = self.beneath_data(reference, name, file)?;
            let store = match open.stores.get(&path).and_then(Weak::upgrade) {
                Some(store) => store,
                None => {
                    let store = Arc::new(KeyValue::open(&path).await.map_err(|failure| problem(name, failure))?);
                    open.stores.insert(path, Arc::downgrade(&store));
                    store
                }
            };
            services.stores.insert(name.clone(), store);
        }
        for name in &reference.grants.index {
            let files = match declared(reference, ResourceGrant::Index, name)? {
                ResourceKind::Index { folder, pattern } => Some((folder.clone(), pattern.clone())),
                _ => None,
            };
            let path = self.beneath_data(reference, name, &Path::new("indexes").join(format!("{name}.db")))?;
            let index = self.open_index(&mut open, reference, name, (path, files)).await?;
            services.indexes.insert(name.clone(), index);
        }
        for name in &reference.grants.files {
            let ResourceKind::Folder(folder) = declared(reference, ResourceGrant::Files, name)? else { continue };
            services.folders.insert(name.clone(), Arc::new(Folder::new(name.clone(), folder.clone())));
        }
        Ok(services)
    }

    async fn open_index(
        &self,
        open: &mut Open,
        reference: &ExecutorReference,
        name: &ResourceName,
        identity: IndexIdentity,
    ) -> Result<Arc<Index>, CatalogProblem> {
        if let Some(index) = open.indexes.get(&identity).and_then(Weak::upgrade) {
            return Ok(index);
        }
        let (path, files) = identity.clone();
        let database =
            open_database(&mut open.own, path.clone(), Access::Own).await.map_err(|failure| index_problem(name, &path, failure))?;
        let index = Index::new(Settings {
            name: format!("{}/{name}", reference.pipeline),
            files,
            database,
            clock: Arc::clone(&self.settings.clock),
            sink: Arc::clone(&self.settings.sink),
        });
        let index = Arc::new(index.map_err(|bad| CatalogProblem {
            code: BAD_PATTERN,
            message: format!("the pattern of the index {name} is wrong: {}", bad.0),
            place: None,
            help: Some(format!("write under resources: {name}: {{ index: 'docs/**/*.md' }}")),
        })?);
        index.refresh(true).await.map_err(|failure| index_problem(name, &path, failure))?;
        open.indexes.insert(identity, Arc::downgrade(&index));
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.retain(|index| index.strong_count() > 0);
        indexes.push(Arc::downgrade(&index));
        Ok(index)
    }

    pub(super) async fn indexes(&self) -> Vec<Arc<Index>> {
        // Waits for what is being opened: a change that came meanwhile must not pass it by.
        let _open = self.opened.lock().await;
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn watched_folders(&self) -> Vec<PathBuf> {
        let indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let folders: BTreeSet<PathBuf> =
            indexes.iter().filter_map(Weak::upgrade).filter_map(|index| index.watched_folder().map(Path::to_owned)).collect();
        folders.into_iter().collect()
    }

    pub(super) fn tell(&self, what: What) {
        self.settings.sink.accept(Happening { time: self.settings.clock.now(), run: None, what });
    }

    fn secrets(&self, reference: &ExecutorReference) -> Result<BTreeMap<String, Secret>, CatalogProblem> {
        let secret = |name: &String| match (self.settings.secrets)(name) {
            Some(value) => Ok((name.clone(), Secret::new(name.as_str(), value))),
            None => Err(CatalogProblem {
                code: MISSING_SECRET,
                message: format!("the secret {name} is granted to {} and has no value", reference.name),
                place: None,
                help: Some(format!("give it with --secrets FILE or as the environment variable {name}")),
            }),
        };
        reference.grants.secrets.iter().map(secret).collect()
    }

    /// `DATA/PIPELINE/file`, if it cannot lead elsewhere.
    fn beneath_data(&self, reference: &ExecutorReference, name: &ResourceName, file: &Path) -> Result<PathBuf, CatalogProblem> {
        let is_plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().count() > 0;
        let pipeline = Path::new(reference.pipeline.as_str());
        if is_plain(file) && is_plain(pipeline) {
            return Ok(self.settings.data.join(pipeline).join(file));
        }
        Err(CatalogProblem {
            code: BAD_PATH,
            message: format!("the file {:?} of the resource {name} is not beneath the data folder of its pipeline", file.display()),
            place: None,
            help: Some(format!("write a plain name, as {name}: {{ sqlite: {name}.db }}; --data DIR says where the data folder is")),
        })
    }
}

impl Open {
    fn forget_closed(&mut self) {
        self.users.retain(|_, open| open.strong_count() > 0);
        self.own.retain(|_, open| open.strong_count() > 0);
        self.stores.retain(|_, open| open.strong_count() > 0);
        self.indexes.retain(|_, open| open.strong_count() > 0);
    }
}

async fn open_database(opened: &mut Opened<Database>, path: PathBuf, access: Access) -> Result<Arc<Database>, Failure> {
    if let Some(database) = opened.get(&path).and_then(Weak::upgrade) {
        return Ok(database);
    }
    let of_thread = path.clone();
    let database = tokio::task::spawn_blocking(move || Database::open(&of_thread, access)).await;
    let broken = |panic| Err(Failure::new(FailureKind::Bug, format!("opening {} broke off: {panic}", path.display())));
    let database = Arc::new(database.unwrap_or_else(broken)?);
    opened.insert(path, Arc::downgrade(&database));
    Ok(database)
}

/// The resource that a grant names.
fn declared<'a>(reference: &'a ExecutorReference, grant: ResourceGrant, name: &ResourceName) -> Result<&'a ResourceKind, CatalogProblem> {
    let (kind, example) = match grant {
        ResourceGrant::Sql => ("sqlite", format!("{name}: {{ sqlite: {name}.db }}")),
        ResourceGrant::Kv => ("kv", format!("{name}: {{ kv: {name}.db }}")),
        ResourceGrant::Index => ("index", format!("{name}: {{ index: 'docs/**/*.md' }}")),
        ResourceGrant::Files => ("folder", format!("{name}: {{ folder: {name} }}")),
    };
    let Some(resource) = reference.resources.iter().find(|resource| resource.name == *name) else {
        return Err(CatalogProblem {
            code: UNKNOWN_RESOURCE,
            message: format!("{} is granted {} {name}, and there is no such resource", reference.name, grant.as_str()),
            place: None,
            help: Some(format!("declare it: resources: {{ {example} }}")),
        });
    };
    let found = match &resource.kind {
        ResourceKind::Sqlite(_) => "sqlite",
        ResourceKind::Kv(_) => "kv",
        ResourceKind::Index { .. } | ResourceKind::IndexStore => "index",
        ResourceKind::Folder(_) => "folder",
    };
    if found == kind {
        return Ok(&resource.kind);
    }
    Err(CatalogProblem {
        code: WRONG_RESOURCE,
        message: format!("{} is granted {} {name}, and {name} is a resource of kind {found}", reference.name, grant.as_str()),
        place: None,
        help: Some(format!("grant one of kind {kind}, as {example}")),
    })
}

fn problem(name: &ResourceName, failure: Failure) -> CatalogProblem {
    let code = if failure.code.as_deref() == Some(CORRUPT) { CORRUPT_RESOURCE } else { CANNOT_OPEN_RESOURCE };
    CatalogProblem { code, message: format!("the resource {name} cannot be opened: {}", failure.message), place: None, help: None }
}

/// What an index holds is made of files, so that the way out of a damaged one is shorter.
fn index_problem(name: &ResourceName, path: &Path, failure: Failure) -> CatalogProblem {
    match failure.code.as_deref() {
        Some("documents") => {
            CatalogProblem { code: DOCUMENTS_UNREADABLE, message: failure.into_particulars().message, place: None, help: None }
        }
        Some(CORRUPT) => {
            let help = format!("delete {}: the documents are read anew; only texts that index.put added are lost", path.display());
            CatalogProblem { help: Some(help), ..problem(name, failure) }
        }
        _ => problem(name, failure),
    }
}
