//! Outcomes of tasks of a row that completed together, of which there is one record.
//!
//! It counts as if each were alone: in its client's line, against every bound, and until when its worker
//! holds the result.

use alloc::vec::Vec;

use crate::arena::Arena;
use crate::ids::Attempt;
use crate::manager::keys::{Assignee, EndedKey};
use crate::manager::parts::Parts;
use crate::manager::tasks::{Places, attempt_at};
use crate::message::{Completed, Completions, End};
use crate::payload::Payload;
use crate::queue::ClientKey;
use crate::steps::step;
use crate::time::{Instant, Nanos};

use super::unreleased::{Entry, Held, counted};
use super::{Line, Released, Results, ToSend};

/// What is the same for outcomes of a row.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Ended {
    pub(in crate::manager) client: ClientKey,
    /// The first task of the row, and its attempt.
    pub(in crate::manager) first: Completed,
    pub(in crate::manager) attempts: Assignee,
}

/// A task that completed.
#[derive(Clone, Copy, Debug)]
struct One {
    place: u8,
    /// How many ended before it of these.
    rank: u8,
    ran: u32,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct EndedRow {
    of: Ended,
    /// Rank of the first among the ends of the client's tasks.
    rank: u64,
    /// In the order of their ends, and those that have left.
    ones: Vec<One>,
    /// The results of these.
    results: Parts,
    /// Places of those that are not acknowledged.
    left: Places,
    /// Results of lower rank are not held by the worker any more.
    released: u8,
}

impl EndedRow {
    fn is_left(&self, one: One) -> bool {
        self.left >> one.place & 1 == 1
    }

    /// Where the task of this place is among these.
    fn find(&self, place: u8) -> Option<usize> {
        // Mostly in the order of their places, with nobody gone.
        let guess = self.ones.first()?.place;
        let guess = usize::from(place.saturating_sub(guess));
        if self.ones.get(guess).is_some_and(|one| one.place == place) {
            return Some(guess);
        }
        self.ones.iter().position(|one| one.place == place)
    }

    /// Bytes of an outcome.
    fn bytes(&self, at: usize) -> u64 {
        (self.results.size(at) + self.of.first.worker.as_str().len()) as u64
    }

    fn attempt(&self, one: One) -> Attempt {
        attempt_at(self.of.attempts.attempt, one.place)
    }

    /// The one of this rank, if its result is still held by its worker.
    fn held(&self, rank: u8) -> Option<usize> {
        let at = self.ones.binary_search_by_key(&rank, |one| one.rank).ok()?;
        (rank >= self.released && self.is_left(self.ones[at])).then_some(at)
    }

    /// Drops those that have left, if they are most.
    fn pack(&mut self) {
        if self.results.is_sparse() {
            let (ones, left) = (&self.ones, self.left);
            self.results.pack(|at| left >> ones[at].place & 1 == 1);
            self.ones.retain(|one| left >> one.place & 1 == 1);
        }
    }

    /// One of the outcomes as it is said alone, and its bytes.
    pub(super) fn outcome(&self, at: usize) -> (ToSend<'_>, u64) {
        let mut first = self.of.first.clone();
        first.seq += u64::from(self.ones[at].place);
        let (seq, outcome) = first.outcome(Nanos(self.ones[at].ran.into()));
        let content = self.results.content();
        let result = Payload::copy_from_slice(content, self.results.get(at));
        let end = ToSend::InRow {
            seq,
            outcome,
            result,
        };
        (end, self.bytes(at))
    }
}

/// How much can be added to a client's line and sent at once.
#[derive(Clone, Copy, Debug)]
pub(in crate::manager) struct LineRoom {
    /// Bytes of outcomes that go ahead of their acknowledgements; the last may pass it.
    window: u64,
    /// Bytes of results that workers hold, and how many.
    held: u64,
    tasks: u64,
}

impl LineRoom {
    /// Takes the room for an outcome of so many bytes, if there is any.
    pub(in crate::manager) fn take(&mut self, bytes: u64) -> bool {
        let held = self.held.checked_sub(counted(bytes));
        let Some(held) = held.filter(|_| self.window > 0 && self.tasks > 0) else {
            return false;
        };
        *self = Self {
            window: self.window.saturating_sub(bytes),
            held,
            tasks: self.tasks - 1,
        };
        true
    }
}

impl Line {
    /// Whether all that waits was sent.
    fn is_sent(&self) -> bool {
        self.sent_to >= self.finished
    }

    /// The next outcome in rows that has this rank or a higher one: its rank, its row, and where it is
    /// there.
    pub(super) fn next_in_row(
        &self,
        rows: &Arena<EndedKey, EndedRow>,
        rank: u64,
    ) -> Option<(u64, EndedKey, usize)> {
        let before = self.rows.range(..rank).next_back();
        let after = self.rows.range(rank..).next();
        let in_row = |(first, key): (&u64, &EndedKey)| {
            let row = &rows[*key];
            let mut ones = row.ones.iter().enumerate();
            let (at, one) = ones.find(|(_, one)| {
                step();
                first + u64::from(one.rank) >= rank && row.is_left(**one)
            })?;
            Some((first + u64::from(one.rank), *key, at))
        };
        before.and_then(in_row).or_else(|| after.and_then(in_row))
    }
}

impl Results {
    /// What can be added for this client and sent at once, without another result having to be let go;
    /// nothing if something else waits to be sent.
    pub(in crate::manager) fn line_room(&self, client: ClientKey) -> Option<LineRoom> {
        let (line, limits) = (&self.lines[client], &self.limits);
        let (held, tasks) = self.unreleased.room(limits.unreleased_bytes);
        line.is_sent().then_some(LineRoom {
            window: limits.outcome_window.saturating_sub(line.sent_bytes),
            held,
            tasks,
        })
    }

    /// Outcomes of a row, for which there is [room](Self::line_room), wait for their client, and count as
    /// sent. Their worker may forget the results when the client has them, and at `due` all the same.
    pub(in crate::manager) fn add_row(
        &mut self,
        due: Instant,
        of: Ended,
        ends: &[End],
        results: Parts,
    ) -> EndedKey {
        let client = of.client;
        let line = &mut self.lines[client];
        let rank = line.finished + 1;
        let one = |(rank, end): (u8, &End)| One {
            place: end.offset as u8,
            rank,
            ran: end.ran,
        };
        let ones: Vec<One> = (0..).zip(ends).map(one).collect();
        let tasks = ones.len();
        let row = EndedRow {
            rank,
            left: ones.iter().fold(0, |places, one| places | 1 << one.place),
            ones,
            results,
            released: 0,
            of,
        };
        let (mut bytes, mut held) = (0, 0);
        for at in 0..tasks {
            bytes += row.bytes(at);
            held += counted(row.bytes(at));
        }
        line.finished += tasks as u64;
        line.sent_to = line.finished;
        line.result_bytes += bytes;
        line.sent_bytes += bytes;
        line.in_rows += tasks;
        self.unread_bytes += bytes;
        self.in_rows += tasks;
        let key = self.rows.insert(row);
        line.rows.insert(rank, key);
        let entry = Entry {
            due,
            held: Held::Row {
                row: key,
                client,
                first: rank,
                next: 0,
                tasks: tasks as u8,
            },
        };
        self.unreleased.push(entry, tasks as u64, held);
        key
    }

    /// What a client is told of outcomes of a row.
    pub(in crate::manager) fn completions(
        &self,
        key: EndedKey,
        ends: &[End],
        tell: impl FnOnce(&Completions<'_>),
    ) {
        let row = &self.rows[key];
        let all = Completions {
            first: row.of.first.clone(),
            content: row.results.content(),
            ends,
            results: row.results.all(),
        };
        tell(&all);
    }

    /// The attempt of which a worker holds the result of the task of this place.
    pub(in crate::manager) fn holder(&self, key: EndedKey, place: u8) -> Option<Assignee> {
        let row = &self.rows[key];
        let one = row.ones[row.find(place)?];
        let at = row.held(one.rank)?;
        Some(Assignee {
            attempt: row.attempt(row.ones[at]),
            ..row.of.attempts
        })
    }

    /// The client has the outcomes of the tasks of these places, or is gone; says of which their worker may
    /// forget the results now.
    pub(in crate::manager) fn remove_of_row(&mut self, key: EndedKey, places: Places) -> Places {
        let row = &mut self.rows[key];
        debug_assert_eq!(row.left & places, places);
        let line = &mut self.lines[row.of.client];
        let (mut held, mut bytes, mut sent) = (0, 0, 0);
        for at in 0..row.ones.len() {
            let one = row.ones[at];
            if places >> one.place & 1 == 0 {
                continue;
            }
            let of_one = row.bytes(at);
            bytes += of_one;
            if row.rank + u64::from(one.rank) <= line.sent_to {
                sent += of_one;
            }
            if one.rank >= row.released {
                held |= 1 << one.place;
                self.unreleased.released(of_one);
            }
            row.results.leave(at);
        }
        row.left &= !places;
        let tasks = places.count_ones() as usize;
        line.result_bytes -= bytes;
        line.sent_bytes -= sent;
        line.in_rows -= tasks;
        self.unread_bytes -= bytes;
        self.in_rows -= tasks;
        if row.left == 0 {
            line.rows.remove(&row.rank);
            self.rows.remove(key);
        } else {
            row.pack();
        }
        held
    }

    /// The row of this client whose first has this rank.
    fn row_of(&self, key: EndedKey, client: ClientKey, first: u64) -> Option<&EndedRow> {
        let row = self.rows.get(key);
        row.filter(|row| (row.of.client, row.rank) == (client, first))
    }

    /// Whether the result of this rank in a row waits for its client.
    pub(super) fn is_held_in_row(
        &self,
        key: EndedKey,
        client: ClientKey,
        first: u64,
        rank: u8,
    ) -> bool {
        let row = self.row_of(key, client, first);
        row.is_some_and(|row| row.held(rank).is_some())
    }

    /// The worker may forget the result of this rank in a row, which waits for its client: says which.
    pub(super) fn release_in_row(&mut self, key: EndedKey, rank: u8) -> Option<Released> {
        let row = self.rows.get_mut(key)?;
        let at = row.held(rank)?;
        row.released = rank + 1;
        let (one, bytes) = (row.ones[at], row.bytes(at));
        let assignee = Assignee {
            attempt: row.attempt(one),
            ..row.of.attempts
        };
        let seq = row.of.first.seq + u64::from(one.place);
        let client = row.of.client;
        self.unreleased.released(bytes);
        Some(Released {
            client,
            seq,
            assignee,
        })
    }

    /// Asserts that outcomes in rows are in line, and says what they count for: bytes, and of these what
    /// was sent.
    pub(super) fn check_line_rows(&self, client: ClientKey, line: &Line) -> (u64, u64) {
        let (mut bytes, mut sent, mut tasks) = (0, 0, 0);
        let mut next = 0;
        for (rank, key) in &line.rows {
            let row = &self.rows[*key];
            assert_eq!((row.of.client, row.rank), (client, *rank));
            assert!(*rank >= next, "rows are one after the other");
            let is_left = |at: usize| row.is_left(row.ones[at]);
            row.results.check_invariants(is_left);
            let left = (0..row.ones.len()).filter(|at| is_left(*at));
            let places = left
                .clone()
                .fold(0, |places, at| places | 1 << row.ones[at].place);
            assert_eq!(places, row.left);
            assert!(row.left != 0, "rows that are over are forgotten");
            for at in left {
                let rank = rank + u64::from(row.ones[at].rank);
                bytes += row.bytes(at);
                sent += if rank <= line.sent_to {
                    row.bytes(at)
                } else {
                    0
                };
                tasks += 1;
                next = rank + 1;
            }
        }
        assert_eq!(tasks, line.in_rows);
        (bytes, sent)
    }

    /// Bytes of each result in rows that a worker holds.
    pub(super) fn held_in_rows(&self) -> impl Iterator<Item = u64> + '_ {
        self.rows.iter().flat_map(|(_, row)| {
            let held = row.ones.iter().filter_map(|one| row.held(one.rank));
            held.map(|at| row.bytes(at))
        })
    }

    /// The places of those of a row that its client has not acknowledged.
    pub(in crate::manager) fn left_in_row(&self, key: EndedKey) -> Places {
        self.rows[key].left
    }
}
