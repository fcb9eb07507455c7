//! Takes connections, one request each, all of it bounded: how many, how long a line, how long a wait.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::request::{Answer, LONGEST_REQUEST, Request, refuse};
use super::{router, socket};
use crate::app::Commands;
use crate::model::cancel::CancelSignal;
use crate::model::failure::{Failure, FailureKind};
use crate::model::port::Clock;

/// So many connections are served at once; one more is refused.
pub const CONNECTIONS: usize = 64;

/// So long a connection may take to say what it wants.
const TO_ASK: Duration = Duration::from_secs(10);
/// So long one answer may wait to be read.
const TO_READ: Duration = Duration::from_secs(30);
/// So long connections have to read their last answers when the host ends.
const TO_LEAVE: Duration = Duration::from_secs(2);
/// The wait after a connection that could not be taken, as when the process has too many files open.
const TO_RECOVER: Duration = Duration::from_millis(100);

/// The socket of a running host, and all who are connected. It must be stopped with [`stop`](Self::stop).
pub struct Control {
    listening: JoinHandle<()>,
    /// No further connection is taken.
    closing: CancelSignal,
    /// Connections end where they are.
    ending: CancelSignal,
    connections: TaskTracker,
    clock: Arc<dyn Clock>,
}

impl Control {
    /// Opens the socket in the data folder, which this process must own, and serves the commands from now on.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub async fn start(commands: Commands, data: &Path) -> Result<Self, Failure> {
        let socket = socket::listen(data).await?;
        let (closing, ending, connections) = (CancelSignal::new(), CancelSignal::new(), TaskTracker::new());
        let clock = Arc::clone(commands.clock());
        let taking = take(socket, commands, connections.clone(), ending.clone());
        let closed = closing.clone();
        let listening = tokio::spawn(async move {
            // Dropping what takes connections closes the socket and removes its file.
            let _ = closed.run_until_cancelled(taking).await;
        });
        Ok(Self { listening, closing, ending, connections, clock })
    }

    /// Takes no further connection; those that are there go on.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Closes, gives those that are connected a moment to read how their runs ended, and ends them. To be called when all runs have
    /// ended.
    pub async fn stop(self) {
        self.close();
        // It fails only if the task panicked, which the panic hook has told.
        let _ = self.listening.await;
        self.connections.close();
        tokio::select! {
            () = self.connections.wait() => {}
            () = self.clock.sleep_until(self.clock.now() + TO_LEAVE) => {}
        }
        self.ending.cancel();
        self.connections.wait().await;
    }
}

async fn take(socket: socket::Socket, commands: Commands, connections: TaskTracker, ending: CancelSignal) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = socket.listener.accept().await else {
            let clock = commands.clock();
            clock.sleep_until(clock.now() + TO_RECOVER).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let message = format!("{CONNECTIONS} connections are served already; try again later");
            let failure = Failure::new(FailureKind::Rejected, message);
            // What does not go out at once is not worth a wait.
            let _ = stream.try_write(Answer::Refused { failure }.line().as_bytes());
            continue;
        };
        let (commands, ending) = (commands.clone(), ending.clone());
        connections.spawn(async move {
            // Whoever is cut off, or goes away, is told nothing more; what was begun goes on.
            let _ = ending.run_until_cancelled(serve(stream, &commands)).await;
            drop(place);
        });
    }
}

async fn serve(stream: UnixStream, commands: &Commands) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let clock = commands.clock();
    let mut out = Out { writer: &mut writer, clock: &**clock };
    let request = match asked(&mut reader, &**clock).await?.and_then(|line| Request::parse(&line)) {
        Ok(request) => request,
        Err(failure) => return out.say(&Answer::Refused { failure }).await,
    };
    tokio::select! {
        answered = router::answer(request, commands, &mut out) => answered,
        // Who closes its side wants to hear no more.
        gone = until_closed(&mut reader) => gone,
    }
}

/// The first line, or why there is none in time.
async fn asked(reader: &mut OwnedReadHalf, clock: &dyn Clock) -> io::Result<Result<Vec<u8>, Failure>> {
    tokio::select! {
        line = request_line(reader) => line,
        () = clock.sleep_until(clock.now() + TO_ASK) => Ok(Err(refuse("no request came within 10 s"))),
    }
}

/// The first line, or why there is none.
async fn request_line(reader: &mut OwnedReadHalf) -> io::Result<Result<Vec<u8>, Failure>> {
    let mut line = Vec::new();
    let mut piece = [0; 8 << 10];
    loop {
        let length = reader.read(&mut piece).await?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else {
            return Ok(Err(refuse("the connection ended before the request did: a request is one line")));
        };
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            line.extend(read.iter().take(end));
            return Ok(Ok(line));
        }
        line.extend_from_slice(read);
        if line.len() >= LONGEST_REQUEST {
            return Ok(Err(refuse(&format!("the request is longer than {LONGEST_REQUEST} bytes"))));
        }
    }
}

async fn until_closed(reader: &mut OwnedReadHalf) -> io::Result<()> {
    let mut ignored = [0; 1 << 10];
    while reader.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// The way back to whoever is connected.
pub(super) struct Out<'a> {
    writer: &'a mut OwnedWriteHalf,
    clock: &'a dyn Clock,
}

impl Out<'_> {
    /// Writes an answer.
    ///
    /// # Errors
    /// Nobody reads any more, or not within 30 s.
    pub(super) async fn say(&mut self, answer: &Answer) -> io::Result<()> {
        let line = answer.line();
        tokio::select! {
            written = self.writer.write_all(line.as_bytes()) => written,
            () = self.clock.sleep_until(self.clock.now() + TO_READ) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Activity, VirtualClock};
    use crate::model::value::Value;

    #[tokio::test]
    async fn who_asks_for_nothing_is_refused_in_time() {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let (mut reader, _writer) = near.into_split();
        let clock = VirtualClock::new(Activity::new());
        let failure = clock.run(asked(&mut reader, &clock)).await.expect("it reads").expect_err("nothing came");
        assert_eq!((failure.message.as_str(), clock.now().as_millis()), ("no request came within 10 s", 10_000));
    }

    #[tokio::test]
    async fn who_does_not_read_is_left_in_time() {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let (_reader, mut writer) = near.into_split();
        let clock = VirtualClock::new(Activity::new());
        let mut out = Out { writer: &mut writer, clock: &clock };
        let reply = Value::string("x".repeat(8 << 20));
        let error = clock.run(out.say(&Answer::Reply { reply })).await.expect_err("nobody reads");
        assert_eq!((error.kind(), clock.now().as_millis()), (io::ErrorKind::TimedOut, 30_000));
    }
}
