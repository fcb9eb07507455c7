//! What came of tests as JUnit's XML, which build servers read.

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::story;
use crate::cli::diagnostics;
use crate::model::failure::{Failure, FailureKind};
use crate::testing::{FileReport, Report};

/// One suite a file, one case a test; a file that could not be loaded is a case that went wrong.
///
/// # Errors
/// The document cannot be written.
pub(super) fn document(report: &Report) -> Result<String, Failure> {
    let mut document = Document::new("pipehost");
    for file in &report.files {
        document.add_test_suite(suite(file, report));
    }
    document
        .to_string()
        .map_err(|error| Failure::new(FailureKind::Failed, format!("the JUnit document cannot be written: {error}")).with_code("E0706"))
}

fn suite(file: &FileReport, report: &Report) -> TestSuite {
    let name = file.file.to_string_lossy();
    let mut suite = TestSuite::new(&*name);
    let class = file.pipeline.as_ref().map_or_else(|| name.to_string(), ToString::to_string);
    if file.pipeline.is_none() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message("the file could not be loaded");
        status.set_description(diagnostics::text(&file.diagnostics, &report.sources, false));
        suite.add_test_case(TestCase::new("the file is loaded", status));
    }
    for test in &file.tests {
        let status = match test.mistakes.first() {
            None => TestCaseStatus::success(),
            Some(first) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(first.message.as_str());
                status.set_type(first.code);
                status.set_description(story(test, report));
                status
            }
        };
        let mut case = TestCase::new(test.name.as_str(), status);
        case.set_classname(class.as_str());
        case.set_time(test.took);
        suite.add_test_case(case);
    }
    suite
}
