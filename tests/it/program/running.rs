//! A host that runs pipelines which ship, and others that send to it, each a process of its own.

use serde_json::Value as Json;

use super::{Bench, Program};

/// A host under way in a bench. It ends with the test.
pub(crate) struct Running<'a> {
    bench: &'a Bench,
    host: Program,
}

impl<'a> Running<'a> {
    /// Starts the pipelines of these names, and waits until they can be sent to.
    pub(crate) fn start(bench: &'a Bench, pipelines: &[&str]) -> Self {
        Self::when_it_says(bench, pipelines, "It stays until")
    }

    /// The same of pipelines one of which takes lines.
    pub(crate) fn start_talking(bench: &'a Bench, pipelines: &[&str]) -> Self {
        Self::when_it_says(bench, pipelines, "pipehost send")
    }

    fn when_it_says(bench: &'a Bench, pipelines: &[&str], words: &str) -> Self {
        let files: Vec<String> = pipelines.iter().map(|name| format!("pipelines/{name}.yaml")).collect();
        let mut arguments = vec!["run"];
        arguments.extend(files.iter().map(String::as_str));
        arguments.extend(["--events", "json"]);
        let host = bench.start(&arguments);
        host.errors.expect(words);
        Self { bench, host }
    }

    /// Sends to a flow, and does not wait for its reply.
    pub(crate) fn sending(&self, target: &str, input: &Json) -> Program {
        self.bench.sending(target, input)
    }

    /// Sends to a flow: its reply, whatever came of the run.
    pub(crate) fn send(&self, target: &str, input: &Json) -> Json {
        reply(self.sending(target, input))
    }

    /// Waits for the next end of a run of that flow, and gives it.
    pub(crate) fn until_ended(&self, pipeline: &str, flow: &str) -> Json {
        self.host.until_ended(pipeline, flow)
    }

    /// The next event of that name.
    pub(crate) fn event(&self, name: &str) -> Json {
        self.host.event(name)
    }

    /// Ends it at once, wherever it is.
    pub(crate) fn kill(self) {
        self.host.signal("KILL");
        self.host.finish();
    }

    /// Ends it in an orderly way.
    pub(crate) fn stop(self) -> super::Finished {
        self.host.signal("TERM");
        self.host.finish()
    }
}

/// The reply that somebody who sent has got.
pub(crate) fn reply(sender: Program) -> Json {
    let finished = sender.finish();
    assert!(matches!(finished.code, Some(0 | 1)), "{}\n{}", finished.out, finished.err);
    finished.objects().into_iter().next().unwrap_or_else(|| panic!("no reply: {}", finished.err))
}
