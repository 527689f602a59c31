//! Results of ended tasks that their workers still hold, until the clients have them.
//!
//! They are bounded well below what one worker holds: a client that does not acknowledge must not
//! fill a worker, which then takes nothing from anybody. Owns the order and both sums.

use alloc::collections::VecDeque;

use crate::ids::Attempt;
use crate::queue::TaskKey;
use crate::time::Instant;

/// A result that a client has yet to acknowledge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unconfirmed {
    /// When the worker may forget it all the same.
    pub(super) due: Instant,
    pub(super) task: TaskKey,
    pub(super) attempt: Attempt,
}

/// Those results, oldest first. Entries go stale when the client acknowledges.
#[derive(Clone, Debug, Default)]
pub(super) struct UnconfirmedResults {
    queue: VecDeque<Unconfirmed>,
    /// How many are not stale, and their bytes.
    count: usize,
    bytes: u64,
}

impl UnconfirmedResults {
    pub(super) fn push(&mut self, entry: Unconfirmed, bytes: u64) {
        self.queue.push_back(entry);
        self.count += 1;
        self.bytes += bytes;
    }

    pub(super) fn front(&self) -> Option<&Unconfirmed> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) -> Option<Unconfirmed> {
        self.queue.pop_front()
    }

    /// The worker of a result of so many bytes has been, or is about to be, told.
    pub(super) fn confirmed(&mut self, bytes: u64) {
        debug_assert!(self.count > 0 && self.bytes >= bytes);
        self.count -= 1;
        self.bytes -= bytes;
    }

    /// Whether there are more than so many, or more bytes. Stale ones may take as much room again.
    pub(super) fn exceeds(&self, count: usize, bytes: u64) -> bool {
        self.count > count || self.bytes > bytes || self.queue.len() > 2 * count
    }

    /// How many are not stale, and their bytes.
    pub(super) fn totals(&self) -> (usize, u64) {
        (self.count, self.bytes)
    }
}
