//! Does whatever the conformance suite asks of it: `{ "do": NAME, … }`. Half of it is what a host has to survive.

#![expect(clippy::panic, reason = "a trap is one of the things that the suite asks for")]

use std::hint::black_box;

use pipehost_plugin::{Description, Executor, Failure, FailureKind, Job, Json, export, json, run, sql};

struct Conformance;

impl Executor for Conformance {
    fn describe() -> Description {
        Description::new("conformance", "Does what the conformance suite asks of it")
            .wanting("sql", "to wait in a host call")
            .wanting("emit", "to emit `Conformance`")
    }

    fn process(job: Job) -> Result<Json, Failure> {
        let input: Json = job.input()?;
        let text = |name: &str| input.get(name).and_then(Json::as_str).unwrap_or_default();
        match text("do") {
            "echo" => Ok(input.get("value").cloned().unwrap_or_default()),
            "progress" => {
                for step in 1..=3 {
                    run::progress(&json!({ "step": step }))?;
                }
                Ok(Json::Null)
            }
            "emit" => {
                run::emit("Conformance", &json!({ "n": 1 }))?;
                Ok(Json::Null)
            }
            "fail" => match FailureKind::from_name(text("kind")) {
                Some(kind) => Err(Failure::new(kind, "as asked")),
                None => Err(Failure::invalid(format!("there is no kind `{}`", text("kind")))),
            },
            "compute" | "loop" => forever(),
            "wait" => sql::query::<Json>(None, "select 1", &()).map(Json::Array),
            "memory" => hoard(),
            "recursion" => Ok(json!(deeper(1, black_box(u64::MAX)))),
            "trap" => panic!("as asked"),
            "output" => Ok(json!("x".repeat(input.get("bytes").and_then(Json::as_u64).unwrap_or(17 << 20) as usize))),
            unknown => Err(Failure::invalid(format!("this guest cannot do `{unknown}`"))),
        }
    }
}

fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn hoard() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

// It keeps nothing in memory, so that it is the stack of calls that runs out, and not the guest's own stack for its variables. The end
// that never comes and the work after the call keep it from becoming a loop.
#[inline(never)]
fn deeper(depth: u64, end: u64) -> u64 {
    if depth == end { depth } else { (deeper(depth + 1, end) ^ depth).rotate_left((depth & 63) as u32) }
}

export!(Conformance);
