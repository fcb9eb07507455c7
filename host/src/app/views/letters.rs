//! Dead letters: what nobody could bring to a good end, listed and told.

use serde::{Deserialize, Serialize};

use super::story::{EventStory, RunStory};
use super::{Listed, Views, ambiguous, unreadable};
use crate::engine::DeadLetter;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::{EventId, RunId};
use crate::model::record::Room;
use crate::model::time::Timestamp;

/// The code of a dead letter that there is not.
pub const NO_LETTER: &str = "E0772";

/// A dead letter as a line of a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LetterRow {
    /// Its id: that of the run, or of the event that could not be delivered.
    pub letter: String,
    /// The flow whose it is, as `pipeline.flow`; the pipeline of an event.
    pub owner: String,
    /// What came to no good end, in a few words.
    pub cause: String,
    /// Since when it is here.
    pub at: Timestamp,
    /// The run, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<RunId>,
    /// The event that started the run, or that could not be delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event: Option<EventId>,
    /// What it failed of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
}

/// A dead letter with its history.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LetterStory {
    /// What a list says of it.
    #[serde(flatten)]
    pub row: LetterRow,
    /// The event, with what it says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub said: Option<EventStory>,
    /// The story of the run, unless the store has forgotten it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub history: Option<RunStory>,
}

impl Views {
    /// The dead letters, the newest in front.
    ///
    /// # Errors
    /// `permanent` with [`UNREADABLE_STORE`](super::UNREADABLE_STORE).
    pub async fn letters(&self, limit: usize) -> Result<Listed<LetterRow>, Failure> {
        let mut letters = self.dead().await?;
        letters.reverse();
        let more = letters.len() > limit;
        letters.truncate(limit);
        Ok(Listed { items: letters.iter().map(row).collect(), more })
    }

    /// One of them with its history, by its id or the beginning of it.
    ///
    /// # Errors
    /// `not_found` with [`NO_LETTER`], `invalid` with [`AMBIGUOUS_ID`](super::AMBIGUOUS_ID).
    pub async fn letter(&self, id: &str) -> Result<LetterStory, Failure> {
        let letter = self.dead_letter(id).await?;
        let history = match letter.run {
            Some(run) => self.run(&run.to_string()).await.ok(),
            None => None,
        };
        Ok(LetterStory { row: row(&letter), said: letter.event.as_ref().map(EventStory::from), history })
    }

    /// The dead letter that is meant.
    pub(in crate::app) async fn dead_letter(&self, id: &str) -> Result<DeadLetter, Failure> {
        let wanted = id.trim();
        let mut found = self.dead().await?;
        // The whole id of one may be the beginning of another's.
        let is_exact = found.iter().any(|letter| letter.id() == wanted);
        found.retain(|letter| if is_exact { letter.id() == wanted } else { begins(&letter.id(), wanted) });
        if found.len() > 1 {
            return Err(ambiguous(id, "dead letters", found.iter().map(DeadLetter::id)));
        }
        let message = format!("there is no dead letter {id}; see pipehost dlq list");
        found.pop().ok_or_else(|| Failure::new(FailureKind::NotFound, message).with_code(NO_LETTER))
    }

    /// All of them, the oldest in front. There is a bound for how many there are.
    async fn dead(&self) -> Result<Vec<DeadLetter>, Failure> {
        let page = self.store.first_kept(Room::DeadLetter, usize::MAX).await.map_err(|error| unreadable(&error))?;
        Ok(DeadLetter::all(page))
    }
}

/// Whether a letter's id begins so. Most are ids as runs and events have them; a row of a table that is no event has a name of its own.
fn begins(key: &str, wanted: &str) -> bool {
    let is_so = |key: &str, wanted: &str| key.get(..wanted.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(wanted));
    let is_id = uuid::Uuid::try_parse(key).is_ok() && !wanted.contains('-');
    !wanted.is_empty() && (is_so(key, wanted) || (is_id && is_so(&key.replace('-', ""), wanted)))
}

fn row(letter: &DeadLetter) -> LetterRow {
    LetterRow {
        letter: letter.id(),
        owner: letter.owner.clone(),
        cause: letter.cause.clone(),
        at: letter.at,
        run: letter.run,
        event: letter.event.as_ref().map(|event| event.id),
        failure: letter.failure.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_found_by_the_beginning_of_its_id_whatever_that_looks_like() {
        let id = "01a20020-5672-7d52-97e4-d8cebfdf4f4a";
        for wanted in ["01a2", "01A2", "01a20020-56", "01a2002056", id] {
            assert!(begins(id, wanted), "{wanted}");
        }
        assert!(begins("shop.db#17", "shop") && begins("shop.db#17", "shop.db#17"));
        for wanted in ["", "1a2", "shop", "01a2002-0"] {
            assert!(!begins(id, wanted), "{wanted:?}");
        }
        assert!(!begins("é", "\u{e9}e"));
    }
}
