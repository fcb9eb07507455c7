//! One entry's way out: published, taken by everybody who hears it, and only then forgotten; or put among the dead letters, with why.

use std::sync::Arc;
use std::time::Duration;

use crate::bus::loop_guard;
use crate::clock::Busy;
use crate::engine::dead_letters::DeadLetter;
use crate::engine::refusal::STORE_BROKEN;
use crate::engine::shareable;
use crate::engine::shared::Shared;
use crate::engine::shared::offering::refusals;
use crate::model::event::Event;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::{Happening, What};
use crate::model::id::{FlowName, PipelineName};
use crate::model::record::{InboxKey, Kept, Room, Write};

use super::entry::{Entry, Origin};

/// So long at most until what did not work is tried again.
pub const AGAIN: Duration = Duration::from_secs(5);
/// So often a flow may refuse an event.
pub const TRIES: u32 = 8;

/// Whether an entry can be published now.
enum Fitness {
    Fits,
    /// Its pipeline is not in force.
    Waits,
    Unfit(Failure),
}

/// Sends one entry, however long that takes.
pub(super) async fn send(shared: Arc<Shared>, entry: Arc<Entry>) {
    let mut busy = shared.ports.activity.enter();
    let id = entry.event.id;
    match fitness(&shared, &entry) {
        Fitness::Fits => match publish(&shared, &entry, &mut busy).await {
            Ok(()) => finish(&shared, &entry, &mut busy).await,
            Err(cause) => bury(&shared, &entry, &cause, &mut busy).await,
        },
        Fitness::Waits => {
            shared.relay.lines().park(id);
            return;
        }
        Fitness::Unfit(cause) => bury(&shared, &entry, &cause, &mut busy).await,
    }
    // Whoever starts anew need not publish it: it is the relay's, and the relay is done with it.
    shared.ports.store.published(vec![id]);
    shared.relay.lines().done(id);
}

fn fitness(shared: &Shared, entry: &Entry) -> Fitness {
    let event = &entry.event;
    let Some(installed) = shared.find(&event.source) else { return Fitness::Waits };
    let pipeline = &installed.bound.pipeline;
    if !pipeline.events.contains_key(&event.event_type) {
        let message = format!("{} declares no event {} any more", event.source, event.event_type);
        return Fitness::Unfit(Failure::new(FailureKind::Invalid, message).with_code("undeclared_event"));
    }
    match shareable::event_data(pipeline, &event.event_type, event.data.clone()) {
        Ok(_) => Fitness::Fits,
        Err(failure) => Fitness::Unfit(failure),
    }
}

/// Publishes an event until each flow that hears it has taken it.
async fn publish(shared: &Arc<Shared>, entry: &Entry, busy: &mut Busy) -> Result<(), Failure> {
    let Entry { event, exported, .. } = entry;
    let ports = &shared.ports;
    ports.sink.accept(Happening { time: ports.clock.now(), run: None, what: What::Published { published: (**event).clone() } });
    let heard = if shared.waits.concerns(&event.event_type) { shared.offer(event, *exported) } else { Vec::new() };
    let mut left = ports.bus.targets(event, *exported);
    if entry.is_old {
        left = untaken(shared, entry, left).await;
    }
    while !left.is_empty() {
        let refused = ports.bus.deliver(event, *exported, &left).await;
        // One that goes in circles is recorded as a failed run: it was heard.
        let refused: Vec<_> = refused.into_iter().filter(|(_, failure)| failure.code.as_deref() != Some(loop_guard::CODE)).collect();
        if refused.is_empty() {
            break;
        }
        let (tries, write) = shared.relay.tries.refused(entry, ports.clock.now());
        let hopeless = refused.iter().find(|(_, failure)| !may_pass(failure));
        if let Some((target, failure)) = hopeless.or_else(|| refused.first().filter(|_| tries >= TRIES)) {
            return Err(not_taken(&refused, target, failure, tries));
        }
        left = refused.into_iter().map(|(target, _)| target).collect();
        // Refused by the store, it is counted in memory: the next try counts it again.
        let _ = ports.store.write(vec![write]).await;
        busy.rest(ports.clock.sleep_until(ports.clock.now() + AGAIN)).await;
    }
    // A run that waits for it has recorded what it made of it: it cannot be lost any more.
    busy.rest(refusals(shared, heard)).await;
    Ok(())
}

/// Those who have not taken it yet, as far as the store knows.
async fn untaken(shared: &Shared, entry: &Entry, targets: Vec<(PipelineName, FlowName)>) -> Vec<(PipelineName, FlowName)> {
    let mut left = Vec::with_capacity(targets.len());
    for (pipeline, flow) in targets {
        let key = InboxKey { pipeline: pipeline.clone(), flow: flow.clone(), event: entry.event.id };
        // A store that does not answer does not hinder: the flow's inbox asks it again.
        if !shared.ports.store.has_taken(key).await.unwrap_or(false) {
            left.push((pipeline, flow));
        }
    }
    left
}

fn may_pass(failure: &Failure) -> bool {
    // A flow that is full is a conflict where it counts by key; a store that takes nothing now may take it later.
    let passes = matches!(failure.code.as_deref(), Some("concurrency" | STORE_BROKEN));
    passes || failure.kind == FailureKind::Rejected || failure.kind.is_retryable()
}

fn not_taken(refused: &[((PipelineName, FlowName), Failure)], target: &(PipelineName, FlowName), why: &Failure, tries: u32) -> Failure {
    let names: Vec<String> = refused.iter().map(|((pipeline, flow), _)| format!("{pipeline}.{flow}")).collect();
    let message = format!("{} did not take it in {tries} tries; {}.{}: {}", names.join(", "), target.0, target.1, why.message);
    Failure::new(why.kind, message).with_code("not_taken").with_cause(why.clone())
}

/// Forgets an entry that everybody has.
async fn finish(shared: &Arc<Shared>, entry: &Entry, busy: &mut Busy) {
    let ports = &shared.ports;
    loop {
        let done = match &entry.origin {
            Origin::Store => ports.store.write(vec![entry.forget()]).await.map_err(|error| error.to_string()),
            Origin::Table(table, place) => {
                table.published(*place, ports.clock.now()).await.map_err(|failure| failure.into_particulars().message)
            }
        };
        match done {
            Ok(()) => return forget_tries(shared, entry),
            Err(reason) => pause(shared, entry, reason, busy).await,
        }
    }
}

/// Puts an entry among the dead letters. It blocks nobody from then on.
async fn bury(shared: &Arc<Shared>, entry: &Entry, cause: &Failure, busy: &mut Busy) {
    let ports = &shared.ports;
    let letter = dead_letter(shared, &entry.event.source, entry.event.id.to_string(), Some((*entry.event).clone()), cause);
    tell(shared, &entry.event.source, entry.event.id.to_string(), cause.to_string());
    loop {
        let done = match &entry.origin {
            Origin::Store => ports.store.write([letter.clone(), vec![entry.forget()]].concat()).await.map_err(|error| error.to_string()),
            // First here: what is refused there is not looked at any more.
            Origin::Table(table, place) => match ports.store.write(letter.clone()).await {
                Ok(()) => table.refused(*place, cause.to_string()).await.map_err(|failure| failure.into_particulars().message),
                Err(error) => Err(error.to_string()),
            },
        };
        match done {
            Ok(()) => return forget_tries(shared, entry),
            Err(reason) => pause(shared, entry, reason, busy).await,
        }
    }
}

/// How often an entry was refused does not matter any more. Nobody waits for that: it goes by itself when it is old.
fn forget_tries(shared: &Shared, entry: &Entry) {
    if let Some(write) = shared.relay.tries.over(entry) {
        drop(shared.ports.store.write(vec![write]));
    }
}

/// Puts among the dead letters what the store has and nobody can read.
pub(super) async fn bury_unreadable(shared: &Shared, kept: &Kept, why: &str) {
    let source = PipelineName::new(kept.owner.as_str());
    let cause = unreadable(why);
    tell(shared, &source, kept.key.clone(), cause.to_string());
    let forget = Write::Forget { room: Room::Outbox, owner: kept.owner.clone(), key: Some(kept.key.clone()) };
    let mut writes = dead_letter(shared, &source, kept.key.clone(), None, &cause);
    writes.push(forget);
    // What cannot be noted now is found again by the next host: it stands where it stood, and nobody waits for it.
    let _ = shared.ports.store.write(writes).await;
}

/// What is wrong with an entry that cannot be read.
pub(super) fn unreadable(why: &str) -> Failure {
    Failure::new(FailureKind::Invalid, format!("this entry of the outbox cannot be read: {why}")).with_code("unreadable")
}

/// What is written of an entry that nobody could bring to a good end.
pub(super) fn dead_letter(shared: &Shared, source: &PipelineName, key: String, event: Option<Event>, cause: &Failure) -> Vec<Write> {
    let (cause, failure) = ("not_published".to_owned(), Some(cause.clone()));
    let at = shared.ports.clock.now();
    shared.dead_letters.add(&DeadLetter { owner: source.to_string(), key, cause, failure, at, run: None, event })
}

async fn pause(shared: &Shared, entry: &Entry, reason: String, busy: &mut Busy) {
    tell(shared, &entry.event.source, entry.event.id.to_string(), format!("{reason}; it is tried again in 5s"));
    busy.rest(shared.ports.clock.sleep_until(shared.ports.clock.now() + AGAIN)).await;
}

pub(super) fn tell(shared: &Shared, source: &PipelineName, entry: String, reason: String) {
    let what = What::OutboxTrouble { source: source.clone(), entry, reason };
    shared.ports.sink.accept(Happening { time: shared.ports.clock.now(), run: None, what });
}
