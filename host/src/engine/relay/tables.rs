//! Outboxes in users' databases: which are looked into, how far they are read, and what becomes of a row.

use std::sync::Arc;

use crate::engine::shared::Shared;
use crate::model::event::Event;
use crate::model::failure::Failure;
use crate::model::id::PipelineName;
use crate::model::port::{OutboxEvent, OutboxRow, OutboxTable};
use crate::model::time::Timestamp;
use crate::plan::Bound;
use crate::plan::pipeline::{Pipeline, Verb, Worker};

use super::entry::{Entry, Origin};
use super::sending::{AGAIN, dead_letter, tell, unreadable};

/// So many rows are read at a time.
const PAGE: usize = 256;

/// The tables.
#[derive(Default)]
pub(super) struct Tables(Vec<Known>);

struct Known {
    source: PipelineName,
    table: Arc<dyn OutboxTable>,
    /// Whether a pipeline in force writes into it; one that an older revision writes into is looked into until it is empty.
    in_force: bool,
    /// Up to where it is read.
    read: i64,
    /// When it is looked into next.
    due: Timestamp,
    /// Whether somebody looks into it now.
    being_read: bool,
    /// Whether it could not be read the last time: told once.
    failing: bool,
}

/// One table that is to be looked into now.
pub(super) struct Look {
    source: PipelineName,
    table: Arc<dyn OutboxTable>,
    after: i64,
}

impl Tables {
    /// Other pipelines are in force.
    pub(super) fn install(&mut self, bounds: &[Arc<Bound>]) {
        for known in &mut self.0 {
            known.in_force = false;
        }
        for bound in bounds {
            for table in outboxes(bound) {
                self.known(&bound.pipeline.name, table).in_force = true;
            }
        }
        self.0.retain(|known| known.in_force || known.due == Timestamp::EPOCH || known.being_read);
    }

    /// Something was written into that table.
    pub(super) fn ask(&mut self, source: &PipelineName, table: Arc<dyn OutboxTable>) {
        self.known(source, table).due = Timestamp::EPOCH;
    }

    /// The tables that are due; they are not given again before they were [read](Self::read).
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Look> {
        let due = self.0.iter_mut().filter(|known| !known.being_read && known.due <= now);
        let look = |known: &mut Known| {
            known.being_read = true;
            // Whatever is written from now on asks again.
            known.due = now + AGAIN;
            Look { source: known.source.clone(), table: Arc::clone(&known.table), after: known.read }
        };
        due.map(look).collect()
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.0.iter().filter(|known| !known.being_read).map(|known| known.due).min()
    }

    /// A table was read that far. Returns whether it could be read until now and cannot any more.
    fn read(&mut self, look: &Look, read: i64, more: bool, failing: bool) -> bool {
        let Some(known) = self.0.iter_mut().find(|known| known.is(&look.source, &*look.table)) else { return false };
        known.being_read = false;
        known.read = known.read.max(read);
        if more {
            known.due = Timestamp::EPOCH;
        }
        let news = failing && !known.failing;
        known.failing = failing;
        let drained = !known.in_force && !more && !failing && known.due != Timestamp::EPOCH;
        if drained {
            self.0.retain(|known| !known.is(&look.source, &*look.table));
        }
        news
    }

    fn known(&mut self, source: &PipelineName, table: Arc<dyn OutboxTable>) -> &mut Known {
        let place = self.0.iter().position(|known| known.is(source, &*table)).unwrap_or(self.0.len());
        if place == self.0.len() {
            let source = source.clone();
            self.0.push(Known {
                source,
                table: Arc::clone(&table),
                in_force: false,
                read: 0,
                due: Timestamp::EPOCH,
                being_read: false,
                failing: false,
            });
        }
        let known = &mut self.0[place];
        // The file may have been opened anew.
        known.table = table;
        known
    }
}

impl Known {
    fn is(&self, source: &PipelineName, table: &dyn OutboxTable) -> bool {
        self.source == *source && self.table.name() == table.name()
    }
}

/// The outboxes that a pipeline's steps write into.
fn outboxes(bound: &Bound) -> Vec<Arc<dyn OutboxTable>> {
    let steps = bound.pipeline.flows.iter().flat_map(|flow| &flow.steps).filter(|step| step.outbox.is_some());
    let executors = steps.filter_map(|step| match &step.verb {
        Verb::Run(run) => match run.worker {
            Worker::Executor(number) => bound.executors.get(number),
            Worker::Flow { .. } => None,
        },
        _ => None,
    });
    executors.flat_map(|executor| executor.outboxes()).collect()
}

/// Reads the next rows of a table.
pub(super) async fn read(shared: Arc<Shared>, look: Look) {
    let _busy = shared.ports.activity.enter();
    let room = shared.relay.lines().room().min(PAGE);
    let (mut reached, mut trouble) = (look.after, None);
    let mut more = false;
    if room > 0 {
        match look.table.waiting(look.source.clone(), look.after, room).await {
            Ok(rows) => {
                more = rows.len() == room;
                for row in rows {
                    let place = row.place;
                    if !take(&shared, &look, row).await {
                        more = false;
                        break;
                    }
                    reached = place;
                }
            }
            Err(failure) => trouble = Some(failure),
        }
    }
    let news = shared.relay.tables().read(&look, reached, more, trouble.is_some());
    if let Some(failure) = trouble.filter(|_| news) {
        tell(&shared, &look.source, look.table.name().to_owned(), format!("its outbox cannot be read: {failure}; it is tried every 5s"));
    }
}

/// Takes a row; false if there was no room for it.
async fn take(shared: &Arc<Shared>, look: &Look, row: OutboxRow) -> bool {
    let cause = match row.event {
        Ok(event) => {
            let pipeline = shared.find(&look.source);
            let (event, exported) =
                complete(event, pipeline.as_ref().map(|installed| &*installed.bound.pipeline), shared.ports.clock.now());
            let origin = Origin::Table(Arc::clone(&look.table), row.place);
            let entry = Entry { event: Arc::new(event), exported, order_key: row.order_key, origin, is_old: true };
            return shared.relay.lines().found(Arc::new(entry));
        }
        Err(why) => unreadable(&why),
    };
    bury_row(shared, look, row.place, row.id, &cause).await;
    true
}

/// Fills in what whoever wrote the row has left to the pipeline.
fn complete(row: OutboxEvent, pipeline: Option<&Pipeline>, now: Timestamp) -> (Event, bool) {
    let OutboxEvent { mut event, is_timed, exported, .. } = row;
    if !is_timed {
        event.time = now;
    }
    match (exported, pipeline) {
        (Some(exported), _) => (event, exported),
        (None, Some(pipeline)) => {
            event.scope = pipeline.scope.clone();
            let exported = pipeline.is_exported(&event.event_type);
            (event, exported)
        }
        (None, None) => (event, false),
    }
}

async fn bury_row(shared: &Arc<Shared>, look: &Look, place: i64, id: String, cause: &Failure) {
    tell(shared, &look.source, id.clone(), cause.to_string());
    let key = if id.is_empty() { format!("{}#{place}", look.table.name()) } else { id };
    let letter = dead_letter(shared, &look.source, key, None, cause);
    // What cannot be noted now is found again by the next host: it stands where it stood.
    if shared.ports.store.write(letter).await.is_ok() {
        let _ = look.table.refused(place, cause.to_string()).await;
    }
}
