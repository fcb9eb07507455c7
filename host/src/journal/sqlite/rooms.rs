//! What outlives runs: kept values and bundles.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::apply::Transaction;
use super::connection::Trouble;
use super::encode::{Change, nanos, timestamp};
use super::payload::{Content, Payloads, Stored};
use super::seal::Sealer;
use crate::model::bundle::Bundle;
use crate::model::id::Digest;
use crate::model::port::{Page, StoreError, Unreadable};
use crate::model::record::{Kept, Room};

use super::connection::unread;

/// Keeps and forgets. A value that replaces another goes to the end of its room: its row is a new one.
pub(super) fn change(transaction: &Transaction<'_>, changes: &[Change]) -> Result<(), Trouble> {
    let connection = transaction.connection;
    for change in changes {
        match change {
            Change::Keep { room, owner, key, value, until } => {
                transaction.payloads.put(value)?;
                connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO kept (room, owner, key, value, payload, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![room.as_str(), owner, key, value.here(), value.file(), until.map(nanos)])?;
            }
            Change::Forget { room, owner, key: Some(key) } => {
                connection.prepare_cached("DELETE FROM kept WHERE room = ?1 AND owner = ?2 AND key = ?3")?.execute(params![
                    room.as_str(),
                    owner,
                    key
                ])?;
            }
            Change::Forget { room, owner, key: None } => {
                connection.prepare_cached("DELETE FROM kept WHERE room = ?1 AND owner = ?2")?.execute(params![room.as_str(), owner])?;
            }
            Change::Bundle(bundle, files) => store(transaction, bundle, files)?,
            Change::Emit(event) => {
                transaction.payloads.put(&event.data)?;
                // One that is there was told before, and is told once more.
                connection
                    .prepare_cached(
                        "INSERT INTO events (event, time, data, payload) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (event) DO UPDATE SET published = 0",
                    )?
                    .execute(params![event.event.as_uuid().as_bytes(), nanos(event.time), event.data.here(), event.data.file()])?;
            }
        }
    }
    Ok(())
}

/// Stores a bundle. One that is there already stays as it is, and counts as in use by this host from now on.
fn store(transaction: &Transaction<'_>, bundle: &Bundle, files: &[Content<Arc<[u8]>>]) -> Result<(), Trouble> {
    let connection = transaction.connection;
    let revision = bundle.revision.to_string();
    let known =
        connection.prepare_cached("UPDATE bundles SET epoch = ?2 WHERE revision = ?1")?.execute(params![revision, transaction.epoch])?;
    if known > 0 {
        return Ok(());
    }
    connection
        .prepare_cached("INSERT INTO bundles (revision, pipeline, format, file, epoch) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![revision, bundle.pipeline.as_str(), bundle.format, bundle.file.to_string_lossy(), transaction.epoch])?;
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO bundle_files (revision, place, path, content, payload) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (place, ((path, _), content)) in (0_i64..).zip(bundle.files.iter().zip(files)) {
        transaction.payloads.put(content)?;
        insert.execute(params![revision, place, path.to_string_lossy(), content.here().map(|content| &content[..]), content.file()])?;
    }
    Ok(())
}

/// What is kept in a room, what was written first in front. What cannot be read hinders itself only.
pub(super) fn kept(connection: &Connection, (room, most): (Room, usize), sealer: &Sealer, payloads: &Payloads) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let mut read = || {
        let mut statement = connection.prepare_cached(
            "SELECT owner, key, until, value, payload, position FROM kept WHERE room = ?1 AND position > ?2 ORDER BY position LIMIT ?3",
        )?;
        let mut after = i64::MIN;
        // Those that cannot be read take nobody's place: a full room of them would hide all others.
        loop {
            let wanted = i64::try_from(most - page.kept.len()).unwrap_or(i64::MAX);
            let mut rows = statement.query((room.as_str(), after, wanted))?;
            let mut found = 0;
            while let Some(row) = rows.next()? {
                let (owner, key, until): (String, String, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                match Stored::of(row, 3)?.text(payloads).and_then(|value| sealer.read(&value)) {
                    Ok(value) => page.kept.push(Kept { room, owner, key, value, until: until.map(timestamp) }),
                    Err(why) => page.unreadable.push(Unreadable { owner, key, why, until: until.map(timestamp) }),
                }
                after = row.get(5)?;
                found += 1;
            }
            if found < wanted || page.kept.len() == most {
                return Ok(());
            }
        }
    };
    read().map_err(|error: rusqlite::Error| unread(&error))?;
    Ok(page)
}

/// Which of these, by owner and key, are kept in a room, whether they can be read or not.
pub(super) fn holds(connection: &Connection, room: Room, names: &[(String, String)]) -> Result<HashSet<(String, String)>, StoreError> {
    let read = || {
        let mut asked = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM kept WHERE room = ?1 AND owner = ?2 AND key = ?3)")?;
        let mut held = HashSet::new();
        for (owner, key) in names {
            if asked.query_row(params![room.as_str(), owner, key], |row| row.get::<_, bool>(0))? {
                held.insert((owner.clone(), key.clone()));
            }
        }
        Ok(held)
    };
    read().map_err(|error: rusqlite::Error| unread(&error))
}

/// What a revision is made of.
pub(super) fn bundle(connection: &Connection, revision: Digest, payloads: &Payloads) -> Result<Option<Arc<Bundle>>, StoreError> {
    let name = revision.to_string();
    let read = || {
        let known = connection
            .prepare_cached("SELECT pipeline, format, file FROM bundles WHERE revision = ?1")?
            .query_row([&name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?, row.get::<_, String>(2)?)))
            .optional()?;
        let Some((pipeline, format, file)) = known else { return Ok(None) };
        let mut statement =
            connection.prepare_cached("SELECT path, content, payload FROM bundle_files WHERE revision = ?1 ORDER BY place")?;
        let files = statement.query_map([&name], |row| Ok((PathBuf::from(row.get::<_, String>(0)?), row.get(1)?, row.get(2)?)))?;
        let files = files.collect::<Result<Vec<(PathBuf, Option<Vec<u8>>, Option<String>)>, _>>()?;
        Ok(Some((pipeline, format, file, files)))
    };
    let Some((pipeline, format, file, stored)) = read().map_err(|error: rusqlite::Error| unread(&error))? else { return Ok(None) };
    let mut files = Vec::with_capacity(stored.len());
    for (path, content, payload) in stored {
        let unreadable = |why: String| StoreError::Unreadable(format!("{} of revision {}: {why}", path.display(), revision.short()));
        let content = match (content, payload) {
            (Some(content), _) => content,
            (None, Some(payload)) => payloads.get(&payload).map_err(unreadable)?,
            (None, None) => return Err(unreadable("it is not there".to_owned())),
        };
        files.push((path, Arc::from(content)));
    }
    Ok(Some(Arc::new(Bundle { format, revision, pipeline: pipeline.as_str().into(), file: file.into(), files })))
}
