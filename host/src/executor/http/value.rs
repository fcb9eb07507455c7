//! A request from beginning to end: what its answer becomes as a value, or as a file.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;

use super::answer::Answer;
use super::client::Http;
use super::request::{Download, Request};
use crate::executor::files::{Folder, Mode};
use crate::executor::limit::{Limit, size};
use crate::model::failure::{Failure, FailureKind};
use crate::model::grant::Limits;
use crate::model::value::{Map, Tree, Value};

/// The folders that a request reads from and writes into.
pub(in crate::executor) struct Folders<'a> {
    pub(in crate::executor) body: Option<&'a Arc<Folder>>,
    pub(in crate::executor) into: Option<&'a Arc<Folder>>,
}

impl Http {
    /// Sends a request and reads its answer: `{ status, headers, size, body, json, bytes, file }`. A JSON answer is in `json`, another text in
    /// `body`, anything else in `bytes`, as base64; with `into` all of it goes into the file, which appears when it is whole.
    ///
    /// # Errors
    /// As [`Http::send`]; what a status amounts to that is neither success nor accepted; `permanent` for an answer of more than
    /// `limits.output`, or a file of more than `max_bytes`.
    pub(in crate::executor) async fn exchange(&self, request: &Request, folders: Folders<'_>, limits: &Limits) -> Result<Value, Failure> {
        let mut answer = self.send(request, folders.body).await?;
        if !answer.is_welcome(request) {
            return Err(answer.refusal(self, request).await);
        }
        let mut fields = Map::new();
        fields.insert("status".to_owned(), Tree::Int(i64::from(answer.status())));
        fields.insert("headers".to_owned(), answer.headers());
        let [mut body, mut json, mut bytes, mut file] = [Tree::Null, Tree::Null, Tree::Null, Tree::Null];
        let length = match (&request.into, folders.into) {
            (Some(into), Some(folder)) => {
                file = Tree::Text(into.file.clone());
                self.download(&mut answer, folder, into).await?
            }
            _ => {
                let Some(whole) = answer.whole(self, limits.output).await? else {
                    let message = format!(
                        "{} answers executor `{}` with more than {}: raise `limits.output`, or write the answer into a file, with into: {{ file: NAME }}",
                        answer.shown(),
                        self.executor(),
                        size(limits.output)
                    );
                    return Err(Failure::new(FailureKind::Permanent, message).with_code(Limit::Output.code()));
                };
                let length = whole.len() as u64;
                match String::from_utf8(whole) {
                    Ok(text) if answer.is_json() && !text.trim().is_empty() => json = parsed(&answer, text)?,
                    Ok(text) => body = Tree::Text(text),
                    Err(binary) => bytes = Tree::Text(STANDARD.encode(binary.into_bytes())),
                }
                length
            }
        };
        fields.insert("size".to_owned(), Tree::Int(i64::try_from(length).unwrap_or(i64::MAX)));
        for (name, field) in [("body", body), ("json", json), ("bytes", bytes), ("file", file)] {
            fields.insert(name.to_owned(), field);
        }
        Ok(Value::from(Tree::Map(fields)))
    }

    async fn download(&self, answer: &mut Answer, folder: &Arc<Folder>, into: &Download) -> Result<u64, Failure> {
        let (mut draft, open) = folder.begin(&into.file).await?;
        let mut open = tokio::fs::File::from_std(open);
        let unwritten = |error: std::io::Error| {
            Failure::new(FailureKind::Permanent, format!("{:?} cannot be written: {error}; make room on the disk", into.file))
                .with_code("file")
        };
        let mut length = 0_u64;
        while let Some(piece) = answer.piece(self).await? {
            length += piece.len() as u64;
            if length > into.max_bytes {
                let message = format!("{} answers with more than {}: raise into.max_bytes", answer.shown(), size(into.max_bytes));
                return Err(Failure::new(FailureKind::Permanent, message).with_code("file_too_large"));
            }
            open.write_all(&piece).await.map_err(unwritten)?;
        }
        open.flush().await.map_err(unwritten)?;
        let open = open.into_std().await;
        let kept = tokio::task::spawn_blocking(move || draft.keep(&open, Mode::Replace)).await;
        kept.unwrap_or_else(|panic| Err(Failure::new(FailureKind::Bug, format!("writing a file broke off: {panic}"))))?;
        Ok(length)
    }
}

fn parsed(answer: &Answer, text: String) -> Result<Tree, Failure> {
    match Value::from_text(text) {
        Ok(json) => Ok(json.tree().clone()),
        Err(error) => {
            let message = format!("{} says that it answers with JSON, and this is none: {error}", answer.shown());
            Err(Failure::new(FailureKind::Transient, message).with_code("not_json"))
        }
    }
}
