//! Mistakes as SARIF 2.1.0: what code scanning of GitHub, GitLab and Azure reads.

use std::path::{Component, Path};

use serde_json::{Value as Json, json};

use crate::model::diagnostic::{Diagnostic, Place, Severity};
use crate::plan::{Sources, codes};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One run of the tool: a rule for each code that was found, and a result for each mistake.
pub fn sarif(diagnostics: &[Diagnostic], _: &Sources, _: bool) -> String {
    let mut found: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    found.sort_unstable();
    found.dedup();
    let rules: Vec<Json> = found.iter().map(|code| rule(code)).collect();
    let results: Vec<Json> = diagnostics.iter().map(|diagnostic| result(diagnostic, &found)).collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "pipehost", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

fn rule(code: &str) -> Json {
    // Codes of executors and of the data folder are told by their own rooms, each with its message.
    let meaning = codes::ALL.iter().find(|(known, _)| *known == code).map_or("A mistake in a pipeline", |(_, meaning)| meaning);
    let level = if code.starts_with('W') { "warning" } else { "error" };
    json!({
        "id": code,
        "shortDescription": { "text": meaning },
        "help": { "text": format!("{meaning}. See the page of error codes in the guide; each result says what to write.") },
        "defaultConfiguration": { "level": level },
    })
}

fn result(diagnostic: &Diagnostic, rules: &[&str]) -> Json {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let text = match &diagnostic.help {
        Some(help) => format!("{}\nhelp: {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let mut result = json!({
        "ruleId": diagnostic.code,
        "level": level,
        "message": { "text": text },
        "locations": [{ "physicalLocation": location(&diagnostic.place) }],
    });
    if let Some(index) = rules.iter().position(|code| *code == diagnostic.code) {
        result["ruleIndex"] = json!(index);
    }
    if !diagnostic.related.is_empty() {
        let related =
            diagnostic.related.iter().map(|(place, words)| json!({ "physicalLocation": location(place), "message": { "text": words } }));
        result["relatedLocations"] = related.collect();
    }
    result
}

fn location(place: &Place) -> Json {
    let mut location = json!({ "artifactLocation": { "uri": uri(&place.file) } });
    if place.line > 0 {
        let (line, column) = (place.line, place.column.max(1));
        location["region"] = json!({ "startLine": line, "startColumn": column, "endLine": line, "endColumn": column + place.length });
    }
    location
}

/// A relative path is a relative reference, an absolute one a `file:` address; what an address cannot hold is escaped.
fn uri(file: &Path) -> String {
    let absolute = file.is_absolute();
    let parts = file.components().filter_map(|part| match part {
        Component::Normal(part) => Some(escaped(&part.to_string_lossy())),
        Component::ParentDir => Some("..".to_owned()),
        Component::Prefix(prefix) => Some(prefix.as_os_str().to_string_lossy().replace('\\', "/")),
        Component::RootDir | Component::CurDir => None,
    });
    let path = parts.collect::<Vec<_>>().join("/");
    if absolute { format!("file:///{path}") } else { path }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_a_result_with_its_rule_level_and_place() {
        let place = |file: &str, line| Place { file: file.into(), line, column: 3, length: 4 };
        let list = [
            Diagnostic::error("E0201", place("a b.yaml", 2), "no such key")
                .with_help("write another")
                .with_related(place("c.yaml", 9), "here"),
            Diagnostic::warning("W0401", place("/x/ä.yaml", 0), "unused"),
            Diagnostic::error("E0201", place("a b.yaml", 5), "no such key"),
        ];
        let log: Json = serde_json::from_str(&sarif(&list, &Sources::default(), false)).expect("JSON");
        let run = &log["runs"][0];
        let rules: Vec<_> = run["tool"]["driver"]["rules"].as_array().expect("rules").iter().map(|rule| rule["id"].clone()).collect();
        assert_eq!((log["version"].clone(), rules), (json!("2.1.0"), vec![json!("E0201"), json!("W0401")]));
        let results = run["results"].as_array().expect("results");
        assert_eq!((results.len(), &results[1]["level"], &results[1]["ruleIndex"]), (3, &json!("warning"), &json!(1)));
        assert_eq!(results[0]["message"]["text"], "no such key\nhelp: write another");
        let at = &results[0]["locations"][0]["physicalLocation"];
        let region = json!({ "startLine": 2, "startColumn": 3, "endLine": 2, "endColumn": 7 });
        assert_eq!((&at["artifactLocation"]["uri"], &at["region"]), (&json!("a%20b.yaml"), &region));
        assert_eq!(results[0]["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"], "c.yaml");
        let whole = &results[1]["locations"][0]["physicalLocation"];
        assert_eq!((&whole["artifactLocation"]["uri"], whole.get("region")), (&json!("file:///x/%C3%A4.yaml"), None));
    }
}
