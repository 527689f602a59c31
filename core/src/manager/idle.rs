//! Sessions of peers that went away and have nothing here: kept while there is room, since a short cut
//! is to cost nothing, and forgotten, the oldest first, when somebody else needs it. So nobody keeps
//! others out by having been here.

use alloc::collections::BTreeSet;

use crate::limits::KINDS_MAX;
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::time::Instant;

use super::Manager;
use super::workers::Leaving;

/// Those that are away and have nothing here, by when they left.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle {
    clients: BTreeSet<(Instant, ClientKey)>,
    workers: BTreeSet<(Instant, WorkerKey)>,
}

impl Manager {
    /// A client was cut off.
    pub(super) fn note_idle_client(&mut self, now: Instant, key: ClientKey) {
        let awake = self.clock.at(now);
        let session = self.client(key);
        if session.held() == 0 {
            session.left = awake;
            self.idle.clients.insert((awake, key));
        }
    }

    /// A client is back, or its session ends.
    pub(super) fn unnote_idle_client(&mut self, key: ClientKey) {
        let left = self.client(key).left;
        self.idle.clients.remove(&(left, key));
    }

    /// A worker was cut off.
    pub(super) fn note_idle_worker(&mut self, now: Instant, key: WorkerKey) {
        let awake = self.clock.at(now);
        let session = self.worker(key);
        if session.attempts.is_empty() && session.results.is_empty() {
            session.left = awake;
            self.idle.workers.insert((awake, key));
        }
    }

    /// A worker is back, or its session ends.
    pub(super) fn unnote_idle_worker(&mut self, key: WorkerKey) {
        let left = self.worker(key).left;
        self.idle.workers.remove(&(left, key));
    }

    /// Forgets the client that has been away longest and has nothing here. Whether there was one.
    pub(super) fn forget_idle_client(&mut self, now: Instant) -> bool {
        let Some(&(_, key)) = self.idle.clients.first() else {
            return false;
        };
        self.end_client(now, key, "made room for another");
        true
    }

    /// The same for a worker.
    pub(super) fn forget_idle_worker(&mut self, now: Instant) -> bool {
        let Some(&(_, key)) = self.idle.workers.first() else {
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
        for &(left, key) in &self.idle.clients {
            let session = &self.clients[key.0 as usize];
            assert!(session.conn.is_none() && session.left == left && session.held() == 0);
        }
        for &(left, key) in &self.idle.workers {
            let session = &self.workers[key.0 as usize];
            assert!(session.conn.is_none() && session.left == left);
            assert!(session.attempts.is_empty() && session.results.is_empty());
        }
    }
}
