//! From Rhai's positions (lines and characters from 1) to bytes of the source, and to what stands there.

use rhai::Position;

use super::Mistake;

/// The byte at which a position is; the end of the source if it has none.
pub(super) fn offset(source: &str, position: Position) -> usize {
    let Some(line) = position.line() else { return source.len() };
    let line_start = match line {
        0 | 1 => 0,
        _ => source.match_indices('\n').nth(line - 2).map_or(source.len(), |(newline, _)| newline + 1),
    };
    let characters = position.position().unwrap_or(1).saturating_sub(1);
    source[line_start..].char_indices().nth(characters).map_or(source.len(), |(offset, _)| line_start + offset)
}

/// The word that begins at a byte; else the one character there; empty at the end.
pub(super) fn word_at(source: &str, offset: usize) -> &str {
    let rest = source.get(offset..).unwrap_or_default();
    let word = rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len());
    let length = if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) };
    &rest[..length]
}

/// A mistake at a position, as long as the word that stands there.
pub(super) fn mistake(code: &'static str, source: &str, position: Position, message: impl Into<String>) -> Mistake {
    let offset = offset(source, position);
    let length = word_at(source, offset).len().max(1);
    // At the very end there is nothing to point at but the last character.
    let offset = if offset >= source.len() { source.char_indices().next_back().map_or(0, |(last, _)| last) } else { offset };
    Mistake { code, message: message.into(), offset, length: length.min((source.len() - offset).max(1)), help: None }
}

impl Mistake {
    /// The same with a way out.
    #[must_use]
    pub(super) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// The candidate that was probably meant, if one is near.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let furthest = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= furthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean x?`, else what there is.
pub(super) fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(name, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let mut known: Vec<_> = candidates.into_iter().collect();
    known.sort_unstable();
    match known.as_slice() {
        [] => "nothing is declared there that could be read".to_owned(),
        known => format!("there is {}", known.iter().take(16).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}
