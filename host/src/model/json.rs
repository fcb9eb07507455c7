//! JSON text, written quickly: the very bytes that `serde_json` writes, for a fraction of its work.
//!
//! What is written most is short: names that stand in the program, ids, times, small numbers. `serde_json` looks at every byte of all of them, those of
//! the program's own names too, and hands them on in pieces of a byte or two. Here names, ids and times are copied, and other texts are looked at eight
//! bytes at a time.
//! Refused: a crate that writes JSON with vector instructions, which gains nothing on texts as short as these and is unsafe code; and writing each
//! kind of fact by hand, which would be a second home of its form.

mod escape;

use serde::ser::{self, Error as _, Serialize, Serializer};
use serde_json::Error;

/// Room for a small text, in bytes.
const SMALL: usize = 128;
/// Room for a number: the longest, whole or not, has 40 bytes.
const LONGEST: usize = 40;

/// By which [`written`] tells the writer that a text is JSON already.
const WRITTEN: &str = "$json";
/// By which [`plain`] tells the writer that nothing in a text has to be escaped.
const PLAIN: &str = "$plain";

/// Compact JSON of something.
///
/// # Errors
/// It cannot be written: it says so itself, or the key of a map is neither text nor a number.
pub fn text<T: Serialize + ?Sized>(what: &T) -> Result<String, Error> {
    let mut writer = Writer::with_room_for(SMALL);
    what.serialize(&mut writer)?;
    Ok(writer.text)
}

/// A list, written item by item.
pub struct List(Writer);

impl List {
    /// An empty list, with room for so many bytes before it has to grow.
    pub fn with_room_for(bytes: usize) -> Self {
        let mut writer = Writer::with_room_for(bytes);
        writer.text.push('[');
        Self(writer)
    }

    /// Writes the next item; says how many bytes it takes.
    ///
    /// # Errors
    /// As [`text`].
    pub fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<usize, Error> {
        self.0.comma_behind(b'[');
        let before = self.0.text.len();
        item.serialize(&mut self.0)?;
        Ok(self.0.text.len() - before)
    }

    /// How many bytes there are so far.
    pub const fn bytes(&self) -> usize {
        self.0.text.len()
    }

    /// The list.
    pub fn end(mut self) -> String {
        self.0.text.push(']');
        self.0.text
    }
}

/// Has a text stand as it is in what is written: it is JSON already. Only the writers of this room know of it; others would write a text.
///
/// # Errors
/// Those of the serialiser.
pub(in crate::model) fn written<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(WRITTEN, json)
}

/// Writes a text in which nothing has to be escaped, as the digits of an id: this room's writer need not look at it. To others it is a text like
/// any other.
///
/// # Errors
/// Those of the serialiser.
pub(in crate::model) fn plain<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(PLAIN, text)
}

/// Writes JSON at the end of a text.
struct Writer {
    text: String,
    next: Next,
}

/// What the next text is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    /// Anything.
    #[default]
    Text,
    /// Nothing in it has to be escaped.
    Plain,
    /// JSON already.
    Json,
}

/// The inside of a list or map, and what ends it.
struct Inside<'w>(&'w mut Writer, &'static str);

impl Writer {
    fn with_room_for(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), next: Next::Text }
    }

    /// A comma before everything but the first of a list or map, which stands behind its bracket.
    #[inline]
    fn comma_behind(&mut self, bracket: u8) {
        if self.text.as_bytes().last() != Some(&bracket) {
            self.text.push(',');
        }
    }

    /// A name that stands in the program: Rust's own names and those that replace them have nothing to escape. Always inlined: so the name is known
    /// where it is copied, which is then two or three moves.
    #[inline(always)]
    fn name(&mut self, name: &'static str) {
        debug_assert_eq!(escape::first(name.as_bytes()), None, "{name} is no name");
        self.text.push('"');
        self.text.push_str(name);
        self.text.push('"');
    }

    fn number(&mut self, number: impl Serialize) -> Result<(), Error> {
        let mut digits = [0; LONGEST];
        let mut rest = &mut digits[..];
        number.serialize(&mut serde_json::Serializer::new(&mut rest))?;
        let length = LONGEST - rest.len();
        self.text.push_str(std::str::from_utf8(&digits[..length]).map_err(Error::custom)?);
        Ok(())
    }

    #[inline]
    fn natural(&mut self, number: u64) -> Result<(), Error> {
        match u8::try_from(number) {
            Ok(digit) if digit < 10 => {
                self.text.push(char::from(b'0' + digit));
                Ok(())
            }
            _ => self.number(number),
        }
    }

    /// A map with a variant's name as its one field, of which `open` begins the value.
    fn variant(&mut self, variant: &'static str, open: &str) {
        self.text.push('{');
        self.name(variant);
        self.text.push(':');
        self.text.push_str(open);
    }
}

/// Numbers that `serde_json` writes.
macro_rules! numbers {
    ($($method:ident: $number:ty),*) => {
        $(fn $method(self, number: $number) -> Result<(), Error> {
            self.number(number)
        })*
    };
}

/// Whole numbers that are not negative.
macro_rules! naturals {
    ($($method:ident: $number:ty),*) => {
        $(#[inline]
        fn $method(self, number: $number) -> Result<(), Error> {
            self.natural(u64::from(number))
        })*
    };
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Inside<'w>;
    type SerializeTuple = Inside<'w>;
    type SerializeTupleStruct = Inside<'w>;
    type SerializeTupleVariant = Inside<'w>;
    type SerializeMap = Inside<'w>;
    type SerializeStruct = Inside<'w>;
    type SerializeStructVariant = Inside<'w>;

    numbers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128);
    numbers!(serialize_u128: u128, serialize_f32: f32, serialize_f64: f64);
    naturals!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_bool(self, truth: bool) -> Result<(), Error> {
        self.text.push_str(if truth { "true" } else { "false" });
        Ok(())
    }

    fn serialize_char(self, character: char) -> Result<(), Error> {
        self.serialize_str(character.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        let next = std::mem::take(&mut self.next);
        if next == Next::Json {
            self.text.push_str(text);
            return Ok(());
        }
        self.text.push('"');
        debug_assert!(next == Next::Text || escape::first(text.as_bytes()).is_none(), "{text} has to be escaped");
        match if next == Next::Text { escape::first(text.as_bytes()) } else { None } {
            None => self.text.push_str(text),
            Some(place) => escape::escaped(text, place, &mut self.text),
        }
        self.text.push('"');
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.text.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.name(variant);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Error> {
        self.next = match name {
            PLAIN => Next::Plain,
            WRITTEN => Next::Json,
            _ => Next::Text,
        };
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant, "");
        value.serialize(&mut *self)?;
        self.text.push('}');
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, _: Option<usize>) -> Result<Inside<'w>, Error> {
        self.text.push('[');
        Ok(Inside(self, "]"))
    }

    fn serialize_tuple(self, length: usize) -> Result<Inside<'w>, Error> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Inside<'w>, Error> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Inside<'w>, Error> {
        self.variant(variant, "[");
        Ok(Inside(self, "]}"))
    }

    #[inline]
    fn serialize_map(self, _: Option<usize>) -> Result<Inside<'w>, Error> {
        self.text.push('{');
        Ok(Inside(self, "}"))
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Inside<'w>, Error> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Inside<'w>, Error> {
        self.variant(variant, "{");
        Ok(Inside(self, "}}"))
    }
}

impl Inside<'_> {
    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
        self.0.comma_behind(b'[');
        item.serialize(&mut *self.0)
    }

    #[inline(always)]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, field: &T) -> Result<(), Error> {
        self.0.comma_behind(b'{');
        self.0.name(name);
        self.0.text.push(':');
        field.serialize(&mut *self.0)
    }

    #[inline]
    fn close(self) -> Result<(), Error> {
        self.0.text.push_str(self.1);
        Ok(())
    }
}

/// What serde has several traits for, which differ in a name: lists and tuples of all kinds.
macro_rules! of_items {
    ($($kind:ident: $item:ident),*) => {
        $(impl ser::$kind for Inside<'_> {
            type Ok = ();
            type Error = Error;

            fn $item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
                self.item(item)
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        })*
    };
}

of_items!(SerializeSeq: serialize_element, SerializeTuple: serialize_element);
of_items!(SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);

/// The same of what has names that stand in the program.
macro_rules! of_fields {
    ($($kind:ident),*) => {
        $(impl ser::$kind for Inside<'_> {
            type Ok = ();
            type Error = Error;

            #[inline(always)]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, field: &T) -> Result<(), Error> {
                self.field(name, field)
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        })*
    };
}

of_fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = Error;

    /// The key of a map is text in JSON: a number or truth value gets the marks of one.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.0.comma_behind(b'{');
        let place = self.0.text.len();
        key.serialize(&mut *self.0)?;
        match self.0.text.as_bytes().get(place) {
            Some(b'"') => {}
            Some(b'0'..=b'9' | b'-' | b't' | b'f') => {
                self.0.text.insert(place, '"');
                self.0.text.push('"');
            }
            _ => return Err(Error::custom("key must be a string")),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.0.text.push(':');
        value.serialize(&mut *self.0)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

#[cfg(test)]
mod tests;
