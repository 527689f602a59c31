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

use super::keys::Holder;

/// The results that a worker holds for clients that have yet to return.
#[derive(Clone, Debug, Default)]
struct HeldResults {
    all: BTreeMap<Attempt, TaskId>,
    /// Of these, the ones that its report has yet to confirm after a reconnect.
    unreported: BTreeMap<Attempt, TaskId>,
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

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, Holder)> + '_ {
        let orphans = self.by_task.iter();
        orphans.map(|&(id, worker, attempt)| (id, Holder { worker, attempt }))
    }

    /// Who has attempts of this task.
    pub(super) fn of(&self, id: TaskId) -> Vec<Holder> {
        let first = Attempt {
            epoch: Epoch(0),
            number: 0,
        };
        self.by_task
            .range((id, WorkerKey(0), first)..)
            .take_while(|(orphan, ..)| *orphan == id)
            .map(|&(_, worker, attempt)| Holder { worker, attempt })
            .collect()
    }

    pub(super) fn insert(&mut self, id: TaskId, holder: Holder) {
        self.by_task.insert((id, holder.worker, holder.attempt));
    }

    /// The orphan is settled. A result of it stays listed until it is taken.
    pub(super) fn remove(&mut self, id: TaskId, holder: Holder) {
        self.by_task.remove(&(id, holder.worker, holder.attempt));
    }

    /// The worker holds the result of an attempt.
    pub(super) fn add_result(&mut self, id: TaskId, holder: Holder) {
        let results = self.results.reach(holder.worker);
        results.all.insert(holder.attempt, id);
    }

    /// Whether the worker holds the result of this attempt.
    pub(super) fn has_result(&self, holder: Holder) -> bool {
        let results = self.results.get(holder.worker);
        results.is_some_and(|results| results.all.contains_key(&holder.attempt))
    }

    /// How many results the worker holds.
    pub(super) fn results_at(&self, worker: WorkerKey) -> usize {
        let results = self.results.get(worker);
        results.map_or(0, |results| results.all.len())
    }

    /// The result is no orphan's any more; says whose it was.
    pub(super) fn take_result(&mut self, holder: Holder) -> Option<TaskId> {
        let results = self.results.get_mut(holder.worker)?;
        results.all.remove(&holder.attempt)
    }

    /// The worker is here again, and has yet to report what it holds.
    pub(super) fn await_report(&mut self, worker: WorkerKey) {
        if let Some(results) = self.results.get_mut(worker) {
            results.unreported = results.all.clone();
        }
    }

    /// The worker reports an attempt. Whether that is a result that was known.
    pub(super) fn is_reported_result(&mut self, holder: Holder) -> bool {
        let Some(results) = self.results.get_mut(holder.worker) else {
            return false;
        };
        results.unreported.remove(&holder.attempt);
        results.all.contains_key(&holder.attempt)
    }

    /// The report of the worker is complete: these results it has no more.
    pub(super) fn take_unreported(&mut self, worker: WorkerKey) -> BTreeMap<Attempt, TaskId> {
        let results = self.results.get_mut(worker);
        results.map_or_else(BTreeMap::new, |results| {
            core::mem::take(&mut results.unreported)
        })
    }

    /// The session of the worker ends: nobody holds these results any more.
    pub(super) fn forget_worker(&mut self, worker: WorkerKey) -> BTreeMap<Attempt, TaskId> {
        let results = self.results.get_mut(worker);
        results.map_or_else(BTreeMap::new, |results| core::mem::take(results).all)
    }

    /// Asserts that results are of orphans.
    pub(super) fn check_invariants(&self) {
        for (worker, results) in self.results.iter() {
            for (&attempt, &id) in &results.all {
                assert!(self.by_task.contains(&(id, worker, attempt)));
            }
        }
    }
}
