//! What a seed stands for at this level: the fast level's plan, made small enough for whole
//! drivers in steps of [`TICK`].

use crate::options::{MS, Options, S};
use crate::plan::Plan;
use crate::rng::{Draw, mix, stream};

/// Virtual time of one step. Hosts take their turns within it, so messages must not be faster.
pub(super) const TICK: u64 = 5 * MS;
/// Most tasks of a run.
const TASKS_MAX: u64 = 100;
/// Largest argument or result, in bytes.
const PAYLOAD_MAX: u64 = 300_000;
/// Longest fault: what it started (a stranger, say) is over when quiet ends.
const SPAN_MAX: u64 = 5 * S;
/// Most work of a run, as time of the whole pool.
const WORK_MAX: u64 = 6 * S;

/// What this seed stands for at this level.
#[must_use]
pub fn plan(seed: u64) -> Plan {
    let mut options = Options::draw(seed);
    let mut rng = stream(seed, &[30]);
    options.managers = options.managers.min(2);
    options.workers.truncate(3);
    for capacity in &mut options.workers {
        *capacity = (*capacity).min(4);
    }
    options.clients = options.clients.min(3);
    options.heal_at = rng.between(1, 6) * S;
    options.lease = rng.pick(&[2 * S, S]);
    options.resume_timeout = 5 * S;
    options.drain_timeout = options.drain_timeout.min(2 * S);
    options.delay = rng.pick(&[
        (MS, 2 * MS),
        (MS, 2 * MS),
        (MS, 20 * MS),
        (10 * MS, 100 * MS),
    ]);
    // These belong to the other level's drivers and clocks.
    options.late_one_in = 0;
    options.step = 0;
    options.batch = 0;
    options.drift = 0;
    options.codec = true;
    options.pick_core(&mut rng);
    let mut plan = Plan::with(seed, options);
    thin_out(&mut plan);
    enlarge(&mut plan);
    for fault in &mut plan.faults {
        fault.span = fault.span.min(SPAN_MAX);
    }
    plan
}

/// Leaves tasks out at random until neither their number nor their work is too much.
fn thin_out(plan: &mut Plan) {
    let slots: u64 = plan
        .options
        .workers
        .iter()
        .map(|slots| u64::from(*slots))
        .sum();
    let work: u64 = plan.tasks.iter().map(|task| task.run).sum();
    let by_number = TASKS_MAX * 1_000 / plan.tasks.len().max(1) as u64;
    let by_work = slots * WORK_MAX / (work / 1_000).max(1);
    let keep = by_number.min(by_work).min(1_000);
    let seed = plan.seed;
    let mut index = 0;
    plan.tasks.retain(|_| {
        index += 1;
        index == 1 || mix(seed, &[31, index]) % 1_000 < keep
    });
}

/// Gives some tasks of some runs arguments and results that no single read takes in.
fn enlarge(plan: &mut Plan) {
    let mut rng = stream(plan.seed, &[32]);
    if !rng.percent(20) {
        return;
    }
    for task in &mut plan.tasks {
        if rng.percent(20) {
            task.payload = rng.log_between(1_000, PAYLOAD_MAX) as u32;
        }
        if rng.percent(20) {
            task.result = rng.log_between(1_000, PAYLOAD_MAX) as u32;
        }
    }
}
