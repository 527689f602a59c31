//! Names that several owners use.

use crate::arena::arena_key;
use crate::ids::Attempt;
use crate::queue::TaskKey;
use crate::router::WorkerKey;

/// An attempt and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Assignee {
    pub(in crate::manager) worker: WorkerKey,
    pub(in crate::manager) attempt: Attempt,
}

/// A task by the rank of its acceptance: of those that are due together, the first that came is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::manager) struct Ranked {
    pub(in crate::manager) order: u64,
    pub(in crate::manager) task: TaskKey,
}

arena_key!(
    /// Where the manager keeps an outcome. It is no part of the task: tasks that
    /// wait, which may be many, need not be as large as those that have ended.
    pub(in crate::manager) struct OutcomeKey(u32)
);

arena_key!(
    /// Tasks that went to a worker together, of which there is one record.
    pub(in crate::manager) struct RowKey(u32)
);

arena_key!(
    /// Outcomes of tasks of a row that completed together, of which there is one record.
    pub(in crate::manager) struct EndedKey(u32)
);
