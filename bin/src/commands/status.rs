//! `argon status`: what a manager says about itself.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

use argon::{GroupStatus, Keys, ManagerStatus, Name, StatusReport};
use argon_core::message::Version;
use argon_core::time::Nanos;
use clap::Args;

use crate::keys::KeyArgs;
use crate::options;
use crate::problem::{EXIT_BROKEN_PIPE, Problem};
use crate::stop::StopSignals;
use crate::streams::{clean, say, stdout};
use crate::units::{self, Size, Span};

/// How long a manager may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Least pause between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(100);

const HELP: &str = "\
Of a manager:
  queued     tasks that wait there, by priority, and their bytes
  waiting    for how long the oldest has; what a new task of normal priority may expect
  assigned   tasks that are at workers, running or prefetched; how many run at once at
             most; how many ended in a second, lately
  nested     processes whose tasks wait for tasks of their own; when all do, it is a deadlock
  recovery   returning: back from a lost worker, with room kept for them; unclaimed: may
             have run, and wait for a worker to claim them; orphans: run for clients that
             have yet to return
  so far     since the manager started; unread: outcomes that clients have yet to
             acknowledge
Of a worker:
  STATE      up, away (it may come back), draining, or doubted: tasks fail there that do well
             elsewhere, or it gives them back; it gets one at a time until one completes
  TASKS      assigned to it, running or prefetched / how many it runs at once
  OLDEST     for how long it has had the oldest of these
  FINISHED   attempts that have ended there; FAILED: those that did not complete
  AVERAGE    run time, lately; SLOWNESS: its run times over what is usual for the same names,
             failures counted as slow; it begins a little above 1, until it is known
  HEARD      since it said something last
  FROM       the address of its connection, the version of the protocol spoken on it, and whose
             key it came with, if the key says so
Of a client:
  QUEUED, ASSIGNED   its tasks that wait, and that are at workers
  UNREAD     outcomes that it has yet to acknowledge
  FINISHED, REJECTED   its tasks that have ended, and that were refused (it may try again)
TASKS RUN, if not all workers run the same: what some of them run, and how many do.

JSON: one object with `manager`, `workers` and `clients`; times are nanoseconds, sizes bytes, ids
whole 64-bit numbers; `more` is true if there are more workers or clients than are listed.
With --watch it is one object a line.

Examples:
  argon status --manager 10.0.0.1:8000
  argon status --manager 10.0.0.1:8000 --watch
  argon status --json | jq .manager.queued";

/// Show what is queued and running, at which workers, and for whom
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct StatusArgs {
    /// Manager to ask; of several each is asked, and it is an error only if none answers
    #[arg(
        long,
        short,
        value_name = "HOST:PORT",
        env = "ARGON_MANAGER",
        value_delimiter = ',',
        required = true,
        value_parser = options::address
    )]
    manager: Vec<String>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask again and again, with this pause, at least 100ms
    #[arg(
        long,
        short,
        value_name = "DURATION",
        num_args = 0..=1,
        default_missing_value = "1s",
        value_parser = units::duration
    )]
    watch: Option<Duration>,
}

/// Runs the command.
pub(crate) async fn run(args: StatusArgs) -> Result<u8, Problem> {
    let mut stop = StopSignals::new()?;
    let keys = args.keys.open()?;
    loop {
        let text = tokio::select! {
            biased;
            code = stop.next() => return Ok(code),
            text = ask(&args, keys.as_ref()) => text?,
        };
        let mut out = BufWriter::new(stdout());
        let clear = if args.watch.is_some() && !args.json && io::stdout().is_terminal() {
            // To the top left, and everything from there on away.
            "\x1b[H\x1b[J"
        } else {
            ""
        };
        let written = write!(out, "{clear}{}", clean(&text)).and_then(|()| out.flush());
        drop(out);
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(EXIT_BROKEN_PIPE);
            }
            Err(error) => return Err(Problem::stdout(&error)),
        }
        let Some(pause) = args.watch else {
            return Ok(0);
        };
        tokio::select! {
            biased;
            code = stop.next() => return Ok(code),
            () = tokio::time::sleep(pause.max(PAUSE_MIN)) => {}
        }
    }
}

/// Asks every manager. One that does not answer is an error if none does, and said otherwise.
async fn ask(args: &StatusArgs, keys: Option<&Keys>) -> Result<String, Problem> {
    let (mut text, mut errors) = (String::new(), Vec::new());
    for manager in &args.manager {
        match argon::status(manager, keys, ANSWER).await {
            Ok(report) if args.json => {
                let json = if args.watch.is_some() {
                    serde_json::to_string(&report)
                } else {
                    serde_json::to_string_pretty(&report)
                };
                text.push_str(&json?);
                text.push('\n');
            }
            Ok(report) => text.push_str(&table(manager, &report)),
            Err(error) => errors.push(error),
        }
    }
    // Of several, those that answer are what one asked for.
    let none_answers = text.is_empty() && args.watch.is_none();
    let last = if none_answers { errors.pop() } else { None };
    for error in &errors {
        say(format_args!("{error}"));
    }
    match last {
        Some(error) => Err(error.into()),
        None => Ok(text),
    }
}

/// Where a connection comes from, what is spoken there, and with whose key.
fn place(address: Option<&Name>, version: Option<Version>, holder: Option<&Name>) -> String {
    let version = version.map(|version| format!("v{}.{}", version.major, version.minor));
    let holder = holder.map(|holder| format!("key of {holder}"));
    let parts = [address.map(Name::to_string), version, holder];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What people read.
fn table(address: &str, report: &StatusReport) -> String {
    let mut text = manager(address, &report.manager);
    let workers = report.workers.iter().map(|worker| {
        [
            worker.name.to_string(),
            state(worker.connected, worker.draining, worker.doubted).to_owned(),
            format!("{}/{}", worker.assigned, worker.capacity),
            span(worker.oldest),
            worker.finished.to_string(),
            worker.failed.to_string(),
            span(worker.average),
            format!("{:.2}", f64::from(worker.slowness) / 1_000.0),
            span(worker.last_heard),
            place(
                worker.address.as_ref(),
                worker.version,
                worker.holder.as_ref(),
            ),
        ]
    });
    let heads = [
        "WORKER", "STATE", "TASKS", "OLDEST", "FINISHED", "FAILED", "AVERAGE", "SLOWNESS", "HEARD",
        "FROM",
    ];
    text.push_str(&columns(heads, workers));
    let clients = report.clients.iter().map(|client| {
        [
            client.name.to_string(),
            state(client.connected, false, false).to_owned(),
            client.queued.to_string(),
            client.assigned.to_string(),
            client.unacknowledged.to_string(),
            client.finished.to_string(),
            client.rejected.to_string(),
            span(client.last_heard),
            place(
                client.address.as_ref(),
                client.version,
                client.holder.as_ref(),
            ),
        ]
    });
    let heads = [
        "CLIENT", "STATE", "QUEUED", "ASSIGNED", "UNREAD", "FINISHED", "REJECTED", "HEARD", "FROM",
    ];
    text.push_str(&columns(heads, clients));
    text.push_str(&groups(&report.groups));
    if report.more {
        text.push_str("\n(and more workers or clients)\n");
    }
    text
}

/// What workers run, if they do not all run the same.
fn groups(groups: &[GroupStatus]) -> String {
    if groups.len() < 2 {
        return String::new();
    }
    let rows = groups.iter().map(|group| {
        let mut names: Vec<String> = group.names.iter().map(Name::to_string).collect();
        if group.more > 0 {
            names.push(format!("and {} more", group.more));
        }
        [names.join(", "), group.workers.to_string()]
    });
    columns(["TASKS RUN", "WORKERS"], rows)
}

fn manager(address: &str, status: &ManagerStatus) -> String {
    let mut text = format!(
        "manager {address}: up {}{}\n",
        span(status.uptime),
        if status.draining { ", draining" } else { "" }
    );
    let levels: Vec<String> = status
        .queued_by_priority
        .iter()
        .enumerate()
        .filter(|(_, queued)| **queued > 0)
        .map(|(level, queued)| format!("{queued} of priority {level}"))
        .collect();
    let levels = if levels.is_empty() {
        String::new()
    } else {
        format!(" ({})", levels.join(", "))
    };
    let _ = writeln!(
        text,
        "  queued     {} of {}{levels}, {} of {}",
        status.queued,
        status.queue_size,
        Size(status.queued_bytes),
        Size(status.queue_bytes)
    );
    let _ = writeln!(
        text,
        "  waiting    oldest {}, estimate for a new task {}",
        span(status.oldest_wait),
        span(status.estimated_wait)
    );
    if status.unroutable > 0 {
        let _ = writeln!(
            text,
            "  unroutable {} that no worker can run",
            status.unroutable
        );
    }
    let _ = writeln!(
        text,
        "  assigned   {} at {} worker{}, which run {} at once; {} a second",
        status.assigned,
        status.workers,
        if status.workers == 1 { "" } else { "s" },
        status.capacity,
        status.rate
    );
    if status.waiting > 0 {
        let _ = if status.is_deadlocked() {
            writeln!(
                text,
                "  deadlock   all {} processes wait for tasks of their own; start more workers",
                status.waiting
            )
        } else {
            writeln!(
                text,
                "  nested     {} of {} processes: tasks that wait for tasks of their own",
                status.waiting, status.capacity
            )
        };
    }
    let _ = writeln!(
        text,
        "  recovery   {} returning, {} unclaimed, {} orphans; {} attempts lost",
        status.returning, status.unclaimed, status.orphans, status.attempts_lost
    );
    let _ = writeln!(
        text,
        "  so far     {} accepted, {} rejected ({} displaced); {} completed, {} not; {} unread",
        status.accepted,
        status.rejected,
        status.displaced,
        status.completed,
        status.not_completed,
        status.unacknowledged
    );
    text
}

fn state(connected: bool, draining: bool, doubted: bool) -> &'static str {
    match (connected, draining, doubted) {
        (false, ..) => "away",
        (true, true, _) => "draining",
        (true, false, true) => "doubted",
        (true, false, false) => "up",
    }
}

fn span(nanos: Nanos) -> String {
    match nanos.to_duration() {
        Some(span) => Span(span).to_string(),
        None => "-".to_owned(),
    }
}

/// A table, the first column to the left and the others to the right; nothing without rows.
pub(crate) fn columns<const N: usize>(
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut widths = heads.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::from("\n");
    let mut line = |cells: [&str; N]| {
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let _ = if index == 0 {
                write!(text, "{cell:<width$}")
            } else {
                write!(text, "  {cell:>width$}")
            };
        }
        text.push('\n');
    };
    line(heads);
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "10".to_owned()],
            ["bcd".to_owned(), "1".to_owned()],
        ];
        assert_eq!(
            columns(["N", "X"], rows.into_iter()),
            "\nN     X\na    10\nbcd   1\n"
        );
        assert_eq!(columns(["N", "X"], [].into_iter()), "");
    }
}
