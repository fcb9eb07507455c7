//! Chains of dots and brackets, as `steps.context?.passages[0]`: what each link of one can be read of, and what the whole gives.

use rhai::{ASTFlags, Expr, Position};

use super::{Checker, Path};
use crate::model::port::Root;
use crate::model::types::Type;
use crate::plan::expr::Steps;
use crate::plan::expr::place::suggest;
use crate::plan::expr::uses::{RootUse, Uses, is_keyed};

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

/// A dot or a pair of brackets, with what it reads.
struct Link<'a> {
    is_index: bool,
    /// `?.` or `?[`: null before it makes the whole null.
    null_safe: bool,
    item: &'a Expr,
}

impl<'a> Link<'a> {
    /// The name that it reads, if it is written out, and where.
    fn name(&self) -> Option<(&'a str, Position)> {
        match self.item {
            Expr::Property(property, position) => Some((property.2.as_str(), *position)),
            Expr::StringConstant(name, position) if self.is_index => Some((name.as_str(), *position)),
            _ => None,
        }
    }
}

impl Checker<'_> {
    /// A name with the dots and brackets after it.
    pub(super) fn chain(&mut self, expression: &Expr) -> Type {
        let (start, links) = links(expression);
        let mut reached = match start {
            Expr::Variable(variable, _, position) => self.variable(&variable.1, !variable.2.is_empty(), *position),
            other => Reached { value_type: self.infer(other), path: None, shown: "this".to_owned(), may_end: false },
        };
        for link in links {
            reached = self.link(reached, &link);
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

    fn link(&mut self, reached: Reached, link: &Link<'_>) -> Reached {
        let Link { is_index, null_safe, item } = *link;
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
        if let (Some(_), Some((name, position))) = (self.steps(&reached), link.name()) {
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
    pub(super) fn path(&self, expression: &Expr) -> Option<Path> {
        let (start, links) = links(expression);
        let Expr::Variable(variable, ..) = start else { return None };
        let named = |link: Link<'_>| link.name().map(|(name, _)| (name.to_owned(), link.null_safe));
        let mut links = links.map(named).collect::<Option<Vec<_>>>()?;
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

/// What a chain begins with, and its links. The tree leans to the right: each link holds all that come after it.
fn links(expression: &Expr) -> (&Expr, impl Iterator<Item = Link<'_>>) {
    let (start, mut rest) = match expression {
        Expr::Dot(pair, flags, _) => (&pair.lhs, Some((false, *flags, &pair.rhs))),
        Expr::Index(pair, flags, _) => (&pair.lhs, Some((true, *flags, &pair.rhs))),
        other => (other, None),
    };
    let links = std::iter::from_fn(move || {
        let (is_index, flags, right) = rest?;
        // What is marked so is the last link: brackets after it belong to what it reads.
        let goes_on = !flags.intersects(ASTFlags::BREAK);
        let (item, after) = match right {
            Expr::Dot(pair, flags, _) if goes_on => (&pair.lhs, Some((false, *flags, &pair.rhs))),
            Expr::Index(pair, flags, _) if goes_on => (&pair.lhs, Some((true, *flags, &pair.rhs))),
            other => (other, None),
        };
        rest = after;
        Some(Link { is_index, null_safe: flags.intersects(ASTFlags::NEGATED), item })
    });
    (start, links)
}
