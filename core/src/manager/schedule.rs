//! What the manager is to do later, and its clocks.
//!
//! One order of all that is due, so that what is due at the same instant is done in the same order each
//! time. Instants of the driver for what users asked for, of the awake clock for silence.

use super::keys::Ranked;
use crate::ids::{Attempt, ConnId};
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::time::{AwakeClock, AwakeInstant, Deadline, Instant, Timers, WakeReason};

/// Deadlines on the driver's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// A task's own deadline.
    Expiry(Ranked),
    /// A task has waited for its start as long as it may.
    StartBy(Ranked),
    /// Look for tasks that wait behind a busy worker.
    Recall,
    /// A result is acknowledged to its worker before its client has answered.
    ResultAck,
    /// What workers run has changed, and the classes have yet to follow.
    Renew,
    /// A worker on which everything fails is tried once more.
    Trial(WorkerKey),
}

impl Alarm {
    fn reason(self) -> WakeReason {
        match self {
            Self::Expiry(_) | Self::StartBy(_) => WakeReason::Expiry,
            Self::Recall => WakeReason::Recall,
            Self::Renew => WakeReason::Claim,
            Self::Trial(_) => WakeReason::Retry,
            Self::ResultAck => WakeReason::ResultAck,
        }
    }
}

/// Deadlines that measure the absence of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PeerTimer {
    /// While anybody is connected: being late for this shows that we were asleep, long before
    /// anybody's silence could be held against them.
    Tick,
    /// A peer on this connection should have been heard, or have finished its handshake.
    Silence(ConnId),
    /// A worker's attempts go elsewhere.
    Grace(WorkerKey),
    /// A worker's session ends.
    Worker(WorkerKey),
    /// A client's session ends.
    Client(ClientKey),
    /// A task that may have run waits no longer for a worker to claim it.
    Claim(Ranked),
    /// A worker should have answered for what was recalled on this connection.
    Recall(ConnId),
    /// A task whose end was asked for waits no longer for its worker's answer.
    Ending(Ranked),
    /// An orphan waits no longer for its client.
    Orphan(WorkerKey, Attempt),
    /// Tasks that nobody can run have waited long enough.
    Unroutable,
    /// A manager without workers, just started or just left by the last of them, no longer expects
    /// any to come.
    NoWorkers,
}

impl PeerTimer {
    fn reason(self) -> WakeReason {
        match self {
            Self::Silence(_) | Self::Tick => WakeReason::Heartbeat,
            Self::Recall(_) => WakeReason::Recall,
            Self::Ending(_) => WakeReason::Expiry,
            Self::Grace(_) => WakeReason::Grace,
            Self::Worker(_) | Self::Client(_) | Self::Orphan(..) => WakeReason::Resume,
            Self::Claim(_) | Self::NoWorkers | Self::Unroutable => WakeReason::Claim,
        }
    }
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    clock: AwakeClock,
    pub(super) alarms: Timers<Alarm>,
    pub(super) peers: Timers<PeerTimer, AwakeInstant>,
}

impl Schedule {
    /// Takes note of the time; says it on the awake clock.
    pub(super) fn read(&mut self, now: Instant) -> AwakeInstant {
        self.clock.read(now)
    }

    /// `now`, which was read before, on the awake clock.
    pub(super) fn awake(&self, now: Instant) -> AwakeInstant {
        self.clock.at(now)
    }

    /// Notes when the driver should call next: to be late for that is to have been asleep.
    pub(super) fn expect_next(&mut self) {
        self.clock.expect(self.next().map(|deadline| deadline.at));
    }

    /// What is due first; of both clocks at the same instant, the alarm.
    pub(super) fn next(&self) -> Option<Deadline> {
        let alarm = self.alarms.next().map(|(at, alarm)| Deadline {
            at,
            reason: alarm.reason(),
        });
        let timer = self.peers.next().map(|(at, timer)| Deadline {
            at: self.clock.due(at),
            reason: timer.reason(),
        });
        match (alarm, timer) {
            (Some(alarm), Some(timer)) => Some(if timer.at < alarm.at { timer } else { alarm }),
            (one, other) => one.or(other),
        }
    }
}
