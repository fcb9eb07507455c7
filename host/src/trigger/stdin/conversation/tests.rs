//! Conversations with an engine whose runs do what the test says.

use std::sync::Mutex;

use futures_util::FutureExt;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::*;
use crate::model::activation::{Requester, RunOutcome};

/// Admits as many as it has places, keeps the requesters for the test to speak through.
struct Engine {
    places: Semaphore,
    begun: Mutex<Vec<(Activation, RunId)>>,
    cancelled: Mutex<Vec<RunId>>,
    refuse: bool,
}

impl Engine {
    fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Semaphore::new(places), begun: Mutex::default(), cancelled: Mutex::default(), refuse: false })
    }

    fn begun(&self) -> Vec<String> {
        let begun = self.begun.lock().expect("nobody panicked");
        begun
            .iter()
            .map(|(activation, _)| activation.input.field("text").expect("it has text").tree().as_text().expect("text").to_owned())
            .collect()
    }

    fn requester(&self, index: usize) -> (Arc<dyn Requester>, RunId) {
        let begun = self.begun.lock().expect("nobody panicked");
        (begun[index].0.requester.clone().expect("somebody asked"), begun[index].1)
    }

    fn end(&self, index: usize, outcome: RunOutcome) -> RunEnd {
        let (requester, run) = self.requester(index);
        let end = RunEnd { run, outcome, degraded: false, output: Value::null() };
        requester.end(&end);
        self.places.add_permits(1);
        end
    }
}

impl Activate for Engine {
    fn activate(&self, activation: Activation) -> BoxFuture<'_, Admission> {
        async move {
            if self.refuse {
                return Admission::Refused(Failure::new(FailureKind::Invalid, "text is missing (string)"));
            }
            if activation.patience == Patience::Wait {
                self.places.acquire().await.expect("never closed").forget();
            }
            let mut begun = self.begun.lock().expect("nobody panicked");
            let run = RunId::new(Uuid::from_u128(begun.len() as u128 + 1));
            begun.push((activation, run));
            Admission::Started(run)
        }
        .boxed()
    }

    fn cancel(&self, run: RunId, _: CancelReason) {
        self.cancelled.lock().expect("nobody panicked").push(run);
    }
}

fn conversation(engine: &Arc<Engine>, input: &'static [u8], manner: Manner) -> Conversation {
    let target: Target = Box::new(|| Some((PipelineName::new("chatbot"), FlowName::new("main"))));
    Conversation::new(Lines::start(input).expect("there are threads"), engine.clone(), target, manner)
}

/// What is said next, but for the invitations between, which depend on how soon the input's end is seen.
async fn said(conversation: &mut Conversation) -> Said {
    loop {
        match conversation.next().await {
            Said::Ready => {}
            said => return said,
        }
    }
}

/// Lets the conversation work until nothing more comes of it by itself.
async fn settle(conversation: &mut Conversation, engine: &Engine, begun: usize) {
    while engine.begun().len() < begun {
        if let Some(said) = conversation.next().now_or_never() {
            assert_eq!(said, Said::Ready, "nothing was told yet");
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn replies_come_in_the_order_of_the_lines() {
    let engine = Engine::new(2);
    let mut conversation = conversation(&engine, b"a\nb\nc\n", Manner::Piped);
    settle(&mut conversation, &engine, 2).await;
    assert!(conversation.next().now_or_never().is_none());
    assert_eq!(engine.begun(), ["a", "b"], "the third waits for a place");
    engine.requester(1).0.reply(&Value::string("of b"));
    let end_b = engine.end(1, RunOutcome::Succeeded);
    engine.requester(0).0.reply(&Value::string("of a"));
    let end_a = engine.end(0, RunOutcome::Succeeded);
    assert_eq!(said(&mut conversation).await, Said::Reply(Value::string("of a")));
    assert_eq!(said(&mut conversation).await, Said::Ended { line: 1, end: end_a });
    assert_eq!(said(&mut conversation).await, Said::Reply(Value::string("of b")));
    assert_eq!(said(&mut conversation).await, Said::Ended { line: 2, end: end_b });
    settle(&mut conversation, &engine, 3).await;
    let end_c = engine.end(2, RunOutcome::Succeeded);
    assert_eq!(said(&mut conversation).await, Said::Ended { line: 3, end: end_c }, "the end of the input waits for the last");
    assert_eq!(said(&mut conversation).await, Said::Over);
    assert_eq!(said(&mut conversation).await, Said::Over);
}

#[tokio::test]
async fn an_interruption_cancels_what_is_shown_and_nothing_else() {
    let engine = Engine::new(0);
    let mut conversation = conversation(&engine, b"a\nb\n", Manner::Typed);
    assert_eq!(conversation.interrupt(), Interrupted::Nothing);
    settle(&mut conversation, &engine, 2).await;
    assert_eq!(conversation.interrupt(), Interrupted::Cancelled);
    assert_eq!(conversation.interrupt(), Interrupted::Again);
    let (_, first) = engine.requester(0);
    assert_eq!(*engine.cancelled.lock().expect("nobody panicked"), [first]);
    let end = engine.end(0, RunOutcome::Cancelled { reason: CancelReason::Requested });
    assert_eq!(said(&mut conversation).await, Said::Ended { line: 1, end });
}

#[tokio::test]
async fn a_typed_line_is_taken_at_once_and_an_empty_one_asks_again() {
    let engine = Engine::new(0);
    let mut conversation = conversation(&engine, b"\nhi\n", Manner::Typed);
    assert_eq!(conversation.next().await, Said::Ready);
    assert_eq!(conversation.next().await, Said::Ready);
    settle(&mut conversation, &engine, 1).await;
    assert_eq!(engine.begun(), ["hi"]);
}

#[tokio::test]
async fn a_line_that_is_not_taken_holds_up_no_other() {
    let engine = Engine::new(8);
    let mut conversation = conversation(&engine, b"\n\xff\nhi\n", Manner::Piped);
    assert_eq!(said(&mut conversation).await, Said::NotTaken { line: 1, refusal: Refusal::Empty });
    assert_eq!(said(&mut conversation).await, Said::NotTaken { line: 2, refusal: Refusal::NotUtf8 { offset: 0 } });
    settle(&mut conversation, &engine, 1).await;
    let end = engine.end(0, RunOutcome::Succeeded);
    assert_eq!(said(&mut conversation).await, Said::Ended { line: 3, end });
    assert_eq!(said(&mut conversation).await, Said::Over);
}

#[tokio::test]
async fn a_refused_line_is_said_with_its_number() {
    let engine = Arc::new(Engine { refuse: true, ..Arc::into_inner(Engine::new(1)).expect("one handle") });
    let mut conversation = conversation(&engine, b"{}\n", Manner::Piped);
    assert!(matches!(said(&mut conversation).await, Said::NotStarted { line: 1, failure } if failure.kind == FailureKind::Invalid));
    assert_eq!(said(&mut conversation).await, Said::Over);
}

#[tokio::test]
async fn a_line_that_no_flow_takes_says_what_to_write() {
    let engine = Engine::new(1);
    let lines = Lines::start(&b"hi\n"[..]).expect("there are threads");
    let mut conversation = Conversation::new(lines, engine, Box::new(|| None), Manner::Piped);
    assert!(matches!(said(&mut conversation).await, Said::NotStarted { failure, .. } if failure.message.contains("stdin: line")));
}

#[tokio::test]
async fn one_given_message_is_a_conversation_too() {
    let engine = Engine::new(1);
    let target: Target = Box::new(|| Some((PipelineName::new("chatbot"), FlowName::new("main"))));
    let mut conversation = Conversation::once(Value::map([("text", Value::string("hi"))]), engine.clone(), target);
    settle(&mut conversation, &engine, 1).await;
    let end = engine.end(0, RunOutcome::Succeeded);
    assert_eq!(said(&mut conversation).await, Said::Ended { line: 1, end });
    assert_eq!(said(&mut conversation).await, Said::Over);
}
