//! One test for each promise that the fast simulator can make checkable; names begin with the
//! promise's number in the contract.

use crate::swarm::{all_hold, holds};
use sim::faults::{Fault, FaultKind};
use sim::options::{MS, Options, S, US};
use sim::plan::Plan;
use sim::workload::{Deed, Submission};
use sim::{Level, Trace, run_with_history};

fn plan(options: Options, tasks: Vec<Submission>, faults: Vec<Fault>) -> Plan {
    Plan {
        seed: 1,
        options,
        tasks,
        faults,
    }
}

/// Seeds that are tried unless `SIM_SEEDS` says how many.
const USUAL: u64 = if cfg!(debug_assertions) { 300 } else { 2_000 };

/// Everything at once: whatever a seed stands for.
#[test]
fn all_promises_hold_for_many_seeds() {
    let count = std::env::var("SIM_SEEDS").map_or(USUAL, |text| text.parse().unwrap());
    let report = all_hold(Level::Fast, count, Plan::from_seed);
    println!(
        "{count} seeds, {} tasks, {:.1} virtual hours\nfaults: {:?}\nmarks: {:?}",
        report.submitted,
        report.virtual_time as f64 / 3.6e12,
        report.faults,
        report.marks
    );
    if count < 2_000 {
        println!("too few seeds to ask whether they reach every rare branch");
        return;
    }
    // A rare branch that no seed reaches is a branch that nothing here checks.
    for mark in [
        "attempt-adopted",
        "attempt-charged",
        "drain-started",
        "failed-over",
        "in-flight-full",
        "link-refused",
        "link-resumed",
        "memory-limit-hit",
        "no-runner",
        "no-workers",
        "orphan-kept",
        "orphan-matched",
        "peer-gone",
        "peer-resumed",
        "poison-stopped",
        "rejected-in-drain",
        "result-released-early",
        "results-full",
        "retrying",
        "session-resumed",
        "stale-ignored",
        "recalled",
        "task-displaced",
        "task-unclaimed",
        "task-lost",
        "task-rejected",
        "task-returned",
        "time-limit-hit",
        "too-slow",
        "unavailable",
        "worker-doubted",
    ] {
        assert!(report.marks.contains_key(mark), "no seed reaches {mark}");
    }
    assert_eq!(report.faults.len(), 20, "every kind of fault happens");
}

/// Plans that once failed, kept whole because a seed goes stale when the drawing changes.
#[test]
fn plans_of_mended_defects_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        let text = std::fs::read_to_string(&file).unwrap();
        holds(Level::Fast, &serde_json::from_str(&text).unwrap());
    }
}

#[test]
fn the_same_plan_gives_the_same_trace() {
    for seed in 0..40 {
        let plan = Plan::from_seed(seed);
        let [mut first, mut second] = [Trace::on(), Trace::on()];
        let _ = sim::run(&plan, &mut first);
        let _ = sim::run(&plan, &mut second);
        let (first, second) = (first.render(), second.render());
        assert!(first.lines().count() > 10);
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn two_processes_give_the_same_trace() {
    let trace = |seed: &str| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_sim"))
            .args(["replay", seed, "--trace"])
            .output()
            .unwrap();
        assert!(out.status.success());
        out.stdout
    };
    for seed in ["1", "2", "3"] {
        assert!(trace(seed) == trace(seed), "seed {seed}");
    }
}

/// Promise 3: nothing goes wrong, so every task runs exactly once and completes.
#[test]
fn p3_without_faults_every_task_runs_exactly_once() {
    for seed in 0..100 {
        let mut plan = Plan::from_seed(seed);
        plan.faults.clear();
        plan.options = Options {
            retries: None,
            drift: plan.options.drift,
            delay: (50 * US, 2 * MS),
            step: plan.options.step.min(MS),
            batch: plan.options.batch,
            queue_tasks: plan.options.queue_tasks,
            heal_at: plan.options.heal_at,
            ..Options::calm(plan.options.workers.clone(), plan.options.clients)
        };
        plan.tasks.retain(|task| task.deed == Deed::Complete);
        let clients: Vec<u16> = plan.options.client_hosts().collect();
        for (index, task) in plan.tasks.iter_mut().enumerate() {
            task.client = clients[index % clients.len()];
            task.deadline = None;
            task.max_wait = None;
            task.time_limit = None;
            task.cancel_after = None;
            task.retries = None;
        }
        let report = holds(Level::Fast, &plan);
        assert_eq!(report.executions, report.submitted, "seed {seed}");
        assert_eq!(
            report.outcomes.get("completed").copied().unwrap_or(0),
            report.submitted,
            "seed {seed}: {:?}",
            report.outcomes
        );
    }
}

/// Promise 12: a connection that is closed and comes back within the grace repeats nothing.
#[test]
fn p12_a_short_cut_repeats_no_attempt() {
    for seed in 0..100 {
        let mut options = Options::calm(vec![2, 3, 1], 2);
        options.heal_at = 3 * S;
        options.delay = (50 * US, MS);
        let tasks = (0..200)
            .map(|index| Submission::plain(index * 10 * MS, 4 + (index % 2) as u16, 30 * MS))
            .collect();
        let faults = (0..20)
            .map(|index| Fault {
                at: 100 * MS + index * 137 * MS,
                span: MS,
                kind: match index % 3 {
                    0 => FaultKind::Reset(1 + (index % 5) as u16, 0),
                    1 => FaultKind::HalfOpen(1 + (index % 5) as u16, 0),
                    _ => FaultKind::Cut(1 + (index % 5) as u16, 0),
                },
            })
            .collect();
        let mut plan = plan(options, tasks, faults);
        plan.seed = seed;
        let report = holds(Level::Fast, &plan);
        assert_eq!(report.executions, report.submitted, "seed {seed}");
        assert_eq!(report.outcomes["completed"], report.submitted);
    }
}

/// Promise 12: a killed worker's tasks run again within the grace, a silent one's within the
/// lease (and the time of a heartbeat, and a dispatch).
#[test]
fn p12_lost_workers_tasks_run_again_in_time() {
    let slack = 50 * MS;
    for (kind, within) in [
        (FaultKind::Crash(1), 250 * MS + slack),
        (FaultKind::PowerLoss(1), 2 * S + slack),
        (FaultKind::Pause(1), 2 * S + slack),
    ] {
        let mut options = Options::calm(vec![4, 4], 1);
        options.heal_at = 20 * S;
        let tasks = (0..4)
            .map(|_| Submission::plain(100 * MS, 3, 4 * S))
            .collect();
        let at = 1_000 * MS;
        let span = 10 * S;
        let faults = vec![Fault { at, span, kind }];
        let plan = plan(options, tasks, faults);
        let (report, history) = run_with_history(&plan, &mut Trace::off());
        assert_eq!(report.failure, None);
        let on_first = |life: usize| history.lives[life].host == 1;
        let struck = history
            .executions
            .iter()
            .filter(|run| on_first(run.life) && run.start < at);
        let mut again = 0;
        for run in struck {
            let next = history
                .executions
                .iter()
                .find(|other| other.task == run.task && other.start > at);
            let next = next.expect("it runs again");
            assert!(next.start <= at + within, "{} ms", (next.start - at) / MS);
            again += 1;
        }
        assert!(again >= 1, "the worker had tasks");
    }
}

/// Promise 12: a worker that is cut off runs what it has started, and starts nothing more once the
/// lease is over.
#[test]
fn p12_a_worker_that_is_cut_off_for_a_lease_starts_nothing() {
    let mut options = Options::calm(vec![1], 1);
    options.heal_at = 20 * S;
    options.delay = (4 * MS, 5 * MS);
    // Short ones teach the worker to ask ahead; behind the long one some wait at the worker.
    let mut tasks: Vec<_> = (0..100)
        .map(|_| Submission::plain(100 * MS, 2, 5 * MS))
        .collect();
    tasks.push(Submission::plain(101 * MS, 2, 6 * S));
    tasks.extend((0..20).map(|_| Submission::plain(102 * MS, 2, 5 * MS)));
    let faults = vec![Fault {
        at: 3 * S,
        span: 6 * S,
        kind: FaultKind::Isolate(vec![1]),
    }];
    let plan = plan(options, tasks, faults);
    let (report, history) = run_with_history(&plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    let long = history.executions.iter().find(|run| run.task == 100);
    let (end, _) = long.and_then(|run| run.end).expect("it ran");
    assert!(
        end > 5 * S + 500 * MS && end < 8 * S,
        "it ends cut off: {end}"
    );
    let later = history.executions.iter().filter(|run| run.start > end);
    assert!(
        later.clone().count() >= 20,
        "the others wait behind it: {}",
        later.count()
    );
    assert!(later.clone().all(|run| run.start > 9 * S));
}

/// Promise 15: N workers give N times as much, in virtual time.
#[test]
fn p15_throughput_grows_linearly_with_workers() {
    let rate = |workers: u16| {
        let run = 10 * MS;
        let count = u64::from(workers) * 2 * 100;
        let mut options = Options::calm(vec![2; usize::from(workers)], 1);
        options.delay = (20 * US, 50 * US);
        options.check_every = 1_000;
        options.step = 10 * US;
        let client = 1 + workers;
        let tasks = (0..count)
            .map(|_| Submission::plain(100 * MS, client, run))
            .collect();
        let mut plan = plan(options, tasks, vec![]);
        plan.options.queue_tasks = 100_000;
        let (report, history) = run_with_history(&plan, &mut Trace::off());
        assert_eq!(report.failure, None);
        let first = history.executions.iter().map(|run| run.start).min();
        let last = history.executions.iter().filter_map(|run| run.end);
        let last = last.map(|(at, _)| at).max();
        let took = last.unwrap() - first.unwrap();
        count as f64 / (took as f64 / 1e9)
    };
    let one = rate(1);
    for workers in [4, 16, 64] {
        let many = rate(workers);
        let share = many / (one * f64::from(workers));
        println!(
            "{workers} workers: {many:.0} tasks/s, {:.1}% of linear",
            share * 100.0
        );
        assert!(share > 0.98, "{workers} workers: {share}");
    }
}

/// Promise 10: ten times the load that the pool can bear leaves goodput at capacity, and nobody
/// waits longer than the bounded queue takes to drain.
#[test]
fn p10_overload_leaves_goodput_at_capacity() {
    let (run, slots, queue) = (10 * MS, 8, 80);
    let mut options = Options::calm(vec![4, 4], 4);
    options.queue_tasks = queue;
    options.retries = Some(3);
    options.check_every = 100;
    options.heal_at = 6 * S;
    // 800 a second is what the pool can do.
    let (from, until) = (S, 4 * S);
    let count = (until - from) / S * 8_000;
    let tasks = (0..count)
        .map(|index| {
            let at = from + index * (until - from) / count;
            Submission::plain(at, 3 + (index % 4) as u16, run)
        })
        .collect();
    let plan = plan(options, tasks, vec![]);
    let (report, history) = run_with_history(&plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    let during = |at: u64| at > from + 500 * MS && at <= until;
    let done = history
        .executions
        .iter()
        .filter(|run| run.end.is_some_and(|(at, _)| during(at)))
        .count() as f64;
    let able = (until - from - 500 * MS) as f64 / run as f64 * f64::from(slots);
    println!(
        "goodput {:.1}% of capacity; {:?}",
        done / able * 100.0,
        report.outcomes
    );
    assert!(done / able > 0.98, "goodput {}", done / able);
}

/// Promise 7: a client with ten tasks is not held up by one with thousands.
#[test]
fn p7_a_small_client_is_not_held_up() {
    let mut options = Options::calm(vec![4], 2);
    options.check_every = 100;
    options.heal_at = 20 * S;
    let mut tasks: Vec<_> = (0..4_000)
        .map(|_| Submission::plain(100 * MS, 2, 10 * MS))
        .collect();
    tasks.extend((0..10).map(|_| Submission::plain(2 * S, 3, 10 * MS)));
    let plan = plan(options, tasks, vec![]);
    let (report, history) = run_with_history(&plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    let last = history
        .deliveries
        .iter()
        .filter(|delivery| history.lives[delivery.life].host == 3)
        .map(|delivery| delivery.at)
        .max()
        .unwrap();
    // Alone it would take 30 ms, at half the pool 60.
    assert!(last < 2 * S + 120 * MS, "{} ms", (last - 2 * S) / MS);
}

/// Promise 7: more important tasks overtake, whoever submits them.
#[test]
fn p7_important_tasks_go_first() {
    let mut options = Options::calm(vec![2], 2);
    options.heal_at = 10 * S;
    let mut tasks: Vec<_> = (0..1_000)
        .map(|_| Submission::plain(100 * MS, 2, 10 * MS))
        .collect();
    tasks.extend((0..10).map(|_| Submission {
        priority: 0,
        ..Submission::plain(S, 2, 10 * MS)
    }));
    let plan = plan(options, tasks, vec![]);
    let (report, history) = run_with_history(&plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    let last = history
        .executions
        .iter()
        .filter(|run| plan.tasks[run.task].priority == 0)
        .map(|run| run.start)
        .max()
        .unwrap();
    assert!(last < S + 150 * MS, "{} ms", (last - S) / MS);
}

/// Promise 14: a manager that is killed and comes back within the grace costs no attempt.
#[test]
fn p14_a_restarted_manager_repeats_nothing() {
    for seed in 0..20 {
        let mut options = Options::calm(vec![2, 3], 2);
        options.heal_at = 10 * S;
        let tasks = (0..100)
            .map(|index| Submission::plain(index * 20 * MS, 3 + (index % 2) as u16, 300 * MS))
            .collect();
        let faults = vec![Fault {
            at: S + seed * 10 * MS,
            span: 100 * MS,
            kind: FaultKind::Crash(0),
        }];
        let mut plan = plan(options, tasks, faults);
        plan.seed = seed;
        let report = holds(Level::Fast, &plan);
        assert_eq!(report.executions, report.submitted, "seed {seed}");
        assert_eq!(report.outcomes["completed"], report.submitted);
    }
}

/// Promise 17: a payload of exactly the limit passes; one byte more is refused as such, at once and
/// for good, whether the client knows the limit by then or has to be told.
#[test]
fn p17_the_limit_of_payloads_is_exact() {
    // Results are of 16 bytes, and have to be taken too.
    for limit in [16, 17, 1_000] {
        let mut options = Options::calm(vec![2], 1);
        options.payload_max = Some(limit);
        options.retries = None;
        let of = |at: u64, bytes: u32| Submission {
            payload: bytes - 8,
            ..Submission::plain(at, 2, MS)
        };
        // The first two come before the client has reached its manager.
        let tasks = vec![
            of(5 * MS, limit),
            of(5 * MS, limit + 1),
            of(S, limit),
            of(S, limit + 1),
        ];
        let plan = plan(options, tasks, vec![]);
        let (report, history) = run_with_history(&plan, &mut Trace::off());
        assert_eq!(report.failure, None);
        assert_eq!(report.outcomes["completed"], 2);
        // What the client knows to be too large it does not take in.
        assert_eq!(report.submitted, 3);
        assert_eq!(report.marks["submit-refused"], 1);
        let (retries, why) = (0, sim::history::RejectedWhy::TooLarge);
        let end = sim::history::End::Rejected { retries, why };
        let refused = history.deliveries.iter().find(|other| other.end == end);
        let refused = refused.expect("one is refused");
        assert!(refused.at < 100 * MS, "at once");
    }

    // A client of ours does not even send it; a stranger may.
    for seed in 0..600 {
        let mut options = Options::calm(vec![4], 1);
        options.payload_max = Some(8);
        options.heal_at = 3 * S;
        let faults = (0..10)
            .map(|index| Fault {
                at: S + index * 100 * MS,
                span: 100 * MS,
                kind: FaultKind::Hostile(0),
            })
            .collect();
        let mut plan = plan(options, vec![Submission::plain(S, 2, MS)], faults);
        plan.seed = seed;
        holds(Level::Fast, &plan);
    }
}
