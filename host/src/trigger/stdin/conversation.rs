//! Takes lines, starts a run for each, and says what comes of them in the order of the lines.
//!
//! One task asks [`Conversation::next`] again and again and shows what it gets; while it shows something nothing else is taken, which
//! is what holds back a sender that is faster than the reader of the answers.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::hearing::{Heard, Hearing};
use super::line::{Line, Lines};
use super::message::{Refusal, message};
use crate::model::activation::{Activation, Admission, Patience, RunEnd};
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{FlowName, PipelineName, RunId};
use crate::model::job::CancelReason;
use crate::model::port::Activate;
use crate::model::value::Value;

/// So many lines are under way at most; more wait where they come from.
pub const MOST_UNDER_WAY: usize = 1_024;

/// Which flow takes lines: asked anew for each, as a reload may change it. `None` when none does.
pub type Target = Box<dyn Fn() -> Option<(PipelineName, FlowName)> + Send>;

/// Where the lines come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Somebody types them: each is taken at once, an empty one is overlooked.
    Typed,
    /// A program sends them: as many as the flow's concurrency admits, an empty one is a mistake.
    Piped,
}

/// What is to be shown next.
#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    /// Nothing is under way, and the next line may come.
    Ready,
    /// Text of the answer under way.
    Tokens(String),
    /// The reply of the run under way.
    Reply(Value),
    /// The run under way has ended.
    Ended {
        /// The number of the line that it came of, from 1; lines that say nothing are counted too.
        line: u64,
        /// How.
        end: RunEnd,
    },
    /// The host stops, and the run under way goes on when it starts again.
    Left(RunId),
    /// A line was not taken.
    NotTaken {
        /// The line's number, from 1.
        line: u64,
        /// Why.
        refusal: Refusal,
    },
    /// A line was taken and no run came of it.
    NotStarted {
        /// The line's number, from 1.
        line: u64,
        /// Why.
        failure: Failure,
    },
    /// A line was forgotten, as the flow's `when_full: drop` says.
    Dropped {
        /// The line's number, from 1.
        line: u64,
    },
    /// The input has ended and so has all that came of it.
    Over,
}

/// What an interruption found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupted {
    /// Nothing was under way.
    Nothing,
    /// The run that is being shown is cancelled now; its end is still said.
    Cancelled,
    /// The run that is being shown was cancelled before and has not ended yet.
    Again,
}

/// Lines in, what came of them out.
pub struct Conversation {
    lines: Option<Lines>,
    activate: Arc<dyn Activate>,
    target: Target,
    manner: Manner,
    admitting: Option<BoxFuture<'static, Turn>>,
    turns: VecDeque<Turn>,
    cancel_next: bool,
    said_ready: bool,
}

/// One line's turn to be shown.
enum Turn {
    Run { line: u64, run: RunId, hearing: Hearing, cancelled: bool },
    Other(Said),
}

impl Conversation {
    /// A conversation over these lines.
    pub fn new(lines: Lines, activate: Arc<dyn Activate>, target: Target, manner: Manner) -> Self {
        Self::over(Some(lines), activate, target, manner)
    }

    /// A conversation of one message, which is given rather than read.
    pub fn once(input: Value, activate: Arc<dyn Activate>, target: Target) -> Self {
        let mut conversation = Self::over(None, activate, target, Manner::Piped);
        conversation.begin(1, input);
        conversation
    }

    fn over(lines: Option<Lines>, activate: Arc<dyn Activate>, target: Target, manner: Manner) -> Self {
        let turns = VecDeque::new();
        Self { lines, activate, target, manner, admitting: None, turns, cancel_next: false, said_ready: false }
    }

    /// Waits for what is to be shown next. Dropping the wait loses nothing. After [`Said::Over`] it says so again.
    pub async fn next(&mut self) -> Said {
        loop {
            let turn = match self.turns.front() {
                Some(Turn::Run { line, hearing, .. }) => Some((*line, hearing.clone())),
                Some(Turn::Other(_)) => match self.turns.pop_front() {
                    Some(Turn::Other(said)) => return said,
                    _ => continue,
                },
                None => None,
            };
            if turn.is_none() && self.admitting.is_none() {
                if self.lines.is_none() {
                    return Said::Over;
                }
                if !std::mem::replace(&mut self.said_ready, true) {
                    return Said::Ready;
                }
            }
            let (lines, admitting) = (&mut self.lines, &mut self.admitting);
            let takes_lines = admitting.is_none() && lines.is_some() && self.turns.len() < MOST_UNDER_WAY;
            tokio::select! {
                // In this order, so that what is shown does not depend on chance.
                biased;
                (line, heard) = hear(turn.as_ref()) => return self.heard(line, heard),
                turn = admitted(admitting) => self.admitted(turn),
                line = next_line(lines), if takes_lines => self.take(line),
            }
        }
    }

    /// Cancels the run that is being shown, and no other.
    pub fn interrupt(&mut self) -> Interrupted {
        match self.turns.front_mut() {
            Some(Turn::Run { run, cancelled, .. }) => {
                if std::mem::replace(cancelled, true) {
                    return Interrupted::Again;
                }
                self.activate.cancel(*run, CancelReason::Requested);
                Interrupted::Cancelled
            }
            Some(Turn::Other(_)) => Interrupted::Cancelled,
            None if self.admitting.is_some() => match std::mem::replace(&mut self.cancel_next, true) {
                true => Interrupted::Again,
                false => Interrupted::Cancelled,
            },
            None => Interrupted::Nothing,
        }
    }

    /// Whether an answer is awaited, or on its way to be said.
    pub fn is_answering(&self) -> bool {
        self.admitting.is_some() || !self.turns.is_empty()
    }

    /// Takes no further line; what is under way goes on and is still said.
    pub fn end_input(&mut self) {
        self.lines = None;
    }

    fn begin(&mut self, number: u64, input: Value) {
        self.said_ready = false;
        let Some((pipeline, flow)) = (self.target)() else {
            self.turns.push_back(Turn::Other(Said::NotStarted { line: number, failure: nobody() }));
            return;
        };
        let hearing = Hearing::default();
        let activation = Activation {
            requester: Some(Arc::new(hearing.clone())),
            patience: match self.manner {
                Manner::Typed => Patience::AsDeclared,
                Manner::Piped => Patience::Wait,
            },
            ..Activation::new(pipeline, flow, input)
        };
        let activate = Arc::clone(&self.activate);
        self.admitting = Some(Box::pin(async move {
            match activate.activate(activation).await {
                Admission::Started(run) | Admission::Queued(run) => Turn::Run { line: number, run, hearing, cancelled: false },
                Admission::Dropped => Turn::Other(Said::Dropped { line: number }),
                Admission::Refused(failure) => Turn::Other(Said::NotStarted { line: number, failure }),
            }
        }));
    }

    fn take(&mut self, line: Option<Line>) {
        let Some(Line { number, text }) = line else {
            self.lines = None;
            return;
        };
        match text.and_then(|text| message(&text)) {
            Ok(input) => self.begin(number, input),
            Err(Refusal::Empty) if self.manner == Manner::Typed => self.said_ready = false,
            Err(refusal) => {
                self.said_ready = false;
                self.turns.push_back(Turn::Other(Said::NotTaken { line: number, refusal }));
            }
        }
    }

    fn admitted(&mut self, mut turn: Turn) {
        if std::mem::take(&mut self.cancel_next)
            && let Turn::Run { run, cancelled, .. } = &mut turn
        {
            *cancelled = true;
            self.activate.cancel(*run, CancelReason::Requested);
        }
        self.turns.push_back(turn);
    }

    fn heard(&mut self, line: u64, heard: Heard) -> Said {
        match heard {
            Heard::Tokens(tokens) => Said::Tokens(tokens),
            Heard::Reply(reply) => Said::Reply(reply),
            Heard::End(end) => {
                self.turns.pop_front();
                Said::Ended { line, end }
            }
            Heard::Left(run) => {
                self.turns.pop_front();
                Said::Left(run)
            }
        }
    }
}

fn nobody() -> Failure {
    let message = "no flow takes lines of the standard input; give one `trigger: { stdin: line }`";
    Failure::new(FailureKind::NotFound, message)
}

async fn hear(turn: Option<&(u64, Hearing)>) -> (u64, Heard) {
    match turn {
        Some((line, hearing)) => (*line, hearing.next().await),
        None => std::future::pending().await,
    }
}

async fn admitted(admitting: &mut Option<BoxFuture<'static, Turn>>) -> Turn {
    match admitting {
        Some(future) => {
            let turn = future.await;
            *admitting = None;
            turn
        }
        None => std::future::pending().await,
    }
}

async fn next_line(lines: &mut Option<Lines>) -> Option<Line> {
    match lines {
        Some(lines) => lines.next().await,
        None => None,
    }
}

#[cfg(test)]
mod tests;
