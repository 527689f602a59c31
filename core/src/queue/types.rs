//! Entries of the queue, and its answers.

use alloc::vec::Vec;
use core::ops::Range;

use crate::arena::arena_key;
use crate::task::{Priority, RejectReason};

arena_key!(
    /// The manager's key of a task: small numbers, used again.
    pub struct TaskKey(u32)
);
arena_key!(
    /// A run that waits: small numbers, used again.
    pub struct RunKey(u32)
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

/// What waits at one place of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A task alone, and what it has behind it.
    Task(TaskKey, Standing),
    /// A run.
    Run(RunKey),
}

impl Item {
    /// What its tasks have behind them.
    #[must_use]
    pub fn standing(self) -> Standing {
        match self {
            Self::Task(_, standing) => standing,
            Self::Run(_) => Standing::Fresh,
        }
    }
}

/// What waits at one place, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What.
    pub item: Item,
    /// Who can run it.
    pub class: ClassId,
    /// Rank of the acceptance of its first task.
    pub order: u64,
}

/// Tasks that come to wait together: of one client, priority and class, accepted one after the other,
/// all [`Fresh`](Standing::Fresh).
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Whose.
    pub client: ClientKey,
    /// Who can run them.
    pub class: ClassId,
    /// How important they are.
    pub priority: Priority,
    /// Rank of the first; those of the others rise by one.
    pub order: u64,
    /// What each takes of the bound in bytes beside its payload.
    pub beside: u32,
    /// Where the payload of each ends, if they lie one after the other.
    pub ends: Vec<u32>,
}

/// What waits first in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// A task that waits alone.
    Task(TaskKey),
    /// The first that is left of a run, which takes so many bytes of the bound.
    OfRun(RunKey, u32),
}

/// What was taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A task that waited alone.
    Task(Entry),
    /// A task of a run.
    OfRun(TakenOfRun),
}

#[cfg(feature = "testing")]
impl Taken {
    /// The task, if it waited alone.
    #[must_use]
    pub fn alone(self) -> Option<Entry> {
        match self {
            Self::Task(entry) => Some(entry),
            Self::OfRun(_) => None,
        }
    }
}

/// A task that was taken out of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOfRun {
    /// Which run.
    pub run: RunKey,
    /// How many were accepted before it of the same run.
    pub offset: u16,
    /// Rank of its acceptance.
    pub order: u64,
    /// Where its payload is in that of the run, in bytes.
    pub payload: Range<usize>,
    /// Nothing is left: the run is no more.
    pub is_over: bool,
}

/// Tasks that were taken out of a run together: accepted one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenRow {
    /// The first of them.
    pub first: TakenOfRun,
    /// Where the payload of each ends, counted from where that of the first begins, in bytes.
    pub ends: Vec<u32>,
}

impl TakenRow {
    /// Bytes of each payload.
    #[must_use]
    pub fn sizes(&self) -> Vec<u32> {
        let before = [0].into_iter().chain(self.ends.iter().copied());
        let sizes = self.ends.iter().zip(before).map(|(end, start)| end - start);
        sizes.collect()
    }
}

/// The answer to a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// It waits.
    Queued {
        /// These were taken out to make room, in this order. Usually empty.
        displaced: Vec<Taken>,
    },
    /// No room, and none can be made: `QueueFull` or `QueueBytesFull`. Nothing has changed.
    Full(RejectReason),
}
