//! The beginning of an id, as people write it: a range of ids, so that a store can go by its order.

use uuid::Uuid;

/// All ids that begin with some digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdPrefix {
    first: Uuid,
    last: Uuid,
}

/// So many digits an id has.
const DIGITS: usize = 32;
/// After so many digits an id has a hyphen.
const HYPHENS: [usize; 4] = [8, 12, 16, 20];

impl IdPrefix {
    /// Reads hexadecimal digits, in either case, with the hyphens of an id where they belong or with none; `None` if no id begins so.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let digits: String = text.chars().filter(|character| *character != '-').collect();
        let is_well_written = !text.contains('-') || hyphenated(&digits).starts_with(&text);
        if digits.is_empty() || digits.len() > DIGITS || !is_well_written || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let filled = |digit: char| Uuid::try_parse(&format!("{digits}{}", digit.to_string().repeat(DIGITS - digits.len()))).ok();
        Some(Self { first: filled('0')?, last: filled('f')? })
    }

    /// The first and the last of these ids.
    pub const fn bounds(self) -> (Uuid, Uuid) {
        (self.first, self.last)
    }

    /// Whether an id is one of them.
    pub fn is_of(self, id: Uuid) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

/// The digits with a hyphen wherever an id has one, also behind the last of them.
fn hyphenated(digits: &str) -> String {
    let mut text = String::with_capacity(DIGITS + HYPHENS.len());
    for (place, digit) in digits.chars().enumerate() {
        text.push(digit);
        if HYPHENS.contains(&(place + 1)) {
            text.push('-');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(text: &str) -> Option<(String, String)> {
        IdPrefix::parse(text).map(|prefix| (prefix.first.to_string(), prefix.last.to_string()))
    }

    #[test]
    fn a_beginning_with_or_without_hyphens_is_a_range() {
        let range = |first: &str, last: &str| Some((first.to_owned(), last.to_owned()));
        let few = range("01a20000-0000-0000-0000-000000000000", "01a2ffff-ffff-ffff-ffff-ffffffffffff");
        assert_eq!((bounds("01a2"), bounds("01A2")), (few.clone(), few));
        let more = range("01a20020-5600-0000-0000-000000000000", "01a20020-56ff-ffff-ffff-ffffffffffff");
        assert_eq!((bounds("01a2002056"), bounds("01a20020-56")), (more.clone(), more));
        assert_eq!(bounds("01a20020-"), bounds("01a20020"));
        let whole = "01a20020-5672-7d52-97e4-d8cebfdf4f4a";
        assert_eq!((bounds(whole), bounds(&whole.replace('-', ""))), (range(whole, whole), range(whole, whole)));
    }

    #[test]
    fn what_no_id_begins_with_is_none() {
        for text in ["", "-", "zz", "01-a2", "01a20020--56", "01a2002-0", "é", &"0".repeat(33)] {
            assert_eq!(bounds(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_first_and_the_last_of_a_range_are_in_it_and_their_neighbours_are_not() {
        let prefix = IdPrefix::parse("01a2").expect("digits");
        let (first, last) = prefix.bounds();
        assert!(prefix.is_of(first) && prefix.is_of(last));
        assert!(!prefix.is_of(Uuid::from_u128(first.as_u128() - 1)) && !prefix.is_of(Uuid::from_u128(last.as_u128() + 1)));
    }
}
