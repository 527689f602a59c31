//! Runs a study in the fast world.

use crate::checker;
use crate::faults::{Fault, FaultKind};
use crate::options::{Host, MS, Options, S, US};
use crate::plan::Plan;
use crate::report::{Class, Failure};
use crate::run::caught;
use crate::trace::Trace;
use crate::workload::{Book, Submission};
use crate::world::{Event, World};

use super::config::{START, Study, Wrong};
use super::findings::Findings;
use super::load::{Arrivals, Load};
use super::measure::{MOMENTS, Measure};

/// Most tasks of a study that is judged as a whole; that needs all of its history.
const JUDGED_MAX: f64 = 100_000.0;
/// How long after the last task has come the study waits for outcomes.
const DRAIN_MAX: u64 = 600 * S;
/// If no task ends in the last so much of that, they are stuck.
const STUCK: u64 = 60 * S;

/// Simulates a study.
///
/// # Errors
/// If it makes no sense. A broken promise of the product is no error: it is in the findings.
pub fn run(study: &Study) -> Result<Findings, Wrong> {
    study.validate()?;
    let plan = plan(study);
    let load = Load::new(study, plan.options.client_hosts());
    let judged = study.expected() <= JUDGED_MAX;
    let simulated = caught(|| simulate(study, &plan, &load, judged));
    Ok(simulated.unwrap_or_else(|failure| Findings {
        failure: Some(failure),
        ..Findings::new(study)
    }))
}

fn plan(study: &Study) -> Plan {
    let groups = study.workers.iter();
    let workers = groups.flat_map(|group| (0..group.workers).map(|_| group.slots));
    let mut options = Options::calm(workers.collect(), study.clients);
    options.queue_tasks = study.queue_size;
    options.client_held = study.client_tasks;
    options.retries = Some(study.retries);
    options.delay = (study.latency.0, study.latency.0);
    options.step = 10 * US;
    options.spawn = 5 * MS;
    options.check_every = 2_000;
    options.heal_at = START + study.duration.0 + DRAIN_MAX;
    let mut faults = Vec::new();
    let mut next = options.worker_hosts();
    for loss in &study.worker_losses {
        faults.extend(
            next.by_ref()
                .take(usize::from(loss.workers))
                .map(|host: Host| Fault {
                    at: START + loss.at.0,
                    span: loss.span.map_or(u64::MAX, |span| span.0),
                    kind: FaultKind::PowerLoss(host),
                }),
        );
    }
    Plan {
        seed: study.seed,
        options,
        tasks: Vec::new(),
        faults,
    }
}

fn simulate(study: &Study, plan: &Plan, load: &Load<'_>, judged: bool) -> Findings {
    let mut trace = Trace::off();
    let mut world = World::idle(plan, load, &mut trace);
    for (index, fault) in plan.faults.iter().enumerate() {
        world.at(fault.at, Event::FaultBegins(index));
    }
    let mut measure = Measure::new(study, judged);
    let mut arrivals = Arrivals::new(study).map(|at| START + at);
    let mut next = arrivals.next();
    let mut came = Vec::new();
    let mut number = 0;
    let mut open_before = None;
    // A part of the plot has a whole number of looks.
    let part = (study.duration.0 / MOMENTS).max(1);
    let pause = part / part.div_ceil(20 * MS);
    let mut look = START;
    let end = START + study.duration.0;
    loop {
        let until = next.map_or(look, |next| next.min(look));
        while world.failure.is_none() && world.step(until) {}
        if let Some(at) = next
            && at <= look
        {
            measure.comes(number, at - START);
            world.at(at, Event::Submit(number));
            if judged {
                came.push(at);
            }
            number += 1;
            next = arrivals.next();
            continue;
        }
        measure.look(&mut world);
        let over = world.now > end && next.is_none();
        if over && world.now > end + DRAIN_MAX - STUCK && open_before.is_none() {
            open_before = Some(measure.open());
        }
        if over && (measure.all_ended() || world.now > end + DRAIN_MAX)
            || world.failure.is_some()
            || measure.failure.is_some()
        {
            break;
        }
        look += pause.max(1);
    }
    measure.finish(&world);
    let mut findings = Findings::new(study);
    findings.fill(&measure);
    findings.events = world.report.events;
    findings.checks.judged = judged && measure.all_ended();
    findings.failure = measure.failure.take().or_else(|| world.failure.take());
    if findings.checks.judged && findings.failure.is_none() {
        findings.failure = judge(plan, load, &came, &world).err();
    }
    // A load that is too much is no defect: its tasks end as fast as they can.
    let is_stuck = open_before.is_none_or(|before| measure.open() >= before);
    if !measure.all_ended() && is_stuck && findings.failure.is_none() {
        let open = findings.counts.open;
        let text = format!("{open} tasks have no outcome ten minutes after the last came");
        findings.failure = Some(Failure::new(Class::Liveness, "1 (every task ends)", text));
    }
    findings
}

fn judge(plan: &Plan, load: &Load<'_>, came: &[u64], world: &World<'_>) -> Result<(), Failure> {
    let mut plan = plan.clone();
    let task = |(number, at): (usize, &u64)| {
        let task = load.task(number)?;
        Some(Submission { at: *at, ..task })
    };
    plan.tasks = came.iter().enumerate().filter_map(task).collect();
    checker::check(&plan, &world.history)
}
