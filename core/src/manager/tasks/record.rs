//! A task as the manager holds it, and the states it goes through.
//!
//! ```text
//!   Submit ──► Queued ◄──────── not started, lost, crashed ───────┐
//!     │          │ dispatch                                       │
//!     │          └──────────────► Assigned ───────────────────────┤
//!     │ may have run                 ▲ claimed by its worker      │ result, cancel,
//!     └────────► Unclaimed ──────────┘                            │ deadline, lost
//!                  └── nobody claims it: Queued, or Lost          ▼
//!                                                               Ended ──► forgotten
//!                                                   (acknowledged by the client)
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::durations::NameKey;
use crate::ids::{Attempt, TaskId};
use crate::limits::FREE_RETURNS_MAX;
use crate::message::{Assign, Message, Submit, ToPeer, ToWorker};
use crate::name::Name;
use crate::payload::Payload;
use crate::queue::{ClassId, ClientKey, Entry, Standing, TaskKey};
use crate::task::{AttemptLoss, AttemptRecord, TaskOptions};
use crate::time::{Instant, Nanos};

use crate::manager::keys::{Assignee, OutcomeKey, Ranked};

/// Why a task is being ended although an attempt of it is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Ending {
    Cancel,
    Expire,
}

#[derive(Clone, Debug)]
pub(in crate::manager) enum TaskState {
    /// In the queue.
    Queued,
    /// Resubmitted and may have run: waits for a worker to claim it.
    Unclaimed,
    /// With a worker.
    Assigned {
        assignee: Assignee,
        at: Instant,
        /// The class that it was dispatched from.
        class: ClassId,
        /// What its client's virtual time was charged, in nanoseconds.
        charged: u64,
    },
    /// Between two states, within one call.
    Detached,
    /// Over; kept until the client has acknowledged the outcome. The payload is the result.
    Ended(OutcomeKey),
}

/// Attempts of a task that are over, or given up on. Few tasks have any.
#[derive(Clone, Debug, Default)]
pub(in crate::manager) struct AttemptLog {
    /// Charged attempts, oldest first, and which attempt each was while it may come back.
    pub(in crate::manager) history: Vec<(AttemptRecord, Attempt)>,
    /// Attempts given up on whose worker may still return with them.
    pub(in crate::manager) superseded: Vec<Assignee>,
    /// How often a worker has given it back unasked, without its being charged.
    pub(in crate::manager) returns: u8,
}

/// When a task came and until when it may take, on the driver's clock.
#[derive(Clone, Copy, Debug)]
pub(in crate::manager) struct Times {
    pub(in crate::manager) accepted_at: Instant,
    /// When it ends as expired; never if it may take for ever.
    pub(in crate::manager) due: Instant,
    /// When it is rejected if it has not started; never if it may wait for ever.
    pub(in crate::manager) start_by: Instant,
    /// How long one attempt may run.
    pub(in crate::manager) time_limit: Nanos,
}

impl Times {
    /// Those of a submission that comes now.
    pub(super) fn new(now: Instant, submit: &Submit) -> Self {
        let due = |left: Nanos| left.to_duration().map_or(Instant::NEVER, |left| now + left);
        Self {
            accepted_at: now,
            due: due(submit.deadline),
            start_by: due(submit.max_wait),
            time_limit: submit.time_limit,
        }
    }
}

/// What a task is in the in-flight reserve.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::manager) struct InFlight {
    /// Whether it is counted.
    pub(in crate::manager) is_counted: bool,
    /// Bytes that may be held for its streams while it is.
    pub(in crate::manager) window_bytes: u32,
}

#[derive(Clone, Debug)]
pub(in crate::manager) struct Task {
    pub(in crate::manager) id: TaskId,
    pub(in crate::manager) client: ClientKey,
    /// Rank of acceptance.
    pub(in crate::manager) order: u64,
    pub(in crate::manager) name: Name,
    pub(in crate::manager) name_key: NameKey,
    pub(in crate::manager) payload: Payload,
    pub(in crate::manager) options: TaskOptions,
    pub(in crate::manager) times: Times,
    /// An attempt may have started that nobody will speak for again: under an earlier manager or
    /// session, as the client says, or with a worker that is gone.
    pub(in crate::manager) ran_earlier: bool,
    /// An attempt may have started.
    pub(in crate::manager) may_have_run: bool,
    pub(in crate::manager) in_flight: InFlight,
    pub(in crate::manager) ending: Option<Ending>,
    pub(in crate::manager) state: TaskState,
    pub(in crate::manager) attempt_log: Option<Box<AttemptLog>>,
}

impl Task {
    /// Bytes that count against the bounds.
    pub(in crate::manager) fn bytes(&self) -> u32 {
        u32::try_from(self.payload.len() + self.name.as_str().len()).unwrap_or(u32::MAX)
    }

    /// Bytes that count in flight.
    pub(in crate::manager) fn in_flight_bytes(&self) -> u64 {
        u64::from(self.bytes()) + u64::from(self.in_flight.window_bytes)
    }

    pub(in crate::manager) fn entry(
        &self,
        task: TaskKey,
        class: ClassId,
        standing: Standing,
    ) -> Entry {
        Entry {
            task,
            client: self.client,
            class,
            priority: self.options.priority,
            bytes: self.bytes(),
            order: self.order,
            standing,
        }
    }

    /// The task, by the rank of its acceptance.
    pub(in crate::manager) fn ranked(&self, task: TaskKey) -> Ranked {
        Ranked {
            order: self.order,
            task,
        }
    }

    /// When it ends as expired.
    pub(in crate::manager) fn deadline(&self) -> Option<Instant> {
        (self.times.due != Instant::NEVER).then_some(self.times.due)
    }

    /// Whether it has waited for as long as it may without having started.
    pub(in crate::manager) fn is_too_late(&self, now: Instant) -> bool {
        self.times.start_by <= now && !self.may_have_run
    }

    /// What its worker is told, as of `now`.
    pub(in crate::manager) fn assign(&self, attempt: Attempt, now: Instant) -> Assign {
        let left = self.deadline().map(|deadline| deadline.since(now));
        Assign {
            attempt,
            task: self.id,
            at_most_once: self.options.at_most_once,
            deadline: Nanos::from(left),
            time_limit: self.times.time_limit,
            name: self.name.clone(),
        }
    }

    /// The same as a message.
    pub(in crate::manager) fn assignment(&self, attempt: Attempt, now: Instant) -> Message<ToPeer> {
        Message {
            body: ToPeer::Worker(ToWorker::Assign(self.assign(attempt, now))),
            payload: self.payload.clone(),
        }
    }

    /// Lets the last that its worker is told say that too, if that is another assignment of the same sort.
    pub(in crate::manager) fn assign_too(
        &self,
        last: &mut Message<ToPeer>,
        attempt: Attempt,
        now: Instant,
    ) -> bool {
        last.assign_too(attempt, self.id, &self.payload, |first| {
            let left = self.deadline().map(|deadline| deadline.since(now));
            first.at_most_once == self.options.at_most_once
                && first.deadline == Nanos::from(left)
                && first.time_limit == self.times.time_limit
                && first.name == self.name
        })
    }

    pub(in crate::manager) fn is_ended(&self) -> bool {
        matches!(self.state, TaskState::Ended(_))
    }

    pub(in crate::manager) fn assignee(&self) -> Option<Assignee> {
        match self.state {
            TaskState::Assigned { assignee, .. } => Some(assignee),
            TaskState::Queued
            | TaskState::Unclaimed
            | TaskState::Detached
            | TaskState::Ended(_) => None,
        }
    }

    /// Attempts charged so far.
    pub(in crate::manager) fn charged(&self) -> u8 {
        self.attempt_log
            .as_ref()
            .map_or(0, |log| log.history.len() as u8)
    }

    /// Notes that an attempt was lost or crashed.
    pub(super) fn charge(&mut self, attempt: Attempt, worker: Name, end: AttemptLoss) {
        self.attempt_log
            .get_or_insert_default()
            .history
            .push((AttemptRecord { worker, end }, attempt));
    }

    /// Whether a worker may come with this attempt, which it was not known to have: if the task was
    /// with an earlier manager or session, or the attempt was given up on here.
    pub(in crate::manager) fn may_be_claimed_by(&self, attempt: Attempt) -> bool {
        let given_up = |log: &AttemptLog| log.history.iter().any(|(_, lost)| *lost == attempt);
        self.ran_earlier || self.is_ended() || self.attempt_log.as_deref().is_some_and(given_up)
    }

    /// Takes back the charge for an attempt that turned out to be alive or never started.
    pub(super) fn refund(&mut self, attempt: Attempt) {
        if let Some(log) = &mut self.attempt_log {
            log.history.retain(|(_, charged)| *charged != attempt);
        }
    }

    /// Notes that a worker has given it back unasked. Whether that may be free, as it has not been too
    /// often before.
    pub(super) fn note_return(&mut self) -> bool {
        let returns = &mut self.attempt_log.get_or_insert_default().returns;
        *returns = returns.saturating_add(1);
        *returns <= FREE_RETURNS_MAX
    }

    /// Gives up on the attempt although its worker may return with it.
    pub(super) fn supersede(&mut self, assignee: Assignee) {
        self.attempt_log
            .get_or_insert_default()
            .superseded
            .push(assignee);
    }

    /// Forgets a superseded attempt; tells whether it was one.
    pub(super) fn drop_superseded(&mut self, assignee: Assignee) -> bool {
        let Some(log) = &mut self.attempt_log else {
            return false;
        };
        let before = log.superseded.len();
        log.superseded.retain(|other| *other != assignee);
        log.superseded.len() < before
    }

    /// The attempt is known never to have started: whether the task may have run depends on the
    /// others.
    pub(super) fn clear_may_have_run(&mut self) {
        let others = self
            .attempt_log
            .as_ref()
            .is_some_and(|log| !log.history.is_empty() || !log.superseded.is_empty());
        self.may_have_run = self.ran_earlier || others;
    }

    pub(in crate::manager) fn history(&self) -> Vec<AttemptRecord> {
        self.attempt_log.as_ref().map_or_else(Vec::new, |log| {
            log.history
                .iter()
                .map(|(record, _)| record.clone())
                .collect()
        })
    }

    /// Every attempt that is out: the current one and those given up on.
    pub(in crate::manager) fn assignees(&self) -> impl Iterator<Item = Assignee> + '_ {
        let superseded = self
            .attempt_log
            .as_ref()
            .map_or(&[][..], |log| &log.superseded[..]);
        self.assignee()
            .into_iter()
            .chain(superseded.iter().copied())
    }
}
