//! `--events json`: everything that happens, one JSON line each, on standard output.

use std::io::{self, BufWriter, Write};
use std::thread::{self, JoinHandle};

use serde::Serialize;
use tokio::runtime::Handle;

use crate::model::cancel::CancelSignal;
use crate::telemetry::{Subscription, Told};

/// So many happenings wait to be written. A reader that is slower than that is told how many it missed.
pub(super) const WAITING: usize = 16_384;

/// What stands in for happenings that were lost.
#[derive(Serialize)]
struct Lost {
    event: &'static str,
    count: u64,
}

/// Writes on a thread of its own, as a pipe may be full for as long as its reader likes, until the telling ends. When nobody reads any
/// more, `gone` is set.
///
/// # Errors
/// The system has no thread to give.
pub(super) fn start(subscription: Subscription, gone: CancelSignal) -> io::Result<JoinHandle<io::Result<()>>> {
    let runtime = Handle::current();
    thread::Builder::new().name("events".to_owned()).spawn(move || {
        let written = runtime.block_on(write(subscription, BufWriter::new(io::stdout())));
        if written.is_err() {
            gone.cancel();
        }
        written
    })
}

async fn write(mut subscription: Subscription, mut out: impl Write) -> io::Result<()> {
    loop {
        let told = match subscription.try_next() {
            Some(told) => Some(told),
            None => {
                // Nothing waits, so whoever reads along shall see what there is.
                out.flush()?;
                subscription.next().await
            }
        };
        match told {
            Some(Told::Happening(happening)) => serde_json::to_writer(&mut out, &*happening)?,
            Some(Told::Lost(count)) => serde_json::to_writer(&mut out, &Lost { event: "lost", count })?,
            None => return out.flush(),
        }
        out.write_all(b"\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::happening::{Happening, What};
    use crate::model::port::Sink;
    use crate::model::time::Timestamp;
    use crate::telemetry::{Detail, Telemetry};

    #[tokio::test]
    async fn every_happening_is_one_line_and_losses_are_told() {
        let telemetry = Telemetry::new();
        let subscription = telemetry.subscribe(1, Detail::Fine);
        for files in [1, 2] {
            let what = What::Indexed { index: "a/docs".to_owned(), files, chunks: files };
            telemetry.accept(Happening { time: Timestamp::EPOCH, run: None, what });
        }
        telemetry.close();
        let mut out = Vec::new();
        write(subscription, &mut out).await.expect("memory can be written");
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r#"{"event":"lost","count":1}"#);
        assert_eq!(lines[1], r#"{"time":"1970-01-01T00:00:00.000Z","event":"indexed","index":"a/docs","files":2,"chunks":2}"#);
        assert_eq!(lines.len(), 2);
    }
}
