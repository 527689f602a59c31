//! Rejected tasks that wait for another try. Tasks in a row that were refused alike wait together: one
//! delay and one alarm for all, and they can go out as a run again.
//!
//! Owns: which tasks wait together. Never: draws a delay, or arms an alarm. A row is known by the
//! number of its first task.
//!
//! Invariants: a row is there for as long as one of its tasks waits in it.

use alloc::collections::BTreeMap;
use core::ops::Range;
use core::time::Duration;

use crate::limits::RUN_TASKS_MAX;
use crate::time::Instant;

/// What decides how long a refused task waits, but for chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) at: Instant,
    /// When to come back by the manager's word.
    pub(super) hint: Duration,
    /// How often it was tried before.
    pub(super) tries: u32,
    /// It may have run, so that all of its tries count.
    pub(super) uncertain: bool,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    until: Instant,
    /// How many it was made for, `RUN_TASKS_MAX` at most.
    count: u32,
    /// How many of these still wait in it.
    left: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Backoffs {
    rows: BTreeMap<u64, Row>,
    /// The row that was made last, and for what refusal.
    last: Option<(u64, Refusal)>,
}

impl Backoffs {
    /// Lets the refused task of this number wait with those of the last row, if it is the next and was
    /// refused as they were. Says with which.
    pub(super) fn join(&mut self, seq: u64, refusal: Refusal) -> Option<u64> {
        let (first, of_last) = self.last?;
        let row = self.rows.get_mut(&first)?;
        let is_next = first.checked_add(row.count.into()) == Some(seq);
        if !is_next || of_last != refusal || row.count as usize >= RUN_TASKS_MAX {
            return None;
        }
        row.count += 1;
        row.left += 1;
        Some(first)
    }

    /// A task of this number begins a row.
    pub(super) fn begin(&mut self, seq: u64, until: Instant, refusal: Refusal) {
        let row = Row {
            until,
            count: 1,
            left: 1,
        };
        let before = self.rows.insert(seq, row);
        debug_assert!(before.is_none(), "a task waits in one row");
        self.last = Some((seq, refusal));
    }

    /// A task of this row waits no more; says whether the row is over.
    pub(super) fn leave(&mut self, first: u64) -> bool {
        let Some(row) = self.rows.get_mut(&first) else {
            debug_assert!(false, "a row is there while a task waits in it");
            return false;
        };
        row.left -= 1;
        let is_over = row.left == 0;
        if is_over {
            self.rows.remove(&first);
        }
        is_over
    }

    /// The numbers of the tasks that a row was made for. Some of them may have left it.
    pub(super) fn tasks(&self, first: u64) -> Range<u64> {
        let count = self.rows.get(&first).map_or(0, |row| row.count);
        first..first + u64::from(count)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Asserts that so many tasks wait in the row, and returns until when.
    pub(super) fn check_row(&self, first: u64, left: u32) -> Instant {
        let row = self.rows[&first];
        assert_eq!(row.left, left);
        assert!((1..=row.count).contains(&left));
        assert!(row.count as usize <= RUN_TASKS_MAX);
        row.until
    }
}
