//! `files.read` and `files.write`: files of granted folders, as text, JSON or base64.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;

use super::declare::{describe, field, optional, record, want, with_default};
use super::{checked_input, text};
use crate::executor::files::{Mode, Range};
use crate::executor::host_api::HostApi;
use crate::executor::limit::{Limit, size};
use crate::model::executor::Description;
use crate::model::failure::{Failure, FailureKind};
use crate::model::job::Job;
use crate::model::port::{Attempt, Executor, Processing};
use crate::model::types::Type;
use crate::model::value::{Map, Tree, Value};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Read,
    Write,
}

/// Input `{ file, folder, offset, length, as }` or `{ file, folder, text | json | bytes, mode }`; output `{ size, modified, text, json, bytes }`
/// or `{ size }`.
pub(super) fn description(verb: Verb) -> Description {
    let file = field("file", Type::String, "its name beneath the folder, as inbox/a.txt");
    let folder = optional("folder", Type::String, "the folder, if more than one is granted");
    let (described, reason) = match verb {
        Verb::Read => {
            let input = record([
                file,
                folder,
                with_default("offset", Type::Int, 0, "the first byte, from 0"),
                optional("length", Type::Int, "how many bytes; null: up to the end; 0 asks for size and modified only"),
                with_default("as", Type::String, "text", "text, json or bytes"),
            ]);
            let output = record([
                field("size", Type::Int, "how many bytes the whole file has"),
                optional("modified", Type::Time, "when it was changed last"),
                optional("text", Type::String, "what was read, as text"),
                field("json", Type::Any, "what was read, as JSON; null if it was not asked for"),
                optional("bytes", Type::Bytes, "what was read, as base64"),
            ]);
            (describe("files.read", "Reads a file, or a part of one", input, output), "to read files")
        }
        Verb::Write => {
            let input = record([
                file,
                folder,
                optional("text", Type::String, "what to write, as text"),
                optional("json", Type::Any, "what to write, as JSON"),
                optional("bytes", Type::Bytes, "what to write, as base64"),
                with_default("mode", Type::String, "replace", "replace, create (fails if the file is there) or append"),
            ]);
            let output = record([field("size", Type::Int, "how many bytes the file has now")]);
            (describe("files.write", "Writes a file", input, output), "to write files")
        }
    };
    Description { wants: vec![want("files", reason)], ..described }
}

pub(super) struct Files {
    verb: Verb,
    description: Description,
    host: Arc<dyn HostApi>,
    /// The most bytes that are read at once.
    limit: u64,
}

impl Files {
    pub(super) fn new(verb: Verb, description: Description, host: Arc<dyn HostApi>, limit: u64) -> Self {
        Self { verb, description, host, limit }
    }

    async fn read(&self, input: &Tree) -> Result<Value, Failure> {
        let form = text(input, "as");
        if !["text", "json", "bytes"].contains(&form) {
            return Err(wrong(format!("as is {form:?}; write text, json or bytes")));
        }
        let whole = |name: &str| match input.field(name).and_then(Tree::as_int) {
            None => Ok(None),
            Some(number) => u64::try_from(number).map(Some).map_err(|_| wrong(format!("{name} is {number}; write a number from 0"))),
        };
        let range = Range { offset: whole("offset")?.unwrap_or_default(), length: whole("length")? };
        let folder = self.host.folder(input.field("folder").and_then(Tree::as_text))?;
        let file = text(input, "file");
        let content = folder.read(file, range, self.limit).await?.map_err(|length| {
            let message = format!(
                "{file:?} would give {length} bytes, and {} are the most: read it in parts with offset and length, or raise `limits.output`",
                size(self.limit)
            );
            Failure::new(FailureKind::Permanent, message).with_code(Limit::Output.code())
        })?;
        let mut fields = Map::new();
        fields.insert("size".to_owned(), Tree::Int(i64::try_from(content.size).unwrap_or(i64::MAX)));
        fields.insert("modified".to_owned(), content.modified.map_or(Tree::Null, Tree::Text));
        fields.extend(["text", "json", "bytes"].map(|name| (name.to_owned(), Tree::Null)));
        let nothing = range.length == Some(0);
        let read = match form {
            "bytes" => Tree::Text(STANDARD.encode(&content.bytes)),
            _ => {
                let text = String::from_utf8(content.bytes).map_err(|error| {
                    let at = error.utf8_error().valid_up_to();
                    wrong(format!("{file:?} is no UTF-8 from byte {at} of what was read on; read it as: bytes, or cut it elsewhere"))
                })?;
                if form == "json" && !nothing { json(file, text)? } else { Tree::Text(text) }
            }
        };
        if !nothing {
            fields.insert(form.to_owned(), read);
        }
        Ok(Value::from(Tree::Map(fields)))
    }

    async fn write(&self, input: &Tree) -> Result<Value, Failure> {
        let mode = match text(input, "mode") {
            "replace" => Mode::Replace,
            "create" => Mode::Create,
            "append" => Mode::Append,
            other => return Err(wrong(format!("mode is {other:?}; write replace, create or append"))),
        };
        let set = |name: &str| input.field(name).filter(|field| !matches!(field, Tree::Null));
        let bytes = match (set("text"), set("json"), set("bytes")) {
            (Some(Tree::Text(text)), None, None) => text.clone().into_bytes(),
            (None, Some(json), None) if json.holds_secret() => {
                return Err(wrong("json holds a secret, and secrets are not written into files".to_owned()));
            }
            (None, Some(json), None) => serde_json::to_vec(json).unwrap_or_default(),
            (None, None, Some(Tree::Text(bytes))) => {
                STANDARD.decode(bytes).map_err(|error| wrong(format!("bytes is no base64: {error}")))?
            }
            _ => return Err(wrong("one of text, json and bytes is what to write".to_owned())),
        };
        let folder = self.host.folder(input.field("folder").and_then(Tree::as_text))?;
        let size = folder.write(text(input, "file"), bytes, mode).await?;
        Ok(Value::map([("size", Value::from(Tree::Int(i64::try_from(size).unwrap_or(i64::MAX))))]))
    }
}

impl Executor for Files {
    fn description(&self) -> &Description {
        &self.description
    }

    fn process(&self, job: Arc<Job>, _: Attempt) -> Processing<'_> {
        async move {
            let input = checked_input(&self.description, &job)?;
            match self.verb {
                Verb::Read => self.read(input.tree()).await,
                Verb::Write => self.write(input.tree()).await,
            }
        }
        .boxed()
    }
}

fn json(file: &str, text: String) -> Result<Tree, Failure> {
    Value::from_text(text).map(|json| json.tree().clone()).map_err(|error| wrong(format!("{file:?} is no JSON: {error}")))
}

fn wrong(message: String) -> Failure {
    Failure::new(FailureKind::Invalid, message).with_code("input")
}
