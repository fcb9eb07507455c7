//! Files that were named in the place of a pipeline's: what they seem to be is told once, in place of all that is no YAML in them.

use std::path::Path;

use super::{Content, Node};
use crate::model::diagnostic::{Diagnostic, Place};
use crate::plan::codes;
use crate::plan::given::{ENDINGS, begins_with_mark};

/// What files with these endings are. Only those of the second list may hold a pipeline all the same: JSON is YAML.
const NEVER: [(&str, &str); 4] =
    [("rhai", "a Rhai script"), ("wasm", "a WebAssembly component"), ("md", "a text in Markdown"), ("db", "a database")];
const HARDLY: [(&str, &str); 4] = [("json", "JSON"), ("toml", "TOML"), ("txt", "plain text"), ("csv", "a table in CSV")];

/// With one of these keys at its top a file is a pipeline's, or was to be one.
const MARKS: [&str; 5] = ["pipeline", "library", "flows", "trigger", "steps"];

/// The mistake that a file is no pipeline's, if it neither ends nor reads as one. `text` is empty for what cannot be read as text, and `root` absent for
/// what is no YAML.
pub(in crate::plan) fn instead(path: &Path, text: &str, root: Option<&Node>) -> Option<Diagnostic> {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    if ENDINGS.contains(&&*ending) {
        return None;
    }
    let is_one = root.is_some_and(|root| match &root.content {
        Content::Map(entries) => entries.iter().any(|(key, _)| MARKS.contains(&key.name.as_str())),
        Content::Scalar(_) | Content::List(_) => false,
    });
    let known = |all: &[(&'static str, &'static str)]| all.iter().find(|(known, _)| *known == ending).map(|(_, what)| *what);
    let never = known(&NEVER);
    // One with a mistake in its YAML shall hear of that.
    let was_to_be_one = never.is_none() && root.is_none() && text.lines().any(|line| begins_with_mark(line.trim_start()));
    if is_one || was_to_be_one {
        return None;
    }
    let shown = path.display();
    let message = match never.or_else(|| known(&HARDLY)) {
        Some(what) => format!("{shown} is {what}, and no pipeline"),
        None => format!("{shown} does not read as a pipeline"),
    };
    let expected = "name a YAML file that begins with pipeline: NAME";
    let help = match (&*ending, path.file_name(), path.file_stem()) {
        (home @ ("rhai" | "wasm"), Some(file), Some(name)) => {
            let (file, name) = (file.to_string_lossy(), name.to_string_lossy());
            format!("{expected}; steps run what is declared in it, as executors: {{ {name}: {{ {home}: {file} }} }}")
        }
        _ => expected.to_owned(),
    };
    Some(Diagnostic::error(codes::NO_PIPELINE_FILE, Place::whole(path), message).with_help(help))
}

#[cfg(test)]
mod tests {
    use super::super::SourceFile;
    use super::*;

    fn told(file: &str, text: &str) -> Option<String> {
        let path = Path::new(file);
        let root = SourceFile::new(path, text).parse().0;
        instead(path, text, root.as_ref()).map(|found| format!("{}; {}", found.message, found.help.unwrap_or_default()))
    }

    #[test]
    fn what_ends_and_reads_as_something_else_is_told_once_with_what_is_expected() {
        let script = "scripts/tell.rhai is a Rhai script, and no pipeline; name a YAML file that begins with pipeline: NAME; \
                      steps run what is declared in it, as executors: { tell: { rhai: tell.rhai } }";
        assert_eq!(told("scripts/tell.rhai", "// Tells: it\nfn process(job) { job }").as_deref(), Some(script));
        assert_eq!(told("scripts/tell.rhai", "word").as_deref(), Some(script), "what is YAML by chance too");
        let text = "a.md is a text in Markdown, and no pipeline; name a YAML file that begins with pipeline: NAME";
        assert_eq!(told("a.md", "# A\n\n```yaml\npipeline: a\n```\nmore: [").as_deref(), Some(text), "with an example in it too");
        assert!(told("package.json", "{ \"name\": \"x\" }").is_some_and(|told| told.starts_with("package.json is JSON, and no pipeline;")));
        assert!(told("notes", "a\nb: c: d").is_some_and(|told| told.starts_with("notes does not read as a pipeline;")));
    }

    #[test]
    fn what_ends_or_reads_as_a_pipeline_hears_what_is_wrong_with_it() {
        for file in ["a.yaml", "a.yml"] {
            assert_eq!(told(file, "fn process(job) { job }"), None);
        }
        for text in ["{ \"pipeline\": \"a\" }", "{\n  \"pipeline\": \"a\",,\n}", "trigger: manual\n"] {
            assert_eq!(told("a.json", text), None, "{text}");
            assert_eq!(told("a", text), None, "{text}");
        }
    }
}
