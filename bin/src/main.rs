//! The `argon` command.

mod cluster;
mod commands;
mod files;
mod keys;
mod map;
mod memory;
mod options;
mod outcome;
mod pool;
mod problem;
mod stop;
mod streams;
mod units;

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use argon::{guard, runtime};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::problem::{EXIT_PROBLEM, Problem};
use crate::streams::{Log, say};

const HELP: &str = "\
Exit code: 255 if argon itself failed; see the commands for others.

Start here:
  argon map sha256sum {} ::: *.rs                      run a command for each item, on this machine
  argon manager --port 8000                            on one machine, and
  argon worker --manager HOST:8000                     on every machine, then
  argon map --manager HOST:8000 sha256sum {} ::: *.rs  on all of them";

/// Spread tasks over machines and stay responsive when too many arrive
#[derive(Debug, Parser)]
#[command(name = "argon", version = env!("ARGON_VERSION"), after_help = HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What a worker logs if nothing else is asked for: warnings, and what tasks print.
const WORKER_LOG: &str = "warn,argon::task_output=info";

#[derive(Debug, Subcommand)]
enum Command {
    Map(commands::map::MapArgs),
    Run(commands::run::RunArgs),
    Call(commands::call::CallArgs),
    Manager(commands::manager::ManagerArgs),
    Worker(commands::worker::WorkerArgs),
    Status(commands::status::StatusArgs),
    Keygen(commands::keygen::KeygenArgs),
    Key(commands::keygen::KeyShowArgs),
    Bench(commands::bench::BenchArgs),
    Sim(commands::sim::SimArgs),
}

impl Command {
    /// What goes to the log. Those who submit tasks learn of their ends, which says what is to
    /// be said; those who run a cluster want to know more.
    fn log_level(&self) -> &'static str {
        let (verbose, default) = match self {
            Self::Map(args) => (args.cluster.verbose, "error"),
            Self::Run(args) => (args.cluster.verbose, "error"),
            Self::Call(args) => (args.cluster.verbose, "error"),
            Self::Bench(args) => (args.cluster.verbose, "error"),
            Self::Manager(args) => (args.verbose, "warn"),
            Self::Worker(args) => (args.verbose, WORKER_LOG),
            Self::Status(_) | Self::Sim(_) | Self::Keygen(_) | Self::Key(_) => (false, "error"),
        };
        if verbose { "info" } else { default }
    }

    async fn run(self) -> Result<u8, Problem> {
        match self {
            Self::Map(args) => commands::map::run(args).await,
            Self::Run(args) => commands::run::run(args).await,
            Self::Call(args) => commands::call::run(args).await,
            Self::Bench(args) => commands::bench::run(args).await,
            Self::Manager(args) => commands::manager::run(args).await,
            Self::Worker(args) => commands::worker::run(args).await,
            Self::Status(args) => commands::status::run(args).await,
            Self::Keygen(args) => commands::keygen::make(&args),
            Self::Key(args) => commands::keygen::show(&args),
            Self::Sim(args) => commands::sim::run(&args),
        }
    }
}

fn main() -> ExitCode {
    // Pool processes are this program too. They must start fast, and guards before any thread.
    let mut args = env::args_os().skip(1);
    match args.next().as_ref().and_then(|first| first.to_str()) {
        Some(pool::GUARD) => return guard::main(args.collect::<Vec<OsString>>()),
        Some(pool::RUNTIME) => return runtime::builtin::main(),
        _ => {}
    }
    let parsed = command_line()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_PROBLEM } else { 0 });
        }
    };
    let log = match start_log(cli.command.log_level()) {
        Ok(log) => log,
        Err(problem) => {
            say(format_args!("{problem}"));
            return ExitCode::from(EXIT_PROBLEM);
        }
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let ended = argon::yield_before_sleep(builder.enable_all())
        .build()
        .map_err(Problem::from)
        .and_then(|runtime| {
            let ended = runtime.block_on(cli.command.run());
            // Not waiting for threads that sit in a read or a write.
            runtime.shutdown_background();
            ended
        });
    log.finish();
    ExitCode::from(ended.unwrap_or_else(|problem| {
        say(format_args!("{problem}"));
        EXIT_PROBLEM
    }))
}

/// What the command line may be. A variable of the environment that is empty is as good as none.
fn command_line() -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        let value = arg.get_env().and_then(env::var_os);
        value.is_some_and(|value| value.is_empty())
    };
    Cli::command().mut_subcommands(|command| {
        command.mut_args(|arg| {
            if is_empty(&arg) {
                arg.env(None::<&'static str>)
            } else {
                arg
            }
        })
    })
}

/// Logs to standard error. `ARGON_LOG` can say it in detail, as in `ARGON_LOG=argon=debug`.
fn start_log(default: &str) -> Result<Log, Problem> {
    let chosen = env::var("ARGON_LOG").unwrap_or_else(|_| default.into());
    let filter: Targets = chosen.parse().map_err(|_| {
        Problem::new(format!(
            "ARGON_LOG is \"{chosen}\"; it takes a level (error, warn, info, debug, trace) or levels of \
             parts, as in ARGON_LOG=warn,argon=debug"
        ))
    })?;
    let log = Log::start()
        .map_err(|error| Problem::new(format!("cannot start a thread for the log: {error}")))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(log.clone())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Ok(log)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_tasks_print_is_logged_by_default() {
        assert!(WORKER_LOG.contains(argon::executor::TASK_OUTPUT));
    }

    #[test]
    fn the_options_of_all_commands_are_consistent() {
        Cli::command().debug_assert();
    }
}
