//! Every key of the language, those too whose part is not built: they are known, and refused by name.

/// Keys of a file.
pub(in crate::plan) const FILE: &[&str] = &[
    "pipeline",
    "library",
    "description",
    "import",
    "env",
    "resources",
    "bus",
    "events",
    "executors",
    "policies",
    "state",
    "flows",
    "tests",
];
/// Keys of a library.
pub(in crate::plan) const LIBRARY: &[&str] = &["library", "description", "import", "env", "resources", "events", "executors", "policies"];
/// Keys of a flow; at the top of a file too, if it has one flow.
pub(in crate::plan) const FLOW: &[&str] =
    &["trigger", "input", "steps", "on_error", "finally", "deadline", "concurrency", "idempotency", "durable", "state_key", "cancel_on"];
/// What a step can do.
pub(in crate::plan) const VERBS: &[&str] =
    &["run", "dispatch", "call", "emit", "wait", "switch", "parallel", "each", "set", "reply", "fail", "sleep"];
/// Keys of any step.
pub(in crate::plan) const STEP: &[&str] = &["id", "when", "on_error"];
/// The policy stack, outermost first.
pub(in crate::plan) const LAYERS: &[&str] =
    &["fallback", "dedup", "cache", "deadline", "retry", "breaker", "rate_limit", "bulkhead", "timeout"];
/// Keys beside `run` only.
pub(in crate::plan) const RUN: &[&str] =
    &["with", "policy", "emits", "via", "order_key", "undo", "undo_on", "optimistic", "stream", "on_progress"];
/// Keys beside other verbs.
pub(in crate::plan) const BESIDE_OTHERS: &[(&str, &[&str])] = &[
    ("emit", &["via", "order_key", "to"]),
    ("reply", &["status", "headers"]),
    ("parallel", &["join"]),
    ("dispatch", &["with", "policy"]),
    ("call", &["with", "policy"]),
];
/// Keys of what undoes a step: those of a step with `run` that make sense when nobody waits for its output.
pub(in crate::plan) const UNDO: &[&str] = &["run", "with", "retry", "timeout", "deadline"];
/// Keys that are not in this version, wherever they stand beside a verb.
pub(in crate::plan) const LATER_BESIDE: &[&str] = &["via", "order_key", "to", "status", "headers"];
/// What can start a flow.
pub(in crate::plan) const TRIGGERS: &[&str] = &["stdin", "http", "websocket", "event", "schedule", "files", "manual"];
/// Triggers that are not in this version.
pub(in crate::plan) const LATER_TRIGGERS: &[&str] = &["http", "websocket", "schedule", "files"];
/// Keys of an executor.
pub(in crate::plan) const EXECUTOR: &[&str] = &["wasm", "rhai", "script", "builtin", "config", "grants", "limits", "reuse"];
/// Where an executor's code is: exactly one of these.
pub(in crate::plan) const HOMES: &[&str] = &["wasm", "rhai", "script", "builtin"];
/// What can be granted.
pub(in crate::plan) const GRANTS: &[&str] = &["http", "sql", "kv", "index", "llm", "secrets", "env", "files", "emit"];
/// What can be limited.
pub(in crate::plan) const LIMITS: &[&str] = &["memory", "wall", "output", "events", "log", "operations", "call_depth", "stack"];
/// What a resource can be.
pub(in crate::plan) const RESOURCES: &[&str] = &["sqlite", "kv", "index", "folder"];
