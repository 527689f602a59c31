//! The shape that Manager, Worker and Client share.

use crate::time::{Deadline, Instant};

/// A state machine without input or output of its own.
///
/// A driver reads what is there, calls [`handle_input`](Machine::handle_input) once for each
/// fact, then [`settle`](Machine::settle) once, then takes every output, then sleeps until the
/// next input or [`poll_timeout`](Machine::poll_timeout). The same calls with the same arguments
/// give the same outputs, byte for byte.
pub trait Machine {
    /// One fact from outside.
    type Input;
    /// One thing to do, in order.
    type Output;

    /// Takes one fact in. Cannot fail: a peer that misbehaves is answered with a `Close` output.
    fn handle_input(&mut self, now: Instant, input: Self::Input);

    /// Does whatever is due at `now`. An early or repeated call does nothing. A driver that wakes
    /// up hands in the input that is waiting before it calls this.
    fn handle_timeout(&mut self, now: Instant);

    /// Ends a batch: decides on everything taken in since the last call (dispatches, batches
    /// acknowledgements). Separate from `handle_input` so that a hundred facts that arrived
    /// together cost one decision and not a hundred.
    fn settle(&mut self, now: Instant);

    /// The next thing to do; call until `None` before waiting.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// When to call `handle_timeout`. Ask again whenever the outputs are empty; `None` disarms.
    fn poll_timeout(&self) -> Option<Deadline>;

    /// Asserts everything that must hold between calls; may cost as much as the state is large.
    ///
    /// # Panics
    /// If an invariant is broken, which is a defect of the machine whatever the input was.
    fn check_invariants(&self);
}
