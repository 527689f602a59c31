//! A whole run: faults, healing, the end of all work, quiet, verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::checker;
use crate::history::History;
use crate::options::S;
use crate::plan::Plan;
use crate::quiet;
use crate::report::{Class, Failure, Report};
use crate::trace::Trace;
use crate::world::World;

/// Steps, and steps for each task, after which a run counts as going round in circles.
const EVENTS_MAX: u64 = 20_000_000;
/// See `EVENTS_MAX`.
const EVENTS_MAX_TASK: u64 = 100;

/// Runs what a seed stands for.
#[must_use]
pub fn run_seed(seed: u64) -> Report {
    run(&Plan::from_seed(seed), &mut Trace::off())
}

/// Runs a plan. Panics of the product are failures of the run.
#[must_use]
pub fn run(plan: &Plan, trace: &mut Trace) -> Report {
    caught(|| run_with_history(plan, trace).0).unwrap_or_else(|failure| Report {
        failure: Some(failure),
        ..Report::default()
    })
}

/// Does something in which the product may panic.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Failure> {
    quiet_panics();
    keep_panics(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    keep_panics(false);
    result.map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        let place = take_panic().map_or_else(String::new, |(_, place)| place);
        Failure::new(
            Class::Panic,
            "17 (no input makes a process panic)",
            format!("{text} ({place})"),
        )
    })
}

thread_local! {
    static FIRST_PANIC: std::cell::RefCell<Option<(String, String)>> = const { std::cell::RefCell::new(None) };
    static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Takes the first panic of this thread since the last call: what it said, and where it was. A
/// runtime may have swallowed it.
pub(crate) fn take_panic() -> Option<(String, String)> {
    FIRST_PANIC.with(std::cell::RefCell::take)
}

/// From now on, or no longer, panics of this thread are kept instead of printed.
pub(crate) fn keep_panics(keep: bool) {
    INSIDE.with(|inside| inside.set(keep));
}

/// Panics inside a run are reported by it and need no lines of their own.
pub(crate) fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if INSIDE.with(std::cell::Cell::get) {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let text = info.payload_as_str().unwrap_or_default().to_owned();
                FIRST_PANIC.with(|first| {
                    first.borrow_mut().get_or_insert((text, place));
                });
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
    // Where workers differ, all work may be for the smallest.
    let slots = if options.runs.is_empty() { slots } else { 1 };
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
    let bytes = |task: &crate::workload::Submission| {
        let once = u64::from(task.payload) + u64::from(task.result) + 24;
        once.saturating_mul(u64::from(task.max_attempts) + 10)
    };
    let bytes: u64 = plan.tasks.iter().map(bytes).sum();
    let moving = (bytes * S).checked_div(options.bandwidth).unwrap_or(0);
    // What nobody runs takes its room in the queue for as long as it waits for somebody.
    let waits = plan
        .tasks
        .iter()
        .filter(|task| !options.is_run_by_all(task.name));
    let unroutable = waits.count() as u64 * 2 * options.runner_wait / options.queue_tasks.max(1);
    moving
        + unroutable
        + 2 * options.resume_timeout
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
    keep_panics(true);
    drive(plan, &mut world);
    keep_panics(false);
    (world.take_report(), world.history)
}

/// Runs a plan and also gives back what happened, up to a panic of the product if there is one.
#[must_use]
pub fn run_watched(plan: &Plan, trace: &mut Trace) -> (Report, History) {
    let mut world = World::new(plan, trace);
    if let Err(failure) = caught(|| drive(plan, &mut world)) {
        world.failure = Some(failure);
    }
    (world.take_report(), world.history)
}

fn drive(plan: &Plan, world: &mut World<'_>) {
    let healed = plan.options.heal_at;
    let bound = healed + liveness_bound(plan);
    // Facts on their way at the healing are given a second to be taken in.
    while world.failure.is_none() && world.step(healed + S) {
        limit_events(world);
    }
    while world.failure.is_none() && open_tasks(world) > 0 {
        if !world.step(bound) {
            let failure = late(&world.history, open_tasks(world));
            world.fail(failure);
        }
        limit_events(world);
    }
    // Whoever starts late (after a drain, say) starts the clocks of the others again.
    let mut quiet = world.now + quiet_time(plan);
    let mut lives = world.history.lives.len();
    // What is under way by then has come about, and whoever has left is back.
    let pause = 2 * plan.options.lease + 3 * S;
    let mut look = world.now + pause;
    while world.failure.is_none() && world.step(quiet) {
        if world.history.lives.len() > lives {
            lives = world.history.lives.len();
            quiet = world.now + quiet_time(plan);
        }
        if plan.options.brief_quiet && world.now >= look {
            if quiet::leftovers(world).is_none() {
                break;
            }
            look = world.now + pause;
        }
        limit_events(world);
    }
    if world.failure.is_none() {
        world.failure = quiet::leftovers(world);
    }
    if world.failure.is_none() {
        world.failure = checker::check(plan, &world.history).err();
    }
}

/// After the last outcome, sessions of the dead run out and results are acknowledged.
pub(crate) fn quiet_time(plan: &Plan) -> u64 {
    let options = &plan.options;
    options.resume_timeout + options.restart_grace + 2 * options.lease + 5 * S
}

fn limit_events(world: &mut World<'_>) {
    if world.report.events > EVENTS_MAX + EVENTS_MAX_TASK * world.plan.tasks.len() as u64 {
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

/// That so many tasks have not ended in time.
pub(crate) fn late(history: &History, open: usize) -> Failure {
    let delivered: std::collections::BTreeSet<(usize, u64)> = history
        .deliveries
        .iter()
        .map(|delivery| (delivery.life, delivery.seq))
        .collect();
    let stuck = history.submits.iter().find(|submit| {
        let life = &history.lives[submit.life];
        life.end.is_none() && !delivered.contains(&(submit.life, submit.seq))
    });
    let mut failure = Failure::new(
        Class::Liveness,
        "1 (every task ends)",
        format!("{open} tasks of healed clients have no outcome within the bound"),
    );
    failure.task = stuck.map(|submit| submit.task);
    failure
}
