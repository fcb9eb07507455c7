//! Measures two things in turn in one run, so that a noisy machine is noisy for both, and prints what they took.

use std::time::Instant;

use hdrhistogram::Histogram;

/// How many rounds, one of each kind in turn, and how many events a round.
const ROUNDS: usize = 40;
const EVENTS: usize = 500;

/// A JSON event of 256 bytes.
pub fn event() -> String {
    let start = r#"{"id":"order-000042","price":19.5,"count":7,"country":"DE","note":""#;
    let filler = "x".repeat(256 - start.len() - 2);
    format!("{start}{filler}\"}}")
}

/// What is measured, and how many times the raw twin's time it may take.
pub struct Pair {
    /// What it is.
    pub name: &'static str,
    /// The aim.
    pub aim: f64,
}

impl Pair {
    /// Measures both and prints the figures.
    #[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub fn measure(&self, mut raw: impl FnMut(), mut host: impl FnMut()) {
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
        round(&mut raw);
        round(&mut host);
        let (mut raws, mut hosts, mut ratios) = (histogram(), histogram(), Vec::new());
        for _ in 0..ROUNDS {
            let (of_raw, of_host) = (round(&mut raw), round(&mut host));
            ratios.push(of_host.mean() / of_raw.mean());
            raws.add(of_raw).expect("they are alike");
            hosts.add(of_host).expect("they are alike");
        }
        ratios.sort_by(f64::total_cmp);
        println!("\n{} on a 256-byte event, {} events each, in turn", self.name, ROUNDS * EVENTS);
        for (name, histogram) in [("raw parts", &raws), ("pipehost", &hosts)] {
            let micros = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
            println!("  {name:<10} {:>9.0} events/s   p50 {:>7.2} µs   p99 {:>7.2} µs", 1e9 / histogram.mean(), micros(0.5), micros(0.99));
        }
        println!("  ratio of the means, median of {ROUNDS} rounds: {:.2} (aim: at most {})", ratios[ROUNDS / 2], self.aim);
    }
}

/// Up to a minute, in nanoseconds, with three digits. Bounds are given because a histogram without them clamps what it is told.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are good")
}
