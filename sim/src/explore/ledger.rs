//! What pools ran and what the client got, judged as it happens.

use std::collections::{BTreeMap, BTreeSet};

use argon_core::ids::Attempt;
use argon_core::task::{ErrorKind, Outcome};

use super::settings::{DRAIN_TIMEOUT, GRACE, LEASE, RESTART_GRACE};

/// A run by its attempt, and by which life of which worker ran it.
type RunName = (Attempt, usize, u32);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RunEnd {
    Completed,
    Crashed,
    Ended,
}

#[derive(Clone, Debug)]
struct Run {
    task: usize,
    end: Option<RunEnd>,
}

/// What went wrong: the only causes of a second start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// This host lost a connection, and will be told.
    Cut(usize),
    /// It was connected again, and had reported, before the grace was over.
    Healed,
    /// The greeting of a process of this host that was dead already came late: whoever has its name
    /// now counts as replaced by it.
    Ghost(usize),
    /// Something is silent: a connection, or everything that is late.
    Silence,
    /// A process is gone, and what it knew.
    Gone,
}

/// The two ledgers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    runs: BTreeMap<RunName, Run>,
    delivered: BTreeMap<usize, Outcome>,
    faults: BTreeSet<(u64, Fault)>,
    /// Lives of workers that are over, and with them what they knew.
    gone: BTreeSet<(usize, u32)>,
    /// Whether a pool process died by itself.
    crashed: bool,
    cancelled: bool,
    /// When a drain was asked for.
    drained: Option<u64>,
}

impl Ledger {
    pub(crate) fn note_fault(&mut self, now: u64, fault: Fault) {
        self.faults.insert((now, fault));
    }

    /// The only manager has the report of this worker: cuts that were short are no causes.
    pub(crate) fn note_report(&mut self, now: u64, host: usize) {
        let short = |&(at, fault): &(u64, Fault)| fault == Fault::Cut(host) && now < at + GRACE;
        for fault in self.faults.extract_if(.., short).collect::<Vec<_>>() {
            self.faults.insert((fault.0, Fault::Healed));
        }
    }

    pub(crate) fn note_cancel(&mut self) {
        self.cancelled = true;
    }

    pub(crate) fn note_drain(&mut self, now: u64) {
        self.drained = Some(now);
    }

    /// A pool process begins a run.
    pub(crate) fn start(
        &mut self,
        now: u64,
        task: usize,
        careful: bool,
        name: RunName,
    ) -> Result<(), String> {
        for ((attempt, host, life), before) in self.runs.iter().filter(|(_, run)| run.task == task)
        {
            if careful {
                return Err(format!(
                    "promise 3: task {task}, at most once, starts twice"
                ));
            }
            if !self.gone.contains(&(*host, *life))
                && !self.is_justified(now, [*host, name.1], before)
            {
                return Err(format!(
                    "promise 3: task {task} starts again (attempt {}) without a cause; it ran as \
                     {attempt} at host {host}",
                    name.0
                ));
            }
        }
        if let Some(outcome) = self.delivered.get(&task)
            && never_started(outcome)
        {
            return Err(format!("promise 2: task {task} starts, but is {outcome:?}"));
        }
        let run = Run { task, end: None };
        if self.runs.insert(name, run).is_some() {
            return Err(format!("an attempt starts twice: {}", name.0));
        }
        Ok(())
    }

    /// Whether a task that ran so may start again now; where it ran, and where it is to.
    fn is_justified(&self, now: u64, hosts: [usize; 2], before: &Run) -> bool {
        // A manager without its memory does not know that it was asked for the end of a run.
        let forgotten = before.end == Some(RunEnd::Ended)
            && self.faults.iter().any(|(_, fault)| *fault == Fault::Gone);
        let drained = self.drained.is_some_and(|at| at + DRAIN_TIMEOUT <= now);
        if before.end == Some(RunEnd::Crashed) || forgotten || drained {
            return true;
        }
        self.faults.iter().any(|&(at, fault)| {
            let noticed = match fault {
                Fault::Healed => return false,
                Fault::Ghost(host) if hosts.contains(&host) => at,
                Fault::Cut(cut) if hosts.contains(&cut) => at + GRACE,
                // It may have been heard last a while before.
                Fault::Silence => at + LEASE / 2,
                // Another manager, or this one without its memory, waits for it to be claimed.
                Fault::Cut(_) | Fault::Ghost(_) | Fault::Gone => at + RESTART_GRACE,
            };
            noticed <= now
        })
    }

    pub(crate) fn note_gone(&mut self, host: usize, life: u32) {
        self.gone.insert((host, life));
    }

    pub(crate) fn end(&mut self, name: RunName, end: RunEnd) {
        self.crashed |= end == RunEnd::Crashed;
        if let Some(run) = self.runs.get_mut(&name) {
            run.end = Some(end);
        }
    }

    /// The client gives an outcome to its application.
    pub(crate) fn deliver(
        &mut self,
        task: usize,
        outcome: &Outcome,
        payload: &[u8],
    ) -> Result<(), String> {
        if self.delivered.insert(task, outcome.clone()).is_some() {
            return Err(format!("promise 1: task {task} has two outcomes"));
        }
        let ran = |end| {
            let mut runs = self.runs.iter();
            runs.any(|(name, run)| {
                run.task == task && run.end == Some(end) && result_of(*name)[..] == *payload
            })
        };
        let calm = self.faults.is_empty();
        let honest = match outcome {
            Outcome::Completed(_) => ran(RunEnd::Completed),
            Outcome::Failed(failure) => {
                matches!(failure.error.kind, ErrorKind::Crashed(_)) && self.crashed
            }
            Outcome::Cancelled { .. } => self.cancelled && task == 0,
            Outcome::Expired { .. } => false,
            Outcome::Lost { .. } => !calm,
            Outcome::Rejected { .. } => !calm || self.drained.is_some(),
        };
        if !honest {
            return Err(format!("promise 2: task {task} did not end as {outcome:?}"));
        }
        if never_started(outcome) && self.runs.values().any(|run| run.task == task) {
            return Err(format!("promise 2: task {task} is {outcome:?}, but ran"));
        }
        Ok(())
    }

    /// At the end: without faults and wishes every task ran once and completed.
    pub(crate) fn check_calm(&self) -> Result<(), String> {
        if self.faults.is_empty() && !self.crashed && !self.cancelled && self.drained.is_none() {
            if self.runs.len() != self.delivered.len() {
                return Err(format!("nothing went wrong, but {} runs", self.runs.len()));
            }
            for (task, outcome) in &self.delivered {
                if !matches!(outcome, Outcome::Completed(_)) {
                    return Err(format!("nothing went wrong, but {task} is {outcome:?}"));
                }
            }
        }
        Ok(())
    }

    /// The tasks without an outcome.
    pub(crate) fn open(&self, tasks: usize) -> Vec<usize> {
        let open = |task: &usize| !self.delivered.contains_key(task);
        (0..tasks).filter(open).collect()
    }
}

fn never_started(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Rejected { .. }
            | Outcome::Cancelled {
                may_have_run: false
            }
            | Outcome::Expired {
                may_have_run: false
            }
    )
}

/// The result of a run says whose it is.
pub(crate) fn result_of((attempt, host, life): RunName) -> Vec<u8> {
    format!("{attempt} at {host}.{life}").into_bytes()
}
