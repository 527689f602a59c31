//! `argon worker`: a pool of processes.

use std::ffi::OsString;
use std::time::Duration;

use argon::executor::TASK_OUTPUT_DEFAULT;
use argon::{Name, Standalone, StandaloneOptions, WorkerConfig, WorkerOptions, WorkerServer};
use clap::Args;

use crate::cluster::watch_worker;
use crate::commands::manager::{LimitArgs, announce, listen};
use crate::files;
use crate::keys::KeyArgs;
use crate::options;
use crate::pool;
use crate::problem::Problem;
use crate::stop::StopSignals;
use crate::streams::note;
use crate::units;

/// Beyond the drain and the kill grace.
const DRAIN_SLACK: Duration = Duration::from_secs(2);

const HELP: &str = "\
PROGRAM speaks the pool protocol on its standard input and output; without one, the pool runs
commands (for `argon run` and `argon map`) and the tasks echo, sleep and noop.
What PROGRAM offers, and nothing else, comes to this worker. --allow-eval sets ARGON_ALLOW_EVAL=1
for it; without that, runtimes refuse code that clients ship.
What tasks print is passed on as lines of the log (see --task-output), and the end of it is in the
error of a task that fails. ARGON_LOG chooses what is logged, as in ARGON_LOG=argon=debug.
Without --manager it serves clients itself, as a manager with one worker would.
SIGTERM or Ctrl-C drains it: it takes nothing new, finishes what runs within --drain-timeout, and
leaves. A second one ends it at once. With a key, SIGHUP reads the key files again.

Examples:
  argon worker --manager 10.0.0.1:8000 --key worker.key
  argon worker --manager a:8000 --manager b:8000 --workers 8 --memory-limit 2G -- ./my-runtime
  argon worker --manager 10.0.0.1:8000 --allow-eval -- argon-pool
  argon worker --port 8001";

/// Run a worker: a pool of processes that run tasks
#[derive(Debug, Args)]
#[command(after_help = HELP, override_usage = "argon worker [OPTIONS] [-- PROGRAM [ARGS]...]")]
pub(crate) struct WorkerArgs {
    /// Manager to work for; given more than once, the first that answers
    #[arg(
        long,
        short,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = options::address,
        conflicts_with_all = ["host", "port", "insecure"]
    )]
    manager: Vec<String>,
    /// Without --manager: address to listen on for clients
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Without --manager: port to listen on; 0 lets the system choose
    #[arg(long, short, default_value = "0")]
    port: u16,
    #[command(flatten)]
    keys: KeyArgs,
    /// Listen without a key where other hosts can reach it, although whoever connects can run
    /// commands
    #[arg(long)]
    insecure: bool,
    /// Name that status and errors show; of two workers with one name the older is ended
    /// [default: host, process id and a random part]
    #[arg(long, value_parser = Name::new)]
    name: Option<Name>,
    /// Log what happens, on standard error
    #[arg(long, short)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pool: PoolArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// What the pool runs [default: commands]
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// The pool and its limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pool")]
struct PoolArgs {
    /// Processes, each of which runs one task at a time [default: one per CPU]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    workers: Option<u32>,
    /// Replace a process when it has run this many tasks [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_requests: Option<u64>,
    /// Kill tasks that name no limit themselves when they have run this long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    time_limit: Option<Duration>,
    /// Kill a process when it and what it started take more memory than this [default: never]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    memory_limit: Option<u64>,
    /// Let runtimes run code that clients ship (Perl and Python closures), as this user
    #[arg(long)]
    allow_eval: bool,
    /// Most lines a second of what tasks print (standard error, and standard output of runtimes)
    /// that are passed on to standard error, each with the task's name and id; 0 for none
    #[arg(long, value_name = "LINES", default_value_t = TASK_OUTPUT_DEFAULT)]
    task_output: u32,
    /// From the polite signal (TERM) to the last (KILL)
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = units::duration)]
    kill_grace: Duration,
    /// How long a drain waits for what runs
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::duration)]
    drain_timeout: Duration,
}

impl PoolArgs {
    fn apply(&self, config: &mut WorkerConfig) {
        config.max_requests = self.max_requests;
        config.time_limit = self.time_limit;
        config.memory_limit = self.memory_limit;
        config.kill_grace = self.kill_grace;
        config.drain_timeout = self.drain_timeout;
    }
}

/// Runs the command.
pub(crate) async fn run(args: WorkerArgs) -> Result<u8, Problem> {
    let keys = args.keys.open()?;
    let mut stop = StopSignals::with_keys(keys.clone())?;
    let capacity = args.pool.workers.unwrap_or_else(pool::cpus);
    files::for_pool(capacity)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => pool::default_name()?,
    };
    let executor = pool::executor(&args.program, |options| {
        options.memory_limit = args.pool.memory_limit;
        options.payload_max = args.limits.max_payload();
        options.allow_eval = args.pool.allow_eval;
        options.task_output = args.pool.task_output;
    })?;
    if args.manager.is_empty() {
        let mut options = StandaloneOptions::new(name, capacity)?;
        args.pool.apply(&mut options.worker);
        args.limits.apply(&mut options.manager);
        options.insecure = args.insecure;
        options.keys = keys;
        options.listen = Some(listen(&args.host, args.port));
        let server = Standalone::start(options, executor).await?;
        if let Some(address) = server.local_addr() {
            announce("worker", &address.to_string());
        }
        let handle = server.handle();
        let running = async { server.run().await.map_err(Problem::from) };
        return args
            .until_stopped(&mut stop, running, || handle.drain())
            .await;
    }
    let mut options = WorkerOptions::new(args.manager.clone(), name, capacity)?;
    args.pool.apply(&mut options.config);
    options.keys = keys;
    let server = WorkerServer::new(options, executor)?;
    let handle = server.handle();
    let watching = watch_worker(&args.manager, || handle.link());
    let running = async {
        tokio::select! {
            biased;
            ended = server.run() => ended.map_err(Problem::from),
            never = watching => match never {},
        }
    };
    args.until_stopped(&mut stop, running, || handle.drain())
        .await
}

impl WorkerArgs {
    /// Runs until it ends by itself, or drains at the first signal and ends at the second, or
    /// when the drain takes longer than it may.
    async fn until_stopped(
        &self,
        stop: &mut StopSignals,
        running: impl Future<Output = Result<(), Problem>>,
        drain: impl FnOnce(),
    ) -> Result<u8, Problem> {
        tokio::pin!(running);
        tokio::select! {
            biased;
            _ = stop.next() => {}
            ended = &mut running => return ended.map(|()| 0),
        }
        note(format_args!(
            "draining: what runs has {} to finish; once more to end at once",
            units::Span(self.pool.drain_timeout)
        ));
        drain();
        // The worker ends by itself when its time is up; this is for whatever would hold it up.
        let limit = self.pool.drain_timeout + self.pool.kill_grace + DRAIN_SLACK;
        tokio::select! {
            biased;
            code = stop.next() => Ok(code),
            () = tokio::time::sleep(limit) => Ok(0),
            ended = &mut running => ended.map(|()| 0),
        }
    }
}
