//! The verb `each`: the same steps for each item of a list, or so many times.

use super::flow::Lowering;
use crate::model::port::Root;
use crate::model::types::Type;
use crate::plan::check::names::Seen;
use crate::plan::codes;
use crate::plan::expr::{self, Names, Wanted};
use crate::plan::pipeline::{Each, Verb};
use crate::plan::raw::keys;
use crate::plan::source::Node;

const EXAMPLE: &str = "{ in: input.items, as: item, steps: [{ run: … }] }";

/// So many items at a time where `max_concurrent` is not written: what is done for one may count on the one before.
const AT_A_TIME: u32 = 1;

impl<'n> Lowering<'_, 'n> {
    pub(super) fn each(&mut self, node: &'n Node, seen: &Seen) -> Option<(Verb, Type)> {
        let compiler = self.ground.compiler;
        let findings = compiler.findings;
        let table = findings.table(node, "`each`", keys::EACH, EXAMPLE)?;
        let over = findings.required(&table, "in", "`each`", "write in: input.items, a list or how often");
        let help = "write a list or a number, as input.items";
        let over = over.map(|node| (node, compiler.bare(node, &seen.names(), "in", (Wanted::Value, help, "input.items"))));
        let item = match &over {
            Some((node, Some((_, found)))) => self.item(node, found),
            _ => None,
        };
        let name = match table.get("as") {
            None => self.local("item", over.as_ref().map_or(node, |(node, _)| node), seen),
            Some(node) => findings.literal_text(node, "`as`", "the name of the item").and_then(|name| self.local(name, node, seen)),
        };
        let max_concurrent = table.get("max_concurrent").map_or(Some(AT_A_TIME), |node| findings.whole(node, "`max_concurrent`", 1));
        let steps = findings.required(&table, "steps", "`each`", "write steps: and what is done for each, below")?;
        let mut inside = seen.item(name.as_deref().unwrap_or("item"), item.clone().unwrap_or_default());
        let (block, output) = self.block(steps, &mut inside, "`steps`")?;
        item?;
        let (expression, _) = over?.1?;
        let each = Each { over: expression, name: name?, max_concurrent: max_concurrent?, block };
        Some((Verb::Each(Box::new(each)), Type::List(Box::new(output))))
    }

    /// What an item is.
    fn item(&self, node: &Node, over: &Type) -> Option<Type> {
        let help = match over {
            Type::Any => return Some(Type::Any),
            Type::Int => return Some(Type::Int),
            Type::List(item) => return Some((**item).clone()),
            Type::Nullable(_) => "give what stands in for null, as input.items ?? []",
            _ => "take a list of it, or a number of rounds",
        };
        self.ground.compiler.findings.error(codes::WRONG_KIND, node.span, format!("`in` is {over}, not a list or a whole number"), help);
        None
    }

    /// The name of the item, if expressions can have it.
    fn local(&self, name: &str, node: &Node, seen: &Seen) -> Option<String> {
        let findings = self.ground.compiler.findings;
        if !findings.name(name, node.span, "the name of an item", false) {
            return None;
        }
        let readable = || {
            let names = Names { locals: vec![(name.to_owned(), Type::Any)], ..Names::default() };
            expr::compile(name, &names, Wanted::Value).is_ok()
        };
        let taken = if Root::from_name(name).is_some() || name == "index" {
            "it has a meaning in expressions already"
        } else if seen.has_local(name) {
            "the `each` round about gives it to its own item"
        } else if !readable() {
            "it is a reserved word in expressions"
        } else {
            return Some(name.to_owned());
        };
        findings.error(
            codes::TAKEN_NAME,
            node.span,
            format!("an item cannot be called `{name}`: {taken}"),
            "give it another name, as: part",
        );
        None
    }
}
