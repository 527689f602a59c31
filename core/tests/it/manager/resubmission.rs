//! What it means to the manager that a client submits a task again, and which words go with it.

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::limits::ATTEMPTS_MAX;
use argon_core::message::{
    AttemptEnd, FromClient, FromWorker, ReportedAttempt, Role, Submit, ToClient, ToManager, ToPeer,
};
use argon_core::task::{ExitCause, Outcome, Priority, RejectReason};
use proptest::prelude::*;

const ONE: Role = Role::Worker { capacity: 1 };

fn once(seq: u64) -> Submit {
    Submit {
        at_most_once: true,
        ..submit(seq)
    }
}

fn flagged(submit: Submit) -> Submit {
    Submit {
        may_have_run: true,
        ..submit
    }
}

fn with_priority(submit: Submit, priority: Priority) -> Submit {
    Submit { priority, ..submit }
}

fn not_started(bench: &mut Bench, worker: ConnId, attempts: &[Attempt]) {
    let (not_started, started) = (attempts.to_vec(), vec![]);
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        }),
    );
}

/// Refusals: which, why, and whether the task may have run.
fn refusals(bench: &mut Bench, client: ConnId) -> Vec<(u64, RejectReason, bool)> {
    let inbox = bench.inbox(client).into_iter();
    let refusals = inbox.filter_map(|message| match message.body {
        ToPeer::Client(ToClient::Reject {
            seq,
            reason,
            may_have_run,
            ..
        }) => Some((seq, reason, may_have_run)),
        _ => None,
    });
    refusals.collect()
}

fn old(number: u64, seq: u64) -> ReportedAttempt {
    let epoch = Epoch(1);
    ReportedAttempt {
        attempt: Attempt { epoch, number },
        task: task(3, seq),
    }
}

/// A worker of one slot that comes with what it ran for an earlier manager.
fn returning(bench: &mut Bench, peer: u64, running: Vec<ReportedAttempt>) -> ConnId {
    let (conn, _) = bench.hello(peer, 1, ONE, None, &format!("worker-{peer}"));
    bench.report(conn, running, vec![]);
    bench.grant(conn, 1);
    conn
}

#[test]
fn what_is_fresh_is_refused_as_never_started() {
    let mut bench = Bench::with(|config| config.queue_tasks = 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    assert_eq!(
        refusals(&mut bench, client),
        [(1, RejectReason::QueueFull, false)]
    );
    bench.step(argon_core::manager::ManagerInput::Drain);
    bench.inbox(client);
    bench.submit(client, submit(2));
    assert_eq!(
        refusals(&mut bench, client),
        [(2, RejectReason::Draining, false)]
    );
}

proptest! {
    /// Nobody, known or not, gets a task with more attempts than may be, or none: the connection
    /// is closed, and nothing of it is kept.
    #[test]
    fn attempts_beyond_the_bound_are_taken_from_nobody(
        attempts: u8, at_most_once: bool, may_have_run: bool, known: bool, busy: bool,
    ) {
        let mut bench = Bench::new();
        let worker = bench.worker(1, 1);
        let client = bench.client(3);
        if busy {
            bench.submit(client, submit(0));
        }
        if known {
            bench.submit(client, submit(1));
        }
        let before = bench.manager.status(bench.now, 0).manager.accepted;
        bench.inbox(worker);
        let max_attempts = attempts;
        let task = Submit { max_attempts, at_most_once, may_have_run, ..submit(1) };
        bench.submit(client, task);
        let allowed = (1..=ATTEMPTS_MAX).contains(&attempts);
        prop_assert_eq!(bench.closed.contains(&client), !allowed);
        let after = bench.manager.status(bench.now, 0).manager.accepted;
        prop_assert_eq!(after - before, u64::from(allowed && !known));
        prop_assert!(allowed || bench.assigned(worker).is_empty());
    }
}

/// However often its attempts are lost, a task is tried no more often than the bound allows, and
/// no less often than it asks for.
#[test]
fn a_task_is_tried_as_often_as_it_may_be() {
    for max_attempts in [1, 2, ATTEMPTS_MAX] {
        let mut bench = Bench::new();
        let worker = bench.worker(1, 1);
        let client = bench.client(3);
        bench.submit(
            client,
            Submit {
                max_attempts,
                ..submit(0)
            },
        );
        let mut tried = 0;
        while let Some(assign) = bench.assigned(worker).first().cloned() {
            tried += 1;
            let end = AttemptEnd::Crashed(ExitCause::Exit(1), String::new());
            bench.finish_with(worker, &assign, end);
        }
        assert_eq!(tried, max_attempts);
        assert!(matches!(
            bench.outcomes(client)[..],
            [(0, Outcome::Failed(_))]
        ));
    }
}

#[test]
fn asked_after_again_a_task_that_waits_goes_on_waiting_where_it_is() {
    for again in [once(0), flagged(submit(0))] {
        let mut bench = Bench::new();
        let client = bench.client(3);
        let first = Submit {
            may_have_run: false,
            ..again.clone()
        };
        bench.submit(client, first);
        bench.submit(client, again);
        let worker = bench.worker(1, 1);
        assert_eq!(bench.assigned(worker).len(), 1);
        assert_eq!(refusals(&mut bench, client), []);
    }
}

#[test]
fn what_must_not_run_twice_is_not_started_where_it_waited_if_it_may_have_run_elsewhere() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 2), bench.client(3));
    // It was assigned, so it has its room among those in flight, and did not start.
    bench.submit(client, once(0));
    let assign = bench.assigned(worker).remove(0);
    bench.grant(worker, 0);
    not_started(&mut bench, worker, &[assign.attempt]);
    assert_eq!(bench.outcomes(client), []);
    bench.submit(client, flagged(once(0)));
    bench.grant(worker, 2);
    assert_eq!(bench.assigned(worker), []);
    assert_eq!(bench.manager.status(bench.now, 0).manager.held, 1);
}

#[test]
fn what_may_have_run_is_not_displaced_and_what_has_not_is() {
    for (again, displaced) in [
        (None, true),
        (Some(submit(0)), true),
        (Some(flagged(submit(0))), false),
    ] {
        let mut bench = Bench::with(|config| config.queue_tasks = 1);
        let client = bench.client(3);
        bench.submit(client, with_priority(submit(0), Priority::LOW));
        if let Some(again) = again {
            bench.submit(client, with_priority(again, Priority::LOW));
        }
        bench.submit(client, with_priority(submit(1), Priority::HIGH));
        let expected = match displaced {
            true => (0, RejectReason::Displaced, false),
            false => (1, RejectReason::QueueFull, false),
        };
        assert_eq!(refusals(&mut bench, client), [expected]);
    }
}

#[test]
fn what_has_its_room_in_flight_keeps_it_when_it_is_asked_after() {
    let mut bench = Bench::with(|config| config.in_flight_tasks = 2);
    let (worker, client) = (bench.worker(1, 2), bench.client(3));
    for seq in 0..3 {
        bench.submit(client, submit(seq));
    }
    let assigned = bench.assigned(worker);
    assert_eq!(assigned.len(), 2, "as many as may be in flight");
    bench.grant(worker, 1);
    not_started(&mut bench, worker, &[assigned[1].attempt]);
    bench.submit(client, flagged(submit(1)));
    bench.grant(worker, 2);
    let again: Vec<u64> = bench
        .assigned(worker)
        .iter()
        .map(|one| one.task.seq)
        .collect();
    assert_eq!(again, [1]);
}

#[test]
fn a_client_may_bring_back_as_many_tasks_as_it_may_have() {
    let mut bench = Bench::with(|config| config.client_tasks = 2);
    let client = bench.client(3);
    for seq in 0..3 {
        bench.submit(client, flagged(submit(seq)));
    }
    assert_eq!(
        refusals(&mut bench, client),
        [(2, RejectReason::ClientFull, true)]
    );
}

#[test]
fn what_may_be_repeated_and_has_not_started_is_tried_again_whatever_it_did_before() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, flagged(submit(0)));
    bench.advance_alive(ms(3_000), &[worker, client]);
    let first = bench.assigned(worker).remove(0);
    not_started(&mut bench, worker, &[first.attempt]);
    assert_eq!(bench.assigned(worker).len(), 1);
    assert_eq!(bench.outcomes(client), []);
}

#[test]
fn a_cancelled_task_is_cancelled_although_it_may_have_run_elsewhere() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, once(0));
    let assign = bench.assigned(worker).remove(0);
    bench.submit(client, flagged(once(0)));
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    not_started(&mut bench, worker, &[assign.attempt]);
    let may_have_run = true;
    assert_eq!(
        bench.outcomes(client),
        [(0, Outcome::Cancelled { may_have_run })]
    );
}

/// A worker that runs a task for an earlier manager, while it is assigned to another here, since
/// it came too late to claim it. Ways in which the first can end without a result.
#[test]
fn what_somebody_was_seen_to_run_may_have_run_whatever_becomes_of_that() {
    type End = fn(&mut Bench, ConnId, ReportedAttempt);
    let ends: [End; 4] = [
        |_, _, _| {},
        |bench, worker, run| {
            let assign = argon_core::message::Assign {
                attempt: run.attempt,
                task: run.task,
                at_most_once: false,
                deadline: argon_core::time::Nanos::NONE,
                time_limit: argon_core::time::Nanos::NONE,
                name: name("work"),
            };
            let end = AttemptEnd::Crashed(ExitCause::Exit(1), String::new());
            bench.finish_with(worker, &assign, end);
        },
        |bench, worker, _| bench.send(worker, ToManager::Goodbye),
        |bench, worker, _| {
            bench.close(worker);
            bench.advance(ms(250));
        },
    ];
    for (way, end) in ends.iter().enumerate() {
        let mut bench = Bench::new();
        let (worker, client) = (bench.worker(1, 1), bench.client(3));
        bench.submit(client, flagged(submit(0)));
        bench.advance_alive(ms(3_000), &[worker, client]);
        let assign = bench.assigned(worker).remove(0);
        let first = returning(&mut bench, 2, vec![old(0, 0)]);
        bench.grant(first, 0);
        bench.grant(worker, 0);
        end(&mut bench, first, old(0, 0));
        not_started(&mut bench, worker, &[assign.attempt]);
        bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
        let may_have_run = true;
        let cancelled = (0, Outcome::Cancelled { may_have_run });
        assert_eq!(bench.outcomes(client), [cancelled], "way {way}");
    }
}

#[test]
fn what_must_not_run_twice_and_is_lost_is_not_called_poison() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    let max_attempts = 1;
    bench.submit(
        client,
        Submit {
            max_attempts,
            ..once(0)
        },
    );
    bench.send(worker, ToManager::Goodbye);
    let id = task(3, 0);
    assert!(bench.events.contains(&Event::TaskLost { task: id }));
    assert!(!bench.events.contains(&Event::PoisonStopped { task: id }));
    assert!(matches!(
        bench.outcomes(client)[..],
        [(0, Outcome::Lost { .. })]
    ));
}

/// How long what comes back waits for a worker to claim it is counted from when its client began
/// anew here.
#[test]
fn claims_are_waited_for_from_when_the_client_began_anew() {
    for anew in [false, true] {
        let mut bench = Bench::new();
        let worker = bench.worker(1, 1);
        let client = bench.client(3);
        bench.submit(client, submit(0));
        bench.inbox(worker);
        bench.grant(worker, 2);
        let began = bench.now;
        bench.advance_alive(ms(2_000), &[worker, client]);
        bench.close(client);
        let session = if anew { Epoch(1) } else { EPOCH };
        let (client, welcome) = bench.hello(3, 2, Role::Client, Some(session), "client-3");
        assert_eq!(welcome.map(|welcome| welcome.resumed), Some(!anew));
        let resumed = Event::SessionResumed {
            peer: argon_core::ids::PeerId(3),
        };
        assert_eq!(bench.events.contains(&resumed), !anew);
        bench.submit(client, flagged(submit(1)));
        assert_eq!(bench.assigned(worker), []);
        let begins = if anew { bench.now } else { began };
        let left = (begins + ms(3_000)).since(bench.now);
        let before = left - std::time::Duration::from_nanos(1);
        bench.advance_alive(before, &[worker, client]);
        assert_eq!(bench.assigned(worker), []);
        bench.advance(std::time::Duration::from_nanos(1));
        assert_eq!(bench.assigned(worker).len(), 1);
    }
}
