//! `argon call`: one task by name.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;

use argon::{Name, Outcome, TaskSpec};
use argon_core::limits::PAYLOAD_MAX_DEFAULT;
use clap::Args;

use crate::cluster::{Cluster, Ended, Watch, end_of_one};
use crate::commands::run::read_stdin;
use crate::map::progress::Progress;
use crate::options::{ClusterArgs, TaskArgs};
use crate::outcome;
use crate::problem::{EXIT_BROKEN_PIPE, EXIT_PROBLEM, Problem};
use crate::stop::StopSignals;

/// The task ran and failed.
const EXIT_FAILED: u8 = 1;

const HELP: &str = "\
The result goes to standard output as it is. Workers without a program of their own know the
tasks echo, sleep (seconds), noop, and the one behind `argon run`.
Exit code: 0 if it completed, 1 if it failed, 130 after Ctrl-C, 255 if it never ran, was lost, or
argon itself failed.

Examples:
  argon call echo hello
  argon call --manager 10.0.0.1:8000 --stdin resize < photo.jpg > small.jpg";

/// Run one task by its name; its result goes to standard output
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    task: TaskArgs,
    /// Take the payload from standard input
    #[arg(help_heading = "Tasks", long, conflicts_with = "payload")]
    stdin: bool,
    /// How often it is submitted again if a full manager rejects it
    #[arg(help_heading = "Tasks", long, value_name = "N", default_value = "10")]
    retries: u32,
    /// The task
    #[arg(value_parser = Name::new)]
    name: Name,
    /// Its payload [default: empty]
    #[arg(allow_hyphen_values = true)]
    payload: Option<OsString>,
}

/// Runs the command.
pub(crate) async fn run(args: CallArgs) -> Result<u8, Problem> {
    let mut stop = StopSignals::new()?;
    let payload = if args.stdin {
        let limit = args.cluster.max_payload.unwrap_or(PAYLOAD_MAX_DEFAULT);
        tokio::select! {
            biased;
            code = stop.next() => return Ok(code),
            input = read_stdin(limit) => input?,
        }
    } else {
        args.payload.map(OsString::into_vec).unwrap_or_default()
    };
    let mut spec = TaskSpec::new(args.name.clone(), payload);
    args.task.apply(&mut spec);
    spec.retries = Some(args.retries);
    let cluster = Cluster::open(&args.cluster, Some(args.retries)).await?;
    let watch = Watch::new(args.cluster.connect_timeout, Progress::new(false).screen());
    let (outcome, payload) = match end_of_one(cluster, &watch, spec, &mut stop).await? {
        Ended::Outcome(outcome, payload) => (outcome, payload),
        Ended::Stopped(code) => return Ok(code),
    };
    if let Some(problem) = outcome::problem(&outcome) {
        let Outcome::Failed(failure) = outcome else {
            return Err(Problem::new(format!("{}: {problem}", args.name)));
        };
        let mut errors = io::stderr().lock();
        for text in [&failure.error.stderr, &failure.error.backtrace] {
            let end = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            let _ = write!(errors, "{text}{end}");
        }
        let _ = writeln!(errors, "argon: {}: {problem}", args.name);
        return Ok(EXIT_FAILED);
    }
    let written = io::stdout()
        .write_all(&payload)
        .and_then(|()| io::stdout().flush());
    match written {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(EXIT_BROKEN_PIPE),
        Err(error) => {
            eprintln!("argon: cannot write to standard output: {error}");
            Ok(EXIT_PROBLEM)
        }
    }
}
