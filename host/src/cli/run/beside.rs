//! What happens beside the talk: taken in as it comes, and said when there is a moment.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::session::Voice;
use crate::app::{App, Outcome, Report, Room};
use crate::cli::banner::Indexed;
use crate::cli::diagnostics;
use crate::cli::notice::{self, Notices};
use crate::cli::style::Style;
use crate::cli::typed::Typed;
use crate::model::happening::What;
use crate::telemetry::{Detail, Subscription, Told};

/// So many happenings wait for the terminal.
const HAPPENINGS: usize = 1_024;

/// What happens beside the talk, until there is a moment to say it.
pub(super) struct Beside {
    happenings: Subscription,
    reports: broadcast::Receiver<Arc<Report>>,
    room: Room,
    waiting: Notices,
    /// How commands are typed that reach this host.
    pub(super) typed: Typed,
    pub(super) style: Style,
    pub(super) indexed: Indexed,
    /// Whether something is in force.
    pub(super) started: bool,
    /// Whether the banner is still to come, which says some of it by itself.
    before_banner: bool,
}

impl Beside {
    /// Listens to the app from now on; lines go to standard error.
    pub(super) fn of(app: &App, typed: Typed) -> Self {
        Self {
            happenings: app.subscribe(HAPPENINGS, Detail::Coarse),
            reports: app.reports(),
            room: app.room(),
            waiting: Notices::default(),
            typed,
            style: Style::of(&io::stderr()),
            indexed: Indexed::new(),
            started: false,
            before_banner: true,
        }
    }

    /// Waits until there is something to say. Dropping the wait loses nothing.
    pub(super) async fn wait(&mut self) {
        loop {
            tokio::select! {
                told = self.happenings.next() => match told {
                    Some(told) => if self.note(&told) { return },
                    None => return std::future::pending().await,
                },
                (was, now) = self.room.changed() => {
                    if let Some(line) = notice::room(&was, &now) {
                        self.waiting.keep(self.style.yellow(&line));
                        return;
                    }
                }
                report = next_report(&mut self.reports) => {
                    let mistakes = self.mistakes(&report);
                    if !mistakes.is_empty() {
                        self.waiting.keep(mistakes);
                        return;
                    }
                }
            }
        }
    }

    /// Takes in what happens, and says nothing: while a host starts, very much may. Never ends; dropping it loses nothing.
    pub(super) async fn listen(&mut self) -> Infallible {
        while let Some(told) = self.happenings.next().await {
            self.note(&told);
        }
        std::future::pending().await
    }

    /// The next report; what happens until then is taken in.
    pub(super) async fn report(&mut self) -> Arc<Report> {
        loop {
            tokio::select! {
                report = next_report(&mut self.reports) => return report,
                Some(told) = self.happenings.next() => {
                    self.note(&told);
                }
            }
        }
    }

    /// Takes in what has happened up to the banner. What was found unreadable or stalled by then is said after it, like everything else that the banner does
    /// not say itself.
    pub(super) fn catch_up(&mut self) {
        while let Some(told) = self.happenings.try_next() {
            self.note(&told);
        }
        self.before_banner = false;
    }

    /// Whether there is more to say now.
    fn note(&mut self, told: &Told) -> bool {
        let Told::Happening(happening) = told else { return false };
        if let What::Indexed { index, files, chunks } = &happening.what {
            self.indexed.insert(index.clone(), (*files, *chunks));
        }
        let names_run = self.waiting.names_run(happening);
        if self.before_banner && is_in_banner(&happening.what) {
            return false;
        }
        let after_retries = self.waiting.after_retries(happening, self.style, names_run);
        match after_retries.or_else(|| notice::line(happening, self.style, names_run)) {
            Some(line) if self.waiting.is_news(happening) => {
                self.waiting.keep(self.typed.text(&line).into_owned());
                true
            }
            _ => false,
        }
    }

    /// The mistakes and warnings of a report, with what they came to.
    pub(super) fn mistakes(&self, report: &Report) -> String {
        let mut text = diagnostics::text(&report.diagnostics, &report.sources, self.style.is_coloured());
        if report.outcome == Outcome::Refused {
            let came_to = if self.started { "Nothing changes: what ran before goes on." } else { "Nothing was started." };
            text.push_str(&format!("{}\n", self.style.red(came_to)));
        }
        text
    }

    pub(super) fn say_if_quiet(&mut self, talk: &mut Voice) -> io::Result<()> {
        if talk.is_busy() { Ok(()) } else { self.say_all(talk) }
    }

    pub(super) fn say_all(&mut self, talk: &mut Voice) -> io::Result<()> {
        self.waiting.take().into_iter().try_for_each(|line| talk.beside(&line))
    }

    /// Says what happened up to the end, when nothing more can happen.
    pub(super) fn say_last(&mut self, talk: &mut Voice) -> io::Result<()> {
        while let Some(told) = self.happenings.try_next() {
            self.note(&told);
        }
        self.say_all(talk)
    }
}

/// Whether the banner says it: which documents there are, and what is in force.
const fn is_in_banner(what: &What) -> bool {
    matches!(what, What::Indexed { .. } | What::Reloaded { .. } | What::Unchanged)
}

async fn next_report(reports: &mut broadcast::Receiver<Arc<Report>>) -> Arc<Report> {
    loop {
        match reports.recv().await {
            Ok(report) => return report,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
