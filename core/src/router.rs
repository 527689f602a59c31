//! Which worker gets the next task: the one expected to finish it soonest.
//!
//! Owns: one [`Score`] for each worker that would take a task. Never: knows what a worker is, or
//! waits, or measures; whoever does tells it, by [`Router::set`], whenever a score changes.
//!
//! A score weighs recent performance ([`Speed`]) with load, as the peak-EWMA balancers of Finagle
//! and Linkerd do, with three differences. Run times are compared with what the same task name
//! takes elsewhere, since names differ by far more than workers do. Failures never make a worker
//! look good: a broken machine fails fast, and would otherwise attract everything. And idle
//! capacity goes first whatever the history says, so that no worker idles while tasks wait behind
//! another.
//!
//! The scores are the leaves of a tournament: an inner node knows the winner below it and its score
//! (Knuth, The Art of Computer Programming 3, 5.4.1). A changed score replays the matches on its way
//! up, and stops where the outcome is what it was; picking reads the top. Ties go to the lowest key.

use alloc::vec;
use alloc::vec::Vec;

use crate::arena::{Key as _, arena_key};
use crate::limits::WORKERS_MAX;

mod speed;

pub use speed::Speed;

arena_key!(
    /// The manager's key of a worker: small numbers, used again.
    pub struct WorkerKey(u32)
);

/// The lowest: where a look at all of them begins.
impl Default for WorkerKey {
    fn default() -> Self {
        Self(0)
    }
}

/// How much a worker should be left alone: the lowest score gets the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(u64);

impl Score {
    /// Set in the scores of workers without an idle slot.
    const BUSY: u64 = 1 << 63;
    /// Load is counted in parts of this many bits, so that large capacities can be told apart.
    const LOAD_BITS: u32 = 20;

    /// The score of a worker with this history that has `outstanding` attempts of the `capacity`
    /// that it can run at once: how long a task of average length 1 would take there if the slots
    /// shared it evenly. A worker without an idle slot has a higher one than any that has one.
    #[must_use]
    pub fn new(speed: &Speed, outstanding: u32, capacity: u32) -> Self {
        let busy = if outstanding < capacity {
            0
        } else {
            Self::BUSY
        };
        let load = ((u64::from(outstanding) + 1) << Self::LOAD_BITS) / u64::from(capacity.max(1));
        let cost = u64::from(speed.slowness()).saturating_mul(load);
        Self(busy | cost.min(Self::BUSY - 2))
    }

    /// Whether the worker has an idle slot.
    fn is_idle(self) -> bool {
        self.0 & Self::BUSY == 0
    }
}

/// The score of a worker that would not take a task. No other is as high.
const ABSENT: u64 = u64::MAX;

/// A score and whose it is: who wins a match, the lower of two.
type Entrant = (u64, u32);

/// The workers that would take a task, by their scores.
#[derive(Clone, Debug, Default)]
pub struct Router {
    /// Who wins: nobody at 0, all at 1; the children of `n` are `2n` and `2n + 1`, and the second
    /// half are the workers themselves. As many as a power of two, or none.
    winners: Vec<Entrant>,
    len: usize,
    /// Those of them that have an idle slot.
    idle: u32,
}

impl Router {
    /// How many workers have a score.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no worker has a score.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of the workers that have a score have an idle slot.
    #[must_use]
    pub fn idle(&self) -> u32 {
        self.idle
    }

    /// The score of `worker`.
    #[must_use]
    pub fn score(&self, worker: WorkerKey) -> Option<Score> {
        let (score, _) = *self.winners.get(self.leaves() + worker.index())?;
        (score != ABSENT).then_some(Score(score))
    }

    /// The worker with the lowest score, of equals the one with the lowest key.
    #[must_use]
    pub fn pick(&self) -> Option<WorkerKey> {
        let (_, worker) = self.best()?;
        Some(worker)
    }

    /// The lowest score and its worker, as `pick` would have it.
    #[must_use]
    pub fn best(&self) -> Option<(Score, WorkerKey)> {
        let (score, worker) = *self.winners.get(1)?;
        (score != ABSENT).then_some((Score(score), WorkerKey(worker)))
    }

    /// Gives `worker` a score, another one, or none.
    ///
    /// # Panics
    /// If the key is not below the bound of workers: keys are meant to be dense.
    pub fn set(&mut self, worker: WorkerKey, score: Option<Score>) {
        let leaf = worker.index();
        let new = score.map_or(ABSENT, |score| score.0);
        if leaf >= self.leaves() {
            if new == ABSENT {
                return;
            }
            self.grow(leaf);
        }
        let mut node = self.leaves() + leaf;
        let mut winner = (new, worker.0);
        let (old, _) = self.winners[node];
        if old == new {
            return;
        }
        self.len += usize::from(old == ABSENT);
        self.len -= usize::from(new == ABSENT);
        // None is above all scores of busy workers, so it counts as one of them.
        self.idle += u32::from(Score(new).is_idle());
        self.idle -= u32::from(Score(old).is_idle());
        loop {
            self.winners[node] = winner;
            if node == 1 {
                return;
            }
            winner = winner.min(self.winners[node ^ 1]);
            node /= 2;
            if self.winners[node] == winner {
                return;
            }
        }
    }

    /// Places for workers.
    fn leaves(&self) -> usize {
        self.winners.len() / 2
    }

    fn play(&self, node: usize) -> Entrant {
        self.winners[2 * node].min(self.winners[2 * node + 1])
    }

    fn grow(&mut self, leaf: usize) {
        assert!(leaf < WORKERS_MAX, "worker keys are below {WORKERS_MAX}");
        let leaves = (leaf + 1).next_power_of_two();
        let mut entrants: Vec<Entrant> = (0..leaves as u32).map(|key| (ABSENT, key)).collect();
        entrants[..self.leaves()].copy_from_slice(&self.winners[self.leaves()..]);
        self.winners = vec![(ABSENT, 0); leaves];
        self.winners.append(&mut entrants);
        for node in (1..leaves).rev() {
            self.winners[node] = self.play(node);
        }
    }

    /// Asserts that every match has the right winner.
    ///
    /// # Panics
    /// If one has not.
    pub fn check_invariants(&self) {
        for node in 1..self.leaves() {
            assert_eq!(self.winners[node], self.play(node), "match {node}");
        }
        let entrants = &self.winners[self.leaves()..];
        for (key, (_, worker)) in (0..).zip(entrants) {
            assert_eq!(*worker, key, "everybody is in one place");
        }
        let present = entrants
            .iter()
            .filter(|(score, _)| *score != ABSENT)
            .count();
        assert_eq!(self.len, present);
        let idle = entrants.iter().filter(|(score, _)| Score(*score).is_idle());
        assert_eq!(self.idle as usize, idle.count());
    }
}
