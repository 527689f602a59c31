//! A run as a picture: one HTML file that needs nothing else.
//!
//! A lane for each host, executions as bars in the slots of their worker, messages as arrows, faults
//! as bands over the lanes that they touch, what managers and clients count as areas, and one task
//! highlighted with its story. `page.html` draws; this gathers what it draws.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::history::{ExecutionEnd, History};
use crate::options::Host;
use crate::plan::Plan;
use crate::report::Failure;
use crate::trace::Trace;

const PAGE: &str = include_str!("page.html");
/// Most messages and lines that a page holds; of longer runs it tells the beginning, and says so.
const MOST: usize = 40_000;
/// Longer texts end in an ellipsis.
const TEXT: usize = 280;

#[derive(Serialize)]
struct Lane {
    name: String,
    kind: &'static str,
    slots: u32,
    lives: Vec<(u64, Option<u64>)>,
    /// What its counts are called, and then each change: when, and the three counts.
    names: [&'static str; 3],
    counts: Vec<(u64, usize, usize, usize)>,
}

/// Draws a run: `task` is highlighted first, or else the one that the failure is about.
#[must_use]
pub fn picture(
    plan: &Plan,
    history: &History,
    trace: &Trace,
    failure: Option<&Failure>,
    task: Option<usize>,
) -> String {
    let task = task.or_else(|| failure.and_then(|failure| failure.task));
    let verdict = failure.map(|failure| {
        json!({
            "class": format!("{:?}", failure.class),
            "promise": failure.promise,
            "text": failure.text,
        })
    });
    let data = json!({
        "seed": plan.seed,
        "faults": plan.faults.len(),
        "verdict": verdict,
        "task": task,
        "healed": history.healed_at,
        "until": end_of_work(history),
        "end": trace.lines().last().map_or(0, |line| line.at),
        "lanes": lanes(plan, history, trace),
        "bands": bands(history),
        "runs": runs(history),
        "kinds": kinds(trace),
        "messages": messages(trace),
        "tasks": tasks(plan, history),
        "lines": lines(trace),
        "left_out": trace.hops().len().saturating_sub(MOST) + trace.lines().len().saturating_sub(MOST),
    });
    // A text must not end the element that it stands in.
    let data = data
        .to_string()
        .replace("</", "<\\/")
        .replace("<!--", "<\\u0021--");
    let title = format!("Argon, seed {}", plan.seed);
    PAGE.replace("@TITLE@", &title).replace("@DATA@", &data)
}

/// When the last task had its outcome; after that there is only quiet.
fn end_of_work(history: &History) -> u64 {
    let delivered = history.deliveries.last().map_or(0, |delivery| delivery.at);
    let ran = history.executions.iter().filter_map(|run| run.end);
    ran.map(|(at, _)| at).max().unwrap_or(0).max(delivered)
}

fn lanes(plan: &Plan, history: &History, trace: &Trace) -> Vec<Lane> {
    let options = &plan.options;
    let mut lanes: Vec<Lane> = (0..options.hosts())
        .map(|host| {
            let (kind, slots) = if host < options.managers {
                ("manager", 0)
            } else if options.worker_hosts().contains(&host) {
                (
                    "worker",
                    options.workers[usize::from(host - options.managers)],
                )
            } else {
                ("client", 0)
            };
            Lane {
                name: format!("{}{host}", &kind[..1]),
                kind,
                slots,
                lives: Vec::new(),
                names: [""; 3],
                counts: Vec::new(),
            }
        })
        .collect();
    for life in &history.lives {
        if let Some(lane) = lanes.get_mut(usize::from(life.host)) {
            lane.lives.push((life.start, life.end));
        }
    }
    for gauge in trace.gauges() {
        if let Some(lane) = lanes.get_mut(usize::from(gauge.host)) {
            let [a, b, c] = gauge.counts;
            lane.names = [a.0, b.0, c.0];
            lane.counts.push((gauge.at, a.1, b.1, c.1));
        }
    }
    lanes
}

/// What, whom (empty: everybody), from when to when.
fn bands(history: &History) -> Vec<(&'static str, &[Host], u64, Option<u64>)> {
    let disturbances = history.disturbances.iter();
    disturbances
        .map(|band| {
            let to = (band.to != u64::MAX).then_some(band.to);
            (band.what, band.hosts.as_slice(), band.from, to)
        })
        .collect()
}

/// Host, slot, start, end, task, how it ended, and the attempt's number.
fn runs(history: &History) -> Vec<Value> {
    let run = |run: &crate::history::Execution| {
        let host = history.lives[run.life].host;
        let slot = history.processes[run.process].slot;
        let how = match run.end {
            None => "running",
            Some((_, ExecutionEnd::Completed)) => "completed",
            Some((_, ExecutionEnd::Failed)) => "failed",
            Some((_, ExecutionEnd::Crashed)) => "crashed",
            Some((_, ExecutionEnd::Killed)) => "killed",
            Some((_, ExecutionEnd::WorkerDied)) => "worker died",
        };
        let end = run.end.map(|(at, _)| at);
        let task = (run.task != usize::MAX).then_some(run.task);
        json!([host, slot, run.start, end, task, how, run.attempt.1])
    };
    history.executions.iter().map(run).collect()
}

fn kinds(trace: &Trace) -> Vec<&str> {
    let mut kinds: Vec<&str> = trace.hops().iter().map(|hop| hop.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// From, to, sent, arrived, the place of its kind, and the task.
fn messages(trace: &Trace) -> Vec<Value> {
    let kinds = kinds(trace);
    let place = |kind: &str| kinds.binary_search(&kind).unwrap_or(0);
    let hops = trace.hops().iter().take(MOST);
    hops.map(|hop| {
        let kind = place(&hop.kind);
        json!([hop.from, hop.to, hop.sent, hop.arrived, kind, hop.task])
    })
    .collect()
}

/// By number: client, when submitted, when ended, and how.
fn tasks(plan: &Plan, history: &History) -> BTreeMap<usize, Value> {
    let mut ends = BTreeMap::new();
    for delivery in &history.deliveries {
        ends.insert((delivery.life, delivery.seq), delivery);
    }
    let task = |submit: &crate::history::Submit| {
        let end = ends.get(&(submit.life, submit.seq));
        let planned = plan.tasks.get(submit.task)?;
        let value = json!({
            "client": planned.client,
            "at": submit.at,
            "ended": end.map(|delivery| delivery.at),
            "end": end.map(|delivery| delivery.end.name()),
            "priority": planned.priority,
            "does": format!("{:?}", planned.deed),
        });
        Some((submit.task, value))
    };
    history.submits.iter().filter_map(task).collect()
}

/// When, who, what, and the task.
fn lines(trace: &Trace) -> Vec<Value> {
    let lines = trace.lines().iter().take(MOST);
    lines
        .filter(|line| line.task.is_some() || line.who == "fault")
        .map(|line| {
            let text = match line.text.char_indices().nth(TEXT) {
                Some((end, _)) => format!("{}…", &line.text[..end]),
                None => line.text.clone(),
            };
            json!([line.at, line.who, text, line.task])
        })
        .collect()
}
