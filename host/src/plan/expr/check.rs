//! Walks an expression's syntax tree: names, fields, nulls, functions and kinds, against what is declared.

mod chain;
mod words;

use rhai::{AST, Expr, FnCallExpr, Position, Stmt, StmtBlock};

use super::function::{FUNCTIONS, LATER};
use super::place::{mistake, suggest};
use super::uses::RootUse;
use super::{Mistake, Names, Wanted};
use crate::model::port::Root;
use crate::model::types::Type;

/// What is known of an expression without mistakes.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// What its value is, as far as it is known.
    pub(super) value_type: Type,
    /// What it reads.
    pub(super) roots: Vec<RootUse>,
    /// The path that it is, if it is nothing else.
    pub(super) path: Option<Path>,
    /// How often `uuid()` stands in it.
    pub(super) ids: usize,
    /// Whether `now()` stands in it.
    pub(super) asks_time: bool,
}

/// An expression that is only a path, as `steps.context?.passages`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) field: Option<String>,
    /// Null if the scope has no such field.
    pub(super) optional: bool,
    /// The fields after that; with `true`, null before it makes the whole null.
    pub(super) links: Vec<(String, bool)>,
}

/// Checks an expression.
pub(super) fn check(source: &str, ast: &AST, names: &Names, wanted: Wanted) -> Result<Checked, Vec<Mistake>> {
    let mut checker = Checker { source, names, mistakes: Vec::new(), roots: Vec::new(), ids: 0, asks_time: false };
    let statements = ast.statements();
    let (value_type, path) = match statements {
        [Stmt::Expr(expression)] => (checker.infer(expression), checker.path(expression)),
        _ => (checker.statements(statements), None),
    };
    if wanted == Wanted::Condition {
        let position = statements.first().map_or(Position::START, Stmt::position);
        checker.condition(&value_type, position, "the condition");
    }
    let Checker { mut mistakes, roots, ids, asks_time, .. } = checker;
    mistakes.sort_by_key(|mistake| mistake.offset);
    mistakes.dedup();
    if mistakes.is_empty() { Ok(Checked { value_type, roots, path, ids, asks_time }) } else { Err(mistakes) }
}

struct Checker<'a> {
    source: &'a str,
    names: &'a Names,
    mistakes: Vec<Mistake>,
    roots: Vec<RootUse>,
    ids: usize,
    asks_time: bool,
}

impl Checker<'_> {
    fn report(&mut self, code: &'static str, position: Position, message: String, help: impl Into<String>) {
        self.mistakes.push(mistake(code, self.source, position, message).with_help(help));
    }

    fn infer(&mut self, expression: &Expr) -> Type {
        match expression {
            Expr::BoolConstant(..) => Type::Bool,
            Expr::IntegerConstant(..) => Type::Int,
            Expr::FloatConstant(..) => Type::Float,
            Expr::CharConstant(..) | Expr::StringConstant(..) => Type::String,
            Expr::Unit(..) => Type::Nullable(Box::new(Type::Any)),
            Expr::Array(items, _) => self.list(items),
            Expr::Map(map, _) => {
                for (_, field) in &map.0 {
                    self.infer(field);
                }
                Type::Any
            }
            Expr::Variable(..) | Expr::Dot(..) | Expr::Index(..) => self.chain(expression),
            Expr::And(operands, _) | Expr::Or(operands, _) => {
                for operand in operands.iter() {
                    let found = self.infer(operand);
                    self.condition(&found, operand.start_position(), "what stands beside && and ||");
                }
                Type::Bool
            }
            Expr::Coalesce(operands, _) => self.coalesce(operands),
            Expr::FnCall(call, position) | Expr::MethodCall(call, position) => self.call(call, *position),
            Expr::Stmt(block) => self.block(block),
            other => {
                let message = "this is not known in expressions".to_owned();
                self.report("E0302", other.start_position(), message, "do it in a step of its own, with a Rhai executor");
                Type::Any
            }
        }
    }

    fn list(&mut self, items: &[Expr]) -> Type {
        let mut kinds = items.iter().map(|item| self.infer(item)).collect::<Vec<_>>().into_iter();
        let first = kinds.next().unwrap_or(Type::Any);
        Type::List(Box::new(if kinds.all(|kind| kind == first) { first } else { Type::Any }))
    }

    /// `a ?? b`: null only if the last may be; of one type only if all are.
    fn coalesce(&mut self, operands: &[Expr]) -> Type {
        let mut kinds: Vec<_> = operands.iter().map(|operand| self.infer(operand)).collect();
        let Some(last) = kinds.pop() else { return Type::Any };
        let (last_inner, last_may_be_null) = match last {
            Type::Nullable(inner) => (*inner, true),
            other => (other, false),
        };
        let bare_null = last_may_be_null && last_inner == Type::Any;
        let mut all = kinds.into_iter().map(|kind| match kind {
            Type::Nullable(inner) => *inner,
            other => other,
        });
        let first = all.next().unwrap_or(Type::Any);
        let alike = first != Type::Any && all.all(|kind| kind == first) && (bare_null || last_inner == first);
        match (alike, last_may_be_null) {
            (true, true) => Type::Nullable(Box::new(first)),
            (true, false) => first,
            (false, _) => Type::Any,
        }
    }

    fn block(&mut self, block: &StmtBlock) -> Type {
        self.statements(block.statements())
    }

    fn statements(&mut self, statements: &[Stmt]) -> Type {
        let mut value_type = Type::Nullable(Box::new(Type::Any));
        for statement in statements {
            value_type = match statement {
                Stmt::Expr(expression) => self.infer(expression),
                Stmt::FnCall(call, position) => self.call(call, *position),
                Stmt::Block(block) => self.block(block),
                Stmt::Noop(_) => continue,
                Stmt::If(control, _) => {
                    let found = self.infer(&control.expr);
                    self.condition(&found, control.expr.start_position(), "what stands after `if`");
                    let then = self.block(&control.body);
                    let otherwise = self.block(&control.branch);
                    if then == otherwise { then } else { Type::Any }
                }
                other => {
                    let message = "statements are not known in expressions".to_owned();
                    self.report("E0302", other.position(), message, "do it in a step of its own, with a Rhai executor");
                    Type::Any
                }
            };
        }
        value_type
    }

    fn condition(&mut self, found: &Type, position: Position, what: &str) {
        let message = match found {
            Type::Any | Type::Bool => return,
            Type::Nullable(inner) if **inner == Type::Bool => format!("{what} may be null, and null is not false"),
            Type::Nullable(inner) if **inner == Type::Any => format!("{what} is null, not true or false"),
            other => format!("{what} is {other}, not true or false"),
        };
        let help = match found {
            Type::Nullable(_) => "compare it, as x != null, or give a default, as x ?? false",
            Type::String => "compare it, as x != \"\"",
            Type::Int | Type::Float => "compare it, as x > 0",
            _ => "compare it with something",
        };
        self.report("E0309", position, message, help);
    }

    fn call(&mut self, call: &FnCallExpr, position: Position) -> Type {
        let kinds: Vec<_> = call.args.iter().map(|argument| self.infer(argument)).collect();
        if let (true, [left, right]) = (call.is_operator_call(), kinds.as_slice()) {
            if matches!(&*call.name, "==" | "!=") {
                self.words(call);
            }
            return self.operator(&call.name, left, right, position);
        }
        if let (true, [operand]) = (call.is_operator_call(), kinds.as_slice()) {
            if call.name == "!" {
                self.condition(operand, position, "what stands after `!`");
                return Type::Bool;
            }
            return operand.clone();
        }
        self.function(call, position)
    }

    fn function(&mut self, call: &FnCallExpr, position: Position) -> Type {
        match call.name.as_str() {
            "uuid" => self.ids += 1,
            "now" => self.asks_time = true,
            _ => {}
        }
        let known = FUNCTIONS.iter().find(|(name, _)| *name == call.name.as_str());
        match known {
            Some((_, gives)) if !call.is_qualified() => gives.value_type(),
            None if LATER.contains(&call.name.as_str()) => {
                self.report("E0307", position, format!("`{}` is not in this version", call.name), "leave it out: there are no rooms yet");
                Type::Any
            }
            _ => {
                let help = suggest(&call.name, FUNCTIONS.iter().map(|(name, _)| *name));
                self.report("E0307", position, format!("there is no function `{}` in expressions", call.name), help);
                Type::Any
            }
        }
    }

    fn operator(&mut self, operator: &str, left: &Type, right: &Type, position: Position) -> Type {
        match operator {
            "==" | "!=" | "<" | "<=" | ">" | ">=" => {
                let is_order = !matches!(operator, "==" | "!=");
                if let Some(why) = unlike(left, right, is_order) {
                    let message = format!("{why}: {operator} would always fail");
                    self.report("E0310", position, message, "convert one of them, as with to_string or parse_int");
                }
                Type::Bool
            }
            // `a in b`
            "contains" => Type::Bool,
            "/" => Type::Float,
            "+" if matches!(left, Type::String) || matches!(right, Type::String) => Type::String,
            "+" | "-" | "*" | "%" | "**" => match (left, right) {
                (Type::Int, Type::Int) => Type::Int,
                (Type::Int | Type::Float, Type::Int | Type::Float) => Type::Float,
                _ => Type::Any,
            },
            "&" | "|" | "^" | "<<" | ">>" => Type::Any,
            other => {
                let help = "do it in a step of its own, with a Rhai executor";
                self.report("E0307", position, format!("there is no operator `{other}` in expressions"), help);
                Type::Any
            }
        }
    }
}

/// Why two types can never be compared, if so.
fn unlike(left: &Type, right: &Type, is_order: bool) -> Option<String> {
    let (left, right) = match (left, right) {
        (Type::Nullable(left), Type::Nullable(right)) if !is_order => (&**left, &**right),
        (Type::Nullable(left), right) => (&**left, right),
        (left, Type::Nullable(right)) => (left, &**right),
        both => both,
    };
    let (kind_left, kind_right) = (kind(left)?, kind(right)?);
    if kind_left != kind_right {
        return Some(format!("{left} and {right} cannot be compared"));
    }
    (is_order && !matches!(kind_left, "number" | "text")).then(|| format!("{left} has no order"))
}

/// What a type is to a comparison; `None` where that is not known.
const fn kind(of: &Type) -> Option<&'static str> {
    match of {
        Type::Any | Type::Nullable(_) => None,
        Type::String | Type::Bytes | Type::Time | Type::Duration => Some("text"),
        Type::Int | Type::Float => Some("number"),
        Type::Bool => Some("bool"),
        Type::Secret => Some("secret"),
        Type::List(_) => Some("list"),
        Type::Record(_) => Some("map"),
    }
}
