//! `argon manager`: the entry point of a cluster.

use std::io::Write;
use std::time::Duration;

use argon::{ManagerConfig, ManagerOptions, ManagerServer};
use argon_core::limits::PAYLOAD_MAX_DEFAULT;
use argon_core::limits::{CLIENTS_MAX, WORKERS_MAX};
use clap::Args;

use crate::keys::KeyArgs;
use crate::memory;
use crate::problem::Problem;
use crate::stop::StopSignals;
use crate::streams::{note, stdout};
use crate::units;

const HELP: &str = "\
The first line of standard output says where it listens. SIGTERM or Ctrl-C drains it: new tasks
are refused with that reason, and it ends when what runs has and clients have their results; one that
is away has --resume-timeout to come for them. A second one ends it at once; workers and clients wait
for it to come back and lose nothing.

With a key, SIGHUP reads the key files again: new connections use them.

ARGON_LOG chooses what is logged on standard error, as in ARGON_LOG=argon=debug.

Examples:
  argon manager --port 8000
  argon manager --host 10.0.0.1 --port 8000 --key argon.key --queue-size 50000";

/// Run a manager: it queues tasks and routes them to workers
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ManagerArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 lets the system choose
    #[arg(long, short, default_value = "0")]
    port: u16,
    #[command(flatten)]
    keys: KeyArgs,
    /// Listen without a key where other hosts can reach it, although whoever connects can run
    /// commands
    #[arg(long)]
    insecure: bool,
    /// Log what happens, on standard error
    #[arg(long, short)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// The bounds of a manager.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Most tasks that wait [default: 10000]
    #[arg(long, value_name = "N", value_parser = units::count)]
    queue_size: Option<usize>,
    /// Most bytes that wait [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    queue_bytes: Option<u64>,
    /// Most tasks at workers [default: 262144]
    #[arg(long, value_name = "N")]
    in_flight_size: Option<usize>,
    /// Most bytes of tasks at workers [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    in_flight_bytes: Option<u64>,
    /// Most tasks of one client [default: 131072]
    #[arg(long, value_name = "N")]
    client_tasks: Option<usize>,
    /// Most bytes of results that a client leaves unread before its tasks wait [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    client_result_bytes: Option<u64>,
    /// Most bytes that are held for all peers together, waiting to be read by them or of large payloads
    /// that they send slowly; those for which most is held are cut off first. A quarter of it for large
    /// payloads that come quickly: past it some are read later. The same of results that clients have
    /// yet to acknowledge; the tasks of those that leave most wait
    /// [default: a 32nd of the memory there is (machine, control group, ulimit), at least 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    memory: Option<u64>,
    /// Largest payload and result [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::memory_size)]
    max_payload: Option<usize>,
    /// How long silence of a worker or client is trusted [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    lease: Option<Duration>,
    /// How long the tasks of a worker whose connection closed wait for it [default: 250ms]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    reconnect_grace: Option<Duration>,
    /// How long, after a restart, tasks that may have run wait to be claimed [default: 3s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    restart_grace: Option<Duration>,
    /// How long the tasks of a client that is away are kept [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    resume_timeout: Option<Duration>,
    /// How long a task that no worker runs waits for a worker that does [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    runner_wait: Option<Duration>,
}

/// What waits for all peers may always take this much.
const MEMORY_LEAST: u64 = 256 * 1024 * 1024;

/// A 32nd of the memory that there is for us, and `least` at least.
fn share_of_memory(least: u64) -> Option<u64> {
    Some((memory::available()? / 32).max(least))
}

impl LimitArgs {
    /// Largest payload and result.
    pub(crate) fn max_payload(&self) -> usize {
        self.max_payload.unwrap_or(PAYLOAD_MAX_DEFAULT)
    }

    /// Puts what was given into the settings.
    pub(crate) fn apply(&self, config: &mut ManagerConfig) {
        fn set<T: Copy>(setting: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *setting = given;
            }
        }
        set(&mut config.queue_tasks, self.queue_size);
        set(&mut config.queue_bytes, self.queue_bytes);
        set(&mut config.in_flight_tasks, self.in_flight_size);
        set(&mut config.in_flight_bytes, self.in_flight_bytes);
        set(&mut config.client_tasks, self.client_tasks);
        set(&mut config.client_result_bytes, self.client_result_bytes);
        let least = (self.max_payload() as u64)
            .saturating_mul(2)
            .max(MEMORY_LEAST);
        let memory = self.memory.or_else(|| share_of_memory(least));
        set(&mut config.memory, memory);
        set(&mut config.unread_bytes, memory);
        set(&mut config.payload_max, self.max_payload);
        set(&mut config.lease, self.lease);
        set(&mut config.reconnect_grace, self.reconnect_grace);
        set(&mut config.restart_grace, self.restart_grace);
        set(&mut config.resume_timeout, self.resume_timeout);
        set(&mut config.runner_wait, self.runner_wait);
    }
}

/// Open files that a manager asks the system for: as many clients and workers as it keeps
/// sessions of.
const FILES: u64 = (CLIENTS_MAX + WORKERS_MAX) as u64;

/// Runs the command.
pub(crate) async fn run(args: ManagerArgs) -> Result<u8, Problem> {
    crate::files::allow(FILES);
    let keys = args.keys.open()?;
    let mut stop = StopSignals::with_keys(keys.clone())?;
    let mut options = ManagerOptions::new(listen(&args.host, args.port))?;
    options.insecure = args.insecure;
    options.keys = keys;
    args.limits.apply(&mut options.config);
    let server = ManagerServer::bind(options).await?;
    announce("manager", &server.local_addr().to_string());
    let handle = server.handle();
    let running = server.run();
    tokio::pin!(running);
    tokio::select! {
        biased;
        _ = stop.next() => {}
        ended = &mut running => return Ok(ended.map(|()| 0)?),
    }
    note(format_args!(
        "draining: what runs is finished; once more to end at once"
    ));
    handle.drain();
    tokio::select! {
        biased;
        code = stop.next() => Ok(code),
        ended = &mut running => Ok(ended.map(|()| 0)?),
    }
}

/// `host:port`, with brackets where an IPv6 address needs them.
pub(crate) fn listen(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Says, to people and scripts, where `what` listens. Nobody has to read it.
pub(crate) fn announce(what: &str, address: &str) {
    let _ = stdout().write_all(format!("argon {what} listening on {address}\n").as_bytes());
}
