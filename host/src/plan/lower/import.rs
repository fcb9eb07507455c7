//! `import` and `library`: files of policies, executors, events and resources that pipelines use as if they had declared them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::pipeline::Draft;
use crate::files::Files;
use crate::model::diagnostic::{Diagnostic, Place};
use crate::plan::codes;
use crate::plan::raw::Findings;
use crate::plan::source::{Content, Node, Span};

/// What a library may declare, and what one of these is called.
pub(super) const SECTIONS: [(&str, &str); 4] =
    [("resources", "resource"), ("events", "event"), ("executors", "executor"), ("policies", "policy")];

/// An entry of `import`.
pub(in crate::plan) struct Import {
    /// The file as it is named here.
    pub(super) path: PathBuf,
    /// The one file that this leads to.
    pub(super) file: PathBuf,
    span: Span,
}

/// The files that a file imports, beside where it stands; whatever is no path is left out.
pub(in crate::plan) fn imported(file: &Path, root: &Node) -> Vec<PathBuf> {
    let Some(Content::List(items)) = root.get("import").map(|node| &node.content) else { return Vec::new() };
    items.iter().filter_map(|item| Some(beside(file, item.text()?))).collect()
}

fn beside(file: &Path, text: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(text)
}

impl Findings<'_> {
    /// `import`.
    pub(super) fn imports(&self, files: &Files, node: Option<&Node>) -> Vec<Import> {
        let Some(node) = node else { return Vec::new() };
        let mut imports: Vec<Import> = Vec::new();
        for (text, span) in self.texts(node, "`import`", "[shared.yaml]") {
            let path = beside(&self.file.path, text);
            let file = files.identity(&path);
            match imports.iter().find(|import| import.file == file) {
                Some(first) => {
                    let diagnostic = Diagnostic::error(codes::DUPLICATE_NAME, self.place(span), format!("`{text}` is imported twice"))
                        .with_related(self.place(first.span), "here it stands first");
                    self.add(diagnostic, "keep one of them");
                }
                None => imports.push(Import { path, file, span }),
            }
        }
        imports
    }
}

/// All files by what they import.
pub(in crate::plan) struct Graph<'g, 'a> {
    /// The files that are YAML.
    pub(in crate::plan) drafts: &'g [Draft<'a>],
    /// The identity of each.
    pub(in crate::plan) files: &'g [PathBuf],
    /// Imported files that cannot be read, and why.
    pub(in crate::plan) unreadable: &'g BTreeMap<PathBuf, Diagnostic>,
}

impl Graph<'_, '_> {
    /// The libraries of a file and those that these import, each once, imported ones first. `None` if one of them is not to be had, which is
    /// said where it is imported: all that it declares would be called unknown otherwise.
    pub(in crate::plan) fn libraries(&self, of: usize) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        self.walk(&mut vec![of], &mut found).then_some(found)
    }

    fn walk(&self, path: &mut Vec<usize>, found: &mut Vec<usize>) -> bool {
        let Some(draft) = path.last().and_then(|index| self.drafts.get(*index)) else { return false };
        let findings = &draft.findings;
        let mut good = true;
        for import in &draft.imports {
            if let Some(why) = self.unreadable.get(&import.file) {
                findings.error(
                    why.code,
                    import.span,
                    format!("what is imported here is not to be had: {}", why.message),
                    match why.code {
                        codes::NO_PIPELINE_FILE => "name a library, a YAML file that begins with library: NAME",
                        _ => "paths are relative to this file",
                    },
                );
                good = false;
                continue;
            }
            let Some(index) = self.files.iter().position(|file| *file == import.file) else {
                // It is no YAML, which is said there.
                good = false;
                continue;
            };
            if let Some(begin) = path.iter().position(|on| *on == index) {
                let circle = path.get(begin..).unwrap_or_default().iter().chain([&index]);
                let circle: Vec<String> = circle.filter_map(|index| self.drafts.get(*index)).map(Draft::shown).collect();
                let message = format!("the imports go round in a circle: {}", circle.join(" → "));
                findings.error(codes::IMPORT, import.span, message, "take what both need into a library that imports neither");
                good = false;
                continue;
            }
            let Some(other) = self.drafts.get(index) else { continue };
            if other.library.is_none() {
                let message = format!("{} is no library, and nothing else can be imported", other.shown());
                let help = "put what both need into a file that begins with library: NAME; flows of other pipelines are called";
                findings.error(codes::IMPORT, import.span, message, help);
                good = false;
            } else if !found.contains(&index) {
                path.push(index);
                good &= self.walk(path, found);
                path.pop();
                found.push(index);
            }
        }
        good
    }
}

impl Draft<'_> {
    /// The name of the file without its folder.
    fn shown(&self) -> String {
        self.findings.file.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Says of every name that is declared twice, here or in a library, where else it is.
    pub(in crate::plan) fn clashes(&self, libraries: &[&Draft<'_>]) {
        for (section, word) in SECTIONS {
            let mut first: BTreeMap<&str, (String, Place)> = BTreeMap::new();
            for (number, draft) in std::iter::once(self).chain(libraries.iter().copied()).enumerate() {
                let Some(Content::Map(entries)) = draft.root.get(section).map(|node| &node.content) else { continue };
                for (key, _) in entries {
                    let place = draft.findings.place(key.span);
                    match first.get(key.name.as_str()) {
                        None => {
                            let whose = if number == 0 { "this file".to_owned() } else { format!("`{}`", draft.library_name()) };
                            first.insert(&key.name, (whose, place));
                        }
                        Some((whose, other)) => {
                            let message =
                                format!("{whose} and the library `{}` both declare the {word} `{}`", draft.library_name(), key.name);
                            let here = if number > 0 && whose == "this file" { other.clone() } else { self.import_place() };
                            let mut diagnostic =
                                Diagnostic::error(codes::DUPLICATE_NAME, here, message).with_related(place, "it is declared here too");
                            if whose != "this file" {
                                diagnostic = diagnostic.with_related(other.clone(), "it is declared here");
                            }
                            self.findings.add(diagnostic, "give one of them another name");
                        }
                    }
                }
            }
        }
    }

    fn import_place(&self) -> Place {
        self.findings.place(self.imports.first().map_or(self.root.span, |import| import.span))
    }

    /// The name of a library; a wrong one was told already.
    pub(super) fn library_name(&self) -> &str {
        self.library.as_ref().map_or("unnamed", |(name, _)| name)
    }
}
