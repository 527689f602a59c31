//! The loops around the state machines: the only place that reads a clock or draws a seed.
//!
//! All of them work alike. Read what is there; hand all of it to the machine; `handle_timeout` if
//! that is due; `settle` once; carry out every output, in order; write each connection's buffer
//! once; sleep until something moves. Input that waits always goes in before a time-out, so that
//! a process that was stopped for a while does not take its own absence for its peers' silence.
#![warn(clippy::wildcard_enum_match_arm)]

pub(crate) mod clock;
pub(crate) mod log;
pub(crate) mod manager;
pub(crate) mod peer;
pub(crate) mod uplink;

use std::time::Duration;

use argon_core::Machine;
use argon_core::time::Instant;

/// How often a connection on which bytes move without a whole frame says so.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Bytes after which a connection that has more to read lets the others go on.
pub(crate) const STEP_BYTES: usize = 32 * 1024;
/// So long one connection's messages are handled before the others go on, and before what
/// they are answered with is encoded and counted: a few bytes can ask for a lot.
pub(crate) const STEP_TIME: Duration = Duration::from_millis(1);
/// Most messages of one connection in one step; a read holds thousands of the smallest.
pub(crate) const STEP_MESSAGES: u32 = 512;
/// Messages after which that time is looked at.
pub(crate) const STEP_LOOKS_EVERY: u32 = 4;
/// How long a closed connection may take to send its last words.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// Calls of `handle_timeout`, and steps, in a row after which the next deadline must lie in the
/// future.
const TIMEOUTS_IN_A_ROW: usize = 16;

/// Does what is due at `now`; tells whether anything was.
pub(crate) fn handle_timeouts<M: Machine>(machine: &mut M, now: Instant) -> bool {
    let due = |machine: &M| machine.poll_timeout().is_some_and(|next| next.at <= now);
    if !due(machine) {
        return false;
    }
    for _ in 0..TIMEOUTS_IN_A_ROW {
        machine.handle_timeout(now);
        if !due(machine) {
            break;
        }
    }
    true
}

/// Checks that a machine comes to rest.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Turns in a row that ended with something to be done at once.
    restless: usize,
}

impl Rest {
    /// To be called when the outputs of a step with a time-out are carried out. What was decided
    /// in that step may be due at once, but not for ever.
    pub(crate) fn check<M: Machine>(&mut self, machine: &M, now: Instant) {
        let due = machine.poll_timeout().filter(|next| next.at <= now);
        self.restless = if due.is_some() { self.restless + 1 } else { 0 };
        debug_assert!(
            self.restless < TIMEOUTS_IN_A_ROW,
            "what is due is never done: {due:?} at {now:?}"
        );
    }
}

#[cfg(test)]
mod tests;
