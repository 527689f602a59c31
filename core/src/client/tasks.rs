//! The tasks that a client has accepted and not yet delivered.
//!
//! ```text
//!  submit ──► Waiting ──► Sent ──► delivered
//!               ▲  ▲       │ │
//!               │  └───────┘ │ never arrived, or the manager is another
//!               └─ Backoff ◄─┘ rejected
//! ```

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::name::Name;
use crate::task::{Priority, TaskSpec};
use crate::time::{Instant, Nanos};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To be sent when there is room at the manager.
    Waiting,
    /// Rejected; waits for its next try.
    Backoff,
    /// At the manager, as far as is known; its place among all submissions.
    Sent(u64),
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) name: Name,
    pub(super) payload: Bytes,
    pub(super) priority: Priority,
    pub(super) deadline: Option<Instant>,
    pub(super) max_wait: Nanos,
    pub(super) time_limit: Nanos,
    pub(super) max_attempts: u8,
    pub(super) at_most_once: bool,
    pub(super) retries: u32,
    pub(super) retries_max: Option<u32>,
    /// An earlier manager or session may have started it.
    pub(super) may_have_run: bool,
    pub(super) cancelled: bool,
    pub(super) place: Place,
}

/// The order in which waiting tasks are sent: first those that may be running already, then by
/// importance, then by age.
type Turn = (bool, Priority, u64);

#[derive(Debug, Default)]
pub(super) struct Tasks {
    held: BTreeMap<u64, Held>,
    waiting: BTreeSet<Turn>,
    sent: usize,
    sent_by_priority: [usize; Priority::LEVELS],
    bytes: u64,
    sent_bytes: u64,
    next_seq: u64,
}

impl Tasks {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Payload bytes of all tasks held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tasks at the manager.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// Their payload bytes.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Tasks at the manager that are at least as important.
    pub(super) fn sent_at_or_above(&self, priority: Priority) -> usize {
        self.sent_by_priority[..=priority.level()].iter().sum()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Every task below this number has been delivered.
    pub(super) fn floor(&self) -> u64 {
        self.held
            .first_key_value()
            .map_or(self.next_seq, |(seq, _)| *seq)
    }

    pub(super) fn insert(&mut self, now: Instant, spec: TaskSpec, retries: Option<u32>) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.bytes += spec.payload.len() as u64;
        let held = Held {
            name: spec.name,
            payload: spec.payload,
            priority: spec.priority,
            deadline: spec.deadline.map(|deadline| now + deadline),
            max_wait: spec.max_wait.into(),
            time_limit: spec.time_limit.into(),
            max_attempts: spec.max_attempts,
            at_most_once: spec.at_most_once,
            retries: 0,
            retries_max: retries,
            may_have_run: false,
            cancelled: false,
            place: Place::Waiting,
        };
        self.waiting.insert(turn(seq, &held));
        self.held.insert(seq, held);
        seq
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Held> {
        self.held.get(&seq)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Held)> {
        self.held.iter().map(|(seq, held)| (*seq, held))
    }

    /// The task that is to be sent next.
    pub(super) fn next_waiting(&self) -> Option<(u64, &Held)> {
        let &(_, _, seq) = self.waiting.first()?;
        Some((seq, self.held.get(&seq)?))
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Held> {
        self.displace(seq);
        let held = self.held.remove(&seq)?;
        self.bytes -= held.payload.len() as u64;
        Some(held)
    }

    /// Moves a task; `change` may alter whatever else is known of it.
    pub(super) fn place(&mut self, seq: u64, place: Place, change: impl FnOnce(&mut Held)) {
        self.displace(seq);
        let Some(held) = self.held.get_mut(&seq) else {
            return;
        };
        change(held);
        held.place = place;
        match place {
            Place::Waiting => {
                self.waiting.insert(turn(seq, held));
            }
            Place::Backoff => {}
            Place::Sent(_) => {
                self.sent += 1;
                self.sent_by_priority[held.priority.level()] += 1;
                self.sent_bytes += held.payload.len() as u64;
            }
        }
    }

    /// Notes that the task's owner no longer wants it.
    pub(super) fn cancel(&mut self, seq: u64) {
        if let Some(held) = self.held.get_mut(&seq) {
            held.cancelled = true;
        }
    }

    /// Takes a task out of the collection of its place.
    fn displace(&mut self, seq: u64) {
        let Some(held) = self.held.get_mut(&seq) else {
            return;
        };
        match held.place {
            Place::Waiting => {
                self.waiting.remove(&turn(seq, held));
            }
            Place::Backoff => {}
            Place::Sent(_) => {
                self.sent -= 1;
                self.sent_by_priority[held.priority.level()] -= 1;
                self.sent_bytes -= held.payload.len() as u64;
            }
        }
        held.place = Place::Backoff;
    }

    pub(super) fn check_invariants(&self) {
        let (mut waiting, mut sent, mut bytes, mut sent_bytes) = (0, 0, 0, 0);
        for (seq, held) in &self.held {
            bytes += held.payload.len() as u64;
            match held.place {
                Place::Waiting => {
                    waiting += 1;
                    assert!(self.waiting.contains(&turn(*seq, held)));
                }
                Place::Backoff => {}
                Place::Sent(_) => {
                    sent += 1;
                    sent_bytes += held.payload.len() as u64;
                }
            }
        }
        assert_eq!(waiting, self.waiting.len());
        assert_eq!(sent, self.sent);
        assert_eq!(sent, self.sent_by_priority.iter().sum::<usize>());
        assert_eq!(bytes, self.bytes);
        assert_eq!(sent_bytes, self.sent_bytes);
        assert!(
            self.held
                .last_key_value()
                .is_none_or(|(seq, _)| *seq < self.next_seq)
        );
    }
}

fn turn(seq: u64, held: &Held) -> Turn {
    (!held.may_have_run, held.priority, seq)
}
