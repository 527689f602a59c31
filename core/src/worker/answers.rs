//! What the manager is to be told about attempts that it asked for, batched.

use alloc::vec::Vec;

use crate::ids::Attempt;

/// Answers until the next message that takes them along.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    not_started: Vec<Attempt>,
    started: Vec<Attempt>,
    /// Asked for since the last settling, and waiting then: whether they start is yet to be seen.
    open: Vec<Attempt>,
}

impl Answers {
    /// This attempt never started here, and is forgotten.
    pub(super) fn not_started(&mut self, attempt: Attempt) {
        self.not_started.push(attempt);
    }

    /// This attempt has started, or may have.
    pub(super) fn started(&mut self, attempt: Attempt) {
        self.started.push(attempt);
    }

    /// This attempt waits; it is answered after the free slots have been given attempts.
    pub(super) fn leave_open(&mut self, attempt: Attempt) {
        self.open.push(attempt);
    }

    /// The attempts that are to be answered for now.
    pub(super) fn take_open(&mut self) -> Vec<Attempt> {
        core::mem::take(&mut self.open)
    }

    /// Whether attempts are to be answered for.
    pub(super) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether nothing is to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.not_started.is_empty() && self.started.is_empty()
    }

    /// The report that follows says by its silence what has not started.
    pub(super) fn forget_not_started(&mut self) {
        self.not_started.clear();
    }

    /// Nobody is there to hear them; the next report says it all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// At most `room` of the answers: what has not started, and what has.
    pub(super) fn next_part(&mut self, room: usize) -> Option<(Vec<Attempt>, Vec<Attempt>)> {
        if self.is_empty() {
            return None;
        }
        let take = |from: &mut Vec<Attempt>, room: usize| {
            let rest = from.split_off(from.len().min(room));
            core::mem::replace(from, rest)
        };
        let not_started = take(&mut self.not_started, room);
        let started = take(&mut self.started, room - not_started.len());
        Some((not_started, started))
    }
}
