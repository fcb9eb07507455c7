//! From a script's text to what can be run: parsing, imports from its own folder, and what it says of itself without being run.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rhai::{AST, ASTNode, Engine, EvalAltResult, Expr, Module, ModuleResolver, Position, Shared};

use super::engine::{engine, known_names};
use super::failure::Source;
use super::objects::WAITING;
use super::reads::Reads;
use super::slips::{self, Slip};
use crate::files::{Files, Found};
use crate::model::executor::{CodeFile, Home};
use crate::model::grant::Limits;
use crate::model::id::Digest;
use crate::model::port::CatalogProblem;

/// The largest script, in bytes.
const LARGEST: u64 = 1 << 20;

/// Operations that loading may take: the top of a module, and `describe`.
const LOADING_OPERATIONS: u64 = 1_000_000;

/// A script that can be run.
pub(super) struct Loaded {
    /// The engine that compiled it: bounded, and without a job.
    pub(super) engine: Engine,
    pub(super) ast: AST,
    pub(super) source: Source,
    /// Of the script and all that it imports.
    pub(super) digest: Digest,
    /// The files that were read.
    pub(super) files: Vec<CodeFile>,
    /// Whether it names an object whose calls wait.
    pub(super) waits: bool,
    /// What it reads of its job.
    pub(super) reads: Reads,
}

/// Reads and parses a script.
pub(super) fn load(files: &Files, home: &Home, limits: &Limits) -> Result<Loaded, CatalogProblem> {
    let (text, source, own_file) = match home {
        Home::Rhai(file) => (read(files, file)?, Source { file: file.clone(), first_line: 1 }, Some(file.clone())),
        Home::Script { text, file, first_line } => {
            (text.to_string(), Source { file: file.clone(), first_line: (*first_line).max(1) }, None)
        }
        Home::Wasm(_) | Home::Builtin(_) => {
            return Err(problem("E0510", "this is no Rhai script".to_owned(), None, "declare it under its own home"));
        }
    };
    let mut engine = engine(limits);
    engine.set_max_operations(LOADING_OPERATIONS);
    let folder = source.file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let imports: Arc<Mutex<Imports>> = Arc::default();
    engine.set_module_resolver(Folder { files: files.clone(), folder, imports: Arc::clone(&imports) });
    let ast = engine.compile_into_self_contained(&known_names(), &text).map_err(|error| broken(*error, &source))?;
    let read = std::mem::take(&mut *imports.lock().unwrap_or_else(PoisonError::into_inner));
    let Some(parameter) = parameter_of_process(&ast) else {
        let has_other = ast.iter_functions().any(|function| function.name == "process");
        let message = if has_other { "`process` does not take exactly one parameter" } else { "the script has no function `process`" };
        let place = Some((source.file.clone(), source.first_line, 1));
        return Err(problem("E0512", message.to_owned(), place, "write fn process(job) { … }: it gets the job and gives its output"));
    };
    // A bundle was taken when it was made, perhaps by a host that knew fewer slips: its runs go on.
    if matches!(files, Files::Disk) {
        if let Some(slip) = slips::first(&ast, Some(&parameter)) {
            return Err(slipped(slip, &source));
        }
        if let Some((slip, file)) = read.slip {
            return Err(slipped(slip, &Source { file, first_line: 1 }));
        }
    }
    let parts = std::iter::once(text.as_bytes()).chain(read.files.iter().map(|(_, text)| text.as_bytes()));
    let own_file = own_file.as_ref().map(|file| (file, &text));
    let files = own_file.into_iter().chain(read.files.iter().map(|(file, text)| (file, text)));
    Ok(Loaded {
        digest: Digest::of_parts(parts),
        files: files.map(|(file, text)| CodeFile { path: file.clone(), content: text.as_bytes().into() }).collect(),
        waits: read.waits || names_one_that_waits(&ast),
        reads: Reads::of(&ast, &parameter),
        engine,
        ast,
        source,
    })
}

fn slipped(slip: Slip, source: &Source) -> CatalogProblem {
    let (line, column) = source.place(slip.position);
    problem("E0515", slip.message, Some((source.file.clone(), line, column)), &slip.help)
}

pub(super) fn problem(code: &'static str, message: String, place: Option<(PathBuf, usize, usize)>, help: &str) -> CatalogProblem {
    CatalogProblem { code, message, place, help: Some(help.to_owned()) }
}

fn read(files: &Files, file: &Path) -> Result<String, CatalogProblem> {
    let refuse = |why: String, help: &str| Err(problem("E0510", format!("{} {why}", file.display()), None, help));
    let size = match files.look(file) {
        Ok(Found::Folder) => return refuse("is a folder, not a script".to_owned(), "name the .rhai file in it"),
        Ok(Found::File(size)) => size,
        Ok(Found::Other) => 0,
        Err(error) => return refuse(format!("cannot be read: {error}"), "the path is relative to the YAML file that names it"),
    };
    if size > LARGEST {
        return refuse(format!("has {size} bytes, and a script may have {LARGEST}"), "split it, or make it a WASM plugin");
    }
    match files.read(file, LARGEST).map(|bytes| String::from_utf8(bytes.to_vec())) {
        Ok(Ok(text)) if text.len() as u64 > LARGEST => {
            refuse(format!("has more than the {LARGEST} bytes that a script may have"), "split it, or make it a WASM plugin")
        }
        Ok(Ok(text)) => Ok(text),
        Ok(Err(_)) => refuse("is not UTF-8".to_owned(), "save it as UTF-8"),
        Err(error) => refuse(format!("cannot be read: {error}"), "see whether this user may read it"),
    }
}

/// What a script that cannot be compiled is told.
fn broken(error: EvalAltResult, source: &Source) -> CatalogProblem {
    match error {
        EvalAltResult::ErrorParsing(why, position) => {
            let (line, column) = source.place(position);
            let help = "the language is Rhai: its book is at https://rhai.rs/book";
            problem("E0511", format!("this is no Rhai: {why}"), Some((source.file.clone(), line, column)), help)
        }
        EvalAltResult::ErrorInModule(name, inner, _) => broken(*inner, &Source { file: PathBuf::from(name), first_line: 1 }),
        mut other => {
            let (line, column) = source.place(other.take_position());
            let help = "import \"name\" as n; reads name.rhai beside the script, and nothing outside that folder";
            problem("E0513", format!("an import failed: {other}"), Some((source.file.clone(), line, column)), help)
        }
    }
}

fn parameter_of_process(ast: &AST) -> Option<String> {
    let mut functions = ast.iter_functions();
    functions.find_map(|function| match (function.name, function.params.as_slice()) {
        ("process", [parameter]) => Some((*parameter).to_owned()),
        _ => None,
    })
}

fn names_one_that_waits(ast: &AST) -> bool {
    // The walk goes on for as long as nothing is found.
    !ast.walk(&mut |path: &[ASTNode<'_>]| match path.last() {
        Some(ASTNode::Expr(Expr::Variable(variable, ..))) => !WAITING.contains(&variable.1.as_str()),
        _ => true,
    })
}

/// What was imported.
#[derive(Default)]
struct Imports {
    files: Vec<(PathBuf, String)>,
    waits: bool,
    /// The first slip in one of them, and the file.
    slip: Option<(Slip, PathBuf)>,
    under_way: Vec<PathBuf>,
}

/// Imports from the script's own folder, and from nowhere else.
struct Folder {
    files: Files,
    folder: PathBuf,
    imports: Arc<Mutex<Imports>>,
}

impl Folder {
    fn compile(&self, engine: &Engine, name: &str, position: Position) -> Result<(AST, PathBuf), Box<EvalAltResult>> {
        let refuse = |why: String| Err(EvalAltResult::ErrorModuleNotFound(format!("{name}: {why}"), position).into());
        let path = Path::new(name);
        if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return refuse("only files in the script's folder can be imported".to_owned());
        }
        let file = self.folder.join(path).with_extension("rhai");
        match self.files.lies_beneath(&file, &self.folder) {
            Ok(true) => {}
            Ok(false) => return refuse("it leads out of the script's folder".to_owned()),
            Err(error) => return refuse(error.to_string()),
        }
        let text = match read(&self.files, &file) {
            Ok(text) => text,
            Err(problem) => return refuse(problem.message),
        };
        let compiled = engine.compile_with_scope(&known_names(), &text);
        let waits = compiled.as_ref().is_ok_and(names_one_that_waits);
        let mut imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        imports.waits |= waits;
        if let (None, Ok(ast)) = (&imports.slip, &compiled) {
            imports.slip = slips::first(ast, None).map(|slip| (slip, file.clone()));
        }
        if !imports.files.iter().any(|(known, _)| *known == file) {
            imports.files.push((file.clone(), text));
        }
        drop(imports);
        match compiled {
            Ok(mut ast) => {
                ast.set_source(file.display().to_string());
                Ok((ast, file))
            }
            Err(error) => {
                let inner = EvalAltResult::ErrorParsing(*error.0, error.1).into();
                Err(EvalAltResult::ErrorInModule(file.display().to_string(), inner, position).into())
            }
        }
    }
}

impl ModuleResolver for Folder {
    fn resolve(&self, engine: &Engine, _: Option<&str>, name: &str, position: Position) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let (ast, file) = self.compile(engine, name, position)?;
        {
            let mut imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
            if imports.under_way.contains(&file) {
                let message = format!("{name}: it imports itself, perhaps by way of others");
                return Err(EvalAltResult::ErrorModuleNotFound(message, position).into());
            }
            imports.under_way.push(file.clone());
        }
        let module = Module::eval_ast_as_new(known_names(), &ast, engine);
        self.imports.lock().unwrap_or_else(PoisonError::into_inner).under_way.retain(|other| *other != file);
        module.map(Into::into).map_err(|error| match *error {
            inner @ EvalAltResult::ErrorInModule(..) => inner.into(),
            inner => EvalAltResult::ErrorInModule(file.display().to_string(), inner.into(), position).into(),
        })
    }

    fn resolve_ast(&self, engine: &Engine, _: Option<&str>, name: &str, position: Position) -> Option<Result<AST, Box<EvalAltResult>>> {
        Some(self.compile(engine, name, position).map(|(ast, _)| ast))
    }
}
