//! Killed at any point, the host loses nothing that it has acknowledged, does nothing twice, and leaves nothing lying.
//!
//! Orders go through five flows of the real binary, each of which has one effect at a ledger: another process with a log of its own, which is
//! never killed. The host is killed again and again, and at the end each order that was acknowledged must have each of the five effects under
//! exactly one idempotency key, and no run may be left over. Which moments it is killed at follows from a seed, which is printed;
//! `PIPEHOST_SEED=N` repeats them.
//!
//! The long form: `PIPEHOST_ROUNDS=200 cargo test -p pipehost --test it crash:: -- --ignored --nocapture`.

mod idle;
mod ledger;
mod rounds;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rounds::{Death, Rounds};

/// The points at which the host dies by itself, with the name that it knows them by.
const POINTS: [&str; 8] = [
    "payload.renamed",
    "journal.before_commit",
    "journal.after_commit",
    "journal.after_sync",
    "run.kept",
    "run.published",
    "recovery.reading",
    "recovery.claimed",
];
/// Those that are come to only now and then in a round.
const RARE: [&str; 3] = ["payload.renamed", "recovery.reading", "recovery.claimed"];

#[expect(clippy::disallowed_methods, reason = "the seed and the number of rounds of this test are variables")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The deaths of one walk over all points, and as many at moments that only the seed knows.
fn everywhere(rounds: &mut Rounds) {
    for point in POINTS {
        let nth = 1 + rounds.below(if RARE.contains(&point) { 3 } else { 40 });
        rounds.die_at(point, nth);
        let after = rounds.below(25);
        rounds.round(&Death::Killed { after });
    }
}

#[test]
fn killed_at_every_point_and_at_any_moment_it_loses_and_doubles_nothing() {
    let mut rounds = Rounds::start("killed");
    everywhere(&mut rounds);
    rounds.end().expect_good();
}

/// The names of the points in the source of the host.
fn points(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            points(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        let called = text.split("failpoint::reach(\"").skip(1);
        found.extend(called.filter_map(|rest| rest.split_once('"').map(|(name, _)| name.to_owned())));
    }
}

/// A new point at which nobody dies shows nothing.
#[test]
fn every_point_of_the_source_is_one_at_which_the_host_dies_here() {
    let mut found = BTreeSet::new();
    points(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert_eq!(found, POINTS.map(str::to_owned).into());
}

#[test]
fn killed_twenty_times_while_it_goes_on_it_still_goes_on() {
    let mut rounds = Rounds::start("recovering");
    rounds.round(&Death::Killed { after: 20 });
    for _ in 0..20 {
        assert!(rounds.round(&Death::At { point: "recovery.reading", nth: 1 }), "it died by itself while it went on");
    }
    rounds.end().expect_good();
}

#[test]
fn killed_while_much_waits_for_a_slow_disk_it_loses_and_doubles_nothing() {
    let mut rounds = Rounds::start("slow disk").on_a_slow_disk();
    for _ in 0..2 {
        rounds.round(&Death::Killed { after: 20 });
    }
    rounds.end().expect_good();
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let mut rounds = Rounds::start("power");
    for _ in 0..4 {
        let after = 5 + rounds.below(20);
        rounds.round(&Death::PowerCut { after, skips_sync: false });
    }
    rounds.end().expect_good();
}

#[test]
fn a_host_that_was_replaced_does_nothing_more() {
    let mut rounds = Rounds::start("replaced");
    for _ in 0..2 {
        rounds.replaced("no_lock");
    }
    rounds.end().expect_good();
}

/// What the tests above would say of a host with a defect: they must find it.
mod planted {
    use super::*;

    #[test]
    fn a_skipped_fsync_is_found() {
        let mut rounds = Rounds::start("no fsync");
        for _ in 0..3 {
            rounds.round(&Death::PowerCut { after: 15, skips_sync: true });
        }
        rounds.end().expect_bad(&["lost: "]);
    }

    /// Each of the three fsyncs of a payload file, without which a power cut takes what rows refer to.
    #[test]
    fn a_skipped_fsync_of_a_large_value_is_found() {
        for defect in ["payload_unsynced", "payload_unnamed", "payload_folder_unnamed"] {
            let mut rounds = Rounds::start(defect).planted(defect);
            rounds.round(&Death::PowerCut { after: 15, skips_sync: false });
            rounds.end().expect_bad(&["damaged: "]);
        }
    }

    #[test]
    fn a_dropped_epoch_check_is_found() {
        let mut rounds = Rounds::start("no epoch check").planted("no_lock,no_epoch_check");
        for _ in 0..2 {
            rounds.replaced("no_lock,no_epoch_check");
        }
        rounds.end().expect_bad(&["doubled: ", "stuck: ", "suspect: "]);
    }

    #[test]
    fn an_answer_before_the_commit_is_found() {
        let mut rounds = Rounds::start("early answer").planted("early_answer");
        for _ in 0..4 {
            rounds.round(&Death::Killed { after: 20 });
        }
        rounds.end().expect_bad(&["lost: ", "doubled: "]);
    }

    #[test]
    fn an_event_published_before_its_commit_is_found() {
        // The kill has to come while an event is out and its commit is not: most often it does.
        let is_found = (0..6).any(|time| {
            let mut rounds = Rounds::start_again("early publish", time).planted("early_publish").on_a_slow_disk();
            for _ in 0..4 {
                rounds.round(&Death::Killed { after: 20 });
            }
            rounds.end().is_bad(&["doubled: seen "])
        });
        assert!(is_found, "the defect was not found in six tries");
    }
}

#[test]
#[ignore = "the long form; PIPEHOST_ROUNDS says how long"]
fn killed_for_long_it_loses_and_doubles_nothing() {
    for time in 0..number("PIPEHOST_ROUNDS").unwrap_or(20) {
        let mut rounds = Rounds::start_again("killed for long", time);
        everywhere(&mut rounds);
        for _ in 0..2 {
            let after = 5 + rounds.below(20);
            rounds.round(&Death::PowerCut { after, skips_sync: false });
        }
        rounds.end().expect_good();
    }
}
