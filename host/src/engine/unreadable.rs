//! What outlives runs and cannot be read when a host starts: said with its place, its cause and the way out. Pure.
//!
//! Each hinders itself only. A state must not silently become the initial one, nor a request be done twice: these refuse whoever asks for them. Refused was
//! ending the host, as one row would keep all pipelines from working.

use crate::model::failure::{Failure, FailureKind};
use crate::model::id::Digest;
use crate::model::port::Unreadable;
use crate::model::record::Room;

/// The code of something that outlives runs and cannot be read.
pub const UNREADABLE: &str = "E0759";

/// The cause of the dead letter that stands for a state which cannot be read: to drop it is to begin that state anew.
pub const STATE: &str = "unreadable_state";
/// The cause of a dead letter that cannot be read itself.
pub const LETTER: &str = "unreadable_letter";

/// So many digits of a digest are an id.
const DIGITS: usize = 32;

/// What is said of one thing in a room that cannot be read.
pub fn failure(room: Room, unreadable: &Unreadable) -> Failure {
    let Unreadable { owner, key, why, .. } = unreadable;
    let message = match room {
        Room::State => {
            let (name, letter) = (state_name(owner, key), letter_of_state(owner, key));
            format!(
                "{name} cannot be read: {why}; runs that need it are refused, and those under way stand still; put right what hinders it and start pipehost again, or begin it anew from its initial values with pipehost dlq drop {letter}"
            )
        }
        Room::Dedup | Room::Cache => {
            format!(
                "a result that {} keeps for {owner} cannot be read: {why}; it counts as not there, and is made again when it is needed; nothing has to be done",
                room.as_str()
            )
        }
        Room::Answer => format!(
            "the result of a request to {owner} cannot be read: {why}; a repeat of that request is refused until its retention is over; to have it done again, send it with another key"
        ),
        Room::Wait => format!(
            "how a wait of run {owner} came to its end cannot be read: {why}; an answer to it that comes now is taken for one that nobody waited for; nothing has to be done"
        ),
        Room::Outbox => {
            format!("an event in the outbox of {owner} cannot be read: {why}; it stays, and goes out after a start that can read it")
        }
        Room::Try => format!(
            "how often the event {key} of {owner} was refused cannot be read: {why}; it is counted from the beginning; nothing has to be done"
        ),
        Room::DeadLetter => {
            format!("a dead letter of {owner} cannot be read: {why}; pipehost dlq drop {} forgets it", letter_id(room, owner, key))
        }
    };
    Failure::new(FailureKind::Permanent, message).with_code(UNREADABLE)
}

/// What is said of an event that a flow may not have taken and that cannot be read.
pub fn of_event(unreadable: &Unreadable) -> Failure {
    let Unreadable { key, why, .. } = unreadable;
    let message = format!(
        "the event {key} cannot be read: {why}; a flow that has not taken it goes without it; put right what hinders it and start pipehost again"
    );
    Failure::new(FailureKind::Permanent, message).with_code(UNREADABLE)
}

/// What is said of a run whose facts cannot be read, and that has sent another on its way.
pub fn of_sender(run: impl std::fmt::Display, why: &str) -> Failure {
    let message = format!(
        "what run {run} sent on its way cannot begin, since that run cannot be read: {why}; put right what hinders it and start pipehost again"
    );
    Failure::new(FailureKind::Permanent, message).with_code(UNREADABLE)
}

/// What is said of a run that another sent on its way, if what they are pinned to cannot be had.
pub fn of_sent(run: impl std::fmt::Display, by: impl std::fmt::Display, why: &str) -> Failure {
    let message = format!("run {run}, which run {by} sent on its way, does not begin: {why}; it begins with the next start that can do it");
    Failure::new(FailureKind::Permanent, message).with_code(UNREADABLE)
}

/// By which people find a dead letter that is not of a run or an event: an id, as all others have.
pub fn letter_of_state(owner: &str, key: &str) -> String {
    letter_id(Room::State, owner, key)
}

/// By which people find a dead letter: its key, if that is an id, and one that is made of it if not.
pub fn letter_id(room: Room, owner: &str, key: &str) -> String {
    let is_id = room == Room::DeadLetter
        && (1..=36).contains(&key.len())
        && key.chars().all(|digit| digit == '-' || digit.is_ascii_hexdigit() && !digit.is_ascii_uppercase());
    if is_id {
        return key.to_owned();
    }
    let digest = Digest::of_parts([room.as_str().as_bytes(), owner.as_bytes(), key.as_bytes()]).to_string();
    digest.chars().take(DIGITS).collect()
}

fn state_name(owner: &str, key: &str) -> String {
    match key.strip_prefix('=') {
        Some(key) => format!("the state of {owner} under the key {key:?}"),
        None => format!("the state of {owner}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(room: Room, owner: &str, key: &str) -> String {
        let why = "it does not parse".to_owned();
        failure(room, &Unreadable { owner: owner.to_owned(), key: key.to_owned(), why, until: None }).into_particulars().message
    }

    #[test]
    fn each_says_what_it_is_why_and_the_way_out() {
        let letter = letter_of_state("cart", "=ada");
        assert_eq!(letter.len(), 32);
        let said = [
            said(Room::State, "cart", "=ada"),
            said(Room::Cache, "[\"cart\",\"prices\"]", "k"),
            said(Room::Answer, "cart.add", "k"),
            said(Room::Wait, "0198-7", "0.3"),
            said(Room::DeadLetter, "cart.add", "0198-7"),
        ];
        let expected = [
            format!(
                "the state of cart under the key \"ada\" cannot be read: it does not parse; runs that need it are refused, and those under way stand still; put right what hinders it and start pipehost again, or begin it anew from its initial values with pipehost dlq drop {letter}"
            ),
            "a result that cache keeps for [\"cart\",\"prices\"] cannot be read: it does not parse; it counts as not there, and is made again when it is needed; nothing has to be done".to_owned(),
            "the result of a request to cart.add cannot be read: it does not parse; a repeat of that request is refused until its retention is over; to have it done again, send it with another key".to_owned(),
            "how a wait of run 0198-7 came to its end cannot be read: it does not parse; an answer to it that comes now is taken for one that nobody waited for; nothing has to be done".to_owned(),
            "a dead letter of cart.add cannot be read: it does not parse; pipehost dlq drop 0198-7 forgets it".to_owned(),
        ];
        assert_eq!(said, expected);
        assert_ne!(letter, letter_of_state("cart", ""));
    }

    #[test]
    fn a_letter_whose_key_is_no_id_is_found_by_one() {
        assert_eq!(letter_id(Room::DeadLetter, "p", "0198-7af"), "0198-7af");
        let made = letter_id(Room::DeadLetter, "p", "orders.db#7");
        assert_eq!(made.len(), 32);
        assert_ne!(made, letter_id(Room::DeadLetter, "p", "orders.db#8"));
    }
}
