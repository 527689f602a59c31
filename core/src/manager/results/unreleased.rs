//! Results of ended tasks that their workers still hold, until the clients have them.
//!
//! They are bounded well below what one worker holds: a client that does not acknowledge must not
//! fill a worker, which then takes nothing from anybody. Owns the order and the sum.

use alloc::collections::VecDeque;

use crate::ids::Attempt;
use crate::limits::UNCONFIRMED_BYTES_EACH;
use crate::time::Instant;

use super::super::keys::OutcomeKey;

/// A result that a client has yet to acknowledge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// When the worker may forget it all the same.
    pub(super) due: Instant,
    pub(super) end: OutcomeKey,
    pub(super) attempt: Attempt,
}

/// Those results, oldest first. Entries go stale when the client acknowledges.
#[derive(Clone, Debug, Default)]
pub(super) struct Unreleased {
    queue: VecDeque<Entry>,
    /// What those that are not stale count for.
    bytes: u64,
}

impl Unreleased {
    /// A result of so many bytes comes to wait.
    pub(super) fn push(&mut self, entry: Entry, bytes: u64) {
        self.queue.push_back(entry);
        self.bytes += counted(bytes);
    }

    pub(super) fn front(&self) -> Option<Entry> {
        self.queue.front().copied()
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.queue.pop_front()
    }

    /// One of so many bytes waits no more: its worker may forget it.
    pub(super) fn released(&mut self, bytes: u64) {
        debug_assert!(self.bytes >= counted(bytes));
        self.bytes -= counted(bytes);
    }

    /// Whether they are more than `most` bytes. Stale ones may be as many again as fit there.
    pub(super) fn exceeds(&self, most: u64) -> bool {
        self.bytes > most || self.queue.len() as u64 > 2 * (most / UNCONFIRMED_BYTES_EACH)
    }

    /// `results` are the bytes of each that waits.
    pub(super) fn check_invariants(&self, results: impl Iterator<Item = u64>) {
        assert_eq!(self.bytes, results.map(counted).sum::<u64>());
    }
}

fn counted(bytes: u64) -> u64 {
    bytes.max(UNCONFIRMED_BYTES_EACH)
}
