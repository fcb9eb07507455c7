//! Measures things in turn in one run, so that a noisy machine is noisy for all of them, and prints what they took.

use std::time::Instant;

use hdrhistogram::Histogram;

/// How many rounds, one of each subject in turn, and how many events a round.
const ROUNDS: usize = 40;
const EVENTS: usize = 500;

/// A JSON event of 256 bytes.
pub fn event() -> String {
    let start = r#"{"id":"order-000042","price":19.5,"count":7,"country":"DE","note":""#;
    let filler = "x".repeat(256 - start.len() - 2);
    format!("{start}{filler}\"}}")
}

/// One of the things that are measured: its name, and what it does with one event.
pub type Subject<'a> = (&'a str, &'a mut (dyn FnMut() + 'a));

/// What is measured, and how many times the twin's time the host may take.
pub struct Comparison {
    /// What it is.
    pub name: &'static str,
    /// The aim.
    pub aim: f64,
}

impl Comparison {
    /// Measures the twin, the host, and whatever else is worth knowing, and prints the figures.
    #[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub fn measure<'a, const MORE: usize>(&self, twin: Subject<'a>, host: Subject<'a>, beside: [Subject<'a>; MORE]) {
        let round = |call: &mut dyn FnMut()| {
            let mut histogram = histogram();
            for _ in 0..EVENTS {
                let start = Instant::now();
                call();
                let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                histogram.saturating_record(nanos.max(1));
            }
            histogram
        };
        let mut subjects: Vec<Subject<'a>> = [twin, host].into_iter().chain(beside).collect();
        let mut sums: Vec<_> = subjects.iter().map(|_| histogram()).collect();
        let mut ratios = Vec::new();
        subjects.iter_mut().for_each(|(_, call)| drop(round(call)));
        for _ in 0..ROUNDS {
            let rounds: Vec<_> = subjects.iter_mut().map(|(_, call)| round(call)).collect();
            ratios.push(median(&rounds[1]) / median(&rounds[0]));
            for (sum, round) in sums.iter_mut().zip(rounds) {
                sum.add(round).expect("they are alike");
            }
        }
        ratios.sort_by(f64::total_cmp);
        println!("\n{} on a 256-byte event, {} events each, in turn", self.name, ROUNDS * EVENTS);
        for ((name, _), histogram) in subjects.iter().zip(&sums) {
            let micros = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
            println!("  {name:<18} {:>9.0} events/s   p50 {:>7.2} µs   p99 {:>7.2} µs", 1e9 / histogram.mean(), micros(0.5), micros(0.99));
        }
        let all = median(&sums[1]) / median(&sums[0]);
        println!(
            "  {} to {}: ratio of the p50s {all:.2}, median of {ROUNDS} rounds {:.2} (aim: at most {})",
            subjects[1].0,
            subjects[0].0,
            ratios[ROUNDS / 2],
            self.aim
        );
    }
}

fn median(histogram: &Histogram<u64>) -> f64 {
    histogram.value_at_quantile(0.5) as f64
}

/// Up to a minute, in nanoseconds, with three digits. Bounds are given because a histogram without them clamps what it is told.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are good")
}
