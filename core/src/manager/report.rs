//! What a worker has in hand after a reconnect: adopting it, matching it with tasks that come
//! back, or putting an end to it.

use alloc::vec::Vec;

use crate::event::{CloseReason, Event};
use crate::ids::{Attempt, TaskId};
use crate::limits::{HELD_RESULTS_DEFAULT, WINDOW_MAX};
use crate::message::{Body, Report, ReportedAttempt};
use crate::protocol_error::ProtocolError;
use crate::queue::TaskKey;
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::AttemptLoss;
use crate::time::Instant;

use super::abilities::NOBODY;
use super::session::{Occupied, Purpose};
use super::tasks::{Holder, State};
use super::{Manager, PeerTimer};

impl Manager {
    pub(super) fn on_report(&mut self, now: Instant, key: WorkerKey, report: &Report) {
        let session = self.worker(key);
        let known = session.attempts.len() + session.results.len();
        if known + report.running.len() + report.finished.len()
            > 2 * WINDOW_MAX as usize + HELD_RESULTS_DEFAULT
            && let Some(conn) = session.conn
        {
            let reason = CloseReason::Protocol(ProtocolError::ReportTooLong);
            return self.close(now, conn, reason);
        }
        let running = report.running.iter().map(|reported| (*reported, false));
        let finished = report.finished.iter().map(|reported| (*reported, true));
        for (reported, finished) in running.chain(finished) {
            step();
            self.on_reported(now, key, reported, finished);
            if self.worker(key).conn.is_none() {
                // It said what cannot be; the rest of it counts for no more. What it has is given
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
        let session = self.worker(key);
        session.reported = true;
        session.released = false;
        let elsewhere = core::mem::take(&mut session.elsewhere);
        // A result that it had and has no more was taken by another manager.
        let taken = core::mem::take(&mut session.unreported_results);
        let missing: Vec<(Attempt, bool)> = session
            .attempts
            .iter()
            .inspect(|_| step())
            .filter(|(_, occupied)| !occupied.seen)
            .map(|(attempt, occupied)| (attempt, occupied.started))
            .collect();
        for (attempt, started) in missing {
            if elsewhere || started {
                self.lose_attempt(now, key, attempt, AttemptLoss::WorkerGone);
            } else {
                self.on_not_started(now, key, attempt);
            }
        }
        for (attempt, id) in taken {
            let holder = Holder {
                worker: key,
                attempt,
            };
            if self.worker(key).results.remove(&attempt).is_some() {
                self.forget_orphan(id, holder);
            }
        }
        // Ends that were asked for while it was away.
        let due: Vec<Attempt> = self
            .worker(key)
            .attempts
            .iter()
            .filter_map(|(attempt, occupied)| match occupied.purpose {
                Purpose::Obsolete => Some((attempt, None)),
                Purpose::Live(task) => Some((attempt, Some(task))),
                Purpose::Orphan(_) => None,
            })
            .collect::<Vec<_>>()
            .into_iter()
            .filter(|(_, task)| task.is_none_or(|task| self.tasks[task].ending.is_some()))
            .map(|(attempt, _)| attempt)
            .collect();
        for attempt in due {
            self.say_to_worker(now, key, Body::Kill { attempt });
        }
        self.rescore(key);
    }

    fn say_to_worker(&mut self, now: Instant, key: WorkerKey, body: Body) {
        if let Some(conn) = self.worker(key).conn {
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
        let holder = Holder {
            worker: key,
            attempt,
        };
        if self.tasks.is_invented(attempt) {
            if let Some(conn) = self.worker(key).conn {
                let reason = CloseReason::Protocol(ProtocolError::UnknownAttempt);
                self.close(now, conn, reason);
            }
            return;
        }
        if let Some(occupied) = self.worker(key).attempts.get_mut(attempt) {
            occupied.seen = true;
            occupied.started = true;
            if let Purpose::Live(task) = occupied.purpose {
                self.reclaim(task, holder);
            }
            if finished {
                self.say_to_worker(now, key, Body::Resend { attempt });
            }
            return;
        }
        let session = self.worker(key);
        if session.results.contains_key(&attempt) {
            session.unreported_results.remove(&attempt);
            return;
        }
        match self.find_task(id) {
            Some(task) if self.tasks[task].may_be_claimed_by(attempt) => {
                self.on_reported_task(now, task, holder, finished);
            }
            Some(_) => self.discard(now, holder, finished),
            None if self.is_over(id, attempt) => self.discard(now, holder, finished),
            None => self.keep_orphan(now, holder, id, finished),
        }
    }

    /// A returning attempt that was given up on: it is the task's own again if no other was
    /// assigned since.
    fn reclaim(&mut self, task: TaskKey, holder: Holder) {
        let is_queued = matches!(self.tasks[task].state, State::Queued);
        if is_queued && self.tasks.drop_superseded(task, holder) {
            self.tasks.refund(task, holder.attempt);
            self.adopt(task, holder);
        }
    }

    /// A worker has an attempt of a task that is here, under a name that is not known here: from
    /// an earlier manager, or an earlier session.
    fn on_reported_task(&mut self, now: Instant, task: TaskKey, holder: Holder, finished: bool) {
        match self.tasks[task].state {
            State::Ended(end) => {
                if self.results[end].confirm != Some(holder) {
                    self.discard(now, holder, finished);
                }
                return;
            }
            State::Queued | State::Held => self.adopt(task, holder),
            State::Assigned { .. } | State::Detached => self.tasks.supersede(task, holder),
        }
        self.occupy(now, holder, Purpose::Live(task), 0);
        if finished {
            self.say_to_worker(
                now,
                holder.worker,
                Body::Resend {
                    attempt: holder.attempt,
                },
            );
        }
    }

    /// Makes a waiting task the one that this attempt is for.
    fn adopt(&mut self, task: TaskKey, holder: Holder) {
        match self.tasks[task].state {
            State::Queued => {
                let removed = self.queue.remove(task);
                debug_assert!(removed.is_some(), "a queued task is in the queue");
            }
            State::Held => self.unhold(task),
            _ => debug_assert!(false, "only waiting tasks are adopted"),
        }
        self.place(task, holder);
    }

    /// Counts a task as assigned to a worker that already has it.
    pub(super) fn place(&mut self, task: TaskKey, holder: Holder) {
        let record = &self.tasks[task];
        let (id, at) = (record.id, record.accepted_at);
        self.tasks.assign(task, holder, at, NOBODY, 0);
        self.notify(Event::AttemptAdopted {
            task: id,
            attempt: holder.attempt,
        });
    }

    fn occupy(&mut self, now: Instant, holder: Holder, purpose: Purpose, bytes: u32) {
        let occupied = Occupied {
            purpose,
            at: now,
            bytes,
            asked_back: None,
            started: true,
            seen: true,
        };
        self.worker(holder.worker).occupy(holder.attempt, occupied);
    }

    /// Whether a task that is not here is known to be over: it was of this life and is gone, or
    /// its client says so.
    fn is_over(&self, id: TaskId, attempt: Attempt) -> bool {
        let below_floor = self
            .clients_by_id
            .get(&id.client)
            .is_some_and(|client| id.seq < self.tasks.of(*client).floor());
        below_floor || attempt.epoch == self.config.epoch
    }

    /// Nobody wants the attempt: it is killed, or its result forgotten.
    fn discard(&mut self, now: Instant, holder: Holder, finished: bool) {
        if finished {
            self.ack(holder);
        } else {
            // It is killed when the report is complete, and occupies a slot until then.
            self.occupy(now, holder, Purpose::Obsolete, 0);
        }
    }

    /// The attempt's client has yet to return, or to submit the task again.
    fn keep_orphan(&mut self, now: Instant, holder: Holder, id: TaskId, finished: bool) {
        let Holder { worker, attempt } = holder;
        if self.orphans.len() >= self.config.inner.orphans {
            return self.discard(now, holder, finished);
        }
        self.orphans.insert((id, worker, attempt));
        if finished {
            self.worker(worker).results.insert(attempt, id);
        } else {
            self.occupy(now, holder, Purpose::Orphan(id), 0);
        }
        let until = self.clock.at(now) + self.config.resume_window;
        self.peer_timers
            .set(PeerTimer::Orphan(worker, attempt), until);
        self.notify(Event::OrphanKept { task: id, attempt });
    }

    /// An orphan is settled, one way or another.
    pub(super) fn forget_orphan(&mut self, id: TaskId, holder: Holder) {
        self.orphans.remove(&(id, holder.worker, holder.attempt));
        self.peer_timers
            .cancel(PeerTimer::Orphan(holder.worker, holder.attempt));
    }

    /// The client of an orphan did not come back in time.
    pub(super) fn drop_orphan(&mut self, now: Instant, key: WorkerKey, attempt: Attempt) {
        let holder = Holder {
            worker: key,
            attempt,
        };
        let session = self.worker(key);
        if let Some(id) = session.results.remove(&attempt) {
            self.forget_orphan(id, holder);
            self.ack(holder);
        } else if let Some(occupied) = session.attempts.get_mut(attempt)
            && let Purpose::Orphan(id) = occupied.purpose
        {
            occupied.purpose = Purpose::Obsolete;
            let reported = session.reported;
            self.forget_orphan(id, holder);
            if reported {
                self.say_to_worker(now, key, Body::Kill { attempt });
            }
        }
    }

    fn orphans_of(&self, id: TaskId) -> impl Iterator<Item = (TaskId, WorkerKey, Attempt)> + '_ {
        let first = Attempt {
            epoch: crate::ids::Epoch(0),
            number: 0,
        };
        self.orphans
            .range((id, WorkerKey(0), first)..)
            .take_while(move |(orphan, ..)| *orphan == id)
            .copied()
    }

    /// A client submits the task for the first time, so no worker can have it.
    pub(super) fn refute_orphans(&mut self, now: Instant, id: TaskId) {
        let found: Vec<_> = self.orphans_of(id).collect();
        for (_, worker, attempt) in found {
            self.drop_orphan(now, worker, attempt);
        }
    }

    /// Matches a task that came back with the attempts that workers reported of it. True if one
    /// has it now.
    pub(super) fn match_orphans(&mut self, now: Instant, task: TaskKey) -> bool {
        let id = self.tasks[task].id;
        let mut found: Vec<_> = self.orphans_of(id).collect();
        // A worker that is there is the better bet.
        found.sort_by_key(|(_, worker, _)| self.workers[*worker].released);
        for &(_, worker, attempt) in &found {
            self.orphans.remove(&(id, worker, attempt));
            self.peer_timers.cancel(PeerTimer::Orphan(worker, attempt));
            let holder = Holder { worker, attempt };
            let finished = self.worker(worker).results.remove(&attempt).is_some();
            if finished {
                self.occupy(now, holder, Purpose::Live(task), 0);
                self.say_to_worker(now, worker, Body::Resend { attempt });
            } else if let Some(occupied) = self.worker(worker).attempts.get_mut(attempt) {
                occupied.purpose = Purpose::Live(task);
            }
            if self.tasks[task].holder().is_none() {
                self.place(task, holder);
            } else {
                self.tasks.supersede(task, holder);
            }
            self.rescore(worker);
            self.notify(Event::OrphanMatched { task: id, attempt });
        }
        !found.is_empty()
    }
}
