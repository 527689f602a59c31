//! The judge: takes the history of a run and nothing else, and shares no code with core.
//!
//! Each function is one promise, by its number in the contract.

mod again;
mod drains;
mod order;
mod priority;
mod waits;

use std::collections::BTreeMap;

use crate::history::{
    Delivery, Disturbance, End, Execution, ExecutionEnd, FailedWhy, History, RejectedWhy, Submit,
};
use crate::options::{Host, MS, S};
use crate::plan::Plan;
use crate::pool::PATIENCE;
use crate::report::{Class, Failure};
use crate::workload::Deed;

/// Judges a history.
///
/// # Errors
/// The first promise that was broken.
pub fn check(plan: &Plan, history: &History) -> Result<(), Failure> {
    let ledger = Ledger::new(plan, history)?;
    ledger.one_outcome()?;
    ledger.honest_outcomes()?;
    ledger.executions_are_justified()?;
    ledger.attempts_within_bounds()?;
    ledger.ended_tasks_stop()?;
    ledger.capacity()?;
    ledger.cut_off_workers_start_nothing()?;
    ledger.retries()?;
    again::check(plan, history)?;
    order::check(plan, history)?;
    priority::check(plan, history)?;
    drains::check(history)?;
    waits::check(plan, history)
}

/// The two ledgers side by side, by task.
struct Ledger<'h> {
    plan: &'h Plan,
    history: &'h History,
    /// By place in the plan.
    tasks: BTreeMap<usize, Entry<'h>>,
}

#[derive(Default)]
struct Entry<'h> {
    submit: Option<&'h Submit>,
    deliveries: Vec<&'h Delivery>,
    executions: Vec<&'h Execution>,
}

/// Nothing, or what is wrong.
type Said = Result<(), String>;

fn said(wrong: &str) -> Said {
    Err(wrong.to_owned())
}

fn broken(promise: &'static str, text: impl Into<String>, task: usize) -> Failure {
    Failure::new(Class::Safety, promise, text).about(task)
}

impl<'h> Ledger<'h> {
    fn new(plan: &'h Plan, history: &'h History) -> Result<Self, Failure> {
        let mut tasks: BTreeMap<usize, Entry<'h>> = BTreeMap::new();
        let mut numbers: BTreeMap<(usize, u64), usize> = BTreeMap::new();
        let mut by_id: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for submit in &history.submits {
            tasks.entry(submit.task).or_default().submit = Some(submit);
            if numbers
                .insert((submit.life, submit.seq), submit.task)
                .is_some()
            {
                return Err(broken("1", "a client used a number twice", submit.task));
            }
            by_id.insert((history.lives[submit.life].id, submit.seq), submit.task);
        }
        for delivery in &history.deliveries {
            let Some(task) = numbers.get(&(delivery.life, delivery.seq)) else {
                let text = format!("an outcome for number {}, never submitted", delivery.seq);
                return Err(Failure::new(Class::Safety, "1 (exactly one outcome)", text));
            };
            tasks.entry(*task).or_default().deliveries.push(delivery);
        }
        let limit = plan
            .options
            .payload_max
            .map_or(usize::MAX, |limit| limit as usize);
        for execution in &history.executions {
            if execution.bytes > limit {
                let text = "it is too large to be taken, whoever submitted it";
                return Err(broken("17 (limits)", text, execution.task));
            }
            if history.hostile.contains(&execution.client) {
                continue;
            }
            let known = by_id.get(&(execution.client, execution.seq));
            if known != Some(&execution.task) {
                let text = "an execution of something that was never submitted, or mixed up";
                return Err(broken("2 (honest outcomes)", text, execution.task));
            }
            tasks
                .entry(execution.task)
                .or_default()
                .executions
                .push(execution);
        }
        Ok(Self {
            plan,
            history,
            tasks,
        })
    }

    /// Promise 1: exactly one outcome for each task of a client that lives to the end; never two.
    fn one_outcome(&self) -> Result<(), Failure> {
        for (task, entry) in &self.tasks {
            let Some(submit) = entry.submit else { continue };
            if entry.deliveries.len() > 1 {
                return Err(broken("1 (exactly one outcome)", "two outcomes", *task));
            }
            let alive = self.history.lives[submit.life].end.is_none();
            if alive && entry.deliveries.is_empty() {
                return Err(broken("1 (exactly one outcome)", "no outcome", *task));
            }
        }
        Ok(())
    }

    /// Promise 2: outcomes say what happened.
    fn honest_outcomes(&self) -> Result<(), Failure> {
        for (task, entry) in &self.tasks {
            let Some(delivery) = entry.deliveries.first() else {
                continue;
            };
            self.honest_outcome(*task, entry, delivery)
                .map_err(|text| broken("2 (honest outcomes)", text, *task))?;
        }
        Ok(())
    }

    /// What is wrong with the outcome of a task, if anything is.
    fn honest_outcome(&self, task: usize, entry: &Entry<'_>, delivery: &Delivery) -> Said {
        let asked = &self.plan.tasks[task];
        match &delivery.end {
            End::Completed { .. } => {
                let own = self.completed_by(delivery).filter(|run| run.task == task);
                let end = own.and_then(|run| run.end);
                let in_time = |(end, how)| how == ExecutionEnd::Completed && end <= delivery.at;
                if !end.is_some_and(in_time) {
                    return said("completed, but no such execution");
                }
            }
            End::Failed { why, .. } => self.honest_failure(task, entry, delivery.at, why)?,
            End::Rejected {
                why: RejectedWhy::NoRunner,
                ..
            } if self.plan.options.is_run_by_all(asked.name) => {
                return said("every worker runs it");
            }
            End::Rejected {
                why: RejectedWhy::TooLarge,
                ..
            } if !self.may_be_too_large(task) => {
                return said("it is not too large");
            }
            End::Rejected { .. }
            | End::Expired {
                may_have_run: false,
            }
            | End::Cancelled {
                may_have_run: false,
            } => {
                if !entry.executions.is_empty() {
                    return Err(format!("{} means never started", delivery.end.name()));
                }
            }
            End::Expired { may_have_run: true } | End::Cancelled { may_have_run: true } => {}
            End::Lost { .. } => {
                if self.plan.is_calm() {
                    return said("lost, though nothing went wrong");
                }
            }
        }
        match delivery.end {
            End::Expired { .. } if asked.deadline.is_none() => said("expired without a deadline"),
            // A client that stops gives up what it has left.
            End::Cancelled { .. }
                if asked.cancel_after.is_none()
                    && self.history.lives[delivery.life].end.is_none() =>
            {
                said("cancelled, though nobody asked")
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with a failure that was delivered at `at`, if anything is.
    fn honest_failure(&self, task: usize, entry: &Entry<'_>, at: u64, why: &FailedWhy) -> Said {
        let asked = &self.plan.tasks[task];
        let never_ran = entry.executions.is_empty();
        let any_ended = |how: ExecutionEnd| {
            let mut ends = entry.executions.iter().filter_map(|run| run.end);
            ends.any(|(end, what)| what == how && end <= at)
        };
        match why {
            FailedWhy::Raised(message) => {
                let honest = entry.executions.iter().any(|run| {
                    *message == format!("execution {}", run.place)
                        && run.end.is_some_and(|(_, how)| how == ExecutionEnd::Failed)
                });
                if !honest {
                    return said("failed, but no such execution");
                }
            }
            FailedWhy::Crashed => {
                if !any_ended(ExecutionEnd::Crashed) && self.plan.is_calm() {
                    return said("crashed, but nothing did");
                }
                // What was written to a process that was just dying counts as run.
                if never_ran && self.history.disturbances.is_empty() {
                    return said("crashed, but never ran");
                }
            }
            FailedWhy::TimeLimit => {
                if asked.time_limit.is_none() {
                    return said("it has no time limit");
                }
                if never_ran && !self.may_have_been_sought(task, at) {
                    return said("too long, but never ran");
                }
            }
            FailedWhy::MemoryLimit => {
                if asked.deed != Deed::Hog || never_ran {
                    return said("it took no memory");
                }
            }
            FailedWhy::ResultTooLarge => {
                let bytes = 16 + u64::from(asked.result);
                let limit = self.plan.options.payload_max.map_or(u64::MAX, u64::from);
                if bytes <= limit || !any_ended(ExecutionEnd::Completed) {
                    return said("its result is not too large");
                }
            }
            FailedWhy::Other(what) => return Err(format!("failed with {what}")),
        }
        Ok(())
    }

    /// Whether the search for what it takes to start the task may have used up its time limit: a
    /// machine was short of it by then, and the search may take as long.
    fn may_have_been_sought(&self, task: usize, at: u64) -> bool {
        let limit = self.plan.tasks[task].time_limit;
        let short = |what: &Disturbance| what.what == "short" && what.from <= at;
        limit.is_some_and(|limit| limit <= PATIENCE) && self.history.disturbances.iter().any(short)
    }

    /// Whether a manager may say that a task is too large: it is, or the manager is a stranger.
    fn may_be_too_large(&self, task: usize) -> bool {
        let bytes = 8 + u64::from(self.plan.tasks[task].payload);
        let limit = self.plan.options.payload_max.map_or(u64::MAX, u64::from);
        // Names are of two bytes.
        bytes > limit
            || bytes + 2 > self.plan.options.queue_bytes
            || self
                .history
                .disturbances
                .iter()
                .any(|what| what.what == "impostor")
    }

    /// The execution that a result says it is of.
    fn completed_by(&self, delivery: &Delivery) -> Option<&Execution> {
        let task = u64::from_le_bytes(*delivery.payload.first_chunk::<8>()?);
        let place = u64::from_le_bytes(*delivery.payload.get(8..)?.first_chunk::<8>()?);
        let run = self.history.executions.get(usize::try_from(place).ok()?)?;
        let whole = 16 + self.plan.tasks.get(run.task)?.result as usize;
        (run.task as u64 == task && delivery.payload.len() == whole).then_some(run)
    }

    /// Promise 3: once, unless something went wrong that the contract names.
    fn executions_are_justified(&self) -> Result<(), Failure> {
        for (task, entry) in &self.tasks {
            let plan = &self.plan.tasks[*task];
            let delivery = entry.deliveries.first();
            for run in &entry.executions {
                if self.history.lives[run.life].runs & 1 << plan.name == 0 {
                    let text = "ran where tasks of its name do not run";
                    return Err(broken("1 (classes)", text, *task));
                }
            }
            if plan.at_most_once && entry.executions.len() > 1 {
                let text = format!("started {} times", entry.executions.len());
                return Err(broken("3 (at most once)", text, *task));
            }
            let must_have_run = delivery.is_some_and(|delivery| match &delivery.end {
                End::Failed {
                    why: FailedWhy::Crashed,
                    ..
                } => self.history.disturbances.is_empty(),
                End::Failed {
                    why: FailedWhy::TimeLimit,
                    ..
                } => !self.may_have_been_sought(*task, delivery.at),
                End::Completed { .. } | End::Failed { .. } => true,
                _ => false,
            });
            if must_have_run && entry.executions.is_empty() {
                return Err(broken("3 (at least once)", "never started", *task));
            }
            for pair in entry.executions.windows(2) {
                if !self.is_justified(entry, pair[0], pair[1]) {
                    let text = format!(
                        "started again at {} s without a cause",
                        pair[1].start as f64 / S as f64
                    );
                    return Err(broken("3 (without faults, once)", text, *task));
                }
            }
        }
        Ok(())
    }

    /// Whether there was a cause for `second` after `first`. Generous: whatever touched a host
    /// that had to do with it counts, with the time that it takes to be noticed.
    fn is_justified(&self, entry: &Entry<'_>, first: &Execution, second: &Execution) -> bool {
        if matches!(
            first.end,
            Some((at, ExecutionEnd::Crashed | ExecutionEnd::WorkerDied)) if at <= second.start
        ) {
            return true;
        }
        // Queued in a child behind an attempt that was ended while it was about to answer: the end
        // struck the next one, which the worker gives to another child.
        let struck = first.attempt == second.attempt
            && first.life == second.life
            && matches!(first.end, Some((at, ExecutionEnd::Killed)) if at <= second.start)
            && self.history.executions.iter().any(|before| {
                before.process == first.process
                    && before.end.is_some_and(|(end, _)| end == first.start)
            });
        if struck {
            return true;
        }
        let options = &self.plan.options;
        let workers = [first, second].map(|run| self.history.lives[run.life].host);
        let client = entry
            .submit
            .map(|submit| self.history.lives[submit.life].host);
        let concerned = |host: &Host| {
            workers.contains(host) || Some(*host) == client || *host < options.managers
        };
        let notice = 2 * options.lease + options.drain_timeout + S;
        let disturbed = self.history.disturbances.iter().any(|what| {
            what.from <= second.start
                && what.to.saturating_add(notice) >= first.start
                && what.hosts.iter().any(concerned)
        });
        let replaced = self.history.lives.iter().any(|life| {
            concerned(&life.host)
                && life
                    .end
                    .is_some_and(|end| end <= second.start && end + notice >= first.start)
        });
        disturbed || replaced
    }

    /// Promise 3: no more charged attempts than allowed.
    fn attempts_within_bounds(&self) -> Result<(), Failure> {
        let epochs = self
            .history
            .lives
            .iter()
            .filter(|life| life.host < self.plan.options.managers)
            .count();
        for (task, entry) in &self.tasks {
            let plan = &self.plan.tasks[*task];
            let allowed = usize::from(plan.max_attempts);
            let told = entry
                .deliveries
                .first()
                .map_or(0, |delivery| match &delivery.end {
                    End::Completed { charged } => usize::from(*charged) + 1,
                    End::Failed {
                        why: FailedWhy::Crashed,
                        history,
                    } => *history,
                    End::Failed { history, .. } => history + 1,
                    End::Lost { history } => *history,
                    _ => 0,
                });
            if told > allowed {
                let text = format!("{told} attempts charged of {allowed}");
                return Err(broken("3 (max_attempts)", text, *task));
            }
            let crashes = entry
                .executions
                .iter()
                .filter(|run| matches!(run.end, Some((_, ExecutionEnd::Crashed))))
                .count();
            let steady = self.history.disturbances.is_empty() && epochs == 1;
            if steady && crashes > allowed {
                let text = format!("{crashes} crashes of {allowed} allowed");
                return Err(broken("3 (max_attempts)", text, *task));
            }
        }
        Ok(())
    }

    /// Promise 4: what was cancelled or has expired stops using resources.
    fn ended_tasks_stop(&self) -> Result<(), Failure> {
        if !self.history.disturbances.is_empty() {
            return Ok(());
        }
        let options = &self.plan.options;
        let grace = options.kill_grace + options.lease + S;
        for (task, entry) in &self.tasks {
            let Some(delivery) = entry.deliveries.first() else {
                continue;
            };
            for run in &entry.executions {
                let end = run.end.map_or(u64::MAX, |(at, _)| at);
                if end > delivery.at.saturating_add(grace) {
                    let text = "it has an outcome but goes on running";
                    return Err(broken("4 (ended tasks stop)", text, *task));
                }
            }
        }
        Ok(())
    }

    /// No worker runs more at once than it has slots, and no pool process two at once.
    fn capacity(&self) -> Result<(), Failure> {
        let promise = "capacity is never exceeded";
        let mut changes: BTreeMap<usize, Vec<(u64, i64, usize)>> = BTreeMap::new();
        let mut last_of: BTreeMap<usize, &Execution> = BTreeMap::new();
        for run in &self.history.executions {
            if let Some(before) = last_of.insert(run.process, run)
                && before.end.is_none_or(|(end, _)| end > run.start)
            {
                return Err(broken(promise, "two at once in one pool process", run.task));
            }
            let of_life = changes.entry(run.life).or_default();
            of_life.push((run.start, 1, run.task));
            if let Some((end, _)) = run.end {
                of_life.push((end, -1, run.task));
            }
        }
        for (life, mut of_life) in changes {
            of_life.sort_unstable();
            let mut running = 0;
            for (_, change, task) in of_life {
                running += change;
                let capacity = i64::from(self.history.lives[life].capacity);
                if running > capacity {
                    let text = format!("{running} at once in {capacity} slots");
                    return Err(broken(promise, text, task));
                }
            }
        }
        Ok(())
    }

    /// Promise 12: a worker that no manager can reach starts nothing new after the lease. Judged by
    /// when an attempt was first written to a process, since what was written runs anyway.
    fn cut_off_workers_start_nothing(&self) -> Result<(), Failure> {
        let options = &self.plan.options;
        let overlaps = |what: &&Disturbance, from: u64, to: u64| what.from <= to && from <= what.to;
        for what in self.history.disturbances.iter() {
            let inside = |host: Host| what.hosts.contains(&host);
            if what.what != "isolate" || what.hosts.is_empty() {
                continue;
            }
            // Clocks drift, and a driver takes its time.
            let lease = options.lease + options.lease / 8 + 300 * MS;
            for run in &self.history.executions {
                let host = self.history.lives[run.life].host;
                let alone = (0..options.managers).all(|manager| inside(manager) != inside(host));
                // Whoever stood still adds its lateness to the lease.
                let paused = |from: u64, to: u64| {
                    let mut others = self.history.disturbances.iter();
                    others.any(|other| {
                        ["pause", "freeze"].contains(&other.what)
                            && other.hosts.contains(&host)
                            && overlaps(&other, from, to)
                    })
                };
                let late = run.given > what.from.saturating_add(lease) && run.given < what.to;
                if alone && late && !paused(what.from, run.given) {
                    let text = format!(
                        "started at {} s, cut off since {} s",
                        run.given as f64 / S as f64,
                        what.from as f64 / S as f64
                    );
                    return Err(broken("12 (starts nothing when cut off)", text, run.task));
                }
            }
        }
        Ok(())
    }

    /// Promise 6: no more retries than allowed, and `Rejected` only when they are used up.
    fn retries(&self) -> Result<(), Failure> {
        for (task, entry) in &self.tasks {
            let Some(Delivery {
                end: End::Rejected { retries, why },
                ..
            }) = entry.deliveries.first()
            else {
                continue;
            };
            let allowed = self.plan.tasks[*task].retries.or(self.plan.options.retries);
            let honest = match why {
                RejectedWhy::TooLarge => *retries == 0 || self.may_be_too_large(*task),
                RejectedWhy::NoRunner => allowed.is_none_or(|allowed| *retries <= allowed),
                RejectedWhy::Retries => allowed == Some(*retries),
            };
            if !honest {
                let text = format!("rejected after {retries} retries of {allowed:?}");
                return Err(broken("6 (retries)", text, *task));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
