//! What of a text has to be escaped in JSON: quotation marks, backslashes, and control characters.

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte of a word.
const TOPS: u64 = ONES << 7;

/// Where the first byte stands that has to be escaped.
#[inline]
pub(super) fn first(text: &[u8]) -> Option<usize> {
    let Some(tail) = text.last_chunk::<8>() else { return in_few(text) };
    let (words, _) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        if let Some(place) = in_word(u64::from_le_bytes(*word)) {
            return Some(number * 8 + place);
        }
    }
    // The last word overlaps the one before it, where nothing was found.
    in_word(u64::from_le_bytes(*tail)).map(|place| text.len() - 8 + place)
}

/// The same, of less than eight bytes.
fn in_few(text: &[u8]) -> Option<usize> {
    match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        // Two halves that may overlap are a word of the whole.
        (Some(head), Some(tail)) => {
            let place = in_word(u64::from(u32::from_le_bytes(*tail)) << 32 | u64::from(u32::from_le_bytes(*head)))?;
            Some(if place < 4 { place } else { text.len() + place - 8 })
        }
        _ => text.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')),
    }
}

/// Where the first of eight bytes stands that has to be escaped; the first is the lowest.
#[inline]
const fn in_word(word: u64) -> Option<usize> {
    // A subtraction borrows only from bytes behind one that was found, so that the first that is found is right.
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let (quotes, strokes) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
    let quote = quotes.wrapping_sub(ONES) & !quotes;
    let stroke = strokes.wrapping_sub(ONES) & !strokes;
    match (control | quote | stroke) & TOPS {
        0 => None,
        found => Some(found.trailing_zeros() as usize / 8),
    }
}

/// Adds a text, without its quotation marks, in which a byte has to be escaped at this place, and perhaps others behind it.
pub(super) fn escaped(text: &str, mut place: usize, to: &mut String) {
    let mut rest = text;
    // What is escaped is ASCII, so that nothing is cut within a character.
    while let (Some((plain, _)), Some(byte), Some(behind)) =
        (rest.split_at_checked(place), rest.as_bytes().get(place), rest.get(place + 1..))
    {
        to.push_str(plain);
        escape(*byte, to);
        rest = behind;
        place = first(rest.as_bytes()).unwrap_or(rest.len());
    }
    to.push_str(rest);
}

fn escape(byte: u8, to: &mut String) {
    let short = match byte {
        0x08 => 'b',
        0x0c => 'f',
        b'\n' => 'n',
        b'\r' => 'r',
        b'\t' => 't',
        b'"' | b'\\' => char::from(byte),
        _ => {
            to.push_str("\\u00");
            return to.extend([byte >> 4, byte & 15].map(|half| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 })));
        }
    };
    to.push('\\');
    to.push(short);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_at_every_place_of_a_text_of_any_length() {
        for filler in [b'x', b'!', b'#', b' ', b'[', b']', 0x7f, 0x80, 0xc3, 0xff] {
            for length in 0..40 {
                let plain = vec![filler; length];
                assert_eq!(first(&plain), None, "{filler} {length}");
                for place in 0..length {
                    for byte in (0..0x20).chain([b'"', b'\\']) {
                        let mut text = plain.clone();
                        text[place] = byte;
                        // Whatever follows it does not hide it.
                        for behind in [filler, b'"', 0x1f, 0x21, 0x23, 0x5d] {
                            if let Some(next) = text.get_mut(place + 1) {
                                *next = behind;
                            }
                            assert_eq!(first(&text), Some(place), "{filler} {length} {byte} {behind}");
                        }
                    }
                }
            }
        }
    }
}
