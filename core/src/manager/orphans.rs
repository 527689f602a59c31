//! Attempts that workers report for tasks that are not here, until their clients return.
//!
//! Owns: which attempts those are, by task, and which of them are results that a worker holds. Never:
//! decides how long they are kept. Invariants: each is in one place, either running at its worker or
//! a result there.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::arena::SecondaryMap;
use crate::ids::{Attempt, Epoch, TaskId};
use crate::router::WorkerKey;
use crate::steps::step;

use super::keys::Assignee;

/// The results that a worker holds for clients that have yet to return.
#[derive(Clone, Debug, Default)]
struct HeldResults {
    all: BTreeMap<Attempt, HeldResult>,
    /// Rises with every connection of the worker, so that to begin a report costs nothing.
    report: u64,
    /// How many of them the present report has named, or came since it began.
    named: usize,
}

#[derive(Clone, Copy, Debug)]
struct HeldResult {
    task: TaskId,
    /// The last report that has named it.
    report: u64,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Orphans {
    by_task: BTreeSet<(TaskId, WorkerKey, Attempt)>,
    results: SecondaryMap<WorkerKey, HeldResults>,
}

impl Orphans {
    pub(super) fn len(&self) -> usize {
        self.by_task.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, Assignee)> + '_ {
        let orphans = self.by_task.iter();
        orphans.map(|&(id, worker, attempt)| (id, Assignee { worker, attempt }))
    }

    /// Who has attempts of this task.
    pub(super) fn of(&self, id: TaskId) -> Vec<Assignee> {
        let first = Attempt {
            epoch: Epoch(0),
            number: 0,
        };
        self.by_task
            .range((id, WorkerKey(0), first)..)
            .take_while(|(orphan, ..)| *orphan == id)
            .map(|&(_, worker, attempt)| Assignee { worker, attempt })
            .collect()
    }

    pub(super) fn insert(&mut self, id: TaskId, assignee: Assignee) {
        self.by_task.insert((id, assignee.worker, assignee.attempt));
    }

    /// The orphan is settled. A result of it stays listed until it is taken.
    pub(super) fn remove(&mut self, id: TaskId, assignee: Assignee) {
        self.by_task
            .remove(&(id, assignee.worker, assignee.attempt));
    }

    /// The worker holds the result of an attempt.
    pub(super) fn add_result(&mut self, id: TaskId, assignee: Assignee) {
        let results = self.results.reach(assignee.worker);
        let report = results.report;
        let held = HeldResult { task: id, report };
        let before = results.all.insert(assignee.attempt, held);
        let was_named = before.is_some_and(|before| before.report == report);
        results.named += usize::from(!was_named);
    }

    /// Whether the worker holds the result of this attempt.
    pub(super) fn has_result(&self, assignee: Assignee) -> bool {
        let results = self.results.get(assignee.worker);
        results.is_some_and(|results| results.all.contains_key(&assignee.attempt))
    }

    /// How many results the worker holds.
    pub(super) fn results_at(&self, worker: WorkerKey) -> usize {
        let results = self.results.get(worker);
        results.map_or(0, |results| results.all.len())
    }

    /// The result is no orphan's any more; says whose it was.
    pub(super) fn take_result(&mut self, assignee: Assignee) -> Option<TaskId> {
        let results = self.results.get_mut(assignee.worker)?;
        let held = results.all.remove(&assignee.attempt)?;
        results.named -= usize::from(held.report == results.report);
        Some(held.task)
    }

    /// The worker is here again, and has yet to report what it holds.
    pub(super) fn await_report(&mut self, worker: WorkerKey) {
        if let Some(results) = self.results.get_mut(worker) {
            results.report += 1;
            results.named = 0;
        }
    }

    /// The worker reports an attempt. Whether that is a result that was known.
    pub(super) fn is_reported_result(&mut self, assignee: Assignee) -> bool {
        let Some(results) = self.results.get_mut(assignee.worker) else {
            return false;
        };
        let Some(held) = results.all.get_mut(&assignee.attempt) else {
            return false;
        };
        results.named += usize::from(held.report != results.report);
        held.report = results.report;
        true
    }

    /// The report of the worker is complete: these results it has no more. To find them costs as many
    /// steps as there are of them and as were reported, and nothing if none is missing.
    pub(super) fn unreported(&self, worker: WorkerKey) -> Vec<(Attempt, TaskId)> {
        let results = self.results.get(worker);
        let missing = results.filter(|results| results.named < results.all.len());
        missing.map_or_else(Vec::new, |results| {
            let all = results.all.iter().inspect(|_| step());
            let missing = all.filter(|(_, held)| held.report != results.report);
            missing
                .map(|(attempt, held)| (*attempt, held.task))
                .collect()
        })
    }

    /// The session of the worker ends: nobody holds these results any more.
    pub(super) fn forget_worker(&mut self, worker: WorkerKey) -> Vec<(Attempt, TaskId)> {
        let results = self.results.get_mut(worker).map(core::mem::take);
        let results = results.into_iter().flat_map(|results| results.all);
        results
            .map(|(attempt, held)| (attempt, held.task))
            .collect()
    }

    /// Asserts that results are of orphans.
    pub(super) fn check_invariants(&self) {
        for (worker, results) in self.results.iter() {
            for (&attempt, held) in &results.all {
                assert!(self.by_task.contains(&(held.task, worker, attempt)));
            }
            let named = results.all.values();
            let named = named.filter(|held| held.report == results.report);
            assert_eq!(named.count(), results.named);
        }
    }
}
