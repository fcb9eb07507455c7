//! Whether a state that is there still fits after a reload. New fields take their initial value; a field that is gone or of another type
//! would lose or twist what was set, and is refused unless the file says `reset: true`.

use super::codes;
use super::pipeline::{Pipeline, Plan, StateSettings};
use crate::model::diagnostic::{Diagnostic, Place};
use crate::model::types::Type;

/// Every field that a swap from the old plan to the new one would lose or twist. Empty for a start, and where `reset` is set.
pub fn misfits(old: &Plan, new: &Plan) -> Vec<Diagnostic> {
    let pairs = new.pipelines.values().filter_map(|new| Some((old.pipelines.get(&new.name)?, new)));
    pairs.filter(|(_, new)| !new.state.reset).flat_map(|(old, new)| of_pipeline(old, new)).collect()
}

/// Whether all that was set under the old settings means the same under the new ones.
pub fn keeps_shape(old: &StateSettings, new: &StateSettings) -> bool {
    changed(old, new).next().is_none()
}

fn of_pipeline(old: &Pipeline, new: &Pipeline) -> Vec<Diagnostic> {
    let place = new.state.place.clone().unwrap_or_else(|| Place::whole(new.file.clone()));
    let mistake = |(name, was, is): (&str, &Type, Option<&Type>)| {
        let message = match is {
            Some(is) => format!("the state of `{}` is in use, and its field `{name}` would change from {was} to {is}", new.name),
            None => format!("the state of `{}` is in use, and its field `{name}` would be lost", new.name),
        };
        Diagnostic::error(codes::STATE_SHAPE, place.clone(), message)
            .with_help("put the field back, or write `reset: true` below `state`: every state of this pipeline begins anew then")
    };
    changed(&old.state, &new.state).map(mistake).collect()
}

/// The old fields that are gone or of another type.
fn changed<'a>(old: &'a StateSettings, new: &'a StateSettings) -> impl Iterator<Item = (&'a str, &'a Type, Option<&'a Type>)> {
    let now = |name: &str| new.types.iter().find(|(field, _)| field == name).map(|(_, declared)| declared);
    let compared = old.types.iter().map(move |(name, was)| (name.as_str(), was, now(name)));
    compared.filter(|(_, was, is)| *is != Some(*was))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(fields: &[(&str, Type)]) -> StateSettings {
        let types = fields.iter().map(|(name, declared)| ((*name).to_owned(), declared.clone())).collect();
        StateSettings { types, ..StateSettings::default() }
    }

    #[test]
    fn a_new_field_keeps_the_shape_and_so_does_another_order() {
        let old = settings(&[("status", Type::String), ("count", Type::Int)]);
        let new = settings(&[("count", Type::Int), ("more", Type::Bool), ("status", Type::String)]);
        assert!(keeps_shape(&old, &new));
        assert!(!keeps_shape(&new, &old), "`more` would be lost");
    }

    #[test]
    fn a_field_of_another_type_does_not_keep_it() {
        let (old, new) = (settings(&[("count", Type::Int)]), settings(&[("count", Type::String)]));
        assert_eq!(changed(&old, &new).collect::<Vec<_>>(), [("count", &Type::Int, Some(&Type::String))]);
    }
}
