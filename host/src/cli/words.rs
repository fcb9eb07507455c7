//! Durations, values and tables as people read them.

use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use super::style::{Style, harmless};
use crate::model::value::Value;

/// So many characters of a value are shown; `--json` has all of it.
const MOST_SHOWN: usize = 240;

/// `4h`, `1m 30s`, `250ms`, `0s`.
pub(super) fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = milliseconds;
    let mut parts = Vec::new();
    for (unit, length) in units {
        if rest >= length {
            parts.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// A value as one line of JSON, cut where it is long.
pub(super) fn shown(value: &Value) -> String {
    cut(value.text())
}

/// A text on one line, cut where it is long.
pub(super) fn cut(text: &str) -> String {
    let text = harmless(text).replace('\n', " ");
    match text.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{}… ({} bytes; --json has all)", text.get(..at).unwrap_or_default(), text.len()),
        None => text,
    }
}

/// Rows under their headings, each column as wide as its widest cell; the last one is not filled up.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]], style: Style) -> String {
    let mut widths = headings.map(UnicodeWidthStr::width);
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.width()));
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width()))));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = format!("{}\n", style.bold(&line(headings)));
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_the_units_that_they_have() {
        let told = |milliseconds: u64| duration(Duration::from_millis(milliseconds));
        assert_eq!([told(0), told(250), told(90_000), told(14_400_000), told(86_401_001)], ["0s", "250ms", "1m 30s", "4h", "1d 1s 1ms"]);
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        assert_eq!(cut("a\nb\u{1b}"), "a b");
        assert_eq!(cut(&"é".repeat(500)), format!("{}… (1000 bytes; --json has all)", "é".repeat(240)));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "long cell".to_owned()], ["日本".to_owned(), "b".to_owned()]];
        assert_eq!(table(["x", "y"], &rows, Style::PLAIN), "x     y\na     long cell\n日本  b\n");
    }
}
