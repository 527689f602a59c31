//! Who may go on with a large frame while many are under way at once.
//!
//! Peers that send quickly are bounded one by one only: a hundred workers that each end with the
//! largest result at once would make a manager hold all of them half. So the unfinished frames have a
//! limit for all together; past it whoever holds little goes on, and the frame that began first always
//! does, so one ends, its bytes move on, and the next goes first. Who may not go on is not read, which
//! costs its peer time and nothing else.
//!
//! Owns the sum and the order. Never reads: that is the driver's. Units: bytes.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::ids::ConnId;

/// The part of a manager's memory that unfinished large frames may fill. Buffers double as they
/// grow, so what is reserved may be twice as much.
pub const PART_OF_MEMORY: u64 = 4;

/// What is held of the large frames that are under way.
///
/// Between half the limit and the limit, whoever holds less than an equal share of that half goes on.
/// From the limit on only the first does. So at most the limit, the rest of one frame and one read of
/// each connection are held; a read at most doubles what its connection holds.
#[derive(Clone, Debug)]
pub struct ReceiveBudget {
    limit: u64,
    total: u64,
    /// Each began at a place of its own.
    begun: u64,
    frames: BTreeMap<ConnId, Frame>,
    by_age: BTreeMap<u64, ConnId>,
    /// Those that were told not to go on, the one that holds least first.
    waiting: BTreeSet<(u64, ConnId)>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    bytes: u64,
    age: u64,
}

impl ReceiveBudget {
    /// Nothing is under way, and what is may have at most `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            total: 0,
            begun: 0,
            frames: BTreeMap::new(),
            by_age: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// What is held of all frames.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// So much is held of this connection's frame, which has not ended; 0 once there is none.
    pub fn set(&mut self, conn: ConnId, bytes: u64) {
        let before = self.frames.get(&conn).copied();
        let Some(frame) = before else {
            if bytes > 0 {
                self.begun += 1;
                let age = self.begun;
                self.frames.insert(conn, Frame { bytes, age });
                self.by_age.insert(age, conn);
                self.total += bytes;
            }
            return;
        };
        if frame.bytes == bytes {
            return;
        }
        self.waiting.remove(&(frame.bytes, conn));
        self.total = self.total - frame.bytes + bytes;
        if bytes == 0 {
            self.frames.remove(&conn);
            self.by_age.remove(&frame.age);
        } else {
            self.frames.insert(conn, Frame { bytes, ..frame });
        }
    }

    /// Whether this connection may be read. If not, it waits until [`resume`](Self::resume) names it
    /// or it asks again.
    pub fn may_go_on(&mut self, conn: ConnId) -> bool {
        let Some(frame) = self.frames.get(&conn) else {
            return true;
        };
        if self.goes_on(conn, *frame) {
            self.waiting.remove(&(frame.bytes, conn));
            return true;
        }
        self.waiting.insert((frame.bytes, conn));
        false
    }

    /// A connection that waits and need not any more.
    pub fn resume(&mut self) -> Option<ConnId> {
        if self.waiting.is_empty() {
            return None;
        }
        let (_, first) = self.by_age.first_key_value()?;
        let least = self.waiting.first().map(|(_, conn)| *conn);
        [Some(*first), least].into_iter().flatten().find(|conn| {
            let frame = self.frames.get(conn).copied();
            frame.is_some_and(|frame| {
                self.goes_on(*conn, frame) && self.waiting.remove(&(frame.bytes, *conn))
            })
        })
    }

    fn goes_on(&self, conn: ConnId, frame: Frame) -> bool {
        let half = self.limit / 2;
        let share = half / self.frames.len() as u64;
        self.total < half
            || self.total < self.limit && frame.bytes < share
            || self.by_age.first_key_value().map(|(_, first)| *first) == Some(conn)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn beside_large_frames_short_ones_go_on() {
        let mut budget = ReceiveBudget::new(1_000);
        for conn in 0..4 {
            budget.set(ConnId(conn), 150);
        }
        budget.set(ConnId(4), 10);
        let may: Vec<bool> = (0..5).map(|conn| budget.may_go_on(ConnId(conn))).collect();
        assert_eq!(may, [true, false, false, false, true]);
        assert_eq!(budget.resume(), None);
        budget.set(ConnId(0), 0);
        assert_eq!(budget.resume(), Some(ConnId(1)), "it is the first now");
        budget.set(ConnId(4), 0);
        let all = [budget.resume(), budget.resume(), budget.resume()];
        assert_eq!(all, [Some(ConnId(2)), Some(ConnId(3)), None]);
    }

    #[test]
    fn at_the_limit_the_first_alone_goes_on() {
        let mut budget = ReceiveBudget::new(1_000);
        budget.set(ConnId(0), 1_000);
        budget.set(ConnId(1), 1);
        assert!(budget.may_go_on(ConnId(0)));
        assert!(!budget.may_go_on(ConnId(1)), "however little it holds");
    }

    #[test]
    fn what_a_connection_leaves_behind_is_forgotten() {
        let mut budget = ReceiveBudget::new(1_000);
        budget.set(ConnId(1), 900);
        budget.set(ConnId(2), 300);
        assert!(!budget.may_go_on(ConnId(2)));
        budget.set(ConnId(2), 0);
        budget.set(ConnId(1), 0);
        assert_eq!((budget.total(), budget.resume()), (0, None));
    }

    /// A frame of a peer that sends as long as it is read.
    #[derive(Clone, Debug)]
    struct Sending {
        size: u64,
        sent: u64,
        reading: bool,
    }

    proptest! {
        /// Whoever is read sends on, in any order: the limit holds at each step, and every frame
        /// arrives.
        #[test]
        fn the_limit_holds_and_all_frames_arrive(
            sizes in prop::collection::vec(1..2_000_u64, 1..20),
            limit in 1..4_000_u64,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..50),
        ) {
            const READ: u64 = 64;
            let mut budget = ReceiveBudget::new(limit);
            let mut frames: Vec<Sending> = sizes
                .iter()
                .map(|size| Sending { size: *size, sent: 0, reading: true })
                .collect();
            let reads = frames.len() as u64 * READ;
            let longest = sizes.iter().max().expect("there are some");
            for pick in picks.iter().cycle() {
                let reading: Vec<usize> =
                    (0..frames.len()).filter(|at| frames[*at].reading).collect();
                if reading.is_empty() {
                    break;
                }
                let at = reading[pick.index(reading.len())];
                let conn = ConnId(at as u64);
                let frame = &mut frames[at];
                frame.sent = frame.size.min(frame.sent + READ);
                let ended = frame.sent == frame.size;
                budget.set(conn, if ended { 0 } else { frame.sent });
                frame.reading = !ended && budget.may_go_on(conn);
                while let Some(conn) = budget.resume() {
                    frames[conn.0 as usize].reading = true;
                }
                let held = frames.iter().filter(|frame| frame.sent < frame.size);
                prop_assert_eq!(budget.total(), held.map(|frame| frame.sent).sum::<u64>());
                prop_assert!(budget.total() <= limit + longest + reads);
            }
            prop_assert!(frames.iter().all(|frame| frame.sent == frame.size), "{:?}", frames);
        }
    }
}
