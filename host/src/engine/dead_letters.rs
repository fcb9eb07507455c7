//! What nobody could bring to a good end: kept until somebody looks at it, with why and what it was about.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::activation::{Requester, RunOutcome};
use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::happening::Unheard;
use crate::model::id::RunId;
use crate::model::port::{Page, Unreadable};
use crate::model::record::{Beginning, Kept, Room, Write};
use crate::model::time::Timestamp;
use crate::model::value::Value;

use super::unreadable;

/// So many are kept; the oldest goes, which is told.
pub const MOST: usize = 10_000;

/// A dead letter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The flow whose it is, as `pipeline.flow`; for an event that could not be published, its pipeline.
    #[serde(skip)]
    pub owner: String,
    /// By which it is found: the run's id, or the event's.
    #[serde(skip)]
    pub key: String,
    /// What came to no good end, in a few words.
    pub cause: String,
    /// Why.
    pub failure: Option<Failure>,
    /// When.
    pub at: Timestamp,
    /// The run, if it is one.
    pub run: Option<RunId>,
    /// The event that started the run, or that could not be published.
    pub event: Option<Event>,
}

impl DeadLetter {
    /// What a store has; `None` if it is not what this host writes.
    pub fn read(kept: &Kept) -> Option<Self> {
        let letter: Self = serde_json::from_str(kept.value.text()).ok()?;
        Some(Self { owner: kept.owner.clone(), key: kept.key.clone(), ..letter })
    }

    /// All that a store has, in their order; one that cannot be read says so itself.
    pub fn all(page: Page) -> Vec<Self> {
        let broken = |kept: &Kept| Unreadable {
            owner: kept.owner.clone(),
            key: kept.key.clone(),
            why: "it is not what this pipehost writes".to_owned(),
            until: kept.until,
        };
        let unreadable = page.unreadable.iter().map(Self::unreadable);
        unreadable.chain(page.kept.iter().map(|kept| Self::read(kept).unwrap_or_else(|| Self::unreadable(&broken(kept))))).collect()
    }

    /// By which people find it: an id.
    pub fn id(&self) -> String {
        unreadable::letter_id(Room::DeadLetter, &self.owner, &self.key)
    }

    fn unreadable(letter: &Unreadable) -> Self {
        Self {
            owner: letter.owner.clone(),
            key: letter.key.clone(),
            cause: unreadable::LETTER.to_owned(),
            failure: Some(unreadable::failure(Room::DeadLetter, letter)),
            // When it was written stands in what cannot be read.
            at: Timestamp::EPOCH,
            run: None,
            event: None,
        }
    }

    fn written(&self) -> Write {
        let text = serde_json::to_string(self).unwrap_or_default();
        let value = Value::from_text(text).unwrap_or_else(|_| Value::null());
        Write::Keep(Kept { room: Room::DeadLetter, owner: self.owner.clone(), key: self.key.clone(), value, until: None })
    }
}

/// Those that are kept, by owner and key: so that there are never too many.
#[derive(Default)]
pub struct DeadLetters {
    kept: Mutex<VecDeque<(String, String)>>,
    /// The runs among them, for whoever asks at the end of each run whether there is one of it.
    runs: Mutex<HashSet<RunId>>,
    /// Those that went because there were too many, until that is told.
    gone: Mutex<Vec<(String, String)>>,
}

impl DeadLetters {
    /// Takes note of what a store has, the oldest first.
    pub fn load(&self, page: &Page) {
        let unreadable = page.unreadable.iter().map(|one| (one.owner.clone(), one.key.clone()));
        // Where those stand that cannot be read is not known: they are the first to go.
        *self.lock() = unreadable.chain(page.kept.iter().map(|kept| (kept.owner.clone(), kept.key.clone()))).collect();
        *self.runs() = page.kept.iter().filter_map(|kept| run_of(&kept.key)).collect();
    }

    /// Whether there is one by that name.
    pub fn has(&self, owner: &str, key: &str) -> bool {
        self.lock().iter().any(|(of, name)| of == owner && name == key)
    }

    /// The letter that stands for a state which cannot be read: to drop it is to begin that state anew.
    pub fn of_state(state: &Unreadable, failure: Failure, at: Timestamp) -> DeadLetter {
        DeadLetter {
            owner: state.owner.clone(),
            key: unreadable::letter_of_state(&state.owner, &state.key),
            cause: unreadable::STATE.to_owned(),
            failure: Some(failure),
            at,
            run: None,
            event: None,
        }
    }

    /// What is written for one more.
    pub fn add(&self, letter: &DeadLetter) -> Vec<Write> {
        let name = (letter.owner.clone(), letter.key.clone());
        let mut kept = self.lock();
        kept.retain(|other| *other != name);
        kept.push_back(name);
        let oldest = if kept.len() > MOST { kept.pop_front() } else { None };
        drop(kept);
        self.runs().extend(run_of(&letter.key));
        let mut writes = vec![letter.written()];
        if let Some((owner, key)) = oldest {
            self.not_of(&key);
            writes.push(Write::Forget { room: Room::DeadLetter, owner: owner.clone(), key: Some(key.clone()) });
            self.gone.lock().unwrap_or_else(PoisonError::into_inner).push((owner, key));
        }
        writes
    }

    /// What is written for the end of a run that nobody waits for: it was started by an event, or sent on its way by another.
    pub fn of_run(&self, beginning: &Beginning, outcome: &RunOutcome, at: Timestamp) -> Vec<Write> {
        if !is_unasked(beginning) || !is_bad(outcome) {
            return Vec::new();
        }
        self.add(&Self::letter(beginning, outcome.as_str(), outcome.failure().cloned(), at))
    }

    /// A run as a dead letter.
    pub fn letter(beginning: &Beginning, cause: &str, failure: Option<Failure>, at: Timestamp) -> DeadLetter {
        DeadLetter {
            owner: format!("{}.{}", beginning.pipeline, beginning.flow),
            key: beginning.run.to_string(),
            cause: cause.to_owned(),
            failure,
            at,
            run: Some(beginning.run),
            event: beginning.event.clone(),
        }
    }

    /// What is written to forget one; `None` if there is none.
    pub fn forget(&self, owner: &str, key: &str) -> Option<Write> {
        let mut kept = self.lock();
        let place = kept.iter().position(|(of, name)| of == owner && name == key)?;
        kept.remove(place);
        drop(kept);
        self.not_of(key);
        Some(Write::Forget { room: Room::DeadLetter, owner: owner.to_owned(), key: Some(key.to_owned()) })
    }

    /// What is written to forget the one of a run; `None` if there is none.
    pub fn forget_run(&self, beginning: &Beginning) -> Option<Write> {
        // Asked at the end of each run, and there is hardly ever one.
        let is_one = self.runs().contains(&beginning.run);
        is_one.then(|| self.forget(&format!("{}.{}", beginning.pipeline, beginning.flow), &beginning.run.to_string())).flatten()
    }

    fn not_of(&self, key: &str) {
        if let Some(run) = run_of(key) {
            self.runs().remove(&run);
        }
    }

    /// Those that went since this was last asked, because there were too many.
    pub fn take_gone(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, String)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The run that a letter is about, by its key; another run for the key of an event, which is no run's id.
fn run_of(key: &str) -> Option<RunId> {
    Uuid::try_parse(key).ok().map(RunId::new)
}

fn is_unasked(beginning: &Beginning) -> bool {
    beginning.event.is_some() || beginning.part.is_some()
}

const fn is_bad(outcome: &RunOutcome) -> bool {
    matches!(outcome, RunOutcome::Failed { .. } | RunOutcome::TimedOut { .. } | RunOutcome::Parked { .. })
}

/// Whether somebody waits for a run. Not everything that hears its end does: what keeps a result for repeats of the request does not by itself.
pub fn is_heard(requester: Option<&dyn Requester>) -> bool {
    requester.is_some_and(Requester::is_heard)
}

/// Where the end of a run that nobody waits for stands; `None` if it ended well, or as somebody wanted.
pub fn unheard(beginning: &Beginning, outcome: &RunOutcome, is_durable: bool) -> Option<Unheard> {
    let where_it_is = if is_durable && is_unasked(beginning) { Unheard::DeadLetter } else { Unheard::Recorded };
    is_bad(outcome).then_some(where_it_is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::FailureKind;

    fn letter(number: usize) -> DeadLetter {
        DeadLetter {
            owner: "p.main".to_owned(),
            key: number.to_string(),
            cause: "failed".to_owned(),
            failure: Some(Failure::new(FailureKind::Permanent, "no such part")),
            at: Timestamp::EPOCH,
            run: None,
            event: None,
        }
    }

    #[test]
    fn one_too_many_pushes_out_the_oldest_and_that_is_known() {
        let letters = DeadLetters::default();
        for number in 0..MOST {
            assert_eq!(letters.add(&letter(number)).len(), 1);
        }
        let writes = letters.add(&letter(MOST));
        assert_eq!(writes.len(), 2);
        assert!(matches!(&writes[1], Write::Forget { key: Some(key), .. } if key == "0"));
        assert_eq!(letters.take_gone(), [("p.main".to_owned(), "0".to_owned())]);
        assert!(letters.take_gone().is_empty());
        assert_eq!(letters.add(&letter(MOST)).len(), 1, "the same again takes its own place");
    }

    #[test]
    fn a_letter_reads_back_as_it_was_written() {
        let [Write::Keep(kept)] = &DeadLetters::default().add(&letter(7))[..] else { panic!("it is kept") };
        assert_eq!(DeadLetter::read(kept), Some(letter(7)));
    }
}
