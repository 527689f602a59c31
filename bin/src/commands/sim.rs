//! `argon sim`: a cluster that is yet to be bought.

use std::io::{self, Write as _};

use clap::Args;
use sim::study;

use crate::problem::{EXIT_BROKEN_PIPE, Problem};
use crate::streams::stdout;

const HELP: &str = "\
What runs is the manager, the workers and the clients of this program, in virtual time, with every
promise checked. The same study and seed have the same findings.

Exit code: 0 if all promises held, 10 and more if not (a defect), 255 if argon itself failed.

Examples:
  argon sim --workers 20x8 --arrivals 800/s --service lognormal:100ms,800ms
  argon sim --workers 8x4 --arrivals 500/s --spike 10x@20s+10s --queue-size 500 --svg load.svg
  argon sim --workers 8x4 --worker-loss 4@20s+10s --json";

/// Try a cluster and its load before buying it: goodput, waits and rejections, in virtual time
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct SimArgs {
    #[command(flatten)]
    study: study::Arguments,
}

/// Runs the command.
pub(crate) fn run(args: &SimArgs) -> Result<u8, Problem> {
    let (text, failure) = args.study.run().map_err(Problem::new)?;
    match stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(failure.map_or(0, |failure| failure.class.exit_code())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(EXIT_BROKEN_PIPE),
        Err(error) => Err(Problem::stdout(&error)),
    }
}
