//! What an executor may use and how much of it. Nothing is granted that is not written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::id::{EventType, ResourceName};

/// What the YAML grants one executor. All lists are empty by default: deny.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// Origins that may be connected to: scheme, host and port, as `https://api.example.com`.
    pub http: Vec<String>,
    /// Servers that mail may be handed to.
    pub mail: Vec<MailServer>,
    /// Databases that may be read and written.
    pub sql: Vec<ResourceName>,
    /// Key-value stores that may be read and written.
    pub kv: Vec<ResourceName>,
    /// Indexes that may be searched and added to.
    pub index: Vec<ResourceName>,
    /// Executors of a language model that may be asked.
    pub llm: Vec<String>,
    /// Secrets that may be read, by name.
    pub secrets: Vec<String>,
    /// Environment variables that may be read.
    pub env: Vec<String>,
    /// Folders that may be read and written.
    pub files: Vec<ResourceName>,
    /// Types of events that may be emitted.
    pub emit: Vec<EventType>,
}

/// A server that takes mail: `mail.example.com:587`, or `[::1]:2525`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailServer {
    /// Its name or its address in numbers, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl MailServer {
    /// Whether it is on this machine by what it is called, so that nobody else hears what is said to it.
    pub fn is_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

/// Text that is not a host and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMailServer;

impl FromStr for MailServer {
    type Err = NoMailServer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(NoMailServer)?;
        let is_number = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
        let port = port.parse().ok().filter(|port| *port > 0 && is_number).ok_or(NoMailServer)?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()).ok_or(NoMailServer)?,
            None => host,
        };
        let is_name = |host: &str| host.chars().all(|each| each.is_ascii_alphanumeric() || matches!(each, '.' | '-' | '_'));
        if host.is_empty() || !(is_name(host) || host.contains(':') && text.starts_with('[')) {
            return Err(NoMailServer);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

/// As it is written in a grant.
impl fmt::Display for MailServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// The limits of one job. Each has a default that is finite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Memory of a guest, or of a script's values, in bytes.
    pub memory: u64,
    /// Wall clock over the whole invocation: the backstop behind `timeout`.
    pub wall: Duration,
    /// Output in bytes of JSON.
    pub output: u64,
    /// Events emitted in one attempt.
    pub events: u32,
    /// Log text in bytes.
    pub log: u64,
    /// Operations of a script.
    pub operations: u64,
    /// How deep a script's calls may nest.
    pub call_depth: u32,
    /// Bytes of a guest's stack.
    pub stack: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            wall: Duration::from_secs(300),
            output: 16 << 20,
            events: 1_000,
            log: 64 << 10,
            operations: 50_000_000,
            call_depth: 64,
            stack: 512 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_is_a_host_and_a_port() {
        for (written, shown, here) in [
            ("mail.example.com:587", "mail.example.com:587", false),
            ("Localhost:25", "localhost:25", true),
            ("127.0.0.1:2525", "127.0.0.1:2525", true),
            ("[::1]:25", "[::1]:25", true),
            ("10.0.0.1:25", "10.0.0.1:25", false),
        ] {
            let server: MailServer = written.parse().expect(written);
            assert_eq!((server.to_string().as_str(), server.is_this_machine()), (shown, here));
        }
        for wrong in [
            "",
            "mail",
            ":25",
            "mail:",
            "mail:0",
            "mail:+25",
            "mail:70000",
            "::1:25",
            "[mail]:25",
            "smtp://mail:25",
            "a b:25",
            "me@mail:25",
            "mail/x:25",
        ] {
            assert_eq!(wrong.parse::<MailServer>(), Err(NoMailServer), "{wrong}");
        }
    }
}
