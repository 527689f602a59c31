//! Clients that run in processes of pools: tasks that have tasks of their own.
//!
//! What such a client submitted ends with its process, since nobody is left who wants it. And when
//! every process here waits for tasks of its own, none is left to run them: that is said.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{CloseReason, Event};
use crate::ids::{PeerId, PoolProcess, SlotId};
use crate::limits::CLIENTS_PER_PROCESS;
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::status::is_deadlock;
use crate::steps::step;
use crate::time::{AwakeInstant, Instant};

use super::Manager;
use super::peers::Clients;

/// How long all processes have to wait for tasks of their own before that is said.
const SAID_AFTER: Duration = Duration::from_secs(2);

/// The processes in which clients run.
#[derive(Clone, Debug, Default)]
pub(super) struct Nested {
    clients: BTreeMap<PoolProcess, BTreeSet<ClientKey>>,
    /// Processes that waited for tasks of their own at the last look.
    waiting: u64,
    /// Since when all have.
    all_since: Option<AwakeInstant>,
    said: bool,
}

impl Nested {
    /// How many processes wait for tasks of their own.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Asserts that each client is noted where it says that it runs.
    pub(super) fn check_invariants(&self, clients: &Clients) {
        let noted = self.clients.values().map(BTreeSet::len).sum::<usize>();
        let within = clients.iter().filter(|(_, client)| client.within.is_some());
        assert_eq!(noted, within.count(), "each is noted where it runs");
        for (process, noted) in &self.clients {
            assert!((1..=CLIENTS_PER_PROCESS).contains(&noted.len()));
            for client in noted {
                assert_eq!(clients[*client].within, Some(*process));
            }
        }
    }
}

impl Manager {
    /// A client says where it runs.
    pub(super) fn on_within(&mut self, key: ClientKey, process: PoolProcess) {
        self.forget_nested(key);
        let clients = self.nested.clients.entry(process).or_default();
        if clients.len() < CLIENTS_PER_PROCESS {
            clients.insert(key);
            self.clients.set_within(key, Some(process));
        }
    }

    /// The client's session ends, or it runs elsewhere.
    pub(super) fn forget_nested(&mut self, key: ClientKey) {
        let Some(process) = self.clients[key].within else {
            return;
        };
        self.clients.set_within(key, None);
        if let Some(clients) = self.nested.clients.get_mut(&process) {
            clients.remove(&key);
            if clients.is_empty() {
                self.nested.clients.remove(&process);
            }
        }
    }

    /// A worker says that one of its processes is gone: so are the clients that ran in it.
    pub(super) fn on_process_gone(
        &mut self,
        now: Instant,
        key: WorkerKey,
        slot: SlotId,
        life: u64,
    ) {
        let worker = self.workers[key].peer.id;
        let process = PoolProcess { worker, slot, life };
        let clients = self.nested.clients.get(&process);
        let clients: Vec<ClientKey> = clients.into_iter().flatten().copied().collect();
        for client in clients {
            step();
            if let Some(conn) = self.clients[client].peer.conn {
                self.close(now, conn, CloseReason::Done);
            }
            self.end_client(now, client, "ran in a pool process that is gone");
        }
    }

    /// Looks whether there is still a process that can run what the others wait for.
    pub(super) fn look_at_nested(&mut self, now: Instant) {
        let waits = |(process, clients): &(&PoolProcess, &BTreeSet<ClientKey>)| {
            let worker = self.workers.find(process.worker);
            let capacity = worker.map_or(0, |key| self.workers[key].capacity);
            process.slot.0 < capacity
                && clients.iter().any(|client| {
                    step();
                    self.tasks.of(*client).len() > self.results.of(*client).unacknowledged()
                })
        };
        let waiting = self.nested.clients.iter().filter(waits);
        // In each place there is one process, whatever clients claim.
        let mut places: Vec<(PeerId, SlotId)> = waiting
            .map(|(process, _)| (process.worker, process.slot))
            .collect();
        places.dedup();
        self.nested.waiting = places.len() as u64;
        if !is_deadlock(self.nested.waiting, self.workers.capacity()) {
            self.nested.all_since = None;
            self.nested.said = false;
            return;
        }
        let awake = self.schedule.awake(now);
        let since = *self.nested.all_since.get_or_insert(awake);
        if !self.nested.said && awake.since(since) >= SAID_AFTER {
            self.nested.said = true;
            let processes = self.nested.waiting;
            self.notify(Event::AllWait { processes });
        }
    }
}
