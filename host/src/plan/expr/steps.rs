//! The outputs of the steps that an expression may read.

use std::sync::Arc;

use crate::model::types::{Field, Type};

/// Steps by id, each with the type of its output. A copy shares them, and is made for each expression of a flow; a list of its own would make
/// the time to load a flow grow with the square of its steps.
#[derive(Clone, Debug, Default)]
pub struct Steps(Arc<Vec<Arc<(String, Type)>>>);

impl Steps {
    /// One more step. What is shared with copies stays theirs as it is.
    pub fn push(&mut self, id: &str, output: Type) {
        Arc::make_mut(&mut self.0).push(Arc::new((id.to_owned(), output)));
    }

    /// The output of a step that is seen.
    pub fn get(&self, id: &str) -> Option<&Type> {
        self.iter().find(|(known, _)| *known == id).map(|(_, output)| output)
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Type)> + Clone {
        self.0.iter().map(|step| (step.0.as_str(), &step.1))
    }

    /// What `steps` is as a whole.
    pub(super) fn record(&self) -> Type {
        let field =
            |(id, output): (&str, &Type)| Field { name: id.to_owned(), value_type: output.clone(), default: None, description: None };
        Type::Record(self.iter().map(field).collect())
    }
}

impl<'a> FromIterator<(&'a str, Type)> for Steps {
    fn from_iter<I: IntoIterator<Item = (&'a str, Type)>>(steps: I) -> Self {
        Self(Arc::new(steps.into_iter().map(|(id, output)| Arc::new((id.to_owned(), output))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_what_is_added_later() {
        let mut steps: Steps = [("a", Type::Int)].into_iter().collect();
        let before = steps.clone();
        steps.push("b", Type::Bool);
        assert_eq!((steps.get("a"), steps.get("b")), (Some(&Type::Int), Some(&Type::Bool)));
        assert_eq!(before.get("b"), None);
    }
}
