//! Late binding: tasks leave the queue only for a worker that can use them now, and come back
//! from one that cannot.

use alloc::vec::Vec;

use crate::queue::{ClassId, Push, Standing, TaskKey};
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::RejectReason;
use crate::time::Instant;

use super::Manager;
use super::keys::Assignee;
use super::peers::Occupied;
use super::tasks::{Ending, TaskState};

impl Manager {
    /// Gives queued tasks to workers for as long as there are both.
    pub(super) fn dispatch(&mut self, now: Instant) {
        self.rescore_stale();
        loop {
            let full = self.tasks.is_in_flight_full();
            let Some((class, worker)) = self.placement.next(full) else {
                return;
            };
            step();
            let Some(task) = self.placement.take(class, full) else {
                return;
            };
            // Whoever wakes up late may come here before the alarms.
            let record = &self.tasks[task];
            let is_expired = record.deadline().is_some_and(|deadline| deadline <= now);
            let is_late = record.is_too_late(now);
            if !is_expired && !is_late {
                self.assign(now, task, class, worker);
                continue;
            }
            // Not queued any more: it was just popped.
            self.tasks.detach(task);
            if is_expired {
                self.end_asked(now, task, Ending::Expire);
            } else {
                self.reject_task(now, task, RejectReason::TooSlow);
            }
        }
    }

    fn assign(&mut self, now: Instant, task: TaskKey, class: ClassId, key: WorkerKey) {
        let attempt = self.tasks.new_attempt();
        let assignee = Assignee {
            worker: key,
            attempt,
        };
        let record = &self.tasks[task];
        let charged = self.placement.charge(record, class);
        let occupied = Occupied::assigned(task, now, record.bytes());
        self.tasks.assign(task, assignee, now, class, charged);
        self.workers.occupy(assignee, occupied);
        self.rescore(key);
        let conn = self.workers[key].peer.conn;
        debug_assert!(conn.is_some(), "only connected workers are picked");
        if let Some(conn) = conn {
            let awake = self.schedule.awake(now);
            let record = &self.tasks[task];
            self.connections.send_run(
                awake,
                conn,
                |last| record.assign_too(last, attempt, now),
                || record.assignment(attempt, now),
            );
        }
    }

    /// Lets a task wait, if there is room for it. All that wait come this way.
    pub(super) fn enqueue(&mut self, now: Instant, key: TaskKey, standing: Standing) -> Push {
        let awake = self.schedule.awake(now);
        let (push, is_unroutable) = self.placement.enqueue(awake, &self.tasks, key, standing);
        if is_unroutable {
            self.watch_unroutable();
        }
        push
    }

    /// Puts an assigned task back into the queue, in the room reserved for it.
    pub(super) fn requeue(&mut self, now: Instant, key: TaskKey) {
        self.unassign(key, 0);
        let deadline = self.tasks[key].deadline();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return self.end_asked(now, key, Ending::Expire);
        }
        self.tasks.queued(key);
        self.enqueue(now, key, Standing::Returning);
    }

    /// The task is no longer with its worker, after having run for `ran` nanoseconds there. It is
    /// nowhere until the caller places or ends it.
    pub(super) fn unassign(&mut self, key: TaskKey, ran: u64) {
        let record = &self.tasks[key];
        let TaskState::Assigned { class, charged, .. } = record.state else {
            return;
        };
        // An assignment without a charge was adopted.
        if charged > 0 {
            self.placement.correct(record, class, charged, ran);
        }
        self.tasks.detach(key);
    }

    /// Tells the router how good a choice this worker is now.
    pub(super) fn rescore(&mut self, key: WorkerKey) {
        self.placement.rescore(key, &self.workers[key]);
        self.workers.update_prefetching(key);
    }

    fn rescore_stale(&mut self) {
        while let Some(key) = self.placement.next_stale() {
            step();
            if self.workers.get(key).is_some() {
                self.rescore(key);
            }
        }
    }

    /// No worker came, or came back: whatever waits is of more use at a manager that has some, or
    /// once there are some here. The last attempt of each is over or was given up on, so what may
    /// have run says so, and its client asks again for as long as it takes.
    pub(super) fn on_no_workers(&mut self, now: Instant) {
        self.stage.starting = false;
        if !self.workers.is_empty() {
            return;
        }
        let waiting: Vec<TaskKey> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, TaskState::Queued | TaskState::Unclaimed))
            .map(|(key, _)| key)
            .collect();
        for task in waiting {
            self.reject_task(now, task, RejectReason::NoWorkers);
        }
    }

    /// A draining manager refuses what it has not started.
    pub(super) fn reject_unstarted(&mut self, now: Instant) {
        let unstarted: Vec<TaskKey> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, TaskState::Queued) && !task.may_have_run)
            .map(|(key, _)| key)
            .collect();
        for task in unstarted {
            self.reject_task(now, task, RejectReason::Draining);
        }
    }
}
