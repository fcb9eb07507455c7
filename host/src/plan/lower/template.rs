//! Values with `${…}` and bare expressions: taken apart, compiled, and checked against what is declared for their place.

use std::sync::Arc;

use super::load_time::{LoadTime, changing_call, readings};
use crate::model::port::{Expression, Root};
use crate::model::types::{Origin, Type};
use crate::model::value::{Tree, Value};
use crate::plan::check::fit::{common, field, inner, is_optional, may_be, of_literal};
use crate::plan::codes;
use crate::plan::expr::{self, Names, Wanted};
use crate::plan::raw::{Findings, closest};
use crate::plan::source::{Content, Key, Node, Scalar, Span, Style};
use crate::plan::template::{Part, Template};

/// A compiled value and what is known of it.
pub(in crate::plan) type Typed = (Template, Type);

/// Compiles what stands in one file.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Compiler<'a> {
    pub(in crate::plan) findings: &'a Findings<'a>,
    pub(in crate::plan) load: &'a LoadTime,
    /// Whether a secret may stand anywhere: only while an executor's `config` is read to ask the executor what it takes.
    pub(in crate::plan) secrets_anywhere: bool,
}

/// A part of a text: literally, or an expression with the byte at which it begins.
enum Piece<'t> {
    Literal(String),
    Hole(usize, &'t str),
}

impl Compiler<'_> {
    /// A value in which expressions may stand, checked against what is declared for it. `what` names it: `with`, `config`.
    pub(in crate::plan) fn value(&self, node: &Node, names: &Names, wanted: &Type, what: &str) -> Option<Typed> {
        match &node.content {
            Content::Scalar(scalar) => self.scalar(node, scalar, names, wanted, what),
            Content::List(items) => self.items(node, items, names, wanted, what),
            Content::Map(entries) => self.fields(node, entries, names, wanted, what),
        }
    }

    /// A value that is evaluated now, with `env` and `secret` only.
    pub(in crate::plan) fn fixed(&self, node: &Node, wanted: &Type, what: &str) -> Option<Value> {
        let (template, _) = self.value(node, &self.load.names(), wanted, what)?;
        let mut good = true;
        node.each_scalar(&mut |scalar, span| {
            if let Some((offset, call)) = changing_call(&scalar.text).filter(|_| scalar.text.contains("${")) {
                good = false;
                let at = self.findings.file.within(scalar, span, offset, call.len());
                self.findings.error(
                    codes::AT_LOAD,
                    at,
                    format!("{what} is fixed when the file is loaded, so `{call}` cannot be used in it"),
                    "use it in the `with` of a step, which is evaluated each time",
                );
            }
        });
        if !good {
            return None;
        }
        match template.evaluate(self.load) {
            Ok(value) => match wanted.conform(&value, Origin::Data) {
                Ok(value) => Some(value),
                Err(mismatches) => {
                    for mismatch in mismatches {
                        let path = if mismatch.path.is_empty() { what.to_owned() } else { format!("{what}.{}", mismatch.path) };
                        let at = at_path(node, &mismatch.path);
                        let help = mismatch.example.map(|example| format!("write it as {example}")).unwrap_or_default();
                        self.findings.error(codes::MISFIT, at, format!("`{path}` is {}, not {}", mismatch.found, mismatch.wanted), help);
                    }
                    None
                }
            },
            Err(failure) => {
                self.findings.error(
                    codes::AT_LOAD,
                    node.span,
                    format!("`{what}` cannot be evaluated: {}", failure.message),
                    "values here are fixed when the file is loaded, from `env` and `secret` only",
                );
                None
            }
        }
    }

    /// One bare expression that is true or false: `when`, `where`, `should_retry`.
    pub(in crate::plan) fn condition(&self, node: &Node, names: &Names, what: &str) -> Option<Arc<dyn Expression>> {
        self.bare(node, names, what, (Wanted::Condition, "write what has to be true, as 'input.total > 100'", "'input.total > 100'"))
            .map(|(expression, _)| expression)
    }

    /// One bare expression and what is known of its value. `wanted` is for what, a help where nothing stands, and an example.
    pub(in crate::plan) fn bare(
        &self,
        node: &Node,
        names: &Names,
        what: &str,
        (wanted, help, example): (Wanted, &str, &str),
    ) -> Option<(Arc<dyn Expression>, Type)> {
        let Some(scalar) = node.scalar().filter(|scalar| scalar.value != Tree::Null) else {
            if node.is_null() {
                self.findings.error(
                    codes::EMPTY_EXPRESSION,
                    node.span,
                    format!("`{what}` is an expression, and nothing stands here"),
                    help,
                );
            } else {
                self.findings.wrong_kind(node, &format!("`{what}`"), "one expression", example);
            }
            return None;
        };
        if let Some(offset) = scalar.text.find("${") {
            let at = self.findings.file.within(scalar, node.span, offset, 2);
            let bare = pieces(&scalar.text).ok().and_then(|pieces| match pieces.as_slice() {
                [Piece::Hole(_, source)] => Some(source.trim().to_owned()),
                _ => None,
            });
            let help = bare.map_or_else(|| "write it without `${` and `}`".to_owned(), |bare| format!("write {what}: {}", quoted(&bare)));
            self.findings.error(codes::MARKED_EXPRESSION, at, format!("`${{` is not used here: `{what}` is one expression already"), help);
            return None;
        }
        self.expression(node.span, scalar, 0, &scalar.text, names, wanted)
    }

    /// Warns of constants that were hardly meant to be any, where one thing is told from another: all would be taken for one.
    pub(in crate::plan) fn constants(&self, node: &Node, names: &Names, what: &str) {
        node.each_scalar(&mut |scalar, span| {
            if let Some(expression) = meant(scalar, names) {
                let message = format!("`{what}` is always the text `{}`: nothing is evaluated without `${{…}}`", scalar.text.trim());
                self.findings.warning(codes::CONSTANT, span, message, format!("write {expression}"));
            }
        });
    }

    fn expression(
        &self,
        span: Span,
        scalar: &Scalar,
        offset: usize,
        source: &str,
        names: &Names,
        wanted: Wanted,
    ) -> Option<(Arc<dyn Expression>, Type)> {
        let at = |from: usize, length: usize| self.findings.file.within(scalar, span, offset + from, length);
        if source.trim().is_empty() {
            self.findings.error(
                codes::EMPTY_EXPRESSION,
                at(0, 1),
                "nothing stands between `${` and `}`",
                "write an expression, as ${input.text}; `$${` stands for `${` as text",
            );
            return None;
        }
        let mut good = true;
        for reading in readings(source) {
            let here = at(reading.offset, reading.length);
            let name = reading.name;
            if reading.root == Root::Env && !self.load.lists(name) {
                let mut listed: Vec<&str> = self.load.listed().collect();
                let help = match closest(name, listed.iter().copied()) {
                    Some(near) => format!("did you mean `env.{near}`? otherwise add {name} to `env`"),
                    None => {
                        listed.push(name);
                        format!("list it at the top of the file: env: [{}]", listed.join(", "))
                    }
                };
                self.findings.error(codes::ENVIRONMENT, here, format!("the file does not list the environment variable {name}"), help);
                good = false;
            } else if reading.root == Root::Steps {
                let unseen = names.steps.as_ref().is_some_and(|steps| steps.get(name).is_none());
                if unseen && self.load.has_step(name) {
                    let help = "a step sees those before it in its own list and in the lists round about; of others it reads what they are inside of, as steps.both.left";
                    self.findings.error(
                        codes::NOT_YET_RUN,
                        here,
                        format!("the step `{name}` cannot be read here: it has not run, or runs inside another step"),
                        help,
                    );
                    return None;
                }
            } else if reading.root == Root::Secret
                && names.roots.contains_key(&Root::Secret)
                && !self.load.has_secret(name)
                && !reading.has_default
            {
                let help = format!(
                    "set the environment variable {name}, or put it into the file that --secrets names; `secret.{name} ?? null` does without"
                );
                self.findings.error(codes::MISSING_SECRET, here, format!("the secret {name} has no value"), help);
                good = false;
            }
        }
        match expr::compile(source, names, wanted) {
            Ok(compiled) if good => Some((compiled.expression, compiled.value_type)),
            Ok(_) => None,
            Err(mistakes) => {
                for mistake in mistakes {
                    let here = at(mistake.offset, mistake.length);
                    self.findings.error(mistake.code, here, mistake.message, mistake.help.unwrap_or_default());
                }
                None
            }
        }
    }

    fn scalar(&self, node: &Node, scalar: &Scalar, names: &Names, wanted: &Type, what: &str) -> Option<Typed> {
        if !scalar.text.contains("${") {
            return self.literal(node, names, wanted, what);
        }
        let pieces = match pieces(&scalar.text) {
            Ok(pieces) => pieces,
            Err(offset) => {
                let at = self.findings.file.within(scalar, node.span, offset, 2);
                self.findings.error(codes::UNCLOSED, at, "this `${` is never closed", "close it with `}`; `$${` stands for `${` as text");
                return None;
            }
        };
        let blank = |piece: &Piece<'_>| matches!(piece, Piece::Literal(text) if text.trim().is_empty());
        let block = matches!(scalar.style, Style::Literal | Style::Folded);
        // The line break at the end of a block is the way of writing, not text that somebody meant.
        let alone = matches!(pieces.as_slice(), [Piece::Hole(..)]) || (block && pieces.len() == 2 && pieces.get(1).is_some_and(blank));
        if let (true, Some(Piece::Hole(offset, source))) = (alone, pieces.first()) {
            let (expression, found) = self.expression(node.span, scalar, *offset, source, names, Wanted::Value)?;
            self.check_fit(node.span, &found, wanted, what)?;
            return Some((Template::Expression(expression), found));
        }
        let mut parts = Vec::with_capacity(pieces.len());
        let mut good = true;
        for piece in pieces {
            match piece {
                Piece::Literal(text) => parts.push(Part::Literal(text)),
                Piece::Hole(offset, source) => match self.expression(node.span, scalar, offset, source, names, Wanted::Value) {
                    Some((_, found)) if *inner(&found) == Type::Secret => {
                        let at = self.findings.file.within(scalar, node.span, offset, source.len());
                        self.findings.error(
                            codes::SECRET_PLACE,
                            at,
                            "a secret within text would only show its name",
                            "let the value be the secret alone: '${secret.NAME}'",
                        );
                        good = false;
                    }
                    Some((expression, _)) => parts.push(Part::Expression(expression)),
                    None => good = false,
                },
            }
        }
        self.check_fit(node.span, &Type::String, wanted, what)?;
        good.then_some(())?;
        if let [Part::Literal(text)] = parts.as_slice() {
            return Some((Template::Literal(Value::string(text.as_str())), Type::String));
        }
        Some((Template::Text(parts), Type::String))
    }

    fn check_fit(&self, span: Span, found: &Type, wanted: &Type, what: &str) -> Option<()> {
        if may_be(found, wanted) || (self.secrets_anywhere && *inner(found) == Type::Secret) {
            return Some(());
        }
        if *inner(found) == Type::Secret {
            let help =
                "secrets may stand only where one is declared (`type: secret`): in the `config` or input of an executor that says so";
            self.findings.error(codes::SECRET_PLACE, span, format!("a secret may not stand in `{what}`"), help);
        } else {
            self.findings.error(codes::MISFIT, span, format!("`{what}` is {found}, not {wanted}"), example(wanted));
        }
        None
    }

    fn literal(&self, node: &Node, names: &Names, wanted: &Type, what: &str) -> Option<Typed> {
        let tree = node.tree();
        let found = of_literal(&tree);
        match wanted.conform(&Value::from(tree), Origin::Data) {
            Ok(value) => Some((Template::Literal(value), found)),
            Err(mismatches) => {
                for mismatch in mismatches {
                    let expression = node.scalar().and_then(|scalar| meant(scalar, names));
                    let help = match inner(wanted) {
                        _ if expression.is_some() => expression.map(|expression| format!("write {expression}")).unwrap_or_default(),
                        Type::Secret => "write '${secret.NAME}'; the value itself does not belong into the file".to_owned(),
                        Type::String => node.scalar().map(|scalar| format!("quote it: '{}'", scalar.text)).unwrap_or_default(),
                        _ if mismatch.path.is_empty() => unquoted(node, wanted).unwrap_or_else(|| example(wanted)),
                        _ => String::new(),
                    };
                    self.findings.error(codes::MISFIT, node.span, format!("`{what}` is {}, not {}", mismatch.found, mismatch.wanted), help);
                }
                None
            }
        }
    }

    fn items(&self, node: &Node, items: &[Node], names: &Names, wanted: &Type, what: &str) -> Option<Typed> {
        let wanted_item = match inner(wanted) {
            Type::List(item) => item,
            Type::Any => &Type::Any,
            other => {
                self.findings.error(codes::MISFIT, node.span, format!("`{what}` is a list, not {other}"), "");
                return None;
            }
        };
        let compiled: Vec<Option<Typed>> =
            items.iter().enumerate().map(|(index, item)| self.value(item, names, wanted_item, &format!("{what}[{index}]"))).collect();
        let (templates, types): (Vec<_>, Vec<_>) = compiled.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let found = Type::List(Box::new(common(types)));
        let template = match literals(templates.iter()) {
            Some(trees) => Template::Literal(Value::from(Tree::List(trees))),
            None => Template::List(templates),
        };
        Some((template, found))
    }

    fn fields(&self, node: &Node, entries: &[(Key, Node)], names: &Names, wanted: &Type, what: &str) -> Option<Typed> {
        let declared = match inner(wanted) {
            Type::Record(fields) => Some(fields),
            Type::Any => None,
            other => {
                self.findings.error(codes::MISFIT, node.span, format!("`{what}` is a map, not {other}"), "");
                return None;
            }
        };
        let mut good = true;
        for field in declared.into_iter().flatten() {
            // A key that is a slip of this one is told below, once. One that is declared itself is no slip, however near it is.
            let is_slip = |key: &Key| {
                let is_declared = declared.into_iter().flatten().any(|declared| declared.name == key.name);
                !is_declared && closest(&key.name, [field.name.as_str()]).is_some()
            };
            let is_there = |key: &Key| key.name == field.name || is_slip(key);
            if !is_optional(field) && !entries.iter().any(|(key, _)| is_there(key)) {
                let message = format!("`{what}` has no `{}`, which is needed ({})", field.name, field.value_type);
                let help = match &field.description {
                    Some(description) => format!("write {}: … ({description})", field.name),
                    None => format!("write {}: …", field.name),
                };
                self.findings.error(codes::MISFIT, node.span, message, help);
                good = false;
            }
        }
        let (mut names_of, mut templates, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in entries {
            let wanted = match declared.map(|fields| (fields, fields.iter().find(|field| field.name == key.name))) {
                None => &Type::Any,
                Some((_, Some(field))) => &field.value_type,
                Some((fields, None)) => {
                    let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                    self.unknown_field(key, &known, what);
                    good = false;
                    &Type::Any
                }
            };
            match self.value(value, names, wanted, &format!("{what}.{}", key.name)) {
                Some((template, found)) => {
                    names_of.push(key.name.clone());
                    templates.push(template);
                    types.push(field(&key.name, found));
                }
                None => good = false,
            }
        }
        good.then_some(())?;
        let template = match literals(templates.iter()) {
            Some(trees) => Template::Literal(Value::from(Tree::Map(names_of.into_iter().zip(trees).collect()))),
            None => Template::Map(names_of.into_iter().zip(templates).collect()),
        };
        Some((template, Type::Record(types)))
    }

    fn unknown_field(&self, key: &Key, known: &[&str], what: &str) {
        let help = match closest(&key.name, known.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None if known.is_empty() => "it takes no fields at all".to_owned(),
            None => format!("its fields are {}", crate::plan::raw::list(known)),
        };
        self.findings.error(codes::MISFIT, key.span, format!("`{what}` has no field `{}`", key.name), help);
    }
}

/// What may be written where a value of this type is wanted.
fn example(wanted: &Type) -> String {
    let written = wanted.example().unwrap_or_default();
    match inner(wanted) {
        Type::Int => "write a whole number, as 6".to_owned(),
        Type::Float => "write a number, as 0.5".to_owned(),
        Type::Bool => "write true or false".to_owned(),
        Type::Duration => format!("write a time with its unit, as {written}"),
        Type::Time => format!("write a time, as '{written}'"),
        Type::Bytes => format!("write them in base64, as {written}"),
        _ => String::new(),
    }
}

/// The same value without its quotes, if that is what is wanted.
fn unquoted(node: &Node, wanted: &Type) -> Option<String> {
    let scalar = node.scalar().filter(|scalar| matches!(scalar.style, Style::Single | Style::Double))?;
    let plain = Value::from(Scalar::new(scalar.text.clone(), Style::Plain).value);
    wanted.conform(&plain, Origin::Data).ok().map(|_| format!("leave the quotes out: {}", scalar.text))
}

fn literals<'t>(templates: impl Iterator<Item = &'t Template>) -> Option<Vec<Tree>> {
    templates
        .map(|template| match template {
            Template::Literal(value) => Some(value.tree().clone()),
            _ => None,
        })
        .collect()
}

/// The value that a mismatch's path (`base_url`) leads to, as far as it is written.
fn at_path(node: &Node, path: &str) -> Span {
    let mut node = node;
    for name in path.split(['.', '[']) {
        match node.get(name) {
            Some(inner) => node = inner,
            None => break,
        }
    }
    node.span
}

/// What a constant text was probably meant to be, as it has to be written.
pub(super) fn meant(scalar: &Scalar, names: &Names) -> Option<String> {
    let constant = matches!(scalar.value, Tree::Text(_)) && !scalar.text.contains("${");
    expr::meant(&scalar.text, names).filter(|_| constant).map(|expression| quoted(&format!("${{{expression}}}")))
}

fn quoted(expression: &str) -> String {
    format!("'{}'", expression.replace('\'', "''"))
}

/// Takes a text apart. `$${` is `${` as text; an error is the byte at which an unclosed `${` begins.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, usize> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(next) = rest.find("${") else {
            literal.push_str(rest);
            break;
        };
        let open = at + next;
        literal.push_str(text.get(at..open).unwrap_or_default());
        if literal.ends_with('$') && next > 0 {
            literal.push('{');
            at = open + 2;
            continue;
        }
        let end = end_of(text.get(open + 2..).unwrap_or_default()).ok_or(open)? + open + 2;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Hole(open + 2, text.get(open + 2..end).unwrap_or_default()));
        at = end + 1;
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// The byte of the `}` that closes an expression: braces in its texts and comments do not count.
fn end_of(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut characters = text.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(character),
            (None, '/') if characters.peek().is_some_and(|(_, next)| *next == '*') => {
                let rest = text.get(index + 2..)?;
                let after = index + 2 + rest.find("*/")? + 2;
                while characters.peek().is_some_and(|(next, _)| *next < after) {
                    characters.next();
                }
            }
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(index),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, usize> {
        let pieces = pieces(text)?;
        Ok(pieces
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => format!("text {text}"),
                Piece::Hole(offset, source) => format!("hole at {offset}: {source}"),
            })
            .collect())
    }

    #[test]
    fn text_and_expressions_are_told_apart() {
        assert_eq!(shown("a ${b} c").as_deref(), Ok(&["text a ".to_owned(), "hole at 4: b".into(), "text  c".into()][..]));
        assert_eq!(shown("${#{ a: \"}\" }}").as_deref(), Ok(&["hole at 2: #{ a: \"}\" }".to_owned()][..]));
        assert_eq!(shown("cost $${x}").as_deref(), Ok(&["text cost ${x}".to_owned()][..]));
        assert_eq!(shown("${a /* } */ + 1}").as_deref(), Ok(&["hole at 2: a /* } */ + 1".to_owned()][..]));
    }

    #[test]
    fn an_unclosed_expression_is_told_where_it_begins() {
        assert_eq!(shown("é ${a").err(), Some(3));
        assert_eq!(shown("${\"}").err(), Some(0));
    }
}
