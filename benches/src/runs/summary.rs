//! All benchmarks, and the figures that matter, in one table.

use crate::Problem;
use crate::report::{Figures, Table, shown};
use crate::settings::Settings;
use crate::systems::Programs;

use super::{Bench, core_step};

/// A figure that was promised.
struct Goal {
    what: &'static str,
    /// What the benchmarks call it.
    key: &'static str,
    must: f64,
    aim: f64,
    more_is_better: bool,
}

const fn at_least(what: &'static str, key: &'static str, must: f64, aim: f64) -> Goal {
    Goal {
        what,
        key,
        must,
        aim,
        more_is_better: true,
    }
}

const fn at_most(what: &'static str, key: &'static str, must: f64, aim: f64) -> Goal {
    Goal {
        what,
        key,
        must,
        aim,
        more_is_better: false,
    }
}

const GOALS: &[Goal] = &[
    at_least(
        "no-op tasks/s, 1,000 in flight, threads, over gearmand",
        "threads over gearmand",
        1.2,
        2.3,
    ),
    at_least(
        "the same over the floor's least manager",
        "threads over the floor",
        0.25,
        0.46,
    ),
    at_least(
        "the same, pool of 2, over the floor's 2 children of 64",
        "pool over the floor",
        0.35,
        0.7,
    ),
    at_most(
        "one task a child, 2 children: lost time over the floor's",
        "strict pool of 2",
        1.3,
        1.1,
    ),
    at_most(
        "one task a child, 8 children: lost time over the floor's",
        "strict pool of 8",
        1.3,
        1.1,
    ),
    at_most(
        "manager CPU a no-op task, 1,000 in flight, us",
        "manager us a task",
        0.6,
        0.25,
    ),
    at_most(
        "one in flight through a pool child: p50 over the floor's",
        "pool latency, all cores",
        1.5,
        1.2,
    ),
    at_most("the same on one core", "pool latency, one cores", 1.5, 1.2),
    at_most(
        "core step of the manager, 10,000 queued, 1,000 workers, ns",
        "core step ns",
        600.0,
        200.0,
    ),
    at_most(
        "the same with 1,000,000 and 100,000, over that",
        "core step, large over small",
        3.0,
        1.5,
    ),
    at_least(
        "scaling, 1 to 64 workers: worst over ideal",
        "scaling, worst",
        0.95,
        0.99,
    ),
    at_least("goodput at 5x over capacity", "goodput at 5x", 0.97, 0.99),
    at_least("goodput at 10x over capacity", "goodput at 10x", 0.97, 0.99),
    at_most(
        "p99 of admitted tasks over (bound / capacity + task)",
        "admitted p99",
        1.1,
        1.03,
    ),
    at_most(
        "high priority in the spike: p99 over unloaded",
        "high p99",
        3.0,
        1.5,
    ),
    at_most(
        "after the spike: latency within 2x, in bound / capacity",
        "recovery",
        2.0,
        1.0,
    ),
    at_most(
        "manager CPU of a rejection over a completed task",
        "rejection over completion",
        0.5,
        0.2,
    ),
    at_most(
        "kill -9 with 50 tasks: run again, beyond the grace, ms",
        "ms beyond a grace of 250 ms",
        20.0,
        5.0,
    ),
    at_least(
        "argon map true over xargs -P2 -n1 true",
        "map over xargs",
        0.8,
        1.1,
    ),
    at_most(
        "bytes a queued task of 64 bytes, 100,000 queued",
        "bytes a task, 100000 queued",
        300.0,
        180.0,
    ),
    at_most(
        "bytes a queued task of 64 bytes, 1,000,000 queued",
        "bytes a task, 1000000 queued",
        300.0,
        180.0,
    ),
    at_most("idle manager, MiB", "idle MiB", 16.0, 8.0),
    at_most(
        "manager with 10,000 idle connections, MiB",
        "MiB with 10000 connections",
        300.0,
        120.0,
    ),
];

const BENCHES: [Bench; 7] = [
    Bench::Throughput,
    Bench::Pool,
    Bench::Latency,
    Bench::Scaling,
    Bench::Overload,
    Bench::Loss,
    Bench::Memory,
];

pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let mut all = Figures::default();
    for bench in BENCHES {
        match bench.run(settings, programs) {
            Ok(figures) => all.extend(figures),
            // One that cannot be measured is no reason to lose the others.
            Err(problem) => eprintln!("{}: {problem}", bench.name()),
        }
    }
    match core_step::run(settings, programs) {
        Ok(figures) => all.extend(figures),
        Err(problem) => eprintln!("core step: {problem}"),
    }
    all.save("summary", settings)?;
    let mut table = Table::new(&["figure", "must", "aim", "measured", ""]);
    for goal in GOALS {
        let measured = all.get(goal.key);
        let value = measured.map_or(f64::NAN, |samples| samples.median());
        let reached = |bound: f64| match goal.more_is_better {
            true => value >= bound,
            false => value <= bound,
        };
        let verdict = match () {
            () if value.is_nan() => "not measured",
            () if reached(goal.aim) => "aim",
            () if reached(goal.must) => "must",
            () => "missed",
        };
        let text = measured.map_or("-".to_owned(), ToString::to_string);
        table.row(
            goal.what,
            &[&shown(goal.must), &shown(goal.aim), &text, &verdict],
        );
    }
    println!("\nsummary\n");
    table.print();
    println!("\nWhat the figures mean, and what limits them: docs/performance.md");
    Ok(all)
}
