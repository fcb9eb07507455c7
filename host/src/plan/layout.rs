//! A file in its usual layout: only white space, line breaks and the kind of quotes change, or nothing does.

use std::path::Path;

use super::codes;
use super::source::SourceFile;
use crate::model::diagnostic::{Diagnostic, Place, Severity};

/// A file in its usual layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Its text.
    pub text: String,
    /// Whether that is another one than the file has.
    pub differs: bool,
}

/// Lays a file out.
///
/// # Errors
/// What is wrong with the file, or that its values or comments would have changed: then nothing may be written.
pub fn layout(file: &Path) -> Result<Layout, Vec<Diagnostic>> {
    let source = SourceFile::read(file).map_err(|diagnostic| vec![*diagnostic])?;
    let (node, found) = source.parse();
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
    let Some(node) = node.filter(|_| !found.iter().any(is_error)) else { return Err(found) };
    let refuse = |why: &str| {
        let message = format!("{} is left as it is: {why}", file.display());
        let help = "report it with this file; nothing was written";
        vec![Diagnostic::error(codes::LAYOUT, Place::whole(file), message).with_help(help)]
    };
    let text = source.laid_out().map_err(|why| refuse(&why))?;
    let after = SourceFile::new(file, &text);
    let (again, _) = after.parse();
    match again {
        Some(again) if again.tree() == node.tree() && order(&again.tree()) == order(&node.tree()) => {
            if after.comments(&again) != source.comments(&node) {
                return Err(refuse("laying it out would change its comments"));
            }
        }
        _ => return Err(refuse("laying it out would change its values")),
    }
    let differs = text != *source.text;
    Ok(Layout { text, differs })
}

/// The keys of all maps in their order, which equality of maps does not look at.
fn order(tree: &crate::model::value::Tree) -> String {
    serde_json::to_string(tree).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(text: &str) -> Result<Layout, Vec<Diagnostic>> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, text).expect("written");
        layout(&file)
    }

    #[test]
    fn white_space_changes_and_comments_and_values_stay() {
        let messy = "pipeline:   a # why\n\n\n\ntrigger:  manual\nsteps:\n    - run:   log\n      with: {a:   1,b: \"x\"}\n      # last\n    - reply: |\n        one\n\n         two\n";
        let tidy = laid_out(messy).expect("it can be laid out");
        for words in
            ["pipeline: a # why\n\ntrigger: manual\n", "  - run: log\n    with: { a: 1, b: 'x' }\n", "# last\n", "one\n\n       two\n"]
        {
            assert!(tidy.text.contains(words), "{words:?} is not in\n{}", tidy.text);
        }
        assert!(tidy.differs);
        assert!(!laid_out(&tidy.text).expect("it can be laid out").differs, "once is enough");
    }

    #[test]
    fn a_broken_file_is_not_touched() {
        let codes: Vec<_> = laid_out("steps: [\n").expect_err("it is no YAML").iter().map(|diagnostic| diagnostic.code).collect();
        assert_eq!(codes, [codes::SYNTAX]);
    }
}
