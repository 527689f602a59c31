//! Tasks that wait as a run are tasks: a manager that keeps them so sends the same frames at the same
//! times as one that keeps each alone, whatever happens to them, to it and to everybody else.

use sim::{Level, Report};

use crate::behaviour::hash_of;

/// Seeds that are looked at, and how many if the environment sets `SIM_SEEDS`.
const FAST: (u64, u64) = (300, 5_000);
/// The same for the level that runs the whole of net.
const TURMOIL: (u64, u64) = (10, 100);

#[test]
fn the_fast_level_does_the_same_without_runs_that_wait() {
    compare(Level::Fast, FAST);
}

#[test]
fn the_turmoil_level_does_the_same_without_runs_that_wait() {
    compare(Level::Turmoil, TURMOIL);
}

fn compare(level: Level, (usual, all): (u64, u64)) {
    let count = std::env::var_os("SIM_SEEDS").map_or(usual, |_| all);
    let totals = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                let mut total = Report::default();
                for seed in (half..count).step_by(2) {
                    total.add(&compare_one(level, seed));
                }
                total
            })
        });
        halves.map(|half| half.join().expect("a seed was decided otherwise"))
    });
    let [mut total, other] = totals;
    total.add(&other);
    println!(
        "{count} seeds, {} tasks, {} executions",
        total.submitted, total.executions
    );
    if level == Level::Fast {
        for mark in ["waiting-run", "row"] {
            let seen = total.marks.get(mark);
            assert!(
                seen.is_some(),
                "{mark}: none was seen, and this shows nothing"
            );
            println!("{mark}: {}", seen.unwrap_or(&0));
        }
    }
}

fn compare_one(level: Level, seed: u64) -> Report {
    let mut plan = level.plan(seed);
    plan.options.waiting_runs = true;
    let (with, report) = hash_of(level, &plan);
    plan.options.waiting_runs = false;
    let (without, _) = hash_of(level, &plan);
    assert_eq!(with, without, "seed {seed} of the {} level", level.name());
    report
}
