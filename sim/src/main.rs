//! `sim`: hunts for seeds that break a promise, replays them, compares runs, and studies clusters
//! that are yet to be bought. `sim help` lists the commands.

mod commands;

use std::process::ExitCode;

use clap::Parser;

/// Deterministic simulations of Argon.
#[derive(Debug, Parser)]
#[command(name = "sim", after_help = commands::EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let result = Arguments::parse().command.run();
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}
