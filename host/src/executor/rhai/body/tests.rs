//! A body comes to what its call comes to.

use proptest::prelude::*;
use rhai::{CallFnOptions, Map};

use super::*;
use crate::executor::rhai::engine::engine;
use crate::model::grant::Limits;

/// What a script gives for each of these inputs: its body evaluated with what was kept of the one before, and called as Rhai does it.
fn both_ways(script: &str, inputs: &[Dynamic]) -> (Vec<String>, Vec<String>) {
    let engine = engine(&Limits::default());
    let ast = engine.compile(script).unwrap_or_else(|error| panic!("{script}: {error}"));
    let body = Body::of(&ast, &Reads::of(&ast, "job")).unwrap_or_else(|| panic!("{script}: it has only functions"));
    let job = |input: &Dynamic| Dynamic::from_map(Map::from_iter([("input".into(), input.clone())]));
    let said = |ended: Result<Dynamic, Box<EvalAltResult>>| match ended {
        Ok(value) => format!("{value:?}"),
        Err(error) => match *error {
            EvalAltResult::ErrorInFunctionCall(name, _, inner, _) if name == "process" => inner.to_string(),
            other => other.to_string(),
        },
    };
    let mut kept = body.room();
    let evaluate = |input: &Dynamic| {
        let mut global = engine.new_global_runtime_state();
        global.lib.push(ast.shared_lib().clone());
        let first = if body.takes_input() { input.clone() } else { job(input) };
        let ended = said(body.evaluate(&engine, &mut global, &mut kept, first));
        let left: Vec<_> = kept.scope.iter_raw().collect();
        assert!(matches!(left.as_slice(), [(_, false, value)] if value.is_unit()), "{script}: nothing of a job is kept: {left:?}");
        ended
    };
    let evaluated = inputs.iter().map(evaluate).collect();
    let call = |input| said(engine.call_fn_with_options(CallFnOptions::new(), &mut Scope::new(), &ast, "process", (job(input),)));
    (evaluated, inputs.iter().map(call).collect())
}

#[test]
fn a_body_comes_to_what_its_call_comes_to() {
    let input = |n: i64| Dynamic::from_map(Map::from_iter([("n".into(), n.into()), ("list".into(), Dynamic::from_array(vec![n.into()]))]));
    let inputs = [input(3), input(3), input(1), Dynamic::UNIT, input(5)];
    for body in [
        "let x = job.input; x.n += 1; x",
        "let x = job.input; x",
        "let x = job.input;",
        "const x = job.input; x",
        "let x = job.input; let x = x.n; x",
        "let x = job.input; let y = x; y.n = 9; x",
        "let x = job.input; const x = x; x",
        "let x = job.input; const x = x; throw x.n",
        "let x = job.input; const x = #{ t: x.n }; exit(x.t)",
        "let x = job.input; if x.n == 1 { throw \"no\" } const x = #{ who: x.n, at: 1 }; x",
        "let x = job.input; let f = || x.n; const x = f; x.call()",
        "let x = job?.input; x",
        "const job = job.input; job",
        "const job = 1; job",
        "let x = job.input; { let x = 5; } x",
        "let x = job.input; { const x = 5; } x",
        "let x = job.input; let f = |k| x.n + k; x.n = 7; [f.call(1), x.n]",
        "let x = job.input; let f = |k| { x.n += k; x.n }; f.call(1); x",
        "let x = job.input; if x.n > 2 { return x.list; } x",
        "let x = job.input; if x.n > 2 { exit(x.n); } x",
        "let x = job.input; helper(x.n); x",
        "let x = job.input; for x in 0..3 { if x == 1 { break; } } x",
        "let x = job.input; throw x.n; x",
        "let x = job.input; x.missing.deeper; x",
        "let x = job.input; x.n = \"a\" - 1; x",
        "let x = job.input; let a = 1; let b = 2; let c = 3; switch x.n { 3 => a + b + c, _ => 0 }",
        "let x = job.input; let y = switch x.n { 3 => { let z = 1; z }, _ => 0 }; y",
        "job.input.n += 1; job",
        "let y = job.input.n; let job = y + 1; job",
        "let y = 1; const z = y + 1; z",
        "let y = 1; let y = y + 1; let w = y; y",
        "let y = 0; while y < 5 { y += 1; } y",
        "let y = Fn(\"helper\"); y.call(2)",
        "helper",
        "job.input.n.helper_of_this()",
        "let n = job.input.n; if n > 0 { process(#{ input: #{ n: n - 1 } }) } else { \"bottom\" }",
        "const y = 5; let z = helper(y); z",
        "try { throw 1 } catch (e) { e } ",
        "",
    ] {
        let script = format!(
            "fn helper(x) {{ let y = x * 2; y }} fn helper_of_this() {{ this + 1 }} \
             fn process(job) {{ {body} }}"
        );
        let (evaluated, called) = both_ways(&script, &inputs);
        assert_eq!(evaluated, called, "{body}");
    }
}

/// Statements that have to do with variables: of the same name, constant, in blocks, shared, and out of the middle.
const STATEMENTS: [&str; 26] = [
    "let x = job.input;",
    "let x = job.input;",
    "const x = job.input;",
    "let x = 5;",
    "const x = x;",
    "let x = x;",
    "let y = x;",
    "const y = 2;",
    "let y = 1;",
    "x += 1;",
    "y = x;",
    "if x == 1 { return y; }",
    "if x == 3 { throw x; }",
    "if x == 5 { exit(x); }",
    "{ let x = 9; y = x; }",
    "{ const y = 3; x = y; }",
    "let f = || x;",
    "const x = f;",
    "x = f.call();",
    "f.call();",
    "for i in 0..2 { let y = i; x = y; }",
    "for x in 0..2 { y = x; }",
    "let job = 3;",
    "switch x { 3 => { let x = 7; y = x; } _ => () }",
    "try { x.nothing(); } catch (y) { x = 1; }",
    "while y < 3 { y += 1; let x = y; }",
];
const LAST: [&str; 8] = ["x", "y", "job", "f", "x;", "[x, y]", "return x;", ""];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_its_statements_are_a_body_comes_to_what_its_call_comes_to(
        statements in prop::collection::vec(prop::sample::select(&STATEMENTS[..]), 0..7),
        takes in any::<bool>(),
        last in prop::sample::select(&LAST[..]),
    ) {
        let script = format!("fn process(job) {{ {} {} {last} }}", if takes { STATEMENTS[0] } else { "" }, statements.join(" "));
        prop_assume!(engine(&Limits::default()).compile(&script).is_ok());
        let (evaluated, called) = both_ways(&script, &[1.into(), 3.into(), 4.into(), 5.into(), "a".into(), 4.into()]);
        prop_assert_eq!(evaluated, called, "{}", script);
    }
}

#[test]
fn a_script_with_more_than_functions_is_called() {
    let engine = engine(&Limits::default());
    for (script, is_called) in [
        ("fn process(job) { job }", false),
        ("const A = 1; fn process(job) { job }", true),
        ("fn process(job) { job } fn int.process(x) { x }", true),
        ("fn process(job) { job } fn process(a, b) { a }", false),
        ("fn process(job) { let x = job.input; is_def_var(\"job\") }", true),
        ("fn process(job) { let f = Fn(\"is_def_var\"); f.call(\"job\") }", true),
    ] {
        let ast = engine.compile(script).unwrap_or_else(|error| panic!("{script}: {error}"));
        assert_eq!(Body::of(&ast, &Reads::All).is_none(), is_called, "{script}");
    }
}

#[test]
fn a_script_may_call_as_deep_as_its_limit_says() {
    let limits = Limits { call_depth: 8, ..Limits::default() };
    let engine = engine(&limits);
    for (depth, ends) in [(8, true), (9, false)] {
        let script = format!("fn deep(n) {{ if n > 1 {{ deep(n - 1) }} else {{ 0 }} }} fn process(job) {{ deep({depth}) }}");
        let ast = engine.compile(&script).expect("it is a script");
        let body = Body::of(&ast, &Reads::All).expect("it has only functions");
        let mut global = engine.new_global_runtime_state();
        global.lib.push(ast.shared_lib().clone());
        let ended = body.evaluate(&engine, &mut global, &mut body.room(), Dynamic::UNIT);
        assert_eq!(ended.is_ok(), ends, "{depth}: {ended:?}");
    }
}
