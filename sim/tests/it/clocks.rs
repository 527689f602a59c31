//! The four clocks: a closed connection waits the grace, silence the lease, resubmitted tasks the
//! restart grace, sessions the resume timeout. From below as from above: what is sooner repeats work.

use sim::faults::{Fault, FaultKind};
use sim::history::{End, Execution, ExecutionEnd, History};
use sim::options::{MS, Options, S};
use sim::plan::Plan;
use sim::workload::{Deed, Submission};
use sim::{Report, Trace, run_with_history, scenario};

/// Two workers of two slots (hosts 1 and 2), one client (host 3); a task for each slot at 100 ms.
fn long_tasks(run: u64, faults: Vec<Fault>, change: impl Fn(&mut Submission)) -> Plan {
    let mut options = Options::calm(vec![2, 2], 1);
    options.heal_at = 60 * S;
    let mut tasks: Vec<_> = (0..4)
        .map(|_| Submission::plain(100 * MS, 3, run))
        .collect();
    tasks.iter_mut().for_each(change);
    scenario::plan(options, tasks, faults)
}

fn run(plan: &Plan) -> (Report, History) {
    let (report, history) = run_with_history(plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    (report, history)
}

fn fault(at: u64, span: u64, kind: FaultKind) -> Fault {
    Fault { at, span, kind }
}

fn on(history: &History, host: u16) -> Vec<&Execution> {
    let here = |run: &&Execution| history.lives[run.life].host == host;
    history.executions.iter().filter(here).collect()
}

/// When what ran on the first worker at `at` ran again.
fn started_again(history: &History, at: u64) -> Vec<u64> {
    let struck = on(history, 1).into_iter().filter(|run| run.start < at);
    struck
        .filter_map(|run| {
            let again = |other: &&Execution| other.task == run.task && other.start > at;
            history.executions.iter().find(again)
        })
        .map(|run| run.start - at)
        .collect()
}

const HEARTBEAT: u64 = 500 * MS;
const SLACK: u64 = 50 * MS;

/// Promise 12: what a worker ran starts elsewhere once the grace (its connection was closed) or
/// the lease (nothing was heard) is over, and not before.
#[test]
fn p12_grace_and_lease_are_kept_from_both_sides() {
    let at = 3 * S;
    for grace in [0, 50 * MS, 250 * MS, S] {
        for lease in [400 * MS, S, 2 * S] {
            for (kind, closed) in [
                (FaultKind::Crash(1), true),
                (FaultKind::PowerLoss(1), false),
                (FaultKind::Pause(1), false),
                (FaultKind::Isolate(vec![1]), false),
            ] {
                if grace >= lease {
                    continue;
                }
                let faults = vec![fault(at, 20 * S, kind.clone())];
                let mut plan = long_tasks(4 * S, faults, |_| ());
                plan.options.reconnect_grace = grace;
                plan.options.lease = lease;
                // The other worker has room for them.
                plan.options.workers = vec![2, 4];
                let (_, history) = run(&plan);
                let again = started_again(&history, at);
                assert!(!again.is_empty());
                let heartbeat = lease / 4;
                let (least, most) = if closed {
                    (grace, grace + SLACK)
                } else {
                    (lease - heartbeat, lease + SLACK)
                };
                for after in again {
                    assert!(
                        (least..=most).contains(&after),
                        "{kind:?}, grace {} ms, lease {} ms: {} ms",
                        grace / MS,
                        lease / MS,
                        after / MS
                    );
                }
            }
        }
    }
}

/// Promise 12: a cut that ends within the lease, less the time between two heartbeats, costs
/// nothing, whichever direction it is of.
#[test]
fn p12_cuts_within_the_lease_repeat_nothing() {
    for seed in 0..40 {
        let span = 100 * MS + seed * 30 * MS;
        // What was swallowed is sent again up to 200 ms later.
        assert!(span + 200 * MS < 2 * S - HEARTBEAT);
        let kinds = [
            FaultKind::Cut(0, 1),
            FaultKind::Cut(1, 0),
            FaultKind::Cut(3, 0),
            FaultKind::Cut(0, 3),
            FaultKind::Isolate(vec![0]),
            FaultKind::Pause(0),
            FaultKind::Pause(1),
            FaultKind::Pause(3),
        ];
        let faults = (0..5)
            .map(|index| {
                let kind = kinds[(seed + index) as usize % kinds.len()].clone();
                fault(S + index * 4 * S, span, kind)
            })
            .collect();
        let mut plan = long_tasks(700 * MS, faults, |_| ());
        plan.options.heal_at = 25 * S;
        let template = plan.tasks[0].clone();
        plan.tasks = (0..100)
            .map(|index| Submission {
                at: 100 * MS + index * 200 * MS,
                ..template.clone()
            })
            .collect();
        plan.seed = seed;
        let (report, _) = run(&plan);
        assert_eq!(report.executions, report.submitted, "seed {seed}");
        assert_eq!(report.outcomes["completed"], report.submitted);
    }
}

/// A restarted manager holds what may have run, and whose worker has not come back, for the
/// restart grace; what is fresh goes at once.
#[test]
fn p14_a_restarted_manager_waits_for_claims_and_no_longer() {
    let at = 2 * S;
    let faults = vec![
        fault(at, 100 * MS, FaultKind::Crash(0)),
        fault(at, 30 * S, FaultKind::Crash(1)),
    ];
    let mut plan = long_tasks(8 * S, faults, |_| ());
    plan.options.workers = vec![2, 6];
    plan.tasks.push(Submission::plain(at + S + 500 * MS, 3, S));
    let (_, history) = run(&plan);
    let again = started_again(&history, at);
    assert_eq!(again.len(), 1);
    for after in again {
        // It counts from when the client is back.
        let window = 100 * MS + 3 * S..=100 * MS + 3 * S + S + SLACK;
        assert!(window.contains(&after), "{} ms", after / MS);
    }
    let fresh = history.executions.iter().find(|run| run.task == 4);
    let fresh = fresh.expect("it ran").start;
    assert!(fresh <= at + S + 500 * MS + SLACK, "fresh ones go at once");
}

/// What must not start twice waits out the resume timeout, and ends as `Lost` then.
#[test]
fn p3_lost_waits_out_the_resume_window() {
    let at = 2 * S;
    for window in [5 * S, 30 * S] {
        let faults = vec![fault(at, 200 * S, FaultKind::PowerLoss(1))];
        let mut plan = long_tasks(4 * S, faults, |task| task.at_most_once = true);
        plan.options.resume_timeout = window;
        plan.options.core_workers = vec![2];
        let (report, history) = run(&plan);
        assert_eq!(report.executions, 4);
        assert!(report.outcomes["lost"] >= 1);
        for delivery in &history.deliveries {
            if let End::Lost { .. } = delivery.end {
                let after = delivery.at - at;
                let allowed = window - HEARTBEAT..=window + 2 * S + SLACK;
                assert!(allowed.contains(&after), "{} ms", after / MS);
            }
        }
    }
}

/// A worker that was away for most of the resume timeout finished its tasks meanwhile, and they
/// count; nothing that must not repeat does.
#[test]
fn p12_a_worker_that_was_long_away_is_believed() {
    let faults = vec![fault(2 * S, 20 * S, FaultKind::Isolate(vec![1]))];
    let plan = long_tasks(4 * S, faults, |task| task.at_most_once = true);
    let (report, _) = run(&plan);
    assert_eq!(report.executions, 4);
    assert_eq!(report.outcomes["completed"], 4);
}

/// A client that does not come back within the resume timeout: what it has running is ended then,
/// and neither before nor much later.
#[test]
fn p4_what_a_lost_client_has_running_ends_with_its_session() {
    let at = 2 * S;
    let faults = vec![fault(at, 200 * S, FaultKind::PowerLoss(3))];
    let mut plan = long_tasks(0, faults, |task| {
        task.deed = Deed::Hang;
        task.time_limit = Some(300 * S);
    });
    plan.options.clients = 2;
    plan.options.core_clients = vec![4];
    let (_, history) = run(&plan);
    assert_eq!(history.executions.len(), 4);
    for run in &history.executions {
        let (end, how) = run.end.expect("it is ended");
        assert_eq!(how, ExecutionEnd::Killed);
        let window = plan.options.resume_timeout;
        let allowed = window - HEARTBEAT..=window + 2 * S + SLACK;
        assert!(allowed.contains(&(end - at)), "{} ms", (end - at) / MS);
    }
}

/// Promise 13: a client that was away for most of the resume timeout notices only the delay.
#[test]
fn p13_a_client_that_was_long_away_notices_only_the_delay() {
    for span in [S, 5 * S, 20 * S] {
        let faults = vec![fault(2 * S, span, FaultKind::Isolate(vec![3]))];
        let plan = long_tasks(4 * S, faults, |_| ());
        let (report, history) = run(&plan);
        assert_eq!(report.executions, 4);
        assert_eq!(report.outcomes["completed"], 4);
        let last = history.deliveries.iter().map(|end| end.at).max().unwrap();
        // Backoff between dials, up to a second, and a handshake.
        assert!(last <= (4 * S + 200 * MS).max(2 * S + span + 2 * S));
    }
}
