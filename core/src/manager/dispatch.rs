//! Late binding: tasks leave the queue only for a worker that can use them now, and come back
//! from one that cannot.

use alloc::vec::Vec;

use crate::queue::{ClassId, First, Push, Standing, Taken, TaskKey};
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::RejectReason;
use crate::time::Instant;

use super::Manager;
use super::keys::Assignee;
use super::peers::Occupied;
use super::room::Room;
use super::tasks::{Ending, Place, Task, TaskState};

/// Why a task that was found in the queue goes to nobody: whoever wakes up late may come there before
/// the alarms.
#[derive(Clone, Copy, Debug)]
enum End {
    Expired,
    TooLate,
}

impl End {
    fn of(task: &Task, now: Instant) -> Option<Self> {
        if task.deadline().is_some_and(|deadline| deadline <= now) {
            Some(Self::Expired)
        } else {
            task.is_too_late(now).then_some(Self::TooLate)
        }
    }
}

impl Manager {
    /// Gives queued tasks to workers for as long as there are both.
    pub(super) fn dispatch(&mut self, now: Instant) {
        self.rescore_stale();
        loop {
            let in_flight = self.tasks.in_flight_room();
            let Some((class, worker)) = self.placement.next(in_flight.is_none()) else {
                return;
            };
            let taken = if in_flight.is_none() {
                self.give_returning(now, class, worker)
            } else {
                self.give_turn(now, class, worker, in_flight)
            };
            assert!(taken > 0, "a turn takes a task, or there would be another");
        }
    }

    /// Gives a worker the turn of one client. Says how many tasks it took out of the queue.
    fn give_turn(
        &mut self,
        now: Instant,
        class: ClassId,
        worker: WorkerKey,
        in_flight: Room,
    ) -> usize {
        let session = &self.workers[worker];
        let begun = self.placement.begin_turn(class, worker, session, in_flight);
        let Some(mut turn) = begun else {
            return 0;
        };
        let (mut given, mut over) = (0, Vec::new());
        let mut run = None;
        while let Some(first) = self.placement.first_of(&turn) {
            step();
            let (name, bytes) = match first {
                First::Task(task) => {
                    let record = &self.tasks[task];
                    if let Some(end) = End::of(record, now) {
                        self.placement.take_first(&turn);
                        self.tasks.detach(task);
                        over.push((task, end));
                        continue;
                    }
                    (record.name_key, record.bytes())
                }
                First::OfRun(of, bytes) => {
                    let in_row = self.give_row(now, &mut turn, of, class, worker);
                    if in_row > 0 {
                        run = Some(of);
                        given += in_row;
                        continue;
                    }
                    (self.tasks.run(of).name_key, bytes)
                }
            };
            let Some(charged) = self.placement.let_go(&mut turn, name, bytes) else {
                break;
            };
            let Some(taken) = self.placement.take_first(&turn) else {
                break;
            };
            let task = match taken {
                Taken::Task(entry) => entry.task,
                Taken::OfRun(taken) => {
                    run = Some(taken.run);
                    self.tasks.separate(&taken)
                }
            };
            self.assign(now, task, class, worker, charged);
            given += 1;
            if self.streams.has(self.tasks[task].id) {
                // It takes more room than its bytes: the next turn knows how much is left.
                break;
            }
        }
        self.placement.end_turn(turn);
        if let Some(run) = run {
            self.tidy(run);
        }
        self.rescore(worker);
        // Whatever their ends lead to finds the queue in order.
        let taken = given + over.len();
        for (task, end) in over {
            self.end_late(now, task, end);
        }
        taken
    }

    /// Gives a worker one task that has its room in flight. Says how many it took out of the queue.
    fn give_returning(&mut self, now: Instant, class: ClassId, worker: WorkerKey) -> usize {
        let Some(task) = self.placement.take_returning(class) else {
            return 0;
        };
        step();
        let record = &self.tasks[task];
        if let Some(end) = End::of(record, now) {
            self.tasks.detach(task);
            self.end_late(now, task, end);
        } else {
            let charged = self.placement.charge(record, class);
            self.assign(now, task, class, worker, charged);
            self.rescore(worker);
        }
        1
    }

    /// Ends a task that was found in the queue too late.
    fn end_late(&mut self, now: Instant, task: TaskKey, end: End) {
        match end {
            End::Expired => self.end_asked(now, task, Ending::Expire),
            End::TooLate => self.reject_task(now, task, RejectReason::TooSlow),
        }
    }

    /// Sends a task to a worker, whose score is to be renewed.
    fn assign(
        &mut self,
        now: Instant,
        task: TaskKey,
        class: ClassId,
        key: WorkerKey,
        charged: u64,
    ) {
        let attempt = self.tasks.new_attempt();
        let assignee = Assignee {
            worker: key,
            attempt,
        };
        let occupied = Occupied::assigned(task, now, self.tasks[task].bytes());
        self.tasks.assign(task, assignee, now, class, charged);
        self.workers.occupy(assignee, occupied);
        let conn = self.workers[key].peer.conn;
        debug_assert!(conn.is_some(), "only connected workers are picked");
        if let Some(conn) = conn {
            let awake = self.schedule.awake(now);
            let record = &self.tasks[task];
            if self.streams.has(record.id) {
                return self.assign_streams(now, task, conn, assignee);
            }
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
        let waits = |task: &Task| matches!(task.state, TaskState::Queued | TaskState::Unclaimed);
        self.reject_all(now, waits, RejectReason::NoWorkers);
    }

    /// A draining manager refuses what it has not started.
    pub(super) fn reject_unstarted(&mut self, now: Instant) {
        let unstarted = |task: &Task| matches!(task.state, TaskState::Queued) && !task.may_have_run;
        self.reject_all(now, unstarted, RejectReason::Draining);
    }

    /// Refuses all that wait in runs and those of the others that are meant, in the order in which they
    /// were accepted.
    fn reject_all(&mut self, now: Instant, is_meant: impl Fn(&Task) -> bool, reason: RejectReason) {
        let records = self.tasks.iter().filter(|(_, task)| is_meant(task));
        let mut all: Vec<(u64, Place)> = records
            .map(|(key, task)| (task.order, Place::Record(key)))
            .collect();
        for run in self.tasks.all_runs() {
            let places = self.placement.queue().places(run);
            all.extend(places.map(|(offset, order)| (order, Place::InRun(run, offset))));
        }
        all.sort_unstable_by_key(|(order, _)| *order);
        for (_, place) in all {
            if let Some(task) = self.take_out(place) {
                self.reject_task(now, task, reason);
            }
        }
    }
}
