//! Memory that peers make a manager hold beside the queue, and whose connection goes when it is too
//! much for all of them together.
//!
//! Owns the sum; what is held for each peer is known where it is held. Units: bytes.

use core::time::Duration;

use crate::ids::ConnId;

/// A large frame may take so long, and a second more for each [`SLOW_RATE`] bytes of it, before it
/// counts as held.
pub const SLOW_AFTER: Duration = Duration::from_secs(5);
/// Bytes a second of a frame that does not count.
pub const SLOW_RATE: u64 = 1024 * 1024;

/// Whether so much of a frame, which has taken so long and not ended, counts as held. Many large
/// frames at a time are ordinary where many workers end at once: they end soon, and if each new one
/// made the largest go, none would. Who sends slowly holds what it has sent for as long as it likes.
#[must_use]
pub fn is_slow(bytes: u64, took: Duration) -> bool {
    took.saturating_sub(SLOW_AFTER).as_secs() > bytes / SLOW_RATE
}

/// What is held for all peers: output that waits to be read, and large frames that come slowly.
#[derive(Clone, Debug)]
pub struct Pressure {
    limit: u64,
    total: u64,
}

impl Pressure {
    /// Nothing is held, and at most `limit` bytes may be.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, total: 0 }
    }

    /// What is held for all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What may be.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What is held for one peer has changed.
    pub fn change(&mut self, before: u64, after: u64) {
        debug_assert!(before <= self.total, "{before} of {} bytes", self.total);
        self.total = self.total - before + after;
    }

    /// The peer to disconnect, if too much is held: the one that most is held for, since whoever
    /// reads and writes as others do holds little. Of several the one that came first.
    #[must_use]
    pub fn worst(&self, held: impl Iterator<Item = (ConnId, u64)>) -> Option<ConnId> {
        if self.total <= self.limit {
            return None;
        }
        let held = held.filter(|(_, bytes)| *bytes > 0);
        let worst = held.max_by_key(|(conn, bytes)| (*bytes, core::cmp::Reverse(*conn)));
        worst.map(|(conn, _)| conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn frames_that_come_slowly_are_held() {
        let at = Duration::from_secs;
        for (bytes, took, slow) in [
            (100, at(5), false),
            (100, at(7), true),
            (64 * SLOW_RATE, at(69), false),
            (64 * SLOW_RATE, at(70), true),
            (u64::MAX, at(1 << 40), false),
        ] {
            assert_eq!(is_slow(bytes, took), slow, "{bytes} bytes in {took:?}");
        }
    }

    proptest! {
        /// Whatever peers do, letting go of the worst ends with no more held than allowed, and takes
        /// nobody who holds less than one who stays.
        #[test]
        fn the_bound_holds_and_the_worst_go(
            changes in prop::collection::vec((0..8_u64, 0..1_000_u64), 1..200),
            limit in 0..2_000_u64,
        ) {
            let mut pressure = Pressure::new(limit);
            let mut held: BTreeMap<ConnId, u64> = BTreeMap::new();
            for (conn, bytes) in changes {
                let before = held.insert(ConnId(conn), bytes).unwrap_or(0);
                pressure.change(before, bytes);
                let each = |held: &BTreeMap<ConnId, u64>| -> Vec<(ConnId, u64)> {
                    held.iter().map(|(conn, bytes)| (*conn, *bytes)).collect()
                };
                while let Some(worst) = pressure.worst(each(&held).into_iter()) {
                    let bytes = held.remove(&worst).expect("one of those given");
                    prop_assert!(held.values().all(|other| *other <= bytes));
                    prop_assert!(pressure.total() > limit, "nobody goes without need");
                    pressure.change(bytes, 0);
                }
                prop_assert_eq!(pressure.total(), held.values().sum::<u64>());
                prop_assert!(pressure.total() <= limit);
            }
        }
    }
}
