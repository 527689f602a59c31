//! Late binding: tasks leave the queue only for a worker that can use them now, and come back
//! from one that cannot.

use alloc::vec::Vec;
use core::time::Duration;

use crate::event::CloseReason;
use crate::ids::{Attempt, ConnId};
use crate::limits::{ANSWER, OLDEST_EVERY};
use crate::message::Body;
use crate::protocol_error::ProtocolError;
use crate::queue::{ClassId, TaskKey};
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::RejectReason;
use crate::time::Instant;

use super::abilities::KindKey;
use super::rest::Rest;
use super::session::{Occupied, Peer, Purpose};
use super::tasks::{Ending, Holder, State};
use super::{Alarm, Manager, ManagerOutput, PeerTimer};

/// Workers that one look for tasks to take back goes through, so that its cost has a bound.
const TAKE_BACK_WORKERS: usize = 16;
/// Attempts, and workers, that one look goes over, so that its cost has a bound.
const TAKE_BACK_LOOKS: usize = 512;
/// Rest after each attempt that was looked at, which takes a tenth of this or less.
const TAKE_BACK_REST: Duration = Duration::from_micros(2);
/// So much rest may be due and the next look comes all the same, so that rare ones never wait.
const TAKE_BACK_BURST: Duration = Duration::from_millis(1);
/// A worker that finished nothing for less than this is not stuck behind long tasks.
const STALL_MIN: Duration = Duration::from_millis(2);

/// Where the next look for tasks to take back begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    rest: Rest,
    /// With this kind of workers, if the last look came no further.
    kind: Option<KindKey>,
    worker: WorkerKey,
    /// In the middle of a worker's attempts, if the last look came no further.
    below: Option<Below>,
}

/// A place among the attempts of a worker.
#[derive(Clone, Debug)]
struct Below {
    worker: WorkerKey,
    /// Those below this one are yet to be looked at.
    attempt: Attempt,
    /// How many were.
    seen: usize,
    /// Of these, the ones that are asked for.
    pending: usize,
}

impl Manager {
    /// Gives queued tasks to workers for as long as there are both.
    pub(super) fn dispatch(&mut self, now: Instant) {
        self.rescore_stale();
        while let Some((class, worker)) = self.next_class() {
            step();
            let Some(task) = self.next_task(class) else {
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

    /// A class with a task that may go out, and the worker for it. Where several classes have
    /// one, and so may be after the same workers, the more important task goes first and then
    /// the one that came first; now and then it is the oldest, as within a class.
    fn next_class(&self) -> Option<(ClassId, WorkerKey)> {
        let ready = |class| {
            step();
            Some((class, self.abilities.pick(class)?))
        };
        if self.tasks.is_in_flight_full() {
            let returning = self.queue.returning_classes().filter_map(ready);
            let oldest = |(class, worker)| {
                let entry = self.queue.oldest_returning(class)?;
                Some((entry.order, class, worker))
            };
            let (_, class, worker) = returning.filter_map(oldest).min()?;
            return Some((class, worker));
        }
        if let Some(class) = self.queue.only_class() {
            return ready(class);
        }
        let mut classes = self.queue.classes().filter_map(ready);
        let first = classes.next()?;
        let Some(second) = classes.next() else {
            return Some(first);
        };
        let all = [first, second].into_iter().chain(classes);
        if self.is_turn_of_oldest() {
            let order = |class| self.queue.oldest(class).map(|entry| entry.order);
            all.min_by_key(|(class, _)| order(*class))
        } else {
            all.min_by_key(|(class, _)| self.queue.next_rank(*class))
        }
    }

    fn is_turn_of_oldest(&self) -> bool {
        self.since_oldest + 1 >= OLDEST_EVERY
    }

    /// The next task of this class that may go out. At the bound of what may be in flight that is
    /// one which has its room already.
    fn next_task(&mut self, class: ClassId) -> Option<TaskKey> {
        let entry = if self.tasks.is_in_flight_full() {
            self.queue.pop_returning(class)
        } else if self.queue.only_class().is_some() {
            self.queue.pop(class)
        } else if self.is_turn_of_oldest() {
            self.since_oldest = 0;
            self.queue.pop_oldest(class)
        } else {
            self.since_oldest += 1;
            self.queue.pop(class)
        };
        Some(entry?.task)
    }

    fn assign(&mut self, now: Instant, task: TaskKey, class: ClassId, key: WorkerKey) {
        let attempt = self.tasks.new_attempt();
        let holder = Holder {
            worker: key,
            attempt,
        };
        let record = &self.tasks[task];
        let charged = self.durations.expected(record.name_key).max(1);
        let (client, priority, bytes) = (record.client, record.priority, record.bytes());
        self.tasks.assign(task, holder, now, class, charged);
        self.queue.charge(client, class, priority, charged);
        let session = &mut self.workers[key];
        let occupied = Occupied {
            purpose: Purpose::Live(task),
            at: now,
            bytes,
            asked_back: None,
            started: false,
            seen: true,
        };
        if session.outstanding() == 0 {
            session.progress = now;
        }
        session.occupy(attempt, occupied);
        let conn = session.conn;
        self.rescore(key);
        debug_assert!(conn.is_some(), "only connected workers are picked");
        if let Some(conn) = conn
            && self.count_sent(now, conn)
        {
            let message = self.tasks[task].assignment(attempt, now);
            self.outputs
                .push_back(ManagerOutput::Send { conn, message });
        }
    }

    /// Asks tasks back that wait behind long ones at a busy worker while another worker is free
    /// and the queue has nothing for it. Looks at so many attempts in so much time; the next look
    /// goes on where this one ends.
    pub(super) fn take_back(&mut self, now: Instant) {
        self.alarms.cancel(Alarm::TakeBack);
        if self.ahead.is_empty() {
            return;
        }
        if let Some(at) = self.look.rest.wait(now, TAKE_BACK_BURST) {
            return self.alarms.set(Alarm::TakeBack, at);
        }
        let mut budget = TAKE_BACK_LOOKS;
        let first = self.look.kind.take();
        let is_first = |kind: &KindKey| first.is_none_or(|first| *kind >= first);
        let from = self.abilities.kinds().filter(is_first);
        let before = self.abilities.kinds().filter(|kind| !is_first(kind));
        for kind in from.chain(before) {
            self.take_back_for(now, kind, &mut budget);
            if budget == 0 {
                self.look.kind = Some(kind);
                // Nothing has changed, and yet there is more to look at.
                self.alarms.set(Alarm::TakeBack, now + TAKE_BACK_BURST);
                break;
            }
        }
        let looks = (TAKE_BACK_LOOKS - budget) as u32;
        self.look.rest.owe(now, TAKE_BACK_REST * looks);
    }

    /// Takes back what the best worker of `kind` could run at once.
    fn take_back_for(&mut self, now: Instant, kind: KindKey, budget: &mut usize) {
        let runs = |class| {
            step();
            self.abilities.runs(kind, class)
        };
        if self.queue.classes().any(runs) {
            return;
        }
        let Some(free) = self.abilities.pick_of(kind) else {
            return;
        };
        let free = &self.workers[free];
        if !free.has_idle_slot() {
            return;
        }
        let mut wanted = (free.capacity.min(free.window) - free.outstanding()) as usize;
        let mut next_look = self.alarms.get(Alarm::TakeBack);
        // Begins where the last look ended, so that every worker has its turn.
        let later = self.ahead.range(self.look.worker..);
        let earlier = self.ahead.range(..self.look.worker);
        let busy: Vec<WorkerKey> = later
            .chain(earlier)
            .take(TAKE_BACK_WORKERS)
            .copied()
            .collect();
        for key in busy {
            if wanted == 0 || *budget == 0 {
                break;
            }
            *budget -= 1;
            step();
            self.look.worker = WorkerKey(key.0 + 1);
            let session = &self.workers[key];
            let stall = STALL_MIN.max(Duration::from_nanos(session.speed.average()) * 4);
            let stalled_at = session.progress + stall;
            if stalled_at > now {
                next_look = Some(next_look.map_or(stalled_at, |look| look.min(stalled_at)));
                continue;
            }
            wanted -= self.ask_back(now, key, kind, wanted, budget);
        }
        if let Some(at) = next_look {
            self.alarms.set(Alarm::TakeBack, at);
        }
    }

    /// Asks a worker for at most `wanted` of the attempts beyond its slots which workers of `kind`
    /// can run, newest first; says how many were asked for or are on their way already. If the
    /// budget ends before the attempts do, the next look goes on below the last.
    fn ask_back(
        &mut self,
        now: Instant,
        key: WorkerKey,
        kind: KindKey,
        wanted: usize,
        budget: &mut usize,
    ) -> usize {
        let session = &self.workers[key];
        let excess = (session.outstanding() - session.capacity) as usize;
        let mut attempts = Vec::new();
        let resumed = self.look.below.take().filter(|below| below.worker == key);
        let (mut seen, mut pending) = resumed
            .as_ref()
            .map_or((0, 0), |below| (below.seen, below.pending));
        let mut newest = match resumed {
            Some(below) => session.attempts.last_below(below.attempt),
            None => session.attempts.last(),
        };
        while seen < excess && pending < wanted {
            let Some(attempt) = newest else {
                break;
            };
            if *budget == 0 {
                let attempt = Attempt {
                    number: attempt.number + 1,
                    ..attempt
                };
                self.look.worker = key;
                self.look.below = Some(Below {
                    worker: key,
                    attempt,
                    seen,
                    pending,
                });
                break;
            }
            *budget -= 1;
            step();
            seen += 1;
            newest = session.attempts.last_below(attempt);
            let Some(occupied) = session.attempts.get(attempt) else {
                break;
            };
            let Purpose::Live(task) = occupied.purpose else {
                continue;
            };
            let record = &self.tasks[task];
            let class = self.abilities.class_of(&record.name, record.name_key);
            if occupied.started || !self.abilities.runs(kind, class) {
                continue;
            }
            pending += 1;
            if occupied.asked_back.is_none() {
                attempts.push(attempt);
            }
        }
        if !attempts.is_empty() {
            self.send_take_back(now, key, attempts);
        }
        pending
    }

    /// Asks for one attempt back, unless it is known to have started or is asked for already.
    pub(super) fn ask_back_one(&mut self, now: Instant, holder: Holder) {
        let session = &self.workers[holder.worker];
        let open = |occupied: &Occupied| !occupied.started && occupied.asked_back.is_none();
        if session.reported && session.attempts.get(holder.attempt).is_some_and(open) {
            self.send_take_back(now, holder.worker, [holder.attempt].into());
        }
    }

    /// Asks a worker for attempts that it has, and for an answer in time.
    fn send_take_back(&mut self, now: Instant, key: WorkerKey, attempts: Vec<Attempt>) {
        let awake = self.clock.at(now);
        let session = &mut self.workers[key];
        let Some(conn) = session.conn else {
            return;
        };
        let question = self.conns.get(conn).map_or(0, |conn| conn.detector.sent()) + 1;
        for attempt in &attempts {
            if let Some(occupied) = session.attempts.get_mut(*attempt) {
                occupied.asked_back = Some((awake, question));
            }
        }
        if self.peer_timers.get(PeerTimer::TakeBack(conn)).is_none() {
            self.peer_timers
                .set(PeerTimer::TakeBack(conn), awake + ANSWER);
        }
        self.send(now, conn, Body::TakeBack { attempts });
    }

    /// A worker had time to answer for what was asked back. One that has taken the question in
    /// and says nothing breaks the protocol: after a reconnect its report answers. One that a
    /// large payload keeps from hearing the question has more time.
    pub(super) fn check_take_back(&mut self, now: Instant, conn: ConnId) {
        let awake = self.clock.at(now);
        let Some(known) = self.conns.get(conn) else {
            return;
        };
        let (Peer::Worker(key), confirmed) = (known.peer, known.detector.confirmed()) else {
            return;
        };
        let asked = |occupied: &Occupied| occupied.asked_back;
        let open = self.workers[key].attempts.values();
        let Some((since, question)) = open.filter_map(asked).min() else {
            return;
        };
        if since + ANSWER > awake {
            self.peer_timers
                .set(PeerTimer::TakeBack(conn), since + ANSWER);
        } else if question > confirmed {
            self.peer_timers
                .set(PeerTimer::TakeBack(conn), awake + ANSWER);
        } else {
            let reason = CloseReason::Protocol(ProtocolError::TakeBackUnanswered);
            self.close(now, conn, reason);
        }
    }

    /// No worker came, or came back: whatever waits is of more use at a manager that has some, or
    /// once there are some here. The last attempt of each is over or was given up on, so what may
    /// have run says so, and its client asks again for as long as it takes.
    pub(super) fn on_no_workers(&mut self, now: Instant) {
        self.starting = false;
        if !self.workers.is_empty() {
            return;
        }
        let waiting: Vec<TaskKey> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, State::Queued | State::Held))
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
            .filter(|(_, task)| matches!(task.state, State::Queued) && !task.may_have_run)
            .map(|(key, _)| key)
            .collect();
        for task in unstarted {
            self.reject_task(now, task, RejectReason::Draining);
        }
    }
}
