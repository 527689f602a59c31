//! What must hold between any two calls.

use super::attempts::AttemptPlace;
use super::machine::{Phase, Worker};
use super::pool::SlotState;
use crate::limits::WINDOW_MAX;

impl Worker {
    /// Asserts all of it.
    pub(super) fn check(&self) {
        self.attempts.check_invariants();
        self.pool.check_invariants();
        self.check_places();
        self.check_timers();
        self.check_bounds();
        self.check_phase();
    }

    /// Table and slots name each other.
    fn check_places(&self) {
        let mut queued = 0;
        for (slot, place) in self.pool.slots() {
            let mut work = 0;
            for (index, &key) in place.queue.iter().enumerate() {
                let entry = self.attempts.get(key);
                let AttemptPlace::Given { slot: named, again } = &entry.place else {
                    panic!("{} is in {slot} and in {:?}", entry.attempt, entry.place);
                };
                assert_eq!(*named, slot);
                if self.attempts.streams.has(entry.attempt) {
                    assert_eq!(place.queue.len(), 1, "alone in its process");
                }
                if index > 0 {
                    assert!(!entry.at_most_once, "queued behind another");
                    assert!(*again || place.state != SlotState::Ready);
                }
                work += entry.work;
            }
            assert_eq!(place.work, work);
            queued += place.queue.len();
        }
        let given = self.attempts.iter();
        let given = given.filter(|(_, entry)| matches!(entry.place, AttemptPlace::Given { .. }));
        assert_eq!(given.count(), queued);
    }

    /// What must end at some time has somebody who will see to it.
    fn check_timers(&self) {
        for (slot, place) in self.pool.slots() {
            if place.state == SlotState::Ready
                && let Some((due, _)) = self.head_due(slot)
            {
                assert!(self.pool.timer(slot).is_some_and(|armed| armed <= due));
            }
        }
        let mut armed = 0;
        for (key, entry) in self.attempts.iter() {
            let is_unread = matches!(&entry.place, AttemptPlace::Held(held) if held.unread);
            if is_unread || matches!(entry.place, AttemptPlace::Waiting) {
                assert_eq!(self.expiries.get(key), entry.deadline);
                armed += usize::from(entry.deadline.is_some());
            }
        }
        assert_eq!(self.expiries.len(), armed);
    }

    fn check_bounds(&self) {
        let window = WINDOW_MAX as usize;
        assert!(self.attempts.waiting() <= window + self.given_back());
        assert!(self.attempts.held() <= self.config.held_results + 2 * window);
        if self.attempts.held() >= self.config.held_results
            || self.attempts.held_bytes() >= self.config.held_bytes
        {
            assert!(self.demand.is_full());
        }
        if let Some(granted) = self.demand.granted() {
            assert!(self.link.is_up());
            assert!(granted.level() <= WINDOW_MAX);
        }
    }

    fn given_back(&self) -> usize {
        let waiting = self.attempts.iter();
        let waiting = waiting.filter(|(_, entry)| matches!(entry.place, AttemptPlace::Waiting));
        waiting.filter(|(_, entry)| entry.given).count()
    }

    fn check_phase(&self) {
        assert_eq!(
            self.link.is_up(),
            !self.outage.is_on() && !self.is_leaving()
        );
        match self.phase {
            Phase::Running => {}
            Phase::Draining { .. } => {
                for (_, entry) in self.attempts.iter() {
                    assert!(entry.given || matches!(entry.place, AttemptPlace::Held(_)));
                }
            }
            Phase::Leaving | Phase::Stopped => {
                assert_eq!(self.attempts.len(), 0);
                assert!(!self.link.is_up());
            }
        }
        if self.phase == Phase::Stopped {
            assert!(self.pool.is_gone());
        }
    }
}
