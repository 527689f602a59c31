//! The rest that the manager takes from work whose amount others decide, so that all of it together
//! takes a stated part of the time and no more.

use core::time::Duration;

use crate::time::Instant;

/// When the manager has rested from all the work of one sort.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::manager) struct Rest {
    until: Instant,
}

impl Rest {
    /// Until when the next work has to wait, if it must: so much rest as `burst` may still be due
    /// then, so that what is rare is done at once.
    pub(in crate::manager) fn wait(&self, now: Instant, burst: Duration) -> Option<Instant> {
        let due = self.until.since(now);
        (due > burst).then(|| now + (due - burst))
    }

    /// Work was done that needs `rest`.
    pub(in crate::manager) fn owe(&mut self, now: Instant, rest: Duration) {
        self.until = self.until.max(now) + rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn rest_adds_up_and_a_burst_of_it_may_be_due() {
        let mut rest = Rest::default();
        let now = Instant::ZERO + MS * 100;
        assert_eq!(rest.wait(now, MS), None);
        rest.owe(now, MS);
        assert_eq!(rest.wait(now, MS), None);
        rest.owe(now, MS * 3);
        assert_eq!(rest.wait(now, MS), Some(now + MS * 3));
        assert_eq!(rest.wait(now + MS * 3, MS), None);
        rest.owe(now + MS * 10, MS * 2);
        assert_eq!(rest.wait(now + MS * 10, MS), Some(now + MS * 11));
    }
}
