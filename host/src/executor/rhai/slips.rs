//! Slips in a script that show without running it: calls that none of the host's objects answers, and fields that a job does not have. Found when the
//! script is loaded, and not on the day when it comes to that line.

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};

use super::objects::{JOB_FIELDS, METHODS};

/// What can be called on any value.
const ANYWHERE: [&str; 4] = ["type_of", "to_string", "to_debug", "is_shared"];

/// A slip.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Slip {
    /// What is wrong.
    pub(super) message: String,
    /// The way out.
    pub(super) help: String,
    /// Where it is.
    pub(super) position: Position,
}

/// The first slip of a script whose `process` has this parameter, if it has one. A name that the script itself gives to something is taken as it is.
pub(super) fn first(ast: &AST, parameter: Option<&str>) -> Option<Slip> {
    let mut own: Vec<String> = Vec::new();
    let mut assigned: Vec<String> = Vec::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Var(variable, ..))) => own.push(variable.0.name.to_string()),
            Some(ASTNode::Stmt(Stmt::For(names, _))) => {
                own.extend(std::iter::once(&names.0).chain(&names.1).map(|name| name.name.to_string()));
            }
            Some(ASTNode::Stmt(Stmt::Assignment(assignment))) => {
                assigned.extend(linked(&assignment.1.lhs).and_then(|(_, link)| property(link)).map(|(name, _)| name.to_owned()));
            }
            _ => {}
        }
        true
    });
    let functions: Vec<_> = ast.iter_functions().collect();
    let takes = |name: &str| functions.iter().filter(|function| function.params.contains(&name)).count();
    let is_own = |name: &str| own.iter().any(|own| own == name) || takes(name) > 0;
    let has_function = |name: &str| functions.iter().any(|function| function.name == name);
    // Of several functions with such a parameter only one gets the job.
    let job = parameter.filter(|parameter| takes(parameter) == 1 && !own.iter().any(|own| own == parameter));
    let mut slip = None;
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        let Some(ASTNode::Expr(expression)) = path.last() else { return true };
        let Some((name, link)) = linked(expression) else { return true };
        let methods = METHODS.iter().find(|(object, _)| *object == name && !is_own(name));
        slip = match (methods, called(link), property(link)) {
            (Some((object, methods)), Some((call, position)), _) => {
                let known = methods.contains(&&*call.name) || ANYWHERE.contains(&&*call.name) || has_function(&call.name);
                (!known).then(|| unknown_call(object, methods, &call.name, position))
            }
            (None, _, Some((field, position))) if job == Some(name) && !assigned.iter().any(|known| known == field) => {
                unknown_field(name, field, position)
            }
            _ => None,
        };
        slip.is_none()
    });
    slip
}

fn unknown_call(object: &str, methods: &[&str], name: &str, position: Position) -> Slip {
    let help = match nearest(name, methods) {
        Some(near) => format!("did you mean {object}.{near}(…)?"),
        None => format!("there is {}", methods.iter().map(|method| format!("{object}.{method}(…)")).collect::<Vec<_>>().join(", ")),
    };
    Slip { message: format!("`{object}` has nothing that is called `{name}`"), help, position }
}

/// A field that is none and is near to one that is: any other may be a field that the script gives the job for itself.
fn unknown_field(job: &str, field: &str, position: Position) -> Option<Slip> {
    let near = nearest(field, &JOB_FIELDS).filter(|near| *near != field)?;
    Some(Slip { message: format!("a job has no field `{field}`"), help: format!("did you mean {job}.{near}?"), position })
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let furthest = (name.chars().count() / 3).max(1);
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known));
    near.filter(|(distance, _)| *distance <= furthest).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// A name with a dot after it, and what comes then.
fn linked(expression: &Expr) -> Option<(&str, &Expr)> {
    let Expr::Dot(link, ..) = expression else { return None };
    match &link.lhs {
        Expr::Variable(variable, ..) if variable.2.is_empty() => Some((variable.1.as_str(), &link.rhs)),
        _ => None,
    }
}

/// The first of what comes after a dot.
fn head(link: &Expr) -> &Expr {
    match link {
        Expr::Dot(inner, ..) | Expr::Index(inner, ..) => &inner.lhs,
        other => other,
    }
}

fn called(link: &Expr) -> Option<(&FnCallExpr, Position)> {
    match head(link) {
        Expr::MethodCall(call, position) => Some((call, *position)),
        _ => None,
    }
}

fn property(link: &Expr) -> Option<(&str, Position)> {
    match head(link) {
        Expr::Property(property, position) => Some((property.2.as_str(), *position)),
        _ => None,
    }
}
