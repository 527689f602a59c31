//! How tasks leave: outcomes, their delivery, their acknowledgement.

use crate::event::Event;
use crate::ids::TaskId;
use crate::limits::{ANSWER, OUTCOMES_PER_MESSAGE, RELEASES_MAX};
use crate::message::{Message, ToClient, ToPeer, ToWorker};
use crate::payload::Payload;
use crate::queue::{ClientKey, TaskKey};
use crate::steps::step;
use crate::task::{Outcome, RejectReason};
use crate::time::Instant;

use super::Manager;
use super::keys::Assignee;
use super::peers::Purpose;
use super::results::ToSend;
use super::schedule::{Alarm, PeerTimer};
use super::tasks::{Ending, Place, TaskState};

impl Manager {
    /// The task is over. Whatever attempts are out no longer matter and are killed.
    pub(super) fn end(
        &mut self,
        now: Instant,
        key: TaskKey,
        outcome: Outcome,
        payload: Payload,
        release: Option<Assignee>,
    ) {
        self.withdraw(now, key);
        if matches!(outcome, Outcome::Completed(_)) {
            self.totals.completed += 1;
        } else {
            self.totals.not_completed += 1;
        }
        self.placement.ended(now, 1);
        let bytes = (payload.len() + outcome.text_bytes()) as u64;
        let (client, seq) = (self.tasks[key].client, self.tasks[key].id.seq);
        let release = release.map(|assignee| (assignee, now + self.config.inner.result_ack));
        let is_held = release.is_some();
        let end = self
            .results
            .add(client, (key, seq), outcome, bytes, release);
        self.tasks.end(key, end, payload);
        if is_held {
            for _ in 0..RELEASES_MAX {
                if !self.results.is_unreleased_full() {
                    break;
                }
                step();
                self.release_oldest();
            }
        }
        self.update_blocked(client);
        self.send_outcomes(now, client);
    }

    /// Ends a task as its client or its deadline asked for.
    pub(super) fn end_asked(&mut self, now: Instant, key: TaskKey, ending: Ending) {
        let may_have_run = self.tasks[key].may_have_run;
        let outcome = match ending {
            Ending::Cancel => Outcome::Cancelled { may_have_run },
            Ending::Expire => Outcome::Expired { may_have_run },
        };
        self.end(now, key, outcome, Payload::empty(), None);
    }

    /// Takes a task out of wherever it is: queue, hold, or the hands of workers. Its state is
    /// stale afterwards and must be replaced.
    pub(super) fn withdraw(&mut self, now: Instant, key: TaskKey) {
        match self.tasks[key].state {
            TaskState::Queued => {
                self.placement.withdraw(key);
            }
            TaskState::Unclaimed => self.claim(key),
            TaskState::Assigned { assignee, .. } => {
                self.unassign(key, 0);
                self.abandon(now, assignee);
            }
            TaskState::Detached => {}
            TaskState::Ended(_) => debug_assert!(false, "a task ends once"),
        }
        for assignee in self.tasks.take_superseded(key) {
            self.abandon(now, assignee);
        }
        let record = &self.tasks[key];
        self.streams.close(record.id);
        let (has_deadline, is_ending) =
            (record.times.due != Instant::NEVER, record.ending.is_some());
        let must_start = record.times.start_by != Instant::NEVER;
        let ranked = record.ranked(key);
        if has_deadline {
            self.schedule.alarms.cancel(Alarm::Expiry(ranked));
        }
        if must_start {
            self.schedule.alarms.cancel(Alarm::StartBy(ranked));
        }
        if is_ending {
            self.schedule.peers.cancel(PeerTimer::Ending(ranked));
        }
        self.tasks.leave_reserve(key);
    }

    /// The worker that was asked to end a task's attempt has not said what became of it. The task
    /// ends as was asked; the attempt takes up its slot until the worker says that it let go.
    pub(super) fn end_unanswered(&mut self, now: Instant, key: TaskKey) {
        if let Some(ending) = self.tasks[key].ending {
            self.end_asked(now, key, ending);
        }
    }

    /// An attempt no longer matters: it is killed, and occupies its worker until it has let go.
    fn abandon(&mut self, now: Instant, assignee: Assignee) {
        if self.workers.set_purpose(assignee, Purpose::Obsolete)
            && let Some(conn) = self.workers[assignee.worker].reported_on()
        {
            let Assignee { attempt, .. } = assignee;
            self.send(now, conn, ToWorker::Kill { attempt });
        }
    }

    pub(super) fn on_deadline(&mut self, now: Instant, key: TaskKey) {
        self.ask_to_end(now, key, Ending::Expire);
    }

    /// Ends a task at once if no attempt is out; otherwise asks the worker, whose first answer
    /// decides.
    pub(super) fn ask_to_end(&mut self, now: Instant, key: TaskKey, ending: Ending) {
        match self.tasks[key].state {
            TaskState::Ended(_) | TaskState::Detached => {}
            TaskState::Queued | TaskState::Unclaimed => self.end_asked(now, key, ending),
            TaskState::Assigned { assignee, .. } => {
                if self.tasks.ask_to_end(key, ending) {
                    let until = self.schedule.awake(now) + ANSWER;
                    let ranked = self.tasks[key].ranked(key);
                    self.schedule.peers.set(PeerTimer::Ending(ranked), until);
                }
                let session = &self.workers[assignee.worker];
                match session.reported_on() {
                    Some(conn) => {
                        let Assignee { attempt, .. } = assignee;
                        self.send(now, conn, ToWorker::Kill { attempt });
                    }
                    // It was given up on already: nobody will answer.
                    None if session.peer.conn.is_none() && session.released => {
                        self.end_asked(now, key, ending);
                    }
                    None => {}
                }
            }
        }
    }

    /// Refuses a task that was taken in before: displaced, never started in a drain, or waiting
    /// where there are no workers.
    pub(super) fn reject_task(&mut self, now: Instant, key: TaskKey, reason: RejectReason) {
        self.withdraw(now, key);
        let record = &self.tasks[key];
        let may_have_run = record.may_have_run;
        debug_assert!(
            !may_have_run || reason == RejectReason::NoWorkers,
            "what may have run keeps its place"
        );
        let (client, seq) = (record.client, record.id.seq);
        self.tasks.remove(key);
        if may_have_run {
            self.tasks.remember_may_have_run(client, seq);
        }
        self.reject(now, client, seq, reason, may_have_run);
    }

    /// Sends outcomes that wait, as many bytes ahead of the acknowledgements as is allowed, and not
    /// many at a time: the acknowledgement of those brings the next.
    pub(super) fn send_outcomes(&mut self, now: Instant, key: ClientKey) {
        let Some(conn) = self.clients[key].peer.conn else {
            return;
        };
        let awake = self.schedule.awake(now);
        for _ in 0..OUTCOMES_PER_MESSAGE {
            step();
            let Some(next) = self.results.next_to_send(key) else {
                return;
            };
            let (seq, outcome, result) = match &next {
                ToSend::Alone(end) => (end.seq, &end.outcome, &self.tasks[end.task].payload),
                ToSend::InRow {
                    seq,
                    outcome,
                    result,
                } => (*seq, outcome, result),
            };
            let say_too = |last: &mut Message<ToPeer>| {
                let Outcome::Completed(completion) = outcome else {
                    return false;
                };
                last.complete_too(seq, completion, result)
            };
            self.connections.send_run(awake, conn, say_too, || Message {
                body: ToPeer::Client(ToClient::Outcome {
                    seq,
                    outcome: outcome.clone(),
                }),
                payload: result.clone(),
            });
        }
    }

    /// After a reconnect every outcome that is not acknowledged is sent again.
    pub(super) fn send_outcomes_again(&mut self, now: Instant, key: ClientKey) {
        self.results.rewind(key);
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
        self.tasks.raise_floor(key, floor, seqs);
        while let Some((first, run)) = self.tasks.of(key).first_run() {
            step();
            let offset = self.placement.queue().first_of_run(run);
            if first + u64::from(offset) >= floor {
                self.tidy(run);
                break;
            }
            self.forget_at(now, Place::InRun(run, offset));
        }
        while floor > 0 && self.forget_lowest(now, key, floor - 1) {
            step();
        }
        let mut rest = seqs;
        while let Some((&seq, more)) = rest.split_first() {
            step();
            rest = more;
            match self.place_of(key, seq) {
                Some(place @ Place::InRun(run, _)) => {
                    self.forget_at(now, place);
                    self.tidy(run);
                }
                Some(Place::InRow(row, place)) => {
                    let (places, more) = self.tasks.row(row).places_of(place, more);
                    rest = more;
                    self.forget_in_row(now, row, places);
                }
                Some(Place::Record(task)) => self.forget(now, task),
                None => {}
            }
        }
        self.update_blocked(key);
        self.send_outcomes(now, key);
    }

    /// Removes every trace of a task; one without an outcome is abandoned.
    pub(super) fn forget(&mut self, now: Instant, key: TaskKey) {
        if let TaskState::Ended(end) = self.tasks[key].state {
            if let Some(assignee) = self.results.remove(end) {
                self.ack(assignee);
            }
        } else {
            self.withdraw(now, key);
        }
        self.tasks.remove(key);
    }

    /// A client past its bound of unread results gets no more until it has read some.
    pub(super) fn update_blocked(&mut self, key: ClientKey) {
        if let Some(blocked) = self.results.block(key, self.clients.len()) {
            self.placement.set_blocked(key, blocked);
        }
    }

    /// Acknowledges results to their workers that have waited for their clients long enough.
    pub(super) fn release_early(&mut self, now: Instant) {
        while self.results.is_release_due(now) {
            step();
            self.release_oldest();
        }
    }

    fn release_oldest(&mut self) {
        if let Some(released) = self.results.release_oldest() {
            self.ack(released.assignee);
            let task = TaskId {
                client: self.clients[released.client].peer.id,
                seq: released.seq,
            };
            self.notify(Event::ResultReleasedEarly { task });
        }
    }

    /// Keeps the alarm for the oldest result that is not acknowledged to its worker.
    pub(super) fn watch_results(&mut self) {
        let Some(due) = self.results.next_release() else {
            return self.schedule.alarms.cancel(Alarm::ResultAck);
        };
        if self
            .schedule
            .alarms
            .get(Alarm::ResultAck)
            .is_none_or(|at| at > due)
        {
            self.schedule.alarms.set(Alarm::ResultAck, due);
        }
    }

    /// Ends a client's session: its tasks are dropped, running ones killed, outcomes forgotten.
    pub(super) fn end_client(&mut self, now: Instant, key: ClientKey, why: &'static str) {
        debug_assert!(self.clients[key].peer.conn.is_none(), "it is closed first");
        self.schedule.peers.cancel(PeerTimer::Client(key));
        while self.forget_lowest(now, key, u64::MAX) {
            step();
        }
        while let Some((_, run)) = self.tasks.of(key).first_run() {
            step();
            let offset = self.placement.queue().first_of_run(run);
            self.forget_at(now, Place::InRun(run, offset));
        }
        self.tasks.close(key);
        self.results.close(key);
        self.placement.forget_client(key);
        self.forget_nested(key);
        let session = self.clients.remove(key);
        self.notify(Event::PeerGone {
            peer: session.peer.id,
            name: session.peer.name,
            why,
        });
    }
}
