//! Vectors from words alone: each word, its stem and its pieces of three letters are hashed to a place of the vector. Pure.
//!
//! Texts with the same or similarly spelt words have near vectors. It knows no meaning: `car` and `automobile` are far from each other.

use crate::executor::words::{content_words, stem};

/// What a word counts, its stem, and each of its pieces.
const WEIGHTS: [f64; 3] = [1.0, 1.0, 0.4];

/// The vector of a text: always the same, of length 1.
pub(super) fn vector(text: &str, dimensions: usize) -> Vec<f64> {
    let mut vector = vec![0.0; dimensions];
    let [word_weight, stem_weight, piece_weight] = WEIGHTS;
    let words = content_words(text);
    for word in &words {
        add(&mut vector, 'w', word, word_weight);
        add(&mut vector, 's', &stem(word), stem_weight);
        let marked: Vec<char> = std::iter::once('^').chain(word.chars()).chain(['$']).collect();
        for piece in marked.windows(3) {
            add(&mut vector, 'p', &piece.iter().collect::<String>(), piece_weight);
        }
    }
    if words.is_empty() {
        add(&mut vector, 't', text.trim(), 1.0);
    }
    let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
    match vector.first_mut() {
        // Everything cancelled out, which a short vector makes possible: it still has to point somewhere.
        Some(first) if length <= 0.0 => *first = 1.0,
        _ => vector.iter_mut().for_each(|number| *number /= length),
    }
    vector
}

/// Adds a feature at the place that its hash says, up or down as another bit of it says: what meets by chance then cancels out as often as
/// it adds up.
fn add(vector: &mut [f64], kind: char, feature: &str, weight: f64) {
    let hash = blake3::hash(format!("{kind}{feature}").as_bytes());
    let [a, b, c, d, sign, ..] = *hash.as_bytes();
    let place = u32::from_le_bytes([a, b, c, d]) as usize % vector.len().max(1);
    if let Some(number) = vector.get_mut(place) {
        *number += if sign & 1 == 0 { weight } else { -weight };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearness(one: &str, other: &str) -> f64 {
        vector(one, 256).iter().zip(vector(other, 256)).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn texts_with_like_words_are_near() {
        let question = "how do retries work";
        assert!(
            nearness(question, "A retry waits and tries again; retries stop at the deadline.") > nearness(question, "Buses carry events.")
        );
        assert!(nearness("colour", "colours") > 0.4, "spelt nearly alike");
        assert!((nearness("same words", "same words") - 1.0).abs() < 1e-9);
    }

    #[test]
    fn every_text_has_one_vector_of_length_one() {
        for text in ["", " ", "!!!", "the", "a b", "日本語のテキスト", "x"] {
            for dimensions in [1, 2, 256] {
                let numbers = vector(text, dimensions);
                assert_eq!((numbers.len(), &numbers), (dimensions, &vector(text, dimensions)));
                assert!((numbers.iter().map(|number| number * number).sum::<f64>() - 1.0).abs() < 1e-9, "{text:?} in {dimensions}");
            }
        }
    }
}
