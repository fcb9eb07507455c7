//! Identities: names that people write, and ids that the host makes.

mod prefix;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::json;

pub use prefix::IdPrefix;

/// Makes a cheap-to-clone name type, so that a flow's name cannot be passed where a step's is wanted.
macro_rules! name {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the name as it was written.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, formatter)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a pipeline or a library: the value of its `pipeline:` or `library:` key.
    PipelineName
}
name! {
    /// The name of a flow within its pipeline; `main` where the file has only one.
    FlowName
}
name! {
    /// The id of a step within its flow: `[a-z][a-z0-9_]*`. A step without one is named after its place, as `#3`.
    StepId
}
name! {
    /// The name of an executor as declared under `executors:`, or a built-in's dotted name.
    ExecutorName
}
name! {
    /// The type of an event, as `ChatSaved`.
    EventType
}
name! {
    /// The name of a resource under `resources:`.
    ResourceName
}
name! {
    /// The name of a policy under `policies:`.
    PolicyName
}

/// Makes an id type over a UUID of version 7: sortable by the time it was made.
macro_rules! id {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    json::plain(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()), serializer)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl $name {
            /// Takes an id that [`Random`](crate::model::port::Random) made, or one that was recorded.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// The id as a UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }
    };
}

id! {
    /// One activation of a flow.
    RunId
}
id! {
    /// One job: the command that a step dispatched. It is the causation id of what the job causes.
    JobId
}
id! {
    /// One event on a bus.
    EventId
}
id! {
    /// What one request set in motion: every run, job and event that came of it carries the same.
    CorrelationId
}

impl RunId {
    /// The run that an attempt of a job starts (`call`, `dispatch`): always the same for the same attempt, so that a start that is repeated
    /// finds the run that the first one made. Sorts where the job does.
    pub fn started_by(job: JobId, attempt: u32) -> Self {
        Self::derived(job.0, &[attempt])
    }

    /// The run that a `dispatch` step sends on its way: always the same for the same lane and step of a run. Sorts where that run does.
    pub fn dispatched_by(run: Self, lane: u32, step: u32) -> Self {
        Self::derived(run.0, &[lane, step])
    }

    fn derived(from: Uuid, by: &[u32]) -> Self {
        let by: Vec<u8> = by.iter().flat_map(|number| number.to_le_bytes()).collect();
        let digest = Digest::of_parts([&from.as_bytes()[..], &by]);
        let mut bytes = *from.as_bytes();
        for (byte, hashed) in bytes.iter_mut().zip(digest.as_bytes()).skip(6) {
            *byte = *hashed;
        }
        Self(uuid::Builder::from_bytes(bytes).with_variant(uuid::Variant::RFC4122).with_version(uuid::Version::SortRand).into_uuid())
    }
}

impl EventId {
    /// The event that a job's output becomes by way of an outbox: always the same for the same job, so that an attempt that is made again makes no
    /// second one. Sorts where the job does.
    pub fn emitted_by(job: JobId) -> Self {
        Self(RunId::derived(job.0, &[u32::MAX, u32::MAX]).0)
    }
}

/// A map by an id that the host made. Such an id has 62 random bits, which nobody outside chooses: to hash it once more with a key, as the
/// standard map does, would guard against nothing and is most of what a look into a small map costs.
pub type IdMap<Id, V> = HashMap<Id, V, BuildHasherDefault<IdHasher>>;

/// Spreads the bits of an id.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let word = word.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

/// The BLAKE3 digest of some content: of a script, of a component, of a pipeline's whole bundle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// The digest of several parts in their order; each part's length is hashed too, so that no two lists of parts meet.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The digest that has these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest with these 64 hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The first twelve hexadecimal digits: what people are shown.
    pub fn short(&self) -> String {
        self.0[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.short())
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::plain(&blake3::Hash::from_bytes(self.0).to_hex(), serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a digest is 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_starts_the_same_run_again_and_another_attempt_another() {
        let job = JobId::new(Uuid::from_u128(7));
        assert_eq!(RunId::started_by(job, 1), RunId::started_by(job, 1));
        assert_ne!(RunId::started_by(job, 1), RunId::started_by(job, 2));
        assert_eq!(RunId::started_by(job, 1).as_uuid().as_bytes()[..6], job.as_uuid().as_bytes()[..6]);
    }

    #[test]
    fn each_lane_and_step_dispatches_a_run_of_its_own() {
        let run = RunId::new(Uuid::from_u128(7));
        assert_eq!(RunId::dispatched_by(run, 1, 2), RunId::dispatched_by(run, 1, 2));
        assert_ne!(RunId::dispatched_by(run, 1, 2), RunId::dispatched_by(run, 2, 1));
    }

    #[test]
    fn ids_are_spread_over_a_map() {
        let mut map = IdMap::default();
        for number in 0..1_000_u128 {
            map.insert(RunId::new(Uuid::from_u128(number << 20)), number);
        }
        assert!((0..1_000).all(|number| map.get(&RunId::new(Uuid::from_u128(number << 20))) == Some(&number)));
        let hash = |number: u128| std::hash::BuildHasher::hash_one(map.hasher(), RunId::new(Uuid::from_u128(number)));
        let tops: std::collections::HashSet<_> = (0..1_000).map(|number| hash(number) >> 57).collect();
        assert!(tops.len() > 64, "the bits that a map looks at first differ");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Digest::of_parts([&b"ab"[..], b"c"]), Digest::of_parts([&b"a"[..], b"bc"]));
    }
}
