//! The body of `process`, evaluated where it stands: calling it as a function would be a good part of what a small script takes, and so would be
//! two copies that Rhai makes of what goes in by `let x = job.input` and comes out by a last `x`.

use rhai::{AST, ASTFlags, ASTNode, Expr, Expression, Stmt, StmtBlock};
use rhai::{Caches, Dynamic, Engine, EvalAltResult, EvalContext, GlobalRuntimeState, ImmutableString, Position, Scope};

use super::reads::{Reads, is_input};

/// So many functions that were found are kept for the next jobs: the calls in a script with the kinds of values that they are made with. Names that
/// a script puts together as it goes could be without end.
pub(super) const FOUND: usize = 1_024;

/// The body of `process` of a script that has nothing beside functions.
pub(super) struct Body {
    /// The variable that is there when it begins.
    variable: ImmutableString,
    /// Whether that is the input: the script has it by another name than the job, and nothing else of the job.
    takes_input: bool,
    /// An [`Expr::Stmt`].
    statements: Expr,
    /// The variable whose value it gives at its end, if it is as plain as that: the value is moved out instead of copied.
    gives: Option<ImmutableString>,
}

/// What is kept of one job for the next.
pub(super) struct Kept {
    /// Which functions the calls of the script mean. Finding them again would be a good part of what a small script takes.
    found: Caches,
    /// Between two jobs it holds the first variable, without a value.
    scope: Scope<'static>,
}

impl Body {
    /// The body of a script's `process`; `None` if more than functions stands in it: constants, and imports, are evaluated for each job, and may
    /// change what a call means. A script that asks which variables there are is called, too.
    pub(super) fn of(ast: &AST, reads: &Reads) -> Option<Self> {
        if !ast.statements().is_empty() || ast.resolver().is_some() || names(ast, "is_def_var") {
            return None;
        }
        let mut process = ast.clone_functions_only();
        process.retain_functions(|_, _, name, parameters| name == "process" && parameters == 1);
        let mut functions = process.iter_fn_def();
        // There can be one for each type of `this`.
        let (Some(function), None) = (functions.next(), functions.next()) else { return None };
        let parameter = function.params.first().filter(|_| function.this_type.is_none())?;
        let statements = statements(&process);
        let (mut variable, mut statements, mut takes_input) = (parameter.clone(), statements.as_slice(), false);
        if let ([Stmt::Var(taken, options, _), rest @ ..], Reads::InputOnce) = (statements, reads) {
            takes_input = !options.contains(ASTFlags::CONSTANT) && taken.2.is_none() && is_input(&taken.1, parameter);
            if takes_input {
                (variable, statements) = (taken.0.name.clone(), rest);
            }
        }
        let mut gives = None;
        if let [before @ .., Stmt::Expr(last)] = statements
            && let Some(name) = plain_variable(last)
        {
            let declares = |statement: &Stmt| matches!(statement, Stmt::Var(other, ..) if other.0.name == *name);
            if *name == variable || before.iter().any(declares) {
                (gives, statements) = (Some(name.clone()), before);
            }
        }
        let block = StmtBlock::new(statements.iter().cloned(), Position::NONE, Position::NONE);
        Some(Self { variable, takes_input, statements: Expr::Stmt(Box::new(block)), gives })
    }

    /// Whether it begins with its input; else with its job.
    pub(super) const fn takes_input(&self) -> bool {
        self.takes_input
    }

    /// What it needs when it is first evaluated.
    pub(super) fn room(&self) -> Kept {
        Kept { found: Caches::new(), scope: self.scope(Dynamic::UNIT) }
    }

    /// The first variable alone.
    fn scope(&self, value: Dynamic) -> Scope<'static> {
        let mut scope = Scope::new();
        scope.push_dynamic(self.variable.as_str(), value);
        scope
    }

    /// Leaves nothing of what was there before but the room that it took.
    fn begin_with(&self, scope: &mut Scope<'static>, value: Dynamic) {
        scope.rewind(1);
        match scope.get_mut(&self.variable) {
            Some(first) => *first = value,
            // A script has made it a constant: `const` in a block takes the place of a variable of that name.
            None => *scope = self.scope(value),
        }
    }

    /// Evaluates it with what it begins with.
    ///
    /// # Errors
    /// How it failed.
    pub(super) fn evaluate(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        kept: &mut Kept,
        first: Dynamic,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let Kept { found, scope } = kept;
        self.begin_with(scope, first);
        // It is no top of a script, whose constants everything could see.
        global.scope_level = 1;
        let mut context = EvalContext::new(engine, global, found, scope, None);
        #[expect(
            deprecated,
            reason = "it is not: its author marks so what may change. `eval_statements_raw` would not say whether it came to the end"
        )]
        let ended = context.eval_expression_tree_raw(&Expression::from(&self.statements), false);
        let ended = match (ended, &self.gives) {
            (Ok(_), Some(name)) => Ok(taken(scope, name)),
            (Ok(value), None) => Ok(value),
            (Err(error), _) => match *error {
                EvalAltResult::Return(value, _) | EvalAltResult::Exit(value, _) => Ok(value),
                _ => Err(error),
            },
        };
        self.begin_with(scope, Dynamic::UNIT);
        if ended.is_err() || found.fn_resolution_cache_mut().dict.len() > FOUND {
            *found = Caches::new();
        }
        ended
    }
}

impl Kept {
    /// How many functions that were found it keeps.
    #[cfg(test)]
    pub(super) fn found(&mut self) -> usize {
        self.found.fn_resolution_cache_mut().dict.len()
    }
}

/// The statements of the one function in there.
fn statements(process: &AST) -> Vec<Stmt> {
    let mut statements = Vec::new();
    process.walk(&mut |path: &[ASTNode<'_>]| {
        if let [ASTNode::Stmt(statement)] = path {
            statements.push((*statement).clone());
        }
        true
    });
    statements
}

/// Whether a function of that name is called, or its name stands in a text, by which it could be.
fn names(ast: &AST, name: &str) -> bool {
    // The walk goes on for as long as nothing is found.
    !ast.walk(&mut |path: &[ASTNode<'_>]| match path.last() {
        Some(ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _))) => call.name != name,
        Some(ASTNode::Stmt(Stmt::FnCall(call, _))) => call.name != name,
        Some(ASTNode::Expr(Expr::StringConstant(text, _))) => *text != name,
        _ => true,
    })
}

/// The name of a variable that is of no module.
fn plain_variable(expression: &Expr) -> Option<&ImmutableString> {
    match expression {
        Expr::Variable(variable, ..) if variable.2.is_empty() => Some(&variable.1),
        _ => None,
    }
}

/// The value of a variable, which nobody needs any more. One that a closure has taken along is shared with that.
fn taken(scope: &mut Scope<'_>, name: &str) -> Dynamic {
    match scope.get_mut(name) {
        Some(value) => std::mem::take(value).flatten(),
        // A constant.
        None => scope.get(name).cloned().unwrap_or_default().flatten(),
    }
}

#[cfg(test)]
mod tests;
