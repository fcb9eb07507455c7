//! The layers of a policy as they are written: numbers read, expressions still nodes, because they belong to the step that uses them.

use std::time::Duration;

use super::{Findings, Table, keys};
use crate::model::policy::{
    BreakerSettings, BulkheadSettings, CacheSettings, DedupSettings, DedupWindow, OnDuplicate, RateLimitSettings, RetrySettings,
};
use crate::model::value::Tree;
use crate::plan::codes;
use crate::plan::source::{Content, Node, Span};

/// What stands at a layer, and where it was written.
#[derive(Clone, Copy)]
pub(in crate::plan) struct At<T> {
    /// What it is.
    pub(in crate::plan) value: T,
    /// Where its value stands.
    pub(in crate::plan) span: Span,
    /// Whether it is a named policy's; else it stands beside the step.
    pub(in crate::plan) named: bool,
    /// Which file it stands in: 0 is the pipeline's own, 1 its first library.
    pub(in crate::plan) file: usize,
}

/// The layers of one policy. A layer that was written wrongly is absent, and said to be wrong already.
#[derive(Clone, Copy, Default)]
pub(in crate::plan) struct Layers<'n> {
    pub(in crate::plan) fallback: Option<At<Fallback<'n>>>,
    pub(in crate::plan) dedup: Option<At<(&'n Node, DedupSettings)>>,
    pub(in crate::plan) cache: Option<At<(&'n Node, Option<&'n Node>, CacheSettings)>>,
    pub(in crate::plan) deadline: Option<At<Duration>>,
    pub(in crate::plan) retry: Option<At<(Option<&'n Node>, RetrySettings)>>,
    pub(in crate::plan) breaker: Option<At<(BreakerSettings, Option<Probe<'n>>)>>,
    pub(in crate::plan) rate_limit: Option<At<RateLimitSettings>>,
    pub(in crate::plan) bulkhead: Option<At<BulkheadSettings>>,
    pub(in crate::plan) timeout: Option<At<Duration>>,
    /// What stands at each layer, in the order of the stack.
    pub(in crate::plan) nodes: [Option<At<&'n Node>>; keys::LAYERS.len()],
}

/// What stands in, as written.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Fallback<'n> {
    pub(in crate::plan) when: Option<&'n Node>,
    pub(in crate::plan) value: Option<&'n Node>,
    pub(in crate::plan) steps: Option<&'n Node>,
}

/// What is asked while a breaker is open, as written.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Probe<'n> {
    pub(in crate::plan) run: &'n Node,
    pub(in crate::plan) with: Option<&'n Node>,
    pub(in crate::plan) every: Duration,
}

impl<'n> Layers<'n> {
    /// The same with what stands beside a step in the place of its named policy's layers.
    pub(in crate::plan) fn replaced_by(self, beside: Self) -> Self {
        Self {
            fallback: beside.fallback.or(self.fallback),
            dedup: beside.dedup.or(self.dedup),
            cache: beside.cache.or(self.cache),
            deadline: beside.deadline.or(self.deadline),
            retry: beside.retry.or(self.retry),
            breaker: beside.breaker.or(self.breaker),
            rate_limit: beside.rate_limit.or(self.rate_limit),
            bulkhead: beside.bulkhead.or(self.bulkhead),
            timeout: beside.timeout.or(self.timeout),
            nodes: std::array::from_fn(|layer| beside.nodes.get(layer).copied().flatten().or(self.nodes.get(layer).copied().flatten())),
        }
    }
}

impl Findings<'_> {
    /// Reads the layers among a map's keys.
    pub(in crate::plan) fn layers<'n>(&self, table: &Table<'n>, named: bool, file: usize) -> Layers<'n> {
        fn at<'n, T>(node: Option<&'n Node>, (named, file): (bool, usize), read: impl FnOnce(&'n Node) -> Option<T>) -> Option<At<T>> {
            node.and_then(|node| Some(At { value: read(node)?, span: node.span, named, file }))
        }
        let home = (named, file);
        Layers {
            fallback: at(table.get("fallback"), home, |node| self.fallback(node)),
            dedup: at(table.get("dedup"), home, |node| self.dedup(node)),
            cache: at(table.get("cache"), home, |node| self.cache(node)),
            deadline: at(table.get("deadline"), home, |node| self.duration(node, "`deadline`")),
            retry: at(table.get("retry"), home, |node| self.retry(node)),
            breaker: at(table.get("breaker"), home, |node| self.breaker(node)),
            rate_limit: at(table.get("rate_limit"), home, |node| self.rate_limit(node)),
            bulkhead: at(table.get("bulkhead"), home, |node| self.bulkhead(node)),
            timeout: at(table.get("timeout"), home, |node| self.duration(node, "`timeout`")),
            nodes: std::array::from_fn(|layer| at(table.get(keys::LAYERS.get(layer)?), home, Some)),
        }
    }

    fn fallback<'n>(&self, node: &'n Node) -> Option<Fallback<'n>> {
        let example = "{ value: … } or { steps: […] }";
        let table = self.table(node, "`fallback`", keys::FALLBACK, example)?;
        let found = Fallback { when: table.get("when"), value: table.get("value"), steps: table.get("steps") };
        match (found.value, found.steps) {
            (Some(_), Some(_)) => {
                self.error(codes::EXCLUSIVE_KEYS, node.span, "`fallback` has both `value` and `steps`", "keep the one that stands in");
                None
            }
            (None, None) => {
                self.error(codes::MISSING_KEY, node.span, "`fallback` says not what stands in", format!("write {example}"));
                None
            }
            _ => Some(found),
        }
    }

    fn dedup<'n>(&self, node: &'n Node) -> Option<(&'n Node, DedupSettings)> {
        let table = self.table(node, "`dedup`", keys::DEDUP, "{ key: '${…}' }")?;
        let key = self.required(&table, "key", "`dedup`", "write key: '${…}', what tells one job from another");
        let window = match table.get("while") {
            Some(window) if window.text() == Some("running") => Some(DedupWindow::Running),
            Some(window) => self.duration(window, "`while` (or `running`)").map(DedupWindow::Keep),
            None => Some(DedupWindow::default()),
        };
        let on_duplicate =
            table.get("on_duplicate").map_or(Some(OnDuplicate::default()), |word| self.word(word, "`on_duplicate`", &keys::ON_DUPLICATE));
        Some((key?, DedupSettings { window: window?, on_duplicate: on_duplicate? }))
    }

    fn cache<'n>(&self, node: &'n Node) -> Option<(&'n Node, Option<&'n Node>, CacheSettings)> {
        let table = self.table(node, "`cache`", keys::CACHE, "{ key: '${…}', ttl: 10m }")?;
        let key = self.required(&table, "key", "`cache`", "write key: '${…}', what tells one entry from another");
        let ttl = self
            .required(&table, "ttl", "`cache`", "write ttl: 10m, how long an entry is fresh")
            .and_then(|node| self.duration(node, "`ttl`"));
        let stale = table.get("stale").map_or(Some(Duration::ZERO), |node| self.duration_or_nothing(node, "`stale`"));
        let max_entries = table.get("max_entries").map_or(Some(1000), |node| self.whole(node, "`max_entries`", 1));
        let settings = CacheSettings { ttl: ttl?, stale: stale?, max_entries: u64::from(max_entries?) };
        Some((key?, table.get("tags"), settings))
    }

    fn retry<'n>(&self, node: &'n Node) -> Option<(Option<&'n Node>, RetrySettings)> {
        let mut settings = RetrySettings::default();
        if matches!(&node.content, Content::Scalar(scalar) if matches!(scalar.value, Tree::Int(_))) {
            settings.max_retries = self.whole(node, "`retry`", 0)?;
            return Some((None, settings));
        }
        let table = self.table(node, "`retry`", keys::RETRY, "retry: 5 or retry: { max_retries: 3, base_delay: 1s }")?;
        if let Some(node) = table.get("max_retries") {
            settings.max_retries = self.whole(node, "`max_retries`", 0)?;
        }
        if let Some(node) = table.get("base_delay") {
            settings.base_delay = self.duration_or_nothing(node, "`base_delay`")?;
        }
        if let Some(node) = table.get("max_delay") {
            settings.max_delay = self.duration_or_nothing(node, "`max_delay`")?;
        }
        if let Some(node) = table.get("multiplier") {
            let number = node.scalar().and_then(|scalar| scalar.value.as_float());
            match number {
                Some(number) if number.is_finite() && number >= 1.0 => settings.multiplier = number,
                Some(number) => {
                    self.error(
                        codes::NUMBER,
                        node.span,
                        format!("`multiplier` is {number}; it is at least 1"),
                        "1 keeps all waits alike, 2 doubles each",
                    );
                    return None;
                }
                None => {
                    self.wrong_kind(node, "`multiplier`", "a number", "");
                    return None;
                }
            }
        }
        if let Some(node) = table.get("jitter") {
            settings.jitter = self.truth(node, "`jitter`")?;
        }
        if let Some(node) = table.get("stop_after") {
            settings.stop_after_first_progress = self.word(node, "`stop_after`", &keys::STOP_AFTER)?;
        }
        Some((table.get("should_retry"), settings))
    }

    fn breaker<'n>(&self, node: &'n Node) -> Option<(BreakerSettings, Option<Probe<'n>>)> {
        let table = self.table(node, "`breaker`", keys::BREAKER, "{ failures: 5, window: 60s, cooldown: 30s }")?;
        let probe = match table.get("probe") {
            Some(node) => Some(self.probe(node)?),
            None => None,
        };
        let defaults = BreakerSettings::default();
        let settings = BreakerSettings {
            failures: table.get("failures").map_or(Some(defaults.failures), |node| self.whole(node, "`failures`", 1))?,
            window: table.get("window").map_or(Some(defaults.window), |node| self.duration(node, "`window`"))?,
            cooldown: table.get("cooldown").map_or(Some(defaults.cooldown), |node| self.duration(node, "`cooldown`"))?,
            half_open: table.get("half_open").map_or(Some(defaults.half_open), |node| self.whole(node, "`half_open`", 1))?,
            probe_every: probe.map(|probe| probe.every),
        };
        Some((settings, probe))
    }

    fn probe<'n>(&self, node: &'n Node) -> Option<Probe<'n>> {
        let example = "{ run: ping, every: 30s }";
        let table = self.table(node, "`probe`", keys::PROBE, example)?;
        let help = format!("write {example}: which executor is asked while the breaker is open, and how often");
        let run = self.required(&table, "run", "`probe`", &help);
        let every = self.required(&table, "every", "`probe`", &help).and_then(|node| self.duration(node, "`every`"));
        Some(Probe { run: run?, with: table.get("with"), every: every? })
    }

    fn rate_limit(&self, node: &Node) -> Option<RateLimitSettings> {
        let example = "{ limit: 10, per: 1s }";
        let table = self.table(node, "`rate_limit`", keys::RATE_LIMIT, example)?;
        let help = format!("write {example}: so many calls in so much time");
        let limit = self.required(&table, "limit", "`rate_limit`", &help).and_then(|node| self.whole(node, "`limit`", 1));
        let per = self.required(&table, "per", "`rate_limit`", &help).and_then(|node| self.duration(node, "`per`"));
        let burst = table.get("burst").map_or(limit, |node| self.whole(node, "`burst`", 1));
        let max_wait = table.get("max_wait").map_or(Some(Duration::ZERO), |node| self.duration_or_nothing(node, "`max_wait`"));
        Some(RateLimitSettings { limit: limit?, per: per?, burst: burst?, max_wait: max_wait? })
    }

    fn bulkhead(&self, node: &Node) -> Option<BulkheadSettings> {
        let table = self.table(node, "`bulkhead`", keys::BULKHEAD, "{ max_concurrent: 4 }")?;
        let max_concurrent = self
            .required(&table, "max_concurrent", "`bulkhead`", "write { max_concurrent: 4 }: so many calls at once")
            .and_then(|node| self.whole(node, "`max_concurrent`", 1));
        let max_queue = table.get("max_queue").map_or(Some(0), |node| self.whole(node, "`max_queue`", 0));
        let max_wait = table.get("max_wait").map_or(Some(Duration::ZERO), |node| self.duration_or_nothing(node, "`max_wait`"));
        Some(BulkheadSettings { max_concurrent: max_concurrent?, max_queue: max_queue?, max_wait: max_wait? })
    }
}
