//! Puts ranked lists together: by rank and not by score, since scores of different searches cannot be compared. Pure.

use std::collections::HashMap;
use std::hash::Hash;

/// How much the first places count before the others: what reciprocal-rank fusion is usually run with.
pub const K: f64 = 60.0;

/// Each id once, with the sum of `1 / (k + rank)` over the lists that have it, best first. Equal sums are in the order of the best rank,
/// then of the list that had it first, then of the ids, so that there is one order. An id that a list has twice counts there once.
pub fn merge<T: Ord + Hash + Clone>(lists: &[Vec<T>], k: f64) -> Vec<(T, f64)> {
    struct Entry {
        score: f64,
        best: usize,
        list: usize,
        last: usize,
    }
    let mut entries: HashMap<T, Entry> = HashMap::new();
    for (number, list) in lists.iter().enumerate() {
        for (rank, id) in list.iter().enumerate() {
            let entry = entries.entry(id.clone()).or_insert(Entry { score: 0.0, best: rank, list: number, last: usize::MAX });
            if entry.last == number {
                continue;
            }
            entry.last = number;
            entry.score += 1.0 / (k + rank as f64 + 1.0);
            if rank < entry.best {
                (entry.best, entry.list) = (rank, number);
            }
        }
    }
    let mut merged: Vec<(T, Entry)> = entries.into_iter().collect();
    merged.sort_by(|(one_id, one), (other_id, other)| {
        let by_score = other.score.total_cmp(&one.score);
        by_score.then(one.best.cmp(&other.best)).then(one.list.cmp(&other.list)).then_with(|| one_id.cmp(other_id))
    });
    merged.into_iter().map(|(id, entry)| (id, entry.score)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(lists: &[Vec<&'static str>]) -> Vec<&'static str> {
        merge(lists, K).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn what_several_lists_have_comes_first_and_once() {
        assert_eq!(ids(&[vec!["a", "b", "c"], vec!["c", "d"]]), ["c", "a", "b", "d"]);
        assert_eq!(merge(&[vec!["a"], vec!["a"]], K), [("a", 2.0 / 61.0)]);
        assert_eq!(ids(&[]), Vec::<&str>::new());
    }

    #[test]
    fn equal_scores_have_one_order() {
        assert_eq!(ids(&[vec!["z", "y"], vec!["a", "b"]]), ["z", "a", "y", "b"], "the first list goes first");
        for _ in 0..20 {
            assert_eq!(ids(&[vec!["b", "a"], vec!["a", "b"]]), ["b", "a"]);
        }
    }

    #[test]
    fn a_list_that_repeats_itself_gains_nothing() {
        assert_eq!(merge(&[vec!["a", "a", "a"]], K), [("a", 1.0 / 61.0)]);
    }
}
