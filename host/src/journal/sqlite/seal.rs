//! How what the journal keeps is written and read: JSON in the exact form, with secrets sealed by a key that only this data folder has.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::connection::{self, Cause};
use crate::model::failure::{Failure, FailureKind};
use crate::model::json::{self, List};
use crate::model::port::StoreError;
use crate::model::secret::Secret;
use crate::model::value::exact::{Seal, exactly};

/// Where secrets that are known by their names are read again: the value, or `None` if there is none of that name any more.
pub type Secrets = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The code of a key that cannot be used.
pub const NO_KEY: &str = "E0733";

/// The file in the data folder with the key. Whoever has it and the journal has the secrets that came from outside.
pub(super) const FILE: &str = "seal.key";
/// The length of the key, in bytes.
const LENGTH: usize = 32;
/// Goes into every seal, so that what was sealed for another purpose does not open here.
const CONTEXT: &[u8] = b"pipehost secret 1";

/// Writes and reads the JSON of the journal.
pub(super) struct Sealer(Arc<dyn Seal>);

/// What seals where there are no secrets.
struct NoSecrets;

impl Seal for NoSecrets {
    fn seal(&self, secret: &Secret) -> Result<String, String> {
        Err(format!("{secret} cannot be sealed here"))
    }

    fn open(&self, _: &str) -> Result<Secret, String> {
        Err("a secret in it cannot be opened here".to_owned())
    }
}

/// Seals with a key. Each text has a number of its own, drawn at random: of 96 bits, which is enough for some billions of secrets.
struct Key {
    key: LessSafeKey,
    random: SystemRandom,
    secrets: Secrets,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sealed {
    /// One that was read by its name, to be read again.
    Named(String),
    /// One that came from outside: its name and its value.
    Given(String, String),
}

impl Sealer {
    /// The one of this folder; the key is made if there is none, which is right only where nothing was sealed.
    ///
    /// # Errors
    /// `permanent` with [`NO_KEY`].
    pub(super) fn of(folder: &Path, secrets: Secrets) -> Result<Self, Failure> {
        if let Some(there) = Self::if_there(folder, Arc::clone(&secrets))? {
            return Ok(there);
        }
        let path = folder.join(FILE);
        let bytes = make(folder, &path, &SystemRandom::new()).map_err(|error| unusable(&path, &error))?;
        Self::with(&path, &bytes, secrets)
    }

    /// The one of this folder; `None` if it has no key.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn if_there(folder: &Path, secrets: Secrets) -> Result<Option<Self>, Failure> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::with(&path, &bytes, secrets).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// The one with this key, which stands at this path.
    fn with(path: &Path, bytes: &[u8], secrets: Secrets) -> Result<Self, Failure> {
        if bytes.len() != LENGTH {
            return Err(refusal(path, &format!("it has {} bytes instead of {LENGTH}", bytes.len()), PUT_BACK));
        }
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes).map_err(|_| refusal(path, "it is no key", PUT_BACK))?;
        Ok(Self(Arc::new(Key { key: LessSafeKey::new(key), random: SystemRandom::new(), secrets })))
    }

    /// One for whoever only looks: nothing is made, and of secrets that were read by their names only these are known.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn to_look(folder: &Path) -> Result<Self, Failure> {
        Ok(Self::if_there(folder, Arc::new(|_| Some(String::new())))?.unwrap_or_else(Self::none))
    }

    /// Whether its key opens this seal.
    pub(super) fn opens(&self, sealed: &str) -> bool {
        self.0.open(sealed).is_ok()
    }

    /// One for what holds no secrets.
    pub(super) fn none() -> Self {
        Self(Arc::new(NoSecrets))
    }

    /// Writes something as JSON, its secrets sealed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, what: &impl Serialize) -> Result<String, StoreError> {
        exactly(&self.0, || json::text(what)).map_err(|error| unwritten(&error))
    }

    /// Writes a list as JSON, its secrets sealed, with room for so many bytes to begin with. `fits` is told of each item how many bytes it takes, and how
    /// many there are with it.
    ///
    /// # Errors
    /// It cannot be written, or does not fit.
    pub(super) fn write_list<T: Serialize>(
        &self,
        items: &[T],
        room: usize,
        fits: impl Fn(u64, u64) -> Result<(), StoreError>,
    ) -> Result<String, StoreError> {
        exactly(&self.0, || {
            let mut list = List::with_room_for(room);
            for item in items {
                let bytes = list.push(item).map_err(|error| unwritten(&error))?;
                fits(bytes as u64, list.bytes() as u64)?;
            }
            Ok(list.end())
        })
    }

    /// What JSON of the journal says.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub(super) fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, String> {
        exactly(&self.0, || serde_json::from_str(text)).map_err(|error| error.to_string())
    }
}

fn unwritten(error: &serde_json::Error) -> StoreError {
    StoreError::Unreadable(format!("a value cannot be kept: {error}"))
}

/// The way out where the key is not what it was.
const PUT_BACK: &str = "put back the one that was there, or name another folder with --data DIR";

/// A key that the system does not give, or does not let make.
fn unusable(path: &Path, error: &io::Error) -> Failure {
    let way_out = match Cause::from(error) {
        Cause::Denied => "do this as the user that the data folder belongs to, or name another folder with --data DIR",
        Cause::NoRoom => "make room on that disk, or name another folder with --data DIR",
        Cause::Disk => return connection::bad_disk(path, &error.to_string()),
        _ => PUT_BACK,
    };
    refusal(path, &error.to_string(), way_out)
}

fn refusal(path: &Path, why: &str, way_out: &str) -> Failure {
    let message = format!("the key {} with which secrets are sealed cannot be used: {why}; {way_out}", path.display());
    Failure::new(FailureKind::Permanent, message).with_code(NO_KEY)
}

/// Makes the key: it is there wholly or not at all, and nobody else may read it.
fn make(folder: &Path, path: &Path, random: &SystemRandom) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH];
    random.fill(&mut bytes).map_err(|_| io::Error::other("the system gives no randomness"))?;
    let draft = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()?;
    Ok(bytes)
}

impl Seal for Key {
    fn seal(&self, secret: &Secret) -> Result<String, String> {
        let sealed = if secret.is_given() {
            Sealed::Given(secret.name().to_owned(), secret.reveal().to_owned())
        } else {
            Sealed::Named(secret.name().to_owned())
        };
        let mut text = serde_json::to_vec(&sealed).map_err(|error| error.to_string())?;
        let mut number = [0; NONCE_LEN];
        self.random.fill(&mut number).map_err(|_| "the system gives no randomness")?;
        let nonce = Nonce::assume_unique_for_key(number);
        self.key.seal_in_place_append_tag(nonce, Aad::from(CONTEXT), &mut text).map_err(|_| "a secret cannot be sealed")?;
        Ok(STANDARD.encode([&number[..], &text].concat()))
    }

    fn open(&self, sealed: &str) -> Result<Secret, String> {
        let other = "a secret in it was sealed with another key than the data folder has";
        let bytes = STANDARD.decode(sealed).map_err(|_| other)?;
        let (number, text) = bytes.split_at_checked(NONCE_LEN).ok_or(other)?;
        let nonce = Nonce::try_assume_unique_for_key(number).map_err(|_| other)?;
        let mut text = text.to_vec();
        let text = self.key.open_in_place(nonce, Aad::from(CONTEXT), &mut text).map_err(|_| other)?;
        match serde_json::from_slice(text).map_err(|_| "a secret in it is of a kind that is not known")? {
            Sealed::Given(name, value) => Ok(Secret::given(name, value)),
            Sealed::Named(name) => match (self.secrets)(&name) {
                Some(value) => Ok(Secret::new(name, value)),
                None => Err(format!(
                    "the secret {name} is not given any more; set the environment variable {name}, or put it into the file of --secrets"
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::{Tree, Value};

    fn sealer(folder: &Path, known: &'static [(&'static str, &'static str)]) -> Sealer {
        let secrets: Secrets = Arc::new(move |name| known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()));
        Sealer::of(folder, secrets).expect("the folder can be written to")
    }

    fn secret(secret: Secret) -> Value {
        Value::from(Tree::Secret(secret))
    }

    #[test]
    fn a_named_secret_is_read_again_and_a_given_one_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = sealer(folder.path(), &[]);
        let named = before.write(&secret(Secret::new("API_KEY", "hunter2"))).expect("it can be sealed");
        let given = before.write(&secret(Secret::given("password", "hunter3"))).expect("it can be sealed");
        assert!(!named.contains("hunter") && !given.contains("hunter") && !named.contains("API_KEY"), "{named} {given}");
        let after = sealer(folder.path(), &[("API_KEY", "newer")]);
        assert_eq!(after.read::<Value>(&named).expect("it is known"), secret(Secret::new("API_KEY", "newer")));
        assert_eq!(after.read::<Value>(&given).expect("it is in it"), secret(Secret::given("password", "hunter3")));
        let why = sealer(folder.path(), &[]).read::<Value>(&named).expect_err("nobody gives it any more");
        assert!(why.contains("API_KEY") && why.contains("--secrets"), "{why}");
    }

    #[test]
    fn each_time_it_is_sealed_otherwise_and_another_key_opens_nothing() {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let sealer_of_one = sealer(one.path(), &[]);
        let value = secret(Secret::given("password", "hunter2"));
        let [first, second] = [(); 2].map(|()| sealer_of_one.write(&value).expect("it can be sealed"));
        assert_ne!(first, second);
        let why = sealer(other.path(), &[]).read::<Value>(&first).expect_err("it has another key");
        assert!(why.contains("another key"), "{why}");
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_its_owner_s_alone_and_stays() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        drop(sealer(folder.path(), &[]));
        let path = folder.path().join(FILE);
        let key = fs::read(&path).expect("it was made");
        assert_eq!(fs::metadata(&path).expect("it was made").permissions().mode() & 0o777, 0o600);
        drop(sealer(folder.path(), &[]));
        assert_eq!(fs::read(&path).expect("it is there"), key);
    }

    #[test]
    fn a_key_that_may_not_be_read_says_so_and_not_that_it_has_to_be_put_back() {
        let says = |kind| unusable(Path::new("seal.key"), &io::Error::from(kind)).into_particulars().message;
        let denied = says(ErrorKind::PermissionDenied);
        assert!(denied.contains("as the user that the data folder belongs to") && !denied.contains("put back"), "{denied}");
        assert!(says(ErrorKind::StorageFull).contains("make room"));
        assert!(says(ErrorKind::IsADirectory).contains("put back"));
    }

    #[test]
    fn a_key_that_is_none_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE), "short").expect("written");
        let failure = Sealer::of(folder.path(), Arc::new(|_| None)).err().expect("it is no key");
        assert_eq!(failure.code.as_deref(), Some(NO_KEY));
        assert!(failure.message.contains("5 bytes") && failure.message.contains("--data"), "{failure}");
    }
}
