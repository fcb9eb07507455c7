//! A second reply on one path: the first one answers, so the second is never heard.

use crate::model::diagnostic::Diagnostic;
use crate::plan::codes;
use crate::plan::raw::Findings;
use crate::plan::source::{Content, Node, Span};

/// Checks a list of steps and the lists inside them.
pub(in crate::plan) fn check(findings: &Findings<'_>, steps: &Node) {
    let mut walk = Walk { findings, repeats: None };
    walk.list(steps, false, &mut None);
}

/// Where a reply stands that a path may have passed, and whether it depends on something.
type Replied = Option<(Span, bool)>;

struct Walk<'a> {
    findings: &'a Findings<'a>,
    /// What makes the steps here come again.
    repeats: Option<&'static str>,
}

impl Walk<'_> {
    /// Gives whether the list always ends with a failure: whatever follows it does not follow its replies then.
    fn list(&mut self, steps: &Node, conditional: bool, replied: &mut Replied) -> bool {
        let Content::List(steps) = &steps.content else { return false };
        let mut fails = false;
        for step in steps {
            let Content::Map(entries) = &step.content else { continue };
            let always = step.get("when").is_none();
            let conditional = conditional || !always;
            let mut step_fails = step.get("fail").is_some();
            if let Some((key, _)) = entries.iter().find(|(key, _)| key.name == "reply") {
                self.reply(key.span, conditional, replied);
            }
            if let Some(cases) = step.get("switch") {
                step_fails |= self.switch(cases, conditional, replied);
            }
            if let Some(Content::Map(branches)) = step.get("parallel").map(|node| &node.content) {
                for (_, branch) in branches {
                    self.list(branch, conditional, replied);
                }
            }
            if let Some(inner) = step.get("each").and_then(|each| each.get("steps")) {
                self.again("`each` may come to it again", inner);
            }
            if let Some(wait) = step.get("wait") {
                if let Some(inner) = wait.get("remind").and_then(|remind| remind.get("steps")) {
                    self.again("`remind` may come to it again", inner);
                }
                self.aside(wait.get("on_timeout"), replied);
            }
            self.aside(step.get("fallback").and_then(|fallback| fallback.get("steps")), replied);
            self.aside(step.get("on_error"), replied);
            fails |= always && step_fails && step.get("on_error").is_none();
        }
        fails
    }

    fn reply(&self, span: Span, conditional: bool, replied: &mut Replied) {
        if let Some(why) = self.repeats {
            let message = format!("a `reply` answers once, and {why}");
            self.findings.error(codes::SECOND_REPLY, span, message, "collect what there is to say, and reply after it");
            return;
        }
        match *replied {
            // Two conditions may exclude each other; whether they do is not seen here.
            Some((_, true)) if conditional => {}
            Some((first, before)) => {
                let told = if before { "this one may have answered already" } else { "this one has answered already" };
                let diagnostic =
                    Diagnostic::error(codes::SECOND_REPLY, self.findings.place(span), "a second `reply` on one path is never heard")
                        .with_related(self.findings.place(first), told);
                let help = if before { "give this step a `when` that excludes the other's" } else { "keep one of them" };
                self.findings.add(diagnostic, help);
            }
            None => {}
        }
        if replied.is_none_or(|(_, before)| before) {
            *replied = Some((span, conditional));
        }
    }

    /// Branches of which one is taken.
    fn switch(&mut self, cases: &Node, conditional: bool, replied: &mut Replied) -> bool {
        let Content::List(cases) = &cases.content else { return false };
        let before = *replied;
        let (mut all_fail, mut all_reply, mut any, mut has_else) = (true, true, None, false);
        for case in cases {
            has_else |= case.get("else").is_some();
            let Some(steps) = case.get("else").or_else(|| case.get("steps")) else { continue };
            let mut here = before;
            // The branches exclude each other, so each is a path of its own.
            if self.list(steps, conditional, &mut here) {
                continue;
            }
            all_fail = false;
            match here {
                Some((span, depends)) if here != before => {
                    all_reply &= !depends;
                    any = any.or(Some(span));
                }
                _ => all_reply = false,
            }
        }
        if let Some(span) = any.filter(|_| before.is_none_or(|(_, before)| before)) {
            *replied = Some((span, conditional || !(all_reply && has_else)));
        }
        all_fail && has_else
    }

    /// Steps that are taken only if something went wrong or did not come.
    fn aside(&mut self, steps: Option<&Node>, replied: &mut Replied) {
        let Some(steps) = steps else { return };
        let mut here = *replied;
        if !self.list(steps, true, &mut here) {
            *replied = here;
        }
    }

    /// Steps that may come again.
    fn again(&mut self, why: &'static str, steps: &Node) {
        let before = self.repeats.replace(why);
        self.list(steps, true, &mut None);
        self.repeats = before;
    }
}
