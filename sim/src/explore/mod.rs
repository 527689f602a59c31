//! A small cluster, gone through exhaustively: two tasks, two workers of one slot, one client, one
//! manager (two for failover), and every order in which things can happen to them.
//!
//! What can happen next, a [`Choice`], is: the first packet of one direction of one connection
//! arrives; a dial is answered; a connection is cut (both sides hear of it, each in its own time)
//! or goes silent (nobody hears); a process dies, or is started again; a pool process is ready,
//! finishes, dies, or has let go of what it was told to end; time goes on to the next deadline of
//! any machine that makes it say or do something; and what the variant adds: a cancel, a drain.
//! Packets in one direction keep their order. Faults (a cut, silence, a death, time that goes on
//! over packets under way) and passages of time are bounded by budgets, all choices together by
//! the depth.
//!
//! # What is identified with what
//!
//! Two states are taken for one only if all of this is equal: what every machine prints of itself
//! by `Debug` (all fields, absolute instants, how far its generator has drawn), the pools, the
//! packets under way in their order, the time, the ledgers, and what is left of the budgets.
//! Nothing is shifted in time, renamed or left out, so states are identified exactly where orders
//! of independent steps meet again; the only risk is a collision of 64-bit fingerprints. A state
//! that was met with fewer choices left is gone through again with more.
//!
//! # What is left out
//!
//! Heartbeats are delivered as soon as they are first in line, dials to a host without a process
//! are refused at once, every driver's turn takes in one fact, all clocks run alike, and of
//! deadlines the earliest comes first. Runs say that they took a second, so nothing is queued
//! inside a pool process.

mod choice;
mod cluster;
mod deliver;
mod ledger;
mod link;
mod search;
mod settings;
mod settle;
mod step;

pub use choice::Choice;
pub use search::{Counts, Found, Limits, explore, replay};

/// What is special about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Nothing.
    Plain,
    /// The first task must never start twice.
    AtMostOnce,
    /// The queue holds one task, and there are four.
    TinyQueue,
    /// The application may cancel the first task.
    Cancel,
    /// The first worker may be drained.
    DrainWorker,
    /// The manager may be drained.
    DrainManager,
    /// The pool processes are not ready yet, so attempts wait at their workers.
    SlowPool,
    /// There is a second manager, which the others know too; the first task is at most once.
    Failover,
}

impl Variant {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("plain", Self::Plain),
        ("at-most-once", Self::AtMostOnce),
        ("tiny-queue", Self::TinyQueue),
        ("cancel", Self::Cancel),
        ("drain-worker", Self::DrainWorker),
        ("drain-manager", Self::DrainManager),
        ("slow-pool", Self::SlowPool),
        ("failover", Self::Failover),
    ];

    /// The variant of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name)?;
        Some(found.1)
    }

    pub(crate) fn managers(self) -> usize {
        1 + usize::from(self == Self::Failover)
    }

    /// Tasks of the one client.
    pub(crate) fn tasks(self) -> usize {
        if self == Self::TinyQueue { 4 } else { 2 }
    }

    /// Whether the first task is at most once.
    pub(crate) fn is_careful(self) -> bool {
        matches!(self, Self::AtMostOnce | Self::Failover)
    }
}

/// Workers, each of one slot.
pub(crate) const WORKERS: usize = 2;
