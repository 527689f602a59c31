//! Admission: what a submission must pass before the manager answers for it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{CloseReason, Event};
use crate::ids::{ConnId, TaskId};
use crate::limits::{ATTEMPTS_MAX, RETRY_AFTER_MAX, RETRY_AFTER_MIN};
use crate::message::{Rejections, Submit, ToClient};
use crate::name::Name;
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::queue::{ClientKey, Push, Standing, Taken, TakenOfRun, TaskKey};
use crate::task::{Outcome, RejectReason};
use crate::time::Instant;

use super::Manager;
use super::schedule::{Alarm, PeerTimer};
use super::tasks::{Place, TaskState};

impl Manager {
    /// Says why the task was refused, if it was for want of room or for what it is.
    pub(super) fn on_submit(
        &mut self,
        now: Instant,
        conn: ConnId,
        client: ClientKey,
        mut submit: Submit,
        payload: Payload,
    ) -> Option<RejectReason> {
        if !(1..=ATTEMPTS_MAX).contains(&submit.max_attempts) {
            let reason = CloseReason::Protocol(ProtocolError::BadMaxAttempts);
            self.close(now, conn, reason);
            return None;
        }
        if submit.seq < self.tasks.of(client).floor() {
            return None;
        }
        if let Some(place) = self.place_of(client, submit.seq) {
            self.on_submitted_again(now, place, &submit);
            return None;
        }
        let id = TaskId {
            client: self.clients[client].peer.id,
            seq: submit.seq,
        };
        submit.may_have_run = self.tasks.may_have_run(client, &submit);
        if submit.may_have_run {
            self.readmit(now, client, submit, payload);
            return None;
        }
        self.refute_orphans(now, id);
        let bytes = (payload.len() + submit.name.as_str().len()) as u64;
        if !self.placement.has_room(bytes)
            || self.placement.is_too_slow(&submit, self.workers.capacity())
        {
            // What came in the same batch may only look as if it had to wait.
            self.dispatch(now);
        }
        if let Some(reason) = self.why_rejected(&submit, client, payload.len()) {
            self.reject(now, client, submit.seq, reason, false);
            return Some(reason);
        }
        let seq = submit.seq;
        let task = self.create(now, client, submit, payload);
        match self.enqueue(now, task, Standing::Fresh) {
            Push::Queued { displaced } => {
                self.tasks.queued(task);
                self.accept(task);
                self.displace(now, displaced);
                None
            }
            Push::Full(reason) => {
                self.tasks.remove(task);
                self.reject(now, client, seq, reason, false);
                Some(reason)
            }
        }
    }

    /// How many of the next tasks of a run are refused as the one before them was, whose argument had
    /// so many bytes. To refuse one changes nothing that the next would be judged by, so these are the
    /// tasks of which nothing is known here and that need as much room.
    pub(super) fn refused_alike(
        &self,
        client: ClientKey,
        first: &Submit,
        next: u64,
        sizes: &[u32],
        reason: RejectReason,
        bytes: usize,
    ) -> usize {
        let account = self.tasks.of(client);
        if first.may_have_run || !account.remembers_nothing() || self.orphans.len() > 0 {
            return 0;
        }
        let are_new = account.is_above_all(next);
        // Before it found a task that needs more room than this one, there was a dispatch.
        let is_dispatched = |size| {
            let bytes = size + first.name.as_str().len();
            !self.placement.has_room(bytes as u64)
        };
        let dispatched = is_dispatched(bytes);
        let is_alike = |(seq, size): &(u64, &u32)| {
            let size = **size as usize;
            size >= bytes
                && (are_new || self.place_of(client, *seq).is_none())
                && (reason == RejectReason::TooLarge || self.can_ever_fit(first, size))
                && (dispatched || !is_dispatched(size))
        };
        (next..=u64::MAX).zip(sizes).take_while(is_alike).count()
    }

    /// The client asks after a task that is here; its outcome, if there is one, is on its way.
    fn on_submitted_again(&mut self, now: Instant, place: Place, submit: &Submit) {
        if !submit.may_have_run {
            return;
        }
        let Some(task) = self.take_out(place) else {
            return;
        };
        if let Place::InRun(run, _) = place {
            self.tidy(run);
        }
        self.tasks.ran_elsewhere(task);
        let record = &self.tasks[task];
        let waits_alone = matches!(record.state, TaskState::Queued);
        if !waits_alone && matches!(place, Place::Record(_) | Place::InRow(..)) {
            return;
        }
        let (at_most_once, in_flight) = (record.options.at_most_once, record.in_flight.is_counted);
        if waits_alone && (at_most_once || !in_flight) {
            self.placement.withdraw(task);
        }
        if at_most_once {
            // It waited here while its client was with another manager, which may have started it.
            self.tasks.leave_reserve(task);
            return self.await_claim(now, task);
        }
        if !in_flight {
            // It may no longer be displaced.
            self.tasks.queued(task);
            if let Push::Full(_) = self.enqueue(now, task, Standing::Resubmitted) {
                debug_assert!(false, "there is room where it just was");
            }
        }
    }

    /// A task that an earlier manager or session may have started. It is matched with what
    /// workers reported before room is checked, and otherwise waits for a worker to claim it.
    fn readmit(&mut self, now: Instant, client: ClientKey, submit: Submit, payload: Payload) {
        let seq = submit.seq;
        let bytes = payload.len() + submit.name.as_str().len();
        let too_large = !self.can_ever_fit(&submit, payload.len());
        let task = self.create(now, client, submit, payload);
        if self.match_orphans(now, task) {
            self.accept(task);
            return self.release_if_given_up(now, task);
        }
        let crowded = self.tasks.of(client).count() > self.config.client_tasks
            || self.results.is_over_share(client, self.clients.len());
        let at_most_once = self.tasks[task].options.at_most_once;
        let reason = if too_large {
            Some(RejectReason::TooLarge)
        } else if self.stage.draining {
            Some(RejectReason::Draining)
        } else if self.workers.is_empty() && !self.stage.starting {
            Some(RejectReason::NoWorkers)
        } else if crowded {
            Some(RejectReason::ClientFull)
        } else if at_most_once && self.tasks.is_in_flight_full() {
            Some(RejectReason::InFlightFull)
        } else if !at_most_once && !self.placement.reserve(bytes as u64) {
            Some(RejectReason::QueueFull)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.tasks.remove(task);
            return self.reject(now, client, seq, reason, true);
        }
        self.accept(task);
        self.await_claim(now, task);
    }

    /// Lets a task wait for a worker to claim it. One that may be tried again has its room in the
    /// queue reserved.
    fn await_claim(&mut self, now: Instant, task: TaskKey) {
        let record = &self.tasks[task];
        let (client, id, ranked) = (record.client, record.id, record.ranked(task));
        let wait = if record.options.at_most_once {
            // It will never be queued: a worker claims it, or it is lost. So it takes no room in
            // the queue for that long, but counts as what it may be, in flight; and its argument
            // is of no more use.
            self.tasks.drop_argument(task);
            self.tasks.enter_reserve(task);
            self.config.resume_timeout
        } else {
            self.config.restart_grace
        };
        // Counted from when the client began anew here, not from this submission: one that comes
        // late, because there was no room before, need not wait as long again.
        let until = self.clients[client].since + wait;
        self.tasks.await_claim(task);
        self.schedule.peers.set(PeerTimer::Claim(ranked), until);
        if until <= self.schedule.awake(now) {
            return self.on_unclaimed(now, task);
        }
        self.notify(Event::TaskUnclaimed { task: id });
    }

    /// No worker claimed a task that may have run: it is tried again, or lost if it must not be.
    pub(super) fn on_unclaimed(&mut self, now: Instant, key: TaskKey) {
        let record = &self.tasks[key];
        if record.options.at_most_once {
            let (id, history) = (record.id, record.history());
            self.notify(Event::TaskLost { task: id });
            return self.end(now, key, Outcome::Lost { history }, Payload::empty(), None);
        }
        self.claim(key);
        self.tasks.queued(key);
        if let Push::Full(_) = self.enqueue(now, key, Standing::Resubmitted) {
            debug_assert!(false, "it had its room");
        }
    }

    /// Lets go of the room that a task took while it waited for a claim.
    pub(super) fn claim(&mut self, key: TaskKey) {
        let record = &self.tasks[key];
        debug_assert!(matches!(record.state, TaskState::Unclaimed));
        if !record.options.at_most_once {
            self.placement.unreserve(u64::from(record.bytes()));
        }
        let ranked = record.ranked(key);
        self.tasks.detach(key);
        self.schedule.peers.cancel(PeerTimer::Claim(ranked));
    }

    /// Why a fresh submission cannot be taken, if the queue itself has room.
    pub(super) fn why_rejected(
        &self,
        submit: &Submit,
        client: ClientKey,
        bytes: usize,
    ) -> Option<RejectReason> {
        if !self.can_ever_fit(submit, bytes) {
            Some(RejectReason::TooLarge)
        } else if self.stage.draining {
            Some(RejectReason::Draining)
        } else if self.workers.is_empty() && !self.stage.starting {
            Some(RejectReason::NoWorkers)
        } else if self.tasks.of(client).count() >= self.config.client_tasks
            || self.results.is_over_share(client, self.clients.len())
        {
            Some(RejectReason::ClientFull)
        } else if self.placement.is_too_slow(submit, self.workers.capacity()) {
            Some(RejectReason::TooSlow)
        } else {
            None
        }
    }

    /// Whether an empty manager would take it. What it would not is refused for good: a client
    /// that retries without end would otherwise wait for room that never comes.
    fn can_ever_fit(&self, submit: &Submit, payload: usize) -> bool {
        let bytes = (payload + submit.name.as_str().len()) as u64;
        payload <= self.config.payload_max && bytes <= self.config.queue_bytes
    }

    /// The task has waited for as long as it may. If it waits here it is rejected; if it may wait at
    /// its worker it is recalled, and rejected if it comes back as not started.
    pub(super) fn on_start_by(&mut self, now: Instant, key: TaskKey) {
        let record = &self.tasks[key];
        match record.state {
            TaskState::Queued | TaskState::Unclaimed if !record.may_have_run => {
                self.reject_late(now, key)
            }
            TaskState::Assigned { assignee, .. } => self.recall_one(now, assignee),
            TaskState::Queued
            | TaskState::Unclaimed
            | TaskState::Detached
            | TaskState::Ended(_) => {}
        }
    }

    /// How long a task with `ahead` tasks before it is likely to wait.
    pub(super) fn estimated_wait(&self, ahead: usize) -> Duration {
        self.placement
            .estimated_wait(ahead, self.workers.capacity())
    }

    fn create(
        &mut self,
        now: Instant,
        client: ClientKey,
        submit: Submit,
        payload: Payload,
    ) -> TaskKey {
        let id = TaskId {
            client: self.clients[client].peer.id,
            seq: submit.seq,
        };
        let name_key = self.placement.intern(&submit.name);
        let task = self
            .tasks
            .create(now, id, client, submit, name_key, payload);
        let bytes = self.streams.window_bytes(id);
        if bytes > 0 {
            self.tasks.set_window_bytes(task, bytes);
        }
        task
    }

    /// The task was placed: from here on its end is an outcome.
    fn accept(&mut self, task: TaskKey) {
        self.totals.accepted += 1;
        let record = &self.tasks[task];
        let (ranked, start_by) = (record.ranked(task), record.times.start_by);
        if let Some(deadline) = record.deadline() {
            self.schedule.alarms.set(Alarm::Expiry(ranked), deadline);
        }
        if start_by != Instant::NEVER {
            self.schedule.alarms.set(Alarm::StartBy(ranked), start_by);
        }
    }

    /// Refuses tasks that were taken out of the queue for others.
    fn displace(&mut self, now: Instant, displaced: Vec<Taken>) {
        for taken in &displaced {
            self.totals.displaced += 1;
            let victim = match taken {
                Taken::Task(entry) => {
                    self.tasks.detach(entry.task);
                    entry.task
                }
                Taken::OfRun(taken) => self.tasks.separate(taken),
            };
            self.reject_task(now, victim, RejectReason::Displaced);
        }
        for taken in displaced {
            if let Taken::OfRun(TakenOfRun { run, .. }) = taken {
                self.tidy(run);
            }
        }
    }

    /// Tells the client to come back later.
    pub(super) fn reject(
        &mut self,
        now: Instant,
        client: ClientKey,
        seq: u64,
        reason: RejectReason,
        may_have_run: bool,
    ) {
        self.reject_naming(now, client, seq, reason, may_have_run, Vec::new());
    }

    /// As `reject`, with names that the client may have meant.
    pub(super) fn reject_naming(
        &mut self,
        now: Instant,
        client: ClientKey,
        seq: u64,
        reason: RejectReason,
        may_have_run: bool,
        similar: Vec<Name>,
    ) {
        if similar.is_empty() {
            return self.reject_row(now, client, seq, 1, reason, may_have_run);
        }
        self.count_rejected(client, 1);
        let retry_after = self.retry_after(reason).into();
        let peer = &self.clients[client].peer;
        let (id, conn) = (peer.id, peer.conn);
        self.notify(Event::TasksRejected {
            first: TaskId { client: id, seq },
            count: 1,
            reason,
        });
        if let Some(conn) = conn {
            self.send(
                now,
                conn,
                ToClient::Reject {
                    seq,
                    reason,
                    retry_after,
                    may_have_run,
                    similar,
                },
            );
        }
    }

    /// As `reject`, of so many tasks whose numbers rise by one.
    pub(super) fn reject_row(
        &mut self,
        now: Instant,
        client: ClientKey,
        first: u64,
        count: u32,
        reason: RejectReason,
        may_have_run: bool,
    ) {
        self.count_rejected(client, count);
        let rejections = Rejections {
            first,
            count,
            reason,
            retry_after: self.retry_after(reason).into(),
            may_have_run,
        };
        let peer = &self.clients[client].peer;
        let (id, conn) = (peer.id, peer.conn);
        let awake = self.schedule.awake(now);
        self.connections.reject(awake, id, conn, &rejections);
    }

    fn count_rejected(&mut self, client: ClientKey, tasks: u32) {
        self.totals.rejected += u64::from(tasks);
        self.clients.rejected(client, tasks);
    }

    /// When another try makes sense: once a fair part of the queue has drained, or once the
    /// operator may have done something.
    fn retry_after(&self, reason: RejectReason) -> Duration {
        match reason {
            RejectReason::QueueFull
            | RejectReason::QueueBytesFull
            | RejectReason::Displaced
            | RejectReason::ClientFull
            | RejectReason::InFlightFull
            | RejectReason::TooSlow => {
                let drained = self.estimated_wait(self.placement.queue().len() / 4);
                drained.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
            }
            RejectReason::Draining | RejectReason::NoWorkers => RETRY_AFTER_MAX,
            RejectReason::TooLarge | RejectReason::NoRunner | RejectReason::NoStreams => {
                Duration::ZERO
            }
        }
    }
}
