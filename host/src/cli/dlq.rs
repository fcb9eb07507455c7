//! `pipehost dlq`: the dead letters, what nobody could bring to a good end.

use std::io;

use super::arguments::{Dlq, DlqCommand, Few, OneLetter};
use super::asking::{Broken, Source, ask, print, print_json};
use super::exit::{Exit, say};
use super::runs::{described, story, tell};
use super::style::{Style, harmless};
use super::words::{cut, table};
use crate::app::views::{LetterRow, LetterStory};
use crate::control::{FewRequest, OneRequest, Request};

/// Does what is asked about dead letters, or of one.
pub(super) fn dlq(arguments: &Dlq) -> Exit {
    match &arguments.command {
        DlqCommand::List(arguments) => ask(&arguments.asking, async |source| list(arguments, source).await),
        DlqCommand::Replay(arguments) => one(arguments, Request::Replay),
        DlqCommand::Drop(arguments) => one(arguments, Request::Drop),
        DlqCommand::Show(arguments) => ask(&arguments.asking, async |source| show(arguments, source).await),
    }
}

fn one(arguments: &OneLetter, request: impl FnOnce(OneRequest) -> Request) -> Exit {
    let request = request(OneRequest { id: arguments.letter.clone() });
    ask(&arguments.asking, async |source| tell("letter", &arguments.asking, source, &request).await)
}

async fn list(arguments: &Few, source: &Source) -> Result<Exit, Broken> {
    let request = Request::Letters(FewRequest { limit: usize::try_from(arguments.limit).unwrap_or(usize::MAX) });
    let (letters, more): (Vec<LetterRow>, u64) = source.list(&request).await?;
    match (arguments.asking.json, letters.is_empty()) {
        (true, _) => print_json(&letters)?,
        (false, true) => say("no dead letters\n"),
        (false, false) => print(&text(&letters, Style::of(&io::stdout())))?,
    }
    if more > 0 && !arguments.asking.json {
        say(&format!("there are more than these {}; --limit NUMBER shows more\n", letters.len()));
    }
    Ok(Exit::Good)
}

fn text(letters: &[LetterRow], style: Style) -> String {
    let row = |letter: &LetterRow| {
        let why = letter.failure.as_ref().map_or_else(String::new, described);
        [letter.letter.clone(), harmless(&letter.owner), letter.at.to_string(), harmless(&letter.cause), cut(&why)]
    };
    table(["LETTER", "OF", "SINCE", "CAUSE", "ERROR"], &letters.iter().map(row).collect::<Vec<_>>(), style)
}

async fn show(arguments: &OneLetter, source: &Source) -> Result<Exit, Broken> {
    let letter: LetterStory = source.one(&Request::Letter(OneRequest { id: arguments.letter.clone() })).await?;
    if arguments.asking.json {
        print_json(&[letter])?;
        return Ok(Exit::Good);
    }
    let style = Style::of(&io::stdout());
    let mut shown = format!("{} {}\n", style.bold("letter"), letter.row.letter);
    let mut rows = vec![("of", letter.row.owner.clone()), ("cause", letter.row.cause.clone()), ("since", letter.row.at.to_string())];
    rows.extend(letter.row.failure.as_ref().map(|failure| ("error", described(failure))));
    rows.extend(letter.said.as_ref().map(|event| ("event", format!("{} {} {}", event.event_type, event.event, event.data.text()))));
    rows.iter().for_each(|(name, what)| shown.push_str(&story::row(name, what, style)));
    if let Some(history) = &letter.history {
        shown.push_str(&story::text(history, source.typed(), style));
    }
    print(&shown)?;
    Ok(Exit::Good)
}
