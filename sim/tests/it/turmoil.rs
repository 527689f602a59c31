//! The turmoil level: the whole of `net` under faults, judged like the fast level.

use std::collections::BTreeMap;
use std::process::Command;

use crate::swarm::{all_hold, holds};
use sim::faults::{Fault, FaultKind};
use sim::options::{MS, Options, S};
use sim::plan::Plan;
use sim::workload::Submission;
use sim::{Level, Report, Trace, turmoil};

/// Seeds that are asked for in the environment, or a number that suits an unoptimised build.
fn seeds() -> u64 {
    let asked = std::env::var("SIM_TURMOIL_SEEDS");
    asked.map_or(60, |text| text.parse().expect("a number of seeds"))
}

/// Everything at once: whatever a seed stands for. CI asks for more with `SIM_TURMOIL_SEEDS`.
#[test]
fn all_promises_hold_for_many_seeds() {
    let count = seeds();
    let report = all_hold(Level::Turmoil, count, turmoil::plan);
    println!(
        "{count} seeds, {} tasks, {} executions, {:.2} virtual hours\nfaults: {:?}\nmarks: {:?}",
        report.submitted,
        report.executions,
        report.virtual_time as f64 / 3.6e12,
        report.faults,
        report.marks
    );
    assert_eq!(report.faults.len(), 19, "every kind of fault happens");
    // A branch that no seed reaches is a branch that nothing here checks.
    let mut marks = vec![
        "attempt-adopted",
        "attempt-charged",
        "cannot-connect",
        "conn-closed",
        "connection-lost",
        "drain-started",
        "garbage-refused",
        "link-resumed",
        "orphan-kept",
        "peer-gone",
        "peer-refused",
        "peer-resumed",
        "poison-stopped",
        "retrying",
        "session-resumed",
        "stranger-kept-out",
        "task-lost",
        "task-rejected",
        "task-returned",
        "time-limit-hit",
    ];
    if count >= 500 {
        marks.extend([
            "orphan-matched",
            "result-released-early",
            "results-full",
            "stale-ignored",
            "recalled",
            "task-unclaimed",
        ]);
    }
    for mark in marks {
        assert!(report.marks.contains_key(mark), "no seed reaches {mark}");
    }
}

/// Plans that once failed, kept whole because a seed goes stale when the drawing changes.
#[test]
fn plans_of_mended_defects_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus-turmoil");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        let text = std::fs::read_to_string(&file).expect("it can be read");
        let plan = serde_json::from_str(&text).expect("it is a plan");
        holds(Level::Turmoil, &plan);
    }
}

/// Nothing outside of the seed gets in: two processes that share nothing but it write the same
/// history and the same bytes, at the same virtual instants.
#[test]
fn two_processes_give_the_same_trace() {
    let trace = |seed: u64| {
        let out = Command::new(env!("CARGO_BIN_EXE_sim"))
            .args(["replay", &seed.to_string(), "--level", "turmoil", "--trace"])
            .output()
            .unwrap();
        assert!(out.status.success(), "seed {seed} fails");
        String::from_utf8(out.stdout).unwrap()
    };
    for seed in 0..seeds() / 3 {
        let (first, second) = (trace(seed), trace(seed));
        assert!(first.contains(" bytes were written, hash "), "seed {seed}");
        let differs = first.lines().zip(second.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

/// What ran before in the same process changes nothing either.
#[test]
fn the_same_plan_gives_the_same_trace() {
    let traces = || -> BTreeMap<u64, String> {
        let seeds = 100..110;
        seeds
            .map(|seed| (seed, trace_of(&turmoil::plan(seed)).1))
            .collect()
    };
    assert_eq!(traces(), traces());
}

fn trace_of(plan: &Plan) -> (Report, String) {
    let mut trace = Trace::on();
    let report = turmoil::run(plan, &mut trace);
    (report, trace.render())
}

fn plan(options: Options, tasks: Vec<Submission>, faults: Vec<Fault>) -> Plan {
    Plan {
        seed: 1,
        options,
        tasks,
        faults,
    }
}

fn fault(at: u64, span: u64, kind: FaultKind) -> Fault {
    Fault { at, span, kind }
}

fn calm(workers: Vec<u32>, clients: u16) -> Options {
    let mut options = Options::calm(workers, clients);
    options.delay = (MS, 2 * MS);
    options.resume_timeout = 5 * S;
    options
}

/// Promise 3: nothing goes wrong, so every task runs exactly once and completes.
#[test]
fn p3_without_faults_every_task_runs_exactly_once() {
    let mut options = calm(vec![2, 3], 2);
    options.heal_at = 3 * S;
    let tasks = (0..300)
        .map(|index| Submission::plain(index * 7 * MS, 3 + (index % 2) as u16, 5 * MS))
        .collect();
    let report = holds(Level::Turmoil, &plan(options, tasks, vec![]));
    assert_eq!(report.executions, 300);
    assert_eq!(report.outcomes["completed"], 300);
}

/// Promise 12: a connection that is closed and comes back within the grace repeats nothing.
#[test]
fn p12_a_short_cut_repeats_no_attempt() {
    for seed in 0..10 {
        let mut options = calm(vec![2, 3, 1], 2);
        options.heal_at = 6 * S;
        // Some run across several cuts.
        let tasks = (0..100)
            .map(|index| {
                let run = if index % 10 == 0 { 900 * MS } else { 30 * MS };
                Submission::plain(index * 40 * MS, 4 + (index % 2) as u16, run)
            })
            .collect();
        // Each peer's come more than a second apart: a connection that does not live so long counts
        // as another failed try, and its peer takes its time.
        let faults = (0..16)
            .map(|index| Fault {
                at: 100 * MS + index * 257 * MS,
                span: MS,
                kind: FaultKind::Reset(1 + (index % 5) as u16, 0),
            })
            .collect();
        let plan = Plan {
            seed,
            ..plan(options, tasks, faults)
        };
        let report = holds(Level::Turmoil, &plan);
        assert_eq!(report.executions, 100, "seed {seed}");
        assert_eq!(report.outcomes["completed"], 100, "seed {seed}");
        assert!(report.marks["link-resumed"] >= 10, "{:?}", report.marks);
    }
}

/// Promise 12: a killed worker's tasks run again within the grace, a silent one's within the
/// lease, and so do those of one that stands still.
#[test]
fn p12_lost_workers_tasks_run_again_in_time() {
    let slack = 100 * MS;
    for (kind, within) in [
        (FaultKind::Crash(1), 250 * MS + slack),
        (FaultKind::PowerLoss(1), 2 * S + slack),
        (FaultKind::Pause(1), 2 * S + slack),
        (FaultKind::Cut(1, 0), 2 * S + slack),
        (FaultKind::Cut(0, 1), 2 * S + slack),
    ] {
        let mut options = calm(vec![4, 4], 1);
        options.heal_at = 20 * S;
        let tasks = (0..4)
            .map(|_| Submission::plain(100 * MS, 3, 4 * S))
            .collect();
        let at = 1_000 * MS;
        let faults = vec![Fault {
            at,
            span: 10 * S,
            kind: kind.clone(),
        }];
        let plan = plan(options, tasks, faults);
        let (report, history) = turmoil::run_with_history(&plan, &mut Trace::off());
        assert_eq!(report.failure, None, "{kind:?}");
        let struck: Vec<_> = history
            .executions
            .iter()
            .filter(|run| history.lives[run.life].host == 1 && run.start < at)
            .collect();
        assert!(!struck.is_empty(), "the worker had tasks");
        for run in struck {
            let next = history
                .executions
                .iter()
                .find(|other| other.task == run.task && other.start > at)
                .expect("it runs again");
            let after = (next.start - at) / MS;
            assert!(next.start <= at + within, "{kind:?}: {after} ms");
        }
    }
}

/// Promise 14: a manager that is killed and comes back within the grace costs no attempt.
#[test]
fn p14_a_restarted_manager_repeats_nothing() {
    for seed in 0..5 {
        let mut options = calm(vec![2, 3], 2);
        options.heal_at = 5 * S;
        let tasks = (0..60)
            .map(|index| Submission::plain(index * 30 * MS, 3 + (index % 2) as u16, 300 * MS))
            .collect();
        let faults = vec![Fault {
            at: S + seed * 10 * MS,
            span: 100 * MS,
            kind: FaultKind::Crash(0),
        }];
        let plan = Plan {
            seed,
            ..plan(options, tasks, faults)
        };
        let report = holds(Level::Turmoil, &plan);
        assert_eq!(report.executions, 60, "seed {seed}");
        assert_eq!(report.outcomes["completed"], 60, "seed {seed}");
    }
}

/// Promise 12: whoever loses the connection is back at once, and when the manager itself was away,
/// soon after that is back: work goes on within the second that a reconnect may wait at most.
#[test]
fn p12_peers_are_back_soon() {
    for (span, kind, within) in [
        (MS, FaultKind::Reset(1, 0), 150 * MS),
        (MS, FaultKind::HalfOpen(1, 0), 150 * MS),
        (MS, FaultKind::Reset(2, 0), 150 * MS),
        (200 * MS, FaultKind::Crash(0), 1_200 * MS),
    ] {
        let mut options = calm(vec![4], 1);
        options.heal_at = 10 * S;
        // There is always something that runs, to be reported on the way back.
        let tasks = (0..300)
            .map(|index| Submission::plain(100 * MS + index * 20 * MS, 2, 60 * MS))
            .collect();
        let faults = vec![fault(3 * S, span, kind.clone())];
        let plan = plan(options, tasks, faults);
        let (report, history) = turmoil::run_with_history(&plan, &mut Trace::off());
        assert_eq!(report.failure, None, "{kind:?}");
        assert_eq!(report.executions, 300, "{kind:?}");
        let mut ends: Vec<u64> = history
            .deliveries
            .iter()
            .map(|delivery| delivery.at)
            .collect();
        ends.sort_unstable();
        let longest = ends.windows(2).map(|pair| pair[1] - pair[0]).max();
        let longest = longest.expect("many tasks end");
        assert!(
            longest <= within,
            "{kind:?}: {} ms without an outcome",
            longest / MS
        );
    }
}

/// Promise 12: who stands still for less than the lease loses nothing, since what waits to be read
/// is read before silence is judged.
#[test]
fn p12_a_pause_within_the_lease_repeats_nothing() {
    for host in 0..4 {
        let mut options = calm(vec![2, 2], 1);
        options.heal_at = 8 * S;
        let tasks = (0..100)
            .map(|index| Submission::plain(index * 40 * MS, 3, 60 * MS))
            .collect();
        let faults = vec![
            fault(S, 1_300 * MS, FaultKind::Pause(host)),
            fault(4 * S, 700 * MS, FaultKind::Pause(host)),
        ];
        let report = holds(Level::Turmoil, &plan(options, tasks, faults));
        assert_eq!(report.executions, 100, "host {host}");
        assert_eq!(report.outcomes["completed"], 100, "host {host}");
    }
}

/// Promise 4: what is cancelled ends soon, queued or running, and leaves its slot.
#[test]
fn p4_cancelled_tasks_end_soon() {
    let mut options = calm(vec![2], 1);
    options.heal_at = 5 * S;
    options.kill_grace = 100 * MS;
    let tasks = (0..6)
        .map(|_| Submission {
            cancel_after: Some(500 * MS),
            ..Submission::plain(100 * MS, 2, 30 * S)
        })
        .collect();
    let plan = plan(options, tasks, vec![]);
    let (report, history) = turmoil::run_with_history(&plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    assert_eq!(history.deliveries.len(), 6);
    for delivery in &history.deliveries {
        assert!(delivery.at <= 900 * MS, "{} ms", delivery.at / MS);
    }
    for run in &history.executions {
        let (end, _) = run.end.expect("it was ended");
        assert!(end <= 900 * MS, "{} ms", end / MS);
    }
}

/// Promise 15: a worker that leaves says so: its tasks go elsewhere at once, with no clock run out.
#[test]
fn p15_who_stops_hands_over_at_once() {
    let mut options = calm(vec![4, 4], 1);
    options.heal_at = 10 * S;
    options.reconnect_grace = S;
    options.kill_grace = 0;
    let tasks = (0..4)
        .map(|_| Submission::plain(100 * MS, 3, 3 * S))
        .collect();
    let plan = plan(options, tasks, vec![fault(S, MS, FaultKind::Stop(1))]);
    let (report, history) = turmoil::run_with_history(&plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    let struck: Vec<_> = history
        .executions
        .iter()
        .filter(|run| history.lives[run.life].host == 1 && run.start < S)
        .collect();
    assert!(!struck.is_empty(), "the worker had tasks");
    for run in struck {
        let next = history
            .executions
            .iter()
            .find(|other| other.task == run.task && other.start > S)
            .expect("it runs again");
        assert!(next.start <= S + 100 * MS, "{} ms", (next.start - S) / MS);
    }
}

/// Promise 15: rolling restarts: everybody drains or stops in turn, and no attempt is repeated.
#[test]
fn p15_drains_repeat_nothing() {
    let mut options = calm(vec![2, 2], 1);
    options.heal_at = 10 * S;
    let tasks = (0..100)
        .map(|index| Submission::plain(index * 50 * MS, 3, 80 * MS))
        .collect();
    let faults = vec![
        fault(S, MS, FaultKind::Drain(1)),
        fault(3 * S, MS, FaultKind::Drain(2)),
        fault(5 * S, MS, FaultKind::Drain(0)),
    ];
    let plan = plan(options, tasks, faults);
    let (report, history) = turmoil::run_with_history(&plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    assert_eq!(report.executions, 100);
    assert_eq!(report.outcomes["completed"], 100);
    for host in 0..3 {
        let lives = history.lives.iter().filter(|life| life.host == host);
        assert_eq!(lives.count(), 2, "host {host} left and came back");
    }
}
