//! Walks an expression's syntax tree: names, fields, nulls, functions and kinds, against what is declared.

use rhai::{AST, ASTFlags, Expr, FnCallExpr, Position, Stmt, StmtBlock};

use super::function::FUNCTIONS;
use super::place::{mistake, suggest};
use super::uses::{RootUse, Uses, is_keyed};
use super::{Mistake, Names, Steps, Wanted};
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

/// Where a chain of dots and brackets has come to.
struct Reached {
    value_type: Type,
    /// The fields since the root, as long as all of them were written out.
    path: Option<(usize, Vec<String>)>,
    /// What to show for it.
    shown: String,
    /// Whether a `?.` before may have made the whole null.
    may_end: bool,
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

    /// A name with the dots and brackets after it.
    fn chain(&mut self, expression: &Expr) -> Type {
        let (start, rest) = match expression {
            Expr::Dot(link, flags, _) => (&link.lhs, Some((false, flags, &link.rhs))),
            Expr::Index(link, flags, _) => (&link.lhs, Some((true, flags, &link.rhs))),
            other => (other, None),
        };
        let mut reached = match start {
            Expr::Variable(variable, _, position) => self.variable(&variable.1, !variable.2.is_empty(), *position),
            other => Reached { value_type: self.infer(other), path: None, shown: "this".to_owned(), may_end: false },
        };
        let mut next = rest;
        while let Some((is_index, flags, right)) = next {
            let (item, after) = match right {
                Expr::Dot(link, flags_after, _) if !flags.intersects(ASTFlags::BREAK) => (&link.lhs, Some((false, flags_after, &link.rhs))),
                Expr::Index(link, flags_after, _) if !flags.intersects(ASTFlags::BREAK) => {
                    (&link.lhs, Some((true, flags_after, &link.rhs)))
                }
                other => (other, None),
            };
            reached = self.link(reached, is_index, flags.intersects(ASTFlags::NEGATED), item);
            next = after;
        }
        self.end(&reached);
        if self.steps(&reached).is_some() {
            return self.kind(&reached);
        }
        match reached.value_type {
            Type::Any | Type::Nullable(_) => reached.value_type,
            other if reached.may_end => Type::Nullable(Box::new(other)),
            other => other,
        }
    }

    /// Notes that what has been reached is read as a whole.
    fn end(&mut self, reached: &Reached) {
        if let Some((root, path)) = &reached.path
            && let Some(used) = self.roots.get_mut(*root)
        {
            let optional = matches!(used.root, Root::Env | Root::Secret) || self.is_optional(*root, path);
            if let Some(used) = self.roots.get_mut(*root) {
                used.uses.add(path, optional);
            }
        }
    }

    fn is_optional(&self, root: usize, path: &[String]) -> bool {
        let (Some(used), Some(first)) = (self.roots.get(root), path.first()) else { return false };
        let declared = match used.root {
            Root::Steps => self.names.steps.as_ref().and_then(|steps| steps.get(first)),
            root => self.names.roots.get(&root).and_then(|declared| declared.field(first)),
        };
        matches!(declared, Some(Type::Nullable(_)))
    }

    /// The steps, if nothing but `steps` has been reached: they are many, and one of them is what is asked for.
    fn steps(&self, reached: &Reached) -> Option<&Steps> {
        let (root, path) = reached.path.as_ref()?;
        self.roots.get(*root).filter(|used| used.root == Root::Steps && path.is_empty())?;
        self.names.steps.as_ref()
    }

    /// The type of what has been reached.
    fn kind(&self, reached: &Reached) -> Type {
        self.steps(reached).map_or_else(|| reached.value_type.clone(), Steps::record)
    }

    fn variable(&mut self, name: &str, is_qualified: bool, position: Position) -> Reached {
        let local = self.names.locals.iter().find(|(local, _)| local == name).map(|(_, declared)| (Root::Local, declared));
        let root = || match Root::from_name(name)? {
            // Which step is meant, the next link says.
            Root::Steps => self.names.steps.as_ref().map(|_| (Root::Steps, &Type::Any)),
            root => self.names.roots.get(&root).map(|declared| (root, declared)),
        };
        let Some((root, declared)) = local.or_else(root).filter(|_| !is_qualified) else {
            let steps = self.names.steps.as_ref().map(|_| Root::Steps);
            let mut roots: Vec<Root> = self.names.roots.keys().copied().chain(steps).collect();
            roots.sort_unstable();
            let known = roots.iter().map(|root| root.as_str()).chain(self.names.locals.iter().map(|(name, _)| name.as_str()));
            let help = match Root::from_name(name) {
                Some(_) => format!("`{name}` cannot be read in this place; {}", suggest("", known)),
                None => suggest(name, known),
            };
            self.report("E0303", position, format!("there is no `{name}` here"), help);
            return Reached { value_type: Type::Any, path: None, shown: name.to_owned(), may_end: false };
        };
        let index = match self.roots.iter().position(|used| used.root == root && used.name == name) {
            Some(index) => index,
            None => {
                self.roots.push(RootUse { root, name: name.to_owned(), uses: Uses::default() });
                self.roots.len() - 1
            }
        };
        Reached { value_type: declared.clone(), path: Some((index, Vec::new())), shown: name.to_owned(), may_end: false }
    }

    fn link(&mut self, reached: Reached, is_index: bool, null_safe: bool, item: &Expr) -> Reached {
        let may_end = reached.may_end || null_safe;
        let inner = match &reached.value_type {
            Type::Nullable(inner) => {
                if !null_safe {
                    let (sign, right) = if is_index { ("[", "?[") } else { (".", "?.") };
                    let message = format!("`{}` may be null, and nothing can be read of null", reached.shown);
                    self.report("E0305", item.start_position(), message, format!("write {right} in place of {sign}"));
                }
                (**inner).clone()
            }
            other => other.clone(),
        };
        if let (Some(_), Some((name, position))) = (self.steps(&reached), named(item, is_index)) {
            return self.one_step(&reached, name, position, may_end);
        }
        let inner = if self.steps(&reached).is_some() { self.kind(&reached) } else { inner };
        match item {
            Expr::Property(property, position) => self.field(reached, &inner, &property.2, *position, may_end),
            Expr::StringConstant(name, position) if is_index => self.field(reached, &inner, name, *position, may_end),
            Expr::MethodCall(call, position) => {
                self.end(&reached);
                for argument in &call.args {
                    self.infer(argument);
                }
                let value_type = self.function(call, *position);
                Reached { value_type, path: None, shown: format!("{}.{}()", reached.shown, call.name), may_end }
            }
            index => {
                self.end(&reached);
                let index_type = self.infer(index);
                let shown = format!("{}[…]", reached.shown);
                if matches!((&inner, &index_type), (Type::List(_), Type::String) | (Type::Record(_), Type::Int)) {
                    let message = format!("`{}` is {inner} and has no item under {index_type}", reached.shown);
                    self.report("E0304", index.start_position(), message, "a list has numbers from 0, a map has names");
                }
                let value_type = match (inner, index_type) {
                    (Type::List(item), Type::Int) => *item,
                    (Type::String, Type::Int) => Type::String,
                    _ => Type::Any,
                };
                Reached { value_type, path: None, shown, may_end }
            }
        }
    }

    /// One of the steps.
    fn one_step(&mut self, reached: &Reached, name: &str, position: Position, may_end: bool) -> Reached {
        let shown = format!("{}.{name}", reached.shown);
        let names = self.names;
        let declared = names.steps.as_ref().and_then(|steps| steps.get(name));
        let path = reached.path.as_ref().filter(|_| declared.is_some()).map(|(root, _)| (*root, vec![name.to_owned()]));
        if declared.is_none() {
            let help = suggest(name, names.steps.iter().flat_map(|steps| steps.iter().map(|(id, _)| id)));
            self.report("E0304", position, format!("`{}` has no field `{name}`", reached.shown), help);
        }
        Reached { value_type: declared.cloned().unwrap_or_default(), path, shown, may_end }
    }

    fn field(&mut self, reached: Reached, on: &Type, name: &str, position: Position, may_end: bool) -> Reached {
        let shown = format!("{}.{name}", reached.shown);
        let extended =
            |reached: &Reached| reached.path.as_ref().map(|(root, path)| (*root, path.iter().cloned().chain([name.to_owned()]).collect()));
        let (value_type, path) = match on {
            Type::Any => (Type::Any, extended(&reached)),
            Type::Record(fields) => match on.field(name) {
                Some(declared) => (declared.clone(), extended(&reached)),
                None => {
                    let help = suggest(name, fields.iter().map(|field| field.name.as_str()));
                    self.report("E0304", position, format!("`{}` has no field `{name}`", reached.shown), help);
                    (Type::Any, None)
                }
            },
            Type::List(_) | Type::String if matches!(name, "len" | "is_empty") => {
                self.end(&reached);
                (if name == "len" { Type::Int } else { Type::Bool }, None)
            }
            other => {
                let help = match other {
                    Type::List(_) => "take an item of it, as list[0]",
                    _ => "read it as it is",
                };
                self.report("E0304", position, format!("`{}` is {other} and has no fields", reached.shown), help);
                (Type::Any, None)
            }
        };
        Reached { value_type, path, shown, may_end }
    }

    /// The path that the expression is, if it is nothing else.
    fn path(&self, expression: &Expr) -> Option<Path> {
        let mut links = Vec::new();
        let (start, mut next) = match expression {
            Expr::Dot(link, flags, _) => (&link.lhs, Some((false, flags, &link.rhs))),
            Expr::Index(link, flags, _) => (&link.lhs, Some((true, flags, &link.rhs))),
            other => (other, None),
        };
        let Expr::Variable(variable, ..) = start else { return None };
        while let Some((is_index, flags, right)) = next {
            let (item, after) = match right {
                Expr::Dot(link, flags_after, _) if !flags.intersects(ASTFlags::BREAK) => (&link.lhs, Some((false, flags_after, &link.rhs))),
                Expr::Index(link, flags_after, _) if !flags.intersects(ASTFlags::BREAK) => {
                    (&link.lhs, Some((true, flags_after, &link.rhs)))
                }
                other => (other, None),
            };
            let name = match item {
                Expr::Property(property, _) => property.2.to_string(),
                Expr::StringConstant(name, _) if is_index => name.to_string(),
                _ => return None,
            };
            links.push((name, flags.intersects(ASTFlags::NEGATED)));
            next = after;
        }
        let (index, used) = self.roots.iter().enumerate().find(|(_, used)| used.name == variable.1.as_str())?;
        if used.root == Root::Local {
            return Some(Path { root: Root::Local, field: Some(used.name.clone()), optional: false, links });
        }
        if !is_keyed(used.root) || links.is_empty() {
            return Some(Path { root: used.root, field: None, optional: false, links });
        }
        let (field, _) = links.remove(0);
        let optional = matches!(used.root, Root::Env | Root::Secret) || self.is_optional(index, std::slice::from_ref(&field));
        Some(Path { root: used.root, field: Some(field), optional, links })
    }
}

/// The name that a link is, if it is written out, and where.
fn named(item: &Expr, is_index: bool) -> Option<(&str, Position)> {
    match item {
        Expr::Property(property, position) => Some((property.2.as_str(), *position)),
        Expr::StringConstant(name, position) if is_index => Some((name.as_str(), *position)),
        _ => None,
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
