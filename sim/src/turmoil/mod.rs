//! The turmoil level: the whole of `net` (framing, handshake, reconnects, drivers) unchanged, over
//! turmoil's network and a simulated pool, under the faults of a plan.
//!
//! The plan, the pool, the history and the judge are the fast level's. See `README.md` for what
//! differs.

mod cluster;
mod executor;
mod faults;
mod guard;
mod host;
mod keys;
mod links;
mod log;
mod node;
mod nodes;
mod plan;
mod scene;
mod stranger;
mod tap;
mod transport;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use self::plan::plan;

use self::cluster::Cluster;
use self::host::called;
use self::log::Listener;
use self::scene::{Command, Scene};
use self::tap::order_assignments;
use crate::checker;
use crate::history::History;
use crate::options::{Host, S};
use crate::plan::Plan;
use crate::quiet;
use crate::report::{Class, Failure, Report};
use crate::run::{keep_panics, late, liveness_bound, quiet_panics, quiet_time, take_panic};
use crate::trace::{Line, Trace};

/// Runs what a seed stands for at this level.
#[must_use]
pub fn run_seed(seed: u64) -> Report {
    run(&plan(seed), &mut Trace::off())
}

/// Runs a plan. Panics of the product are failures of the run.
#[must_use]
pub fn run(plan: &Plan, trace: &mut Trace) -> Report {
    run_with_history(plan, trace).0
}

/// Runs a plan and also gives back what happened.
#[must_use]
pub fn run_with_history(plan: &Plan, trace: &mut Trace) -> (Report, History) {
    quiet_panics();
    keep_panics(true);
    let _ = take_panic();
    let scene = Scene::new(plan, std::mem::take(trace));
    let listener = tracing::Dispatch::new(Listener::new(&scene));
    tracing::dispatcher::with_default(&listener, || {
        let ran = catch_unwind(AssertUnwindSafe(|| live(&scene)));
        if ran.is_err() {
            let (text, place) = take_panic().unwrap_or_default();
            let promise = "17 (no input makes a process panic)";
            let text = format!("{text} ({place})");
            scene.fail(Failure::new(Class::Panic, promise, text));
        }
    });
    let _ = take_panic();
    keep_panics(false);
    let mut inner = scene.lock();
    *trace = std::mem::take(&mut inner.trace);
    trace.sort();
    let mut report = std::mem::take(&mut inner.report);
    report.failure = inner.failure.take();
    let history = std::mem::take(&mut inner.history);
    // Pools and wakers refer back to the scene.
    let hosts = std::mem::take(&mut inner.hosts);
    let ends = std::mem::take(&mut inner.ends);
    drop(inner);
    drop((hosts, ends));
    (report, history)
}

/// From the start of all hosts to the verdict.
fn live(scene: &Arc<Scene>) {
    let plan = &scene.plan;
    let mut cluster = Cluster::new(Arc::clone(scene));
    let healed = plan.options.heal_at;
    let bound = healed + liveness_bound(plan);
    // Facts on their way at the healing are given a second to be taken in.
    while cluster.now() < healed + S && !cluster.failed() {
        cluster.step();
    }
    while !cluster.failed() {
        let open = open_tasks(scene);
        if open == 0 {
            break;
        }
        if cluster.now() >= bound {
            let failure = late(&scene.lock().history, open);
            scene.fail(failure);
        }
        cluster.step();
    }
    // Whoever starts late (after a drain, say) starts the clocks of the others again.
    let lives = || scene.lock().history.lives.len();
    let mut quiet = cluster.now() + quiet_time(plan);
    let mut seen = lives();
    while cluster.now() < quiet && !cluster.failed() {
        cluster.step();
        if lives() > seen {
            seen = lives();
            quiet = cluster.now() + quiet_time(plan);
        }
    }
    if !cluster.failed() {
        look_for_leaks(&mut cluster);
    }
    conclude(&cluster);
}

fn open_tasks(scene: &Scene) -> usize {
    let inner = scene.lock();
    let core = &scene.options().core_clients;
    core.iter()
        .map(|host| inner.hosts[usize::from(*host)].open)
        .sum()
}

/// Asks the manager, over the network as anybody would, what it still holds.
fn look_for_leaks(cluster: &mut Cluster<'_>) {
    let scene = Arc::clone(&cluster.scene);
    let options = scene.options();
    let manager = options.core_manager;
    if let Some(failure) = stray_connections(&scene) {
        scene.fail(failure);
    }
    cluster.tell(scene.stranger(), Command::Ask { manager });
    while !cluster.failed() && scene.lock().status.is_none() {
        cluster.step();
    }
    let mut inner = scene.lock();
    let alive = |hosts: &[Host]| -> u64 {
        let alive = |host: &&Host| inner.hosts[usize::from(**host)].is_alive();
        hosts.iter().filter(alive).count() as u64
    };
    let (workers, clients) = (alive(&options.core_workers), alive(&options.core_clients));
    let failure = match inner.status.take() {
        Some(Ok(status)) => quiet::left_at_manager(&status, workers, clients),
        Some(Err(error)) => {
            let text = format!("the manager does not say how it is: {error}");
            Some(Failure::new(
                Class::Liveness,
                "11 (parts are independent)",
                text,
            ))
        }
        None => None,
    };
    drop(inner);
    if let Some(failure) = failure {
        scene.fail(failure);
    }
}

/// After quiet, every process of the core has its one connection, and nobody has another.
fn stray_connections(scene: &Scene) -> Option<Failure> {
    let options = scene.options();
    let inner = scene.lock();
    let mut found: BTreeMap<(Host, Host), u32> = BTreeMap::new();
    for end in inner.ends.values() {
        *found.entry((end.host, end.peer)).or_default() += 1;
    }
    let mut wanted = BTreeMap::new();
    for host in options.core_workers.iter().chain(&options.core_clients) {
        if inner.hosts[usize::from(*host)].is_alive() {
            wanted.insert((*host, options.core_manager), 1);
            wanted.insert((options.core_manager, *host), 1);
        }
    }
    let describe = |ends: &BTreeMap<(Host, Host), u32>| {
        let ends = ends.iter().map(|((host, peer), count)| {
            let [host, peer] = [host, peer].map(|host| called(options, *host));
            format!("{host} to {peer}: {count}")
        });
        ends.collect::<Vec<_>>().join(", ")
    };
    (found != wanted).then(|| {
        let text = format!(
            "connections: {}; not: {}",
            describe(&found),
            describe(&wanted)
        );
        Failure::new(Class::Leak, "after quiet, nothing is left", text)
    })
}

/// The verdict on what happened; afterwards nothing that ends is part of the run.
fn conclude(cluster: &Cluster<'_>) {
    let at = cluster.now();
    let mut inner = cluster.scene.lock();
    inner.report.events = cluster.steps;
    inner.report.virtual_time = at;
    let assigned = std::mem::take(&mut inner.assigned);
    order_assignments(&mut inner.history.wire, &assigned);
    if inner.failure.is_none() {
        inner.failure = checker::check(&cluster.scene.plan, &inner.history).err();
    }
    let (bytes, hash) = (inner.wire_bytes, inner.wire_hash);
    inner.trace.set_frames_hash(hash);
    if inner.trace.is_on() {
        let text = format!("{bytes} bytes were written, hash {hash:016x}");
        let line = Line {
            at,
            who: "net".to_owned(),
            text,
            task: None,
        };
        inner.trace.push(line);
    }
}
