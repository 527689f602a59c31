//! After quiet, nobody holds anything that only finished work needed: not the manager, no worker,
//! no client; and every worker offers all its slots again.

use argon_core::Machine;
use argon_core::client::Client;
use argon_core::manager::Manager;
use argon_core::status::StatusReport;
use argon_core::time::{Instant, WakeReason};
use argon_core::worker::Worker;

use crate::options::Host;
use crate::process::Node;
use crate::report::{Class, Failure};
use crate::world::World;

/// What is left that should not be.
pub(crate) fn leftovers(world: &World<'_>) -> Option<Failure> {
    let mut left = Vec::new();
    for host in 0..world.options().hosts() {
        let Some(process) = &world.hosts[usize::from(host)].process else {
            continue;
        };
        let before = left.len();
        match &process.node {
            Node::Manager(manager) => {
                let local = process.clock.read(world.now);
                if host == world.options().core_manager {
                    of_manager(world, manager, local, &mut left);
                }
            }
            Node::Worker(worker, _) => of_worker(worker, &mut left),
            Node::Client(client) => of_client(client, &mut left),
        }
        for text in &mut left[before..] {
            text.insert_str(0, &format!("{}: ", world.who(host)));
        }
        // What is never looked at would grow unseen.
        process.node.check_invariants();
    }
    failure(&left)
}

/// What a manager still holds although all work has ended, with so many workers and clients there.
#[cfg(feature = "turmoil")]
pub(crate) fn left_at_manager(
    status: &StatusReport,
    workers: u64,
    clients: u64,
) -> Option<Failure> {
    let mut left = Vec::new();
    of_status(status, workers, clients, &mut left);
    failure(&left)
}

fn failure(left: &[String]) -> Option<Failure> {
    let promise = "after quiet, nothing is left";
    (!left.is_empty()).then(|| Failure::new(Class::Leak, promise, left.join("; ")))
}

fn differ(left: &mut Vec<String>, figures: &[(&str, u64, u64)]) {
    for (what, is, should) in figures {
        if is != should {
            left.push(format!("{what}: {is}, not {should}"));
        }
    }
}

/// A machine that waits for more than heartbeats has left something behind. A worker leaves the
/// alarm of a slot, which is one at most, where it is when the attempt that it watched has ended.
fn timers(left: &mut Vec<String>, machine: &impl Machine) {
    if let Some(due) = machine.poll_timeout()
        && !matches!(due.reason, WakeReason::Heartbeat | WakeReason::Limit)
    {
        left.push(format!("still waits for {:?}", due.reason));
    }
}

fn of_manager(world: &World<'_>, manager: &Manager, local: Instant, left: &mut Vec<String>) {
    let options = world.options();
    let alive = |hosts: &[Host]| -> u64 {
        let alive = |host: &&Host| world.hosts[usize::from(**host)].process.is_some();
        hosts.iter().filter(alive).count() as u64
    };
    let (workers, clients) = (alive(&options.core_workers), alive(&options.core_clients));
    let mut status = manager.status(local, 0);
    for page in 1.. {
        if !status.more {
            break;
        }
        let next = manager.status(local, page);
        status.workers.extend(next.workers);
        status.clients.extend(next.clients);
        status.more = next.more;
    }
    of_status(&status, workers, clients, left);
    let capacity = status.workers.iter();
    let capacity: u64 = capacity.map(|worker| u64::from(worker.capacity)).sum();
    let offered: u64 = options
        .core_workers
        .iter()
        .filter(|host| world.hosts[usize::from(**host)].process.is_some())
        .map(|host| u64::from(options.workers[usize::from(host - options.managers)]))
        .sum();
    differ(
        left,
        &[
            ("slots", capacity, offered),
            ("capacity", status.manager.capacity, offered),
        ],
    );
    timers(left, manager);
}

fn of_status(status: &StatusReport, workers: u64, clients: u64, left: &mut Vec<String>) {
    let it = &status.manager;
    differ(
        left,
        &[
            ("queued", it.queued, 0),
            ("queued bytes", it.queued_bytes, 0),
            ("returning", it.returning, 0),
            ("unroutable", it.unroutable, 0),
            ("unclaimed", it.unclaimed, 0),
            ("assigned", it.assigned, 0),
            ("unacknowledged", it.unacknowledged, 0),
            ("orphans", it.orphans, 0),
            ("workers", it.workers, workers),
            ("known workers", status.workers.len() as u64, workers),
            ("clients", it.clients, clients),
            ("known clients", status.clients.len() as u64, clients),
        ],
    );
    let away = status.clients.iter().filter(|client| !client.connected);
    left.extend(away.map(|client| format!("{} is not connected", client.name)));
    for worker in &status.workers {
        if !worker.connected {
            left.push(format!("{} is not connected", worker.name));
        }
        if worker.assigned != 0 {
            left.push(format!("{} still has {}", worker.name, worker.assigned));
        }
        if worker.window < worker.capacity {
            let (window, capacity) = (worker.window, worker.capacity);
            left.push(format!("{} takes {window} of {capacity}", worker.name));
        }
    }
}

fn of_worker(worker: &Worker, left: &mut Vec<String>) {
    let load = worker.load();
    differ(
        left,
        &[
            ("waiting attempts", load.waiting as u64, 0),
            ("given attempts", load.given as u64, 0),
            ("results held", load.held as u64, 0),
            ("bytes of results", load.held_bytes, 0),
        ],
    );
    timers(left, worker);
}

fn of_client(client: &Client, left: &mut Vec<String>) {
    differ(
        left,
        &[
            ("tasks", client.held() as u64, 0),
            ("bytes", client.held_bytes(), 0),
            ("tasks at the manager", client.in_flight() as u64, 0),
        ],
    );
    timers(left, client);
}
