//! What runs inside a pool process: a loop that takes attempts from standard input and answers on
//! standard output.
//!
//! A program of your own hands its function to [`serve`]; without one, a pool runs
//! [`builtin::main`].

mod answers;
pub mod builtin;
mod panics;
mod run;
mod serve;

use std::fmt;

use argon_core::payload::Payload;
use argon_core::task::TaskError;

pub(crate) use self::panics::{catch, remember_places};
pub use self::serve::serve;

/// A task's error, and what the runtime adds to it for whoever submitted the task. A task that
/// returns it as its own error decides all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailure {
    /// The error.
    pub error: Box<TaskError>,
    /// The detail; often empty.
    pub detail: Payload,
}

impl From<TaskError> for TaskFailure {
    fn from(error: TaskError) -> Self {
        Self {
            error: Box::new(error),
            detail: Payload::empty(),
        }
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl std::error::Error for TaskFailure {}
