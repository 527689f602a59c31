//! A task as the manager holds it, and the states it goes through.
//!
//! ```text
//!   Submit ──► Queued ◄──────── not started, lost, crashed ───────┐
//!     │          │ dispatch                                       │
//!     │          └──────────────► Assigned ───────────────────────┤
//!     │ may have run                 ▲ claimed by its worker      │ result, cancel,
//!     └────────► Held ───────────────┘                            │ deadline, lost
//!                  └── nobody claims it: Queued, or Lost          ▼
//!                                                               Ended ──► forgotten
//!                                                   (acknowledged by the client)
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::arena::arena_key;
use crate::durations::NameKey;
use crate::ids::{Attempt, TaskId};
use crate::message::{Assign, Body, Message};
use crate::name::Name;
use crate::payload::Payload;
use crate::queue::{ClassId, ClientKey, Entry, Standing, TaskKey};
use crate::router::WorkerKey;
use crate::task::{AttemptLoss, AttemptRecord, Outcome, Priority};
use crate::time::{Instant, Nanos};

/// An attempt and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) worker: WorkerKey,
    pub(super) attempt: Attempt,
}

/// Why a task is being ended although an attempt of it is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Cancel,
    Expire,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// In the queue.
    Queued,
    /// Resubmitted and may have run: waits for a worker to claim it.
    Held,
    /// With a worker.
    Assigned {
        holder: Holder,
        at: Instant,
        /// The class that it was dispatched from.
        class: ClassId,
        /// What its client's virtual time was charged, in nanoseconds.
        charged: u64,
    },
    /// Between two states, within one call.
    Detached,
    /// Over; kept until the client has acknowledged the outcome. The payload is the result.
    Ended(EndKey),
}

arena_key!(
    /// Where the manager keeps an [`End`]. Tasks that wait, which may be many, need not be as large
    /// as those that have ended.
    pub(super) struct EndKey(u32)
);

/// An outcome on its way to the client.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// Rank among the ends of its client's tasks, from 1.
    pub(super) rank: u64,
    pub(super) outcome: Outcome,
    /// The worker's copy of the result, to be acknowledged when the client has it.
    pub(super) confirm: Option<Holder>,
    /// Bytes of its payload and texts.
    pub(super) bytes: u64,
}

/// Attempts of a task that are over, or given up on. Few tasks have any.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptLog {
    /// Charged attempts, oldest first, and which attempt each was while it may come back.
    pub(super) history: Vec<(AttemptRecord, Attempt)>,
    /// Attempts given up on whose worker may still return with them.
    pub(super) superseded: Vec<Holder>,
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) client: ClientKey,
    /// Rank of acceptance.
    pub(super) order: u64,
    pub(super) accepted_at: Instant,
    pub(super) name: Name,
    pub(super) name_key: NameKey,
    pub(super) payload: Payload,
    pub(super) priority: Priority,
    pub(super) max_attempts: u8,
    pub(super) at_most_once: bool,
    /// An attempt may have started that nobody will speak for again: under an earlier manager or
    /// session, as the client says, or with a worker that is gone.
    pub(super) ran_earlier: bool,
    /// An attempt may have started.
    pub(super) may_have_run: bool,
    /// Counted in the in-flight reserve.
    pub(super) in_flight: bool,
    pub(super) ending: Option<Ending>,
    /// On the driver's clock; none if it may take for ever.
    pub(super) due: Instant,
    /// When it is rejected if it has not started; none if it may wait for ever.
    pub(super) start_by: Instant,
    pub(super) time_limit: Nanos,
    pub(super) state: State,
    pub(super) attempt_log: Option<Box<AttemptLog>>,
}

impl Task {
    /// Bytes that count against the bounds.
    pub(super) fn bytes(&self) -> u32 {
        u32::try_from(self.payload.len() + self.name.as_str().len()).unwrap_or(u32::MAX)
    }

    pub(super) fn entry(&self, task: TaskKey, class: ClassId, standing: Standing) -> Entry {
        Entry {
            task,
            client: self.client,
            class,
            priority: self.priority,
            bytes: self.bytes(),
            order: self.order,
            standing,
        }
    }

    /// When it ends as expired.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.due != Instant::NEVER).then_some(self.due)
    }

    /// Whether it has waited for as long as it may without having started.
    pub(super) fn is_too_late(&self, now: Instant) -> bool {
        self.start_by <= now && !self.may_have_run
    }

    /// What its worker is told, as of `now`.
    pub(super) fn assignment(&self, attempt: Attempt, now: Instant) -> Message {
        let left = self.deadline().map(|deadline| deadline.since(now));
        let assign = Assign {
            attempt,
            task: self.id,
            at_most_once: self.at_most_once,
            deadline: Nanos::from(left),
            time_limit: self.time_limit,
            name: self.name.clone(),
        };
        Message {
            body: Body::Assign(assign),
            payload: self.payload.clone(),
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    pub(super) fn holder(&self) -> Option<Holder> {
        match self.state {
            State::Assigned { holder, .. } => Some(holder),
            _ => None,
        }
    }

    /// Attempts charged so far.
    pub(super) fn charged(&self) -> u8 {
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
    pub(super) fn may_be_claimed_by(&self, attempt: Attempt) -> bool {
        let given_up = |log: &AttemptLog| log.history.iter().any(|(_, lost)| *lost == attempt);
        self.ran_earlier || self.is_ended() || self.attempt_log.as_deref().is_some_and(given_up)
    }

    /// Takes back the charge for an attempt that turned out to be alive or never started.
    pub(super) fn refund(&mut self, attempt: Attempt) {
        if let Some(log) = &mut self.attempt_log {
            log.history.retain(|(_, charged)| *charged != attempt);
        }
    }

    /// Gives up on the attempt although its worker may return with it.
    pub(super) fn supersede(&mut self, holder: Holder) {
        self.attempt_log
            .get_or_insert_default()
            .superseded
            .push(holder);
    }

    /// Forgets a superseded attempt; tells whether it was one.
    pub(super) fn drop_superseded(&mut self, holder: Holder) -> bool {
        let Some(log) = &mut self.attempt_log else {
            return false;
        };
        let before = log.superseded.len();
        log.superseded.retain(|other| *other != holder);
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

    pub(super) fn history(&self) -> Vec<AttemptRecord> {
        self.attempt_log.as_ref().map_or_else(Vec::new, |log| {
            log.history
                .iter()
                .map(|(record, _)| record.clone())
                .collect()
        })
    }

    /// Every attempt that is out: the current one and those given up on.
    pub(super) fn holders(&self) -> impl Iterator<Item = Holder> + '_ {
        let superseded = self
            .attempt_log
            .as_ref()
            .map_or(&[][..], |log| &log.superseded[..]);
        self.holder().into_iter().chain(superseded.iter().copied())
    }
}
