//! Vectors as they are stored and compared: of length 1, four bytes a number. Pure.

use crate::model::failure::{Failure, FailureKind};

/// The most numbers that a vector has.
pub const MAX_DIMENSIONS: usize = 8_192;

/// A direction: numbers whose squares sum up to 1, so that the product of two is the cosine of the angle between them.
#[derive(Clone, PartialEq, Debug)]
pub struct Vector(Vec<f32>);

impl Vector {
    /// Takes numbers of any length but 0.
    ///
    /// # Errors
    /// `invalid` for no numbers, too many, ones that are not finite, or only zeros.
    pub fn new(numbers: &[f64]) -> Result<Self, Failure> {
        let invalid = |message: String| Err(Failure::new(FailureKind::Invalid, message).with_code("vector"));
        if numbers.is_empty() || numbers.len() > MAX_DIMENSIONS {
            return invalid(format!("a vector has {} numbers, and between 1 and {MAX_DIMENSIONS} are wanted", numbers.len()));
        }
        // Divided by the largest first, so that no square is too large or too small to be one.
        let largest = numbers.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
        if numbers.iter().any(|number| !number.is_finite()) || largest <= 0.0 {
            return invalid("a vector has a number that is not finite, or zeros only, and so points nowhere".to_owned());
        }
        let length = numbers.iter().map(|number| (number / largest).powi(2)).sum::<f64>().sqrt();
        Ok(Self(numbers.iter().map(|number| (number / largest / length) as f32).collect()))
    }

    /// How many numbers it has.
    pub(super) fn dimensions(&self) -> usize {
        self.0.len()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// The cosine of the angle to a stored vector; `None` if that has another number of dimensions.
    pub(super) fn cosine(&self, stored: &[u8]) -> Option<f64> {
        let (numbers, rest) = stored.as_chunks::<4>();
        if numbers.len() != self.0.len() || !rest.is_empty() {
            return None;
        }
        let products = self.0.iter().zip(numbers).map(|(own, other)| f64::from(*own) * f64::from(f32::from_le_bytes(*other)));
        Some(products.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direction_counts_and_not_the_length() {
        let cosine = |one: &[f64], other: &[f64]| Vector::new(one).expect("one").cosine(&Vector::new(other).expect("one").to_bytes());
        let is = |found: Option<f64>, wanted: f64| found.is_some_and(|found| (found - wanted).abs() < 1e-6);
        assert!(is(cosine(&[1.0, 0.0], &[1e300, 0.0]), 1.0));
        assert!(is(cosine(&[1.0, 1.0], &[1e-300, 0.0]), 0.5_f64.sqrt()));
        assert!(is(cosine(&[1.0, 0.0], &[-2.0, 0.0]), -1.0));
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), None);
    }

    #[test]
    fn what_points_nowhere_is_refused() {
        for numbers in [&[][..], &[0.0, 0.0], &[f64::NAN], &[f64::INFINITY, 1.0], &vec![1.0; MAX_DIMENSIONS + 1]] {
            assert!(Vector::new(numbers).is_err());
        }
    }
}
