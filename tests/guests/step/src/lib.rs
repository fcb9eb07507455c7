//! One small step of a chain: takes an object, counts in it how many steps it has passed, and hands it on.

use pipehost_plugin::{Description, Executor, Failure, Job, Json, export};

struct Step;

impl Executor for Step {
    fn describe() -> Description {
        Description::new("step", "Counts how many steps an object has passed")
    }

    fn process(job: Job) -> Result<Json, Failure> {
        let mut object: Json = job.input()?;
        let fields = object.as_object_mut().ok_or_else(|| Failure::invalid("the input is no object: hand one over"))?;
        let passed = fields.get("passed").and_then(Json::as_u64).unwrap_or_default();
        fields.insert("passed".to_owned(), (passed + 1).into());
        Ok(object)
    }
}

export!(Step);
