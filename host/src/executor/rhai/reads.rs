//! What a script reads of its job, as far as that shows without running it: nothing else need be made for it.

use rhai::{AST, ASTNode, Expr, Stmt};

/// What a script reads of its job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reads {
    /// That cannot be seen: perhaps all of it.
    All,
    /// These fields.
    Fields(Vec<String>),
    /// It takes `job.input` into a variable once, and does nothing else with its job: what is made for it is a copy of the input and no more.
    InputOnce,
}

impl Reads {
    /// What a script reads whose `process` has this parameter.
    pub(super) fn of(ast: &AST, parameter: &str) -> Self {
        if takes_input_once(ast, parameter) {
            return Self::InputOnce;
        }
        fields(ast, parameter).map_or(Self::All, Self::Fields)
    }

    /// Whether this field of the job is made.
    pub(super) fn want(&self, field: &str) -> bool {
        match self {
            Self::All => true,
            Self::Fields(fields) => fields.iter().any(|known| known == field),
            Self::InputOnce => field == "input",
        }
    }
}

/// Whether an expression is `job.input`.
pub(super) fn is_input(expression: &Expr, parameter: &str) -> bool {
    let Expr::Dot(link, ..) = expression else { return false };
    matches!((&link.lhs, &link.rhs), (Expr::Variable(name, ..), Expr::Property(field, _)) if name.1 == parameter && field.2 == "input")
}

/// The fields that are read of `process`'s parameter, if it is only ever read field by field.
fn fields(ast: &AST, parameter: &str) -> Option<Vec<String>> {
    let mut fields: Vec<String> = Vec::new();
    let only_fields = ast.walk(&mut |path: &[ASTNode<'_>]| match path {
        [.., ASTNode::Stmt(Stmt::Share(names))] => !names.iter().any(|(name, _)| name.name.as_str() == parameter),
        [before @ .., ASTNode::Expr(variable @ Expr::Variable(name, ..))] if name.1.as_str() == parameter => {
            let Some(ASTNode::Expr(Expr::Dot(link, ..))) = before.last() else { return false };
            let field = match &link.rhs {
                Expr::Property(property, _) => property,
                Expr::Dot(inner, ..) | Expr::Index(inner, ..) => match &inner.lhs {
                    Expr::Property(property, _) => property,
                    _ => return false,
                },
                _ => return false,
            };
            if !std::ptr::eq(&link.lhs, *variable) {
                return false;
            }
            if !fields.iter().any(|known| *known == field.2.as_str()) {
                fields.push(field.2.to_string());
            }
            true
        }
        _ => true,
    });
    only_fields.then_some(fields)
}

/// Whether `process`'s parameter stands in the script once, and that is as `let x = job.input`.
fn takes_input_once(ast: &AST, parameter: &str) -> bool {
    let mut times = 0;
    let as_such = ast.walk(&mut |path: &[ASTNode<'_>]| match path {
        [.., ASTNode::Stmt(Stmt::Share(names))] => !names.iter().any(|(name, _)| name.name.as_str() == parameter),
        [before @ .., ASTNode::Expr(Expr::Variable(name, ..))] if name.1.as_str() == parameter => {
            times += 1;
            matches!(before, [.., ASTNode::Stmt(Stmt::Var(..)), ASTNode::Expr(taken)] if is_input(taken, parameter))
        }
        _ => true,
    });
    as_such && times == 1
}
