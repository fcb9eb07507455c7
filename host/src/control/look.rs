//! Requests that only look: answered by the views of a host, and by those of what the last host left.

use serde::Serialize;

use super::request::{Request, not_understood};
use crate::app::Views;
use crate::model::failure::Failure;
use crate::model::value::Value;

/// What was asked for, and how much more there is than was asked for.
pub type Looked = Result<(Vec<Value>, u64), Failure>;

/// Answers a request by views alone; `None` for a request that does something.
pub async fn look(request: &Request, views: &Views) -> Option<Looked> {
    Some(match request {
        Request::Runs(wanted) => several(views.runs(wanted).await.map(|listed| (listed.items, u64::from(listed.more)))),
        Request::Run(one) => item(views.run(&one.id).await),
        Request::Trace(one) => several(views.trace(&one.id).await.map(|trace| (trace.nodes, trace.left_out as u64))),
        Request::Letters(few) => several(views.letters(few.limit).await.map(|listed| (listed.items, u64::from(listed.more)))),
        Request::Letter(one) => item(views.letter(&one.id).await),
        _ => return None,
    })
}

/// The one thing that was asked for.
pub(super) fn item<T: Serialize>(asked: Result<T, Failure>) -> Looked {
    several(asked.map(|one| (vec![one], 0)))
}

/// Those that were asked for, and how many more there are.
pub(super) fn several<T: Serialize>(asked: Result<(Vec<T>, u64), Failure>) -> Looked {
    let (items, more) = asked?;
    // As values, not as JSON's own trees: the order of fields is kept.
    let value = |item: &T| serde_json::to_string(item).and_then(Value::from_text).map_err(|_| not_understood());
    Ok((items.iter().map(value).collect::<Result<_, _>>()?, more))
}
