//! What a manager says about itself, for people and programs.

use alloc::vec::Vec;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::ids::{Epoch, PeerId, TaskId};
use crate::message::Version;
use crate::name::Name;
use crate::task::Priority;
use crate::time::Nanos;

/// One page of a manager's state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct StatusReport {
    /// The manager as a whole; the same on every page.
    pub manager: ManagerStatus,
    /// A page of its workers, by name.
    pub workers: Vec<WorkerStatus>,
    /// A page of its clients.
    pub clients: Vec<ClientStatus>,
    /// What workers run; on the first page only.
    pub groups: Vec<GroupStatus>,
    /// Whether a later page has more rows.
    pub more: bool,
}

/// Workers that run the same.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct GroupStatus {
    /// How many have a session, connected or expected back.
    pub workers: u64,
    /// The first of the names that they run; a `*` at the end stands for anything.
    pub names: Vec<Name>,
    /// How many more there are.
    pub more: u64,
}

impl StatusReport {
    /// Whether a worker here runs tasks of this name; `None` if what some run is not all listed.
    #[must_use]
    pub fn runs(&self, name: &Name) -> Option<bool> {
        GroupStatus::runs(&self.groups, name)
    }
}

impl ManagerStatus {
    /// Whether every process waits for tasks of its own, so that none is left to run them.
    #[must_use]
    pub fn is_deadlocked(&self) -> bool {
        is_deadlock(self.waiting, self.capacity)
    }
}

/// See [`ManagerStatus::is_deadlocked`].
pub(crate) fn is_deadlock(waiting: u64, capacity: u64) -> bool {
    capacity > 0 && waiting >= capacity
}

impl GroupStatus {
    fn runs(groups: &[Self], name: &Name) -> Option<bool> {
        let mut groups = groups.iter().filter(|group| group.workers > 0);
        let covers =
            |group: &Self| Capabilities::new(group.names.clone()).is_ok_and(|o| o.covers(name));
        if groups.clone().any(covers) {
            return Some(true);
        }
        groups.all(|group| group.more == 0).then_some(false)
    }
}

/// A manager as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// Its life.
    pub epoch: Epoch,
    /// Time since it started.
    pub uptime: Nanos,
    /// Whether it is draining.
    pub draining: bool,
    /// Tasks waiting in the bounded queue.
    pub queued: u64,
    /// All that wait, returning tasks included, by priority from 0.
    pub queued_by_priority: [u64; Priority::LEVELS],
    /// Bytes waiting in the bounded queue.
    pub queued_bytes: u64,
    /// Most tasks that may wait.
    pub queue_size: u64,
    /// Most bytes that may wait.
    pub queue_bytes: u64,
    /// Tasks that came back from lost workers and wait, in room of their own.
    pub returning: u64,
    /// Of all that wait, those that no worker which is here can run.
    pub unroutable: u64,
    /// Resubmitted tasks that wait for a worker to claim them.
    pub unclaimed: u64,
    /// Tasks assigned to workers.
    pub assigned: u64,
    /// Outcomes that wait for their client's acknowledgement.
    pub unacknowledged: u64,
    /// Attempts that workers report for tasks whose client has yet to return.
    pub orphans: u64,
    /// Pool processes that lately waited for tasks of their own. When all do, nothing goes on.
    pub waiting: u64,
    /// How long the oldest queued task has waited.
    pub oldest_wait: Nanos,
    /// How long a task that comes now is expected to wait.
    pub estimated_wait: Nanos,
    /// Attempts that all workers run at once which are connected and not leaving.
    pub capacity: u64,
    /// Workers that are connected.
    pub workers: u64,
    /// Clients that have a session.
    pub clients: u64,
    /// Submissions accepted since the start.
    pub accepted: u64,
    /// Submissions rejected since the start, displaced ones included.
    pub rejected: u64,
    /// Of these, displaced.
    pub displaced: u64,
    /// Tasks completed since the start.
    pub completed: u64,
    /// Tasks that ended in any other way since the start.
    pub not_completed: u64,
    /// Attempts charged to lost workers or crashed children since the start.
    pub attempts_lost: u64,
    /// Tasks finished in the last full second.
    pub rate: u64,
}

/// A page of what runs where.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct RunningReport {
    /// Attempts that are with workers, worker by worker, oldest first.
    pub tasks: Vec<RunningTask>,
    /// Whether a later page has more.
    pub more: bool,
}

/// An attempt that is with a worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct RunningTask {
    /// The task.
    pub task: TaskId,
    /// What it runs.
    pub name: Name,
    /// Where.
    pub worker: Name,
    /// Time since it was assigned.
    pub age: Nanos,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its process.
    pub id: PeerId,
    /// Its name.
    pub name: Name,
    /// Whose key it came with, if a key says so.
    pub holder: Option<Name>,
    /// Whether its connection is up.
    pub connected: bool,
    /// Where that comes from, HOST:PORT; `None` without one.
    pub address: Option<Name>,
    /// The protocol's version that is spoken on it; `None` without one.
    pub version: Option<Version>,
    /// Whether it is leaving.
    pub draining: bool,
    /// Whether it gets one task at a time, since tasks fail there that do well elsewhere.
    pub doubted: bool,
    /// Attempts that it runs at once.
    pub capacity: u32,
    /// Most attempts that it takes at once.
    pub window: u32,
    /// Attempts assigned to it.
    pub assigned: u32,
    /// Age of the oldest attempt assigned to it.
    pub oldest: Nanos,
    /// Attempts that it finished.
    pub finished: u64,
    /// Of these, the ones that did not complete.
    pub failed: u64,
    /// Average run time of late.
    pub average: Nanos,
    /// Its speed: run times over what the same names take elsewhere, in thousandths; 1000 is
    /// ordinary, more is slower.
    pub slowness: u32,
    /// Time since it was last heard.
    pub last_heard: Nanos,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its process.
    pub id: PeerId,
    /// Its name.
    pub name: Name,
    /// Whose key it came with, if a key says so.
    pub holder: Option<Name>,
    /// Whether its connection is up.
    pub connected: bool,
    /// Where that comes from, HOST:PORT; `None` without one.
    pub address: Option<Name>,
    /// The protocol's version that is spoken on it; `None` without one.
    pub version: Option<Version>,
    /// Its tasks that wait.
    pub queued: u64,
    /// Its tasks that are assigned.
    pub assigned: u64,
    /// Its outcomes that it has not acknowledged.
    pub unacknowledged: u64,
    /// Its tasks that ended.
    pub finished: u64,
    /// Its submissions that were rejected.
    pub rejected: u64,
    /// Time since it was last heard.
    pub last_heard: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn who_runs_what_is_known_unless_names_are_left_out() {
        let name = |text: &str| Name::new(text).expect("valid");
        let group = |workers, pattern, more| GroupStatus {
            workers,
            names: vec![name(pattern)],
            more,
        };
        let resize = name("image:resize");
        assert_eq!(GroupStatus::runs(&[], &resize), Some(false));
        assert_eq!(
            GroupStatus::runs(&[group(1, "image:*", 0)], &resize),
            Some(true)
        );
        assert_eq!(
            GroupStatus::runs(&[group(0, "image:*", 0)], &resize),
            Some(false)
        );
        assert_eq!(
            GroupStatus::runs(&[group(1, "video:*", 0)], &resize),
            Some(false)
        );
        assert_eq!(GroupStatus::runs(&[group(1, "video:*", 1)], &resize), None);
    }
}
