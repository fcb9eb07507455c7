//! The verb `parallel`: branches at the same time, and how many of them have to succeed.

use super::flow::Lowering;
use crate::model::types::Type;
use crate::plan::check::fit::{nullable, record};
use crate::plan::check::names::Seen;
use crate::plan::codes;
use crate::plan::pipeline::{Join, Parallel, Verb};
use crate::plan::raw::{Table, keys};
use crate::plan::source::Node;

impl<'n> Lowering<'_, 'n> {
    pub(super) fn parallel(&mut self, node: &'n Node, table: &Table<'n>, seen: &Seen) -> Option<(Verb, Type)> {
        let findings = self.ground.compiler.findings;
        let branches = findings.map(node, "`parallel`", "{ left: [{ run: … }], right: [{ run: … }] }")?;
        if branches.entries.is_empty() {
            findings.error(codes::MISSING_KEY, node.span, "`parallel` has no branch", "write { left: [{ run: … }], right: [{ run: … }] }");
        }
        let join = table.get("join").map_or(Some(Join::All), |node| self.join(node, branches.entries.len()));
        // Steps are numbered by the names of their branches: the order of a map says nothing.
        let mut entries: Vec<_> = branches.entries.iter().collect();
        entries.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        let lowered: Vec<Option<(String, _, Type)>> = entries
            .into_iter()
            .map(|(key, node)| {
                let good = findings.name(&key.name, key.span, "the name of a branch", false);
                let (block, output) = self.block(node, &mut seen.clone(), "a branch")?;
                good.then(|| (key.name.clone(), block, output))
            })
            .collect();
        let lowered = lowered.into_iter().collect::<Option<Vec<_>>>()?;
        let join = join?;
        let output = record(lowered.iter().map(|(name, _, output)| {
            let output = output.clone();
            // A branch that lost has no output.
            (name.as_str(), if join == Join::All { output } else { nullable(output) })
        }));
        let branches = lowered.into_iter().map(|(name, block, _)| (name, block)).collect();
        Some((Verb::Parallel(Parallel { branches, join }), output))
    }

    fn join(&self, node: &Node, branches: usize) -> Option<Join> {
        let findings = self.ground.compiler.findings;
        match node.text() {
            Some("all") => return Some(Join::All),
            Some("first") => return Some(Join::Quorum(1)),
            Some(word) => {
                findings.unknown_word(node.span, word, "`join`", &["all", "first", "{ quorum: 2 }"]);
                return None;
            }
            None => {}
        }
        let table = findings.table(node, "`join`", keys::JOIN, "all, first or { quorum: 2 }")?;
        let node = findings.required(&table, "quorum", "`join`", "write { quorum: 2 }: so many branches have to succeed")?;
        let quorum = findings.whole(node, "`quorum`", 1)?;
        if quorum as usize > branches {
            let message = format!("`quorum` is {quorum}, and there are {branches} branches");
            findings.error(codes::NUMBER, node.span, message, "it is at most the number of branches; for all of them write join: all");
            return None;
        }
        Some(Join::Quorum(quorum))
    }
}
