//! Outcomes until their clients have them, and what workers may forget.
//!
//! Owns: every outcome that is not acknowledged, in line for its client; what was sent of each line; the
//! bytes that clients leave unread; and the acknowledgements that go to workers at the end of a batch.
//! Never: knows a connection, or sends. Invariants: a line holds exactly the ends of its client's
//! tasks; every count of bytes equals what it counts.

mod ended;
mod unreleased;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Index;

use crate::arena::{Arena, SecondaryMap};
use crate::ids::Attempt;
use crate::limits::OUTCOME_BYTES;
use crate::payload::Payload;
use crate::queue::{ClientKey, TaskKey};
use crate::router::WorkerKey;
use crate::seq_map::SeqMap;
use crate::steps::step;
use crate::task::Outcome;
use crate::time::Instant;

use super::ManagerConfig;
use super::keys::{Assignee, EndedKey, OutcomeKey};
use ended::EndedRow;
use unreleased::{Entry, Held, Unreleased, counted};

pub(super) use ended::Ended;

/// An outcome on its way to the client.
#[derive(Clone, Debug)]
pub(super) struct StoredOutcome {
    pub(super) client: ClientKey,
    pub(super) task: TaskKey,
    /// The client's number of the task.
    pub(super) seq: u64,
    /// Rank among the ends of its client's tasks, from 1.
    pub(super) rank: u64,
    pub(super) outcome: Outcome,
    /// The worker's copy of the result, to be acknowledged when the client has it.
    pub(super) release: Option<Assignee>,
    /// Bytes of its payload and texts.
    pub(super) bytes: u64,
}

/// An outcome that is to be sent.
#[derive(Debug)]
pub(super) enum ToSend<'a> {
    /// Its result is with its task.
    Alone(&'a StoredOutcome),
    InRow {
        seq: u64,
        outcome: Outcome,
        result: Payload,
    },
}

/// A result that its worker may forget although the client has not acknowledged it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Released {
    pub(super) client: ClientKey,
    pub(super) seq: u64,
    pub(super) assignee: Assignee,
}

/// The outcomes of one client's tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Those that are not acknowledged, by their rank, but for those in rows.
    waiting: SeqMap<u64, OutcomeKey>,
    /// The others, by the rank of the first of each row. Rows do not overlap.
    rows: BTreeMap<u64, EndedKey>,
    /// How many are in rows.
    in_rows: usize,
    /// How many of the client's tasks have ended: the rank of the last.
    finished: u64,
    /// Outcomes up to this rank were sent on this connection.
    sent_to: u64,
    /// Result bytes that the client has not acknowledged, sent or not.
    result_bytes: u64,
    /// Of these, the ones on their way.
    sent_bytes: u64,
    /// The client has left so much unread that its tasks wait.
    blocked: bool,
}

impl Line {
    /// How many outcomes the client has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.waiting.len() + self.in_rows
    }

    /// How many of the client's tasks have ended since it came.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Results {
    ends: Arena<OutcomeKey, StoredOutcome>,
    rows: Arena<EndedKey, EndedRow>,
    /// How many are in rows.
    in_rows: usize,
    lines: SecondaryMap<ClientKey, Line>,
    /// Result bytes that clients have not acknowledged, all together.
    unread_bytes: u64,
    unreleased: Unreleased,
    /// Results that each worker may forget, to be said at the end of the batch.
    acks: SecondaryMap<WorkerKey, Vec<Attempt>>,
    /// Workers that have any.
    acks_due: VecDeque<WorkerKey>,
    limits: Limits,
}

/// The settings that bound what clients may leave unread.
#[derive(Clone, Debug)]
struct Limits {
    client_result_bytes: u64,
    unread_bytes: u64,
    memory: u64,
    outcome_window: u64,
    unreleased_bytes: u64,
}

impl Results {
    pub(super) fn new(config: &ManagerConfig) -> Self {
        Self {
            ends: Arena::default(),
            rows: Arena::default(),
            in_rows: 0,
            lines: SecondaryMap::default(),
            unread_bytes: 0,
            unreleased: Unreleased::default(),
            acks: SecondaryMap::default(),
            acks_due: VecDeque::new(),
            limits: Limits {
                client_result_bytes: config.client_result_bytes,
                unread_bytes: config.unread_bytes,
                memory: config.memory,
                outcome_window: config.inner.outcome_window,
                unreleased_bytes: config.inner.unreleased_bytes,
            },
        }
    }

    /// Opens the line of a client that is new here.
    pub(super) fn open(&mut self, client: ClientKey) {
        self.lines.reach(client);
    }

    /// Closes the line of a client that has left, and waits for nothing any more.
    pub(super) fn close(&mut self, client: ClientKey) {
        debug_assert_eq!(self.lines[client].unacknowledged(), 0);
        self.lines[client] = Line::default();
    }

    /// The outcomes of a client's tasks.
    pub(super) fn of(&self, client: ClientKey) -> &Line {
        &self.lines[client]
    }

    /// How many outcomes wait to be acknowledged.
    pub(super) fn len(&self) -> usize {
        self.ends.len() + self.in_rows
    }

    /// An outcome of so many bytes waits for its client. Its worker may forget the result when the
    /// client has it, and at `due` all the same.
    pub(super) fn add(
        &mut self,
        client: ClientKey,
        (task, seq): (TaskKey, u64),
        outcome: Outcome,
        bytes: u64,
        release: Option<(Assignee, Instant)>,
    ) -> OutcomeKey {
        let line = &mut self.lines[client];
        line.finished += 1;
        let rank = line.finished;
        let end = self.ends.insert(StoredOutcome {
            client,
            task,
            seq,
            rank,
            outcome,
            release: release.map(|(assignee, _)| assignee),
            bytes,
        });
        line.result_bytes += bytes;
        line.waiting.insert(rank, end);
        self.unread_bytes += bytes;
        if let Some((assignee, due)) = release {
            let attempt = assignee.attempt;
            let entry = Entry {
                due,
                held: Held::One { end, attempt },
            };
            self.unreleased.push(entry, 1, counted(bytes));
        }
        end
    }

    /// The client has this outcome, or is gone; says which result its worker may forget now.
    pub(super) fn remove(&mut self, key: OutcomeKey) -> Option<Assignee> {
        let end = self.ends.remove(key);
        if end.release.is_some() {
            self.unreleased.released(end.bytes);
        }
        self.unread_bytes -= end.bytes;
        let line = &mut self.lines[end.client];
        line.result_bytes -= end.bytes;
        line.waiting.remove(end.rank);
        if end.rank <= line.sent_to {
            line.sent_bytes -= end.bytes;
        }
        end.release
    }

    /// After a reconnect every outcome that is not acknowledged is to be sent again.
    pub(super) fn rewind(&mut self, client: ClientKey) {
        let line = &mut self.lines[client];
        line.sent_bytes = 0;
        line.sent_to = 0;
    }

    /// The next outcome to be sent to this client, if it may have one more: so many bytes go ahead of
    /// its acknowledgements.
    pub(super) fn next_to_send(&mut self, client: ClientKey) -> Option<ToSend<'_>> {
        let line = &mut self.lines[client];
        if line.sent_to >= line.finished || line.sent_bytes >= self.limits.outcome_window {
            return None;
        }
        // Mostly the next; those that went before they were sent leave gaps.
        let next = line.sent_to + 1;
        let alone = line.waiting.get(next).map(|_| next);
        let in_row = match alone {
            Some(_) => None,
            None => line.next_in_row(&self.rows, next),
        };
        let alone = alone.or_else(|| line.waiting.first_above(next));
        let (rank, end, bytes) = match (alone, in_row) {
            (Some(rank), in_row) if in_row.is_none_or(|(other, ..)| rank < other) => {
                let end = &self.ends[*line.waiting.get(rank)?];
                (rank, ToSend::Alone(end), end.bytes)
            }
            (_, in_row) => {
                let (rank, key, at) = in_row?;
                let (end, bytes) = self.rows[key].outcome(at);
                (rank, end, bytes)
            }
        };
        line.sent_to = rank;
        line.sent_bytes += bytes;
        Some(end)
    }

    /// Whether this client, of so many, has left too much unread, if that has changed. Where all together
    /// are past their bound, its own is an even share of that: so those who leave little are not held
    /// up, and all leave less than twice the bound, but for what was on its way.
    pub(super) fn block(&mut self, client: ClientKey, clients: usize) -> Option<bool> {
        let mut limit = self.limits.client_result_bytes;
        if self.unread_bytes > self.limits.unread_bytes {
            limit = limit.min(self.limits.unread_bytes / clients.max(1) as u64);
        }
        let line = &mut self.lines[client];
        let blocked = line.result_bytes > limit;
        if blocked == line.blocked {
            return None;
        }
        line.blocked = blocked;
        Some(blocked)
    }

    /// Whether all clients together leave more outcomes unacknowledged than there is memory for, and
    /// this one at least an even share of that; past twice as much, any at all. It is to take some before
    /// it submits more. The second step is for clients that come one after the other: the share of
    /// each was larger when it came.
    pub(super) fn is_over_share(&self, client: ClientKey, clients: usize) -> bool {
        let bytes = |outcomes: usize| outcomes as u64 * OUTCOME_BYTES;
        let (all, memory) = (bytes(self.len()), self.limits.memory);
        let share = if all > memory.saturating_mul(2) {
            OUTCOME_BYTES
        } else {
            (memory / clients.max(1) as u64).max(OUTCOME_BYTES)
        };
        all > memory && bytes(self.of(client).unacknowledged()) >= share
    }

    /// Whether workers hold more results for clients than they should.
    pub(super) fn is_unreleased_full(&self) -> bool {
        self.unreleased.exceeds(self.limits.unreleased_bytes)
    }

    /// When the oldest result that a worker holds may be forgotten whatever its client says.
    pub(super) fn next_release(&mut self) -> Option<Instant> {
        loop {
            let oldest = self.unreleased.front()?;
            if self.is_waiting(oldest) {
                return Some(oldest.due);
            }
            self.unreleased.pop();
        }
    }

    /// Whether the oldest result may be forgotten by now, whatever its client says.
    pub(super) fn is_release_due(&self, now: Instant) -> bool {
        let oldest = self.unreleased.front();
        oldest.is_some_and(|oldest| oldest.due <= now)
    }

    /// Takes out the oldest result that may wait for its acknowledgement, and says whose it is if it
    /// does.
    pub(super) fn release_oldest(&mut self) -> Option<Released> {
        let oldest = self.unreleased.pop()?;
        if !self.is_waiting(oldest) {
            return None;
        }
        match oldest.held {
            Held::One { end, .. } => {
                let end = self.ends.get_mut(end)?;
                let assignee = end.release.take()?;
                self.unreleased.released(end.bytes);
                let (client, seq) = (end.client, end.seq);
                Some(Released {
                    client,
                    seq,
                    assignee,
                })
            }
            Held::Row { row, next, .. } => self.release_in_row(row, next),
        }
    }

    fn is_waiting(&self, entry: Entry) -> bool {
        match entry.held {
            Held::One { end, attempt } => {
                let end = self.ends.get(end);
                let assignee = end.and_then(|end| end.release);
                assignee.is_some_and(|assignee| assignee.attempt == attempt)
            }
            Held::Row {
                row,
                client,
                first,
                next,
                ..
            } => self.is_held_in_row(row, client, first, next),
        }
    }

    /// Lets a worker forget a result, at the end of the batch.
    pub(super) fn ack(&mut self, assignee: Assignee) {
        let acks = self.acks.reach(assignee.worker);
        if acks.is_empty() {
            self.acks_due.push_back(assignee.worker);
        }
        acks.push(assignee.attempt);
    }

    /// The worker is away: what it may forget is found out when it comes back.
    pub(super) fn drop_acks(&mut self, worker: WorkerKey) {
        self.acks.reach(worker).clear();
    }

    /// The session of this worker ends.
    pub(super) fn forget_worker(&mut self, worker: WorkerKey) {
        self.drop_acks(worker);
        self.acks_due.retain(|due| *due != worker);
    }

    /// The next worker that may forget results, and which. The list is to be given back, for its space.
    pub(super) fn next_acks(&mut self) -> Option<(WorkerKey, Vec<Attempt>)> {
        let worker = self.acks_due.pop_front()?;
        step();
        Some((worker, core::mem::take(self.acks.reach(worker))))
    }

    /// Takes back a list whose acknowledgements were sent.
    pub(super) fn give_back(&mut self, worker: WorkerKey, mut acks: Vec<Attempt>) {
        acks.clear();
        *self.acks.reach(worker) = acks;
    }

    /// Asserts that lines and counts agree with the ends.
    pub(super) fn check_invariants(&self) {
        let (mut waiting, mut unread) = (0, 0);
        for (client, line) in self.lines.iter() {
            let (mut bytes, mut sent) = (0, 0);
            for (rank, key) in line.waiting.iter() {
                let end = &self.ends[*key];
                assert_eq!(
                    (end.client, end.rank),
                    (client, rank),
                    "outcomes are in line"
                );
                bytes += end.bytes;
                if rank <= line.sent_to {
                    sent += end.bytes;
                }
            }
            let (in_rows, sent_in_rows) = self.check_line_rows(client, line);
            bytes += in_rows;
            sent += sent_in_rows;
            waiting += line.unacknowledged();
            unread += bytes;
            assert_eq!(bytes, line.result_bytes);
            assert_eq!(sent, line.sent_bytes);
            assert!(line.blocked || bytes <= self.limits.client_result_bytes);
            assert!(!line.blocked || bytes > 0, "who has read all is served");
        }
        assert_eq!(waiting, self.len());
        assert_eq!(unread, self.unread_bytes);
        let held = self.ends.iter().filter(|(_, end)| end.release.is_some());
        let held = held.map(|(_, end)| end.bytes).chain(self.held_in_rows());
        self.unreleased.check_invariants(held);
    }
}

impl Index<OutcomeKey> for Results {
    type Output = StoredOutcome;

    fn index(&self, key: OutcomeKey) -> &StoredOutcome {
        &self.ends[key]
    }
}
