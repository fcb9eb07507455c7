//! Where an executor's requests may go: asked for each address, and by the resolver for each answer of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::is_public;
use crate::executor::grants;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::ExecutorName;

/// Origins that are granted, and what names may stand for.
pub(super) struct Reach {
    executor: ExecutorName,
    granted: Vec<String>,
    /// As browsers write them: `https://host` or `https://host:8443`.
    origins: Vec<String>,
    names: Arc<Names>,
}

/// Which addresses a name may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trust {
    /// Those of the machine itself.
    Loopback,
    /// All: the name stands in the built-in's own `config`.
    Any,
}

/// Names for which more is allowed than the open internet.
struct Names(BTreeMap<String, Trust>);

/// An address that may not be connected to; passes through the client as an error.
#[derive(Debug)]
pub(super) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Reach {
    /// `granted` are origins of `grants: { http }`, `configured` those of a built-in's own `config`.
    pub(super) fn new(executor: ExecutorName, granted: Vec<String>, configured: &[String]) -> Self {
        let urls = |origins: &[String]| origins.iter().filter_map(|origin| Url::parse(origin).ok()).collect::<Vec<_>>();
        let mut names = BTreeMap::new();
        if urls(&granted).iter().any(|url| url.host_str() == Some("localhost")) {
            names.insert("localhost".to_owned(), Trust::Loopback);
        }
        let configured = urls(configured);
        names.extend(configured.iter().filter_map(|url| Some((url.host_str()?.to_owned(), Trust::Any))));
        let origins = urls(&granted).iter().chain(&configured).map(|url| url.origin().ascii_serialization()).collect();
        Self { executor, granted, origins, names: Arc::new(Names(names)) }
    }

    /// Whether any origin needs TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.origins.iter().any(|origin| origin.starts_with("https:"))
    }

    /// Whether a request may go there.
    ///
    /// # Errors
    /// `invalid` for what is no web address or holds a password; `denied`, with the YAML to add, for an origin that is not granted.
    pub(super) fn check(&self, url: &Url) -> Result<(), Failure> {
        let invalid = |message: String| Err(Failure::new(FailureKind::Invalid, message).with_code("url"));
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return invalid(format!("{} is no web address; write it as https://api.example.com/path", shown(url)));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return invalid(format!("the address of {} holds a user or a password; give it as secret_headers", shown(url)));
        }
        let origin = url.origin().ascii_serialization();
        // An address in numbers is looked at here: if its origin is granted, it was granted literally.
        if self.origins.contains(&origin) {
            return Ok(());
        }
        Err(grants::refused_origin(&self.executor, &self.granted, &origin))
    }

    /// What looks names up for the client.
    pub(super) fn resolver(&self) -> Resolver {
        Resolver(Arc::clone(&self.names))
    }
}

/// Looks names up, and gives no address that may not be connected to.
pub(super) struct Resolver(Arc<Names>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let names = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let addresses = names.filtered(name.as_str(), found)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl Names {
    fn filtered(&self, name: &str, mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let trust = self.0.get(name);
        let allowed = |address: IpAddr| match trust {
            Some(Trust::Any) => true,
            Some(Trust::Loopback) => address.to_canonical().is_loopback(),
            None => is_public(address),
        };
        let inner = found.iter().map(SocketAddr::ip).find(|address| !allowed(*address));
        found.retain(|address| allowed(address.ip()));
        match inner {
            Some(inner) if found.is_empty() => Err(Refused(format!(
                "{name} has the address {inner}, which is none of the open internet; to allow it, grant that address itself, as http://{}:PORT",
                if inner.is_ipv6() { format!("[{inner}]") } else { inner.to_string() }
            ))),
            _ => Ok(found),
        }
    }
}

/// An address as it may be shown: without user, password, query and fragment, any of which may hold a key.
pub(in crate::executor) fn shown(url: &Url) -> String {
    match url.host_str() {
        Some(_) => format!("{}{}", url.origin().ascii_serialization(), url.path()),
        None => format!("{}:…", url.scheme()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(granted: &[&str], configured: &[&str]) -> Reach {
        let owned = |origins: &[&str]| origins.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>();
        Reach::new("fetch".into(), owned(granted), &owned(configured))
    }

    fn check(reach: &Reach, url: &str) -> Result<(), FailureKind> {
        reach.check(&Url::parse(url).expect("an address")).map_err(|failure| failure.kind)
    }

    #[test]
    fn scheme_host_and_port_are_granted_and_nothing_else() {
        let reach = reach(&["https://api.example.com", "http://127.0.0.1:8080", "http://[::1]:8080"], &[]);
        for granted in [
            "https://api.example.com/a?b",
            "https://API.example.com:443/",
            "http://127.0.0.1:8080/x",
            "http://0x7f.1:8080/",
            "http://[0:0::1]:8080",
        ] {
            assert_eq!(check(&reach, granted), Ok(()), "{granted}");
        }
        for other in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil.example/",
            "https://example.com/",
            "http://127.0.0.1/",
            "http://127.0.0.2:8080/",
            "http://[::ffff:127.0.0.1]:8080/",
            "http://localhost:8080/",
            "http://2130706434:8080/",
        ] {
            assert_eq!(check(&reach, other), Err(FailureKind::Denied), "{other}");
        }
        for wrong in
            ["ftp://api.example.com/", "file:///etc/passwd", "data:x", "https://me:pw@api.example.com/", "https://me@api.example.com/"]
        {
            assert_eq!(check(&reach, wrong), Err(FailureKind::Invalid), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_shows_what_to_write() {
        let failure = reach(&["https://a.example"], &[])
            .check(&Url::parse("https://b.example:8443/x?key=1").expect("an address"))
            .expect_err("not granted");
        assert!(
            failure.message.ends_with("executors: fetch: grants: { http: ['https://a.example', 'https://b.example:8443'] }"),
            "{failure}"
        );
    }

    #[test]
    fn a_name_leads_only_to_the_open_internet() {
        let found =
            |addresses: &[&str]| addresses.iter().map(|address| SocketAddr::new(address.parse().expect("one"), 0)).collect::<Vec<_>>();
        let names =
            |reach: &Reach, name: &str, addresses: &[&str]| reach.names.filtered(name, found(addresses)).map(|left| left.len()).ok();
        let granted = reach(&["https://api.example.com", "http://localhost:1", "http://10.0.0.5:80"], &["http://model.lan:11434/v1"]);
        assert_eq!(names(&granted, "api.example.com", &["1.1.1.1", "2606:4700::1111"]), Some(2));
        assert_eq!(names(&granted, "api.example.com", &["1.1.1.1", "127.0.0.1"]), Some(1), "only the public one is left");
        for inner in ["127.0.0.1", "10.0.0.5", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1"] {
            assert_eq!(names(&granted, "api.example.com", &[inner]), None, "{inner}");
        }
        assert_eq!(names(&granted, "localhost", &["127.0.0.1", "::1"]), Some(2));
        assert_eq!(names(&granted, "localhost", &["192.168.0.1"]), None);
        assert_eq!(names(&granted, "localhost.", &["127.0.0.1"]), None, "that name was not granted");
        assert_eq!(names(&granted, "model.lan", &["192.168.0.1"]), Some(1), "an address of the config is granted literally");
        let message = granted.names.filtered("x.example", found(&["10.0.0.1"])).expect_err("inner").to_string();
        assert!(message.contains("x.example has the address 10.0.0.1"), "{message}");
    }
}
