//! `pipehost store`: whether all is there, copies of it, and accepting a loss.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::arguments::{InFolder, Store, StoreCommand};
use super::check::many;
use super::elsewhere::say_where;
use super::exit::{Exit, after_writing, incomplete, not_started, refused, say};
use super::style::harmless;
use super::typed::{Typed, quoted};
use crate::app::DATA_FOLDER;
use crate::app::store::{self, Acceptance, DATA_LOSS_SUSPECTED};
use crate::journal::sqlite::{Accepted, Findings, NotExported};

/// Does what is asked for.
pub(super) fn store(arguments: &Store) -> Exit {
    let (place, exit) = match &arguments.command {
        StoreCommand::Verify(verify) => (&verify.place, self::verify(&folder(&verify.place), verify.json)),
        StoreCommand::Export(export) => (&export.place, self::export(&folder(&export.place))),
        StoreCommand::Backup(backup) => (&backup.place, self::backup(&folder(&backup.place), &backup.target, backup.json)),
        StoreCommand::AcceptLoss(accept) => (&accept.place, accept_loss(&folder(&accept.place), accept.yes, accept.json)),
    };
    say_where(exit, place.data.as_deref())
}

fn folder(place: &InFolder) -> PathBuf {
    place.data.clone().unwrap_or_else(|| PathBuf::from(DATA_FOLDER))
}

fn verify(data: &Path, as_json: bool) -> Exit {
    let findings = match store::verify(data) {
        Ok(findings) => findings,
        Err(failure) => return not_started(&Typed::here(data).failure(&failure)),
    };
    let exit = if findings.problems.is_empty() { Exit::Good } else { Exit::Failed };
    let text =
        if as_json { format!("{}\n", as_object(&findings)) } else { Typed::here(data).text(&in_words(data, &findings)).into_owned() };
    print(&text, exit)
}

fn as_object(findings: &Findings) -> serde_json::Value {
    json!({
        "good": findings.problems.is_empty(),
        "data_loss_suspected": findings.is_suspect(),
        "rows": findings.rows,
        "position": findings.position,
        "commits": findings.commits,
        "problems": findings.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "more": findings.more,
        "runs": findings.runs().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn in_words(data: &Path, findings: &Findings) -> String {
    let size =
        format!("{} of the journal up to row {}, {}", rows(findings.rows), findings.position, many_of(findings.commits, "transaction"));
    if findings.problems.is_empty() {
        return format!("All is there: {size}.\n");
    }
    let mut text = if findings.is_suspect() {
        format!("error[{DATA_LOSS_SUSPECTED}]: something may be lost ({size}):\n")
    } else {
        format!("Nothing is lost, and some of it cannot be understood ({size}):\n")
    };
    text.push_str(&listed(findings));
    if findings.is_suspect() {
        text.push_str(&format!(
            "help: end the host; then put a backup in its place:\n    {}\n  or go on without what is lost: pipehost store accept-loss\n",
            restoring(data)
        ));
    }
    text
}

/// What is typed to put a backup in the place of what a folder has: the old log and the old mark would be taken for those of the copy.
fn restoring(data: &Path) -> String {
    let data = quoted(&data.to_string_lossy());
    format!("rm -f {data}/journal.db* {data}/journal.mark && cp -R BACKUP/. {data}/")
}

/// A line for each problem.
fn listed(findings: &Findings) -> String {
    let mut text: String = findings.problems.iter().map(|problem| format!("  {}\n", harmless(&problem.to_string()))).collect();
    if findings.more > 0 {
        text.push_str(&format!("  and {} more\n", findings.more));
    }
    text
}

fn export(data: &Path) -> Exit {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let exported = store::export(data, &mut |line| writeln!(out, "{line}"));
    match exported {
        Ok(None) => after_writing(out.flush(), Exit::Good),
        Ok(Some(left_out)) => match after_writing(out.flush(), Exit::Failed) {
            Exit::Failed => incomplete(&Typed::here(data), &left_out),
            gone => gone,
        },
        Err(NotExported::Output(error)) => after_writing(Err(error), Exit::Good),
        Err(NotExported::Store(failure)) => not_started(&Typed::here(data).failure(&failure)),
    }
}

fn backup(data: &Path, target: &Path, as_json: bool) -> Exit {
    let findings = match store::backup(data, target) {
        Ok(findings) => findings,
        Err(failure) if failure.code.as_deref() == Some(DATA_LOSS_SUSPECTED) => return refused(&Typed::here(data).failure(&failure)),
        Err(failure) => return not_started(&Typed::here(data).failure(&failure)),
    };
    let exit = if findings.problems.is_empty() { Exit::Good } else { Exit::Failed };
    if as_json {
        let mut object = as_object(&findings);
        object["copy"] = json!(target);
        return print(&format!("{object}\n"), exit);
    }
    if findings.problems.is_empty() {
        let text = format!(
            "{} is a copy of the journal: {}. Databases and indexes of pipelines are not in it.\n",
            target.display(),
            rows(findings.rows)
        );
        return print(&text, exit);
    }
    let what = format!("{} was made, and is a copy of a journal of which something may be lost", target.display());
    say(&format!("error[{DATA_LOSS_SUSPECTED}]: {what}:\n{}", listed(&findings)));
    exit
}

fn accept_loss(data: &Path, yes: bool, as_json: bool) -> Exit {
    let acceptance = match store::accept_loss(data, yes) {
        Ok(acceptance) => acceptance,
        Err(failure) => return not_started(&Typed::here(data).failure(&failure)),
    };
    let exit = if matches!(acceptance, Acceptance::Asked(_)) { Exit::Failed } else { Exit::Good };
    match &acceptance {
        _ if as_json => print(&format!("{}\n", as_answer(&acceptance)), exit),
        Acceptance::Nothing => print("Nothing is lost, and nothing was changed.\n", exit),
        Acceptance::Asked(findings) => {
            let text = format!(
                "error[{DATA_LOSS_SUSPECTED}]: this is lost:\n{}help: to go on without it, say so: pipehost store accept-loss --yes; what is there now is kept beside it\n",
                listed(findings)
            );
            say(&Typed::here(data).text(&text));
            exit
        }
        Acceptance::Done(findings, accepted) => print(&done(findings, accepted), exit),
    }
}

/// What was lost, and what came of accepting that: `accepted` is null as long as nobody has said that it may be.
fn as_answer(acceptance: &Acceptance) -> serde_json::Value {
    let accepted = |accepted: &Accepted| {
        let runs = accepted.runs.iter().map(|(run, had, has)| json!({ "run": run.to_string(), "had": had, "has": has }));
        let others: serde_json::Map<String, serde_json::Value> =
            accepted.others.iter().map(|(table, count)| (table.clone(), json!(count))).collect();
        json!({
            "rows": accepted.rows,
            "dropped": accepted.dropped,
            "others": others,
            "runs": runs.collect::<Vec<_>>(),
            "copy": accepted.copy,
        })
    };
    match acceptance {
        Acceptance::Nothing => json!({ "lost": null, "accepted": null }),
        Acceptance::Asked(findings) => json!({ "lost": as_object(findings), "accepted": null }),
        Acceptance::Done(findings, done) => json!({ "lost": as_object(findings), "accepted": accepted(done) }),
    }
}

fn done(findings: &Findings, accepted: &Accepted) -> String {
    let mut text = format!("Accepted as lost:\n{}", listed(findings));
    for (run, had, has) in &accepted.runs {
        text.push_str(&match (had, has) {
            (_, 0) => format!("  run {run} is gone\n"),
            (Some(had), has) => format!("  run {run} has {has} of {had} facts, and goes on from there\n"),
            (None, has) => format!("  run {run} has {}, and goes on from there\n", many_of(*has, "fact")),
        });
    }
    for (table, count) in &accepted.others {
        text.push_str(&format!("  {} of {table} left out\n", rows(*count)));
    }
    let left_out = if accepted.dropped > 0 { format!(", {} left out", accepted.dropped) } else { String::new() };
    text.push_str(&format!("The new journal has {}{left_out}; what was there is in {}.\n", rows(accepted.rows), accepted.copy.display()));
    text
}

fn rows(count: u64) -> String {
    many_of(count, "row")
}

fn many_of(count: u64, word: &str) -> String {
    many(usize::try_from(count).unwrap_or(usize::MAX), word)
}

fn print(text: &str, exit: Exit) -> Exit {
    let mut out = io::stdout().lock();
    after_writing(out.write_all(text.as_bytes()).and_then(|()| out.flush()), exit)
}
