//! What is no Rhai, told in words of ours with the way out: above all what people write out of habit from other languages.

use rhai::{LexError, ParseError, ParseErrorType};

use super::Mistake;
use super::place::{mistake, offset, word_at};

/// The way out where nothing nearer is known.
const GENERAL: &str = "write it as input.total > 100 && input.name == \"x\", or as if input.urgent { 1 } else { 2 }";
const IF_ELSE: &str = "write if a { b } else { c }";
const CLOSURE: &str = "use a step with `each`, or a step of its own with a Rhai executor";
const QUOTES: &str = "write \"…\": text stands in straight double quotes";

/// Signs of other languages: each with what is wrong with it and the way out. One that begins like another stands before it.
const SIGNS: [(&str, &str, &str); 20] = [
    ("===", "`===` is no operator", "write ==: it never converts"),
    ("!==", "`!==` is no operator", "write !=: it never converts"),
    ("=>", "expressions have no closures", CLOSURE),
    ("->", "expressions have no closures", CLOSURE),
    ("||", "`||` has nothing before it", "write what shall be true instead before it; there are no closures"),
    ("|", "expressions have no closures", CLOSURE),
    ("++", "`++` changes a variable, and expressions change nothing", "write + 1"),
    ("--", "`--` changes a variable, and expressions change nothing", "write - 1"),
    (":=", "`:=` sets a variable, and expressions change nothing", "to compare, write =="),
    ("?", "`?` is no operator", "write if a { b } else { c }; where a may be null, a ?? b and a?.b"),
    ("~", "`~` is no operator", "write x.contains(\"…\"), x.starts_with(\"…\") or x.ends_with(\"…\")"),
    ("≥", "`≥` is no operator", "write >="),
    ("≤", "`≤` is no operator", "write <="),
    ("≠", "`≠` is no operator", "write !="),
    ("“", "`“` is no quote of an expression", QUOTES),
    ("”", "`”` is no quote of an expression", QUOTES),
    ("„", "`„` is no quote of an expression", QUOTES),
    ("‘", "`‘` is no quote of an expression", QUOTES),
    ("’", "`’` is no quote of an expression", QUOTES),
    ("#", "`#` means something only before `{`", "write a map as #{ a: 1 }"),
];

/// Words of other languages that are operators there, each with the way out.
const WORDS: [(&str, &str); 8] = [
    ("and", "write &&"),
    ("or", "write ||"),
    ("not", "write !x, or !(a in b)"),
    ("is", "write == or !=, as input.note != null"),
    ("like", "write x.contains(\"…\"), x.starts_with(\"…\") or x.ends_with(\"…\")"),
    ("matches", "write x.contains(\"…\"), x.starts_with(\"…\") or x.ends_with(\"…\")"),
    ("then", IF_ELSE),
    ("typeof", "a value's kind cannot be asked for: compare the value, as input.note != null"),
];

/// What the parser refused, as a mistake with a way out.
pub(super) fn explain(source: &str, error: &ParseError) -> Mistake {
    let position = error.1;
    let at = offset(source, position);
    let told = |message: String, help: String| mistake("E0301", source, position, message).with_help(help);
    match &*error.0 {
        ParseErrorType::ExprTooDeep => mistake("E0311", source, position, "the expression is nested too deeply")
            .with_help("do it in a step of its own, with a Rhai executor"),
        ParseErrorType::UnexpectedEOF => {
            let last = last_of(source);
            let help = format!("write what shall stand behind `{last}`, or leave that out");
            let found = told("the expression ends too early".to_owned(), help);
            Mistake { offset: source.trim_end().len() - last.len(), length: last.len().max(1), ..found }
        }
        ParseErrorType::Reserved(word) => {
            let help = if source.get(..at).unwrap_or_default().trim_end().ends_with(['{', ',']) {
                format!("in a map, write it in quotes: #{{ \"{word}\": … }}")
            } else {
                GENERAL.to_owned()
            };
            told(format!("`{word}` is a reserved word"), help)
        }
        ParseErrorType::MissingToken(token, _) => missing(source, at, token, &told),
        ParseErrorType::PropertyExpected => {
            let help = "write input.text; a name with other signs in it as input[\"my name\"]".to_owned();
            told("the name of a field has to stand here".to_owned(), help)
        }
        ParseErrorType::DuplicatedProperty(name) => {
            told(format!("the field `{name}` stands twice in this map"), "keep one of them".to_owned())
        }
        ParseErrorType::BadInput(LexError::UnterminatedString) => {
            told("a text that opens here is never closed".to_owned(), "close it with the quote that opens it".to_owned())
        }
        ParseErrorType::BadInput(LexError::MalformedChar(text)) => single_quoted(source, at, text, &told),
        ParseErrorType::BadInput(LexError::MalformedEscapeSequence(escape)) => {
            let found = told(format!("`{escape}` means nothing in a text"), "write \\\\ for a backslash".to_owned());
            // The position is that of the sign that does not fit.
            let begin = source.get(..at).and_then(|before| before.rfind('\\'));
            let begin = begin.filter(|begin| source.get(*begin..).is_some_and(|rest| rest.starts_with(escape.as_str())));
            begin.map_or(found.clone(), |offset| Mistake { offset, length: escape.len(), ..found })
        }
        ParseErrorType::BadInput(LexError::MalformedNumber(_)) => {
            told("this is no number".to_owned(), "write it as 12, 1.5 or 0x1f".to_owned())
        }
        _ => habit(source, at).unwrap_or_else(|| match &*error.0 {
            ParseErrorType::BadInput(_) | ParseErrorType::UnknownOperator(_) => unexpected(source, at, &told),
            other => told(format!("this is no expression: {other}"), GENERAL.to_owned()),
        }),
    }
}

type Told<'a> = dyn Fn(String, String) -> Mistake + 'a;

/// What other languages have at a byte, or right before it.
fn habit(source: &str, at: usize) -> Option<Mistake> {
    let told = |offset: usize, length: usize, message: String, help: &str| {
        Some(Mistake { code: "E0301", message, offset, length, help: Some(help.to_owned()) })
    };
    let (before, rest) = source.split_at_checked(at)?;
    if rest.starts_with('>') && before.ends_with('<') {
        return told(at - 1, 2, "`<>` is no operator".to_owned(), "write !=");
    }
    if let Some((sign, message, help)) = SIGNS.iter().find(|(sign, ..)| rest.starts_with(sign)) {
        return told(at, sign.len(), (*message).to_owned(), help);
    }
    let known = |word: &str| WORDS.iter().find(|(known, _)| *known == word).map(|(_, help)| *help);
    let here = word_at(source, at);
    if let Some(help) = known(here) {
        return told(at, here.len(), format!("`{here}` is no operator"), help);
    }
    // An operator that stands before its operand is taken for a name, and the operand is what puzzles.
    let trimmed = before.trim_end();
    let begin = trimmed
        .rfind(|character: char| !character.is_alphanumeric() && character != '_')
        .map_or(0, |last| last + trimmed.get(last..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8));
    let previous = trimmed.get(begin..).unwrap_or_default();
    let is_field = trimmed.get(..begin).is_some_and(|before| before.ends_with('.'));
    known(previous).filter(|_| !is_field).and_then(|help| told(begin, previous.len(), format!("`{previous}` is no operator"), help))
}

/// What stands where nothing of its kind may.
fn unexpected(source: &str, at: usize, told: &Told<'_>) -> Mistake {
    let here = word_at(source, at);
    let opened = match here {
        ")" => Some('('),
        "]" => Some('['),
        "}" => Some('{'),
        _ => None,
    };
    let before = source.get(..at).map(last_of).filter(|before| !before.is_empty());
    let is_operand = here.starts_with(|character: char| character.is_alphanumeric() || matches!(character, '_' | '"'));
    match (opened, before) {
        (Some(open), _) => told(format!("`{here}` closes nothing"), format!("leave it out, or write the `{open}` that it closes")),
        (None, _) if here == "this" => {
            told("there is no `this` in expressions".to_owned(), "what came in is read as input.text".to_owned())
        }
        (None, Some(before)) if is_operand => {
            let help = "write an operator between them, as && or ==".to_owned();
            told(format!("nothing joins `{before}` and `{here}`"), help)
        }
        (None, _) => told(format!("`{here}` fits nowhere"), GENERAL.to_owned()),
    }
}

/// A sign that has to come and does not.
fn missing(source: &str, at: usize, token: &str, told: &Told<'_>) -> Mistake {
    if let Some(found) = habit(source, at) {
        return found;
    }
    let help = match token {
        "{" => IF_ELSE.to_owned(),
        ")" if word_at(source, at) == "," => "a list is written in brackets, as [1, 2]".to_owned(),
        ")" | "]" | "}" => format!("write the `{token}` that closes what is open, or the operator that is missing before it"),
        "," => "items and arguments stand with a `,` between them".to_owned(),
        ":" => "write a field of a map as name: value".to_owned(),
        _ => GENERAL.to_owned(),
    };
    told(format!("`{token}` is missing here"), help)
}

/// `'xy'`, which is a text in other languages and one character in Rhai.
fn single_quoted(source: &str, at: usize, text: &str, told: &Told<'_>) -> Mistake {
    let written = format!("'{text}'");
    let is_whole = source.get(at..).is_some_and(|rest| rest.starts_with(&written));
    let help = if is_whole && !text.contains('"') { format!("write \"{text}\"") } else { "write it in double quotes: \"…\"".to_owned() };
    let found = told("text stands in double quotes in an expression".to_owned(), help);
    if is_whole { Mistake { length: written.len(), ..found } } else { found }
}

/// The last word or sign of a text.
fn last_of(text: &str) -> &str {
    let text = text.trim_end();
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let is_sign = |character: char| "=!<>&|?+-*/%.".contains(character);
    let kind: &dyn Fn(char) -> bool = match text.chars().next_back() {
        Some(last) if is_word(last) => &is_word,
        Some(last) if is_sign(last) => &is_sign,
        Some(last) => return text.get(text.len() - last.len_utf8()..).unwrap_or_default(),
        None => return text,
    };
    let kept = text.trim_end_matches(kind).len();
    text.get(kept..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Names, Wanted, compile};

    #[test]
    fn habits_of_other_languages_are_told_at_their_place_with_what_is_written_here() {
        for (source, at, words, help) in [
            ("true and false", "and", "`and` is no operator", "write &&"),
            ("true or false", "or", "`or` is no operator", "write ||"),
            ("not true", "not", "`not` is no operator", "write !x"),
            ("true && not true", "not", "`not` is no operator", "write !x"),
            ("1 not in [1]", "not", "`not` is no operator", "!(a in b)"),
            ("1 is null", "is", "`is` is no operator", "write == or !="),
            ("1 > 2 ? 3 : 4", "?", "`?` is no operator", "if a { b } else { c }"),
            ("1 === 2", "===", "`===` is no operator", "write =="),
            ("1 !== 2", "!==", "`!==` is no operator", "write !="),
            ("1 <> 2", "<>", "`<>` is no operator", "write !="),
            ("1 ≥ 2", "≥", "`≥` is no operator", "write >="),
            ("\"a\" == 'xy'", "'xy'", "double quotes", "write \"xy\""),
            ("\"a\" == ''", "''", "double quotes", "write \"\""),
            ("\"a\" == “a”", "“", "no quote", "double quotes"),
            ("[1].map(|x| x)", "|", "no closures", "`each`"),
            ("[1].map(x => x)", "=>", "no closures", "`each`"),
            ("if true then 1 else 2", "then", "`then` is no operator", "if a { b } else { c }"),
            ("if true { 1 } else 2", "2", "`{` is missing", "if a { b } else { c }"),
            ("1 in (1, 2)", ",", "`)` is missing", "[1, 2]"),
            ("(1 > 2", "2", "`)` is missing", "closes what is open"),
            ("1 > 2)", ")", "closes nothing", "leave it out"),
            ("1 > 2 3", "3", "nothing joins `2` and `3`", "an operator"),
            ("1 > ", ">", "ends too early", "behind `>`"),
            ("\"a", "\"", "never closed", "close it"),
            ("\"\\d\"", "\\", "means nothing", "for a backslash"),
            ("#{ a: 1, a: 2 }", "a: 2", "stands twice", "keep one"),
            ("new Date()", "new", "reserved word", "write it as"),
            ("#{ new: 1 }", "new", "reserved word", "\"new\""),
            ("this.x", "this", "there is no `this`", "input.text"),
        ] {
            let mistakes = compile(source, &Names::default(), Wanted::Value).expect_err(source);
            let first = &mistakes[0];
            let told = first.help.as_deref().unwrap_or_default();
            assert_eq!(first.code, "E0301", "{source}: {first:?}");
            assert!(first.message.contains(words) && told.contains(help), "{source}: {first:?}");
            let expected = if at == "a: 2" { source.find(at) } else { source.rfind(at) };
            assert!(Some(first.offset) == expected || (at == "|" && source.find(at) == Some(first.offset)), "{source}: {first:?}");
        }
    }
}
