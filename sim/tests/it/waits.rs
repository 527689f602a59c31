//! The promises about who waits for how long: fairness, order, `max_wait`. All in virtual time.

use std::ops::Range;

use sim::faults::{Fault, FaultKind};
use sim::history::{End, History};
use sim::options::{MS, S};
use sim::plan::Plan;
use sim::scenario::{self, Measured, Open, backlog, percentile};
use sim::workload::Submission;
use sim::{Trace, run_with_history};

fn run(plan: &Plan) -> History {
    let (report, history) = run_with_history(plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    history
}

/// How much run time each client had of the pool within `during`.
fn shares(plan: &Plan, history: &History, during: &Range<u64>) -> Vec<u64> {
    let clients = plan.options.client_hosts();
    clients
        .map(|client| {
            let own = |task: usize| plan.tasks[task].client == client;
            let runs = history.executions.iter().filter(|run| own(run.task));
            let inside = |run: &sim::history::Execution| {
                let end = run.end.map_or(during.end, |(at, _)| at).min(during.end);
                end.saturating_sub(run.start.max(during.start))
            };
            runs.map(inside).sum()
        })
        .collect()
}

/// Promise 7: a client with as many tasks as it may have does not hold up one with ten.
#[test]
fn p7_a_client_with_a_mountain_does_not_hold_up_one_with_ten() {
    let mountain = if cfg!(debug_assertions) {
        6_000
    } else {
        65_000
    };
    let run_time = 10 * MS;
    let mut options = scenario::cluster(4, 8, 2);
    options.retries = None;
    let big = 5;
    let small = 6;
    let mut tasks = backlog(big..big + 1, 100 * MS, mountain, &(run_time..run_time));
    for at in [S, S + 500 * MS] {
        tasks.extend((0..10).map(|_| Submission::plain(at, small, run_time)));
    }
    let plan = scenario::plan(options, tasks, vec![]);
    let history = run(&plan);
    let measured = Measured::new(&plan, &history);
    let waits = measured.latencies(measured.of(small));
    println!(
        "beside {mountain} tasks, ten take {} ms at most",
        percentile(&waits, 100) / MS
    );
    assert_eq!(waits.len(), 20);
    // A free slot comes up within a run time, and then the task itself runs.
    assert!(percentile(&waits, 100) <= 2 * run_time + 2 * MS);
}

/// Promise 7: clients share run time, and not numbers of tasks, whether or not the manager can
/// tell their tasks apart by name.
#[test]
fn p7_clients_are_charged_by_run_time() {
    for names in [[0, 1], [0, 0]] {
        let mut options = scenario::cluster(2, 4, 2);
        options.retries = None;
        let mut tasks = backlog(3..4, 100 * MS, 600, &(50 * MS..50 * MS));
        tasks.extend(backlog(4..5, 100 * MS, 6_000, &(5 * MS..5 * MS)));
        for task in &mut tasks {
            task.name = names[usize::from(task.client - 3)];
        }
        let plan = scenario::plan(options, tasks, vec![]);
        let history = run(&plan);
        let shares = shares(&plan, &history, &(S..4 * S));
        let share = shares[0] as f64 / (shares[0] + shares[1]) as f64;
        println!(
            "names {names:?}: tasks of 50 ms have {:.1}%, of 5 ms the rest",
            share * 100.0
        );
        assert!((0.45..0.55).contains(&share), "names {names:?}: {share}");
    }
}

/// Promise 7: the least important task among ever more of the most important starts as soon as is
/// stated, and the more important ones hardly notice.
#[test]
fn p7_the_worst_wait_is_as_stated() {
    let run_time = 10 * MS;
    let mut options = scenario::cluster(1, 4, 2);
    options.retries = None;
    options.heal_at = 4 * S;
    // Twice what four slots can do, so that the queue grows all the time.
    let flood = Open {
        clients: 2..3,
        during: 500 * MS..3 * S,
        per_second: 800,
        run: run_time..run_time,
        priority: 0,
    };
    let at = S;
    let mut tasks = flood.tasks();
    tasks.push(Submission {
        priority: 7,
        ..Submission::plain(at, 3, run_time)
    });
    let plan = scenario::plan(options, tasks, vec![]);
    let least = plan.tasks.iter().position(|task| task.priority == 7);
    let least = least.expect("it is planned");
    let history = run(&plan);
    let start = history.executions.iter().find(|run| run.task == least);
    let start = start.expect("it starts").start;
    let between = |start: u64, end: u64| {
        let inside = |run: &&sim::history::Execution| (start..end).contains(&run.start);
        history.executions.iter().filter(inside).count() as u64
    };
    let waited = between(at, start);
    let queued = history
        .submits
        .iter()
        .filter(|submit| submit.at <= at)
        .count() as u64
        - between(0, at);
    println!("it started after {waited} others; {queued} were older");
    assert!(waited <= 16 * (queued + 1));
    let after = between(start, u64::MAX);
    assert!(
        after > 100,
        "it did not just wait for the queue to run empty"
    );
}

/// Promise 8: a client that holds little of a full queue finds room, one task at a time, and is
/// not refused; a more important task finds room too. Nobody retries.
#[test]
fn p8_a_full_queue_has_room_for_who_holds_little_and_for_what_matters() {
    let run_time = 100 * MS;
    let mut options = scenario::cluster(1, 2, 3);
    options.queue_tasks = 20;
    options.retries = Some(0);
    options.client_held = 64;
    let mut tasks = backlog(2..3, 100 * MS, 60, &(run_time..run_time));
    // As many as are in the queue, so that neither client holds much more than the other.
    tasks.extend(backlog(3..4, 150 * MS, 8, &(run_time..run_time)));
    tasks.push(Submission {
        priority: 1,
        ..Submission::plain(160 * MS, 4, run_time)
    });
    let plan = scenario::plan(options, tasks, vec![]);
    let history = run(&plan);
    let measured = Measured::new(&plan, &history);
    assert_eq!(measured.latencies(measured.of(3)).len(), 8);
    let urgent = measured.latencies(measured.of(4));
    assert_eq!(urgent.len(), 1);
    assert!(urgent[0] <= 2 * run_time + 2 * MS, "{} ms", urgent[0] / MS);
    // The first two were running, 20 waited, and nine of these had to make room.
    assert_eq!(measured.latencies(measured.of(2)).len(), 2 + 20 - 9);
}

/// Promise 9: what cannot start in time is refused at once, and what was let in starts in about
/// that time.
#[test]
fn p9_what_cannot_start_in_time_is_refused_at_once() {
    let run_time = 50 * MS;
    let mut options = scenario::cluster(1, 4, 2);
    options.retries = Some(0);
    // Four slots do 80 a second; the backlog takes 4 s.
    let mut tasks = backlog(2..3, 100 * MS, 320, &(run_time..run_time));
    for index in 0..80 {
        tasks.push(Submission {
            max_wait: Some([100 * MS, 500 * MS, S, 10 * S][index as usize % 4]),
            ..Submission::plain(S + index * 50 * MS, 3, run_time)
        });
    }
    let plan = scenario::plan(options, tasks, vec![]);
    let history = run(&plan);
    let submitted = |life: usize, seq: u64| {
        let same = |submit: &&sim::history::Submit| (submit.life, submit.seq) == (life, seq);
        history.submits.iter().find(same).expect("it was submitted")
    };
    let (mut refused, mut taken) = (0, 0);
    for delivery in &history.deliveries {
        let submit = submitted(delivery.life, delivery.seq);
        let Some(max_wait) = plan.tasks[submit.task].max_wait else {
            continue;
        };
        if let End::Rejected { .. } = delivery.end {
            refused += 1;
            let after = delivery.at - submit.at;
            assert!(after < MS, "refused after {} us", after / 1_000);
            assert!(max_wait < 10 * S, "nobody waits ten seconds here");
        } else {
            taken += 1;
            let runs = history
                .executions
                .iter()
                .find(|run| run.task == submit.task);
            let waited = runs.expect("it ran").start - submit.at;
            assert!(
                waited <= max_wait + max_wait / 4 + run_time,
                "waited {} ms",
                waited / MS
            );
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(
        refused >= 30 && taken >= 30,
        "{refused} refused, {taken} taken"
    );
}

/// A worker on which everything fails at once is always free, and ruins little all the same; the
/// others do as much as if it were not there. The same where a machine can start nothing, except
/// that nothing is ruined.
#[test]
fn a_worker_that_is_no_good_takes_little_from_the_others() {
    let run_time = 20 * MS;
    let during = 100 * MS..60 * S;
    let makespan = |workers: u16, fault: Option<FaultKind>| {
        let mut options = scenario::cluster(workers, 4, 2);
        options.retries = None;
        let clients = options.client_hosts();
        let tasks = backlog(clients, during.start, 1_500, &(run_time..run_time));
        let faults = fault.into_iter().map(|kind| Fault {
            at: 50 * MS,
            span: during.end,
            kind,
        });
        options.heal_at = during.end;
        let plan = scenario::plan(options, tasks, faults.collect());
        let history = run(&plan);
        let failed = |end: &End| matches!(end, End::Failed { .. });
        let ruined = history
            .deliveries
            .iter()
            .filter(|delivery| failed(&delivery.end))
            .count();
        assert_eq!(history.deliveries.len(), plan.tasks.len());
        let last = history.deliveries.iter().map(|delivery| delivery.at).max();
        (last.expect("they ended") - during.start, ruined)
    };
    let (alone, none) = makespan(3, None);
    assert_eq!(none, 0);
    for (fault, most) in [(FaultKind::Spoil(2), 30), (FaultKind::Short(2), 0)] {
        let (beside, ruined) = makespan(4, Some(fault.clone()));
        println!("{fault:?}: {ruined} ruined, {beside} ns beside {alone} ns without the worker");
        assert!(ruined <= most, "{fault:?} ruined {ruined}");
        assert!(beside as f64 <= alone as f64 * 1.05, "{fault:?}");
    }
}
