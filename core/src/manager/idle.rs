//! Sessions of peers that went away and have nothing here: kept while there is room, since a short cut
//! is to cost nothing, and forgotten, the oldest first, when somebody else needs it. So nobody keeps
//! others out by having been here.

use crate::limits::KINDS_MAX;
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::time::{AwakeInstant, Instant, Timers};

use super::Manager;
use super::workers::Leaving;

/// Those that are away and have nothing here, by when they left.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle {
    clients: Timers<ClientKey, AwakeInstant>,
    workers: Timers<WorkerKey, AwakeInstant>,
}

impl Manager {
    /// A client was cut off.
    pub(super) fn note_idle_client(&mut self, now: Instant, key: ClientKey) {
        let awake = self.clock.at(now);
        if self.tasks.of(key).held() == 0 {
            self.idle.clients.set(key, awake);
        }
    }

    /// A client is back, or its session ends.
    pub(super) fn unnote_idle_client(&mut self, key: ClientKey) {
        self.idle.clients.cancel(key);
    }

    /// A worker was cut off.
    pub(super) fn note_idle_worker(&mut self, now: Instant, key: WorkerKey) {
        let awake = self.clock.at(now);
        let session = self.worker(key);
        if session.attempts.is_empty() && session.results.is_empty() {
            self.idle.workers.set(key, awake);
        }
    }

    /// A worker is back, or its session ends.
    pub(super) fn unnote_idle_worker(&mut self, key: WorkerKey) {
        self.idle.workers.cancel(key);
    }

    /// Forgets the client that has been away longest and has nothing here. Whether there was one.
    pub(super) fn forget_idle_client(&mut self, now: Instant) -> bool {
        let Some((_, key)) = self.idle.clients.next() else {
            return false;
        };
        self.end_client(now, key, "made room for another");
        true
    }

    /// The same for a worker.
    pub(super) fn forget_idle_worker(&mut self, now: Instant) -> bool {
        let Some((_, key)) = self.idle.workers.next() else {
            return false;
        };
        self.end_worker(now, key, Leaving::Forgotten);
        true
    }

    /// Forgets idle workers until the number of a kind is free, or there are no more: of so many
    /// that all kinds may be theirs.
    pub(super) fn forget_idle_kinds(&mut self, now: Instant) {
        for _ in 0..KINDS_MAX {
            if self.abilities.has_room() || !self.forget_idle_worker(now) {
                return;
            }
        }
    }

    pub(super) fn check_idle(&self) {
        let mut idle = 0;
        for (key, session) in &self.clients {
            if self.idle.clients.get(key).is_some() {
                assert!(session.conn.is_none() && self.tasks.of(key).held() == 0);
                idle += 1;
            }
        }
        assert_eq!(idle, self.idle.clients.len());
        let mut idle = 0;
        for (key, session) in &self.workers {
            if self.idle.workers.get(key).is_some() {
                assert!(session.conn.is_none());
                assert!(session.attempts.is_empty() && session.results.is_empty());
                idle += 1;
            }
        }
        assert_eq!(idle, self.idle.workers.len());
    }
}
