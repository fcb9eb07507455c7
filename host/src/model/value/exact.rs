//! The exact form of values: JSON from which everything comes back as it was, secrets and fractions too. Only the journal writes and reads it.
//!
//! It is the JSON that everybody else writes, but for three things. A secret is `{"$sealed": TEXT}`, which only the [`Seal`] that wrote it
//! can open. A fraction that JSON's reader would not give back to the last bit is `{"$float": TEXT}`. The name of a field that begins with a
//! `$` has one more, so that data which looks like one of these is data still.
//!
//! It holds for what a thread does within [`exactly`], and is written by [`json`]. Refused were a serialiser round the serialiser, and a second form of each fact: facts,
//! events and failures hold values in many places, and each place would have to know of it. Refused as well was a word beside the text, as
//! `«secret NAME»` is: whoever sends such a text would be believed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use serde::Serializer;
use serde::ser::SerializeMap;

use crate::model::json;
use crate::model::secret::Secret;

/// By which a secret is known.
pub(super) const SEALED: &str = "$sealed";
/// By which a fraction is known that is written as text.
pub(super) const FLOAT: &str = "$float";

/// Room for the text of a fraction: the longest has 24 bytes.
const ROOM: usize = 32;
/// A fraction whose text is no longer, and has no exponent, has fifteen digits at most.
const CERTAIN: usize = 16;

/// Seals secrets for the journal and opens what it has sealed.
pub trait Seal: Send + Sync {
    /// A text that tells nothing of the secret and that nobody else can make.
    ///
    /// # Errors
    /// Why it cannot be sealed.
    fn seal(&self, secret: &Secret) -> Result<String, String>;

    /// The secret that was sealed as this text.
    ///
    /// # Errors
    /// The text was not made with the same key, or the secret is not to be had any more.
    fn open(&self, sealed: &str) -> Result<Secret, String>;
}

thread_local! {
    static SEAL: RefCell<Option<Arc<dyn Seal>>> = const { RefCell::new(None) };
}

/// Has values written and read in their exact form while `work` runs, on this thread.
pub fn exactly<T>(seal: &Arc<dyn Seal>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Arc<dyn Seal>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SEAL.set(self.0.take());
        }
    }
    let _restore = Restore(SEAL.replace(Some(Arc::clone(seal))));
    work()
}

/// What seals here; `None` outside of [`exactly`].
pub(in crate::model) fn seal() -> Option<Arc<dyn Seal>> {
    SEAL.with_borrow(Option::clone)
}

/// Whether the exact form is asked for.
pub(super) fn is_exact() -> bool {
    SEAL.with_borrow(Option::is_some)
}

/// Writes a secret.
///
/// # Errors
/// It cannot be sealed.
pub(in crate::model) fn secret<S: Serializer>(seal: &dyn Seal, secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    mark(SEALED, &seal.seal(secret).map_err(serde::ser::Error::custom)?, serializer)
}

/// Writes a fraction, in its exact form where that is asked for.
///
/// # Errors
/// Those of the serialiser.
pub fn float<S: Serializer>(number: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if !is_exact() {
        return serializer.serialize_f64(number);
    }
    match coming_back(number, &mut [0; ROOM]) {
        Some(text) => json::written(text, serializer),
        None => mark(FLOAT, &format!("{number:?}"), serializer),
    }
}

/// The text of a fraction, if JSON's reader gives the same number back.
fn coming_back(number: f64, room: &mut [u8; ROOM]) -> Option<&str> {
    if !number.is_finite() {
        return None;
    }
    let mut rest = &mut room[..];
    serde_json::to_writer(&mut rest, &number).ok()?;
    let length = ROOM - rest.len();
    let text = std::str::from_utf8(room.get(..length)?).ok()?;
    // So few digits are a whole number that a fraction holds, and one division by a power of ten that it holds too: nothing is rounded twice.
    let is_short = length <= CERTAIN && !text.as_bytes().contains(&b'e');
    (is_short || serde_json::from_str::<f64>(text).is_ok_and(|read| read.to_bits() == number.to_bits())).then_some(text)
}

/// The name of a field as it is written.
pub fn name(name: &str) -> Cow<'_, str> {
    if name.starts_with('$') && is_exact() { format!("${name}").into() } else { name.into() }
}

fn mark<S: Serializer>(mark: &str, text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(mark, text)?;
    map.end()
}

/// A field's name that may be a mark.
pub(super) enum Name {
    /// A secret follows.
    Sealed,
    /// The text of a fraction follows.
    Float,
    /// It is a name, and so it was.
    Plain(String),
    /// It is a mark of a kind that is not known.
    Unknown,
}

/// What a name that was written stands for.
pub(super) fn read_name(name: String) -> Name {
    match name.strip_prefix('$') {
        None => Name::Plain(name),
        Some(rest) if rest.starts_with('$') => Name::Plain(rest.to_owned()),
        Some(_) if name == SEALED => Name::Sealed,
        Some(_) if name == FLOAT => Name::Float,
        Some(_) => Name::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::{Tree, Value};

    struct Backwards;

    impl Seal for Backwards {
        fn seal(&self, secret: &Secret) -> Result<String, String> {
            Ok(format!("{}:{}", secret.name(), secret.reveal()).chars().rev().collect())
        }

        fn open(&self, sealed: &str) -> Result<Secret, String> {
            let text: String = sealed.chars().rev().collect();
            let (name, value) = text.split_once(':').ok_or("it was sealed with another key")?;
            Ok(Secret::given(name, value))
        }
    }

    fn written(value: &Value) -> String {
        let seal: Arc<dyn Seal> = Arc::new(Backwards);
        exactly(&seal, || json::text(value)).expect("it can be written")
    }

    fn read(text: &str) -> Result<Value, serde_json::Error> {
        let seal: Arc<dyn Seal> = Arc::new(Backwards);
        exactly(&seal, || serde_json::from_str(text))
    }

    #[test]
    fn a_secret_comes_back_and_is_a_word_everywhere_else() {
        let value = Value::from(Tree::List(vec![Tree::Secret(Secret::given("password", "hunter2")), Tree::Int(1)]));
        let text = written(&value);
        assert_eq!(text, r#"[{"$sealed":"2retnuh:drowssap"},1]"#);
        assert_eq!(read(&text).expect("it was written so"), value);
        assert_eq!(serde_json::to_string(&value).expect("it is JSON"), r#"["«secret password»",1]"#);
    }

    #[test]
    fn every_fraction_comes_back_to_the_last_bit() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for number in [0.1, -0.0, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, 5e-324].into_iter().chain(
            std::iter::repeat_with(|| {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                f64::from_bits(bits)
            })
            .take(20_000)
            .filter(|number| !number.is_nan()),
        ) {
            let text = written(&Value::from(Tree::Float(number)));
            match read(&text).expect("it was written so").tree() {
                Tree::Float(back) => assert_eq!(back.to_bits(), number.to_bits(), "{text}"),
                other => panic!("{other:?} was {number}"),
            }
        }
        // Short ones, which are not read back to be sure.
        for (number, places) in (0..40_000).map(|number: u32| (number, number % 20)) {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let digits = 10_u64.pow(number / 20 % 16 + 1);
            let decimal: f64 = format!("{}e-{places}", bits % digits).parse().expect("it is a number");
            for number in [decimal, -decimal] {
                let text = written(&Value::from(Tree::Float(number)));
                let read = serde_json::from_str::<f64>(&text).map(f64::to_bits);
                assert!(text.contains(FLOAT) || read.is_ok_and(|read| read == number.to_bits()), "{text}");
            }
        }
        assert!(
            matches!(read(&written(&Value::from(Tree::Float(f64::NAN)))).expect("it was written so").tree(), Tree::Float(back) if back.is_nan())
        );
        assert_eq!(written(&Value::from(Tree::Float(0.5))), "0.5");
    }

    #[test]
    fn what_only_looks_like_a_mark_stays_what_it_is() {
        for text in [r#"{"$sealed":"2retnuh:drowssap"}"#, r#"{"$float":"1"}"#, r#"{"$":1,"$$sealed":{"$x":2}}"#] {
            let value: Value = serde_json::from_str(text).expect("it is JSON");
            let back = read(&written(&value)).expect("it was written so");
            assert_eq!(back, value);
            assert!(!back.holds_secret());
        }
    }

    #[test]
    fn what_cannot_be_opened_is_an_error_and_no_data() {
        for text in
            [r#"{"$sealed":"forged"}"#, r#"{"$sealed":1}"#, r#"{"$other":"x"}"#, r#"{"$float":"x"}"#, r#"{"$sealed":"2:d","more":1}"#]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_holds_only_within() {
        let seal: Arc<dyn Seal> = Arc::new(Backwards);
        exactly(&seal, || exactly(&seal, || assert!(is_exact())));
        assert!(!is_exact());
    }
}
