//! Brings attempts and slots together: who runs where, how long, and what a slot's end means.

use core::time::Duration;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::attempts::{AttemptKey, AttemptPlace, HeldResult};
use super::machine::Worker;
use super::pool::{SlotState, Stage, StopReason};
use super::{Job, JobEnd, PoolInput, PoolOutput, RunEnd, SlotLife, WorkerOutput};
use crate::capabilities::Capabilities;
use crate::durations::NameKey;
use crate::event::Event;
use crate::ids::SlotId;
use crate::limits::{CHILD_WORK_MAX, CHILD_WORK_MIN, ERROR_TEXT_MAX, JOBS_MAX, SERVICE_FLOOR};
use crate::message::AttemptEnd;
use crate::message::FromWorker;
use crate::payload::Payload;
use crate::task::{ErrorKind, ExitCause, TaskError, keep_end};
use crate::time::{Instant, saturating_nanos};

/// A program may measure this much more than the worker, whose clock stands still in a turn.
const RAN_SLACK: Duration = Duration::from_millis(100);

/// Most attempts that there is room for when a slot is given a second one in one go; there may be fewer
/// that wait.
const JOBS_FIRST: usize = 256;

impl Worker {
    /// Takes in a fact about the pool; facts about earlier lives mean nothing.
    pub(super) fn on_pool(&mut self, now: Instant, input: PoolInput) {
        match input {
            PoolInput::Ready { slot, capabilities } => self.on_ready(now, slot, capabilities),
            PoolInput::Done {
                slot,
                attempt,
                ran,
                end,
                payload,
            } => {
                let end = JobEnd {
                    attempt,
                    ran,
                    end,
                    payload,
                };
                self.on_done(now, slot, end);
                self.go_on(now, slot);
            }
            PoolInput::DoneMany { slot, ends } => {
                for end in ends {
                    self.on_done(now, slot, end);
                }
                self.go_on(now, slot);
            }
            PoolInput::Stream { slot, of, usage } => self.on_stream_use(now, slot, of, usage),
            PoolInput::Exited {
                slot,
                cause,
                stderr,
            } => self.on_exited(now, slot, cause, stderr),
            PoolInput::Memory { slot, bytes } => self.on_memory(now, slot, bytes),
        }
    }

    fn on_ready(&mut self, now: Instant, life: SlotLife, capabilities: Capabilities) {
        let Some(slot) = self.pool.find(life) else {
            return;
        };
        if !self.pool.on_ready(now, slot) {
            return;
        }
        self.notify(Event::SlotReady { slot: life.slot });
        if self.announced.change(capabilities) {
            // The program is another one now: the processes of the old one make room for it.
            self.pool.renew(now, slot, &mut self.out);
        }
    }

    fn on_done(&mut self, now: Instant, life: SlotLife, end: JobEnd) {
        let Some(slot) = self.pool.find(life) else {
            return;
        };
        let attempt = end.attempt;
        let place = self.pool.get(slot);
        let state = place.state;
        let (alone, since) = (place.head.alone, place.head.since);
        // What a program says of itself is believed as far as it can be true.
        let ran = end.ran.min(now.since(place.busy_since) + RAN_SLACK);
        let head = place.queue.front().copied();
        let Some(head) = head.filter(|&key| self.attempts.get(key).attempt == attempt) else {
            // To answer twice is not the fault of the next attempt.
            let twice = place.answered == Some(attempt);
            let reason_to_stop = head.map(|_| {
                if twice {
                    StopReason::Twice
                } else {
                    StopReason::Protocol
                }
            });
            self.pool
                .stop(now, slot, Stage::Killed, reason_to_stop, &mut self.out);
            return;
        };
        let entry = self.attempts.get(head);
        let (name, work) = (entry.name_key, entry.work);
        self.pool.pop(now, slot, attempt, work);
        let nanos = saturating_nanos(ran);
        let ended = match (end.end, state) {
            // What ends in an error after it was told to end, ends because it was told so.
            (
                RunEnd::Failed(error),
                SlotState::Stopping {
                    reason_to_stop: Some(reason_to_stop),
                    ..
                },
            ) => reason_to_stop.end(self.config.memory_limit, error.stderr),
            (RunEnd::Failed(error), _) if error.kind == ErrorKind::Unavailable => {
                // There are more processes than the machine can bear.
                self.pool.note_unavailable(slot);
                self.notify(Event::Unavailable {
                    slot: life.slot,
                    message: error.message.clone(),
                });
                AttemptEnd::Failed(error)
            }
            (ended, _) => {
                // Errors count too: what matters here is how long a slot is taken.
                self.durations.completed(name, nanos);
                self.demand.on_run(ran);
                self.pool.note_served(slot);
                if alone {
                    self.demand.on_hop(now.since(since).saturating_sub(ran));
                }
                match ended {
                    RunEnd::Completed => AttemptEnd::Completed,
                    RunEnd::Failed(error) => AttemptEnd::Failed(error),
                }
            }
        };
        let result = HeldResult {
            ran,
            end: ended,
            payload: end.payload,
        };
        self.finish(now, head, result);
    }

    /// A slot has answered: it goes on with what it has, or rests.
    fn go_on(&mut self, now: Instant, life: SlotLife) {
        if let Some(slot) = self.pool.find(life) {
            self.pool.rest(now, slot, &mut self.out);
            self.watch_head(slot);
        }
    }

    fn on_exited(&mut self, now: Instant, life: SlotLife, cause: ExitCause, mut stderr: String) {
        let Some(slot) = self.pool.find(life) else {
            return;
        };
        keep_end(&mut stderr, ERROR_TEXT_MAX);
        let place = self.pool.get_mut(slot);
        let (state, since) = (place.state, place.head.since);
        let reached = place.reached();
        let mut queue = core::mem::take(&mut place.queue);
        let busy = !queue.is_empty();
        let end = match state {
            SlotState::Stopping { reason_to_stop, .. } => reason_to_stop
                .map(|reason_to_stop| reason_to_stop.end(self.config.memory_limit, stderr.clone())),
            SlotState::Ready if cause == ExitCause::Memory => {
                Some(StopReason::Memory(None).end(self.config.memory_limit, stderr.clone()))
            }
            SlotState::Ready => Some(AttemptEnd::Crashed(cause, stderr.clone())),
            SlotState::Starting | SlotState::Dead | SlotState::Gone => None,
        };
        if let Some(end) = end
            && let Some(head) = queue.pop_front()
        {
            let (ran, payload) = (now.since(since), Payload::empty());
            if ran >= CHILD_WORK_MAX {
                // It would have run for longer still, so its name is not tiny.
                let name = self.attempts.get(head).name_key;
                self.durations.completed(name, saturating_nanos(ran));
            }
            self.finish(now, head, HeldResult { ran, end, payload });
        }
        // The others did not get their turn. They are waited for here, so they go first.
        while let Some(key) = queue.pop_back() {
            self.requeue(now, key);
        }
        self.pool.get_mut(slot).queue = queue;
        self.notify(Event::SlotExited {
            slot: life.slot,
            cause,
            asked: matches!(state, SlotState::Stopping { .. }),
            reached,
            stderr,
        });
        // Nobody waits any more for the tasks that it submitted. Cut off, the manager finds out by itself.
        if self.link.is_up() && matches!(state, SlotState::Ready | SlotState::Stopping { .. }) {
            let SlotLife { slot, life } = life;
            self.link
                .send(now, FromWorker::Gone { slot, life }, &mut self.out);
        }
        let leaving = self.is_leaving();
        self.pool.on_exit(now, slot, busy, leaving, &mut self.out);
    }

    fn requeue(&mut self, now: Instant, key: AttemptKey) {
        let entry = self.attempts.get(key);
        debug_assert!(!entry.at_most_once, "it would start twice");
        if entry.kill {
            // Not returned: it was written to a process, and the manager may know.
            let end = AttemptEnd::Killed;
            self.finish(now, key, HeldResult::without_run(end));
            return;
        }
        if let Some(at) = entry.deadline {
            self.expiries.set(key, at);
        }
        self.attempts.requeue(key);
    }

    fn on_memory(&mut self, now: Instant, life: SlotLife, bytes: u64) {
        let Some(slot) = self.pool.find(life) else {
            return;
        };
        if self.config.memory_limit.is_none_or(|limit| bytes <= limit) {
            return;
        }
        let head = self.pool.get(slot).queue.front().copied();
        if let Some(head) = head {
            let task = self.attempts.get(head).task;
            self.notify(Event::MemoryLimitHit { task, bytes });
        }
        let reason_to_stop = head.map(|_| StopReason::Memory(Some(bytes)));
        self.pool
            .stop(now, slot, Stage::Killed, reason_to_stop, &mut self.out);
    }

    /// Gives waiting attempts to slots: to idle ones from the lowest number on, as many tiny ones
    /// at once as are worth waking a process for; then, as long as they are expected to take no
    /// time, queued inside children.
    pub(super) fn feed(&mut self, now: Instant) {
        while let Some(slot) = self.pool.first_idle() {
            let Some(key) = self.next_to_start(now) else {
                return;
            };
            let (work, attempt) = (self.work_of(key), self.attempts.get(key).attempt);
            let open = self.is_tiny(key) && !self.attempts.streams.has(attempt);
            self.give(now, key, slot, work, open);
            self.fill(now, slot, usize::MAX, saturating_nanos(CHILD_WORK_MIN));
        }
        if self.next_tiny(now).is_some() {
            self.feed_children(now);
        }
    }

    /// Fills the children that work on tiny attempts evenly, each in one go, so that what is
    /// written to it is one batch.
    fn feed_children(&mut self, now: Instant) {
        let (mut open, mut queued) = (0, self.attempts.waiting());
        for (slot, place) in self.pool.slots() {
            if self.pool.may_queue(now, slot) {
                open += 1;
                queued += place.queue.len();
            }
        }
        if open == 0 {
            return;
        }
        let share = queued.div_ceil(open);
        for slot in (0..self.pool.capacity()).map(SlotId) {
            self.fill(now, slot, share, saturating_nanos(CHILD_WORK_MAX));
        }
    }

    /// Queues tiny attempts in a child that has some, up to a bound of attempts and of work.
    fn fill(&mut self, now: Instant, slot: SlotId, count: usize, work: u64) {
        // Nothing completes meanwhile, so what one attempt of a name takes, the next of it does.
        let mut last: Option<(NameKey, u64)> = None;
        while self.pool.get(slot).queue.len() < count && self.pool.may_queue(now, slot) {
            let Some(key) = self.next_to_start(now) else {
                return;
            };
            let name = self.attempts.get(key).name_key;
            let its = match last {
                Some((of, its)) if of == name => its,
                _ if self.is_tiny(key) => self.work_of(key),
                _ => return,
            };
            if self.needs_an_idle_one(key) || self.pool.get(slot).work + its > work {
                return;
            }
            last = Some((name, its));
            self.give(now, key, slot, its, true);
        }
    }

    /// The first waiting attempt that may start now. Those whose deadline has passed go.
    fn next_to_start(&mut self, now: Instant) -> Option<AttemptKey> {
        loop {
            let key = self.attempts.first()?;
            let entry = self.attempts.get(key);
            if !entry.given && self.is_cut_off() {
                return None;
            }
            if entry.deadline.is_none_or(|at| now < at) {
                return Some(key);
            }
            self.expire(now, key);
        }
    }

    /// The first waiting attempt, if it may be queued inside a child.
    fn next_tiny(&mut self, now: Instant) -> Option<AttemptKey> {
        let key = self.next_to_start(now)?;
        (!self.needs_an_idle_one(key) && self.is_tiny(key)).then_some(key)
    }

    /// Whether it is never queued behind another: what must not start twice is not, since its process may
    /// end before its turn, nor what has streams, since these begin when it is given.
    fn needs_an_idle_one(&self, key: AttemptKey) -> bool {
        let entry = self.attempts.get(key);
        entry.at_most_once || self.attempts.streams.has(entry.attempt)
    }

    fn is_tiny(&self, key: AttemptKey) -> bool {
        let name = self.attempts.get(key).name_key;
        self.durations.recent_max(name) < saturating_nanos(CHILD_WORK_MAX)
    }

    fn work_of(&self, key: AttemptKey) -> u64 {
        let name = self.attempts.get(key).name_key;
        self.durations
            .expected(name)
            .max(saturating_nanos(SERVICE_FLOOR))
    }

    /// Gives a waiting attempt to a slot; `open` if others may be queued behind it.
    fn give(&mut self, now: Instant, key: AttemptKey, slot: SlotId, work: u64, open: bool) {
        let entry = self.attempts.get_mut(key);
        entry.work = work;
        if entry.deadline.is_some() {
            self.expiries.cancel(key);
        }
        let first = self.pool.push(now, slot, key, work, open);
        let job = self.attempts.give(key, slot, !first);
        let life = self.pool.get(slot).life;
        if self.attempts.streams.has(job.attempt) {
            self.run_with_streams(now, SlotLife { slot, life }, job);
        } else {
            self.run(SlotLife { slot, life }, job);
        }
        if first {
            self.watch_head(slot);
        }
    }

    /// Lets a slot run an attempt: said with those that it was given just before, if any.
    fn run(&mut self, slot: SlotLife, job: Job) {
        if let Some(WorkerOutput::Pool(last)) = self.out.back_mut()
            && let PoolOutput::RunMany { slot: to, jobs } = last
            && *to == slot
            && jobs.len() < JOBS_MAX
        {
            return jobs.push(job);
        }
        let run = if let Some(WorkerOutput::Pool(PoolOutput::Run { slot: to, .. })) =
            self.out.back()
            && *to == slot
            && let Some(WorkerOutput::Pool(PoolOutput::Run { job: first, .. })) =
                self.out.pop_back()
        {
            let mut jobs = Vec::with_capacity(JOBS_FIRST.min(2 + self.attempts.waiting()));
            jobs.extend([first, job]);
            PoolOutput::RunMany { slot, jobs }
        } else {
            PoolOutput::Run { slot, job }
        };
        self.out.push_back(WorkerOutput::Pool(run));
    }

    /// Arms the slot's timer for whatever ends its first attempt soonest.
    fn watch_head(&mut self, slot: SlotId) {
        if self.pool.get(slot).state == SlotState::Ready
            && let Some((at, _)) = self.head_due(slot)
        {
            self.pool.wake_by(slot, at);
        }
    }

    /// When and why the first attempt of `slot` must end.
    pub(super) fn head_due(&self, slot: SlotId) -> Option<(Instant, StopReason)> {
        let place = self.pool.get(slot);
        let entry = self.attempts.get(*place.queue.front()?);
        // What has just got its turn and takes no time is not worth a process.
        let soon = place.head.since + CHILD_WORK_MAX;
        let mut due = entry.kill.then_some((soon, StopReason::Killed));
        let mut or = |at: Instant, reason_to_stop| {
            if due.is_none_or(|(due, _)| at < due) {
                due = Some((at, reason_to_stop));
            }
        };
        if let Some(at) = entry.deadline {
            or(at.max(soon), StopReason::Expired);
        }
        if let Some(limit) = entry.limit.or(self.config.time_limit) {
            let at = place.head.since + limit.max(Duration::from_nanos(1));
            or(at, StopReason::TimeLimit(limit));
        }
        due
    }

    /// Does what a slot's timer stands for.
    pub(super) fn on_slot_timer(&mut self, now: Instant, slot: SlotId) {
        match self.pool.get(slot).state {
            SlotState::Ready => match self.head_due(slot) {
                Some((at, reason_to_stop)) if at <= now => self.end_head(now, slot, reason_to_stop),
                _ => self.watch_head(slot),
            },
            SlotState::Stopping { .. } => self.pool.press(now, slot, &mut self.out),
            SlotState::Dead => self.pool.spawn(slot, &mut self.out),
            SlotState::Starting | SlotState::Gone => {}
        }
    }

    fn end_head(&mut self, now: Instant, slot: SlotId, reason_to_stop: StopReason) {
        if let (StopReason::TimeLimit(_), Some(&head)) =
            (reason_to_stop, self.pool.get(slot).queue.front())
        {
            let task = self.attempts.get(head).task;
            self.notify(Event::TimeLimitHit { task });
        }
        self.pool.stop(
            now,
            slot,
            Stage::Terminated,
            Some(reason_to_stop),
            &mut self.out,
        );
    }

    /// The manager wants the end of an attempt that is in a slot: now if it is its turn, else
    /// when it is.
    pub(super) fn kill_given(&mut self, now: Instant, key: AttemptKey) {
        let entry = self.attempts.get_mut(key);
        entry.kill = true;
        let AttemptPlace::Given { slot, .. } = entry.place else {
            return;
        };
        let place = self.pool.get(slot);
        if place.state == SlotState::Ready && place.queue.front() == Some(&key) {
            self.end_head(now, slot, StopReason::Killed);
        }
    }

    /// The deadline of a waiting attempt has passed. The manager keeps the deadline of what never
    /// started itself; all it needs is the attempt back.
    pub(super) fn expire(&mut self, now: Instant, key: AttemptKey) {
        if self.attempts.get(key).given {
            self.expiries.cancel(key);
            let end = AttemptEnd::Expired;
            self.finish(now, key, HeldResult::without_run(end));
        } else {
            self.return_unstarted(key);
        }
    }
}

impl HeldResult {
    /// An end that needed no slot.
    pub(super) fn without_run(end: AttemptEnd) -> Self {
        Self {
            ran: Duration::ZERO,
            end,
            payload: Payload::empty(),
        }
    }
}

impl StopReason {
    /// What it makes of the attempt once its process has let go.
    fn end(self, memory_limit: Option<u64>, stderr: String) -> AttemptEnd {
        let (kind, message) = match self {
            Self::Killed => return AttemptEnd::Killed,
            Self::Expired => return AttemptEnd::Expired,
            // Nobody asked for it, so the manager tries again and charges nothing.
            Self::Twice => return AttemptEnd::Killed,
            Self::Protocol => return AttemptEnd::Crashed(ExitCause::Protocol, stderr),
            Self::TimeLimit(limit) => (
                ErrorKind::TimeLimit,
                format!("it ran longer than its time limit of {limit:?}"),
            ),
            Self::Memory(used) => {
                let limit =
                    memory_limit.map_or(String::new(), |limit| format!(" of {limit} bytes"));
                let used = used.map_or(String::new(), |used| format!(": {used} bytes"));
                let message = format!("its pool process exceeded the memory limit{limit}{used}");
                (ErrorKind::MemoryLimit, message)
            }
        };
        let mut error = TaskError::new(kind, message);
        error.stderr = stderr;
        AttemptEnd::Failed(error.into())
    }
}
