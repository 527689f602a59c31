//! A worker's messages, and what becomes of its attempts when it is gone.

use alloc::vec::Vec;

use crate::event::{CloseReason, Event};
use crate::ids::{Attempt, ConnId};
use crate::message::{AttemptRun, FromWorker, ToWorker};
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::queue::TaskKey;
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::AttemptLoss;
use crate::time::Instant;

use super::Manager;
use super::keys::Assignee;
use super::peers::{Peer, Purpose};
use super::schedule::{Alarm, PeerTimer};

/// Why a worker's session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It did not come back within the resume timeout.
    Expired,
    /// Its process was started again under the same name.
    Replaced,
    /// It said goodbye.
    Goodbye,
    /// It is away, has nothing here, and others need the room.
    Forgotten,
}

impl Manager {
    pub(super) fn on_worker(
        &mut self,
        now: Instant,
        conn: ConnId,
        key: WorkerKey,
        said: FromWorker,
        payload: Payload,
    ) {
        let reported = self.workers[key].reported;
        if reported == matches!(said, FromWorker::Report(_)) {
            let error = if reported {
                ProtocolError::Misdirected
            } else {
                ProtocolError::BeforeReport
            };
            return self.close(now, conn, CloseReason::Protocol(error));
        }
        match said {
            FromWorker::Report(report) => self.on_report(now, key, &report),
            FromWorker::Grant { window } => {
                self.workers.set_window(key, window);
                self.rescore(key);
            }
            FromWorker::Finished(finished) => self.on_finished(now, key, finished, payload),
            FromWorker::FinishedRun(ends) => self.on_finished_run(now, conn, key, &ends, &payload),
            FromWorker::Returned {
                not_started,
                started,
            } => {
                let mut unasked = false;
                for attempt in not_started {
                    step();
                    self.leave_row_of(key, attempt);
                    let occupied = self.workers[key].attempts.get(attempt);
                    if occupied.is_some_and(|occupied| occupied.started) {
                        // It has said before that it has, or may have.
                        self.lose_attempt(now, key, attempt, AttemptLoss::WorkerGone);
                        self.rescore(key);
                    } else {
                        unasked |= self.on_not_started(now, key, attempt);
                    }
                }
                if unasked {
                    self.doubt_return(now, key);
                }
                for attempt in started {
                    step();
                    self.leave_row_of(key, attempt);
                    self.workers.started(Assignee {
                        worker: key,
                        attempt,
                    });
                }
            }
            FromWorker::StreamChunk(said) => {
                self.on_stream_chunk(now, conn, Peer::Worker(key), said, payload);
            }
            FromWorker::StreamLevel(said) => {
                self.on_stream_level(now, conn, Peer::Worker(key), said);
            }
            FromWorker::Capabilities(capabilities) => self.on_capabilities(key, capabilities),
            FromWorker::Gone { slot, life } => self.on_process_gone(now, key, slot, life),
            // Once: it looks at all classes.
            FromWorker::Draining if self.workers[key].draining => {}
            FromWorker::Draining => {
                self.workers.drain(key);
                self.rescore(key);
                self.pardon_needed();
            }
        }
    }

    /// Gives up on the attempts of a worker that is away, as far as they can be tried elsewhere.
    /// The others wait for its return until its session ends.
    pub(super) fn release(&mut self, now: Instant, key: WorkerKey, loss: AttemptLoss) {
        self.schedule.peers.cancel(PeerTimer::Grace(key));
        self.workers.release(key);
        let name = self.workers[key].peer.name.clone();
        self.notify(Event::WorkerLost { name, loss });
        self.leave_rows(key);
        let attempts: Vec<Attempt> = self.workers[key].attempts.keys().collect();
        for attempt in attempts {
            step();
            let purpose = self.workers[key].attempts.get(attempt);
            let Some(Purpose::Live(task)) = purpose.map(|occupied| occupied.purpose) else {
                continue;
            };
            let assignee = Assignee {
                worker: key,
                attempt,
            };
            if self.tasks[task].assignee() == Some(assignee) {
                self.release_task(now, task, assignee, loss);
            }
        }
    }

    /// Gives up on a task's attempt at a worker that is away, if it can be tried elsewhere.
    fn release_task(&mut self, now: Instant, task: TaskKey, assignee: Assignee, loss: AttemptLoss) {
        let record = &self.tasks[task];
        let id = record.id;
        if let Some(ending) = record.ending {
            self.end_asked(now, task, ending);
        } else if !record.options.at_most_once && record.charged() + 1 < record.options.max_attempts
        {
            self.charge_loss(task, assignee, loss);
            self.tasks.supersede(task, assignee);
            self.requeue(now, task);
            self.notify(Event::TaskReturned { task: id });
        }
    }

    /// A task that came back was matched with an attempt whose worker may have been given up on
    /// meanwhile: then it waits no longer than the tasks that were here at the time.
    pub(super) fn release_if_given_up(&mut self, now: Instant, task: TaskKey) {
        if let Some(assignee) = self.tasks[task].assignee() {
            let session = &self.workers[assignee.worker];
            if session.peer.conn.is_none() && session.released {
                self.release_task(now, task, assignee, AttemptLoss::WorkerGone);
            }
        }
    }

    /// Ends a worker's session: nothing is expected from it any more.
    pub(super) fn end_worker(&mut self, now: Instant, key: WorkerKey, leaving: Leaving) {
        if let Some(conn) = self.workers[key].peer.conn {
            self.close(now, conn, CloseReason::Superseded);
        }
        let loss = match leaving {
            Leaving::Expired | Leaving::Forgotten => AttemptLoss::WorkerGone,
            Leaving::Replaced => AttemptLoss::WorkerReplaced,
            Leaving::Goodbye => AttemptLoss::WorkerDrained,
        };
        self.schedule.peers.cancel(PeerTimer::Grace(key));
        self.schedule.peers.cancel(PeerTimer::Worker(key));
        self.leave_rows(key);
        let attempts: Vec<Attempt> = self.workers[key].attempts.keys().collect();
        for attempt in attempts {
            step();
            self.lose_attempt(now, key, attempt, loss);
        }
        let results = self.orphans.forget_worker(key);
        for (attempt, id) in results {
            step();
            let assignee = Assignee {
                worker: key,
                attempt,
            };
            self.forget_orphan(id, assignee);
        }
        self.placement.close(key);
        self.schedule.alarms.cancel(Alarm::Trial(key));
        self.pardon_needed();
        self.results.forget_worker(key);
        let session = self.workers.remove(key);
        if self.workers.is_empty() && !self.stage.starting {
            let until = self.schedule.awake(now) + self.config.restart_grace;
            self.schedule.peers.set(PeerTimer::NoWorkers, until);
        }
        let why = match leaving {
            Leaving::Expired => "did not come back in time",
            Leaving::Replaced => "was replaced by a new process of its name",
            Leaving::Goodbye => "said goodbye",
            Leaving::Forgotten => "made room for another",
        };
        self.notify(Event::PeerGone {
            peer: session.peer.id,
            name: session.peer.name,
            why,
        });
    }

    /// One attempt of a worker that will never answer for it.
    pub(super) fn lose_attempt(
        &mut self,
        now: Instant,
        key: WorkerKey,
        attempt: Attempt,
        loss: AttemptLoss,
    ) {
        let assignee = Assignee {
            worker: key,
            attempt,
        };
        let Some(occupied) = self.workers.vacate(assignee) else {
            return;
        };
        let task = match occupied.purpose {
            Purpose::Obsolete => return,
            Purpose::Orphan(id) => return self.forget_orphan(id, assignee),
            Purpose::Live(task) => task,
        };
        if self.tasks.drop_superseded(task, assignee) {
            return self.tasks.ran_earlier(task);
        }
        let record = &self.tasks[task];
        debug_assert_eq!(
            record.assignee(),
            Some(assignee),
            "a live attempt is its task's own"
        );
        if let Some(ending) = record.ending {
            return self.end_asked(now, task, ending);
        }
        let at_most_once = record.options.at_most_once;
        let leaves = loss == AttemptLoss::WorkerDrained;
        if !at_most_once && leaves && self.tasks.note_return(task) {
            self.tasks.ran_earlier(task);
            self.requeue(now, task);
        } else {
            self.charge_or_end(now, task, assignee, loss);
        }
    }

    pub(super) fn charge_loss(&mut self, task: TaskKey, assignee: Assignee, loss: AttemptLoss) {
        let worker = self.workers[assignee.worker].peer.name.clone();
        self.tasks.charge(task, assignee.attempt, worker, loss);
        let id = self.tasks[task].id;
        self.totals.attempts_lost += 1;
        self.notify(Event::AttemptCharged {
            task: id,
            attempt: assignee.attempt,
            loss,
        });
    }

    /// Sends each worker its acknowledgements, batched.
    pub(super) fn send_acks(&mut self, now: Instant) {
        while let Some((key, acks)) = self.results.next_acks() {
            let conn = self.workers.get(key).and_then(|session| session.peer.conn);
            if let Some(conn) = conn {
                for attempts in acks.chunks(self.config.inner.ids) {
                    let message = if self.connections.has_runs(conn) {
                        let rows = AttemptRun::rows(attempts);
                        ToWorker::AckResultRuns { rows }
                    } else {
                        let attempts = attempts.to_vec();
                        ToWorker::AckResults { attempts }
                    };
                    self.send(now, conn, message);
                }
            }
            self.results.give_back(key, acks);
        }
    }

    /// Lets a worker forget a result, at the end of the batch. One that is away finds out when it comes
    /// back.
    pub(super) fn ack(&mut self, assignee: Assignee) {
        let session = self.workers.get(assignee.worker);
        if session.is_some_and(|session| session.peer.conn.is_some()) {
            self.results.ack(assignee);
        }
    }
}
