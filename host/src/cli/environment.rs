//! The environment variables, and the file of secrets.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::failure::{Failure, FailureKind};
use crate::plan::Environment;

/// The file of secrets cannot be read, or a line of it is no secret.
const BAD_SECRETS: &str = "E0705";

/// The variables of the process, and the secrets of the file, if one is named.
///
/// # Errors
/// What is wrong with the file, with the line and never with what stands in it.
pub(super) fn read(secrets: Option<&Path>) -> Result<Environment, Failure> {
    // A variable whose name or value is not UTF-8 cannot be named in YAML.
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let secrets = match secrets {
        None => BTreeMap::new(),
        Some(file) => {
            let text = std::fs::read(file).map_err(|error| refuse(file, &format!("cannot be read ({error})")))?;
            let text = String::from_utf8(text).map_err(|_| refuse(file, "is not UTF-8"))?;
            parse(&text).map_err(|line| refuse(file, &format!("has no NAME=value on line {line}")))?
        }
    };
    Ok(Environment { variables: variables.collect(), secrets })
}

fn refuse(file: &Path, why: &str) -> Failure {
    let message = format!("the file of secrets {} {why}; write one NAME=value a line, and # before a comment", file.display());
    Failure::new(FailureKind::Invalid, message).with_code(BAD_SECRETS)
}

/// `NAME=value` a line. White space about both is cut; quotes round a whole value are, too, so that one may begin or end with a space.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut secrets = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(index + 1)?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(index + 1);
        }
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        secrets.insert(name.to_owned(), quoted.unwrap_or(value).to_owned());
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_read() {
        let secrets = parse("# mine\n\nA=1\n B_2 = 'x = y ' \n").expect("these are secrets");
        assert_eq!(secrets, BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B_2".to_owned(), "x = y ".to_owned())]));
    }

    #[test]
    fn a_line_that_is_no_secret_is_named_and_not_shown() {
        assert_eq!(parse("A=1\nhunter2\n"), Err(2));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secrets");
        std::fs::write(&file, "hunter2").expect("written");
        let failure = read(Some(&file)).expect_err("that is no secret");
        assert!(failure.message.contains("line 1") && !failure.message.contains("hunter2"), "{failure}");
    }
}
