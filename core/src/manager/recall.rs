//! Recalls tasks that wait behind long ones at a worker while other workers are free.

use alloc::vec::Vec;
use core::time::Duration;

use crate::event::CloseReason;
use crate::ids::{Attempt, ConnId};
use crate::limits::ANSWER;
use crate::message::ToWorker;
use crate::protocol_error::ProtocolError;
use crate::router::WorkerKey;
use crate::steps::step;
use crate::time::Instant;

use super::Manager;
use super::keys::Assignee;
use super::peers::{Occupied, Peer, Purpose};
use super::placement::{GroupKey, Rest};
use super::schedule::{Alarm, PeerTimer};

/// Workers that one look for tasks to recall goes through, so that its cost has a bound.
const RECALL_WORKERS: usize = 16;
/// Attempts, and workers, that one look goes over, so that its cost has a bound.
const RECALL_LOOKS: usize = 512;
/// Rest after each attempt that was looked at, which takes a tenth of this or less.
const RECALL_REST: Duration = Duration::from_micros(2);
/// So much rest may be due and the next look comes all the same, so that rare ones never wait.
const RECALL_BURST: Duration = Duration::from_millis(1);
/// A worker that finished nothing for less than this is not stuck behind long tasks.
const STALL_MIN: Duration = Duration::from_millis(2);

/// Where the next look for tasks to recall begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Recall {
    rest: Rest,
    /// With this group of workers, if the last look came no further.
    group: Option<GroupKey>,
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
    /// Recalls tasks that wait behind long ones at a busy worker while another worker is free
    /// and the queue has nothing for it. Looks at so many attempts in so much time; the next look
    /// goes on where this one ends.
    pub(super) fn recall(&mut self, now: Instant) {
        self.schedule.alarms.cancel(Alarm::Recall);
        if self.workers.prefetching().is_empty() {
            return;
        }
        if let Some(at) = self.recall.rest.wait(now, RECALL_BURST) {
            return self.schedule.alarms.set(Alarm::Recall, at);
        }
        let mut budget = RECALL_LOOKS;
        let first = self.recall.group.take();
        let is_first = |group: &GroupKey| first.is_none_or(|first| *group >= first);
        let from = self.placement.groups().keys().filter(is_first);
        let before = self
            .placement
            .groups()
            .keys()
            .filter(|group| !is_first(group));
        for group in from.chain(before) {
            self.recall_for(now, group, &mut budget);
            if budget == 0 {
                self.recall.group = Some(group);
                // Nothing has changed, and yet there is more to look at.
                self.schedule.alarms.set(Alarm::Recall, now + RECALL_BURST);
                break;
            }
        }
        let looks = (RECALL_LOOKS - budget) as u32;
        self.recall.rest.owe(now, RECALL_REST * looks);
    }

    /// Recalls what the best worker of `group` could run at once.
    fn recall_for(&mut self, now: Instant, group: GroupKey, budget: &mut usize) {
        let runs = |class| {
            step();
            self.placement.groups().runs(group, class)
        };
        if self.placement.queue().classes().any(runs) {
            return;
        }
        let Some(free) = self.placement.groups().pick_of(group) else {
            return;
        };
        let free = &self.workers[free];
        if !free.has_idle_slot() {
            return;
        }
        let mut wanted = (free.capacity.min(free.window) - free.outstanding()) as usize;
        let mut next_look = self.schedule.alarms.get(Alarm::Recall);
        // Begins where the last look ended, so that it comes to every worker.
        let later = self.workers.prefetching().range(self.recall.worker..);
        let earlier = self.workers.prefetching().range(..self.recall.worker);
        let busy: Vec<WorkerKey> = later.chain(earlier).take(RECALL_WORKERS).copied().collect();
        for key in busy {
            if wanted == 0 || *budget == 0 {
                break;
            }
            *budget -= 1;
            step();
            self.recall.worker = WorkerKey(key.0 + 1);
            let session = &self.workers[key];
            let stall = STALL_MIN
                .max(Duration::from_nanos(self.placement.candidate(key).speed().average()) * 4);
            let stalled_at = session.progress + stall;
            if stalled_at > now {
                next_look = Some(next_look.map_or(stalled_at, |look| look.min(stalled_at)));
                continue;
            }
            wanted -= self.recall_from(now, key, group, wanted, budget);
        }
        if let Some(at) = next_look {
            self.schedule.alarms.set(Alarm::Recall, at);
        }
    }

    /// Asks a worker for at most `wanted` of the attempts beyond its slots which workers of `group`
    /// can run, newest first; says how many were asked for or are on their way already. If the
    /// budget ends before the attempts do, the next look goes on below the last.
    fn recall_from(
        &mut self,
        now: Instant,
        key: WorkerKey,
        group: GroupKey,
        wanted: usize,
        budget: &mut usize,
    ) -> usize {
        let session = &self.workers[key];
        let excess = (session.outstanding() - session.capacity) as usize;
        let mut attempts = Vec::new();
        let resumed = self.recall.below.take().filter(|below| below.worker == key);
        let (mut seen, mut pending) = resumed
            .as_ref()
            .map_or((0, 0), |below| (below.seen, below.pending));
        let mut below = resumed.map(|below| below.attempt);
        while seen < excess && pending < wanted {
            let Some(attempt) = self.newest_attempt(key, below) else {
                break;
            };
            if *budget == 0 {
                let attempt = Attempt {
                    number: attempt.number + 1,
                    ..attempt
                };
                self.recall.worker = key;
                self.recall.below = Some(Below {
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
            below = Some(attempt);
            self.leave_row_of(key, attempt);
            let session = &self.workers[key];
            let Some(occupied) = session.attempts.get(attempt) else {
                break;
            };
            let Purpose::Live(task) = occupied.purpose else {
                continue;
            };
            let record = &self.tasks[task];
            let class = self.placement.class_of(&record.name, record.name_key);
            if occupied.started || !self.placement.groups().runs(group, class) {
                continue;
            }
            pending += 1;
            if session.asked(occupied).is_none() {
                attempts.push(attempt);
            }
        }
        if !attempts.is_empty() {
            self.send_recall(now, key, attempts);
        }
        pending
    }

    /// Recalls one attempt, unless it is known to have started or was recalled before.
    pub(super) fn recall_one(&mut self, now: Instant, assignee: Assignee) {
        let session = &self.workers[assignee.worker];
        let open = |occupied: &Occupied| !occupied.started && session.asked(occupied).is_none();
        if session.reported && session.attempts.get(assignee.attempt).is_some_and(open) {
            self.send_recall(now, assignee.worker, [assignee.attempt].into());
        }
    }

    /// Recalls attempts of a worker, and expects its answer in time.
    fn send_recall(&mut self, now: Instant, key: WorkerKey, attempts: Vec<Attempt>) {
        let awake = self.schedule.awake(now);
        let Some(conn) = self.workers[key].peer.conn else {
            return;
        };
        let question = self
            .connections
            .get(conn)
            .map_or(0, |conn| conn.detector.sent())
            + 1;
        for attempt in &attempts {
            let assignee = Assignee {
                worker: key,
                attempt: *attempt,
            };
            self.workers.mark_recalled(awake, assignee, question);
        }
        if self.schedule.peers.get(PeerTimer::Recall(conn)).is_none() {
            self.schedule
                .peers
                .set(PeerTimer::Recall(conn), awake + ANSWER);
        }
        self.send(now, conn, ToWorker::Recall { attempts });
    }

    /// A worker had time to answer for what was recalled. One that has taken the question in
    /// and says nothing breaks the protocol: after a reconnect its report answers. One that a
    /// large payload keeps from hearing the question has more time.
    pub(super) fn check_recall(&mut self, now: Instant, conn: ConnId) {
        let awake = self.schedule.awake(now);
        let Some(known) = self.connections.get(conn) else {
            return;
        };
        let (Peer::Worker(key), confirmed) = (known.peer, known.detector.confirmed()) else {
            return;
        };
        let session = &self.workers[key];
        let open = session.attempts.values().inspect(|_| step());
        let asked = open.filter_map(|occupied| session.asked(occupied));
        let Some((since, question)) = asked.min() else {
            return;
        };
        if since + ANSWER > awake {
            self.schedule
                .peers
                .set(PeerTimer::Recall(conn), since + ANSWER);
        } else if question > confirmed {
            self.schedule
                .peers
                .set(PeerTimer::Recall(conn), awake + ANSWER);
        } else {
            let reason = CloseReason::Protocol(ProtocolError::RecallUnanswered);
            self.close(now, conn, reason);
        }
    }
}
