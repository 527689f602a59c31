//! What workers say that they run: it takes effect at once where another runs the same, and together
//! with what others say where the classes have to follow.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::capabilities::Capabilities;
use crate::limits::{GROUPS_MAX, RENEWALS_MAX};
use crate::queue::Waiting;
use crate::router::WorkerKey;
use crate::steps::step;
use crate::time::{AwakeInstant, Instant};

use super::groups::GroupKey;
use super::rest::Rest;
use super::{Placement, Tasks};

/// Rest after the queue was gone through because of what workers run, for each look at a task: that
/// takes a tenth of this or less.
const RENEWAL_REST: Duration = Duration::from_nanos(1_500);
/// So much rest may be due and the queue is still gone through once more: a few workers that come
/// need not wait for each other.
const RENEWAL_BURST: Duration = Duration::from_millis(10);

/// Groups that capabilities are compared with, name by name, to find theirs and to list it: two binary
/// searches.
const MATCHING: usize = 2 * (GROUPS_MAX.ilog2() as usize + 1);

/// What workers have said that they run and that has yet to take effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Renewal {
    /// Offers that no worker made before.
    waiting: BTreeMap<WorkerKey, Capabilities>,
    /// A group has lost its last worker.
    lost: bool,
    rest: Rest,
    /// What was looked at since the last rest, beside the queue.
    looks: usize,
}

impl Renewal {
    pub(super) fn is_due(&self) -> bool {
        self.lost || !self.waiting.is_empty()
    }
}

impl Placement {
    /// A worker says what it can run, now. Whether that has taken effect, so that the router is to be
    /// told.
    pub(in crate::manager) fn capabilities(
        &mut self,
        worker: WorkerKey,
        capabilities: Capabilities,
    ) -> bool {
        let current = self.candidates[worker].group;
        if current.is_some_and(|group| *self.groups.capabilities(group) == capabilities) {
            return false;
        }
        self.leave_group(worker);
        if capabilities.is_nothing() {
            return false;
        }
        let group = self.groups.join(&capabilities);
        self.candidates[worker].group = group;
        self.trust.moved(worker, None, group);
        if group.is_none() {
            // It takes effect when the classes are renewed: until then a class may still mean a
            // group whose number would be used again.
            self.renewal.waiting.insert(worker, capabilities);
        }
        group.is_some()
    }

    /// What the worker has said that it runs holds no longer.
    pub(in crate::manager) fn leave_group(&mut self, worker: WorkerKey) {
        self.renewal.waiting.remove(&worker);
        let candidate = &mut self.candidates[worker];
        let counted = core::mem::take(&mut candidate.counted_trusted);
        if let Some(group) = candidate.group.take() {
            self.trust.moved(worker, Some(group), None);
            if counted {
                self.groups.count_trusted(group, false);
            }
            self.groups.leave(group, worker);
            self.renewal.lost |= self.groups.workers(group) == 0;
        }
    }

    /// Whether what workers say has yet to take effect.
    pub(in crate::manager) fn is_renewal_due(&self) -> bool {
        self.renewal.is_due()
    }

    /// Until when it has to wait, if it must: it goes through the queue, so that it is to take a small
    /// part of the time, however often workers change their minds.
    pub(in crate::manager) fn renewal_wait(&self, now: Instant) -> Option<Instant> {
        self.renewal.rest.wait(now, RENEWAL_BURST)
    }

    /// What some workers have said that has yet to take effect; the others wait for the next time.
    pub(in crate::manager) fn take_renewals(&mut self) -> Vec<(WorkerKey, Capabilities)> {
        let next = core::iter::from_fn(|| self.renewal.waiting.pop_first());
        next.take(RENEWALS_MAX).collect()
    }

    /// So much was looked at because of what workers run, beside the queue.
    pub(in crate::manager) fn looked(&mut self, looks: usize) {
        self.renewal.looks += looks;
    }

    /// The groups that run tasks that wait.
    pub(in crate::manager) fn wanted_groups(&self) -> Vec<GroupKey> {
        self.groups.running(|class| self.queue.class_len(class) > 0)
    }

    /// Whether there may be one more group of workers.
    pub(in crate::manager) fn has_room_for_group(&self) -> bool {
        self.groups.has_room()
    }

    /// The worker is of the group of its capabilities, a new one if need be. False if there are too many.
    pub(in crate::manager) fn join_new(
        &mut self,
        worker: WorkerKey,
        capabilities: Capabilities,
    ) -> bool {
        self.renewal.looks += MATCHING * capabilities.patterns().len();
        let group = self.groups.join_new(capabilities);
        self.candidates[worker].group = group;
        self.trust.moved(worker, None, group);
        group.is_some()
    }

    /// Puts every task that waits into the class that it is in now.
    pub(in crate::manager) fn renew(&mut self, now: Instant, awake: AwakeInstant, tasks: &Tasks) {
        self.renewal.lost = false;
        // In order of acceptance: so new classes get the same numbers however tasks are kept, and what is
        // newest stays so.
        let mut all: Vec<Waiting> = self.queue.iter().inspect(|_| step()).collect();
        all.sort_unstable_by_key(|waiting| waiting.order);
        let waiting = all.iter().map(|waiting| {
            let (name, key) = tasks.name_of(waiting.item);
            (waiting.class, name, key)
        });
        self.groups.renew(waiting);
        for waiting in all {
            step();
            let (name, key) = tasks.name_of(waiting.item);
            let class = self.groups.class_of(name, key);
            if class != waiting.class {
                self.queue.set_class(waiting.item, class);
            }
        }
        self.list_unroutable(awake, tasks);
        // The name of each task is held against every group, twice, if it has not been lately.
        let waiting = self.queue.len() + self.queue.returning();
        let looks = waiting * (2 + 2 * self.groups.keys().count());
        let looks = looks + core::mem::take(&mut self.renewal.looks);
        let rest = RENEWAL_REST.saturating_mul(u32::try_from(looks).unwrap_or(u32::MAX));
        self.renewal.rest.owe(now, rest);
    }
}
