//! From finds to passages: weak ones go, neighbours of one file become one, the order is always the same.

use std::cmp::Ordering;

use crate::find::{Find, Lines};

/// A find this much weaker than the best one, or more, is about something else.
const WEAK: f64 = 0.25;

/// Neighbours are not merged into passages of more bytes than this: a quotation is no chapter.
const LONGEST: usize = 4_096;

/// At most `most` passages, the best first.
pub(crate) fn tidy(mut finds: Vec<Find>, most: usize) -> Vec<Find> {
    let best = finds.iter().map(|find| find.score).fold(f64::NEG_INFINITY, f64::max);
    // Scores that are not positive are no measure of strength, only of order.
    if best > 0.0 {
        finds.retain(|find| find.score >= best * WEAK);
    }
    finds.sort_by(in_reading_order);
    finds.dedup_by(|later, earlier| later.id == earlier.id);
    let mut passages: Vec<Find> = Vec::with_capacity(finds.len());
    for find in finds {
        let merged = passages.last().and_then(|last| merge(last, &find));
        match (merged, passages.last_mut()) {
            (Some(merged), Some(last)) => *last = merged,
            _ => passages.push(find),
        }
    }
    passages.sort_by(|left, right| right.score.total_cmp(&left.score).then_with(|| in_reading_order(left, right)));
    passages.truncate(most);
    passages
}

fn in_reading_order(left: &Find, right: &Find) -> Ordering {
    (&left.file, left.lines, &left.id).cmp(&(&right.file, right.lines, &right.id))
}

/// The two as one passage if they are neighbours. The id and the heading are those of the stronger.
fn merge(earlier: &Find, later: &Find) -> Option<Find> {
    let (Some(above), Some(below)) = (earlier.lines, later.lines) else { return None };
    // One line may lie between: a blank one.
    if earlier.file.is_none() || earlier.file != later.file || below.first > above.last + 2 {
        return None;
    }
    let rest = without_overlap(&later.text, above, below)?;
    let gap = if below.first > above.last + 1 { "\n\n" } else { "\n" };
    let text = if rest.is_empty() { earlier.text.clone() } else { format!("{}{gap}{rest}", earlier.text.trim_end()) };
    if text.len() > LONGEST {
        return None;
    }
    let stronger = if later.score > earlier.score { later } else { earlier };
    let lines = Some(Lines { first: above.first, last: above.last.max(below.last) });
    Some(Find { text, lines, ..stronger.clone() })
}

/// The lines of `text` that are not in `above` already; `None` if its lines cannot be told apart.
fn without_overlap(text: &str, above: Lines, below: Lines) -> Option<String> {
    if below.first > above.last {
        return Some(text.to_owned());
    }
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() != below.last - below.first + 1 {
        return None;
    }
    let known = above.last + 1 - below.first;
    Some(lines.get(known..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(id: &str, file: &str, lines: (usize, usize), score: f64) -> Find {
        let text = (lines.0..=lines.1).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let lines = Some(Lines { first: lines.0, last: lines.1 });
        Find { id: id.into(), text, file: Some(file.into()), lines, heading: Some(id.to_uppercase()), score }
    }

    fn shown(passages: &[Find]) -> Vec<(&str, usize, usize)> {
        passages
            .iter()
            .map(|find| (find.id.as_str(), find.lines.map_or(0, |lines| lines.first), find.lines.map_or(0, |lines| lines.last)))
            .collect()
    }

    #[test]
    fn neighbours_of_one_file_become_one_passage() {
        let passages = tidy(vec![find("b", "x.md", (4, 6), 2.0), find("a", "x.md", (1, 3), 1.0), find("c", "y.md", (7, 8), 1.5)], 6);
        assert_eq!(shown(&passages), [("b", 1, 6), ("c", 7, 8)]);
        assert_eq!(passages[0].text, "line 1\nline 2\nline 3\nline 4\nline 5\nline 6");
        assert_eq!((passages[0].score, passages[0].heading.as_deref()), (2.0, Some("B")));
    }

    #[test]
    fn what_overlaps_is_not_said_twice() {
        let passages = tidy(vec![find("a", "x.md", (1, 4), 2.0), find("b", "x.md", (3, 5), 1.0), find("c", "x.md", (2, 3), 1.0)], 6);
        assert_eq!(shown(&passages), [("a", 1, 5)]);
        assert_eq!(passages[0].text, "line 1\nline 2\nline 3\nline 4\nline 5");
    }

    #[test]
    fn distant_parts_of_a_file_stay_apart() {
        let passages = tidy(vec![find("a", "x.md", (1, 3), 1.0), find("b", "x.md", (6, 9), 1.0)], 6);
        assert_eq!(shown(&passages), [("a", 1, 3), ("b", 6, 9)]);
    }

    #[test]
    fn long_neighbours_stay_apart() {
        let passages = tidy(vec![find("a", "x.md", (1, 400), 1.0), find("b", "x.md", (401, 500), 1.0)], 6);
        assert_eq!(passages.len(), 2);
    }

    #[test]
    fn finds_much_weaker_than_the_best_go() {
        let passages = tidy(vec![find("a", "x.md", (1, 1), 8.0), find("b", "y.md", (1, 1), 2.0), find("c", "z.md", (1, 1), 1.9)], 6);
        assert_eq!(shown(&passages), [("a", 1, 1), ("b", 1, 1)]);
    }

    #[test]
    fn the_order_does_not_depend_on_the_order_of_the_finds() {
        let finds = vec![
            find("a", "x.md", (1, 1), 1.0),
            find("b", "w.md", (9, 9), 1.0),
            find("c", "x.md", (5, 5), 3.0),
            find("d", "w.md", (2, 2), 1.0),
        ];
        let expected = tidy(finds.clone(), 3);
        assert_eq!(shown(&expected), [("c", 5, 5), ("d", 2, 2), ("b", 9, 9)]);
        for turn in 0..finds.len() {
            let mut turned = finds.clone();
            turned.rotate_left(turn);
            assert_eq!(tidy(turned, 3), expected);
        }
    }

    #[test]
    fn one_find_comes_once() {
        assert_eq!(tidy(vec![find("a", "x.md", (1, 1), 1.0), find("a", "x.md", (1, 1), 1.0)], 6).len(), 1);
        assert!(tidy(Vec::new(), 6).is_empty());
    }
}
