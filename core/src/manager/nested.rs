//! Clients that run in processes of pools: tasks that have tasks of their own.
//!
//! What such a client submitted ends with its process, since nobody is left who wants it. And when
//! every process here waits for tasks of its own, none is left to run them: that is said.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{CloseReason, Event};
use crate::ids::{PeerId, PoolProcess, SlotId};
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::status::is_deadlock;
use crate::steps::step;
use crate::time::{AwakeInstant, Instant};

use super::Manager;

/// Clients that are noted for one process. More may run in it; they are as other clients are.
const CLIENTS_PER_PROCESS: usize = 16;
/// How long all processes have to wait for tasks of their own before that is said.
const SAID_AFTER: Duration = Duration::from_secs(2);

/// The processes in which clients run.
#[derive(Clone, Debug, Default)]
pub(super) struct Nested {
    clients: BTreeMap<PoolProcess, BTreeSet<ClientKey>>,
    /// Processes that waited for tasks of their own at the last look.
    pub(super) waiting: u64,
    /// Since when all have.
    all_since: Option<AwakeInstant>,
    said: bool,
}

impl Manager {
    /// A client says where it runs.
    pub(super) fn on_within(&mut self, key: ClientKey, process: PoolProcess) {
        self.forget_nested(key);
        let clients = self.nested.clients.entry(process).or_default();
        if clients.len() < CLIENTS_PER_PROCESS {
            clients.insert(key);
            self.client(key).within = Some(process);
        }
    }

    /// The client's session ends, or it runs elsewhere.
    pub(super) fn forget_nested(&mut self, key: ClientKey) {
        let Some(process) = self.client(key).within.take() else {
            return;
        };
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
        let worker = self.worker(key).id;
        let process = PoolProcess { worker, slot, life };
        let clients = self.nested.clients.get(&process);
        let clients: Vec<ClientKey> = clients.into_iter().flatten().copied().collect();
        for client in clients {
            step();
            if let Some(conn) = self.client(client).conn {
                self.close(now, conn, CloseReason::Done);
            }
            self.end_client(now, client, "ran in a pool process that is gone");
        }
    }

    /// Looks whether there is still a process that can run what the others wait for.
    pub(super) fn look_at_nested(&mut self, now: Instant) {
        let waits = |(process, clients): &(&PoolProcess, &BTreeSet<ClientKey>)| {
            let worker = self.workers_by_id.get(&process.worker);
            let capacity = worker.map_or(0, |key| self.workers[*key].capacity);
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
        if !is_deadlock(self.nested.waiting, self.capacity) {
            self.nested.all_since = None;
            self.nested.said = false;
            return;
        }
        let awake = self.clock.at(now);
        let since = *self.nested.all_since.get_or_insert(awake);
        if !self.nested.said && awake.since(since) >= SAID_AFTER {
            self.nested.said = true;
            let processes = self.nested.waiting;
            self.notify(Event::AllWait { processes });
        }
    }

    /// For [`check_invariants`](crate::machine::Machine::check_invariants).
    pub(super) fn check_nested(&self) {
        let noted = self
            .nested
            .clients
            .values()
            .map(BTreeSet::len)
            .sum::<usize>();
        let within = self
            .clients
            .iter()
            .filter(|(_, client)| client.within.is_some());
        assert_eq!(noted, within.count(), "each is noted where it runs");
        for (process, clients) in &self.nested.clients {
            assert!((1..=CLIENTS_PER_PROCESS).contains(&clients.len()));
            for client in clients {
                assert_eq!(self.clients[*client].within, Some(*process));
            }
        }
    }
}
