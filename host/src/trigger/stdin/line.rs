//! Reads lines on a thread of its own: reading the standard input cannot be waited for without one.

use std::io::{self, BufRead, BufReader, Read};
use std::thread;

use tokio::sync::mpsc;

use super::message::Refusal;

/// The longest line that is taken, in bytes without its end: 1 MiB.
pub const LONGEST_LINE: usize = 1 << 20;

/// So many lines are read ahead. More wait where they come from.
const READ_AHEAD: usize = 16;

/// One line, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Its text without its end, or why it is not taken.
    pub text: Result<String, Refusal>,
}

/// Lines as they come.
pub struct Lines(mpsc::Receiver<Line>);

impl Lines {
    /// Reads lines on a thread of its own until the input ends or the lines are dropped.
    ///
    /// The thread is not waited for: nothing but input ends a read of a terminal, so it ends with the process at the latest.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(input: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, lines) = mpsc::channel(READ_AHEAD);
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let mut input = BufReader::with_capacity(64 << 10, input);
            let mut number = 0;
            while let Some(text) = read_line(&mut input).transpose() {
                number += 1;
                let broken = text.is_err();
                let text = text.unwrap_or_else(|error| Err(Refusal::Unreadable(error.to_string())));
                if sender.blocking_send(Line { number, text }).is_err() || broken {
                    return;
                }
            }
        })?;
        Ok(Self(lines))
    }

    /// Waits for the next line; `None` at the end of the input. Dropping the wait loses nothing.
    pub async fn next(&mut self) -> Option<Line> {
        self.0.recv().await
    }
}

/// The next line without its end, `None` at the end of the input. Never holds more than [`LONGEST_LINE`] bytes of it.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Result<String, Refusal>>> {
    let mut line = Vec::new();
    let mut length = 0_usize;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok((length > 0).then(|| finish(line, length)));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        length = length.saturating_add(part.len());
        // One more than is taken, so that the carriage return of a longest line still fits.
        line.extend_from_slice(&part[..part.len().min(LONGEST_LINE + 1 - line.len())]);
        let taken = part.len() + usize::from(end.is_some());
        input.consume(taken);
        if end.is_some() {
            return Ok(Some(finish(line, length)));
        }
    }
}

fn finish(mut line: Vec<u8>, length: usize) -> Result<String, Refusal> {
    let mut length = length;
    if line.len() == length && line.last() == Some(&b'\r') {
        line.pop();
        length -= 1;
    }
    if length > LONGEST_LINE {
        return Err(Refusal::TooLong { bytes: length });
    }
    String::from_utf8(line).map_err(|error| Refusal::NotUtf8 { offset: error.utf8_error().valid_up_to() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Result<String, Refusal>> {
        let mut input = BufReader::with_capacity(7, input);
        std::iter::from_fn(|| read_line(&mut input).expect("memory can be read")).collect()
    }

    fn text(text: &str) -> Result<String, Refusal> {
        Ok(text.to_owned())
    }

    #[test]
    fn a_line_ends_with_its_end_or_with_the_input() {
        assert_eq!(lines(b"a longer one\r\n\nlast"), [text("a longer one"), text(""), text("last")]);
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused_and_the_next_is_read() {
        let mut input = vec![b'x'; 10 << 20];
        input.extend_from_slice(b"\nnext\n");
        assert_eq!(lines(&input), [Err(Refusal::TooLong { bytes: 10 << 20 }), text("next")]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_taken_with_either_end() {
        for (extra, end) in [(0, "\n"), (0, "\r\n"), (1, "\n")] {
            let mut input = vec![b'x'; LONGEST_LINE + extra];
            input.extend_from_slice(end.as_bytes());
            let read = lines(&input);
            assert_eq!(read.len(), 1);
            assert_eq!(read[0].is_ok(), extra == 0, "{extra} too many, ended by {end:?}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused_and_the_next_is_read() {
        assert_eq!(lines(b"ab\xff\nnext\n"), [Err(Refusal::NotUtf8 { offset: 2 }), text("next")]);
    }

    #[tokio::test]
    async fn lines_come_numbered_and_then_the_end() {
        let mut read = Lines::start(&b"one\ntwo\n"[..]).expect("there are threads");
        assert_eq!(read.next().await, Some(Line { number: 1, text: text("one") }));
        assert_eq!(read.next().await, Some(Line { number: 2, text: text("two") }));
        assert_eq!(read.next().await, None);
    }
}
