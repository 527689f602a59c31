//! Scenarios that are built by hand rather than drawn, and what is measured in them.
//!
//! A quantitative promise needs a load that is known exactly: so many workers, so many tasks a
//! second of such a length. Everything here is virtual time, so a figure that comes out once comes
//! out always.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::faults::Fault;
use crate::history::{Delivery, End, History, WireWhat};
use crate::options::{Host, MS, Options, S, US};
use crate::plan::Plan;
use crate::workload::Submission;

/// A cluster of `workers` with `slots` each and one manager, on a fast local network. The machines'
/// own invariants are looked at now and then only, since they cost as much as there are tasks.
#[must_use]
pub fn cluster(workers: u16, slots: u32, clients: u16) -> Options {
    let mut options = Options::calm(vec![slots; usize::from(workers)], clients);
    options.delay = (20 * US, 50 * US);
    options.step = 10 * US;
    options.spawn = MS;
    options.check_every = 5_000;
    options
}

/// Puts parts into one plan, in order of time.
#[must_use]
pub fn plan(options: Options, mut tasks: Vec<Submission>, faults: Vec<Fault>) -> Plan {
    tasks.sort_by_key(|task| task.at);
    Plan {
        seed: 1,
        options,
        tasks,
        faults,
    }
}

/// Run times that fill the range evenly: any few dozen of them in a row have the mean of the range.
#[must_use]
pub fn evenly(range: &Range<u64>, index: u64) -> u64 {
    // The fractional part of multiples of the golden ratio, in 2^-64.
    let share = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let width = u128::from(range.end - range.start);
    range.start + ((u128::from(share) * width) >> 64) as u64
}

/// An open load: whatever becomes of them, tasks come at an even rate, in turn at each client.
#[derive(Clone, Debug)]
pub struct Open {
    /// Who submits.
    pub clients: Range<Host>,
    /// From when to when.
    pub during: Range<u64>,
    /// Tasks a second, of all of them together.
    pub per_second: u64,
    /// How long the tasks run.
    pub run: Range<u64>,
    /// How important they are.
    pub priority: u8,
}

impl Open {
    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> Vec<Submission> {
        let span = self.during.end - self.during.start;
        let count = (u128::from(span) * u128::from(self.per_second) / u128::from(S)) as u64;
        let clients = u64::from(self.clients.end - self.clients.start);
        let task = |index: u64| {
            let at = self.during.start
                + (u128::from(index) * u128::from(S) / u128::from(self.per_second)) as u64;
            let client = self.clients.start + (index % clients) as Host;
            Submission {
                priority: self.priority,
                ..Submission::plain(at, client, evenly(&self.run, index))
            }
        };
        (0..count).map(task).collect()
    }
}

/// A backlog: every client has `each` tasks at once at `at`.
#[must_use]
pub fn backlog(clients: Range<Host>, at: u64, each: u64, run: &Range<u64>) -> Vec<Submission> {
    let mut tasks = Vec::new();
    for index in 0..each {
        for client in clients.clone() {
            let place = tasks.len() as u64;
            tasks.push(Submission::plain(at, client, evenly(run, index.max(place))));
        }
    }
    tasks
}

/// What is read off a history.
pub struct Measured<'h> {
    plan: &'h Plan,
    history: &'h History,
    /// The outcome of each task that has one, by its place in the plan.
    ends: BTreeMap<usize, &'h Delivery>,
    /// When each task that was taken in was submitted.
    submitted: BTreeMap<usize, u64>,
}

impl<'h> Measured<'h> {
    /// Reads a history.
    #[must_use]
    pub fn new(plan: &'h Plan, history: &'h History) -> Self {
        let mut tasks = BTreeMap::new();
        let mut submitted = BTreeMap::new();
        for submit in &history.submits {
            tasks.insert((submit.life, submit.seq), submit.task);
            submitted.insert(submit.task, submit.at);
        }
        let end = |delivery: &'h Delivery| {
            let task = tasks.get(&(delivery.life, delivery.seq))?;
            Some((*task, delivery))
        };
        Self {
            plan,
            history,
            ends: history.deliveries.iter().filter_map(end).collect(),
            submitted,
        }
    }

    /// Tasks that completed at their clients a second.
    #[must_use]
    pub fn goodput(&self, during: &Range<u64>) -> f64 {
        let completed = |delivery: &&&Delivery| {
            during.contains(&delivery.at) && matches!(delivery.end, End::Completed { .. })
        };
        let count = self.ends.values().filter(completed).count();
        count as f64 * S as f64 / (during.end - during.start) as f64
    }

    /// The share of the slots' time that went into executions, of `slots` slots.
    #[must_use]
    pub fn utilisation(&self, during: &Range<u64>, slots: u64) -> f64 {
        let busy: u64 = self
            .history
            .executions
            .iter()
            .map(|run| {
                let end = run.end.map_or(during.end, |(at, _)| at).min(during.end);
                end.saturating_sub(run.start.max(during.start))
            })
            .sum();
        busy as f64 / ((during.end - during.start) * slots) as f64
    }

    /// How long tasks took from the application's call to `Completed`, of those that `pick` picks
    /// by their place in the plan; sorted.
    #[must_use]
    pub fn latencies(&self, pick: impl Fn(usize) -> bool) -> Vec<u64> {
        let latency = |(task, delivery): (&usize, &&Delivery)| {
            let completed = matches!(delivery.end, End::Completed { .. }) && pick(*task);
            completed.then(|| delivery.at - self.submitted[task])
        };
        let mut all: Vec<u64> = self.ends.iter().filter_map(latency).collect();
        all.sort_unstable();
        all
    }

    /// How long tasks took from the submission that the manager accepted to their outcome there;
    /// sorted.
    #[must_use]
    pub fn admitted(&self) -> Vec<u64> {
        let mut since = BTreeMap::new();
        let mut all = Vec::new();
        for wire in &self.history.wire {
            let id = (wire.life, wire.client, wire.seq);
            match wire.what {
                WireWhat::Submitted { .. } => {
                    since.entry(id).or_insert(wire.at);
                }
                WireWhat::Rejected { .. } => {
                    since.remove(&id);
                }
                WireWhat::Ended => all.extend(since.remove(&id).map(|from| wire.at - from)),
                WireWhat::Assigned | WireWhat::Cancelled | WireWhat::Returned | WireWhat::Left => {}
            }
        }
        all.sort_unstable();
        all
    }

    /// The tasks of the plan that `client` submits.
    pub fn of(&self, client: Host) -> impl Fn(usize) -> bool {
        move |task| self.plan.tasks[task].client == client
    }

    /// How many tasks ended in each way.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for delivery in self.ends.values() {
            *counts.entry(delivery.end.name()).or_default() += 1;
        }
        counts
    }
}

/// The value below which `percent` of a hundred lie, of sorted values; 0 of none.
#[must_use]
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}
