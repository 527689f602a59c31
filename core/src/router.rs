//! Which worker gets the next task: the one expected to finish it soonest.
//!
//! Owns: one [`Bid`] for each worker that would take a task. Never: knows what a worker is, or
//! waits, or measures; whoever does tells it, by [`Router::set`], whenever a bid changes.
//!
//! A bid weighs recent performance ([`Speed`]) with load, as the peak-EWMA balancers of Finagle
//! and Linkerd do, with three differences. Run times are compared with what the same task name
//! takes elsewhere, since names differ by far more than workers do. Failures never make a worker
//! look good: a broken machine fails fast, and would otherwise attract everything. And idle
//! capacity goes first whatever the history says, so that no worker idles while tasks wait behind
//! another.
//!
//! The bids are the leaves of a tournament: an inner node knows the winner below it (Knuth, The
//! Art of Computer Programming 3, 5.4.1). A changed bid replays the matches on its way up, and
//! stops where the outcome cannot have changed; picking reads the top. Ties go to the lowest key.

use alloc::vec;
use alloc::vec::Vec;

use crate::limits::WORKERS_MAX;

mod speed;

pub use speed::Speed;

/// The manager's key of a worker: small numbers, used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerKey(pub u32);

/// How much a worker should be left alone: the lowest bid gets the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bid(u64);

impl Bid {
    /// Set in the bids of workers without an idle slot.
    const BUSY: u64 = 1 << 63;
    /// Load is counted in parts of this many bits, so that large capacities can be told apart.
    const LOAD_BITS: u32 = 20;

    /// The bid of a worker with this history that has `outstanding` attempts of the `capacity`
    /// that it can run at once: how long a task of average length 1 would take there if the slots
    /// shared it evenly. A worker without an idle slot bids more than any that has one.
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
}

/// The leaf of a worker that would not take a task. No bid is as high.
const ABSENT: u64 = u64::MAX;

/// The workers that would take a task, by their bids.
#[derive(Clone, Debug, Default)]
pub struct Router {
    /// By worker; a power of two of them, or none.
    bids: Vec<u64>,
    /// Inner nodes: who wins below. The top is at 1; the children of `n` are `2n` and `2n + 1`,
    /// where numbers from `bids.len()` are leaves.
    winners: Vec<u32>,
    len: usize,
}

impl Router {
    /// A router that knows nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many workers have a bid.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no worker has a bid.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bid of `worker`.
    #[must_use]
    pub fn bid(&self, worker: WorkerKey) -> Option<Bid> {
        let bid = *self.bids.get(worker.0 as usize)?;
        (bid != ABSENT).then_some(Bid(bid))
    }

    /// The worker with the lowest bid, of equals the one with the lowest key.
    #[must_use]
    pub fn pick(&self) -> Option<WorkerKey> {
        let winner = self.winner(1);
        self.bid(WorkerKey(winner)).map(|_| WorkerKey(winner))
    }

    /// Gives `worker` a bid, another one, or none.
    ///
    /// # Panics
    /// If the key is not below the bound of workers: keys are meant to be dense.
    pub fn set(&mut self, worker: WorkerKey, bid: Option<Bid>) {
        let leaf = worker.0 as usize;
        let new = bid.map_or(ABSENT, |bid| bid.0);
        if leaf >= self.bids.len() {
            if new == ABSENT {
                return;
            }
            self.grow(leaf);
        }
        let old = core::mem::replace(&mut self.bids[leaf], new);
        if old == new {
            return;
        }
        self.len += usize::from(old == ABSENT);
        self.len -= usize::from(new == ABSENT);
        let mut node = (self.bids.len() + leaf) / 2;
        while node > 0 {
            let before = self.winners[node];
            let after = self.play(node);
            self.winners[node] = after;
            // Someone else won before and wins now, with an unchanged bid: so it goes on above.
            if before == after && after != worker.0 {
                break;
            }
            node /= 2;
        }
    }

    fn winner(&self, node: usize) -> u32 {
        match node.checked_sub(self.bids.len()) {
            Some(leaf) => leaf as u32,
            None => self.winners[node],
        }
    }

    fn play(&self, node: usize) -> u32 {
        let (left, right) = (self.winner(2 * node), self.winner(2 * node + 1));
        if self.bids[right as usize] < self.bids[left as usize] {
            right
        } else {
            left
        }
    }

    fn grow(&mut self, leaf: usize) {
        assert!(leaf < WORKERS_MAX, "worker keys are below {WORKERS_MAX}");
        let leaves = (leaf + 1).next_power_of_two().max(16);
        self.bids.resize(leaves, ABSENT);
        self.winners = vec![0; leaves];
        for node in (1..leaves).rev() {
            self.winners[node] = self.play(node);
        }
    }

    /// Asserts that every match has the right winner.
    ///
    /// # Panics
    /// If one has not.
    pub fn check_invariants(&self) {
        for node in 1..self.winners.len() {
            assert_eq!(self.winners[node], self.play(node), "match {node}");
        }
        let present = self.bids.iter().filter(|&&bid| bid != ABSENT).count();
        assert_eq!(self.len, present);
    }
}
