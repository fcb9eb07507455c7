//! The one place that says no: whether an executor's grants cover what it asks for. Pure; a refusal shows the YAML to add.

use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::{Grants, MailServer};
use crate::model::id::{ExecutorName, ResourceName};

/// Grants that name resources.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ResourceGrant {
    /// Databases.
    Sql,
    /// Key-value stores.
    Kv,
    /// Indexes.
    Index,
    /// Folders.
    Files,
}

impl ResourceGrant {
    /// The key under `grants:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Kv => "kv",
            Self::Index => "index",
            Self::Files => "files",
        }
    }

    /// The resources of this kind that are granted.
    pub fn of(self, grants: &Grants) -> &[ResourceName] {
        match self {
            Self::Sql => &grants.sql,
            Self::Kv => &grants.kv,
            Self::Index => &grants.index,
            Self::Files => &grants.files,
        }
    }
}

/// Which resource an executor means, and may use. `None` means the only one that is granted.
///
/// # Errors
/// `denied` if that one, or none at all, is granted; `invalid` if several are and none was named.
pub fn resource<'a>(
    executor: &ExecutorName,
    grants: &'a Grants,
    kind: ResourceGrant,
    asked: Option<&str>,
) -> Result<&'a ResourceName, Failure> {
    let granted = kind.of(grants);
    match (asked, granted) {
        (Some(asked), _) => granted.iter().find(|name| name.as_str() == asked).ok_or_else(|| {
            let names = granted.iter().map(ResourceName::as_str).chain([asked]);
            denied(executor, &format!("may not use {} {asked:?}", kind.as_str()), kind.as_str(), names)
        }),
        (None, [only]) => Ok(only),
        (None, []) => Err(denied(executor, &format!("has no {} granted", kind.as_str()), kind.as_str(), ["NAME"])),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(ResourceName::as_str).collect();
            let message = format!("{executor} has several {} granted, so the call must name one of {}", kind.as_str(), names.join(", "));
            Err(Failure::new(FailureKind::Invalid, message).with_code("which_resource"))
        }
    }
}

/// Whether an executor may read that secret.
///
/// # Errors
/// `denied` if it may not.
pub fn secret(executor: &ExecutorName, grants: &Grants, name: &str) -> Result<(), Failure> {
    if grants.secrets.iter().any(|granted| granted == name) {
        return Ok(());
    }
    let names = grants.secrets.iter().map(String::as_str).chain([name]);
    Err(denied(executor, &format!("may not read the secret {name:?}"), "secrets", names))
}

/// Whether an executor may emit events of that type.
///
/// # Errors
/// `denied` if it may not.
pub fn emit(executor: &ExecutorName, grants: &Grants, event_type: &str) -> Result<(), Failure> {
    if grants.emit.iter().any(|granted| granted.as_str() == event_type) {
        return Ok(());
    }
    let names = grants.emit.iter().map(|granted| granted.as_str()).chain([event_type]);
    Err(denied(executor, &format!("may not emit {event_type:?}"), "emit", names))
}

/// The refusal of an address whose origin (`https://host:port`) is not among the granted ones.
pub fn refused_origin(executor: &ExecutorName, granted: &[String], origin: &str) -> Failure {
    let names: Vec<String> = granted.iter().map(String::as_str).chain([origin]).map(|origin| format!("'{origin}'")).collect();
    denied(executor, &format!("may not connect to {origin}"), "http", names.iter().map(String::as_str))
}

/// Which server an executor may hand mail to: the only one that is granted.
///
/// # Errors
/// `denied` if none is granted; `invalid` if several are, since a letter does not say which.
pub fn mail_server<'a>(executor: &ExecutorName, grants: &'a Grants) -> Result<&'a MailServer, Failure> {
    match grants.mail.as_slice() {
        [only] => Ok(only),
        [] => Err(denied(executor, "has no mail server granted", "mail", ["'mail.example.com:587'"])),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            let message = format!("{executor} has several mail servers granted ({}); make an executor for each", names.join(", "));
            Err(Failure::new(FailureKind::Invalid, message).with_code("which_resource"))
        }
    }
}

/// The refusal of a sender that is not among those that an executor may write as.
pub fn refused_sender(executor: &ExecutorName, allowed: &[String], asked: &str) -> Failure {
    let names: Vec<String> = allowed.iter().map(String::as_str).chain([asked]).map(|address| format!("'{address}'")).collect();
    let message = format!(
        "{executor} may not write as {asked}; to allow it, write under executors: {executor}: config: {{ from: [{}] }}",
        names.join(", ")
    );
    Failure::new(FailureKind::Denied, message).with_code("not_granted")
}

/// The YAML that grants `names`, as `grants: { sql: [main] }`.
pub fn yaml<'a>(kind: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    format!("grants: {{ {kind}: [{}] }}", names.join(", "))
}

fn denied<'a>(executor: &ExecutorName, what: &str, kind: &str, names: impl IntoIterator<Item = &'a str>) -> Failure {
    let message = format!("{executor} {what}; to allow it, write under executors: {executor}: {}", yaml(kind, names));
    Failure::new(FailureKind::Denied, message).with_code("not_granted")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save() -> ExecutorName {
        ExecutorName::new("save")
    }

    #[test]
    fn nothing_is_granted_that_is_not_written() {
        let none = Grants::default();
        let failure = resource(&save(), &none, ResourceGrant::Sql, Some("main")).expect_err("not granted");
        assert_eq!(failure.kind, FailureKind::Denied);
        assert!(failure.message.ends_with("executors: save: grants: { sql: [main] }"), "{failure}");
        assert_eq!(resource(&save(), &none, ResourceGrant::Kv, None).expect_err("not granted").kind, FailureKind::Denied);
        assert_eq!(secret(&save(), &none, "KEY").expect_err("not granted").kind, FailureKind::Denied);
        assert_eq!(emit(&save(), &none, "ChatSaved").expect_err("not granted").kind, FailureKind::Denied);
    }

    #[test]
    fn a_refusal_keeps_what_is_granted_already() {
        let grants = Grants { sql: vec!["main".into()], secrets: vec!["A".to_owned()], ..Grants::default() };
        let failure = resource(&save(), &grants, ResourceGrant::Sql, Some("other")).expect_err("not granted");
        assert!(failure.message.contains("{ sql: [main, other] }"), "{failure}");
        assert!(secret(&save(), &grants, "B").expect_err("not granted").message.contains("{ secrets: [A, B] }"));
        assert!(secret(&save(), &grants, "A").is_ok());
    }

    #[test]
    fn the_only_one_need_not_be_named_and_one_of_several_must_be() {
        let mut grants = Grants { index: vec!["docs".into()], ..Grants::default() };
        assert_eq!(resource(&save(), &grants, ResourceGrant::Index, None).map(ResourceName::as_str), Ok("docs"));
        grants.index.push("more".into());
        let failure = resource(&save(), &grants, ResourceGrant::Index, None).expect_err("which one?");
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.message.contains("docs, more"), "{failure}");
    }
}
