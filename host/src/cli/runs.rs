//! `pipehost runs`: lists runs, tells their stories, and has them stop or go on.

mod migrate;
pub(super) mod story;

use std::io;
use std::time::Duration;

use super::arguments::{Asking, List, Runs, RunsCommand, ShowRun};
use super::asking::{Broken, Source, ask, print, print_json};
use super::exit::{Exit, say};
use super::style::{Style, harmless};
use super::words::{cut, duration, table};
use crate::app::views::{Decision, RunRow, RunStory};
use crate::app::{Asked, RunsWanted};
use crate::control::{OneRequest, Request, RetryRequest};
pub(super) use story::described;

/// Does what is asked about runs, or of one.
pub(super) fn runs(arguments: &Runs) -> Exit {
    match &arguments.command {
        RunsCommand::List(arguments) => ask(&arguments.asking, async |source| list(arguments, source).await),
        RunsCommand::Show(arguments) => ask(&arguments.asking, async |source| show(arguments, source).await),
        RunsCommand::Cancel(arguments) => one(&arguments.run, &arguments.asking, Request::Cancel),
        RunsCommand::Resume(arguments) => one(&arguments.run, &arguments.asking, Request::Resume),
        RunsCommand::Retry(arguments) => ask(&arguments.asking, async |source| {
            let request =
                RetryRequest { id: arguments.run.clone(), from: arguments.from.as_deref().map(Into::into), repeat: arguments.repeat };
            tell("run", &arguments.asking, source, &Request::Retry(request)).await
        }),
        RunsCommand::Migrate(arguments) => ask(&arguments.asking, async |source| migrate::migrate(arguments, source).await),
    }
}

fn one(run: &str, asking: &Asking, request: impl FnOnce(OneRequest) -> Request) -> Exit {
    let request = request(OneRequest { id: run.to_owned() });
    ask(asking, async |source| tell("run", asking, source, &request).await)
}

async fn list(arguments: &List, source: &Source) -> Result<Exit, Broken> {
    let wanted = RunsWanted {
        pipeline: arguments.pipeline.as_deref().map(Into::into),
        flow: arguments.flow.as_deref().map(Into::into),
        status: arguments.status.clone(),
        limit: usize::try_from(arguments.limit).unwrap_or(usize::MAX),
    };
    let (rows, more): (Vec<RunRow>, u64) = source.list(&Request::Runs(wanted)).await?;
    match (arguments.asking.json, rows.is_empty()) {
        (true, _) => print_json(&rows)?,
        (false, true) => say("no runs\n"),
        (false, false) => print(&text(&rows, Style::of(&io::stdout())))?,
    }
    if more > 0 && !arguments.asking.json {
        say(&format!("there are more than these {}; --limit NUMBER shows more\n", rows.len()));
    }
    Ok(Exit::Good)
}

fn text(rows: &[RunRow], style: Style) -> String {
    let row = |row: &RunRow| {
        let took = row.took_ms.map_or_else(String::new, |took| duration(Duration::from_millis(took)));
        let flow = format!("{}.{}", row.pipeline, row.flow);
        [row.run.to_string(), flow, row.began.to_string(), took, harmless(&row.status.to_string())]
    };
    table(["RUN", "FLOW", "BEGAN", "TOOK", "STATUS"], &rows.iter().map(row).collect::<Vec<_>>(), style)
}

async fn show(arguments: &ShowRun, source: &Source) -> Result<Exit, Broken> {
    let story: RunStory = source.one(&Request::Run(OneRequest { id: arguments.run.clone() })).await?;
    if arguments.audit && arguments.asking.json {
        print_json(&story.decisions())?;
    } else if arguments.audit {
        print(&trail(&story.decisions(), Style::of(&io::stdout())))?;
    } else if arguments.asking.json {
        print_json(&[story])?;
    } else {
        print(&story::text(&story, source.typed(), Style::of(&io::stdout())))?;
    }
    Ok(Exit::Good)
}

fn trail(decisions: &[Decision], style: Style) -> String {
    let row = |one: &Decision| [one.at.to_string(), cut(&one.who), cut(&one.what), cut(&one.why)];
    table(["WHEN", "WHO", "WHAT", "WHY"], &decisions.iter().map(row).collect::<Vec<_>>(), style)
}

/// Asks something of a run or a dead letter, and says what was done.
pub(super) async fn tell(what: &str, asking: &Asking, source: &Source, request: &Request) -> Result<Exit, Broken> {
    let asked: Asked = source.one(request).await?;
    if asking.json {
        print_json(std::slice::from_ref(&asked))?;
    } else {
        print(&format!("{what} {}: {}\n", asked.id, harmless(&asked.done)))?;
    }
    // Cancelled, or not yet; whatever else it came to is not what was asked for.
    let is_done = asked.status.is_none_or(|status| status == "cancelled");
    Ok(if is_done { Exit::Good } else { Exit::Failed })
}
