//! One file a command.

mod diff;
mod explore;
mod replay;
mod study;
mod swarm;

use std::process::ExitCode;

use clap::Subcommand;
use sim::{Level, Plan, Report};

/// What a command's exit code means.
pub(crate) const EXIT_CODES: &str = "\
Exit codes of replay, swarm and study: 0 fine, 10 safety, 11 liveness, 12 something left behind, 13 panic,
14 the same plan gave two traces. Of diff: 0 equal, 1 different. Of all: 2 for what cannot be done.";

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs one seed or plan again, and shows what happened.
    Replay(replay::Arguments),
    /// Hunts for seeds that break a promise.
    Swarm(swarm::Arguments),
    /// Shows where two runs go different ways.
    Diff(diff::Arguments),
    /// Puts a cluster of your own under a load of your own.
    Study(sim::study::Arguments),
    /// Goes through all that can happen in a small world.
    Explore(explore::Arguments),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> Result<ExitCode, String> {
        match self {
            Self::Replay(arguments) => replay::run(&arguments),
            Self::Swarm(arguments) => swarm::run(&arguments),
            Self::Diff(arguments) => diff::run(&arguments),
            Self::Study(arguments) => study::run(&arguments),
            Self::Explore(arguments) => explore::run(&arguments),
        }
    }
}

fn level(text: &str) -> Result<Level, String> {
    Level::named(text).ok_or_else(|| format!("not a level: {text}; it is `fast` or `turmoil`"))
}

/// The plan of a seed, or the one that a file holds.
fn plan(what: &str, level: Level) -> Result<Plan, String> {
    match what.parse() {
        Ok(seed) => Ok(level.plan(seed)),
        Err(_) => parse_plan(what, &read(what)?),
    }
}

fn parse_plan(file: &str, text: &str) -> Result<Plan, String> {
    serde_json::from_str(text).map_err(|error| format!("{file}: not a plan: {error}"))
}

fn read(file: &str) -> Result<String, String> {
    std::fs::read_to_string(file)
        .map_err(|error| format!("{file}: neither a seed nor a file that can be read: {error}"))
}

/// Prints what may be long, for as long as somebody reads it.
fn show(text: &str) {
    use std::io::Write as _;
    // Who closes the pipe has seen enough.
    let _closed = std::io::stdout().write_all(text.as_bytes());
}

fn write(file: &str, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{file}: {error}"))
}

fn summary(report: &Report, runs: u64) -> String {
    format!(
        "{runs} runs, {:.2} virtual hours, {} tasks, {} executions, {} events\n\
         faults: {:?}\noutcomes: {:?}\nmarks: {:?}",
        report.virtual_time as f64 / 3.6e12,
        report.submitted,
        report.executions,
        report.events,
        report.faults,
        report.outcomes,
        report.marks
    )
}
