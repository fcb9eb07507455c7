//! Ctrl-C and the wish of the system to end.

use std::io;

use tokio::sync::mpsc;

/// What somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The system, or the terminal that was closed.
    End,
}

/// Exit code of a program that was interrupted by force, as shells have it.
const FORCED: i32 = 130;

/// Signals as they come. One waits to be taken; if another comes before it is taken, nobody takes any more, and the process ends.
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// Listens from now on. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, signals) = mpsc::channel(1);
        listen(sender)?;
        Ok(Self(signals))
    }

    /// Waits for the next. Dropping the wait loses nothing.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
fn listen(sender: mpsc::Sender<Signal>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::End,
                _ = hangup.recv() => Signal::End,
                () = sender.closed() => return,
            };
            pass_on(&sender, signal);
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn listen(sender: mpsc::Sender<Signal>) -> io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            pass_on(&sender, Signal::Interrupt);
        }
    });
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "nobody takes signals any more, so nobody returns from main either")]
fn pass_on(sender: &mpsc::Sender<Signal>, signal: Signal) {
    if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(signal) {
        std::process::exit(FORCED);
    }
}
