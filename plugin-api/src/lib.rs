//! The guest SDK of pipehost: an executor as a WebAssembly component, written in Rust.
//!
//! Implement [`Executor`], name it in [`export!`], and build the crate as a `cdylib` for `wasm32-unknown-unknown`.
//! Only the host's interfaces that the code really calls become imports of the component.
//!
//! ```
//! use pipehost_plugin::{Description, Executor, Failure, Job, Json, export, json, log};
//!
//! struct Greeter;
//!
//! impl Executor for Greeter {
//!     fn describe() -> Description {
//!         Description::new("greeter", "Greets whoever is named").with_input(json!({
//!             "type": "object",
//!             "required": ["name"],
//!             "properties": { "name": { "type": "string" } },
//!         }))
//!     }
//!
//!     fn process(job: Job) -> Result<Json, Failure> {
//!         #[derive(serde::Deserialize)]
//!         struct Input {
//!             name: String,
//!         }
//!         let Input { name } = job.input()?;
//!         Ok(json!({ "text": greeting(&name)? }))
//!     }
//! }
//!
//! // What calls nothing of the host is tested as any other Rust function is.
//! fn greeting(name: &str) -> Result<String, Failure> {
//!     match name.trim() {
//!         "" => Err(Failure::invalid("`name` is empty: say whom to greet")),
//!         name => Ok(format!("Hello, {name}!")),
//!     }
//! }
//!
//! export!(Greeter);
//!
//! assert_eq!(greeting(" Ada ").unwrap(), "Hello, Ada!");
//! ```
//!
//! Outside of a host, as in a native test, every call into the host panics: keep what you want to test apart from them.

#[doc(hidden)]
pub mod bridge;
mod description;
mod failure;
mod job;

pub mod config;
pub mod index;
pub mod kv;
pub mod log;
pub mod run;
pub mod secrets;
pub mod sql;

pub use description::{Description, Want};
pub use failure::{Failure, FailureKind};
pub use job::Job;
pub use serde_json::{Value as Json, json};

/// Handles jobs. It never retries and never times itself: the pipeline's policies do.
pub trait Executor {
    /// What it is. Asked while files are checked: nothing of the host can be used here.
    fn describe() -> Description;

    /// Works on one attempt of a job and returns its output.
    ///
    /// # Errors
    /// Why there is none; the kind says what the pipeline may do about it.
    fn process(job: Job) -> Result<Json, Failure>;
}

/// Makes a type that implements [`Executor`] the one that this component exports. Once a crate.
#[macro_export]
macro_rules! export {
    ($executor:ty) => {
        const _: () = {
            struct Exported;

            impl $crate::bridge::abi::Guest for Exported {
                fn describe() -> $crate::bridge::abi::Description {
                    $crate::bridge::describe::<$executor>()
                }

                fn process(job: $crate::bridge::abi::Job) -> ::core::result::Result<::std::string::String, $crate::bridge::abi::Failure> {
                    $crate::bridge::process::<$executor>(job)
                }
            }

    $crate::bridge::abi::export_executor!(Exported with_types_in $crate::bridge::abi);
        };
    };
}
