//! What is due.

use crate::limits::HEARTBEATS_PER_LEASE;
use crate::task::AttemptLoss;
use crate::time::Instant;

use super::Manager;
use super::keys::Ranked;
use super::on_worker::Leaving;
use super::schedule::{Alarm, PeerTimer};

impl Manager {
    pub(super) fn on_alarm(&mut self, now: Instant, alarm: Alarm) {
        match alarm {
            Alarm::Expiry(Ranked { task, .. }) => self.on_deadline(now, task),
            Alarm::StartBy(Ranked { task, .. }) => self.on_start_by(now, task),
            // The look itself is at the end of every batch; being woken is enough.
            Alarm::Recall | Alarm::Renew => {}
            Alarm::Trial(worker) => self.on_trial(worker),
            Alarm::ResultAck => self.release_early(now),
        }
    }

    pub(super) fn on_peer_timer(&mut self, now: Instant, timer: PeerTimer) {
        match timer {
            PeerTimer::Tick => self.on_tick(now),
            PeerTimer::Silence(conn) => self.check_silence(now, conn),
            PeerTimer::Grace(worker) => self.release(now, worker, AttemptLoss::WorkerGone),
            PeerTimer::Worker(worker) => self.end_worker(now, worker, Leaving::Expired),
            PeerTimer::Client(client) => self.end_client(now, client, "did not come back in time"),
            PeerTimer::Claim(Ranked { task, .. }) => self.on_unclaimed(now, task),
            PeerTimer::Recall(conn) => self.check_recall(now, conn),
            PeerTimer::Ending(Ranked { task, .. }) => self.end_unanswered(now, task),
            PeerTimer::Orphan(worker, attempt) => self.drop_orphan(now, worker, attempt),
            PeerTimer::Unroutable => self.on_unroutable(now),
            PeerTimer::NoWorkers => self.on_no_workers(now),
        }
    }

    fn on_tick(&mut self, now: Instant) {
        self.look_at_nested(now);
        if !self.connections.is_empty() {
            let next = self.schedule.awake(now) + self.config.lease / HEARTBEATS_PER_LEASE;
            self.schedule.peers.set(PeerTimer::Tick, next);
        }
    }
}
