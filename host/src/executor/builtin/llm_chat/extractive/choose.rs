//! Chooses what to quote. Pure arithmetic over the words that question and passages share.

use std::collections::HashSet;

use super::super::passage::Passage;
use super::sentences::{Sentence, sentences};
use crate::executor::words::{content_words, stem, words};

/// How many passages are quoted at most.
const MAX_QUOTES: usize = 3;
/// How many sentences of one passage are quoted at most, and how many bytes.
const MAX_SENTENCES: usize = 3;
const MAX_QUOTE: usize = 480;
/// How much of a question's meaning a passage must share: more than half, or a good third if its own heading is about it.
const ENOUGH: f64 = 0.5;
const ENOUGH_UNDER_HEADING: f64 = 0.45;
/// How good a further passage must be beside the best one.
const NEAR_THE_BEST: f64 = 0.8;
/// How much more a word counts that few passages have: a question is about what is rare in it.
const RARE: f64 = 0.7;

/// Words that questions are made with, in stems: they say little of what a question is about.
const WEAK_STEMS: [&str; 32] = [
    "all",
    "allow",
    "between",
    "cause",
    "chang",
    "defin",
    "describ",
    "differ",
    "differenc",
    "exist",
    "find",
    "first",
    "go",
    "happen",
    "hello",
    "kind",
    "know",
    "long",
    "many",
    "me",
    "mean",
    "much",
    "need",
    "possibl",
    "see",
    "show",
    "thing",
    "us",
    "use",
    "want",
    "way",
    "work",
];
const WEAK: f64 = 0.25;

/// How questions begin that ask for a definition, and what definitions are written with.
const WHAT_IS: [&str; 5] = ["what is ", "what's ", "what are ", "what does ", "what do "];
const DEFINES: [&str; 5] = [" is a ", " is an ", " is the ", " is one ", " are "];

/// Sentences of one passage.
#[derive(Debug)]
pub(super) struct Quote<'a> {
    pub(super) passage: &'a Passage,
    pub(super) text: String,
}

/// A word of the question: its stem, and how much it counts.
struct Term {
    stem: String,
    weight: f64,
}

struct Candidate<'a> {
    passage: &'a Passage,
    sentences: Vec<Sentence>,
    /// The score of each sentence.
    scores: Vec<f64>,
    score: f64,
}

/// What to quote, best first; nothing if no passage answers.
pub(super) fn quotes<'a>(question: &str, passages: &'a [Passage]) -> Vec<Quote<'a>> {
    let terms = terms(question, passages);
    if terms.is_empty() {
        return Vec::new();
    }
    let count = passages.len().max(1) as f64;
    let mut candidates: Vec<Candidate<'a>> = passages
        .iter()
        .enumerate()
        // The order in which passages came is the search's own judgement: a slight preference.
        .filter_map(|(index, passage)| candidate(question, &terms, passage, 0.3 * (1.0 - index as f64 / count)))
        .collect();
    candidates.sort_by(|one, other| other.score.total_cmp(&one.score));
    let best = candidates.first().map_or(0.0, |candidate| candidate.score);
    let mut quotes: Vec<Quote<'a>> = Vec::new();
    for candidate in candidates.iter().filter(|candidate| candidate.score >= best * NEAR_THE_BEST) {
        let text = quote(candidate);
        if quotes.len() < MAX_QUOTES && !text.is_empty() && quotes.iter().all(|quote| quote.text != text) {
            quotes.push(Quote { passage: candidate.passage, text });
        }
    }
    quotes
}

fn terms(question: &str, passages: &[Passage]) -> Vec<Term> {
    let passages: Vec<HashSet<String>> = passages.iter().map(|passage| stems(&format!("{}\n{}", passage.heading, passage.text))).collect();
    let mut terms: Vec<Term> = Vec::new();
    for word in content_words(question) {
        let stem = stem(&word);
        if terms.iter().all(|term| term.stem != stem) {
            // A bare number stands everywhere and is about nothing.
            let is_weak = WEAK_STEMS.contains(&stem.as_str()) || stem.bytes().all(|byte| byte.is_ascii_digit());
            let having = passages.iter().filter(|stems| stems.contains(&stem)).count();
            let rarity = 1.0 + RARE * ((passages.len() + 1) as f64 / (having + 1) as f64).ln();
            terms.push(Term { weight: if is_weak { WEAK } else { rarity }, stem });
        }
    }
    // A question of weak words only is about nothing that could be found.
    if terms.iter().any(|term| term.weight >= 1.0) { terms } else { Vec::new() }
}

fn stems(text: &str) -> HashSet<String> {
    words(text).map(|word| stem(&word)).collect()
}

/// The share of the terms' weight that is among these stems.
fn share(terms: &[Term], stems: &HashSet<String>) -> f64 {
    let sum = |terms: &mut dyn Iterator<Item = &Term>| terms.map(|term| term.weight).sum::<f64>();
    sum(&mut terms.iter().filter(|term| stems.contains(&term.stem))) / sum(&mut terms.iter())
}

fn candidate<'a>(question: &str, terms: &[Term], passage: &'a Passage, preference: f64) -> Option<Candidate<'a>> {
    let own_heading = stems(passage.heading.rsplit('›').next().unwrap_or_default());
    let all_headings = stems(&passage.heading);
    let mut everything = stems(&passage.text);
    everything.extend(all_headings.iter().cloned());
    let coverage = share(terms, &everything);
    let strong: Vec<&Term> = terms.iter().filter(|term| term.weight >= 1.0).collect();
    let is_definition = WHAT_IS.iter().any(|start| question.trim_start().to_lowercase().starts_with(start));
    let heading_is_about_it = strong.iter().any(|term| own_heading.contains(&term.stem));
    if coverage <= ENOUGH && !(heading_is_about_it && coverage >= ENOUGH_UNDER_HEADING) {
        return None;
    }
    let total_weight: f64 = terms.iter().map(|term| term.weight).sum();
    let sentences = sentences(&passage.text);
    let total = sentences.len().max(1) as f64;
    let scores: Vec<f64> = sentences
        .iter()
        .enumerate()
        .map(|(index, sentence)| {
            let of_sentence = stems(&sentence.text);
            // What the heading says already need not be said again by the sentence that explains it.
            let of_its_own = terms.iter().filter(|term| of_sentence.contains(&term.stem) && !own_heading.contains(&term.stem));
            let shared = of_its_own.map(|term| term.weight).sum::<f64>() / total_weight;
            // What begins with the thing that was asked for tends to say what it is.
            let begins = words(&sentence.text).take(3).any(|word| strong.iter().any(|term| term.stem == stem(&word)));
            let defines = is_definition && begins && DEFINES.iter().any(|verb| sentence.text.contains(verb));
            let length = words(&sentence.text).count();
            let odd_length = if (4..=60).contains(&length) { 0.0 } else { 0.3 };
            let is_question = if sentence.text.ends_with('?') { 0.5 } else { 0.0 };
            let is_code = if sentence.is_code { 0.6 } else { 0.0 };
            // Under a heading that is about it, the first sentences are the ones that explain it.
            let position = (1.0 - index as f64 / total) * if heading_is_about_it { 0.9 } else { 0.2 };
            2.0 * shared + position + if begins { 0.4 } else { 0.0 } + if defines { 0.5 } else { 0.0 } - odd_length - is_question - is_code
        })
        .collect();
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // A heading of no other words is about nothing else.
    let heading_words = content_words(passage.heading.rsplit('›').next().unwrap_or_default());
    let asked = heading_words.iter().filter(|word| terms.iter().any(|term| term.stem == stem(word))).count();
    let precision = asked as f64 / heading_words.len().max(1) as f64;
    let score = 2.0 * coverage + 1.5 * share(terms, &own_heading) + 0.6 * precision + 0.3 * share(terms, &all_headings) + best + preference;
    best.is_finite().then_some(Candidate { passage, sentences, scores, score })
}

/// The best sentence with those that follow it in its paragraph.
fn quote(candidate: &Candidate<'_>) -> String {
    // Of equal ones the first.
    let best = (0..candidate.scores.len()).reduce(|best, next| if candidate.scores[next] > candidate.scores[best] { next } else { best });
    let Some(best) = best else { return String::new() };
    let Some(first) = candidate.sentences.get(best) else { return String::new() };
    let mut text = first.text.clone();
    for sentence in candidate.sentences.iter().skip(best + 1).take(MAX_SENTENCES - 1) {
        if sentence.paragraph != first.paragraph || sentence.is_code || text.len() + sentence.text.len() > MAX_QUOTE {
            break;
        }
        text.push(' ');
        text.push_str(&sentence.text);
    }
    text
}
