//! `resources`: databases, stores, indexes and folders, with paths that stay where they belong.

use std::path::{Component, Path, PathBuf};

use super::template::Compiler;
use crate::model::port::Catalog;
use crate::model::resource::{Resource, ResourceKind};
use crate::model::types::Type;
use crate::plan::codes;
use crate::plan::raw::keys;
use crate::plan::source::{Content, Node, Span};

/// A database's or a store's path, beneath the pipeline's own folder of the data.
const EXAMPLE: &str = "{ main: { sqlite: chat.db } }";

impl Compiler<'_> {
    /// Every resource that is written well. `folder` is the YAML file's.
    pub(super) fn resources(&self, node: Option<&Node>, folder: &Path, catalog: &dyn Catalog) -> Vec<Resource> {
        let Some(table) = node.and_then(|node| self.findings.map(node, "`resources`", EXAMPLE)) else { return Vec::new() };
        table
            .entries
            .iter()
            .filter_map(|(key, node)| {
                let good = self.findings.name(&key.name, key.span, "the name of a resource", true);
                let kind = self.resource(node, folder)?;
                if let (ResourceKind::Index { folder, pattern }, Some(value)) = (&kind, node.get("index"))
                    && !catalog.has_documents(folder, pattern)
                {
                    let message =
                        format!("no file in {} matches `{pattern}`, so that nothing will be found in the index", folder.display());
                    let help = "check how the folder is written; the pattern begins beside this file";
                    self.findings.warning(codes::NO_DOCUMENTS, value.span, message, help);
                }
                good.then(|| Resource { name: key.name.as_str().into(), kind })
            })
            .collect()
    }

    fn resource(&self, node: &Node, folder: &Path) -> Option<ResourceKind> {
        let table = self.findings.table(node, "a resource", keys::RESOURCES, "{ sqlite: chat.db }")?;
        let (kind, value) = match table.entries {
            [(kind, value)] => (kind, value),
            [] => {
                self.findings.error(
                    codes::MISSING_KEY,
                    node.span,
                    "a resource says what it is",
                    "write one of { sqlite: … }, { kv: … }, { index: … } and { folder: … }",
                );
                return None;
            }
            [_, (second, _), ..] => {
                self.findings.error(codes::EXCLUSIVE_KEYS, second.span, "a resource is one thing only", "make two resources of it");
                return None;
            }
        };
        let what = format!("`{}`", kind.name);
        if let (true, Content::Map(fields)) = (kind.name == "index", &value.content) {
            // No pattern: it holds what pipelines put in. What else may stand here is for a later version.
            if let Some((key, _)) = fields.first() {
                let message = format!("`{}` is not known in an index: it is `{{}}`, or a pattern of files", key.name);
                self.findings.error(codes::UNKNOWN_KEY, key.span, message, "write { index: {} }, or { index: 'docs/**/*.md' }");
                return None;
            }
            return Some(ResourceKind::IndexStore);
        }
        let value_text = self.fixed(value, &Type::String, &kind.name)?;
        let text = value_text.tree().as_text()?.to_owned();
        match kind.name.as_str() {
            "sqlite" => Some(ResourceKind::Sqlite(self.inside(&text, value.span, &what)?)),
            "kv" => Some(ResourceKind::Kv(self.inside(&text, value.span, &what)?)),
            "index" => {
                if let Err(error) = globset::Glob::new(&text) {
                    self.findings.error(
                        codes::GLOB,
                        value.span,
                        format!("this pattern of files is none: {}", error.kind()),
                        "for example 'docs/**/*.md'",
                    );
                    return None;
                }
                self.inside(&text, value.span, &what)?;
                Some(ResourceKind::Index { folder: self.absolute(folder, value.span)?, pattern: text })
            }
            "folder" => Some(ResourceKind::Folder(self.absolute(&folder.join(self.inside(&text, value.span, &what)?), value.span)?)),
            _ => None,
        }
    }

    fn absolute(&self, path: &Path, span: Span) -> Option<PathBuf> {
        // A file that is named without a folder lies in the one that we are in.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match std::path::absolute(path) {
            Ok(path) => Some(path),
            Err(error) => {
                self.findings.error(codes::RESOURCE_PATH, span, format!("the folder {} cannot be found: {error}", path.display()), "");
                None
            }
        }
    }

    fn inside(&self, text: &str, span: Span, what: &str) -> Option<PathBuf> {
        let path = PathBuf::from(text);
        let leaves = path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
        if text.is_empty() || leaves {
            let message = format!("{what} is a path that stays inside its folder, not `{text}`");
            self.findings.error(codes::RESOURCE_PATH, span, message, "write it without a leading `/` and without `..`");
            return None;
        }
        Some(path)
    }
}
