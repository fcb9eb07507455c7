//! The thread that takes over into the file what the write-ahead log has: who writes goes on meanwhile.
//!
//! A log that is written to without a pause is never taken over to its end that way, and only then it is begun anew. So whoever writes takes over the
//! little that has come since, which holds it up for a fraction of the time.
//!
//! A log that cannot be opened for want of file descriptors harms nothing: it grows on, and is taken over some steps later.

use std::io;
use std::path::Path;

use rusqlite::{Connection, Error, ErrorCode};

use super::connection::{self, Trouble};
use super::serving::{Serving, Shared};

/// The thread, as the one that writes has it.
pub(super) struct Checkpointing(Serving<State>);

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Asked,
    Ended(Result<(), Trouble>),
    Closed,
}

/// Takes over what can be taken over without waiting for anybody: how many frames the log has, and how many of them are in the file.
///
/// # Errors
/// There is no room, or what is on the disk is not known any more.
pub(super) fn take_over(connection: &Connection) -> Result<(i32, i32), Trouble> {
    let taken = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(taken)
}

impl Checkpointing {
    /// Starts the thread for the file at this path. Without `lasting` it is never waited for the disk.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start(path: &Path, lasting: bool) -> io::Result<Self> {
        let path = path.to_owned();
        Serving::start("journal-log", move |shared: &Shared<State>| shared.run(&path, lasting)).map(Self)
    }

    /// Has the log taken over, if that is not done just now.
    pub(super) fn ask(&self) {
        let mut state = self.0.shared().state();
        if matches!(*state, State::Idle) {
            *state = State::Asked;
            self.0.shared().tell();
        }
    }

    /// What came of it, once, after that has come to its end.
    pub(super) fn ended(&self) -> Option<Result<(), Trouble>> {
        let mut state = self.0.shared().state();
        match std::mem::take(&mut *state) {
            State::Ended(done) => Some(done),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Waits for the end of what is under way; nothing more is done.
    pub(super) fn finish(&mut self) {
        self.0.end(|state| *state = State::Closed);
    }
}

impl Drop for Checkpointing {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared<State> {
    fn run(&self, path: &Path, lasting: bool) {
        let mut opened = None;
        while self.is_asked() {
            let done = self.take_over(&mut opened, path, lasting);
            let mut state = self.state();
            if matches!(*state, State::Asked) {
                *state = State::Ended(done);
            }
        }
    }

    fn take_over(&self, opened: &mut Option<Connection>, path: &Path, lasting: bool) -> Result<(), Trouble> {
        let connection = match opened.take() {
            Some(connection) => connection,
            None => open(path, lasting).map_err(|error| unopened(error, path))?,
        };
        take_over(opened.insert(connection)).map(drop)
    }

    /// Waits until it is asked; false once it is closed.
    fn is_asked(&self) -> bool {
        let idle = |state: &mut State| matches!(state, State::Idle | State::Ended(_));
        matches!(*self.wait_while(idle), State::Asked)
    }
}

/// A connection that has all open that it needs: the log is opened with the first statement that reads the file.
fn open(path: &Path, lasting: bool) -> Result<Connection, Error> {
    let connection = connection::reader(path)?;
    connection.execute_batch(if lasting { "PRAGMA synchronous=NORMAL" } else { "PRAGMA synchronous=OFF" })?;
    connection.query_row("PRAGMA user_version", [], |_| Ok(()))?;
    Ok(connection)
}

/// What it means that a file cannot be opened. The one that writes has it open already: as long as the file is there, what is wanting is a file descriptor
/// or memory, and may be there later. A file that is gone is never taken over into: nothing of what is written then would be found again.
fn unopened(error: Error, path: &Path) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::OutOfMemory) if path.exists() => Trouble::Held(error.to_string()),
        _ => Trouble::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came of it, however long it takes.
    fn ended(checkpointing: &Checkpointing) -> Result<(), Trouble> {
        loop {
            match checkpointing.ended() {
                Some(done) => return done,
                None => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn what_the_log_had_is_taken_over_while_somebody_writes_and_the_log_begins_anew_after_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file.db");
        let writer = connection::writer(&path, false).expect("it can be made");
        writer.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").expect("it is right");
        let mut checkpointing = Checkpointing::start(&path, false).expect("a thread");
        assert_eq!(checkpointing.ended(), None, "nobody asked");
        checkpointing.ask();
        // One that writes is not held up, and holds nothing up.
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)").expect("it is right");
        assert_eq!(ended(&checkpointing), Ok(()));
        assert_eq!(checkpointing.ended(), None, "it is told once");
        writer.execute_batch("COMMIT").expect("it is right");
        let (frames, taken) = take_over(&writer).expect("nobody holds it");
        assert!(frames > 0 && taken == frames, "{taken} of {frames}");
        writer.execute_batch("INSERT INTO t VALUES (3)").expect("it is right");
        let (anew, _) = take_over(&writer).expect("nobody holds it");
        assert!(anew < frames, "{anew} after {frames}");
        checkpointing.finish();
        checkpointing.ask();
        assert_eq!(checkpointing.ended(), None, "nobody is there any more");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpointing = Checkpointing::start(&folder.path().join("none.db"), false).expect("a thread");
        checkpointing.ask();
        assert!(matches!(ended(&checkpointing), Err(Trouble::Broken(_))));
    }

    /// The file of this ending is there and cannot be opened, which to the one who opens it is as if there were no descriptor; then it can again.
    fn held_once(ending: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, aside) = (folder.path().join("file.db"), folder.path().join("aside"));
        let away = folder.path().join(format!("file.db{ending}"));
        let writer = connection::writer(&path, false).expect("it can be made");
        writer.execute_batch("CREATE TABLE t (a)").expect("it is right");
        let checkpointing = Checkpointing::start(&path, false).expect("a thread");
        std::fs::rename(&away, &aside).expect("it can be moved");
        std::fs::create_dir_all(&away).expect("it can be made");
        checkpointing.ask();
        assert!(matches!(ended(&checkpointing), Err(Trouble::Held(_))));
        std::fs::remove_dir(&away).expect("it is empty");
        std::fs::rename(&aside, &away).expect("it can be moved");
        checkpointing.ask();
        assert_eq!(ended(&checkpointing), Ok(()));
        let (frames, taken) = take_over(&writer).expect("nobody holds it");
        assert!(frames > 0 && taken == frames, "{taken} of {frames}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_just_now_is_held_and_taken_over_the_next_time() {
        held_once("");
    }

    #[test]
    fn a_log_that_cannot_be_opened_just_now_is_held_and_taken_over_the_next_time() {
        held_once("-wal");
    }
}
