//! Where every attempt is.
//!
//! Owns: the table of attempts and the list of those that wait. Never: decides where an attempt
//! goes. Invariants: each attempt is in exactly one place; those that were given to a pool
//! process before (and came back when it died) wait before all others; counters and sums agree
//! with the table. Units: bytes of payloads.

use core::mem;
use core::time::Duration;

use super::Job;
use crate::arena::{Arena, arena_key};
use crate::durations::NameKey;
use crate::ids::{Attempt, SlotId, TaskId};
use crate::message::{Assign, AttemptEnd, ReportedAttempt};
use crate::name::Name;
use crate::payload::Payload;
use crate::seq_map::SeqMap;
use crate::stream::{Direction, Endpoint};
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
    pub(super) name: Name,
    pub(super) name_key: NameKey,
    /// The argument while there may be use for it; once it has ended, the result.
    pub(super) payload: Payload,
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
    Waiting,
    /// In a slot's queue. Its argument is kept, so that it can run `again`, unless it was first in
    /// line: then it is charged if the process dies.
    Given { slot: SlotId, again: bool },
    /// Ended; held until acknowledged.
    Held(Held),
}

/// How it ended, beside its result.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// Nobody is told before its streams are received.
    pub(super) unread: bool,
    pub(super) ran: Duration,
    pub(super) end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(super) struct HeldResult {
    pub(super) ran: Duration,
    pub(super) end: AttemptEnd,
    pub(super) payload: Payload,
}

/// What holding an end costs.
fn bytes(end: &AttemptEnd, payload: &Payload) -> u64 {
    (payload.len() + end.text_bytes()) as u64
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
    /// Of those held, what wrote streams that have yet to be received.
    unread: usize,
    /// Streams of attempts that have not ended or are unread.
    pub(super) streams: Endpoint,
}

impl Attempts {
    /// None. So many bytes of their streams may wait to be written to the connection.
    pub(super) fn new(stream_ahead: usize) -> Self {
        Self {
            entries: Arena::default(),
            keys: SeqMap::default(),
            first: AttemptKey::NONE,
            last: AttemptKey::NONE,
            waiting: 0,
            waiting_bytes: 0,
            held: 0,
            held_bytes: 0,
            unread: 0,
            streams: Endpoint::new(Direction::FromAttempt, stream_ahead),
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

    /// How many have ended and wrote streams that have yet to be received.
    pub(super) fn unread(&self) -> usize {
        self.unread
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

    /// Adds a new attempt, assigned as `assign` but for its numbers, behind all that wait; `None` if it is
    /// known already.
    pub(super) fn add(
        &mut self,
        now: Instant,
        assigned: ReportedAttempt,
        assign: &Assign,
        name_key: NameKey,
        payload: Payload,
    ) -> Option<AttemptKey> {
        let key = self.entries.next_key();
        if !self.keys.insert(assigned.attempt, key) {
            return None;
        }
        self.waiting += 1;
        self.waiting_bytes += payload.len() as u64;
        let prev = mem::replace(&mut self.last, key);
        match prev {
            AttemptKey::NONE => self.first = key,
            _ => self.get_mut(prev).next = key,
        }
        self.entries.insert(Entry {
            attempt: assigned.attempt,
            task: assigned.task,
            name: assign.name.clone(),
            name_key,
            payload,
            at_most_once: assign.at_most_once,
            limit: assign.time_limit.to_duration(),
            deadline: assign.deadline.to_duration().map(|left| now + left),
            given: false,
            kill: false,
            work: 0,
            place: AttemptPlace::Waiting,
            next: AttemptKey::NONE,
            prev,
        });
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
    pub(super) fn give(&mut self, key: AttemptKey, slot: SlotId, again: bool) -> Job {
        self.unlink(key);
        let entry = self.get_mut(key);
        entry.given = true;
        entry.place = AttemptPlace::Given { slot, again };
        let payload = match again {
            true => entry.payload.clone(),
            false => mem::take(&mut entry.payload),
        };
        Job {
            attempt: entry.attempt,
            task: entry.task,
            name: entry.name.clone(),
            payload,
        }
    }

    /// Puts an attempt that is in a slot before all that wait.
    pub(super) fn requeue(&mut self, key: AttemptKey) {
        let entry = self.get_mut(key);
        let AttemptPlace::Given { again, .. } = entry.place else {
            unreachable!("only what was given comes back");
        };
        assert!(again, "kept for all but the first in line");
        entry.place = AttemptPlace::Waiting;
        let bytes = entry.payload.len() as u64;
        self.waiting += 1;
        self.waiting_bytes += bytes;
        let first = self.first;
        self.join(AttemptKey::NONE, key);
        self.join(key, first);
    }

    /// The attempt ended: holds the end until [`forget`](Self::forget). Its streams, if they are not
    /// received yet, go on: whether that is so.
    pub(super) fn hold(&mut self, key: AttemptKey, result: HeldResult) -> bool {
        self.let_go(key);
        if matches!(self.get(key).place, AttemptPlace::Waiting) {
            self.unlink(key);
        }
        self.held += 1;
        self.held_bytes += bytes(&result.end, &result.payload);
        let entry = self.get_mut(key);
        entry.payload = result.payload;
        let attempt = entry.attempt;
        let unread = self.streams.has(attempt) && {
            self.streams.end(attempt);
            let over = matches!(result.end, AttemptEnd::Killed | AttemptEnd::Expired);
            let unread = !over && self.streams.is_unread(attempt);
            self.unread += usize::from(unread);
            if !unread {
                self.streams.close(attempt);
            }
            unread
        };
        self.get_mut(key).place = AttemptPlace::Held(Held {
            unread,
            ran: result.ran,
            end: result.end,
        });
        unread
    }

    /// An attempt that has ended, and was unread, is to end in another way.
    fn let_go(&mut self, key: AttemptKey) {
        let entry = &self.entries[key];
        if let AttemptPlace::Held(held) = &entry.place {
            debug_assert!(held.unread, "what was said to have ended has");
            self.held -= 1;
            self.held_bytes -= bytes(&held.end, &entry.payload);
            self.unread -= 1;
        }
    }

    /// The streams of an attempt that has ended are received. Whether that was news.
    pub(super) fn note_read(&mut self, key: AttemptKey) -> bool {
        let entry = &mut self.entries[key];
        let attempt = entry.attempt;
        match &mut entry.place {
            AttemptPlace::Held(held) if held.unread && !self.streams.is_unread(attempt) => {
                held.unread = false;
                self.unread -= 1;
                self.streams.close(attempt);
                true
            }
            AttemptPlace::Held(_) | AttemptPlace::Waiting | AttemptPlace::Given { .. } => false,
        }
    }

    /// Forgets an attempt that waits or is held.
    pub(super) fn forget(&mut self, key: AttemptKey) -> Attempt {
        let attempt = self.get(key).attempt;
        self.keys.remove(attempt);
        self.drop_entry(key);
        attempt
    }

    /// Forgets an attempt if it has ended and is held.
    pub(super) fn forget_held(&mut self, attempt: Attempt) {
        let entries = &self.entries;
        let is_held = |key: &AttemptKey| matches!(&entries[*key].place, AttemptPlace::Held(held) if !held.unread);
        if let Some(key) = self.keys.remove_if(attempt, is_held) {
            self.drop_entry(key);
        }
    }

    /// Drops what is under a key that nothing leads to any more.
    fn drop_entry(&mut self, key: AttemptKey) {
        let entry = self.get(key);
        match &entry.place {
            AttemptPlace::Waiting => self.unlink(key),
            AttemptPlace::Given { .. } => unreachable!("a slot still has it"),
            AttemptPlace::Held(held) => {
                debug_assert!(!held.unread, "nobody was told of its end");
                self.held_bytes -= bytes(&held.end, &entry.payload);
                self.held -= 1;
            }
        }
        self.streams.close(self.entries[key].attempt);
        self.entries.remove(key);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, stream_ahead: usize) {
        *self = Self::new(stream_ahead);
    }

    /// Takes `key`, which waits, out of the list; its place is for the caller to set.
    fn unlink(&mut self, key: AttemptKey) {
        let entry = self.get(key);
        debug_assert!(matches!(entry.place, AttemptPlace::Waiting));
        let (prev, next, bytes) = (entry.prev, entry.next, entry.payload.len());
        self.join(prev, next);
        self.waiting -= 1;
        self.waiting_bytes -= bytes as u64;
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
            assert!(matches!(entry.place, AttemptPlace::Waiting));
            assert!(!(fresh && entry.given), "what was given before goes first");
            fresh |= !entry.given;
            waiting += 1;
            (prev, key) = (key, entry.next);
        }
        assert_eq!(self.last, prev);
        assert_eq!(self.waiting, waiting);
        self.streams.check_invariants();
        let (mut waiting, mut waiting_bytes, mut held, mut held_bytes) = (0, 0, 0, 0);
        let (mut unread, mut with_streams) = (0, 0);
        for (key, entry) in self.iter() {
            assert_eq!(self.keys.get(entry.attempt), Some(&key));
            with_streams += usize::from(self.streams.has(entry.attempt));
            match &entry.place {
                AttemptPlace::Waiting => {
                    waiting += 1;
                    waiting_bytes += entry.payload.len() as u64;
                    assert!(!entry.kill, "the kill of what waits is answered at once");
                }
                AttemptPlace::Given { again, .. } => {
                    assert!(entry.given);
                    assert!(
                        *again || entry.payload.is_empty(),
                        "nobody needs it any more"
                    );
                }
                AttemptPlace::Held(end) => {
                    assert_eq!(end.unread, self.streams.has(entry.attempt));
                    assert_eq!(end.unread, self.streams.is_unread(entry.attempt));
                    unread += usize::from(end.unread);
                    held += 1;
                    held_bytes += bytes(&end.end, &entry.payload);
                }
            }
        }
        assert_eq!((self.waiting, self.waiting_bytes), (waiting, waiting_bytes));
        assert_eq!((self.held, self.held_bytes), (held, held_bytes));
        assert_eq!(self.unread, unread);
        let streams = self.streams.attempts().len();
        assert_eq!(streams, with_streams, "streams of attempts that are here");
    }
}
