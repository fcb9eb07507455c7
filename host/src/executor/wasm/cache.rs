//! Compiled code on disk, so that a start need not compile what was compiled before.
//!
//! An entry is named by the component's digest and by all that makes an engine's code fit it: version, settings, processor. It begins
//! with the digest of the rest: a damaged entry is no entry. The folder and its files must belong to this user, and nobody else may
//! write to them, because compiled code is run as it is.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::model::id::Digest;
use crate::model::port::Clock;

/// How much all entries together may take, in bytes; the least recently used go first.
const MOST: u64 = 512 << 20;

/// The largest entry that is read, in bytes.
const LARGEST_ENTRY: u64 = 1 << 30;

/// The length of the digest before an entry's code.
const SEAL: usize = 32;

/// A folder of compiled code.
pub(super) struct Cache {
    folder: PathBuf,
    owner: u32,
    most: u64,
    /// Tells the half-written files of this process from each other.
    written: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// The component of these bytes: from the cache if there is one and it has it.
///
/// # Errors
/// If it cannot be compiled, or does not fit the engine.
pub(super) fn compile(cache: Option<&Cache>, engine: &Engine, digest: Digest, bytes: &[u8]) -> wasmtime::Result<Component> {
    let Some(cache) = cache else { return Component::from_binary(engine, bytes) };
    let key = key(engine, digest);
    if let Some(component) = cache.find(&key).and_then(|code| revive(engine, &code)) {
        return Ok(component);
    }
    let component = Component::from_binary(engine, bytes)?;
    let kept = component
        .serialize()
        .map_err(|error| error.to_string())
        .and_then(|code| cache.keep(&key, &code).map_err(|error| error.to_string()));
    if let Err(error) = kept {
        tracing::warn!(folder = %cache.folder.display(), "a compiled component was not kept: {error}");
    }
    Ok(component)
}

fn revive(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: the code is what `Component::serialize` gave this host or an earlier one of the same user. `Cache::find` took it only
    // from a file of this user, in a folder of this user, both writable for nobody else, and only if its seal fits, so that it is
    // whole. Its name has the engine's compatibility hash, and wasmtime compares version and settings once more.
    #[expect(unsafe_code, reason = "running compiled code as it is, is what a compile cache is for")]
    let component = unsafe { Component::deserialize(engine, code) };
    component.inspect_err(|error| tracing::debug!("a cached component is compiled again: {error:#}")).ok()
}

/// The name of an entry.
fn key(engine: &Engine, digest: Digest) -> String {
    /// Collects what an engine hashes, because the standard hasher is not the same in each process.
    #[derive(Default)]
    struct Collected(Vec<u8>);

    impl Hasher for Collected {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }

    let mut engine_like = Collected::default();
    engine.precompile_compatibility_hash().hash(&mut engine_like);
    Digest::of_parts([&digest.as_bytes()[..], &engine_like.0]).to_string()
}

impl Cache {
    /// Opens a folder, and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be made or written to, or if others may write to it.
    pub(super) fn open(folder: PathBuf, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Self::with(folder, clock, MOST)
    }

    fn with(folder: PathBuf, clock: Arc<dyn Clock>, most: u64) -> std::io::Result<Self> {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut cache = Self { folder, owner: 0, most, written: AtomicU64::new(0), clock };
        // Whose the files of this process are is seen from one that it makes.
        let probe = cache.unfinished();
        cache.owner = new_file(&probe).and_then(|file| file.metadata())?.uid();
        fs::remove_file(&probe)?;
        if !cache.is_own(&fs::symlink_metadata(&cache.folder)?) {
            return Err(std::io::Error::other("others may write to this folder: take away their right (chmod 700), or name another one"));
        }
        Ok(cache)
    }

    fn is_own(&self, metadata: &fs::Metadata) -> bool {
        !metadata.is_symlink() && metadata.uid() == self.owner && metadata.mode() & 0o022 == 0
    }

    fn unfinished(&self) -> PathBuf {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{}-{number}.unfinished", std::process::id()))
    }

    fn entry(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.compiled"))
    }

    /// An entry's code, if there is a whole one that nobody else can have written.
    fn find(&self, key: &str) -> Option<Vec<u8>> {
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(self.entry(key)).ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || !self.is_own(&metadata) || metadata.len() > LARGEST_ENTRY {
            return None;
        }
        let mut seal = [0; SEAL];
        file.read_exact(&mut seal).ok()?;
        let mut code = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        // As long as it was when it was looked at: one that grows meanwhile does not fit its seal.
        Read::by_ref(&mut file).take(metadata.len()).read_to_end(&mut code).ok()?;
        if Digest::of(&code).as_bytes() != &seal {
            return None;
        }
        self.touch(&file);
        Some(code)
    }

    /// Keeps an entry: whole or not at all.
    fn keep(&self, key: &str, code: &[u8]) -> std::io::Result<()> {
        let unfinished = self.unfinished();
        let written = new_file(&unfinished).and_then(|mut file| {
            file.write_all(Digest::of(code).as_bytes())?;
            file.write_all(code)?;
            self.touch(&file);
            fs::rename(&unfinished, self.entry(key))
        });
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written.and_then(|()| self.shrink(&self.entry(key)))
    }

    /// Marks a file as used now. What cannot be marked is only forgotten earlier.
    fn touch(&self, file: &File) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.clock.now().as_nanos());
        let _ = file.set_modified(now);
    }

    /// Deletes what was not used for longest until the rest fits; never `newest`.
    fn shrink(&self, newest: &Path) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((metadata.modified()?, entry.path(), metadata.len()));
            }
        }
        files.sort();
        let mut all: u64 = files.iter().map(|(_, _, size)| size).sum();
        for (_, path, size) in files {
            if all <= self.most {
                break;
            }
            // Another host may have deleted it meanwhile, or written it anew: it compiles again what it misses.
            if path != newest && fs::remove_file(&path).is_ok() {
                all -= size;
            }
        }
        Ok(())
    }
}

fn new_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

#[cfg(test)]
mod tests;
