//! Addresses as people write them: `ada@example.com` or `Ada Lovelace <ada@example.com>`.

use lettre::message::Mailbox;

use crate::model::failure::{Failure, FailureKind};

/// What stands in a local part without quotes, beside letters and digits. A quoted one may hold blanks and brackets, by which it could say
/// more to a server than an address; nobody has such an address.
const PLAIN: &str = "!#$%&'*+-/=?^_`{|}~.";

/// Reads an address; `what` says in which field it stands.
///
/// # Errors
/// `invalid`, with the field, for text that is no address or holds a line break.
pub(in crate::executor) fn address(what: &str, text: &str) -> Result<Mailbox, Failure> {
    let wrong = |why: &str| {
        let message = format!("{what} {text:?} is no address{why}; write it as ada@example.com or 'Ada <ada@example.com>'");
        Failure::new(FailureKind::Invalid, message).with_code("address")
    };
    if text.chars().any(char::is_control) {
        return Err(wrong(" and holds a line break or the like"));
    }
    let mailbox: Mailbox = text.trim().parse().map_err(|_| wrong(""))?;
    let is_plain = |each: char| each.is_alphanumeric() || PLAIN.contains(each);
    if mailbox.email.user().chars().all(is_plain) { Ok(mailbox) } else { Err(wrong("")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_alone_or_behind_a_name() {
        for (written, name, email) in [
            ("ada@example.com", None, "ada@example.com"),
            (" ada+x@example.com ", None, "ada+x@example.com"),
            ("Ada Lovelace <ada@example.com>", Some("Ada Lovelace"), "ada@example.com"),
            ("\"Lovelace, Ada\" <ada@example.com>", Some("Lovelace, Ada"), "ada@example.com"),
        ] {
            let mailbox = address("to", written).expect(written);
            assert_eq!((mailbox.name.as_deref(), mailbox.email.to_string().as_str()), (name, email));
        }
    }

    #[test]
    fn what_could_say_more_than_an_address_is_refused() {
        for written in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "ada@example.com, bo@example.com",
            "ada@example.com\r\nBcc: eve@example.com",
            "Ada\nBcc: eve@example.com <ada@example.com>",
            "ada@example.com>\u{0}",
            "\"ada> SIZE=1\"@example.com",
            "a b@example.com",
        ] {
            let failure = address("to", written).expect_err(written);
            assert!(failure.kind == FailureKind::Invalid && failure.message.starts_with("to "), "{failure}");
            assert!(!failure.message.contains('\n'), "{failure}");
        }
    }
}
