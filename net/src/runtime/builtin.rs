//! The runtime that a pool runs when no program is named: commands, and tasks for trying out.
//!
//! | task    | payload                  | result                        |
//! |---------|--------------------------|-------------------------------|
//! | `run`   | a [`CommandSpec`]        | its [`CommandOutput`](crate::command::CommandOutput) |
//! | `echo`  | anything                 | the same                      |
//! | `sleep` | seconds, as text         | nothing                       |
//! | `noop`  | ignored                  | nothing                       |
//!
//! A command that ends with another code than 0 fails, as does one that a signal ends; its output
//! is the detail of the failure. One that is not found fails with code 127, one that cannot be
//! run with 126, as in a shell.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use argon_core::capabilities::Capabilities;
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::{ErrorKind, TaskError};
use nix::sys::prctl;
use signal_hook::consts::SIGTERM;

use super::TaskFailure;
use super::run::Runner;
use super::serve::{leave_at, payload_max, serve};
use crate::command::{CommandSpec, RUN};

/// Runs the built-in runtime on standard input and output. Must be the process's own business:
/// leftovers of commands, even those that have become daemons, are killed after each.
#[must_use]
pub fn main() -> ExitCode {
    let mut runner = Runner::new(payload_max());
    // The command is told to end along with us. What it has written until then is passed on.
    let served = leave_at(SIGTERM)
        .and_then(|()| prctl::set_child_subreaper(true).map_err(Into::into))
        .and_then(|()| {
            serve(capabilities(true), |name, payload| {
                if name.as_str() == RUN {
                    let spec = CommandSpec::decode(&payload).map_err(|error| {
                        TaskError::new(ErrorKind::BadPayload, format!("no command: {error}"))
                    })?;
                    runner.run(&spec)
                } else {
                    simple(name, payload)
                }
            })
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the pool process ends: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What [`simple`] runs, and commands too if there is a process to run them in.
///
/// # Panics
/// Never: they are few and valid names.
#[must_use]
pub fn capabilities(commands: bool) -> Capabilities {
    let simple = ["noop", "echo", "sleep"];
    let all = simple.into_iter().chain(commands.then_some(RUN));
    let names = all.map(|text| Name::new(text).expect("a valid name"));
    Capabilities::new(names).expect("they are few")
}

/// The tasks that need no process: `echo`, `sleep` and `noop`.
///
/// # Errors
/// If the task has another name, or `sleep` no number.
pub fn simple(name: &Name, payload: Payload) -> Result<Payload, TaskFailure> {
    match name.as_str() {
        "noop" => Ok(Payload::empty()),
        "echo" => Ok(payload),
        "sleep" => {
            thread::sleep(seconds(&payload)?);
            Ok(Payload::empty())
        }
        _ => {
            let text =
                format!("no task \"{name}\" here: the built-in ones are run, echo, sleep and noop");
            Err(TaskError::new(ErrorKind::UnknownTask, text).into())
        }
    }
}

fn seconds(payload: &[u8]) -> Result<Duration, TaskError> {
    let text = std::str::from_utf8(payload).ok();
    let seconds = text.and_then(|text| text.trim().parse().ok());
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| {
            let text = "sleep takes a number of seconds, such as 0.5".to_owned();
            TaskError::new(ErrorKind::BadPayload, text)
        })
}
