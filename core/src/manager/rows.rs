//! Rows, as they concern several owners at once: tasks that go to a worker together, and of which there is
//! one record for as long as nothing befalls them but that they complete and their client takes the
//! outcomes.
//!
//! A row is an encoding: all that is decided, said and counted is as if each task had its own record. What
//! concerns one of them alone first makes it [leave](Manager::leave_row).

use alloc::vec::Vec;

use crate::ids::{Attempt, ConnId};
use crate::limits::ROW_TASKS_MAX;
use crate::message::{Assignments, Completed, End, Numbered as _, ReportedAttempt};
use crate::payload::{Content, Payload};
use crate::queue::{ClassId, ClientKey, RunKey, TaskKey};
use crate::router::WorkerKey;
use crate::steps::step;
use crate::time::{Instant, Nanos};

use super::Manager;
use super::keys::{Assignee, RowKey};
use super::parts::Parts;
use super::peers::Occupied;
use super::placement::Turn;
use super::results::Ended;
use super::tasks::{Assigned, Place, Places, attempt_at, each};

/// Attempts that completed, as a worker says of one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finishes<'a> {
    pub(super) first: ReportedAttempt,
    pub(super) content: Content,
    pub(super) ends: &'a [End],
    /// The results, one after the other.
    pub(super) results: &'a [u8],
}

impl Finishes<'_> {
    /// What would be said of the first alone.
    pub(super) fn alone(self) -> Option<(ReportedAttempt, Nanos, Payload)> {
        let end = self.ends.first()?;
        let ended = self.first.plus(end.offset.into())?;
        let result = self.results.get(..end.size as usize)?;
        let result = Payload::copy_from_slice(self.content, result);
        Some((ended, Nanos(end.ran.into()), result))
    }
}

impl Manager {
    /// Gives a worker the tasks with which a turn goes on that are first in a run, if they are enough for a
    /// row. Says how many.
    pub(super) fn give_row(
        &mut self,
        now: Instant,
        turn: &mut Turn,
        run: RunKey,
        class: ClassId,
        worker: WorkerKey,
    ) -> usize {
        let Some(conn) = self.workers[worker].peer.conn else {
            return 0;
        };
        let waiting = self.tasks.run(run);
        let (name, beside) = (waiting.name_key, waiting.name.as_str().len() as u32);
        let (fits, charged) = self
            .placement
            .fitting(turn, run, name, beside, ROW_TASKS_MAX);
        if fits < self.config.inner.waiting_run || !self.connections.has_runs(conn) {
            return 0;
        }
        let Some(taken) = self.placement.take_row(turn, run, beside, fits) else {
            return 0;
        };
        let assigned = Assigned {
            first: Assignee {
                worker,
                attempt: self.tasks.new_attempts(fits),
            },
            connection: self.workers[worker].peer.connection,
            at: now,
            class,
            charged,
        };
        let sizes = taken.sizes();
        let bytes = taken.first.payload.len() as u64 + u64::from(beside) * fits as u64;
        let row = self.tasks.assign_row(taken, assigned);
        self.workers
            .occupy_row(now, assigned.first, row, fits as u32, bytes);
        self.send_assignments(now, conn, row, &sizes);
        fits
    }

    fn send_assignments(&mut self, now: Instant, conn: ConnId, row: RowKey, sizes: &[u32]) {
        let awake = self.schedule.awake(now);
        let row = self.tasks.row(row);
        let all = Assignments {
            first: row.assignment(),
            content: row.arguments().content(),
            sizes,
            arguments: row.arguments().all(),
        };
        self.connections.send_row(
            awake,
            conn,
            all.len(),
            |last, from| last.assign_row_too(&all, from),
            |from| all.message(from),
        );
    }

    /// Takes in that the first of these completed, as many as are of one row and need no more than that
    /// their client is told. Says how many.
    pub(super) fn finish_in_row(
        &mut self,
        now: Instant,
        worker: WorkerKey,
        said: Finishes<'_>,
    ) -> usize {
        let Some((key, ends)) = self.ends_in_row(worker, said) else {
            return 0;
        };
        self.observe_row(now, worker, key, &ends);
        let row = self.tasks.row(key);
        let (client, first) = (row.client, row.assigned.first);
        let ended = Ended {
            client,
            first: Completed {
                seq: row.id.seq,
                waited: row.assigned.at.since(row.accepted_at).into(),
                charged: 0,
                worker: self.workers[worker].peer.name.clone(),
            },
            attempts: first,
        };
        let mut bound = 0;
        let bounds = ends.iter().map(|end| {
            bound += end.size;
            bound
        });
        let bounds: Vec<u32> = bounds.collect();
        let results = said.results.get(..bound as usize).unwrap_or_default();
        let results = Parts::new(said.content, results, bounds);
        let (tasks, due) = (ends.len(), now + self.config.inner.result_ack);
        let places = ends.iter().fold(0, |places, end| places | 1 << end.offset);
        let with = self.results.add_row(due, ended, &ends, results);
        let bytes = self.tasks.end_of_row(key, places, with);
        let is_over = self.tasks.row(key).with_worker() == 0;
        self.workers.vacate_row(first, tasks as u32, bytes, is_over);
        self.update_blocked(client);
        if let Some(conn) = self.clients[client].peer.conn {
            let awake = self.schedule.awake(now);
            let connections = &mut self.connections;
            self.results.completions(with, &ends, |all| {
                connections.send_row(
                    awake,
                    conn,
                    all.len(),
                    |last, from| last.complete_row_too(all, from),
                    |from| all.message(from),
                );
            });
        }
        tasks
    }

    /// Learns from attempts of a row that completed, counted from its first, and counts them.
    fn observe_row(&mut self, now: Instant, worker: WorkerKey, key: RowKey, ends: &[End]) {
        let row = self.tasks.row(key);
        let (name, charged) = (row.name_key, row.assigned.charged);
        let flow = (row.client, row.assigned.class, row.options.priority);
        self.workers.progressed(now, worker);
        self.workers.completed(worker, ends.len() as u32);
        for end in ends {
            self.placement.completed(worker, name, end.ran.into());
            self.placement.trust(worker, name);
        }
        self.placement.rescore_later(worker);
        let ran = ends.iter().map(|end| u64::from(end.ran).max(1));
        self.placement.correct_row(flow, charged, ran);
        self.totals.completed += ends.len() as u64;
        self.placement.ended(now, ends.len());
    }

    /// The first of these that are of one row, as many as can go at once, and the row: each counted from
    /// its first.
    fn ends_in_row(&self, worker: WorkerKey, said: Finishes<'_>) -> Option<(RowKey, Vec<End>)> {
        let first = said.first.attempt;
        let number = first.number + u64::from(said.ends.first()?.offset);
        let attempt = Attempt { number, ..first };
        let (key, _) = self.workers[worker].row_around(attempt)?;
        let row = self.tasks.row(key);
        let conn = self.clients[row.client].peer.conn?;
        let is_plain =
            self.connections.has_runs(conn) && !self.placement.candidate(worker).is_doubted();
        let mut room = self.results.line_room(row.client).filter(|_| is_plain)?;
        let from = row.assigned.first.attempt.number;
        let mut places = row.with_worker();
        let beside = self.workers[worker].peer.name.as_str().len();
        let mut ends = Vec::with_capacity(said.ends.len().min(ROW_TASKS_MAX));
        for end in said.ends {
            step();
            let number = first.number + u64::from(end.offset);
            let place = number
                .checked_sub(from)
                .filter(|place| *place < ROW_TASKS_MAX as u64);
            let Some(place) = place.filter(|place| places >> place & 1 == 1) else {
                break;
            };
            if !room.take(u64::from(end.size) + beside as u64) {
                break;
            }
            places &= !(1 << place);
            let offset = place as u16;
            ends.push(End { offset, ..*end });
        }
        (ends.len() >= self.config.inner.waiting_run).then_some((key, ends))
    }

    /// Gives a task of a row a record of its own, unless it has ended.
    pub(super) fn leave_row(&mut self, key: RowKey, place: u8) -> Option<TaskKey> {
        let row = self.tasks.row(key);
        if row.with_worker() >> place & 1 == 0 {
            return None;
        }
        let (assigned, attempt) = (row.assigned, row.attempt(place));
        let is_over = row.with_worker().count_ones() == 1;
        let bytes = row.bytes(place);
        let task = self.tasks.leave_row(key, place);
        let occupied = Occupied::of_row(task, assigned.at, bytes, assigned.connection);
        self.workers
            .leave_row(assigned.first, attempt, occupied, is_over);
        Some(task)
    }

    /// Gives the task of this attempt a record of its own, if it is in a row.
    pub(super) fn leave_row_of(&mut self, worker: WorkerKey, attempt: Attempt) {
        if let Some((row, place)) = self.workers[worker].row_around(attempt) {
            self.leave_row(row, place);
        }
    }

    /// Gives all tasks in rows of a worker records of their own.
    pub(super) fn leave_rows(&mut self, worker: WorkerKey) {
        let rows: Vec<RowKey> = self.workers[worker].rows().collect();
        for row in rows {
            for place in each(self.tasks.row(row).with_worker()) {
                step();
                self.leave_row(row, place);
            }
        }
    }

    /// The newest attempt of a worker, of those below this one.
    pub(super) fn newest_attempt(
        &self,
        worker: WorkerKey,
        below: Option<Attempt>,
    ) -> Option<Attempt> {
        let session = &self.workers[worker];
        let alone = match below {
            Some(below) => session.attempts.last_below(below),
            None => session.attempts.last(),
        };
        let newest_in = |key: RowKey| self.tasks.row(key).newest_attempt(below);
        // Of the newest that begins below, all that are may be gone.
        let mut rows = session.rows_below(below).inspect(|_| step());
        let in_row = rows.find_map(newest_in);
        alone.max(in_row)
    }

    /// Removes every trace of the lowest tasks of a client, of those that do not wait in runs: of all up to
    /// `last` that are in one place. Says whether there were any.
    pub(super) fn forget_lowest(&mut self, now: Instant, client: ClientKey, last: u64) -> bool {
        let account = self.tasks.of(client);
        let alone = account.first();
        if let Some(key) = account.first_row() {
            let row = self.tasks.row(key);
            // Of those in the row, the ones before the first that is alone.
            let before = alone.map_or(Some(u64::MAX), |(seq, _)| seq.checked_sub(1));
            let last = before.map(|before| before.min(last));
            let places = last.map_or(0, |last| row.places_up_to(last));
            let places = places & (row.with_worker() | row.ended());
            if places != 0 {
                self.forget_in_row(now, key, places);
                return true;
            }
        }
        let alone = alone.filter(|(seq, _)| *seq <= last);
        if let Some((_, task)) = alone {
            self.forget(now, task);
        }
        alone.is_some()
    }

    /// Removes every trace of these tasks of a row, in the order of their places.
    pub(super) fn forget_in_row(&mut self, now: Instant, key: RowKey, places: Places) {
        let mut rest = places;
        while rest != 0 {
            step();
            let running = self.tasks.row(key).with_worker() & rest;
            // What is to be said of one that runs has its place among the others.
            let next = running & running.wrapping_neg();
            let ended = rest & next.wrapping_sub(1);
            if ended != 0 {
                self.forget_ended(key, ended);
            }
            if next != 0
                && let Some(task) = self.leave_row(key, next.trailing_zeros() as u8)
            {
                self.forget(now, task);
            }
            rest &= !(ended | next);
        }
    }

    /// Removes every trace of these tasks of a row, which have ended.
    fn forget_ended(&mut self, key: RowKey, places: Places) {
        let row = self.tasks.row(key);
        let first = row.assigned.first;
        let mut held = 0;
        for (ended, with) in &row.ended {
            step();
            if ended & places != 0 {
                held |= self.results.remove_of_row(*with, ended & places);
            }
        }
        for place in each(held) {
            let attempt = attempt_at(first.attempt, place);
            self.ack(Assignee { attempt, ..first });
        }
        self.tasks.forget_of_row(key, places);
    }

    /// Which attempt has its result with a worker that the client has yet to acknowledge, of a task that
    /// has ended in a row.
    pub(super) fn holder_in_row(&self, place: Place) -> Option<Assignee> {
        let Place::InRow(row, place) = place else {
            return None;
        };
        let with = self.tasks.row(row).ended_with(place)?;
        self.results.holder(with, place)
    }
}
