//! What a worker reports after a reconnect: the manager adopts each attempt, matches it with a task
//! that comes back, or ends it.

use alloc::vec::Vec;

use crate::event::{CloseReason, Event};
use crate::ids::{Attempt, TaskId};
use crate::limits::{HELD_RESULTS_DEFAULT, WINDOW_MAX};
use crate::message::{Report, ReportedAttempt, ToWorker};
use crate::protocol_error::ProtocolError;
use crate::queue::TaskKey;
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::AttemptLoss;
use crate::time::Instant;

use super::Manager;
use super::keys::Assignee;
use super::peers::{Occupied, Purpose};
use super::placement::NOBODY;
use super::schedule::PeerTimer;
use super::tasks::{Place, TaskState};

impl Manager {
    pub(super) fn on_report(&mut self, now: Instant, key: WorkerKey, report: &Report) {
        self.leave_rows(key);
        let session = &self.workers[key];
        let known = session.attempts.len() + self.orphans.results_at(key);
        if known + report.running.len() + report.finished.len()
            > 2 * WINDOW_MAX as usize + HELD_RESULTS_DEFAULT
            && let Some(conn) = session.peer.conn
        {
            let reason = CloseReason::Protocol(ProtocolError::ReportTooLong);
            return self.close(now, conn, reason);
        }
        let running = report.running.iter().map(|reported| (*reported, false));
        let finished = report.finished.iter().map(|reported| (*reported, true));
        for (reported, finished) in running.chain(finished) {
            step();
            self.on_reported(now, key, reported, finished);
            if self.workers[key].peer.conn.is_none() {
                // Its report cannot be true, so the rest is not read. Its attempts are given
                // up on by now, and nothing may be placed there any more.
                return;
            }
        }
        if report.last {
            self.finish_report(now, key);
        }
    }

    /// What was assigned and is not reported has not started, unless the worker was with another
    /// manager meanwhile, which may have taken its result, or has said before that it started.
    fn finish_report(&mut self, now: Instant, key: WorkerKey) {
        let elsewhere = self.workers.reported(key);
        // A result that it had and has no more was taken by another manager.
        let taken = self.orphans.unreported(key);
        let session = &self.workers[key];
        let missing: Vec<(Attempt, bool)> = session
            .attempts
            .iter()
            .inspect(|_| step())
            .filter(|(_, occupied)| !session.has_seen(occupied))
            .map(|(attempt, occupied)| (attempt, occupied.started))
            .collect();
        let mut unasked = false;
        for (attempt, started) in missing {
            if elsewhere || started {
                self.lose_attempt(now, key, attempt, AttemptLoss::WorkerGone);
            } else {
                unasked |= self.on_not_started(now, key, attempt);
            }
        }
        if unasked {
            self.doubt_return(now, key);
        }
        for (attempt, id) in taken {
            let assignee = Assignee {
                worker: key,
                attempt,
            };
            if self.orphans.take_result(assignee).is_some() {
                self.forget_orphan(id, assignee);
            }
        }
        // Ends that were asked for while it was away.
        let is_due = |purpose: &Purpose| match purpose {
            Purpose::Obsolete => true,
            Purpose::Live(task) => self.tasks[*task].ending.is_some(),
            Purpose::Orphan(_) => false,
        };
        let attempts = self.workers[key].attempts.iter();
        let due: Vec<Attempt> = attempts
            .filter(|(_, occupied)| is_due(&occupied.purpose))
            .map(|(attempt, _)| attempt)
            .collect();
        for attempt in due {
            self.say_to_worker(now, key, ToWorker::Kill { attempt });
        }
        self.rescore(key);
    }

    fn say_to_worker(&mut self, now: Instant, key: WorkerKey, body: ToWorker) {
        if let Some(conn) = self.workers[key].peer.conn {
            self.send(now, conn, body);
        }
    }

    fn on_reported(
        &mut self,
        now: Instant,
        key: WorkerKey,
        reported: ReportedAttempt,
        finished: bool,
    ) {
        let ReportedAttempt { attempt, task: id } = reported;
        let assignee = Assignee {
            worker: key,
            attempt,
        };
        if self.tasks.is_invented(attempt) {
            if let Some(conn) = self.workers[key].peer.conn {
                let reason = CloseReason::Protocol(ProtocolError::UnknownAttempt);
                self.close(now, conn, reason);
            }
            return;
        }
        if let Some(purpose) = self.workers.seen(assignee) {
            if let Purpose::Live(task) = purpose {
                self.reclaim(now, task, assignee);
                if !finished {
                    self.streams_at_worker(now, assignee);
                }
            }
            if finished {
                self.say_to_worker(now, key, ToWorker::Resend { attempt });
            }
            return;
        }
        if self.orphans.is_reported_result(assignee) {
            return;
        }
        match self.find_task(id) {
            Some(Place::Record(task)) if self.tasks[task].may_be_claimed_by(attempt) => {
                self.on_reported_task(now, task, assignee, finished);
            }
            // Its outcome stands.
            Some(place) if self.holder_in_row(place) == Some(assignee) => {}
            // Nobody but who it is with can have anything of it.
            Some(Place::Record(_) | Place::InRun(..) | Place::InRow(..)) => {
                self.discard(now, assignee, finished);
            }
            None if self.is_over(id, attempt) => self.discard(now, assignee, finished),
            None => self.keep_orphan(now, assignee, id, finished),
        }
    }

    /// A returning attempt that was given up on: it is the task's own again if no other was
    /// assigned since.
    fn reclaim(&mut self, now: Instant, task: TaskKey, assignee: Assignee) {
        let is_queued = matches!(self.tasks[task].state, TaskState::Queued);
        if is_queued && self.tasks.drop_superseded(task, assignee) {
            self.tasks.refund(task, assignee.attempt);
            self.adopt(now, task, assignee);
        }
    }

    /// A worker has an attempt of a task that is here, under a name that is not known here: from
    /// an earlier manager, or an earlier session.
    fn on_reported_task(
        &mut self,
        now: Instant,
        task: TaskKey,
        assignee: Assignee,
        finished: bool,
    ) {
        let id = self.tasks[task].id;
        match self.tasks[task].state {
            TaskState::Ended(end) => {
                if self.results[end].release != Some(assignee) {
                    self.discard(now, assignee, finished);
                }
                return;
            }
            TaskState::Queued | TaskState::Unclaimed
                if !finished && !self.streams.may_go_on(id, assignee.attempt) =>
            {
                return self.discard(now, assignee, finished);
            }
            TaskState::Queued | TaskState::Unclaimed => self.adopt(now, task, assignee),
            TaskState::Assigned { .. } | TaskState::Detached => {
                self.tasks.supersede(task, assignee);
            }
        }
        self.occupy(now, assignee, Purpose::Live(task));
        if finished {
            self.say_to_worker(
                now,
                assignee.worker,
                ToWorker::Resend {
                    attempt: assignee.attempt,
                },
            );
        }
    }

    /// Makes a waiting task the one that this attempt is for.
    fn adopt(&mut self, now: Instant, task: TaskKey, assignee: Assignee) {
        match self.tasks[task].state {
            TaskState::Queued => {
                self.placement.withdraw(task);
            }
            TaskState::Unclaimed => self.claim(task),
            TaskState::Detached | TaskState::Assigned { .. } | TaskState::Ended(_) => {
                debug_assert!(false, "only waiting tasks are adopted");
            }
        }
        self.place(now, task, assignee);
    }

    /// Counts a task as assigned to a worker that already has it.
    pub(super) fn place(&mut self, now: Instant, task: TaskKey, assignee: Assignee) {
        let record = &self.tasks[task];
        let (id, at) = (record.id, record.times.accepted_at);
        self.tasks.assign(task, assignee, at, NOBODY, 0);
        self.notify(Event::AttemptAdopted {
            task: id,
            attempt: assignee.attempt,
        });
        self.adopt_streams(now, id, assignee);
    }

    fn occupy(&mut self, now: Instant, assignee: Assignee, purpose: Purpose) {
        self.workers
            .occupy(assignee, Occupied::reported(purpose, now));
    }

    /// Whether a task that is not here is known to be over: it was of this life and is gone, or
    /// its client says so.
    fn is_over(&self, id: TaskId, attempt: Attempt) -> bool {
        let client = self.clients.find(id.client);
        let below_floor = client.is_some_and(|client| id.seq < self.tasks.of(client).floor());
        below_floor || attempt.epoch == self.config.epoch
    }

    /// Nobody wants the attempt: it is killed, or its result forgotten.
    fn discard(&mut self, now: Instant, assignee: Assignee, finished: bool) {
        if finished {
            self.ack(assignee);
        } else {
            // It is killed when the report is complete, and occupies a slot until then.
            self.occupy(now, assignee, Purpose::Obsolete);
        }
    }

    /// The attempt's client has yet to return, or to submit the task again.
    fn keep_orphan(&mut self, now: Instant, assignee: Assignee, id: TaskId, finished: bool) {
        let Assignee { worker, attempt } = assignee;
        if self.orphans.len() >= self.config.inner.orphans {
            return self.discard(now, assignee, finished);
        }
        self.orphans.insert(id, assignee);
        if finished {
            self.orphans.add_result(id, assignee);
        } else {
            self.occupy(now, assignee, Purpose::Orphan(id));
        }
        let until = self.schedule.awake(now) + self.config.resume_timeout;
        let timer = PeerTimer::Orphan(worker, attempt);
        self.schedule.peers.set(timer, until);
        self.notify(Event::OrphanKept { task: id, attempt });
    }

    /// An orphan is settled, one way or another.
    pub(super) fn forget_orphan(&mut self, id: TaskId, assignee: Assignee) {
        let Assignee { worker, attempt } = assignee;
        self.orphans.remove(id, assignee);
        self.schedule
            .peers
            .cancel(PeerTimer::Orphan(worker, attempt));
    }

    /// The client of an orphan did not come back in time.
    pub(super) fn drop_orphan(&mut self, now: Instant, key: WorkerKey, attempt: Attempt) {
        let assignee = Assignee {
            worker: key,
            attempt,
        };
        if let Some(id) = self.orphans.take_result(assignee) {
            self.forget_orphan(id, assignee);
            return self.ack(assignee);
        }
        let session = &self.workers[key];
        if let Some(occupied) = session.attempts.get(attempt)
            && let Purpose::Orphan(id) = occupied.purpose
        {
            let reported = session.reported;
            self.workers.set_purpose(assignee, Purpose::Obsolete);
            self.forget_orphan(id, assignee);
            if reported {
                self.say_to_worker(now, key, ToWorker::Kill { attempt });
            }
        }
    }

    /// A client submits the task for the first time, so no worker can have it.
    pub(super) fn refute_orphans(&mut self, now: Instant, id: TaskId) {
        for Assignee { worker, attempt } in self.orphans.of(id) {
            self.drop_orphan(now, worker, attempt);
        }
    }

    /// Matches a task that came back with the attempts that workers reported of it. True if one
    /// has it now.
    pub(super) fn match_orphans(&mut self, now: Instant, task: TaskKey) -> bool {
        let id = self.tasks[task].id;
        let mut found = self.orphans.of(id);
        // A connected worker is more likely to finish it.
        found.sort_by_key(|assignee| self.workers[assignee.worker].released);
        for &assignee in &found {
            let Assignee { worker, attempt } = assignee;
            let runs = self.workers[worker].attempts.get(attempt).is_some();
            if runs && !self.streams.may_go_on(id, attempt) {
                self.drop_orphan(now, worker, attempt);
                continue;
            }
            self.forget_orphan(id, assignee);
            if self.orphans.take_result(assignee).is_some() {
                self.occupy(now, assignee, Purpose::Live(task));
                self.say_to_worker(now, worker, ToWorker::Resend { attempt });
            } else {
                self.workers.set_purpose(assignee, Purpose::Live(task));
            }
            if self.tasks[task].assignee().is_none() {
                self.place(now, task, assignee);
            } else {
                self.tasks.supersede(task, assignee);
            }
            self.rescore(worker);
            self.notify(Event::OrphanMatched { task: id, attempt });
        }
        self.tasks[task].assignee().is_some()
    }
}
