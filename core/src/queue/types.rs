//! Entries of the queue, and its answers.

use alloc::vec::Vec;

use crate::arena::arena_key;
use crate::task::{Priority, RejectReason};

arena_key!(
    /// The manager's key of a task: small numbers, used again.
    pub struct TaskKey(u32)
);
arena_key!(
    /// The manager's key of a client's session: small numbers, used again.
    pub struct ClientKey(u32)
);
arena_key!(
    /// A set of workers that can run the same tasks: small numbers.
    pub struct ClassId(u16)
);

/// What a waiting task has behind it, and so where its room comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Never ran. Counts against the bounds; may be displaced.
    Fresh,
    /// May have run under an earlier manager or session. Counts against the bounds; is never
    /// displaced.
    Resubmitted,
    /// Came back from a worker. Its room is reserved elsewhere: it does not count against the
    /// bounds, is always taken in, and is never displaced.
    Returning,
}

impl Standing {
    /// Whether such a task counts against the queue's bounds.
    #[must_use]
    pub fn is_bounded(self) -> bool {
        match self {
            Self::Fresh | Self::Resubmitted => true,
            Self::Returning => false,
        }
    }
}

/// A task that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub task: TaskKey,
    /// Whose.
    pub client: ClientKey,
    /// Who can run it.
    pub class: ClassId,
    /// How important it is.
    pub priority: Priority,
    /// What it takes of the bound in bytes.
    pub bytes: u32,
    /// Rank of its acceptance. Ranks rise; a task that comes back keeps its own.
    pub order: u64,
    /// What it has behind it.
    pub standing: Standing,
}

/// The answer to a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// It waits.
    Queued {
        /// These were taken out to make room, in this order. Usually empty.
        displaced: Vec<TaskKey>,
    },
    /// No room, and none can be made: `QueueFull` or `QueueBytesFull`. Nothing has changed.
    Full(RejectReason),
}
