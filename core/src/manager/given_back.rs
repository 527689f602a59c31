//! What workers give back: as never started, as killed, or as too late.
//!
//! What they are asked for is theirs to answer. What they give back unasked is believed, but not for
//! ever: it is a reason to doubt the worker, and beyond a number of times it is charged to the task.

use core::time::Duration;

use crate::event::Event;
use crate::ids::Attempt;
use crate::payload::Payload;
use crate::queue::TaskKey;
use crate::router::WorkerKey;
use crate::task::{AttemptLoss, Outcome, RejectReason};
use crate::time::Instant;

use super::Manager;
use super::keys::Assignee;
use super::peers::Purpose;
use super::placement::Pause;
use super::schedule::Alarm;
use super::tasks::{Ending, TaskState};

/// So much before its deadline a task may have come to it by the clock of its worker.
const EARLY: Duration = Duration::from_secs(1);
/// Or by this part of the time that it has been here: clocks do not run alike.
const EARLY_PART: u32 = 100;

impl Manager {
    /// The worker says that it never started this attempt, and has forgotten it. Whether nobody had
    /// asked it to.
    pub(super) fn on_not_started(
        &mut self,
        now: Instant,
        key: WorkerKey,
        attempt: Attempt,
    ) -> bool {
        let assignee = Assignee {
            worker: key,
            attempt,
        };
        let Some(occupied) = self.workers.vacate(assignee) else {
            return false;
        };
        self.rescore(key);
        let task = match occupied.purpose {
            Purpose::Obsolete => return false,
            Purpose::Orphan(id) => {
                self.forget_orphan(id, assignee);
                return false;
            }
            Purpose::Live(task) => task,
        };
        let is_current = self.tasks[task].assignee() == Some(assignee);
        let was_recalled = self.workers[key].asked(&occupied).is_some();
        if was_recalled && is_current {
            let id = self.tasks[task].id;
            self.notify(Event::Recalled { task: id, attempt });
        }
        let unasked = is_current && !was_recalled && !self.is_to_end(now, task);
        self.not_started(now, task, assignee, unasked);
        unasked
    }

    /// An attempt of this task, which its worker has let go, never started.
    pub(super) fn not_started(
        &mut self,
        now: Instant,
        task: TaskKey,
        assignee: Assignee,
        unasked: bool,
    ) {
        self.tasks.refund(task, assignee.attempt);
        if self.tasks.drop_superseded(task, assignee) {
            if matches!(self.tasks[task].state, TaskState::Queued) {
                self.tasks.clear_may_have_run(task);
            }
            return;
        }
        self.tasks.clear_may_have_run(task);
        let record = &self.tasks[task];
        if record.options.at_most_once && record.ran_earlier && record.ending.is_none() {
            // This attempt did not start, but an earlier one may have.
            let (id, history) = (record.id, record.history());
            self.notify(Event::TaskLost { task: id });
            return self.end(now, task, Outcome::Lost { history }, Payload::empty(), None);
        }
        if let Some(ending) = record.ending {
            return self.end_asked(now, task, ending);
        }
        if self.stage.draining && !self.tasks[task].may_have_run {
            return self.reject_task(now, task, RejectReason::Draining);
        }
        if self.tasks[task].is_too_late(now) {
            return self.reject_task(now, task, RejectReason::TooSlow);
        }
        if unasked && !self.tasks.note_return(task) {
            return self.charge_or_end(now, task, assignee, AttemptLoss::WorkerDrained);
        }
        self.requeue(now, task);
    }

    /// The machine of the worker has not what it takes to start the attempt.
    pub(super) fn on_unavailable(&mut self, now: Instant, task: TaskKey, assignee: Assignee) {
        self.ack(assignee);
        let is_current = self.tasks[task].assignee() == Some(assignee);
        let unasked = is_current && !self.is_to_end(now, task);
        self.not_started(now, task, assignee, unasked);
        if unasked {
            self.doubt_return(now, assignee.worker);
        }
    }

    /// The worker killed the attempt that the task waits for.
    pub(super) fn on_killed(&mut self, now: Instant, task: TaskKey, assignee: Assignee) {
        match self.tasks[task].ending {
            Some(ending) => self.end_asked(now, task, ending),
            None => self.on_killed_unasked(now, task, assignee),
        }
    }

    /// The worker says that the deadline of the task has passed. It cannot know that long before we do.
    pub(super) fn on_expired(&mut self, now: Instant, task: TaskKey, assignee: Assignee) {
        match self.tasks[task].ending {
            Some(ending) => self.end_asked(now, task, ending),
            None if self.is_to_end(now, task) => self.end_asked(now, task, Ending::Expire),
            None => self.on_killed_unasked(now, task, assignee),
        }
    }

    /// The worker killed the attempt on a request that no longer stands, or has made it up: nobody is
    /// to blame at first, but the attempt may have done something.
    fn on_killed_unasked(&mut self, now: Instant, task: TaskKey, assignee: Assignee) {
        if self.tasks[task].options.at_most_once {
            self.charge_loss(task, assignee, AttemptLoss::WorkerDrained);
            let history = self.tasks[task].history();
            self.end(now, task, Outcome::Lost { history }, Payload::empty(), None);
        } else if self.tasks.note_return(task) {
            self.tasks.ran_earlier(task);
            self.requeue(now, task);
        } else {
            self.charge_or_end(now, task, assignee, AttemptLoss::WorkerDrained);
        }
        // An earlier manager may have asked.
        if assignee.attempt.epoch == self.config.epoch {
            self.doubt_return(now, assignee.worker);
        }
    }

    /// Whether the end of a task is asked for, or about due, so that its worker has reason to let it go.
    fn is_to_end(&self, now: Instant, task: TaskKey) -> bool {
        let record = &self.tasks[task];
        let early = EARLY.max(now.since(record.times.accepted_at) / EARLY_PART);
        let is_due = |deadline| deadline <= now + early;
        record.ending.is_some() || record.deadline().is_some_and(is_due)
    }

    /// Charges a task for an attempt that is lost. It is tried again, or ends if it must not be.
    pub(super) fn charge_or_end(
        &mut self,
        now: Instant,
        task: TaskKey,
        assignee: Assignee,
        loss: AttemptLoss,
    ) {
        let record = &self.tasks[task];
        let exhausted = record.charged() + 1 >= record.options.max_attempts;
        let at_most_once = record.options.at_most_once;
        self.charge_loss(task, assignee, loss);
        if !exhausted && !at_most_once {
            self.tasks.ran_elsewhere(task);
            return self.requeue(now, task);
        }
        let record = &self.tasks[task];
        let (id, history) = (record.id, record.history());
        self.notify(if at_most_once {
            Event::TaskLost { task: id }
        } else {
            Event::PoisonStopped { task: id }
        });
        self.end(now, task, Outcome::Lost { history }, Payload::empty(), None);
    }

    /// A worker has given something back unasked. One that leaves gets nothing more anyway.
    pub(super) fn doubt_return(&mut self, now: Instant, key: WorkerKey) {
        if self.workers[key].draining {
            return;
        }
        if let Some(pause) = self.placement.doubt_return(now, key) {
            self.rest_worker(key, pause);
        }
    }

    /// A doubted worker gets nothing for a while.
    pub(super) fn rest_worker(&mut self, key: WorkerKey, pause: Pause) {
        if pause.is_first {
            let name = self.workers[key].peer.name.clone();
            self.notify(Event::WorkerDoubted { name });
        }
        self.schedule.alarms.set(Alarm::Trial(key), pause.until);
        self.rescore(key);
    }
}
