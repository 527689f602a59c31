//! How tasks leave: outcomes, their delivery, their acknowledgement.

use alloc::vec::Vec;

use crate::event::Event;
use crate::limits::ANSWER;
use crate::message::{Body, Message};
use crate::payload::Payload;
use crate::queue::{ClientKey, TaskKey};
use crate::steps::step;
use crate::task::{Outcome, RejectReason};
use crate::time::Instant;

use super::session::Purpose;
use super::task::{End, Ending, Holder, State};
use super::unconfirmed::Unconfirmed;
use super::{Alarm, Manager, ManagerOutput, PeerTimer};

/// Results that one ending can have acknowledged before their time; a large one makes room that
/// many small ones had.
const CONFIRMS_MAX: usize = 4_096;
/// Outcomes that one message can have sent.
const OUTCOMES_MAX: usize = 4_096;

impl Manager {
    /// The task is over. Whatever attempts are out no longer matter and are killed.
    pub(super) fn end(
        &mut self,
        now: Instant,
        key: TaskKey,
        outcome: Outcome,
        payload: Payload,
        confirm: Option<Holder>,
    ) {
        self.withdraw(now, key);
        if matches!(outcome, Outcome::Completed(_)) {
            self.totals.completed += 1;
        } else {
            self.totals.not_completed += 1;
        }
        self.pace.ended(now);
        let bytes = (payload.len() + outcome.text_bytes()) as u64;
        let record = self.task(key);
        let (client, attempt) = (record.client, confirm.map(|holder| holder.attempt));
        let rank = self.client(client).finished + 1;
        let end = self.ends.insert(End {
            rank,
            outcome,
            confirm,
            bytes,
        });
        let record = self.task(key);
        record.payload = payload;
        record.state = State::Ended(end);
        let session = self.client(client);
        session.finished += 1;
        session.unacknowledged += 1;
        session.result_bytes += bytes;
        session.ended.insert(rank, key);
        self.unread_bytes += bytes;
        if let Some(attempt) = attempt {
            let entry = Unconfirmed {
                due: now + self.config.inner.result_ack,
                task: key,
                attempt,
            };
            self.unconfirmed.push(entry, bytes);
            for _ in 0..CONFIRMS_MAX {
                if !self
                    .unconfirmed
                    .exceeds(self.config.inner.unconfirmed_bytes)
                {
                    break;
                }
                step();
                self.confirm_oldest();
            }
        }
        self.update_blocked(client);
        self.send_outcomes(now, client);
    }

    /// Ends a task as its client or its deadline asked for.
    pub(super) fn end_asked(&mut self, now: Instant, key: TaskKey, ending: Ending) {
        let may_have_run = self.task(key).may_have_run;
        let outcome = match ending {
            Ending::Cancel => Outcome::Cancelled { may_have_run },
            Ending::Expire => Outcome::Expired { may_have_run },
        };
        self.end(now, key, outcome, Payload::empty(), None);
    }

    /// Takes a task out of wherever it is: queue, hold, or the hands of workers. Its state is
    /// stale afterwards and must be replaced.
    pub(super) fn withdraw(&mut self, now: Instant, key: TaskKey) {
        match self.task(key).state {
            State::Queued => {
                let removed = self.queue.remove(key);
                debug_assert!(removed.is_some(), "a queued task is in the queue");
            }
            State::Held => self.unhold(key),
            State::Assigned { holder, .. } => {
                self.unassign(key, 0);
                self.abandon(now, holder);
            }
            State::Detached => {}
            State::Ended(_) => debug_assert!(false, "a task ends once"),
        }
        let record = self.task(key);
        let superseded = record
            .attempt_log
            .as_mut()
            .map(|log| core::mem::take(&mut log.superseded));
        for holder in superseded.into_iter().flatten() {
            self.abandon(now, holder);
        }
        let record = self.task(key);
        let (has_deadline, is_ending) = (record.due != Instant::NEVER, record.ending.is_some());
        let must_start = record.start_by != Instant::NEVER;
        if has_deadline {
            self.alarms.cancel(Alarm::Expiry(key));
        }
        if must_start {
            self.alarms.cancel(Alarm::StartBy(key));
        }
        if is_ending {
            self.peer_timers.cancel(PeerTimer::Ending(key));
        }
        self.leave_reserve(key);
    }

    /// The worker that was asked to end a task's attempt has not said what became of it. The task
    /// ends as was asked; the attempt takes up its slot until the worker says that it let go.
    pub(super) fn end_unanswered(&mut self, now: Instant, key: TaskKey) {
        if let Some(ending) = self.task(key).ending {
            self.end_asked(now, key, ending);
        }
    }

    /// An attempt no longer matters: it is killed, and occupies its worker until it has let go.
    fn abandon(&mut self, now: Instant, holder: Holder) {
        let session = self.worker(holder.worker);
        let Some(occupied) = session.attempts.get_mut(holder.attempt) else {
            return;
        };
        occupied.purpose = Purpose::Obsolete;
        if let Some(conn) = session.conn
            && session.reported
        {
            self.send(
                now,
                conn,
                Body::Kill {
                    attempt: holder.attempt,
                },
            );
        }
    }

    /// The task is no longer with its worker, after having run for `ran` nanoseconds there. It is
    /// loose until the caller places or ends it.
    pub(super) fn unassign(&mut self, key: TaskKey, ran: u64) {
        let record = self.task(key);
        let State::Assigned { class, charged, .. } = record.state else {
            return;
        };
        let (client, priority) = (record.client, record.priority);
        // An assignment without a charge was adopted.
        if charged > 0 {
            self.queue.correct(client, class, priority, charged, ran);
        }
        self.client(client).assigned -= 1;
        self.assigned -= 1;
        self.task(key).state = State::Detached;
    }

    /// Reserves room in flight for a task that is about to be assigned or adopted.
    pub(super) fn enter_reserve(&mut self, key: TaskKey) {
        let record = self.task(key);
        if !record.in_flight {
            record.in_flight = true;
            let bytes = u64::from(record.bytes());
            self.in_flight_tasks += 1;
            self.in_flight_bytes += bytes;
        }
    }

    pub(super) fn leave_reserve(&mut self, key: TaskKey) {
        let record = self.task(key);
        if record.in_flight {
            record.in_flight = false;
            let bytes = u64::from(record.bytes());
            self.in_flight_tasks -= 1;
            self.in_flight_bytes -= bytes;
        }
    }

    pub(super) fn on_deadline(&mut self, now: Instant, key: TaskKey) {
        self.ask_to_end(now, key, Ending::Expire);
    }

    /// Ends a task at once if no attempt is out; otherwise asks the worker, whose first answer
    /// decides.
    pub(super) fn ask_to_end(&mut self, now: Instant, key: TaskKey, ending: Ending) {
        let record = self.task(key);
        match record.state {
            State::Ended(_) | State::Detached => {}
            State::Queued | State::Held => self.end_asked(now, key, ending),
            State::Assigned { holder, .. } => {
                if record.ending.is_none() {
                    record.ending = Some(ending);
                    let until = self.clock.at(now) + ANSWER;
                    self.peer_timers.set(PeerTimer::Ending(key), until);
                }
                let session = self.worker(holder.worker);
                match session.conn {
                    Some(conn) if session.reported => {
                        self.send(
                            now,
                            conn,
                            Body::Kill {
                                attempt: holder.attempt,
                            },
                        );
                    }
                    Some(_) => {}
                    // It was given up on already: nobody will answer.
                    None if session.released => self.end_asked(now, key, ending),
                    None => {}
                }
            }
        }
    }

    /// Refuses a task that was taken in before: displaced, never started in a drain, or waiting
    /// where there are no workers.
    pub(super) fn reject_task(&mut self, now: Instant, key: TaskKey, reason: RejectReason) {
        self.withdraw(now, key);
        let record = self.task(key);
        let may_have_run = record.may_have_run;
        debug_assert!(
            !may_have_run || reason == RejectReason::NoWorkers,
            "what may have run keeps its place"
        );
        let (client, seq) = (record.client, record.id.seq);
        self.remove_record(key);
        if may_have_run {
            self.client(client).may_have_run.insert(seq);
        }
        self.refuse(now, client, seq, reason, may_have_run);
    }

    /// Sends outcomes that wait, as many bytes ahead of the acknowledgements as is allowed, and not
    /// many at a time: the acknowledgement of those brings the next.
    pub(super) fn send_outcomes(&mut self, now: Instant, key: ClientKey) {
        let Some(conn) = self.client(key).conn else {
            return;
        };
        for _ in 0..OUTCOMES_MAX {
            step();
            let session = &mut self.clients[key];
            if session.sent_bytes >= self.config.inner.outcome_window {
                return;
            }
            // Mostly the next; those that went before they were sent leave gaps.
            let mut rank = session.sent_to + 1;
            if !session.ended.contains(rank) {
                let Some(later) = session.ended.first_above(rank) else {
                    return;
                };
                rank = later;
            }
            let Some(&task) = session.ended.get(rank) else {
                debug_assert!(false, "it was just found");
                return;
            };
            session.sent_to = rank;
            let record = &self.tasks[task];
            let State::Ended(end) = record.state else {
                debug_assert!(false, "only ended tasks have outcomes");
                continue;
            };
            session.sent_bytes += self.ends[end].bytes;
            if self.count_sent(now, conn) {
                let record = &self.tasks[task];
                let message = Message {
                    body: Body::Outcome {
                        seq: record.id.seq,
                        outcome: self.ends[end].outcome.clone(),
                    },
                    payload: record.payload.clone(),
                };
                self.outputs
                    .push_back(ManagerOutput::Send { conn, message });
            }
        }
    }

    /// After a reconnect every outcome that is not acknowledged is sent again.
    pub(super) fn send_outcomes_again(&mut self, now: Instant, key: ClientKey) {
        let session = self.client(key);
        session.sent_bytes = 0;
        session.sent_to = 0;
        self.send_outcomes(now, key);
    }

    /// The client is done with these tasks, whatever they are to us.
    pub(super) fn on_ack_outcomes(
        &mut self,
        now: Instant,
        key: ClientKey,
        floor: u64,
        seqs: &[u64],
    ) {
        let session = self.client(key);
        session.floor = session.floor.max(floor);
        if !session.may_have_run.is_empty() {
            while session
                .may_have_run
                .first()
                .is_some_and(|seq| *seq < session.floor)
            {
                step();
                session.may_have_run.pop_first();
            }
            for seq in seqs {
                session.may_have_run.remove(seq);
            }
        }
        while let Some(seq) = self.client(key).tasks.first()
            && seq < floor
            && let Some(&task) = self.client(key).tasks.get(seq)
        {
            step();
            self.forget(now, task);
        }
        for &seq in seqs {
            step();
            if let Some(&task) = self.client(key).tasks.get(seq) {
                self.forget(now, task);
            }
        }
        self.update_blocked(key);
        self.send_outcomes(now, key);
    }

    /// Removes every trace of a task; one without an outcome is abandoned.
    pub(super) fn forget(&mut self, now: Instant, key: TaskKey) {
        let record = self.task(key);
        let client = record.client;
        let State::Ended(end) = record.state else {
            self.withdraw(now, key);
            return self.remove_record(key);
        };
        let End {
            rank,
            confirm,
            bytes,
            ..
        } = self.ends.remove(end);
        if let Some(holder) = confirm {
            self.unconfirmed.confirmed(bytes);
            self.ack(holder);
        }
        self.unread_bytes -= bytes;
        let session = self.client(client);
        session.unacknowledged -= 1;
        session.result_bytes -= bytes;
        session.ended.remove(rank);
        if rank <= session.sent_to {
            session.sent_bytes -= bytes;
        }
        self.remove_record(key);
    }

    pub(super) fn remove_record(&mut self, key: TaskKey) {
        let record = self.tasks.remove(key);
        self.client(record.client).tasks.remove(record.id.seq);
    }

    /// A client past its bound of unread results gets no more until it has read some. Where all together
    /// are past theirs, its own is an even share of that: so those who leave little are not held up, and
    /// all leave less than twice the bound, but for what was on its way.
    pub(super) fn update_blocked(&mut self, key: ClientKey) {
        let mut limit = self.config.client_result_bytes;
        if self.unread_bytes > self.config.unread_bytes {
            limit = limit.min(self.config.unread_bytes / self.clients.len().max(1) as u64);
        }
        let session = self.client(key);
        let blocked = session.result_bytes > limit;
        if blocked != session.blocked {
            session.blocked = blocked;
            self.queue.set_blocked(key, blocked);
        }
    }

    /// Acknowledges results to their workers that have waited for their clients long enough.
    pub(super) fn confirm_early(&mut self, now: Instant) {
        while self
            .unconfirmed
            .front()
            .is_some_and(|oldest| oldest.due <= now)
        {
            step();
            self.confirm_oldest();
        }
    }

    fn confirm_oldest(&mut self) {
        let Some(Unconfirmed { task, attempt, .. }) = self.unconfirmed.pop() else {
            return;
        };
        let Some(record) = self.tasks.get_mut(task) else {
            return;
        };
        let id = record.id;
        if let State::Ended(end) = record.state
            && let end = self.end_of(end)
            && let Some(holder) = end.confirm
            && holder.attempt == attempt
        {
            end.confirm = None;
            let bytes = end.bytes;
            self.unconfirmed.confirmed(bytes);
            self.ack(holder);
            self.notify(Event::ResultConfirmedEarly { task: id });
        }
    }

    /// Keeps the alarm for the oldest unconfirmed result, passing over those that were
    /// acknowledged meanwhile.
    pub(super) fn watch_results(&mut self, _now: Instant) {
        while let Some(&Unconfirmed { due, task, attempt }) = self.unconfirmed.front() {
            let waits = self.tasks.get(task).is_some_and(|record| {
                matches!(record.state, State::Ended(end) if self.ends[end]
                    .confirm.is_some_and(|holder| holder.attempt == attempt))
            });
            if waits {
                if self.alarms.get(Alarm::ResultAck).is_none_or(|at| at > due) {
                    self.alarms.set(Alarm::ResultAck, due);
                }
                return;
            }
            self.unconfirmed.pop();
        }
        self.alarms.cancel(Alarm::ResultAck);
    }

    /// Ends a client's session: its tasks are dropped, running ones killed, outcomes forgotten.
    pub(super) fn end_client(&mut self, now: Instant, key: ClientKey, why: &'static str) {
        debug_assert!(self.client(key).conn.is_none(), "it is closed first");
        self.peer_timers.cancel(PeerTimer::Client(key));
        self.unnote_idle_client(key);
        let tasks: Vec<TaskKey> = self.client(key).tasks.values().copied().collect();
        for task in tasks {
            step();
            self.forget(now, task);
        }
        self.queue.forget_client(key);
        self.forget_nested(key);
        let session = self.clients.remove(key);
        self.clients_by_id.remove(&session.id);
        self.notify(Event::PeerGone {
            peer: session.id,
            name: session.name,
            why,
        });
    }
}
