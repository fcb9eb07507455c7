//! The objects that scripts use: `progress`, `bus`, `log`, `http`, `sql`, `index`, `kv`, `secret`, `cancelled`, `remaining`.

use std::sync::{Arc, OnceLock};

use rhai::{Dynamic, EvalAltResult, ImmutableString, Module, NativeCallContext, Shared};

use super::engine::{self, Slot};
use super::failure::{self, text, thrown};
use super::running::{Running, no_job};
use crate::executor::http::Request;
use crate::model::failure::{Failure, FailureKind};
use crate::model::happening::LogLevel;
use crate::model::id::EventType;
use crate::model::value::Value;
use crate::script::{dynamic_of, value_of};

/// The names that stand for objects, in functions too.
pub(super) const NAMES: [&str; 7] = ["bus", "log", "http", "sql", "index", "kv", "config"];

/// What can be called on each object.
pub(super) const METHODS: [(&str, &[&str]); 6] = [
    ("bus", &["emit"]),
    ("log", &["debug", "info", "warn", "error"]),
    ("http", &["request"]),
    ("sql", &["query", "execute"]),
    ("index", &["search", "put"]),
    ("kv", &["get", "set", "delete"]),
];

/// The fields of `job`.
pub(super) const JOB_FIELDS: [&str; 8] = ["input", "id", "key", "attempt", "correlation_id", "pipeline", "flow", "step"];

/// The objects whose calls wait for the host.
pub(super) const WAITING: [&str; 4] = ["http", "sql", "index", "kv"];

type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// Where the attempt stands that a call is made in: what the engine carries along as its tag.
#[derive(Clone)]
pub(super) struct Tag(pub(super) Slot);

/// `job` for a script that takes its input once and does nothing else with it: it is spared a map, and a second copy of the input.
#[derive(Clone)]
pub(super) struct InputOnly(pub(super) Value);

#[derive(Clone)]
struct Bus;
#[derive(Clone)]
struct Log;
#[derive(Clone)]
struct Http;
#[derive(Clone)]
struct Sql;
#[derive(Clone)]
struct Index;
#[derive(Clone)]
struct Kv;

/// All of them, built once.
pub(super) fn module() -> Shared<Module> {
    static OBJECTS: OnceLock<Shared<Module>> = OnceLock::new();
    OBJECTS
        .get_or_init(|| {
            let mut module = Module::new();
            name_types(&mut module);
            failure::register(&mut module);
            run(&mut module);
            http(&mut module);
            sql(&mut module);
            index(&mut module);
            kv(&mut module);
            module.build_index();
            module.into()
        })
        .clone()
}

/// The names of the objects in what scripts are told.
fn name_types(module: &mut Module) {
    module.set_custom_type::<Bus>("bus");
    module.set_custom_type::<Log>("log");
    module.set_custom_type::<Http>("http");
    module.set_custom_type::<Sql>("sql");
    module.set_custom_type::<Index>("index");
    module.set_custom_type::<Kv>("kv");
    module.set_custom_type::<InputOnly>("job");
}

fn running(context: &NativeCallContext) -> Fallible<Arc<Running>> {
    let running = context.tag().and_then(|tag| tag.read_lock::<Tag>().and_then(|tag| engine::running(&tag.0)));
    running.ok_or_else(no_job)
}

fn run(module: &mut Module) {
    module.set_var("bus", Bus);
    module.set_var("log", Log);
    module.set_getter_fn("input", |job: &mut InputOnly| Ok(dynamic_of(&job.0)));
    module.set_native_fn("progress", |context: NativeCallContext, value: Dynamic| {
        running(&context)?.channel().progress(value_of(value));
        Ok(())
    });
    module.set_native_fn("emit", |context: NativeCallContext, _: &mut Bus, event_type: ImmutableString, data: Dynamic| {
        running(&context)?.channel().emit(EventType::new(event_type.as_str()), value_of(data)).map_err(thrown)
    });
    for (name, level) in [("debug", LogLevel::Debug), ("info", LogLevel::Info), ("warn", LogLevel::Warn), ("error", LogLevel::Error)] {
        module.set_native_fn(name, move |context: NativeCallContext, _: &mut Log, line: Dynamic| {
            running(&context)?.channel().log(level, text(&line));
            Ok(())
        });
    }
    module.set_native_fn("secret", |context: NativeCallContext, name: ImmutableString| {
        running(&context)?.host().secret(&name).map_err(thrown)
    });
    module.set_native_fn("cancelled", |context: NativeCallContext| Ok(running(&context)?.is_cancelled()));
    module.set_native_fn("remaining", |context: NativeCallContext| Ok(running(&context)?.remaining().as_secs_f64()));
}

fn http(module: &mut Module) {
    module.set_var("http", Http);
    module.set_native_fn("request", |context: NativeCallContext, _: &mut Http, fields: Dynamic| {
        let request = Request::read(value_of(fields).tree()).map_err(thrown)?;
        let running = running(&context)?;
        running.wait(running.host().http_request(&request))
    });
}

fn sql(module: &mut Module) {
    module.set_var("sql", Sql);
    for (name, writes) in [("query", false), ("execute", true)] {
        let call = move |context: &NativeCallContext, database: Option<&str>, statement: &str, parameters: Value| {
            let running = running(context)?;
            let host = running.host();
            running.wait(match writes {
                false => host.sql_query(database, statement, &parameters),
                true => host.sql_execute(database, statement, &parameters),
            })
        };
        module.set_native_fn(name, move |context: NativeCallContext, _: &mut Sql, statement: ImmutableString| {
            call(&context, None, &statement, Value::null())
        });
        module.set_native_fn(name, move |context: NativeCallContext, _: &mut Sql, first: ImmutableString, second: Dynamic| {
            match second.as_immutable_string_ref() {
                // Parameters are a list or a map, so text is the statement, and the database stands before it.
                Ok(statement) => call(&context, Some(&first), &statement, Value::null()),
                Err(_) => call(&context, None, &first, value_of(second.clone())),
            }
        });
        module.set_native_fn(
            name,
            move |context: NativeCallContext, _: &mut Sql, database: ImmutableString, statement: ImmutableString, parameters: Dynamic| {
                call(&context, Some(&database), &statement, value_of(parameters))
            },
        );
    }
}

fn index(module: &mut Module) {
    module.set_var("index", Index);
    let search = |context: &NativeCallContext, index: Option<&str>, query: &str, top_k: i64| {
        let Ok(top_k) = u32::try_from(top_k) else {
            return Err(thrown(Failure::new(FailureKind::Invalid, format!("index.search wants a number from 0 as top_k, not {top_k}"))));
        };
        let running = running(context)?;
        running.wait(running.host().index_search(index, query, top_k))
    };
    module.set_native_fn("search", move |context: NativeCallContext, _: &mut Index, query: ImmutableString, top_k: i64| {
        search(&context, None, &query, top_k)
    });
    module.set_native_fn(
        "search",
        move |context: NativeCallContext, _: &mut Index, index: ImmutableString, query: ImmutableString, top_k: i64| {
            search(&context, Some(&index), &query, top_k)
        },
    );
    module.set_native_fn("put", |context: NativeCallContext, _: &mut Index, id: ImmutableString, text: ImmutableString| {
        let running = running(&context)?;
        running.wait(running.host().index_put(None, &id, &text))
    });
    module.set_native_fn(
        "put",
        |context: NativeCallContext, _: &mut Index, index: ImmutableString, id: ImmutableString, text: ImmutableString| {
            let running = running(&context)?;
            running.wait(running.host().index_put(Some(&index), &id, &text))
        },
    );
}

fn kv(module: &mut Module) {
    module.set_var("kv", Kv);
    module.set_native_fn("get", |context: NativeCallContext, _: &mut Kv, key: ImmutableString| {
        let running = running(&context)?;
        running.wait(running.host().kv_get(None, &key))
    });
    module.set_native_fn("get", |context: NativeCallContext, _: &mut Kv, store: ImmutableString, key: ImmutableString| {
        let running = running(&context)?;
        running.wait(running.host().kv_get(Some(&store), &key))
    });
    module.set_native_fn("set", |context: NativeCallContext, _: &mut Kv, key: ImmutableString, value: Dynamic| {
        let running = running(&context)?;
        running.wait(running.host().kv_set(None, &key, &value_of(value)))
    });
    module.set_native_fn("set", |context: NativeCallContext, _: &mut Kv, store: ImmutableString, key: ImmutableString, value: Dynamic| {
        let running = running(&context)?;
        running.wait(running.host().kv_set(Some(&store), &key, &value_of(value)))
    });
    module.set_native_fn("delete", |context: NativeCallContext, _: &mut Kv, key: ImmutableString| {
        let running = running(&context)?;
        running.wait(running.host().kv_delete(None, &key))
    });
    module.set_native_fn("delete", |context: NativeCallContext, _: &mut Kv, store: ImmutableString, key: ImmutableString| {
        let running = running(&context)?;
        running.wait(running.host().kv_delete(Some(&store), &key))
    });
}
