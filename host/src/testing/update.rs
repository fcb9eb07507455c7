//! Writes what was seen in the place of what was expected, into the files themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::diagnostic::Place;
use crate::model::failure::{Failure, FailureKind};
use crate::plan::{Edit, rewrite};

use super::compare::Difference;
use super::suite::Report;

/// What became of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Updated {
    /// The file.
    pub file: PathBuf,
    /// How many expectations were written anew.
    pub written: usize,
    /// The places of those that were not, since it could not be done without touching anything else.
    pub left: Vec<Place>,
}

/// Writes every expectation anew that was not met. What is missing wholly, and what two tests would write differently, is left.
///
/// # Errors
/// A file that cannot be written. Those before it are.
pub fn update(report: &Report) -> Result<Vec<Updated>, Failure> {
    let mut differences: BTreeMap<PathBuf, Vec<&Difference>> = BTreeMap::new();
    for difference in report.files.iter().flat_map(|file| &file.tests).flat_map(|test| &test.differences) {
        differences.entry(difference.expected.place.file.clone()).or_default().push(difference);
    }
    let mut updated = Vec::new();
    for (file, differences) in differences {
        let Some(text) = report.sources.text(&file) else { continue };
        let (mut edits, mut of, mut left): (Vec<Edit>, Vec<&Difference>, Vec<Place>) = (Vec::new(), Vec::new(), Vec::new());
        for difference in differences {
            let edit = difference.seen.clone().map(|value| Edit { span: difference.expected.span, value });
            // An anchor may have one place stand for several.
            match edit.filter(|edit| edits.iter().all(|other| other.span != edit.span)) {
                Some(edit) => {
                    edits.push(edit);
                    of.push(difference);
                }
                None => left.push(difference.expected.place.clone()),
            }
        }
        let rewritten = rewrite(&file, text, &edits);
        left.extend(rewritten.left.iter().filter_map(|number| of.get(*number)).map(|difference| difference.expected.place.clone()));
        left.sort();
        let written = edits.len() - rewritten.left.len();
        if written > 0 {
            std::fs::write(&file, rewritten.text).map_err(|error| {
                Failure::new(FailureKind::Failed, format!("{} cannot be written: {error}", file.display())).with_code("E0706")
            })?;
        }
        updated.push(Updated { file, written, left });
    }
    Ok(updated)
}
