//! `mocks` of a test: what stands in for executors, for steps, and for executors of other pipelines.

use std::sync::Arc;
use std::time::Duration;

use super::Reader;
use crate::model::failure::FailureKind;
use crate::model::port::Root;
use crate::model::types::Type;
use crate::plan::cases::{Answer, AnswerEnd, Mock, MockTarget, Script};
use crate::plan::codes;
use crate::plan::expr::Names;
use crate::plan::pipeline::{Flow, RunStep, Step, Verb, Worker};
use crate::plan::raw::{Table, closest, keys, list};
use crate::plan::source::{Content, Key, Node};

const EXAMPLE: &str = "{ output: { … } } or { fail: { kind: transient } }";

/// What is known of the executor that a mock stands in for.
struct Known {
    target: MockTarget,
    input: Type,
    /// With texts in the place of secrets: they are sealed when the mock has answered.
    output: Type,
}

impl<'a> Reader<'a> {
    /// Every mock of a test. With `foreign` ones those of other pipelines are taken as they are: they are found when the test begins.
    pub(super) fn mocks(&self, table: &Table<'a>, foreign: bool) -> Vec<Mock> {
        let findings = self.compiler.findings;
        let Some(given) = table.get("mocks").and_then(|node| findings.map(node, "`mocks`", "{ save: { output: { id: 7 } } }")) else {
            return Vec::new();
        };
        let mock = |(key, node): &(Key, Node)| {
            let known = self.known(key, foreign)?;
            let script = self.script(node, &known, &key.name)?;
            Some(Mock { target: known.target, place: findings.place(key.span), script })
        };
        given.entries.iter().filter_map(mock).collect()
    }

    /// The executor of that name; else the step of that id; else one of another pipeline.
    fn known(&self, key: &Key, foreign: bool) -> Option<Known> {
        let name = key.name.as_str();
        let executors = &self.pipeline.executors;
        let of_executor = |number: usize| executors.get(number).map(|declared| &declared.description);
        if let Some(number) = executors.iter().position(|declared| declared.reference.name.as_str() == name) {
            let description = of_executor(number)?;
            return Some(Known {
                target: MockTarget::Executor(number),
                input: description.input.clone().unwrap_or_default(),
                output: description.output.as_ref().map(Type::unsealed).unwrap_or_default(),
            });
        }
        let id = name.strip_prefix("steps.").unwrap_or(name);
        if let Some((step, run)) = self.pipeline.flows.iter().find_map(|flow| job_of(flow, id)) {
            let Worker::Executor(executor) = run.worker else {
                let help = "stand in for the executors of the called flow, or send to that flow in a test of its own";
                self.compiler.findings.error(
                    codes::UNKNOWN_EXECUTOR,
                    key.span,
                    format!("the step `{id}` calls a flow, which nothing can stand in for"),
                    help,
                );
                return None;
            };
            let description = of_executor(executor);
            return Some(Known {
                target: MockTarget::Step(step.id.clone(), executor),
                input: description.and_then(|description| description.input.clone()).unwrap_or_default(),
                output: description.and_then(|description| description.output.as_ref()).map(Type::unsealed).unwrap_or_default(),
            });
        }
        if let Some((pipeline, executor)) = name.split_once('.').filter(|_| foreign) {
            return Some(Known { target: MockTarget::Foreign(pipeline.into(), executor.into()), input: Type::Any, output: Type::Any });
        }
        let known: Vec<&str> = executors.iter().map(|declared| declared.reference.name.as_str()).collect();
        let near = closest(name, known.iter().copied().chain(self.steps().map(|step| step.id.as_str())));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its steps use {}; a step can be named by its id", list(&known)),
        };
        self.compiler.findings.error(
            codes::UNKNOWN_EXECUTOR,
            key.span,
            format!("there is no executor and no step `{name}` to stand in for"),
            help,
        );
        None
    }

    fn script(&self, node: &'a Node, known: &Known, name: &str) -> Option<Script> {
        let findings = self.compiler.findings;
        let several = |items: &'a [Node], at: &Node, what: &str| {
            if items.is_empty() {
                findings.error(codes::MISSING_KEY, at.span, format!("{what} holds no answer"), format!("write at least one, as {EXAMPLE}"));
            }
            let answers: Vec<Option<Answer>> = items.iter().map(|item| self.answer(item, known, name)).collect();
            answers.into_iter().collect::<Option<Vec<_>>>().filter(|answers| !answers.is_empty())
        };
        if let Content::List(items) = &node.content {
            return several(items, node, &format!("the mock of `{name}`")).map(Script::Calls);
        }
        if let Some(attempts) = node.get("attempts") {
            findings.table(
                node,
                "a mock with `attempts`",
                keys::ATTEMPTS,
                "{ attempts: [{ fail: { kind: transient } }, { output: { … } }] }",
            )?;
            let items = findings.list(attempts, "`attempts`", "a list: one answer for each attempt")?;
            return several(items, attempts, "`attempts`").map(Script::Attempts);
        }
        self.answer(node, known, name).map(|answer| Script::Calls(vec![answer]))
    }

    fn answer(&self, node: &'a Node, known: &Known, name: &str) -> Option<Answer> {
        let findings = self.compiler.findings;
        let all = [keys::ANSWER, keys::ATTEMPTS].concat();
        let table = findings.table(node, &format!("the mock of `{name}`"), &all, EXAMPLE)?;
        if let Some(key) = table.key("attempts") {
            findings.error(
                codes::EXCLUSIVE_KEYS,
                key.span,
                "`attempts` stands inside an answer",
                "a mock is a list of calls, or `attempts`, not both",
            );
            return None;
        }
        let ends: Vec<&Key> = ["output", "fail", "hang"].into_iter().filter_map(|end| table.key(end)).collect();
        if let [first, second, ..] = ends.as_slice() {
            findings.error(
                codes::EXCLUSIVE_KEYS,
                second.span,
                format!("a call ends in one way, and this has `{}` and `{}`", first.name, second.name),
                "to end in another way the next time, write a list of answers",
            );
            return None;
        }
        let names = Names { roots: Arc::new([(Root::Input, known.input.clone())].into_iter().collect()), ..Names::default() };
        let template =
            |node: &Node, wanted: &Type, what: &str| self.compiler.value(node, &names, wanted, what).map(|(template, _)| template);
        // How it ends is looked at first, and whatever else is wrong all the same.
        let end = match ends.first().map(|key| key.name.as_str()) {
            Some("output") => table.get("output").and_then(|node| template(node, &known.output, "output")).map(AnswerEnd::Output),
            Some("fail") => table.get("fail").and_then(|node| self.failure(node)),
            Some(_) => table.get("hang").and_then(|node| findings.truth(node, "`hang`")).map(|hangs| match hangs {
                true => AnswerEnd::Hang,
                false => AnswerEnd::Nothing,
            }),
            None => Some(AnswerEnd::Nothing),
        };
        let delay = table.get("delay").map_or(Some(Duration::ZERO), |node| findings.duration_or_nothing(node, "`delay`"));
        let mut progress = Vec::new();
        if let Some(node) = table.get("progress") {
            for item in findings.list(node, "`progress`", "[{ token: He }, { token: llo }]")? {
                progress.push(template(item, &Type::Any, "progress")?);
            }
        }
        let mut emit = Vec::new();
        if let Some(node) = table.get("emit") {
            for item in findings.list(node, "`emit` of a mock", "[{ OrderPlaced: { order: '7' } }]")? {
                for (key, value) in findings.map(item, "an event of `emit`", "{ OrderPlaced: { order: '7' } }")?.entries {
                    // Whether it is declared and granted is asked when it is emitted, as it is of a real one.
                    emit.push((key.name.as_str().into(), template(value, &Type::Any, &key.name)?));
                }
            }
        }
        Some(Answer { delay: delay?, progress, emit, end: end? })
    }

    fn failure(&self, node: &Node) -> Option<AnswerEnd> {
        let findings = self.compiler.findings;
        let table = findings.table(node, "`fail` of a mock", keys::MOCK_FAIL, "{ kind: transient, message: no connection }")?;
        let kinds: Vec<(&str, FailureKind)> = FailureKind::ALL.into_iter().map(|kind| (kind.as_str(), kind)).collect();
        let kind = table.get("kind").map_or(Some(FailureKind::Failed), |node| findings.word(node, "`kind`", &kinds))?;
        let text = |key: &str| match table.get(key) {
            Some(node) => findings.literal_text(node, &format!("`{key}`"), "some text").map(|text| Some(text.to_owned())),
            None => Some(None),
        };
        let status = match table.get("status") {
            Some(node) => match findings.whole(node, "`status`", 100)? {
                status if status < 600 => u16::try_from(status).ok(),
                status => {
                    findings.error(codes::NUMBER, node.span, format!("`status` is {status}; it is at most 599"), "");
                    return None;
                }
            },
            None => None,
        };
        let retry_after = match table.get("retry_after") {
            Some(node) => Some(findings.duration_or_nothing(node, "`retry_after`")?),
            None => None,
        };
        let message = text("message")?.unwrap_or_else(|| "the mock fails".to_owned());
        Some(AnswerEnd::Fail { kind, code: text("code")?, message, status, retry_after })
    }

    /// Every step of every flow.
    pub(super) fn steps(&self) -> impl Iterator<Item = &'a crate::plan::pipeline::Step> {
        self.pipeline.flows.iter().flat_map(|flow| &flow.steps)
    }
}

/// The step whose jobs go by that id, with what it runs: that of a `dispatch` is in a block of its own.
fn job_of<'f>(flow: &'f Flow, id: &str) -> Option<(&'f Step, &'f RunStep)> {
    flow.steps.iter().filter(|step| step.id.as_str() == id).find_map(|step| match &step.verb {
        Verb::Run(run) => Some((step, &**run)),
        Verb::Dispatch(block) => flow.block(*block).iter().map(|number| flow.step(*number)).find_map(|step| match &step.verb {
            Verb::Run(run) => Some((step, &**run)),
            _ => None,
        }),
        _ => None,
    })
}
