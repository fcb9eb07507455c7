//! What is refused word by word, before parsing: in our words, where the parser's would puzzle.

use rhai::{Position, Token};

use super::Mistake;
use super::engine::engine;
use super::place::{mistake, offset, word_at};

/// So long may an expression be, in bytes.
const LONGEST: usize = 8 << 10;

/// So many words and signs may it have: each may nest, and what nests takes stack.
const MOST_TOKENS: usize = 512;

/// Refuses statements, functions, reserved words as fields, `${` and what is too long.
pub(super) fn check(source: &str) -> Result<(), Vec<Mistake>> {
    if source.trim().is_empty() {
        let mistake = Mistake { code: "E0301", message: "an empty expression".to_owned(), offset: 0, length: 1, help: None };
        return Err(vec![mistake.with_help("write what it shall be, as input.text; null is the absent value")]);
    }
    if source.len() > LONGEST {
        return Err(vec![too_long(source, Position::START)]);
    }
    let sources = [source];
    let (tokens, _control) = engine().lex(&sources);
    let mut mistakes = Vec::new();
    let mut after_dot = false;
    let mut tokens = tokens.peekable();
    let mut count = 0;
    while let Some((token, position)) = tokens.next() {
        // The end is given for ever.
        if matches!(token, Token::EOF) {
            break;
        }
        count += 1;
        if count > MOST_TOKENS {
            return Err(vec![too_long(source, position)]);
        }
        let is_call = matches!(tokens.peek(), Some((Token::LeftParen | Token::Unit, _)));
        let word = word_at(source, offset(source, position));
        if after_dot && !is_call && is_reserved(&token, word) {
            mistakes.push(
                mistake("E0306", source, position, format!("`{word}` is a reserved word and cannot follow a dot"))
                    .with_help(format!("write [\"{word}\"] in place of .{word}")),
            );
        } else if let Some(found) = refuse(source, &token, position, word) {
            mistakes.push(found);
            // What follows text with holes is not read as the parser would read it.
            if matches!(token, Token::InterpolatedString(..) | Token::LexError(..)) {
                break;
            }
        }
        after_dot = matches!(token, Token::Period | Token::Elvis);
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

fn too_long(source: &str, position: Position) -> Mistake {
    let message = format!("the expression is too long: {LONGEST} bytes and {MOST_TOKENS} words and signs are the most");
    mistake("E0311", source, position, message).with_help("do it in a step of its own, with a Rhai executor")
}

fn is_reserved(token: &Token, word: &str) -> bool {
    let is_word = word.starts_with(|character: char| character.is_alphabetic() || character == '_');
    is_word && !matches!(token, Token::Identifier(..) | Token::LexError(..) | Token::EOF)
}

fn refuse(source: &str, token: &Token, position: Position, word: &str) -> Option<Mistake> {
    let rhai = "do it in a step of its own, with a Rhai executor";
    let (code, message, help) = match token {
        Token::Let | Token::Const | Token::While | Token::Loop | Token::For | Token::Do | Token::Switch => {
            ("E0302", format!("`{word}` is a statement, and an expression has none"), rhai.to_owned())
        }
        Token::Return | Token::Throw | Token::Try | Token::Catch | Token::Break | Token::Continue => {
            ("E0302", format!("`{word}` is a statement, and an expression has none"), rhai.to_owned())
        }
        Token::Fn | Token::Private | Token::Import | Token::Export | Token::As => {
            ("E0302", format!("`{word}` belongs into a script, not into an expression"), rhai.to_owned())
        }
        Token::SemiColon => ("E0302", "`;` ends a statement, and an expression has none".to_owned(), "leave it out".to_owned()),
        Token::Equals => ("E0302", "`=` sets a variable, and expressions change nothing".to_owned(), "to compare, write ==".to_owned()),
        token if token.is_op_assignment() => ("E0302", "this sets a variable, and expressions change nothing".to_owned(), rhai.to_owned()),
        Token::InterpolatedString(..) => {
            let help = "join with +, or write the text around ${…} in the YAML".to_owned();
            ("E0302", "text with holes is not known inside an expression".to_owned(), help)
        }
        Token::Reserved(sign) if sign.as_str() == "$" => {
            let help = "leave ${ and } out: what stands here is an expression already".to_owned();
            ("E0308", "`${` inside an expression".to_owned(), help)
        }
        _ => return None,
    };
    Some(mistake(code, source, position, message).with_help(help))
}
