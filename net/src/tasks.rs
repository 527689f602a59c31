//! A program's own tasks: what they are called, and how they are run.

mod pool;
#[doc(hidden)]
pub mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use argon_core::capabilities::Capabilities;
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::{ErrorKind, TaskError};

pub use self::pool::{is_pool, serve, serve_if_pool};
use crate::error::StartError;
use crate::executor::ThreadExecutor;
use crate::runtime::{self, TaskFailure};

/// What the attribute [`#[argon::task]`](crate::task) makes of a function: a type of the
/// function's name, which [`tasks!`](crate::tasks) takes.
pub trait Task {
    /// The task.
    const DEFINITION: Definition;
}

/// Runs a task: arguments in, result out.
type Run = fn(Payload) -> Result<Payload, TaskFailure>;

/// A task of this program.
#[derive(Clone, Copy)]
pub struct Definition {
    name: &'static str,
    parameters: &'static [&'static str],
    place: &'static str,
    run: Run,
}

impl Definition {
    /// What it is called on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The names of its arguments.
    #[must_use]
    pub const fn parameters(&self) -> &'static [&'static str] {
        self.parameters
    }

    /// The file and line where it is defined.
    #[must_use]
    pub const fn place(&self) -> &'static str {
        self.place
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition")
            .field("name", &self.name)
            .field("parameters", &self.parameters)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

inventory::collect!(Definition);

/// Tasks that a pool process, or threads of this one, can run.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    known: BTreeMap<Name, Definition>,
    /// The first thing that is wrong with them; said when they are to be run.
    problem: Option<String>,
}

impl Tasks {
    /// All functions with [`#[argon::task]`](crate::task) that are linked into this program.
    ///
    /// The linker leaves out a library of which nothing is used at all; one that only has tasks
    /// needs `use that_library as _;` somewhere.
    #[must_use]
    pub fn all() -> Self {
        inventory::iter::<Definition>.into_iter().copied().collect()
    }

    /// Their definitions, in the order of their names.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.known.values()
    }

    /// What a pool that runs them tells its manager.
    ///
    /// # Errors
    /// If there are none, or more than a worker may have, or two have the same name.
    pub fn capabilities(&self) -> Result<Capabilities, StartError> {
        if let Some(problem) = &self.problem {
            return Err(StartError::Tasks(problem.clone()));
        }
        if self.known.is_empty() {
            return Err(StartError::Tasks(
                "this program has no tasks; put #[argon::task] on a function, and `use` the \
                 libraries that have some"
                    .to_owned(),
            ));
        }
        Capabilities::new(self.known.keys().cloned())
            .map_err(|error| StartError::Tasks(error.to_string()))
    }

    /// Runs one here.
    ///
    /// # Errors
    /// If there is none of this name, or it fails.
    pub fn run(&self, name: &Name, payload: Payload) -> Result<Payload, TaskFailure> {
        match self.known.get(name) {
            Some(definition) => (definition.run)(payload),
            None => {
                let known: Vec<&str> = self.known.keys().map(Name::as_str).collect();
                let text = format!("this program has {}", known.join(", "));
                Err(TaskError::new(ErrorKind::UnknownTask, text).into())
            }
        }
    }

    /// Runs them as a pool process until the worker has no more for it; see [`serve`].
    #[must_use]
    pub fn serve(self) -> ExitCode {
        pool::run(self)
    }

    /// Runs them on threads of this process, without isolation: for tasks of microseconds. To be
    /// handed to a [`WorkerServer`](crate::WorkerServer) or [`Standalone`](crate::Standalone).
    ///
    /// A task that panics fails; so that its error says where, the process's panic hook is
    /// extended (it still does what it did).
    ///
    /// # Errors
    /// If there are none, or more than a worker may have, or two have the same name.
    pub fn threads(self) -> Result<ThreadExecutor, StartError> {
        let capabilities = self.capabilities()?;
        runtime::remember_places();
        Ok(ThreadExecutor::new(capabilities, move |name, payload| {
            self.run(name, payload)
        }))
    }
}

impl FromIterator<Definition> for Tasks {
    fn from_iter<I: IntoIterator<Item = Definition>>(definitions: I) -> Self {
        let mut tasks = Self::default();
        for definition in definitions {
            let problem = match Name::new(definition.name) {
                Err(error) => format!("{}: {error}", definition.place),
                Ok(name) => match tasks.known.insert(name, definition) {
                    Some(other) if other.place != definition.place => format!(
                        "two tasks are called {:?}, at {} and at {}; name one of them with \
                         #[argon::task(name = \"...\")]",
                        definition.name, other.place, definition.place
                    ),
                    _ => continue,
                },
            };
            tasks.problem.get_or_insert(problem);
        }
        tasks
    }
}

/// Some tasks of this program, by the names of their functions, as [`Tasks`]. To have all of
/// them, [`Tasks::all`].
///
/// ```
/// # #[argon::task]
/// # fn add(x: i64, y: i64) -> i64 { x + y }
/// # #[argon::task]
/// # fn double(x: i64) -> i64 { 2 * x }
/// let tasks = argon::tasks![add, double];
/// assert_eq!(tasks.definitions().count(), 2);
/// ```
#[macro_export]
macro_rules! tasks {
    ($($task:path),* $(,)?) => {
        <$crate::Tasks as ::core::iter::FromIterator<$crate::Definition>>::from_iter(
            [$(<$task as $crate::Task>::DEFINITION),*]
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &'static str, place: &'static str) -> Definition {
        Definition {
            name,
            parameters: &[],
            place,
            run: Ok,
        }
    }

    fn problem(definitions: impl IntoIterator<Item = Definition>) -> String {
        let tasks: Tasks = definitions.into_iter().collect();
        tasks.capabilities().unwrap_err().to_string()
    }

    #[test]
    fn two_tasks_of_one_name_are_no_pool() {
        let text = problem([definition("x", "a.rs:1"), definition("x", "b.rs:2")]);
        assert!(text.contains("a.rs:1") && text.contains("b.rs:2"), "{text}");
        let same: Tasks = [definition("x", "a.rs:1"); 2].into_iter().collect();
        assert!(same.capabilities().is_ok());
    }

    #[test]
    fn no_tasks_are_no_pool() {
        assert!(problem([]).contains("#[argon::task]"));
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_are_known() {
        let tasks: Tasks = [definition("x", ""), definition("y", "")]
            .into_iter()
            .collect();
        let error = tasks
            .run(&Name::new("z").unwrap(), Payload::empty())
            .unwrap_err();
        assert_eq!(error.error.kind, ErrorKind::UnknownTask);
        assert!(error.error.message.contains("x, y"));
    }
}
