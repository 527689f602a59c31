//! `argon bench`: how fast a cluster is, and how it bears too much.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people, far below where digits are lost"
)]

mod closed;
mod open;
mod tally;

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use argon::{Name, Outcome, TaskSpec};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Watch};
use crate::commands::call;
use crate::commands::status::columns;
use crate::map::progress::Progress;
use crate::options::ClusterArgs;
use crate::outcome;
use crate::problem::{EXIT_BROKEN_PIPE, Problem};
use crate::stop::StopSignals;
use crate::streams::stdout;
use crate::units::{self, Span};

use closed::Closed;
use open::Overload;
use tally::rate;

/// Tasks failed or were lost.
const EXIT_FAILED: u8 = 1;

const HELP: &str = "\
throughput: tasks a second with so many in flight. latency: one in flight. overload: 0.5, 1, 2, 5,
10 and again 0.5 times the capacity (processes over measured service time) is offered, whatever
becomes of it; one task in ten is of high priority. Without a word, all three in turn.
The tasks are the built-in noop and, for overload, sleep; workers with a program of their own do not
run those: name one of theirs with --task.
GOODPUT counts what completed while its line ran. REJECTIONS are the manager's, of all clients.
RECOVERY is from the end of the spike until most new tasks take at most twice the median before.
At the end nothing is left in the cluster: what has not ended 5 s later is cancelled.

Exit code: 0, 1 if tasks failed or were lost, 130 after Ctrl-C (with what was measured so far),
  255 if argon itself failed.

Examples:
  argon bench
  argon bench throughput --manager 10.0.0.1:8000 --in-flight 1,100 --payload 4KiB
  argon bench latency --manager 10.0.0.1:8000 --task python:math:gcd -- 12 18
  argon bench overload --manager 10.0.0.1:8000 --service 50ms --json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Throughput,
    Latency,
    Overload,
}

/// Measure a cluster, or this machine: tasks a second, latency, overload
#[derive(Debug, Args)]
#[command(after_help = HELP, override_usage = "argon bench [throughput|latency|overload] [OPTIONS] [-- ARGS...]")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// What to measure [default: all in turn]
    #[arg(value_enum, hide_possible_values = true)]
    part: Option<Part>,
    /// Task to run [default: noop, and sleep for overload]
    #[arg(help_heading = "Load", long, value_name = "NAME", value_parser = Name::new)]
    task: Option<Name>,
    /// Its arguments, each JSON or a string
    #[arg(
        help_heading = "Load",
        last = true,
        value_name = "ARGS",
        requires = "task"
    )]
    arguments: Vec<OsString>,
    /// Hand it so many bytes instead [default: 64B for noop]
    #[arg(help_heading = "Load", long, value_name = "SIZE", value_parser = units::memory_size, conflicts_with = "arguments")]
    payload: Option<usize>,
    /// Throughput: tasks in flight, one line for each
    #[arg(
        help_heading = "Load",
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1,100,1000,10000",
        value_parser = clap::value_parser!(u64).range(1..=32_768)
    )]
    in_flight: Vec<u64>,
    /// Latency: end when so many tasks were submitted
    #[arg(help_heading = "Load", long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// Time for each line of the tables
    #[arg(help_heading = "Load", long, value_name = "DURATION", default_value = "3s", value_parser = units::duration)]
    seconds: Duration,
    /// Overload: how long a task sleeps
    #[arg(help_heading = "Load", long, value_name = "DURATION", default_value = "10ms", value_parser = units::duration, conflicts_with = "task")]
    service: Duration,
    /// Overload: most tasks open at once; what is due beyond that is counted as not offered
    #[arg(help_heading = "Load", long, value_name = "N", default_value = "32768", value_parser = clap::value_parser!(u64).range(1..=32_768))]
    open: u64,
    /// How often a task that a full manager rejects is submitted again
    #[arg(help_heading = "Load", long, value_name = "N", default_value = "10")]
    retries: u32,
    /// Print one JSON object; times are nanoseconds where they are not called seconds
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    fn spec(&self, part: Part) -> Result<TaskSpec, Problem> {
        let filled = |size| vec![0u8; size];
        let (name, payload) = match &self.task {
            Some(task) => match self.payload {
                Some(size) => (task.clone(), filled(size).into()),
                None => (task.clone(), call::payload(task, self.arguments.clone())?),
            },
            None if part == Part::Overload => {
                let seconds = self.service.as_secs_f64().to_string();
                (Name::new("sleep")?, seconds.into_bytes().into())
            }
            None => (
                Name::new("noop")?,
                filled(self.payload.unwrap_or(64)).into(),
            ),
        };
        Ok(TaskSpec::new(name, payload))
    }
}

/// What a part needs while it runs.
struct Run<'a> {
    cluster: &'a Cluster,
    watch: &'a Watch,
    stop: &'a mut StopSignals,
    progress: &'a Progress,
}

/// What was measured of one part.
struct Report {
    text: String,
    json: Value,
    failed: u64,
    stopped: Option<u8>,
}

/// Runs the command.
pub(crate) async fn run(args: BenchArgs) -> Result<u8, Problem> {
    let mut stop = StopSignals::new()?;
    let parts = match args.part {
        Some(part) => vec![part],
        None => vec![Part::Throughput, Part::Latency, Part::Overload],
    };
    let mut all = serde_json::Map::new();
    let (mut failed, mut stopped) = (0, None);
    for part in parts {
        let progress = Progress::new(true);
        let cluster = Cluster::open(&args.cluster, Some(args.retries)).await?;
        let watch = Watch::new(
            args.spec(part)?.name,
            args.cluster.connect_timeout,
            progress.screen(),
        );
        let mut run = Run {
            cluster: &cluster,
            watch: &watch,
            stop: &mut stop,
            progress: &progress,
        };
        let report = measure(&args, part, &mut run).await;
        drop(progress);
        tokio::select! {
            biased;
            code = stop.next() => return Ok(code),
            () = cluster.close() => {}
        }
        let report = report?;
        failed += report.failed;
        stopped = report.stopped;
        let name = part
            .to_possible_value()
            .map(|value| value.get_name().to_owned());
        all.insert(name.unwrap_or_default(), report.json);
        if !args.json
            && let Some(code) = print(&report.text)?
        {
            return Ok(code);
        }
        if stopped.is_some() {
            break;
        }
    }
    if args.json {
        all.insert("interrupted".to_owned(), json!(stopped.is_some()));
        let text = format!("{}\n", serde_json::to_string_pretty(&Value::Object(all))?);
        if let Some(code) = print(&text)? {
            return Ok(code);
        }
    }
    Ok(stopped.unwrap_or(if failed > 0 { EXIT_FAILED } else { 0 }))
}

/// The exit code if nobody reads it.
fn print(text: &str) -> Result<Option<u8>, Problem> {
    let mut out = stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Some(EXIT_BROKEN_PIPE)),
        Err(error) => Err(error.into()),
    }
}

async fn measure(args: &BenchArgs, part: Part, run: &mut Run<'_>) -> Result<Report, Problem> {
    let spec = args.spec(part)?;
    let mut lines = Vec::new();
    let mut stopped = warm_up(run, &spec).await?;
    match part {
        Part::Overload => {
            if let Some(code) = stopped {
                return Ok(closed_report(part, &spec, &[], Some(code)));
            }
            let overload = open::drive(run, &spec, args.seconds, args.open).await?;
            return Ok(open_report(&spec, &overload));
        }
        Part::Throughput => {
            for &in_flight in &args.in_flight {
                if stopped.is_some() {
                    break;
                }
                run.progress
                    .note(format!("throughput: {in_flight} in flight"));
                let line = closed::drive(run, &spec, in_flight, args.seconds, u64::MAX).await?;
                stopped = line.stopped;
                lines.push(line);
            }
        }
        Part::Latency if stopped.is_none() => {
            run.progress.note("latency: one in flight".to_owned());
            let line = closed::drive(run, &spec, 1, args.seconds, args.samples).await?;
            stopped = line.stopped;
            lines.push(line);
        }
        Part::Latency => {}
    }
    Ok(closed_report(part, &spec, &lines, stopped))
}

/// One task to its end, so that what cannot work is said at once and no start is measured.
async fn warm_up(run: &mut Run<'_>, spec: &TaskSpec) -> Result<Option<u8>, Problem> {
    let (outcome, _) = tokio::select! {
        biased;
        code = run.stop.next() => return Ok(Some(code)),
        problem = run.cluster.watch(run.watch) => return Err(problem),
        ended = run.cluster.run(spec.clone()) => ended?,
    };
    match outcome::problem(&outcome) {
        None => Ok(None),
        Some(problem) => {
            let hint = if matches!(outcome, Outcome::Rejected { .. }) {
                "; --task names another one"
            } else {
                ""
            };
            Err(Problem::new(format!("{}: {problem}{hint}", spec.name)))
        }
    }
}

fn closed_report(part: Part, spec: &TaskSpec, lines: &[Closed], stopped: Option<u8>) -> Report {
    let rows = lines.iter().map(|line| {
        let [p50, p90, p99, p999, max] = line.tally.cells();
        let tasks = format!("{:.0}", rate(line.in_time, line.span));
        let refused = line.tally.rejected.to_string();
        let failed = line.tally.failed.to_string();
        let done = line.tally.completed.to_string();
        let given_up = line.tally.open().to_string();
        [
            line.in_flight.to_string(),
            tasks,
            p50,
            p90,
            p99,
            p999,
            max,
            done,
            refused,
            failed,
            given_up,
        ]
    });
    let heads = [
        "IN FLIGHT",
        "TASKS/S",
        "P50",
        "P90",
        "P99",
        "P99.9",
        "MAX",
        "COMPLETED",
        "REJECTED",
        "FAILED",
        "CANCELLED",
    ];
    let what = if part == Part::Latency {
        "latency"
    } else if part == Part::Overload {
        "overload"
    } else {
        "throughput"
    };
    let bytes = spec.payload.len();
    let mut text = format!("{what} of {}, payload {bytes} B", spec.name);
    text.push('\n');
    text.push_str(columns(heads, rows).trim_start());
    text.push('\n');
    for problem in lines
        .iter()
        .filter_map(|line| line.tally.problem.as_ref())
        .take(1)
    {
        text.push_str(&format!("the first that did not complete: {problem}\n\n"));
    }
    let json: Vec<Value> = lines
        .iter()
        .map(|line| {
            let mut json = line.tally.json();
            json["in_flight"] = json!(line.in_flight);
            json["seconds"] = json!(line.span.as_secs_f64());
            json["tasks_per_second"] = json!(rate(line.in_time, line.span));
            json
        })
        .collect();
    Report {
        text,
        json: json!({ "task": spec.name.to_string(), "payload": bytes, "steps": json }),
        failed: lines.iter().map(|line| line.tally.failed).sum(),
        stopped,
    }
}

fn open_report(spec: &TaskSpec, overload: &Overload) -> Report {
    let known = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let rows = overload.steps.iter().map(|step| {
        let [p50, _, p99, ..] = step.tallies[0].cells();
        let [high50, _, high99, ..] = step.tallies[1].cells();
        [
            format!("{}x", step.load),
            step.offered.to_string(),
            step.not_offered.to_string(),
            format!("{:.0}/s", rate(step.done, step.span)),
            step.sum(|tally| tally.completed).to_string(),
            step.sum(|tally| tally.rejected).to_string(),
            step.sum(|tally| tally.failed + tally.open()).to_string(),
            known(step.rejections),
            known(step.retries()),
            p50,
            p99,
            high50,
            high99,
        ]
    });
    let heads = [
        "LOAD",
        "OFFERED",
        "NOT SENT",
        "GOODPUT",
        "COMPLETED",
        "REJECTED",
        "OTHER",
        "REJECTIONS",
        "RETRIES",
        "P50",
        "P99",
        "HIGH P50",
        "HIGH P99",
    ];
    let mut text = format!(
        "overload of {}: {} processes, {} a task, so {:.0} tasks/s\n{}",
        spec.name,
        overload.slots,
        Span(overload.service),
        overload.capacity,
        columns(heads, rows).trim_start(),
    );
    match overload.recovery {
        Some(span) => text.push_str(&format!("recovery: {} after the spike\n", Span(span))),
        None => text.push_str("recovery: not seen\n"),
    }
    let steps: Vec<Value> = overload.steps.iter().map(open::Step::json).collect();
    Report {
        text,
        json: json!({
            "task": spec.name.to_string(),
            "slots": overload.slots,
            "service_ns": overload.service.as_nanos() as u64,
            "capacity": overload.capacity,
            "steps": steps,
            "recovery_ns": overload.recovery.map(|span| span.as_nanos() as u64),
        }),
        failed: overload
            .steps
            .iter()
            .map(|step| step.sum(|tally| tally.failed))
            .sum(),
        stopped: overload.stopped,
    }
}
