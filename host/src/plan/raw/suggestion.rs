//! "Did you mean": the nearest of the words that may stand in a place.

/// The word that was most likely meant; `None` if nothing is near.
pub fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase().replace(['-', ' '], "_");
    let known: Vec<(String, &str)> = known.into_iter().map(|word| (word.to_lowercase(), word)).collect();
    let near = known
        .iter()
        .map(|(known, word)| (strsim::damerau_levenshtein(&lower, known), *word))
        .filter(|(distance, word)| *distance <= (word.chars().count().max(3) / 3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word);
    near.or_else(|| spelt_out(&lower, &known))
}

/// The word that is short for what is written, as `env` for `enviroment`.
fn spelt_out<'a>(written: &str, known: &[(String, &'a str)]) -> Option<&'a str> {
    let is_meant = |known: &str| known.len() >= SHORTEST && written.starts_with(known);
    known.iter().filter(|(known, _)| is_meant(known)).max_by_key(|(known, _)| known.len()).map(|(_, word)| *word)
}

/// Words of fewer letters than this are short for anything.
const SHORTEST: usize = 3;

/// Words for a message: `a`, `b` and `c`.
pub(in crate::plan) fn list<Word: AsRef<str>>(words: &[Word]) -> String {
    let shown: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match shown.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["max_retries", "base_delay", "steps"];
        assert_eq!(closest("max_retrys", known), Some("max_retries"));
        assert_eq!(closest("step", known), Some("steps"));
        assert_eq!(closest("maxRetries", known), Some("max_retries"));
        assert_eq!(closest("colour", known), None);
    }

    #[test]
    fn a_word_that_is_spelt_out_is_recognised_by_its_beginning() {
        let known = ["en", "env", "events", "emit"];
        assert_eq!(closest("enviroment", known), Some("env"));
        assert_eq!(closest("environment", ["event", "env", "environ"]), Some("environ"));
        assert_eq!(closest("ending", known), None);
    }
}
