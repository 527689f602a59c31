//! `argon run`: one command, its output and exit code ours.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;

use argon::command;
use argon::{Name, TaskSpec};
use argon_core::limits::PAYLOAD_MAX_DEFAULT;
use clap::Args;

use crate::cluster::{Cluster, Ended, Watch, end_of_one};
use crate::map::progress::Progress;
use crate::options::{self, ClusterArgs, CommandArgs, TaskArgs};
use crate::outcome::Finished;
use crate::problem::{EXIT_BROKEN_PIPE, Problem};
use crate::stop::StopSignals;
use crate::streams::{say, stderr, stdout};

const HELP: &str = "\
The command reads our standard input (to its end, before it starts), and what it writes and its
exit code become ours, 128 and the number of the signal if one killed it.
Exit code: also 124 if it broke its time limit, 130 after Ctrl-C, 255 if argon itself failed.

Examples:
  argon run -- make -j4
  argon run --manager 10.0.0.1:8000 --time-limit 10m -- ./train.sh < data.csv > model";

/// Run one command on the cluster, or here
#[derive(Debug, Args)]
#[command(after_help = HELP, override_usage = "argon run [OPTIONS] [--] COMMAND [ARGS]...")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    command: CommandArgs,
    /// Leave standard input alone; the command's is empty
    #[arg(help_heading = "Commands", long, short)]
    no_stdin: bool,
    /// How often it is submitted again if a full manager rejects it
    #[arg(
        help_heading = "Commands",
        long,
        value_name = "N",
        default_value = "10"
    )]
    retries: u32,
    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

/// Runs the command.
pub(crate) async fn run(args: RunArgs) -> Result<u8, Problem> {
    let mut stop = StopSignals::with_hangup()?;
    options::check_program("run", &args.words[0])?;
    let mut command = args.command.command()?;
    command.argv = args.words.into_iter().map(OsString::into_vec).collect();
    if !args.no_stdin && !io::stdin().is_terminal() {
        let limit = args.cluster.max_payload.unwrap_or(PAYLOAD_MAX_DEFAULT);
        command.stdin = tokio::select! {
            biased;
            code = stop.next() => return Ok(code),
            input = read_stdin(limit) => input?,
        };
    }
    let name = Name::new(command::RUN)?;
    let mut spec = TaskSpec::new(name.clone(), command.encode());
    args.task.apply(&mut spec);
    spec.retries = Some(args.retries);
    let cluster = Cluster::open(&args.cluster, Some(args.retries)).await?;
    let watch = Watch::new(
        name,
        args.cluster.connect_timeout,
        Progress::new(false).screen(),
    );
    let (outcome, payload) = match end_of_one(cluster, &watch, spec, &mut stop).await? {
        Ended::Outcome(outcome, payload) => (outcome, payload),
        Ended::Stopped(code) => return Ok(code),
    };
    let finished = Finished::new(&outcome, &payload);
    // The command's own exit code and signal say enough.
    let silent = finished.exit.is_some_and(|code| code != 127 && code != 126)
        && finished.stdout.len() + finished.stderr.len() <= payload.len();
    let _ = stderr().write_all(&finished.stderr);
    let written = stdout().write_all(&finished.stdout);
    if let Some(problem) = &finished.problem
        && !silent
    {
        say(format_args!("{problem}"));
    }
    match written {
        Ok(()) => Ok(finished.exit_code()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(EXIT_BROKEN_PIPE),
        Err(error) => Err(Problem::new(format!(
            "cannot write to standard output: {error}"
        ))),
    }
}

/// All of standard input, if it fits into a payload.
pub(crate) async fn read_stdin(limit: usize) -> Result<Vec<u8>, Problem> {
    let read = tokio::task::spawn_blocking(move || {
        let mut input = Vec::new();
        let bound = limit as u64 + 1;
        io::stdin().lock().take(bound).read_to_end(&mut input)?;
        io::Result::Ok(input)
    });
    let input = read
        .await?
        .map_err(|error| Problem::new(format!("cannot read standard input: {error}")))?;
    if input.len() > limit {
        return Err(Problem::new(format!(
            "standard input has more than the {limit} bytes that a payload may have; \
             hand it over as a file, or raise --max-payload here and at the manager"
        )));
    }
    Ok(input)
}
