//! Results of ended tasks that their workers still hold, until the clients have them.
//!
//! They are bounded well below what one worker holds: a client that does not acknowledge must not
//! fill a worker, which then takes nothing from anybody. Owns the order and the sum.

use alloc::collections::VecDeque;

use crate::ids::Attempt;
use crate::limits::UNCONFIRMED_BYTES_EACH;
use crate::queue::ClientKey;
use crate::time::Instant;

use super::super::keys::{EndedKey, OutcomeKey};

/// Results that a client has yet to acknowledge, and that ended together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// When the worker may forget them all the same.
    pub(super) due: Instant,
    pub(super) held: Held,
}

/// Which.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    One {
        end: OutcomeKey,
        attempt: Attempt,
    },
    /// Those of a row from the rank `next` on, of so many.
    Row {
        row: EndedKey,
        client: ClientKey,
        /// Rank of the first among the ends of the client's tasks.
        first: u64,
        next: u8,
        tasks: u8,
    },
}

/// Those results, oldest first. Entries go stale when the client acknowledges.
#[derive(Clone, Debug, Default)]
pub(super) struct Unreleased {
    queue: VecDeque<Entry>,
    /// How many results are in it, stale or not.
    tasks: u64,
    /// What those that are not stale count for.
    bytes: u64,
}

impl Unreleased {
    /// So many results come to wait, which count for so many bytes.
    pub(super) fn push(&mut self, entry: Entry, tasks: u64, counted: u64) {
        self.queue.push_back(entry);
        self.tasks += tasks;
        self.bytes += counted;
    }

    /// The entry of the oldest.
    pub(super) fn front(&self) -> Option<Entry> {
        self.queue.front().copied()
    }

    /// Takes out the oldest alone.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.front_mut()?;
        let oldest = *entry;
        self.tasks -= 1;
        match &mut entry.held {
            Held::Row { next, tasks, .. } if *next + 1 < *tasks => *next += 1,
            Held::Row { .. } | Held::One { .. } => {
                self.queue.pop_front();
            }
        }
        Some(oldest)
    }

    /// One of so many bytes waits no more: its worker may forget it.
    pub(super) fn released(&mut self, bytes: u64) {
        debug_assert!(self.bytes >= counted(bytes));
        self.bytes -= counted(bytes);
    }

    /// Whether they are more than `most` bytes. Stale ones may be as many again as fit there.
    pub(super) fn exceeds(&self, most: u64) -> bool {
        self.bytes > most || self.tasks > tasks_max(most)
    }

    /// How many bytes, and results, may come before they are.
    pub(super) fn room(&self, most: u64) -> (u64, u64) {
        (
            most.saturating_sub(self.bytes),
            tasks_max(most).saturating_sub(self.tasks),
        )
    }

    /// `results` are the bytes of each that waits.
    pub(super) fn check_invariants(&self, results: impl Iterator<Item = u64>) {
        assert_eq!(self.bytes, results.map(counted).sum::<u64>());
        let tasks = self.queue.iter().map(|entry| match entry.held {
            Held::One { .. } => 1,
            Held::Row { next, tasks, .. } => u64::from(tasks - next),
        });
        assert_eq!(self.tasks, tasks.sum());
    }
}

fn tasks_max(most: u64) -> u64 {
    2 * (most / UNCONFIRMED_BYTES_EACH)
}

/// What a result of so many bytes counts for.
pub(super) fn counted(bytes: u64) -> u64 {
    bytes.max(UNCONFIRMED_BYTES_EACH)
}
