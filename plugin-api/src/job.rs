//! The command that a step dispatched.

use serde::de::DeserializeOwned;

use crate::Failure;

/// A job: data only. Each attempt of it carries the same, but for `attempt`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// The same for each attempt of this job, and for no other job: what makes an effect happen once.
    pub key: String,
    /// The run that dispatched it.
    pub run: String,
    /// What request it belongs to.
    pub correlation_id: String,
    /// The pipeline it was dispatched in.
    pub pipeline: String,
    /// The flow it was dispatched in.
    pub flow: String,
    /// The step that dispatched it.
    pub step: String,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// What the step's `with` came to, as JSON text.
    pub input_text: String,
}

impl Job {
    /// The input as the type that the executor works on; `Json` takes any.
    ///
    /// # Errors
    /// `invalid`, with what is wrong and where, if the input does not fit the type.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.input_text)
            .map_err(|error| Failure::invalid(format!("the input of step `{}` does not fit: {error}", self.step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    #[test]
    fn an_input_that_does_not_fit_is_invalid_and_names_the_step() {
        let text = |text: &str| text.to_owned();
        let job = Job {
            id: text("1"),
            key: text("1"),
            run: text("2"),
            correlation_id: text("3"),
            pipeline: text("p"),
            flow: text("main"),
            step: text("fetch"),
            attempt: 1,
            input_text: text("[1, true]"),
        };
        assert_eq!(job.input::<(u8, bool)>(), Ok((1, true)));
        let failure = job.input::<Vec<u8>>().expect_err("a truth value is no number");
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.message.contains("step `fetch`"), "{failure}");
    }
}
