//! What one run tells whoever asked, kept until it is that one's turn to be shown.

use crate::model::activation::{Requester, RunEnd};
use crate::model::id::RunId;
use crate::model::value::{Tree, Value};
use crate::trigger::mailbox::Mailbox;

/// So many bytes of tokens wait to be shown; what comes beyond is left out, and `…` stands for it.
const MOST_TOKENS: usize = 1 << 20;

/// What a run told.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Heard {
    /// Text of tokens, joined.
    Tokens(String),
    /// The reply.
    Reply(Value),
    /// The end; nothing comes after it.
    End(RunEnd),
    /// The host stops and the run goes on when it starts again; nothing comes after it.
    Left(RunId),
}

/// Listens to one run. Clones listen to the same.
#[derive(Clone, Default)]
pub(super) struct Hearing(Mailbox<ToldSoFar>);

#[derive(Default)]
struct ToldSoFar {
    tokens: String,
    left_out: bool,
    reply: Option<Value>,
    end: Option<RunEnd>,
    left: Option<RunId>,
}

impl Hearing {
    /// Waits for what comes next. Dropping the wait loses nothing.
    pub(super) async fn next(&self) -> Heard {
        self.0.next(ToldSoFar::take).await
    }
}

impl ToldSoFar {
    fn take(&mut self) -> Option<Heard> {
        if !self.tokens.is_empty() {
            self.left_out = false;
            return Some(Heard::Tokens(std::mem::take(&mut self.tokens)));
        }
        let end = |told: &mut Self| told.end.take().map(Heard::End).or_else(|| told.left.take().map(Heard::Left));
        self.reply.take().map(Heard::Reply).or_else(|| end(self))
    }
}

impl Requester for Hearing {
    fn progress(&self, progress: &Value) {
        let token = progress.field("token");
        let Some(Tree::Text(token)) = token.as_ref().map(Value::tree) else { return };
        self.0.tell(|told| {
            if told.left_out {
                return;
            }
            if told.tokens.len() + token.len() > MOST_TOKENS {
                told.tokens.push('…');
                told.left_out = true;
            } else {
                told.tokens.push_str(token);
            }
        });
    }

    fn reply(&self, reply: &Value) {
        self.0.tell(|told| told.reply = Some(reply.clone()));
    }

    fn end(&self, end: &RunEnd) {
        self.0.tell(|told| told.end = Some(end.clone()));
    }

    fn left(&self, run: RunId) {
        self.0.tell(|told| told.left = Some(run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::activation::RunOutcome;

    fn token(text: &str) -> Value {
        Value::map([("token", Value::string(text))])
    }

    #[tokio::test]
    async fn tokens_are_joined_and_come_before_reply_and_end() {
        let hearing = Hearing::default();
        let end = RunEnd { run: RunId::new(uuid::Uuid::nil()), outcome: RunOutcome::Succeeded, degraded: false, output: Value::null() };
        hearing.progress(&token("He"));
        hearing.progress(&Value::map([("fraction", Value::from(Tree::Float(0.5)))]));
        hearing.progress(&token("llo"));
        hearing.reply(&Value::string("bye"));
        hearing.end(&end);
        assert_eq!(hearing.next().await, Heard::Tokens("Hello".to_owned()));
        assert_eq!(hearing.next().await, Heard::Reply(Value::string("bye")));
        assert_eq!(hearing.next().await, Heard::End(end));
    }

    #[tokio::test]
    async fn tokens_that_nobody_takes_are_bounded() {
        let hearing = Hearing::default();
        let piece = token(&"x".repeat(1 << 16));
        (0..64).for_each(|_| hearing.progress(&piece));
        let Heard::Tokens(text) = hearing.next().await else { panic!("tokens were told") };
        assert!(text.ends_with("x…") && text.len() <= MOST_TOKENS + '…'.len_utf8());
        hearing.progress(&token("on"));
        assert_eq!(hearing.next().await, Heard::Tokens("on".to_owned()));
    }
}
