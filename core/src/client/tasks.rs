//! The tasks that a client answers for, and where each of them is.
//!
//! | state | means | found in |
//! |---|---|---|
//! | `Waiting` | never sent, or to be sent again | `waiting`; `recovering` if it may have run |
//! | `Backoff` | rejected; waits for its next try | `backoffs`, and their `Retry` in `alarms` |
//! | `Sent` | the manager has it, or had when last heard | counted in `sent` |
//!
//! Invariants: each live task is in exactly the places that its state says; a task with a
//! deadline that is not `Sent` has an `Expiry` alarm.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::limits::{RECONNECT_DELAY_MAX, RESUME_TIMEOUT};
use crate::message::{FromClient, Message, Submit, ToManager};
use crate::name::Name;
use crate::payload::Payload;
use crate::seq_map::SeqMap;
use crate::seq_set::SeqSet;
use crate::task::{Priority, TaskOptions, TaskSpec};
use crate::time::{Instant, Nanos, Timers};

use super::backoff::{Backoffs, Refusal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskState {
    Waiting,
    Backoff {
        /// The first of those that it waits with.
        first: u64,
    },
    Sent {
        /// The number that the congestion window gave it.
        number: u64,
    },
}

/// What is due for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// For the tasks that wait with this one.
    Retry(u64),
    Expiry(u64),
}

/// Bytes that a task is charged for.
pub(super) fn charge(name: &Name, payload: &Payload) -> u64 {
    (payload.len() + name.as_str().len()) as u64
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    name: Name,
    pub(super) payload: Payload,
    pub(super) options: TaskOptions,
    pub(super) deadline: Option<Instant>,
    max_wait: Nanos,
    time_limit: Nanos,
    /// Retries allowed by the task itself.
    pub(super) allowed: Option<u32>,
    /// An attempt may have started, by a manager or session that is gone or by the manager's word.
    pub(super) may_have_run: bool,
    /// Its end was asked for while the manager had it.
    pub(super) cancelled: bool,
    /// How often it was submitted again after rejections that count.
    pub(super) retries: u32,
    /// How often it was rejected, for the delay.
    pub(super) rejections: u32,
    /// How long managers, each restarted before it could tell, have waited for a worker to claim
    /// it.
    unclaimed: Duration,
    state: TaskState,
}

impl Task {
    #[inline]
    fn new(now: Instant, spec: TaskSpec) -> Self {
        Self {
            name: spec.name,
            payload: spec.payload,
            options: TaskOptions {
                priority: spec.priority,
                max_attempts: spec.max_attempts,
                at_most_once: spec.at_most_once,
            },
            deadline: spec.deadline.map(|span| now + span),
            max_wait: spec.max_wait.into(),
            time_limit: spec.time_limit.into(),
            allowed: spec.retries,
            may_have_run: false,
            cancelled: false,
            retries: 0,
            rejections: 0,
            unclaimed: Duration::ZERO,
            state: TaskState::Waiting,
        }
    }

    /// The number under which it was last sent, if it is at the manager.
    pub(super) fn sent(&self) -> Option<u64> {
        match self.state {
            TaskState::Sent { number } => Some(number),
            TaskState::Waiting | TaskState::Backoff { .. } => None,
        }
    }

    pub(super) fn is_backing_off(&self) -> bool {
        matches!(self.state, TaskState::Backoff { .. })
    }

    /// Whether an attempt may have started as far as this side can tell without the manager.
    pub(super) fn is_uncertain(&self) -> bool {
        self.may_have_run || self.sent().is_some()
    }

    /// Whether no manager was ever sent it, so that none has anything to say about it.
    pub(super) fn is_unsent(&self) -> bool {
        !self.is_uncertain() && self.rejections == 0
    }

    /// The manager that had it for `held` is no more. Tells whether managers have waited for a
    /// worker to claim it as long as one alone would, so that none will claim it. One that had it
    /// for a whole resume timeout and did not end it has had it claimed.
    pub(super) fn is_given_up(&mut self, held: Duration) -> bool {
        if !self.options.at_most_once || !self.may_have_run {
            return false;
        }
        self.unclaimed = if held < RESUME_TIMEOUT {
            self.unclaimed + held.max(RECONNECT_DELAY_MAX)
        } else {
            Duration::ZERO
        };
        self.unclaimed >= RESUME_TIMEOUT
    }

    /// Bytes that it is charged for.
    pub(super) fn bytes(&self) -> u64 {
        charge(&self.name, &self.payload)
    }

    /// Whether its submission, as of `now`, is as this one but for number and payload.
    pub(super) fn is_like(&self, submit: &Submit, now: Instant) -> bool {
        submit.options() == self.options
            && submit.may_have_run == self.may_have_run
            && submit.max_wait == self.max_wait
            && submit.time_limit == self.time_limit
            && submit.deadline == self.deadline.map(|at| at.since(now)).into()
            && submit.name == self.name
    }

    /// The submission, as of `now`.
    #[inline]
    pub(super) fn submission(&self, seq: u64, now: Instant) -> Submit {
        Submit {
            seq,
            priority: self.options.priority,
            max_attempts: self.options.max_attempts,
            at_most_once: self.options.at_most_once,
            may_have_run: self.may_have_run,
            deadline: self.deadline.map(|at| at.since(now)).into(),
            max_wait: self.max_wait,
            time_limit: self.time_limit,
            name: self.name.clone(),
        }
    }

    /// The same as a message.
    #[inline]
    pub(super) fn message(&self, seq: u64, now: Instant) -> Message<ToManager> {
        Message {
            body: FromClient::Submit(self.submission(seq, now)).into(),
            payload: self.payload.clone(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    live: SeqMap<u64, Task>,
    next_seq: u64,
    bytes: u64,
    /// One for each priority.
    waiting: [SeqSet; Priority::LEVELS],
    /// How many these are.
    waiting_total: usize,
    recovering: BTreeSet<u64>,
    backoffs: Backoffs,
    sent: [u32; Priority::LEVELS],
    sent_total: u32,
    pub(super) alarms: Timers<Alarm>,
}

impl Tasks {
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tasks at the manager.
    pub(super) fn sent(&self) -> u32 {
        self.sent_total
    }

    /// Tasks at the manager that are less important than `priority`.
    pub(super) fn sent_below(&self, priority: Priority) -> u32 {
        self.sent[priority.level() + 1..].iter().sum()
    }

    /// Everything below is finished.
    pub(super) fn floor(&self) -> u64 {
        self.live.first().unwrap_or(self.next_seq)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Task> {
        self.live.get(seq)
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Task> {
        self.live.get_mut(seq)
    }

    /// Takes a new task in, as `Waiting`.
    #[inline]
    pub(super) fn insert(&mut self, now: Instant, spec: TaskSpec) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        let task = Task::new(now, spec);
        self.bytes += task.bytes();
        self.wait(task.options.priority, seq);
        if let Some(deadline) = task.deadline {
            self.alarms.set(Alarm::Expiry(seq), deadline);
        }
        self.live.insert(seq, task);
        seq
    }

    /// The task is over; whether there was one.
    pub(super) fn remove(&mut self, seq: u64) -> bool {
        let Some((bytes, priority, may_have_run, state, has_deadline)) =
            self.live.retire(seq, |task| {
                let has_deadline = task.deadline.is_some();
                let Task {
                    options,
                    may_have_run,
                    state,
                    ..
                } = *task;
                (
                    task.bytes(),
                    options.priority,
                    may_have_run,
                    state,
                    has_deadline,
                )
            })
        else {
            return false;
        };
        self.bytes -= bytes;
        self.leave(seq, priority, may_have_run, state);
        if has_deadline {
            self.alarms.cancel(Alarm::Expiry(seq));
        }
        true
    }

    /// A task that waits is sent, as `number`.
    pub(super) fn send(&mut self, seq: u64, number: u64) {
        let Some(task) = self.live.get_mut(seq) else {
            debug_assert!(false, "only live tasks are sent");
            return;
        };
        debug_assert_eq!(task.state, TaskState::Waiting);
        task.state = TaskState::Sent { number };
        let (level, may_have_run) = (task.options.priority.level(), task.may_have_run);
        if may_have_run {
            self.recovering.remove(&seq);
        } else {
            self.waiting[level].remove(seq);
            self.waiting_total -= 1;
        }
        self.sent[level] += 1;
        self.sent_total += 1;
    }

    /// Moves a task to another state. `may_have_run` can be set on the way, never cleared.
    pub(super) fn change(&mut self, seq: u64, may_have_run: bool, to: TaskState) {
        let Some(task) = self.live.get_mut(seq) else {
            debug_assert!(false, "only live tasks have states");
            return;
        };
        let (priority, flag, from) = (task.options.priority, task.may_have_run, task.state);
        let deadline = task.deadline;
        task.state = to;
        task.may_have_run |= may_have_run;
        let marked = task.may_have_run;
        self.leave(seq, priority, flag, from);
        match to {
            TaskState::Waiting if marked => {
                self.recovering.insert(seq);
            }
            TaskState::Waiting => self.wait(priority, seq),
            // It was counted when it was refused.
            TaskState::Backoff { .. } => {}
            TaskState::Sent { .. } => {
                self.sent[priority.level()] += 1;
                self.sent_total += 1;
            }
        }
        // While it was at the manager, only the manager watched its deadline.
        if let (TaskState::Sent { .. }, TaskState::Waiting | TaskState::Backoff { .. }, Some(at)) =
            (from, to, deadline)
        {
            self.alarms.set(Alarm::Expiry(seq), at);
        }
    }

    /// A task at the manager was refused and waits to be tried again: with the one before it if that was
    /// refused alike, else for as long as `delay` says.
    pub(super) fn back_off(
        &mut self,
        seq: u64,
        refusal: Refusal,
        may_have_run: bool,
        delay: impl FnOnce() -> Duration,
    ) {
        let first = self.backoffs.join(seq, refusal).unwrap_or_else(|| {
            let until = refusal.at + delay();
            self.backoffs.begin(seq, until, refusal);
            self.alarms.set(Alarm::Retry(seq), until);
            seq
        });
        self.change(seq, may_have_run, TaskState::Backoff { first });
    }

    /// The tasks that wait with this one have waited for long enough.
    pub(super) fn try_again(&mut self, first: u64) {
        for seq in self.backoffs.tasks(first) {
            let state = self.get(seq).map(|task| task.state);
            if state == Some(TaskState::Backoff { first }) {
                self.change(seq, false, TaskState::Waiting);
            }
        }
    }

    fn wait(&mut self, priority: Priority, seq: u64) {
        self.waiting[priority.level()].insert(seq);
        self.waiting_total += 1;
    }

    fn leave(&mut self, seq: u64, priority: Priority, may_have_run: bool, from: TaskState) {
        match from {
            TaskState::Waiting if may_have_run => {
                self.recovering.remove(&seq);
            }
            TaskState::Waiting => {
                self.waiting[priority.level()].remove(seq);
                self.waiting_total -= 1;
            }
            TaskState::Backoff { first } => {
                if self.backoffs.leave(first) {
                    self.alarms.cancel(Alarm::Retry(first));
                }
            }
            TaskState::Sent { .. } => {
                self.sent[priority.level()] -= 1;
                self.sent_total -= 1;
            }
        }
    }

    /// The first task that is to be sent again because it may have run.
    pub(super) fn first_recovering(&self) -> Option<u64> {
        self.recovering.first().copied()
    }

    /// How important the most important are that wait.
    pub(super) fn first_waiting(&self) -> Option<Priority> {
        if self.waiting_total == 0 {
            return None;
        }
        let first = |(level, line): (u8, &SeqSet)| line.first().and(Priority::new(level));
        (0..).zip(&self.waiting).find_map(first)
    }

    /// The oldest that waits at `priority`.
    pub(super) fn first_waiting_at(&self, priority: Priority) -> Option<u64> {
        self.waiting[priority.level()].first()
    }

    /// The first that waits at `priority` with a number above `seq`.
    pub(super) fn waiting_after(&self, priority: Priority, seq: u64) -> Option<u64> {
        self.waiting[priority.level()].first_above(seq)
    }

    /// The numbers of all tasks for which `pick` holds, in order. Costs as much as there are
    /// tasks: for rare events only.
    pub(super) fn select(&self, pick: impl Fn(&Task) -> bool) -> alloc::vec::Vec<u64> {
        let picked = self.live.iter().filter(|(_, task)| pick(task));
        picked.map(|(seq, _)| seq).collect()
    }

    /// Cut off: tasks at the manager end here if it is not heard again by `lease` after their
    /// deadline.
    pub(super) fn watch_deadlines(&mut self, lease: Duration) {
        for (seq, task) in self.live.iter() {
            if let (TaskState::Sent { .. }, Some(deadline)) = (task.state, task.deadline) {
                self.alarms.set(Alarm::Expiry(seq), deadline + lease);
            }
        }
    }

    /// `cut_off`: whether the manager cannot be asked.
    pub(super) fn check_invariants(&self, cut_off: bool) {
        let (mut bytes, mut waiting, mut recovering, mut expiry) = (0, 0, 0, 0);
        let mut backoffs = BTreeMap::new();
        let mut sent = [0; Priority::LEVELS];
        for (seq, task) in self.live.iter() {
            assert!(seq < self.next_seq);
            bytes += task.bytes();
            match task.state {
                TaskState::Waiting if task.may_have_run => {
                    assert!(self.recovering.contains(&seq));
                    recovering += 1;
                }
                TaskState::Waiting => {
                    assert!(self.waiting[task.options.priority.level()].contains(seq));
                    waiting += 1;
                }
                TaskState::Backoff { first } => {
                    assert!(self.backoffs.tasks(first).contains(&seq));
                    *backoffs.entry(first).or_default() += 1;
                }
                TaskState::Sent { .. } => sent[task.options.priority.level()] += 1,
            }
            let armed = self.alarms.get(Alarm::Expiry(seq)).is_some();
            match (task.deadline, task.state) {
                (None, _) => assert!(!armed),
                (Some(_), TaskState::Sent { .. }) => assert!(armed || !cut_off),
                (Some(_), TaskState::Waiting | TaskState::Backoff { .. }) => assert!(armed),
            }
            expiry += usize::from(armed);
        }
        assert_eq!(bytes, self.bytes);
        self.live.check_invariants();
        self.waiting.iter().for_each(SeqSet::check_invariants);
        assert_eq!(waiting, self.waiting_total);
        assert_eq!(waiting, self.waiting.iter().map(SeqSet::len).sum());
        assert_eq!(recovering, self.recovering.len());
        for (first, tasks) in &backoffs {
            let until = self.backoffs.check_row(*first, *tasks);
            assert_eq!(self.alarms.get(Alarm::Retry(*first)), Some(until));
        }
        assert_eq!(backoffs.len(), self.backoffs.len());
        assert_eq!(
            backoffs.len() + expiry,
            self.alarms.len(),
            "no alarm without a task"
        );
        assert_eq!(sent, self.sent);
        assert_eq!(sent.iter().sum::<u32>(), self.sent_total);
    }
}
