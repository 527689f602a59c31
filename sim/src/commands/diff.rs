//! `sim diff`: where two runs go different ways.

use std::process::ExitCode;

use clap::Args;
use sim::{Level, Trace, diff};

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A seed, a plan, or a trace that `sim replay --save-trace` wrote.
    left: String,
    /// The other.
    right: String,
    /// What is simulated: `fast` or `turmoil`.
    #[arg(long, default_value = "fast", value_parser = super::level)]
    level: Level,
    /// How many lines to show on both sides of the difference.
    #[arg(long, default_value_t = 10)]
    context: usize,
}

/// Exits with 0 if the two are equal, with 1 if not.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let left = trace(&arguments.left, arguments.level)?;
    let right = trace(&arguments.right, arguments.level)?;
    Ok(match diff::first(&left, &right, arguments.context) {
        None => {
            println!("equal: {} lines", left.lines().count());
            ExitCode::SUCCESS
        }
        Some(divergence) => {
            println!("--- {}\n+++ {}", arguments.left, arguments.right);
            print!("{divergence}");
            ExitCode::from(1)
        }
    })
}

/// The trace that a seed or plan leads to, or the one that a file holds.
fn trace(what: &str, level: Level) -> Result<String, String> {
    let plan = if what.parse::<u64>().is_ok() {
        super::plan(what, level)?
    } else {
        let text = super::read(what)?;
        if !text.starts_with('{') {
            return Ok(text);
        }
        super::parse_plan(what, &text)?
    };
    let mut trace = Trace::on();
    let _verdict = level.run(&plan, &mut trace);
    Ok(trace.render())
}
