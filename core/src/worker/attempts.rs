//! Where every attempt is.
//!
//! Owns: the table of attempts and the list of those that wait. Never: decides where an attempt
//! goes. Invariants: each attempt is in exactly one place; those that were given to a pool
//! process before (and came back when it died) wait before all others; counters and sums agree
//! with the table. Units: bytes of payloads.

use core::time::Duration;

use crate::arena::{Arena, arena_key};
use crate::durations::NameKey;
use crate::ids::{Attempt, SlotId, TaskId};
use crate::message::{Assign, AttemptEnd};
use crate::name::Name;
use crate::payload::Payload;
use crate::seq_map::SeqMap;
use crate::time::Instant;

arena_key!(
    /// An attempt's row in the table, used again after the attempt is forgotten; none ends the list
    /// of those that wait.
    pub(super) struct AttemptKey(u32)
);

/// Everything known of an attempt.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) attempt: Attempt,
    pub(super) task: TaskId,
    pub(super) name_key: NameKey,
    pub(super) at_most_once: bool,
    pub(super) limit: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    /// Written to a pool process at least once, so it may have started: it is answered for here,
    /// never returned.
    pub(super) given: bool,
    /// The manager wants its end.
    pub(super) kill: bool,
    /// What it was estimated to take when it was given, in nanoseconds.
    pub(super) work: u64,
    pub(super) place: AttemptPlace,
    next: AttemptKey,
    prev: AttemptKey,
}

/// Where an attempt is.
#[derive(Clone, Debug)]
pub(super) enum AttemptPlace {
    /// In the list of those that wait for a slot.
    Waiting(What),
    /// In a slot's queue. What it takes to run it again is kept unless it was first in line:
    /// then it is charged if the process dies.
    Given { slot: SlotId, again: Option<What> },
    /// Ended; held until acknowledged.
    Held(HeldResult),
}

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct What {
    pub(super) name: Name,
    pub(super) payload: Payload,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(super) struct HeldResult {
    pub(super) ran: Duration,
    pub(super) end: AttemptEnd,
    pub(super) payload: Payload,
}

impl HeldResult {
    /// What holding it costs.
    fn bytes(&self) -> u64 {
        (self.payload.len() + self.end.text_bytes()) as u64
    }
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    entries: Arena<AttemptKey, Entry>,
    keys: SeqMap<Attempt, AttemptKey>,
    first: AttemptKey,
    last: AttemptKey,
    waiting: usize,
    waiting_bytes: u64,
    held: usize,
    held_bytes: u64,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self {
            entries: Arena::default(),
            keys: SeqMap::default(),
            first: AttemptKey::NONE,
            last: AttemptKey::NONE,
            waiting: 0,
            waiting_bytes: 0,
            held: 0,
            held_bytes: 0,
        }
    }

    /// All attempts, whatever their place.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Payload bytes of those that wait.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Ended and not acknowledged.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    pub(super) fn find(&self, attempt: Attempt) -> Option<AttemptKey> {
        self.keys.get(attempt).copied()
    }

    pub(super) fn get(&self, key: AttemptKey) -> &Entry {
        &self.entries[key]
    }

    pub(super) fn get_mut(&mut self, key: AttemptKey) -> &mut Entry {
        &mut self.entries[key]
    }

    /// All of them, in order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AttemptKey, &Entry)> {
        self.keys.iter().map(|(_, &key)| (key, self.get(key)))
    }

    /// Adds a new attempt behind all that wait; `None` if it is known already.
    pub(super) fn add(
        &mut self,
        now: Instant,
        assign: Assign,
        name_key: NameKey,
        payload: Payload,
    ) -> Option<AttemptKey> {
        let key = self.entries.next_key();
        if !self.keys.insert(assign.attempt, key) {
            return None;
        }
        let bytes = payload.len();
        self.entries.insert(Entry {
            attempt: assign.attempt,
            task: assign.task,
            name_key,
            at_most_once: assign.at_most_once,
            limit: assign.time_limit.to_duration(),
            deadline: assign.deadline.to_duration().map(|left| now + left),
            given: false,
            kill: false,
            work: 0,
            place: AttemptPlace::Waiting(What {
                name: assign.name,
                payload,
            }),
            next: AttemptKey::NONE,
            prev: AttemptKey::NONE,
        });
        self.link(key, bytes, self.last, AttemptKey::NONE);
        Some(key)
    }

    /// The next to be given to a slot.
    pub(super) fn first(&self) -> Option<AttemptKey> {
        (self.first != AttemptKey::NONE).then_some(self.first)
    }

    /// The newest that waits.
    pub(super) fn last(&self) -> Option<AttemptKey> {
        (self.last != AttemptKey::NONE).then_some(self.last)
    }

    /// Takes a waiting attempt out of the list and puts it into `slot`. What it takes to run it
    /// is returned, and kept as well if `again`.
    pub(super) fn give(&mut self, key: AttemptKey, slot: SlotId, again: bool) -> What {
        let what = self.unlink(key);
        let entry = self.get_mut(key);
        entry.given = true;
        entry.place = AttemptPlace::Given {
            slot,
            again: again.then(|| what.clone()),
        };
        what
    }

    /// Puts an attempt that is in a slot before all that wait.
    pub(super) fn requeue(&mut self, key: AttemptKey) {
        let entry = self.get_mut(key);
        let AttemptPlace::Given { again, .. } = &mut entry.place else {
            unreachable!("only what was given comes back");
        };
        let what = again.take().expect("kept for all but the first in line");
        let bytes = what.payload.len();
        entry.place = AttemptPlace::Waiting(what);
        self.link(key, bytes, AttemptKey::NONE, self.first);
    }

    /// The attempt ended: holds the end until [`forget`](Self::forget).
    pub(super) fn hold(&mut self, key: AttemptKey, end: HeldResult) {
        if matches!(self.get(key).place, AttemptPlace::Waiting(_)) {
            self.unlink(key);
        }
        self.held += 1;
        self.held_bytes += end.bytes();
        self.get_mut(key).place = AttemptPlace::Held(end);
    }

    /// Forgets an attempt that waits or is held.
    pub(super) fn forget(&mut self, key: AttemptKey) -> Attempt {
        match &self.get(key).place {
            AttemptPlace::Waiting(_) => {
                self.unlink(key);
            }
            AttemptPlace::Given { .. } => unreachable!("a slot still has it"),
            AttemptPlace::Held(end) => {
                self.held_bytes -= end.bytes();
                self.held -= 1;
            }
        }
        let entry = self.entries.remove(key);
        self.keys.remove(entry.attempt);
        entry.attempt
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Puts `key`, which waits with `bytes` of payload, into the list.
    fn link(&mut self, key: AttemptKey, bytes: usize, prev: AttemptKey, next: AttemptKey) {
        self.waiting += 1;
        self.waiting_bytes += bytes as u64;
        self.join(prev, key);
        self.join(key, next);
    }

    /// Takes `key` out of the list; its place is for the caller to set.
    fn unlink(&mut self, key: AttemptKey) -> What {
        let entry = self.get_mut(key);
        let (prev, next) = (entry.prev, entry.next);
        let nothing = AttemptPlace::Given {
            slot: SlotId(0),
            again: None,
        };
        let AttemptPlace::Waiting(what) = core::mem::replace(&mut entry.place, nothing) else {
            unreachable!("only what waits is in the list");
        };
        self.join(prev, next);
        self.waiting -= 1;
        self.waiting_bytes -= what.payload.len() as u64;
        what
    }

    /// Makes `left` and `right` neighbours.
    fn join(&mut self, left: AttemptKey, right: AttemptKey) {
        match left {
            AttemptKey::NONE => self.first = right,
            _ => self.get_mut(left).next = right,
        }
        match right {
            AttemptKey::NONE => self.last = left,
            _ => self.get_mut(right).prev = left,
        }
    }

    /// Asserts that the list, the counters and the table agree.
    pub(super) fn check_invariants(&self) {
        self.keys.check_invariants();
        assert_eq!(self.keys.len(), self.entries.len());
        let mut key = self.first;
        let (mut prev, mut waiting, mut fresh) = (AttemptKey::NONE, 0, false);
        while key != AttemptKey::NONE {
            let entry = self.get(key);
            assert_eq!(entry.prev, prev);
            assert!(matches!(entry.place, AttemptPlace::Waiting(_)));
            assert!(!(fresh && entry.given), "what was given before goes first");
            fresh |= !entry.given;
            waiting += 1;
            (prev, key) = (key, entry.next);
        }
        assert_eq!(self.last, prev);
        assert_eq!(self.waiting, waiting);
        let (mut waiting, mut waiting_bytes, mut held, mut held_bytes) = (0, 0, 0, 0);
        for (key, entry) in self.iter() {
            assert_eq!(self.keys.get(entry.attempt), Some(&key));
            match &entry.place {
                AttemptPlace::Waiting(what) => {
                    waiting += 1;
                    waiting_bytes += what.payload.len() as u64;
                    assert!(!entry.kill, "the kill of what waits is answered at once");
                }
                AttemptPlace::Given { .. } => assert!(entry.given),
                AttemptPlace::Held(end) => {
                    held += 1;
                    held_bytes += end.bytes();
                }
            }
        }
        assert_eq!((self.waiting, self.waiting_bytes), (waiting, waiting_bytes));
        assert_eq!((self.held, self.held_bytes), (held, held_bytes));
    }
}
