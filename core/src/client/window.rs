//! How many tasks a client keeps at its manager.
//!
//! The manager's queue is bounded and shared. A client that sends more than its share is
//! rejected, and a rejected task costs both sides; so the client finds out how much is accepted
//! and keeps just that many there: it grows while nothing is refused and shrinks when something
//! is (additive increase, multiplicative decrease; slow start as in TCP, RFC 5681).

/// Tasks at first.
const START: u64 = 64;
/// Parts of a task that the size is counted in.
const UNIT: u64 = 1 << 16;
/// Largest size, far above any manager's bound for one client.
const MAX: u64 = 1 << 24;

/// The most tasks that may be at the manager without an outcome.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// In parts of a task.
    size: u64,
    slow_start: bool,
    /// Rejections of what was sent before this are news that was acted upon already.
    barrier: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            size: START * UNIT,
            slow_start: true,
            barrier: 0,
        }
    }

    /// The most tasks that may be out.
    pub(super) fn limit(&self) -> usize {
        (self.size / UNIT).max(1) as usize
    }

    /// A task that the manager had accepted has ended; `full`: the window was what held others
    /// back.
    pub(super) fn on_outcome(&mut self, full: bool) {
        if !full {
            return;
        }
        let step = if self.slow_start {
            UNIT
        } else {
            UNIT * UNIT / self.size
        };
        self.size = (self.size + step).min(MAX * UNIT);
    }

    /// A task was refused for want of room. `sent` is its place among all submissions, `next` the
    /// place of the next one, `out` how many the manager still has.
    pub(super) fn on_refusal(&mut self, sent: u64, next: u64, out: usize) {
        if sent < self.barrier {
            return;
        }
        self.barrier = next;
        self.slow_start = false;
        let held = (out as u64 * UNIT).min(self.size);
        self.size = (held - held / 8).max(UNIT);
    }

    /// Another manager, or another life of it: what was learnt no longer holds.
    pub(super) fn restart(&mut self, next: u64) {
        *self = Self {
            barrier: next,
            ..Self::new()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_until_the_first_refusal_and_then_creeps() {
        let mut window = Window::new();
        for _ in 0..64 {
            window.on_outcome(true);
        }
        assert_eq!(window.limit(), 128);
        window.on_refusal(10, 200, 80);
        assert_eq!(window.limit(), 70);
        for _ in 0..71 {
            window.on_outcome(true);
        }
        assert_eq!(window.limit(), 71);
    }

    #[test]
    fn refusals_of_one_round_count_once_and_never_close_it() {
        let mut window = Window::new();
        window.on_refusal(10, 20, 64);
        let limit = window.limit();
        window.on_refusal(19, 30, 64);
        assert_eq!(window.limit(), limit);
        for round in 0..200 {
            window.on_refusal(20 + round, 21 + round, 0);
        }
        assert_eq!(window.limit(), 1);
    }

    #[test]
    fn it_does_not_grow_unused() {
        let mut window = Window::new();
        for _ in 0..1_000 {
            window.on_outcome(false);
        }
        assert_eq!(window.limit(), 64);
    }
}
