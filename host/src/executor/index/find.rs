//! Searches by words, by a vector, or by both; the rank of a hit is the same on whichever page it stands.

use super::merge::{K, merge};
use super::vector::Vector;
use super::{query, table};
use crate::executor::database::{Cell, Session};
use crate::model::failure::{Failure, FailureKind};
use crate::model::value::{Map, Tree, Value};

/// How deep a search looks: the last rank that can be asked for, and how many hits of each kind are merged.
pub const DEEPEST: u32 = 1_000;

/// What is searched for. With neither text nor vector nothing is found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Search {
    /// Words.
    pub text: Option<String>,
    /// What the vectors of the finds are near to.
    pub vector: Option<Vector>,
    /// What a vector finds has at least this cosine; `None`: everything is near enough.
    pub min_nearness: Option<f64>,
    /// How many hits at most.
    pub top_k: u32,
    /// How many hits are passed over. With `top_k` at most [`DEEPEST`].
    pub offset: u32,
}

/// Row of a passage and its id. Rows come first, so that equal scores are in the order in which passages were put in.
type Place = (i64, f64);

/// Each hit has `rank`, from 1, and `data` beside what a plain search gives.
pub(super) fn find(session: &Session<'_>, search: &Search) -> Result<Value, Failure> {
    let words = search.text.as_deref().map(query::matching);
    let by_text = match &words {
        Some(Some(matching)) => Some(table::ranked(session, matching, DEEPEST)?),
        Some(None) => Some(Vec::new()),
        None => None,
    };
    let by_vector = search.vector.as_ref().map(|vector| nearest(session, vector, search.min_nearness)).transpose()?;
    let hits = match (by_text, by_vector) {
        (Some(by_text), Some(by_vector)) => {
            let rows = |hits: Vec<Place>| hits.into_iter().map(|(row, _)| row).collect::<Vec<_>>();
            merge(&[rows(by_text), rows(by_vector)], K)
        }
        (Some(hits), None) | (None, Some(hits)) => hits,
        (None, None) => Vec::new(),
    };
    let page = hits.into_iter().zip(1_i64..).skip(search.offset as usize).take(search.top_k as usize);
    let mut found = Vec::new();
    for ((row, score), rank) in page {
        let Some(Tree::Map(mut hit)) = table::passage(session, row, score)? else { continue };
        hit.insert("rank".to_owned(), Tree::Int(rank));
        hit.insert("data".to_owned(), table::data(session, &hit)?);
        found.push(Tree::Map(hit));
    }
    Ok(Value::from(Tree::List(found)))
}

/// All vectors are looked at, the nearest kept if they are near enough: an exact answer, in a time that grows with their number.
fn nearest(session: &Session<'_>, vector: &Vector, least: Option<f64>) -> Result<Vec<Place>, Failure> {
    // Cut when there are four times as many as are wanted: sorted seldom, and bounded.
    let mut hits: Vec<Place> = Vec::new();
    let mut stored = None;
    let most = DEEPEST as usize;
    let cut = |hits: &mut Vec<Place>| {
        hits.sort_by(|(one_row, one), (other_row, other)| other.total_cmp(one).then(one_row.cmp(other_row)));
        hits.truncate(most);
    };
    let all = "SELECT documents.first_row, vectors.vector FROM vectors JOIN documents ON documents.id = vectors.document";
    session.each(all, &[], |row| {
        let [Cell::Int(row), Cell::Bytes(bytes)] = row else { return };
        match vector.cosine(bytes) {
            Some(cosine) => {
                // As many places as a stored number is good for: the last bits of a sum are nobody's business.
                let cosine = (cosine * 1e6).round() / 1e6;
                if least.is_none_or(|least| cosine >= least) {
                    hits.push((*row, cosine));
                }
            }
            None => stored = Some(bytes.len() / 4),
        }
        if hits.len() >= 4 * most {
            cut(&mut hits);
        }
    })?;
    if let Some(stored) = stored {
        return Err(dimensions(vector, stored));
    }
    cut(&mut hits);
    Ok(hits)
}

/// The refusal of a vector that cannot be compared with those of an index.
pub(super) fn dimensions(vector: &Vector, stored: usize) -> Failure {
    let message = format!(
        "a vector has {} numbers, and those of the index have {stored}; embed all of them with one model, or put the texts in anew",
        vector.dimensions()
    );
    Failure::new(FailureKind::Invalid, message).with_code("vector")
}

/// A field of text of a hit.
pub(super) fn text_of(hit: &Map, name: &str) -> String {
    hit.get(name).and_then(Tree::as_text).unwrap_or_default().to_owned()
}
