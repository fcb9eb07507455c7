//! Reads server-sent events out of bytes, however they were cut. Pure.

/// What has come and is not yet a whole event.
#[derive(Default)]
pub(super) struct Parser {
    /// A line that has not ended yet. Bytes, because a character may be cut in two.
    line: Vec<u8>,
    /// Whether the last byte ended a line as CR, so that an LF behind it belongs to it.
    after_return: bool,
    /// The `data` of the event under way, one line each.
    data: Option<String>,
    /// Whether the first line is past: a byte order mark may stand before it.
    begun: bool,
}

impl Parser {
    /// Takes more bytes: the `data` of each event that ended with them. Events without data are none.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for byte in bytes {
            let was_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if was_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                other => self.line.push(*other),
            }
        }
        events
    }

    /// The stream has ended: the event that lacks its empty line, if there is one.
    pub(super) fn end(&mut self) -> Option<String> {
        let ended = if self.line.is_empty() { None } else { self.end_line() };
        ended.or_else(|| self.data.take())
    }

    fn end_line(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = &*String::from_utf8_lossy(&bytes);
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.data.take();
        }
        // A comment has an empty name; names other than `data` say nothing that is needed here.
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        let mut start = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        for cut in cuts.into_iter().chain([bytes.len()]) {
            events.extend(parser.feed(&bytes[start..cut]));
            start = cut;
        }
        events.extend(parser.end());
        events
    }

    #[test]
    fn spaces_line_ends_comments_and_other_fields_do_not_matter() {
        let stream = "\u{feff}data: a\n\n: comment\ndata:b\r\n\r\nevent: x\rdata:  c\rdata\r\rid: 7\n\ndata: d";
        assert_eq!(all(stream.as_bytes(), &[]), ["a", "b", " c\n", "d"]);
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_events_are_the_same(
            parts in prop::collection::vec("(data|data:|data: |:|event: |é|x|\\{\"a\":1\\}|\r\n|\n|\r|\n\n|\r\n\r\n)", 0..40),
            cuts in prop::collection::vec(0_usize..10_000, 0..20),
        ) {
            let stream = parts.concat();
            let every_byte: Vec<usize> = (0..stream.len()).collect();
            let whole = all(stream.as_bytes(), &[]);
            prop_assert_eq!(&all(stream.as_bytes(), &cuts), &whole);
            prop_assert_eq!(&all(stream.as_bytes(), &every_byte), &whole);
        }

        #[test]
        fn no_bytes_are_too_much_for_it(bytes in prop::collection::vec(any::<u8>(), 0..500), cuts in prop::collection::vec(0_usize..500, 0..9)) {
            prop_assert_eq!(all(&bytes, &cuts), all(&bytes, &[]));
        }
    }
}
