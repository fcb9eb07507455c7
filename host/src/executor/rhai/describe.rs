//! What a script says of itself: the map that `describe()` gives, or its name and nothing more.

use rhai::{CallFnOptions, Dynamic, Scope};

use super::failure;
use super::load::{Loaded, problem};
use crate::model::executor::{Description, ExecutorReference, Want};
use crate::model::port::CatalogProblem;
use crate::model::types::Type;
use crate::model::value::{Map, Tree};
use crate::script::tree_of;

/// Asks a script what it is; the files that it was read from are not in what comes of it.
pub(super) fn describe(loaded: &Loaded, reference: &ExecutorReference) -> Result<Description, CatalogProblem> {
    let mut description = Description::new(reference.name.as_str(), loaded.digest);
    let is_described = loaded.ast.iter_functions().any(|function| function.name == "describe" && function.params.is_empty());
    if !is_described {
        return Ok(description);
    }
    let place = Some((loaded.source.file.clone(), loaded.source.first_line, 1));
    let help = "give #{ name: \"…\", summary: \"…\", input: #{…}, output: #{…}, config: #{…}, wants: [#{ grant: \"sql\", reason: \"…\" }] }, or leave describe() out";
    let options = CallFnOptions::new();
    let said = loaded.engine.call_fn_with_options::<Dynamic>(options, &mut Scope::new(), &loaded.ast, "describe", ()).map_err(|error| {
        let failed = failure::of_error(*error, &loaded.source, &reference.limits, "it");
        let why = failed.map_or_else(|| "it was stopped".to_owned(), |failed| failed.into_particulars().message);
        problem("E0514", format!("describe() failed: {why}"), place.clone(), help)
    })?;
    let Tree::Map(said) = tree_of(&said) else {
        return Err(problem("E0514", "describe() does not give a map".to_owned(), place, help));
    };
    for (key, part) in &said {
        take(&mut description, key, part).map_err(|why| problem("E0514", format!("describe(): {why}"), place.clone(), help))?;
    }
    Ok(description)
}

fn take(description: &mut Description, key: &str, part: &Tree) -> Result<(), String> {
    match (key, part) {
        ("name", Tree::Text(name)) => name.clone_into(&mut description.name),
        ("summary", Tree::Text(summary)) => summary.clone_into(&mut description.summary),
        ("input", Tree::Map(_)) => description.input = Some(schema(part)),
        ("output", Tree::Map(_)) => description.output = Some(schema(part)),
        ("config", Tree::Map(_)) => description.config = Some(schema(part)),
        ("wants", Tree::List(wants)) => description.wants = wants.iter().map(want).collect::<Result<_, _>>()?,
        ("input" | "output" | "config" | "wants" | "name" | "summary", Tree::Null) => {}
        ("name" | "summary" | "input" | "output" | "config" | "wants", other) => {
            return Err(format!("`{key}` cannot be {}", other.kind()));
        }
        _ => return Err(format!("there is no `{key}`; there is name, summary, input, output, config and wants")),
    }
    Ok(())
}

fn schema(part: &Tree) -> Type {
    Type::from_schema(&serde_json::Value::from(part))
}

fn want(part: &Tree) -> Result<Want, String> {
    let text = |map: &Map, name: &str| map.get(name).and_then(Tree::as_text).map(str::to_owned);
    let map = part.as_map().ok_or_else(|| format!("an entry of `wants` is {}, not a map", part.kind()))?;
    match (text(map, "grant"), text(map, "reason")) {
        (Some(grant), Some(reason)) => Ok(Want { grant, reason }),
        _ => Err("an entry of `wants` has no `grant` or no `reason`".to_owned()),
    }
}
