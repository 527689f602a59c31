//! Rare corners of the manager: attempts given up on that answer after all, workers that say
//! things twice, and what a reconnect starts anew.

use super::bench::*;
use argon_core::event::{CloseReason, Event};
use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::limits::{HANDSHAKE, IDS_MAX, WORKER_WINDOW_BYTES};
use argon_core::manager::ManagerInput;
use argon_core::message::{
    Assign, AttemptEnd, FromClient, FromWorker, Message, ReportedAttempt, Role, Submit, ToManager,
    ToPeer, ToWorker,
};
use argon_core::task::{ErrorKind, ExitCause, Outcome, RejectReason, TaskError};
use bytes::Bytes;
use std::time::Duration;

const OLD: Epoch = Epoch(3);
const WORKER: Role = Role::Worker { capacity: 1 };

fn not_started(attempts: &[Attempt]) -> ToManager {
    ToManager::Worker(FromWorker::Returned {
        not_started: attempts.to_vec(),
        started: vec![],
    })
}

/// A task whose first attempt was given up on, with the second at another worker, and the first
/// worker back with its attempt.
struct Twice {
    bench: Bench,
    client: ConnId,
    first: (ConnId, Assign),
    second: (ConnId, Assign),
}

fn twice() -> Twice {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(9);
    bench.submit(client, submit(0));
    let first = bench.assigned(worker).remove(0);
    bench.close(worker);
    bench.advance(ms(251));
    let other = bench.worker(2, 1);
    let second = bench.assigned(other).remove(0);
    let (worker, _) = bench.hello(1, 2, WORKER, Some(EPOCH), "worker-1");
    bench.report(worker, vec![reported(&first)], vec![]);
    Twice {
        bench,
        client,
        first: (worker, first),
        second: (other, second),
    }
}

#[test]
fn a_result_of_either_attempt_ends_the_task_and_the_other_is_killed() {
    for error in [false, true] {
        let mut it = twice();
        let (worker, assign) = &it.first;
        let end = if error {
            let error = TaskError::new(ErrorKind::Raised("E".into()), "no");
            AttemptEnd::Failed(error.into())
        } else {
            AttemptEnd::Completed
        };
        it.bench.finish_with(*worker, assign, end);
        let outcome = it.bench.outcomes(it.client).remove(0).1;
        match outcome {
            // It was charged when it was given up on, but it was alive.
            Outcome::Completed(completion) => assert_eq!(completion.charged, 0),
            Outcome::Failed(failure) => assert_eq!(failure.history, []),
            other => panic!("{other:?}"),
        }
        let (other, assign) = &it.second;
        assert_eq!(it.bench.kills(*other), [assign.attempt]);
        let status = it.bench.manager.status(it.bench.now, 0);
        assert_eq!(status.manager.assigned, 0);
        // The other's result comes too late.
        it.bench.complete(*other, assign);
        let attempts = vec![assign.attempt];
        assert_eq!(
            it.bench.bodies(*other),
            [ToPeer::Worker(ToWorker::AckResults { attempts })]
        );
        assert_eq!(it.bench.outcomes(it.client), []);
    }
}

#[test]
fn a_crash_of_the_attempt_that_was_given_up_on_decides_nothing() {
    let mut it = twice();
    let (worker, first) = &it.first;
    let crash = AttemptEnd::Crashed(ExitCause::Exit(1), String::new());
    it.bench.finish_with(*worker, first, crash);
    let stale = Event::StaleIgnored {
        task: first.task,
        attempt: first.attempt,
    };
    assert!(it.bench.events.contains(&stale));
    let attempts = vec![first.attempt];
    assert_eq!(
        it.bench.bodies(*worker),
        [ToPeer::Worker(ToWorker::AckResults { attempts })]
    );
    assert_eq!(it.bench.outcomes(it.client), []);
    // It did run, whatever becomes of the second.
    let (other, second) = &it.second;
    it.bench
        .send(it.client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    it.bench.send(*other, not_started(&[second.attempt]));
    let may_have_run = true;
    let outcome = it.bench.outcomes(it.client).remove(0).1;
    assert_eq!(outcome, Outcome::Cancelled { may_have_run });
}

#[test]
fn a_report_is_believed_more_than_a_later_denial() {
    let mut it = twice();
    let (worker, first) = &it.first;
    it.bench.send(*worker, not_started(&[first.attempt]));
    assert_eq!(it.bench.outcomes(it.client), [], "the second is out");
    it.bench
        .send(it.client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    let (other, second) = &it.second;
    it.bench.send(*other, not_started(&[second.attempt]));
    let may_have_run = true;
    let outcome = it.bench.outcomes(it.client).remove(0).1;
    assert_eq!(outcome, Outcome::Cancelled { may_have_run });
}

#[test]
fn an_attempt_given_up_on_before_it_started_leaves_no_trace_on_a_queued_task() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(9);
    bench.submit(client, submit(0));
    bench.assigned(worker);
    bench.close(worker);
    bench.advance(ms(251));
    // It comes back and says nothing of it: it never started, and is nobody's fault.
    let (worker, _) = bench.hello(1, 2, WORKER, Some(EPOCH), "worker-1");
    bench.report(worker, vec![], vec![]);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    let may_have_run = false;
    let outcome = bench.outcomes(client).remove(0).1;
    assert_eq!(outcome, Outcome::Cancelled { may_have_run });
}

#[test]
fn a_worker_that_leaves_with_an_attempt_that_was_given_up_on_costs_nothing_more() {
    let mut it = twice();
    let (worker, _) = &it.first;
    it.bench.send(*worker, ToManager::Goodbye);
    assert_eq!(
        it.bench
            .manager
            .status(it.bench.now, 0)
            .manager
            .attempts_lost,
        1
    );
    let (other, second) = &it.second;
    it.bench.complete(*other, second);
    assert!(completed(&it.bench.outcomes(it.client)[0].1));
}

#[test]
fn what_was_to_end_ends_with_its_workers_goodbye() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(9);
    bench.submit(client, submit(0));
    bench.assigned(worker);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    bench.send(worker, ToManager::Goodbye);
    let may_have_run = true;
    let outcome = bench.outcomes(client).remove(0).1;
    assert_eq!(outcome, Outcome::Cancelled { may_have_run });
}

#[test]
fn without_a_grace_a_closed_connection_gives_up_at_once() {
    let mut bench = Bench::with(|config| config.reconnect_grace = Duration::ZERO);
    let worker = bench.worker(1, 1);
    let other = bench.worker(2, 1);
    let client = bench.client(9);
    bench.submit(client, submit(0));
    bench.assigned(worker);
    bench.close(worker);
    assert_eq!(bench.assigned(other).len(), 1);
}

#[test]
fn breaking_the_protocol_waits_the_grace_like_a_cut() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let other = bench.worker(2, 1);
    let client = bench.client(9);
    bench.submit(client, submit(0));
    bench.send(worker, ToManager::Client(FromClient::Cancel { seq: 0 }));
    assert!(bench.closed.contains(&worker));
    bench.advance(ms(249));
    assert_eq!(bench.assigned(other), []);
    bench.advance(ms(2));
    assert_eq!(bench.assigned(other).len(), 1);
}

#[test]
fn a_stranger_has_so_long_to_say_hello() {
    let mut bench = Bench::new();
    let conn = bench.connect();
    bench.advance(HANDSHAKE - ms(1));
    assert_eq!(bench.closed, []);
    bench.advance(ms(1));
    assert_eq!(bench.closed, [conn]);
    let reason = CloseReason::HandshakeTimeout;
    assert!(bench.events.contains(&Event::ConnClosed { conn, reason }));
    // Whoever was let in has the lease.
    let client = bench.client(1);
    bench.advance(HANDSHAKE + ms(1));
    assert!(!bench.closed.contains(&client));
}

#[test]
fn a_worker_that_says_twice_that_it_drains_drains_once() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 3);
    bench.worker(2, 1);
    for _ in 0..2 {
        bench.send(worker, ToManager::Worker(FromWorker::Draining));
        assert_eq!(bench.manager.status(bench.now, 0).manager.capacity, 1);
    }
    let client = bench.client(9);
    bench.submit(client, submit(0));
    assert_eq!(bench.assigned(worker), []);
    bench.close(worker);
    assert_eq!(bench.manager.status(bench.now, 0).manager.capacity, 1);
    bench.hello(1, 2, Role::Worker { capacity: 3 }, Some(EPOCH), "worker-1");
    assert_eq!(bench.manager.status(bench.now, 0).manager.capacity, 4);
}

#[test]
fn a_worker_that_came_back_gets_nothing_before_its_report_and_its_window() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let client = bench.client(9);
    bench.close(worker);
    bench.submit(client, submit(0));
    let (worker, _) = bench.hello(1, 2, Role::Worker { capacity: 2 }, Some(EPOCH), "worker-1");
    assert_eq!(bench.assigned(worker), []);
    bench.report(worker, vec![], vec![]);
    assert_eq!(
        bench.assigned(worker),
        [],
        "it has not said how many it takes"
    );
    bench.grant(worker, 2);
    assert_eq!(bench.assigned(worker).len(), 1);
    bench.grant(worker, 0);
    bench.submit(client, submit(1));
    assert_eq!(bench.assigned(worker), []);
}

#[test]
fn so_many_payload_bytes_are_outstanding_at_a_worker() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 9);
    let client = bench.client(9);
    let half = Bytes::from(vec![0; WORKER_WINDOW_BYTES as usize / 2]);
    for seq in 0..4 {
        let body = ToManager::Client(FromClient::Submit(submit(seq)));
        let payload = half.clone();
        bench.send(
            client,
            Message {
                body,
                payload: payload.into(),
            },
        );
    }
    // With their names, two are more than the bound.
    let assigned = bench.assigned(worker);
    assert_eq!(assigned.len(), 2);
    bench.complete(worker, &assigned[0]);
    assert_eq!(bench.assigned(worker).len(), 1);
    let mut bench = Bench::new();
    let worker = bench.worker(1, 9);
    let client = bench.client(9);
    for seq in 0..4 {
        let body = ToManager::Client(FromClient::Submit(submit(seq)));
        let payload = half.slice(..half.len() - 4);
        bench.send(
            client,
            Message {
                body,
                payload: payload.into(),
            },
        );
    }
    assert_eq!(
        bench.assigned(worker).len(),
        2,
        "exactly the bound is enough"
    );
}

#[test]
fn many_results_are_acknowledged_in_parts() {
    let mut bench = Bench::new();
    let (worker, _) = bench.hello(1, 1, WORKER, None, "w");
    let client = bench.client(7);
    let floor = 10_000;
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor,
            seqs: vec![],
        }),
    );
    for (count, sizes) in [(IDS_MAX, vec![IDS_MAX]), (IDS_MAX + 1, vec![IDS_MAX, 1])] {
        let (worker, _) = bench.hello(1, 2 + count as u64, WORKER, None, "w");
        let finished = (0..count as u64).map(|number| ReportedAttempt {
            attempt: Attempt { epoch: OLD, number },
            task: task(7, number),
        });
        bench.report(worker, vec![], finished.collect());
        let parts = bench.bodies(worker).into_iter().map(|body| match body {
            ToPeer::Worker(ToWorker::AckResults { attempts }) => attempts.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(parts.collect::<Vec<_>>(), sizes);
    }
    assert!(bench.closed.contains(&worker));
}

#[test]
fn what_is_gone_before_its_acknowledgement_is_forgotten() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(9);
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.complete(worker, &assign);
    bench.close(worker);
    let floor = 1;
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor,
            seqs: vec![],
        }),
    );
    let (worker, _) = bench.hello(1, 2, WORKER, Some(EPOCH), "worker-1");
    assert_eq!(bench.bodies(worker), []);
    // It still has the result, and learns from the answer to its report that nobody needs it.
    bench.report(worker, vec![], vec![reported(&assign)]);
    let attempts = vec![assign.attempt];
    assert_eq!(
        bench.bodies(worker),
        [ToPeer::Worker(ToWorker::AckResults { attempts })]
    );
}

#[test]
fn the_only_life_of_a_result_of_another_manager_is_at_the_worker() {
    let orphan = ReportedAttempt {
        attempt: Attempt {
            epoch: OLD,
            number: 1,
        },
        task: task(7, 0),
    };
    let orphans = |bench: &Bench| bench.manager.status(bench.now, 0).manager.orphans;
    let mut bench = Bench::new();
    let (worker, _) = bench.hello(1, 1, WORKER, Some(OLD), "w");
    bench.report(worker, vec![], vec![orphan]);
    assert_eq!(orphans(&bench), 1);
    assert!(
        bench
            .events
            .iter()
            .any(|event| matches!(event, Event::OrphanKept { .. }))
    );
    // It comes back with it ...
    let (worker, _) = bench.hello(1, 2, WORKER, Some(EPOCH), "w");
    bench.report(worker, vec![], vec![orphan]);
    assert_eq!(orphans(&bench), 1);
    // ... and without: another manager took it.
    let (worker, _) = bench.hello(1, 3, WORKER, Some(EPOCH), "w");
    bench.report(worker, vec![], vec![]);
    assert_eq!(orphans(&bench), 0);
    let client = bench.client(7);
    bench.submit(client, submit(0));
    assert_eq!(bench.rejects(client), []);
    bench.grant(worker, 1);
    assert_eq!(bench.assigned(worker).len(), 1, "nobody has it");
}

#[test]
fn several_workers_may_have_attempts_of_a_task_that_comes_back() {
    let orphan = |number| ReportedAttempt {
        attempt: Attempt { epoch: OLD, number },
        task: task(7, 0),
    };
    let mut bench = Bench::new();
    let (first, _) = bench.hello(1, 1, WORKER, Some(OLD), "a");
    bench.report(first, vec![orphan(1)], vec![]);
    let (second, _) = bench.hello(2, 1, WORKER, Some(OLD), "b");
    bench.report(second, vec![orphan(2)], vec![]);
    let client = bench.client(7);
    let may_have_run = true;
    bench.submit(
        client,
        Submit {
            may_have_run,
            ..submit(0)
        },
    );
    let (third, _) = bench.hello(3, 1, WORKER, Some(OLD), "c");
    bench.report(third, vec![], vec![orphan(3)]);
    let attempt = orphan(3).attempt;
    assert_eq!(
        bench.bodies(third),
        [ToPeer::Worker(ToWorker::Resend { attempt })]
    );
    let assign = Assign {
        attempt: orphan(2).attempt,
        task: task(7, 0),
        at_most_once: false,
        deadline: argon_core::time::Nanos::NONE,
        time_limit: argon_core::time::Nanos::NONE,
        name: name("work"),
    };
    bench.complete(second, &assign);
    assert!(completed(&bench.outcomes(client)[0].1));
    assert_eq!(bench.kills(first), [orphan(1).attempt]);
    assert_eq!(bench.kills(third), [orphan(3).attempt]);
    // One more reports after the end: it is not wanted.
    let (fourth, _) = bench.hello(4, 1, WORKER, Some(OLD), "d");
    bench.report(fourth, vec![orphan(4)], vec![orphan(5)]);
    let said = bench.bodies(fourth);
    assert_eq!(said.len(), 2, "killed and acknowledged: {said:?}");
    // The one that gave the result keeps it until the client has it.
    let (second, _) = bench.hello(2, 2, WORKER, Some(EPOCH), "b");
    bench.report(second, vec![], vec![orphan(2)]);
    assert_eq!(bench.bodies(second), []);
}

#[test]
fn a_draining_manager_takes_nothing_back_in_that_nobody_has() {
    let mut bench = Bench::new();
    let client = bench.client(9);
    bench.step(ManagerInput::Drain);
    let submit = Submit {
        may_have_run: true,
        ..submit(0)
    };
    bench.submit(client, submit);
    assert_eq!(bench.rejects(client), [(0, RejectReason::Draining)]);
}

#[test]
fn what_may_have_run_is_finished_in_a_drain() {
    let mut bench = Bench::new();
    let client = bench.client(9);
    let worker = bench.worker(1, 1);
    for seq in 0..2 {
        bench.submit(client, submit(seq));
    }
    let first = bench.assigned(worker).remove(0);
    let crash = AttemptEnd::Crashed(ExitCause::Exit(1), String::new());
    bench.grant(worker, 0);
    bench.finish_with(worker, &first, crash);
    bench.step(ManagerInput::Drain);
    assert_eq!(bench.rejects(client), [(1, RejectReason::Draining)]);
    bench.grant(worker, 1);
    let again = bench.assigned(worker).remove(0);
    assert_eq!(again.task, first.task);
    // Taken back unstarted, it may have run before: it goes on as well.
    bench.send(worker, not_started(&[again.attempt]));
    assert_eq!(bench.rejects(client), []);
    let again = bench.assigned(worker).remove(0);
    bench.complete(worker, &again);
    assert!(completed(&bench.outcomes(client)[0].1));
}

#[test]
fn taken_back_is_told_only_of_what_was_asked_for() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(9);
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.send(worker, not_started(&[assign.attempt]));
    let taken = |event: &Event| matches!(event, Event::Recalled { .. });
    assert!(!bench.events.iter().any(taken));
    bench.grant(worker, 2);
    bench.submit(client, submit(1));
    let assigned = bench.assigned(worker);
    bench.worker(2, 1);
    bench.advance(ms(100));
    assert_eq!(bench.bodies(worker).len(), 1);
    bench.send(
        worker,
        not_started(&[assigned.last().expect("two").attempt]),
    );
    assert!(bench.events.iter().any(taken));
}
