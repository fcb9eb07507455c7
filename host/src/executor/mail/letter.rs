//! A letter: read from a job's fields, and written out as the bytes that a server takes. Pure.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};

use super::address::address;
use crate::model::failure::{Failure, FailureKind};
use crate::model::id::Digest;
use crate::model::time::Timestamp;
use crate::model::value::{Map, Tree};

/// Recipients of one letter, copies included. Who has more to write to sends several letters, each of which fails for itself.
const MOST_RECIPIENTS: usize = 100;

/// Headers of one's own.
const MOST_HEADERS: usize = 32;

/// Bytes of the subject, or of the value of a header of one's own.
const LONGEST_LINE: usize = 4 << 10;

/// Bytes of text and HTML together.
const LARGEST: usize = 10 << 20;

/// Headers that the letter's own fields write, or that only servers on the way write.
const OWN_HEADERS: [&str; 14] = [
    "bcc",
    "cc",
    "date",
    "dkim-signature",
    "from",
    "message-id",
    "mime-version",
    "received",
    "reply-to",
    "return-path",
    "sender",
    "subject",
    "to",
    "authentication-results",
];

/// What a letter says and to whom, checked.
#[derive(Debug)]
pub(in crate::executor) struct Draft {
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    bcc: Vec<Mailbox>,
    reply_to: Vec<Mailbox>,
    subject: String,
    text: String,
    html: Option<String>,
    headers: Vec<(HeaderName, String)>,
}

/// A letter as it goes out.
#[derive(Debug)]
pub(in crate::executor) struct Letter {
    /// Who writes.
    pub(in crate::executor) from: Address,
    /// All who get it, each once, in the order of `to`, `cc` and `bcc`.
    pub(in crate::executor) recipients: Vec<Address>,
    /// Its own name among all letters: the same for each attempt of a job.
    pub(in crate::executor) message_id: String,
    /// Its headers and its text.
    pub(in crate::executor) bytes: Vec<u8>,
}

impl Draft {
    /// Reads the fields of an input.
    ///
    /// # Errors
    /// `invalid`, with the field: an address that is none, a line break where one would begin another header, nobody to write to, or more
    /// than the limits allow.
    pub(in crate::executor) fn read(input: &Tree) -> Result<Self, Failure> {
        let [to, cc, bcc, reply_to] = ["to", "cc", "bcc", "reply_to"].map(|name| addresses(name, input.field(name)));
        let text = |name: &str| input.field(name).and_then(Tree::as_text).map(str::to_owned);
        let draft = Self {
            to: to?,
            cc: cc?,
            bcc: bcc?,
            reply_to: reply_to?,
            subject: text("subject").unwrap_or_default(),
            text: text("text").unwrap_or_default(),
            html: text("html"),
            headers: headers(input.field("headers"))?,
        };
        one_line("subject", &draft.subject)?;
        let count = draft.to.len() + draft.cc.len() + draft.bcc.len();
        if count == 0 {
            return Err(wrong("there is nobody to write to; give `to`"));
        }
        if count > MOST_RECIPIENTS {
            return Err(wrong(&format!("{count} recipients are more than {MOST_RECIPIENTS}; send several letters")));
        }
        let size = draft.text.len() + draft.html.as_ref().map_or(0, String::len);
        if size > LARGEST {
            let message = format!("text and html are {size} bytes together, and {LARGEST} are the most; send where to find it");
            return Err(wrong(&message));
        }
        Ok(draft)
    }

    /// Writes the letter out. Of one sender, `key` and content come the same bytes but for the date.
    ///
    /// # Errors
    /// `invalid` for what cannot be written as a letter.
    pub(in crate::executor) fn into_letter(self, from: &Mailbox, key: &str, now: Timestamp) -> Result<Letter, Failure> {
        let domain = if from.email.domain().is_ascii() { from.email.domain() } else { "localhost" };
        let digits = |parts: &[&str]| Digest::of_parts(parts.iter().map(|part| part.as_bytes())).to_string();
        let message_id = format!("<{}@{domain}>", digits(&["mail", key]).get(..32).unwrap_or_default());
        let recipients = self.recipients();
        let date = UNIX_EPOCH + Duration::from_nanos(now.as_nanos());
        let mut builder = Message::builder().date(date).message_id(Some(message_id.clone())).from(from.clone()).subject(self.subject);
        builder = self.to.into_iter().fold(builder, lettre::message::MessageBuilder::to);
        builder = self.cc.into_iter().fold(builder, lettre::message::MessageBuilder::cc);
        builder = self.bcc.into_iter().fold(builder, lettre::message::MessageBuilder::bcc);
        builder = self.reply_to.into_iter().fold(builder, lettre::message::MessageBuilder::reply_to);
        for (name, value) in self.headers {
            builder = builder.raw_header(HeaderValue::new(name, value));
        }
        let written = match self.html {
            None => builder.singlepart(SinglePart::plain(self.text)),
            Some(html) => {
                // Of what stands between the boundaries, so that no part can hold it.
                let boundary = digits(&[&message_id, &self.text, &html]);
                let parts = MultiPart::alternative().boundary(boundary.get(..40).unwrap_or_default());
                builder.multipart(parts.singlepart(SinglePart::plain(self.text)).singlepart(SinglePart::html(html)))
            }
        };
        let message = written.map_err(|error| wrong(&error.to_string()))?;
        Ok(Letter { from: from.email.clone(), recipients, message_id, bytes: message.formatted() })
    }

    fn recipients(&self) -> Vec<Address> {
        let mut recipients: Vec<Address> = Vec::new();
        for mailbox in self.to.iter().chain(&self.cc).chain(&self.bcc) {
            if !recipients.contains(&mailbox.email) {
                recipients.push(mailbox.email.clone());
            }
        }
        recipients
    }
}

fn wrong(message: &str) -> Failure {
    Failure::new(FailureKind::Invalid, format!("the letter is wrong: {message}")).with_code("input")
}

/// A text, or a list of texts; none where there is null.
fn addresses(name: &str, tree: Option<&Tree>) -> Result<Vec<Mailbox>, Failure> {
    let items = match tree {
        None | Some(Tree::Null) => &[][..],
        Some(Tree::List(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if items.len() > MOST_RECIPIENTS {
        return Err(wrong(&format!("{} addresses in {name} are more than {MOST_RECIPIENTS}; send several letters", items.len())));
    }
    let read = |item: &Tree| match item.as_text() {
        Some(text) => address(name, text),
        None => Err(wrong(&format!("{name} is an address or a list of addresses, and this is {}", item.kind()))),
    };
    items.iter().map(read).collect()
}

fn headers(tree: Option<&Tree>) -> Result<Vec<(HeaderName, String)>, Failure> {
    let empty = Map::new();
    let fields = match tree {
        None | Some(Tree::Null) => &empty,
        Some(tree) => tree.as_map().ok_or_else(|| wrong(&format!("headers is a map, and this is {}", tree.kind())))?,
    };
    if fields.len() > MOST_HEADERS {
        return Err(wrong(&format!("{} headers are more than {MOST_HEADERS}", fields.len())));
    }
    let read = |(name, value): (&String, &Tree)| {
        let lower = name.to_ascii_lowercase();
        let is_name = !name.is_empty() && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '-');
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("content-") || lower.starts_with("resent-") {
            return Err(wrong(&format!("the header {name} is written by the letter's own fields or by servers on the way")));
        }
        let header = HeaderName::new_from_ascii(name.clone()).ok().filter(|_| is_name);
        let header = header.ok_or_else(|| wrong(&format!("{name:?} is no name of a header")))?;
        let Some(value) = value.as_text() else {
            return Err(wrong(&format!("headers.{name} is a text, and this is {}", value.kind())));
        };
        one_line(&format!("headers.{name}"), value)?;
        Ok((header, value.to_owned()))
    };
    fields.iter().map(read).collect()
}

/// A line break in a header would begin another header.
fn one_line(what: &str, text: &str) -> Result<(), Failure> {
    if text.len() > LONGEST_LINE {
        return Err(wrong(&format!("{what} has {} bytes, and {LONGEST_LINE} are the most", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(&format!("{what} holds what no header can: look for line breaks")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
