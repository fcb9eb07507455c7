//! The form in which results of dedup and cache are kept.

use crate::engine::keeping::{joined, parted, read, written};
use crate::model::policy::{CacheSettings, PolicyIdentity};
use crate::model::record::{Kept, Room, Write};
use crate::model::time::Timestamp;
use crate::model::value::{Map, Tree, Value};
use crate::policy::cache::Fetched;
use crate::policy::dedup::KeptResult;

/// A success that answers repeats.
pub(super) fn result(identity: &PolicyIdentity, key: &str, kept: &KeptResult) -> Kept {
    let mut fields = Map::from_iter([("job".to_owned(), written(&kept.job)), ("settled".to_owned(), written(&kept.settled))]);
    if let Some(value) = &kept.value {
        fields.insert("value".to_owned(), value.tree().clone());
    }
    let value = Value::from(Tree::Map(fields));
    Kept { room: Room::Dedup, owner: owner(identity), key: key.to_owned(), value, until: Some(kept.until) }
}

/// Reads such a success; `None` if it is none.
pub(super) fn read_result(kept: &Kept) -> Option<(PolicyIdentity, KeptResult)> {
    let result = KeptResult {
        job: read(&kept.value, "job")?,
        value: kept.value.field("value"),
        settled: read(&kept.value, "settled")?,
        until: kept.until?,
    };
    Some((identity(&kept.owner)?, result))
}

/// A result of a cache.
pub(super) fn fetched(
    identity: &PolicyIdentity,
    key: &str,
    (value, tags): (&Value, &[String]),
    stored: Timestamp,
    settings: &CacheSettings,
) -> Kept {
    let fields = [("value", value.tree().clone()), ("tags", written(&tags)), ("stored", written(&stored))];
    let value = Value::from(Tree::Map(fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect()));
    let until = Some(stored + settings.ttl + settings.stale);
    Kept { room: Room::Cache, owner: owner(identity), key: key.to_owned(), value, until }
}

/// Reads a result of a cache with the times at which it was stored and goes; `None` if it is none.
pub(super) fn read_fetched(kept: &Kept) -> Option<(PolicyIdentity, Fetched, (Timestamp, Timestamp))> {
    let fetched = Fetched { value: kept.value.field("value")?, tags: read(&kept.value, "tags")? };
    Some((identity(&kept.owner)?, fetched, (read(&kept.value, "stored")?, kept.until?)))
}

/// Whether it is a result of dedup or cache at all.
pub(super) fn is_result(kept: &Kept) -> bool {
    match kept.room {
        Room::Cache => read_fetched(kept).is_some(),
        _ => read_result(kept).is_some(),
    }
}

/// What went before its time.
pub(super) fn forget(room: Room, identity: &PolicyIdentity, key: &str) -> Write {
    Write::Forget { room, owner: owner(identity), key: Some(key.to_owned()) }
}

fn owner(identity: &PolicyIdentity) -> String {
    match identity {
        PolicyIdentity::Named { owner, policy } => joined(&[owner, policy]),
        PolicyIdentity::Step { pipeline, flow, step } => joined(&[pipeline, flow, step]),
    }
}

fn identity(owner: &str) -> Option<PolicyIdentity> {
    match <[String; 2]>::try_from(parted(owner)?) {
        Ok([owner, policy]) => Some(PolicyIdentity::Named { owner, policy }),
        Err(parts) => {
            let [pipeline, flow, step] = <[String; 3]>::try_from(parts).ok()?;
            Some(PolicyIdentity::Step { pipeline, flow, step })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::id::JobId;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

    fn identities() -> [PolicyIdentity; 2] {
        let step = PolicyIdentity::Step { pipeline: "p".to_owned(), flow: "main".to_owned(), step: "s".to_owned() };
        [PolicyIdentity::Named { owner: "p".to_owned(), policy: "api".to_owned() }, step]
    }

    #[test]
    fn what_is_kept_reads_back() {
        let settings = CacheSettings { ttl: Duration::from_secs(3), stale: Duration::from_secs(2), max_entries: 9 };
        for of in identities() {
            for value in [Some(Value::null()), Some(Value::string("x")), None] {
                let kept =
                    KeptResult { job: JobId::new(uuid::Uuid::from_u128(7)), value, settled: NOW, until: NOW + Duration::from_secs(9) };
                assert_eq!(read_result(&result(&of, "key", &kept)), Some((of.clone(), kept)));
            }
            let tags = vec!["a".to_owned()];
            let (value, times) = (Value::string("x"), (NOW, NOW + Duration::from_secs(5)));
            let kept = fetched(&of, "key", (&value, &tags), NOW, &settings);
            assert_eq!(read_fetched(&kept), Some((of, Fetched { value, tags }, times)));
        }
    }

    #[test]
    fn what_is_broken_is_a_miss() {
        let whole = KeptResult { job: JobId::new(uuid::Uuid::from_u128(7)), value: None, settled: NOW, until: NOW };
        let whole = result(&identities()[0], "key", &whole);
        let broken = |change: fn(&mut Kept)| {
            let mut kept = whole.clone();
            change(&mut kept);
            read_result(&kept)
        };
        assert!(broken(|_| ()).is_some());
        assert!(broken(|kept| kept.until = None).is_none());
        assert!(broken(|kept| kept.owner = "p".to_owned()).is_none());
        assert!(broken(|kept| kept.value = Value::string("x")).is_none());
        assert!(read_fetched(&whole).is_none());
    }
}
