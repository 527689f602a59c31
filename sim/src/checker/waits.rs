//! Promise 9 to its end: an accepted task starts within its `max_wait`, wherever it waits.

use std::collections::{BTreeMap, BTreeSet};

use super::order::scaled;
use crate::history::{Disturbance, Execution, History, Life, WireWhat};
use crate::network::longest_delay;
use crate::options::{MS, S};
use crate::plan::Plan;
use crate::process::EVEN;
use crate::report::{Class, Failure};

/// A client and its number of a task.
type Id = (u64, u64);

/// Turns of the machines that a request and its answer wait for.
const TURNS: u64 = 20 * MS;

/// Judges when tasks were first written to a process. A worker's task is recalled when its time
/// is over, so the way of that message is added; what was written counts as started.
pub(super) fn check(plan: &Plan, history: &History) -> Result<(), Failure> {
    let options = &plan.options;
    if options.bandwidth > 0 {
        // Messages wait for one another, nobody can say for how long.
        return Ok(());
    }
    let way = longest_delay(options) + 2 * options.step + TURNS;
    let submitted = submissions(plan, history);
    let mut seen: BTreeSet<Id> = BTreeSet::new();
    for run in &history.executions {
        let id = (run.client, run.seq);
        // One that has run before is to run again, whatever it takes.
        if !seen.insert(id) {
            continue;
        }
        let mut of_task = submitted.get(&id).into_iter().flatten();
        let Some(last) = of_task.rfind(|sent| sent.at <= run.given) else {
            continue;
        };
        let late = run.given > last.start_by.saturating_add(way);
        if late && !is_excused(plan, history, last.at, run) {
            let text = format!(
                "it was written to a process at {} s, and was to start by {} s",
                run.given as f64 / S as f64,
                last.start_by as f64 / S as f64
            );
            return Err(Failure::new(Class::Safety, "9 (longest wait)", text).about(run.task));
        }
    }
    Ok(())
}

/// A submission that a manager took in.
struct Sent {
    at: u64,
    start_by: u64,
}

/// The submissions of each task, in order; none of those that may have run, which are not refused.
fn submissions(plan: &Plan, history: &History) -> BTreeMap<Id, Vec<Sent>> {
    let rate = EVEN - plan.options.drift;
    let mut submitted: BTreeMap<Id, Vec<Sent>> = BTreeMap::new();
    let mut may_have_run: BTreeSet<Id> = BTreeSet::new();
    for wire in &history.wire {
        let WireWhat::Submitted {
            max_wait, marked, ..
        } = wire.what
        else {
            continue;
        };
        let id = (wire.client, wire.seq);
        if marked {
            may_have_run.insert(id);
        }
        let start_by = wire.at.saturating_add(scaled(max_wait, rate));
        submitted.entry(id).or_default().push(Sent {
            at: wire.at,
            start_by,
        });
    }
    submitted.retain(|id, _| !may_have_run.contains(id));
    submitted
}

/// Whether something went wrong, or somebody was gone, from the time at which it would still have been
/// noticed after the submission.
fn is_excused(plan: &Plan, history: &History, submitted_at: u64, run: &Execution) -> bool {
    let notice = 2 * plan.options.lease + plan.options.drain_timeout + S;
    let overlaps =
        |from: u64, to: u64| from <= run.given && to.saturating_add(notice) >= submitted_at;
    let disturbed = |what: &Disturbance| overlaps(what.from, what.to);
    let ended = |life: &Life| life.end.is_some_and(|end| overlaps(end, end));
    history.disturbances.iter().any(disturbed) || history.lives.iter().any(ended)
}
