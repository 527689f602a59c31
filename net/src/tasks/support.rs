//! What the code that the attribute makes is built on. Not for other use: it may change at any
//! time.

use std::any::{Any, type_name};
use std::cell::OnceCell;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::future::Future;

use argon_core::payload::Payload;
use argon_core::task::{ErrorKind, TaskError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

pub use inventory;

use super::{Definition, Run};
use crate::call::{self, Call};
use crate::runtime::TaskFailure;
use crate::values::{self, Codec};

/// A task's entry in the list of all.
#[must_use]
pub const fn definition(
    name: &'static str,
    parameters: &'static [&'static str],
    place: &'static str,
    run: Run,
) -> Definition {
    Definition {
        name,
        parameters,
        place,
        run,
    }
}

/// A call with encoded arguments.
pub fn call<T: DeserializeOwned + Any>(
    name: &str,
    codec: Codec,
    arguments: &impl Serialize,
) -> Call<T> {
    call::typed(name, codec, arguments)
}

/// A call whose one argument is bytes.
pub fn call_with_bytes<T: DeserializeOwned + Any>(name: &str, bytes: impl Into<Owned>) -> Call<T> {
    Call::with_bytes(name, bytes.into().0)
}

/// Bytes that can be sent.
#[derive(Debug)]
pub struct Owned(bytes::Bytes);

impl From<Vec<u8>> for Owned {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<bytes::Bytes> for Owned {
    fn from(bytes: bytes::Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&bytes::Bytes> for Owned {
    fn from(bytes: &bytes::Bytes) -> Self {
        Self(bytes.clone())
    }
}

impl From<&Vec<u8>> for Owned {
    fn from(bytes: &Vec<u8>) -> Self {
        Self(bytes.clone().into())
    }
}

impl From<&[u8]> for Owned {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec().into())
    }
}

/// Reads arguments, where the task runs.
///
/// # Errors
/// If they are others than the task's.
pub fn arguments<A: DeserializeOwned + Any>(
    payload: &Payload,
    parameters: &[&str],
) -> Result<(A, Codec), TaskFailure> {
    values::decode_arguments(payload, parameters)
        .map_err(|problem| TaskError::new(ErrorKind::BadPayload, problem.to_string()).into())
}

/// Writes a result, where the task ran.
///
/// # Errors
/// If it cannot be written that way.
pub fn result<T: Serialize + Any>(codec: Codec, value: T) -> Result<Payload, TaskFailure> {
    values::encode_result(codec, value).map_err(|problem| {
        let kind = ErrorKind::Raised("argon::Codec".to_owned());
        TaskError::new(kind, format!("the result is {problem}")).into()
    })
}

/// The type of the good case of a `Result` under another name.
pub trait Fallible {
    /// That type.
    type Value;
}

impl<T, E> Fallible for Result<T, E> {
    type Value = T;
}

/// A task's own error, for the traits that look at what it can do: a method of [`OwnDetail`] is found
/// first, and where that does not hold the one of [`NoDetail`].
#[derive(Debug)]
pub struct Own<'e, E>(pub &'e E);

/// Errors that can be serialised travel whole, as the detail.
pub trait OwnDetail {
    /// The error, written as a result would be; nothing if it cannot be after all.
    fn detail(&self, codec: Codec) -> Payload;
}

impl<E: Serialize> OwnDetail for Own<'_, E> {
    fn detail(&self, codec: Codec) -> Payload {
        values::encode(codec, self.0).unwrap_or_default()
    }
}

/// All others are told by their texts alone.
pub trait NoDetail {
    /// Nothing.
    fn detail(&self, codec: Codec) -> Payload;
}

impl<E> NoDetail for &Own<'_, E> {
    fn detail(&self, _: Codec) -> Payload {
        Payload::empty()
    }
}

/// Makes a task's own error one that travels: its type, its text, and the texts of its causes.
pub fn raised<E>(error: E, detail: Payload) -> TaskFailure
where
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let error: Box<dyn StdError + Send + Sync> = error.into();
    let error = match error.downcast::<TaskFailure>() {
        Ok(failure) => return *failure,
        Err(error) => error,
    };
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors say their cause themselves.
        if !message.contains(&text) {
            let _ = write!(message, ": {text}");
        }
        cause = error.source();
    }
    let kind = ErrorKind::Raised(short_type(type_name::<E>()).to_owned());
    TaskFailure {
        error: Box::new(TaskError::new(kind, message)),
        detail,
    }
}

/// A type's path, without those that say nothing to people.
fn short_type(path: &str) -> &str {
    match path {
        "alloc::string::String" | "&str" => "error",
        path if path.starts_with("alloc::boxed::Box<dyn ") => "error",
        path => path,
    }
}

thread_local! {
    /// This thread's runtime, once a task that is `async` has run on it.
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

/// Runs a task that is `async`, on a runtime of this thread. What it spawns goes on only while a
/// later task runs here.
///
/// # Panics
/// If the system refuses what a runtime needs.
pub fn block_on<F: Future>(task: F) -> F::Output {
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(|| {
            Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the system has what a runtime needs")
        });
        runtime.block_on(task)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_part_of_the_message() {
        let inner = std::io::Error::other("no paper");
        let outer = crate::StartError::Bind {
            address: "a:1".to_owned(),
            error: inner,
        };
        let failure = raised(outer, Payload::empty());
        let ErrorKind::Raised(kind) = &failure.error.kind else {
            panic!("{failure:?}");
        };
        assert!(kind.ends_with("::StartError"), "{kind}");
        assert_eq!(failure.error.message.matches("no paper").count(), 1);
    }

    #[test]
    fn a_failure_of_the_task_s_own_making_is_left_as_it_is() {
        let error = TaskError::new(ErrorKind::Exit(3), "x");
        let mut given = TaskFailure::from(error);
        given.detail = "more".into();
        assert_eq!(raised(given.clone(), Payload::empty()), given);
    }
}
