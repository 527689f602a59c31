//! A task that is to run somewhere, and the type of its result.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::{Priority, TaskSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::values::{self, Codec, ValueError};

/// Reads a result.
pub(crate) type Read<T> = fn(Payload) -> Result<T, ValueError>;

/// A call of a task, to be handed to a [`Client`](crate::Client): which task, its arguments, the
/// type of its result, and how it is to be treated.
///
/// Functions with [`#[argon::task]`](crate::task) make calls; [`call()`] makes one of any other
/// task by its name. A call whose arguments cannot be encoded says so when it is sent.
///
/// ```
/// use std::time::Duration;
///
/// #[argon::task]
/// fn add(x: i64, y: i64) -> i64 {
///     x + y
/// }
///
/// let call = add(2, 3)
///     .priority(argon::Priority::HIGH)
///     .deadline(Duration::from_secs(10))
///     .at_most_once();
/// # let _ = call;
/// ```
#[must_use = "a call does nothing until it is handed to a client"]
pub struct Call<T> {
    spec: Result<TaskSpec, Unsendable>,
    read: Read<T>,
}

/// Why a call cannot be sent.
#[derive(Clone, Debug)]
struct Unsendable {
    task: String,
    problem: String,
}

impl<T> Clone for Call<T> {
    fn clone(&self) -> Self {
        Self {
            spec: self.spec.clone(),
            read: self.read,
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// A call of a task in any language, by its name. The arguments are a tuple, an array or a `Vec`
/// and travel as JSON; [`Arguments`] names some of them. The type of the result is given, or
/// follows from how the result is used; `serde_json::Value` takes anything that is JSON, and
/// `Vec<u8>` or `Bytes` take bytes.
///
/// ```no_run
/// # async fn example(client: argon::Client) -> Result<(), argon::Error> {
/// let divisor: u64 = client.process(argon::call("python:math:gcd", (12, 18))).await?;
/// let text = argon::call::<String>("perl:My::Class", ["a", "b"]);
/// # let _ = (divisor, text);
/// # Ok(())
/// # }
/// ```
pub fn call<T: DeserializeOwned + Any>(name: &str, arguments: impl Serialize) -> Call<T> {
    Call::new(
        name,
        values::encode_list(&arguments),
        values::decode_result::<T>,
    )
}

/// Arguments some of which are named, for languages that name them.
///
/// ```
/// use std::collections::BTreeMap;
///
/// let arguments = argon::Arguments {
///     args: ("ff",),
///     kwargs: BTreeMap::from([("base", 16)]),
/// };
/// let number = argon::call::<i64>("python:builtins:int", arguments);
/// # let _ = number;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Arguments<A, K> {
    /// By their place: a tuple, an array or a `Vec`.
    pub args: A,
    /// By their name: a map, or a struct.
    pub kwargs: K,
}

/// Of functions with the attribute.
pub(crate) fn typed<T: DeserializeOwned + Any>(
    name: &str,
    codec: Codec,
    arguments: &impl Serialize,
) -> Call<T> {
    let arguments = values::encode(codec, arguments);
    Call::new(name, arguments, values::decode_result::<T>)
}

impl Call<Payload> {
    /// A call with any payload, whose result is taken as it comes, whatever it holds.
    pub fn raw(name: &str, payload: impl Into<Payload>) -> Self {
        Self::new(name, Ok(payload.into()), Ok)
    }
}

impl<T: DeserializeOwned + Any> Call<T> {
    /// A call with one argument that is bytes, which travel as they are.
    pub fn with_bytes(name: &str, bytes: impl Into<bytes::Bytes>) -> Self {
        let payload = Payload::from(bytes.into());
        Self::new(name, Ok(payload), values::decode_result::<T>)
    }
}

impl<T> Call<T> {
    fn new(name: &str, payload: Result<Payload, ValueError>, read: Read<T>) -> Self {
        let spec = match (Name::new(name), payload) {
            (Ok(name), Ok(payload)) => Ok(TaskSpec::new(name, payload)),
            (Err(error), _) => Err(format!("no task can have this name: {error}")),
            (_, Err(problem)) => Err(problem.to_string()),
        };
        let task = || name.to_owned();
        Self {
            spec: spec.map_err(|problem| Unsendable {
                task: task(),
                problem,
            }),
            read,
        }
    }

    /// What is sent, and how what comes back is read.
    pub(crate) fn into_parts(self) -> Result<(TaskSpec, Read<T>), Error> {
        match self.spec {
            Ok(spec) => Ok((spec, self.read)),
            Err(Unsendable { task, problem }) => Err(Error::Arguments { task, problem }),
        }
    }

    fn with(mut self, set: impl FnOnce(&mut TaskSpec)) -> Self {
        if let Ok(spec) = &mut self.spec {
            set(spec);
        }
        self
    }

    /// How important it is; [`Priority::NORMAL`] if nothing is said.
    pub fn priority(self, priority: Priority) -> Self {
        self.with(|spec| spec.priority = priority)
    }

    /// If it has not ended this long after it was handed to the client, it ends as
    /// [`Error::Expired`]: dropped from the queue, or killed.
    pub fn deadline(self, deadline: Duration) -> Self {
        self.with(|spec| spec.deadline = Some(deadline))
    }

    /// A manager that cannot start it within this time, as far as it can tell, rejects it now and
    /// not later. The time that it waits in the client, which sends no more than the manager
    /// takes, does not count; a [`deadline`](Self::deadline) bounds all of it.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        self.with(|spec| spec.max_wait = Some(max_wait))
    }

    /// An attempt that runs longer is killed, and the task fails.
    pub fn time_limit(self, limit: Duration) -> Self {
        self.with(|spec| spec.time_limit = Some(limit))
    }

    /// Never starts it twice: if an attempt may have started and nobody knows what became of it,
    /// the task ends as [`Error::Lost`] and does not run again.
    pub fn at_most_once(self) -> Self {
        self.with(|spec| spec.at_most_once = true)
    }

    /// How many attempts may be ended by the loss of a worker or the crash of a pool process: 1
    /// to 16, and 3 if nothing is said. Errors that the task itself gives are final.
    pub fn max_attempts(self, attempts: u8) -> Self {
        self.with(|spec| spec.max_attempts = attempts)
    }

    /// How often it is sent again if a full manager rejects it; otherwise as often as the
    /// client's own setting says.
    pub fn retries(self, retries: u32) -> Self {
        self.with(|spec| spec.retries = Some(retries))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use argon_core::payload::Content;

    use super::*;

    fn spec<T>(call: Call<T>) -> TaskSpec {
        call.into_parts().unwrap().0
    }

    #[test]
    fn options_reach_the_task() {
        let second = Duration::from_secs(1);
        let made = call::<()>("x", ())
            .priority(Priority::LOW)
            .deadline(second)
            .max_wait(2 * second)
            .time_limit(3 * second)
            .at_most_once()
            .max_attempts(5)
            .retries(7);
        let expected = TaskSpec {
            priority: Priority::LOW,
            deadline: Some(second),
            max_wait: Some(2 * second),
            time_limit: Some(3 * second),
            at_most_once: true,
            max_attempts: 5,
            retries: Some(7),
            ..TaskSpec::new(Name::new("x").unwrap(), Payload::new(Content::JSON, "[]"))
        };
        assert_eq!(spec(made), expected);
    }

    #[test]
    fn named_arguments_are_an_object() {
        let kwargs = BTreeMap::from([("base", 16)]);
        let made = call::<i64>(
            "x",
            Arguments {
                args: ("ff",),
                kwargs,
            },
        );
        let expected = r#"{"args":["ff"],"kwargs":{"base":16}}"#;
        assert_eq!(&spec(made).payload[..], expected.as_bytes());
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        let unsendable = BTreeMap::from([((1, 2), 3)]);
        for (made, reason) in [
            (call::<()>("", ()), "at least one character"),
            (call("x", 5), "(x,)"),
            (call("x", (unsendable,)), "key must be a string"),
        ] {
            let error = made.priority(Priority::LOW).into_parts().unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
