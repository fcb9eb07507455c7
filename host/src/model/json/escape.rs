//! What of a text has to be escaped in JSON: quotation marks, backslashes, and control characters.

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte of a word.
const TOPS: u64 = ONES << 7;

/// Where the first byte stands that has to be escaped.
pub(super) fn first(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        if let Some(place) = in_word(u64::from_le_bytes(*word)) {
            return Some(number * 8 + place);
        }
    }
    match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        // Two halves that may overlap are a word of the whole rest.
        (Some(head), Some(tail)) => {
            let halves = u64::from(u32::from_le_bytes(*tail)) << 32 | u64::from(u32::from_le_bytes(*head));
            let place = in_word(halves)?;
            Some(words.len() * 8 + if place < 4 { place } else { rest.len() + place - 8 })
        }
        _ => rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')).map(|place| words.len() * 8 + place),
    }
}

/// Where the first of eight bytes stands that has to be escaped; the first is the lowest.
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

/// Adds a text, without its quotation marks.
pub(super) fn escaped(text: &[u8], to: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((plain, [byte, behind @ ..])) = first(rest).and_then(|place| rest.split_at_checked(place)) {
        to.extend_from_slice(plain);
        escape(*byte, to);
        rest = behind;
    }
    to.extend_from_slice(rest);
}

fn escape(byte: u8, to: &mut Vec<u8>) {
    let short = match byte {
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        b'"' | b'\\' => byte,
        _ => {
            let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
            return to.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    };
    to.extend_from_slice(&[b'\\', short]);
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
