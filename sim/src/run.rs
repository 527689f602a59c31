//! A whole run: faults, healing, the end of all work, quiet, verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::checker;
use crate::history::History;
use crate::options::{Host, Plan, S};
use crate::process::Node;
use crate::report::{Class, Failure, Report};
use crate::trace::Trace;
use crate::world::World;

/// Steps after which a run counts as going round in circles.
const EVENTS_MAX: u64 = 20_000_000;

/// Runs what a seed stands for.
#[must_use]
pub fn run_seed(seed: u64) -> Report {
    run(&Plan::from_seed(seed), &mut Trace::off())
}

/// Runs a plan. Panics of the product are failures of the run.
#[must_use]
pub fn run(plan: &Plan, trace: &mut Trace) -> Report {
    catching(|| run_with_history(plan, trace).0).unwrap_or_else(|text| Report {
        failure: Some(Failure::new(
            Class::Panic,
            "17 (no input makes a process panic)",
            text,
        )),
        ..Report::default()
    })
}

thread_local! {
    static LAST_PANIC: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
    static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs something of which a panic of the product is an answer: its text and place.
pub(crate) fn catching<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    quiet_panics();
    let before = INSIDE.with(|inside| inside.replace(true));
    let result = catch_unwind(AssertUnwindSafe(run));
    INSIDE.with(|inside| inside.set(before));
    result.map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        format!("{text} ({})", LAST_PANIC.with(std::cell::RefCell::take))
    })
}

/// Panics inside a run are reported by it and need no lines of their own.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if INSIDE.with(std::cell::Cell::get) {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                LAST_PANIC.with(|last| *last.borrow_mut() = place);
            } else {
                before(info);
            }
        }));
    });
}

/// How long after the healing every task of the core's clients must have ended: what may have to
/// wait out a session, a restart, the work itself twice over at the core's capacity, and backoff.
#[must_use]
pub fn liveness_bound(plan: &Plan) -> u64 {
    let options = &plan.options;
    let slots: u64 = options
        .core_workers
        .iter()
        .map(|host| u64::from(options.workers[usize::from(host - options.managers)]))
        .sum();
    let at_once = slots.min(options.in_flight_tasks);
    let work: u64 = plan
        .tasks
        .iter()
        .map(|task| {
            let once = task
                .time_limit
                .map_or(task.run, |limit| task.run.max(limit))
                + options.spawn
                + options.kill_grace;
            once.saturating_mul(u64::from(task.max_attempts))
        })
        .sum();
    2 * options.resume_window
        + options.restart_grace
        + 2 * options.lease
        + options.drain_timeout
        + 2 * work / at_once.max(1)
        + 60 * S
}

/// Runs a plan and also gives back what happened. Panics of the product go through.
#[must_use]
pub fn run_with_history(plan: &Plan, trace: &mut Trace) -> (Report, History) {
    let mut world = World::new(plan, trace);
    let healed = plan.options.heal_at;
    let bound = healed + liveness_bound(plan);
    // Facts on their way at the healing are given a second to be taken in.
    while world.failure.is_none() && world.step(healed + S) {
        limit_events(&mut world);
    }
    while world.failure.is_none() && open_tasks(&world) > 0 {
        if !world.step(bound) {
            late(&mut world);
        }
        limit_events(&mut world);
    }
    // Whoever starts late (after a drain, say) starts the clocks of the others again.
    let mut quiet = world.now + quiet_time(plan);
    let mut lives = world.history.lives.len();
    while world.failure.is_none() && world.step(quiet) {
        if world.history.lives.len() > lives {
            lives = world.history.lives.len();
            quiet = world.now + quiet_time(plan);
        }
        limit_events(&mut world);
    }
    if world.failure.is_none() {
        check_nothing_left(&mut world);
    }
    if world.failure.is_none() {
        world.failure = checker::check(plan, &world.history).err();
    }
    let mut report = std::mem::take(&mut world.report);
    report.failure = world.failure.take();
    report.virtual_time = world.now;
    (report, world.history)
}

/// After the last outcome, sessions of the dead run out and results are acknowledged.
fn quiet_time(plan: &Plan) -> u64 {
    let options = &plan.options;
    options.resume_window + options.restart_grace + 2 * options.lease + 5 * S
}

fn limit_events(world: &mut World<'_>) {
    if world.report.events > EVENTS_MAX {
        world.fail(Failure::new(
            Class::Liveness,
            "machine",
            "the run takes too many steps",
        ));
    }
}

fn open_tasks(world: &World<'_>) -> usize {
    let core = &world.plan.options.core_clients;
    core.iter().map(|host| world.open[usize::from(*host)]).sum()
}

fn late(world: &mut World<'_>) {
    let delivered: std::collections::BTreeSet<(usize, u64)> = world
        .history
        .deliveries
        .iter()
        .map(|delivery| (delivery.life, delivery.seq))
        .collect();
    let stuck = world.history.submits.iter().find(|submit| {
        let life = &world.history.lives[submit.life];
        life.end.is_none() && !delivered.contains(&(submit.life, submit.seq))
    });
    let task = stuck.map(|submit| submit.task);
    let open = open_tasks(world);
    let mut failure = Failure::new(
        Class::Liveness,
        "1 (every task ends)",
        format!("{open} tasks of healed clients have no outcome within the bound"),
    );
    failure.task = task;
    world.fail(failure);
}

/// After quiet, nobody holds anything that only finished work needed.
fn check_nothing_left(world: &mut World<'_>) {
    let options = world.options();
    let now = world.now;
    let alive = |hosts: &[Host]| -> u64 {
        let alive = |host: &&Host| world.hosts[usize::from(**host)].process.is_some();
        hosts.iter().filter(alive).count() as u64
    };
    let (workers, clients) = (alive(&options.core_workers), alive(&options.core_clients));
    let mut left = Vec::new();
    if let Some(process) = &world.hosts[usize::from(options.core_manager)].process
        && let Node::Manager(manager) = &process.node
    {
        let status = manager.status(process.clock.read(now), 0);
        let it = &status.manager;
        for (what, is, should) in [
            ("queued", it.queued, 0),
            ("queued bytes", it.queued_bytes, 0),
            ("returning", it.returning, 0),
            ("held", it.held, 0),
            ("assigned", it.assigned, 0),
            ("unacknowledged", it.unacknowledged, 0),
            ("orphans", it.orphans, 0),
            ("workers", it.workers, workers),
            ("known workers", status.workers.len() as u64, workers),
            ("clients", it.clients, clients),
        ] {
            if is != should {
                left.push(format!("{what}: {is}, not {should}"));
            }
        }
        for worker in &status.workers {
            if worker.assigned != 0 {
                left.push(format!("{} still has {}", worker.name, worker.assigned));
            }
            if worker.window < worker.capacity {
                let (window, capacity) = (worker.window, worker.capacity);
                left.push(format!("{} takes {window} of {capacity}", worker.name));
            }
        }
    }
    if !left.is_empty() {
        world.fail(Failure::new(
            Class::Leak,
            "after quiet, nothing is left",
            left.join("; "),
        ));
    }
}
