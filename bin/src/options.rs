//! Options that several commands have.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use argon::command::CommandSpec;
use argon::{Priority, TaskSpec};
use clap::{Args, CommandFactory as _};

use crate::keys::KeyArgs;
use crate::problem::Problem;
use crate::units::{self, BadValue};

/// Where tasks go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where it runs")]
pub(crate) struct ClusterArgs {
    /// Manager, or worker that serves clients itself; given more than once, the first that answers
    ///
    /// Without one, everything runs in a pool of this process.
    #[arg(
        long,
        short,
        value_name = "HOST:PORT",
        env = "ARGON_MANAGER",
        value_delimiter = ',',
        value_parser = address
    )]
    pub(crate) manager: Vec<String>,
    /// Give up if no manager has been reached after this long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Without --manager: how many run at once [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) workers: Option<u32>,
    /// Largest payload that is sent, at most 1GiB; without --manager also the largest result
    /// [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::memory_size)]
    pub(crate) max_payload: Option<usize>,
    /// Log what happens, on standard error
    #[arg(long, short)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
}

/// What is asked of a task.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tasks")]
pub(crate) struct TaskArgs {
    /// How important: high, normal, low, or 0 (most) to 7 (least)
    #[arg(long, value_name = "PRIORITY", default_value = "normal", value_parser = priority)]
    pub(crate) priority: Priority,
    /// Kill it when it has run this long
    #[arg(long, value_name = "DURATION", value_parser = units::some_duration)]
    pub(crate) time_limit: Option<Duration>,
    /// Give it up when it has not ended this long after being submitted
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) deadline: Option<Duration>,
    /// A manager rejects it if it cannot start within this time; it is submitted again as often as
    /// --retries says
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) max_wait: Option<Duration>,
    /// How often it may be started when workers are lost or crash under it, as far as its manager
    /// knows: what a manager that died had started is not counted
    #[arg(
        long,
        value_name = "N",
        default_value = "3",
        value_parser = clap::value_parser!(u8).range(1..=16)
    )]
    pub(crate) max_attempts: u8,
    /// Never start it twice: if its worker is lost, report that it may have run
    #[arg(long, conflicts_with = "max_attempts")]
    pub(crate) at_most_once: bool,
}

impl TaskArgs {
    /// Puts what was asked for into a task.
    pub(crate) fn apply(&self, spec: &mut TaskSpec) {
        spec.priority = self.priority;
        spec.time_limit = self.time_limit;
        spec.deadline = self.deadline;
        spec.max_wait = self.max_wait;
        spec.max_attempts = self.max_attempts;
        spec.at_most_once = self.at_most_once;
    }
}

/// Where and how commands run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Commands")]
pub(crate) struct CommandArgs {
    /// Directory that the command runs in, on every worker [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Pass this environment variable on, or set it; may be given more than once
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
}

impl CommandArgs {
    /// A command without arguments that has the directory and variables.
    pub(crate) fn command(&self) -> Result<CommandSpec, Problem> {
        let cwd = match &self.cwd {
            // What it is relative to is this program's directory, not the worker's.
            Some(cwd) => std::path::absolute(cwd)
                .map_err(|error| Problem::new(format!("--cwd {}: {error}", cwd.display())))?,
            None => std::env::current_dir().map_err(|error| {
                Problem::new(format!(
                    "there is no current directory ({error}); name one with --cwd"
                ))
            })?,
        };
        let env = self.env.iter().map(variable).collect::<Result<_, _>>()?;
        Ok(CommandSpec {
            env,
            cwd: Some(cwd.into_os_string().into_vec()),
            ..CommandSpec::default()
        })
    }
}

fn variable(text: &OsString) -> Result<(Vec<u8>, Vec<u8>), Problem> {
    let bytes = text.as_bytes();
    if let Some(equals) = bytes.iter().position(|byte| *byte == b'=') {
        if equals == 0 {
            return Err(Problem::new(format!(
                "--env {}: there is no name; give it as NAME or NAME=VALUE",
                text.display()
            )));
        }
        return Ok((bytes[..equals].to_vec(), bytes[equals + 1..].to_vec()));
    }
    match std::env::var_os(text) {
        Some(value) => Ok((bytes.to_vec(), value.into_vec())),
        None => Err(Problem::new(format!(
            "--env {}: no such variable is set; set it, or give --env {0}=VALUE",
            text.display()
        ))),
    }
}

/// Refuses a command that is a misspelt option of `argon SUBCOMMAND`.
pub(crate) fn check_program(subcommand: &str, program: &OsString) -> Result<(), Problem> {
    let text = program.to_string_lossy();
    if !text.starts_with('-') || text == "-" {
        return Ok(());
    }
    let cli = crate::Cli::command();
    let options = cli
        .find_subcommand(subcommand)
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")));
    let given = text.split('=').next().unwrap_or_default();
    let likeness = |option: &String| strsim::jaro_winkler(option, given);
    let nearest = options.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match nearest.filter(|nearest| likeness(nearest) > LIKE) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("see argon {subcommand} --help"),
    };
    Err(Problem::new(format!(
        "there is no option {given}: {hint} (To run a program of that name, give its path: ./{given})"
    )))
}

/// How alike an option must be to be suggested, from 0 to 1.
const LIKE: f64 = 0.8;

/// Checks that an address has a host and a port.
pub(crate) fn address(text: &str) -> Result<String, BadValue> {
    let wrong = || BadValue::new(text, "is not HOST:PORT; write it like 127.0.0.1:8000");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let number: u16 = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || number == 0 {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

fn priority(text: &str) -> Result<Priority, BadValue> {
    let level = match text {
        "high" => return Ok(Priority::HIGH),
        "normal" => return Ok(Priority::NORMAL),
        "low" => return Ok(Priority::LOW),
        _ => text.parse().ok().and_then(Priority::new),
    };
    level.ok_or_else(|| {
        let problem = "is not a priority; use high, normal, low, or 0 (most) to 7 (least)";
        BadValue::new(text, problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for text in ["127.0.0.1:8000", "localhost:1", "[::1]:65535"] {
            assert_eq!(address(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            "localhost",
            ":8000",
            "host:0",
            "host:http",
            "host:70000",
        ] {
            let error = address(text).unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:8000"), "{error}");
        }
    }

    #[test]
    fn priorities_have_names_and_numbers() {
        assert_eq!(priority("high"), Ok(Priority::HIGH));
        assert_eq!(priority("7").map(Priority::level), Ok(7));
        assert!(priority("8").is_err() && priority("urgent").is_err());
    }
}
