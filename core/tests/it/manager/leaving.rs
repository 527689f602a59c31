//! Corners that the manager must not be caught in, each as one short scene: workers that leave
//! for good, that answer some things and not others, and that say too much.

use super::bench::{Bench, EPOCH, ms, reported, submit, task};
use argon_core::Machine as _;
use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::limits::OBSERVERS_MAX;
use argon_core::manager::ManagerInput;
use argon_core::message::{
    AttemptEnd, Control, Finished, FromClient, FromWorker, Message, RefuseReason, ReportedAttempt,
    Role, Submit, ToClient, ToManager, ToPeer, ToWorker,
};
use argon_core::task::{Outcome, RejectReason};
use argon_core::time::Nanos;

/// Refusals with their word on whether the task may have run.
fn refusals(inbox: Vec<Message<ToPeer>>) -> Vec<(u64, RejectReason, bool)> {
    let refusal = |message: Message<ToPeer>| match message.body {
        ToPeer::Client(ToClient::Reject {
            seq,
            reason,
            may_have_run,
            ..
        }) => Some((seq, reason, may_have_run)),
        _ => None,
    };
    inbox.into_iter().filter_map(refusal).collect()
}

#[test]
fn what_waits_is_refused_once_the_last_worker_has_been_gone_for_the_restart_grace() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.advance_alive(ms(4_000), &[worker, client]);
    for seq in 0..2 {
        bench.submit(client, submit(seq));
    }
    assert_eq!(bench.assigned(worker).len(), 1);
    bench.send(worker, ToManager::Goodbye);
    bench.advance_alive(ms(2_900), &[client]);
    assert_eq!(refusals(bench.inbox(client)), []);
    bench.advance_alive(ms(200), &[client]);
    let no_workers = RejectReason::NoWorkers;
    let refused = [(0, no_workers, true), (1, no_workers, false)];
    assert_eq!(refusals(bench.inbox(client)), refused);
}

#[test]
fn a_worker_that_comes_in_time_gets_what_waits() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.advance_alive(ms(4_000), &[worker, client]);
    bench.submit(client, submit(0));
    bench.send(worker, ToManager::Goodbye);
    bench.advance_alive(ms(2_900), &[client]);
    let other = bench.worker(2, 1);
    bench.advance_alive(ms(200), &[client, other]);
    assert_eq!(refusals(bench.inbox(client)), []);
    assert_eq!(bench.assigned(other).len(), 1);
}

#[test]
fn a_draining_manager_without_workers_ends() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    let may_have_run = Submit {
        may_have_run: true,
        ..submit(0)
    };
    bench.submit(client, may_have_run.clone());
    let once = Submit {
        at_most_once: true,
        seq: 1,
        ..may_have_run
    };
    bench.submit(client, once);
    bench.step(ManagerInput::Drain);
    assert!(!bench.drained, "a worker may claim them");
    bench.advance_alive(ms(3_100), &[client]);
    assert!(bench.drained);
    let no_workers = RejectReason::NoWorkers;
    let refused = [(0, no_workers, true), (1, no_workers, true)];
    assert_eq!(refusals(bench.inbox(client)), refused);
}

#[test]
fn a_manager_without_workers_keeps_nothing_that_may_have_run() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    bench.advance_alive(ms(3_100), &[client]);
    let may_have_run = Submit {
        may_have_run: true,
        ..submit(0)
    };
    bench.submit(client, may_have_run);
    let refused = [(0, RejectReason::NoWorkers, true)];
    assert_eq!(refusals(bench.inbox(client)), refused);
}

#[test]
fn a_worker_that_never_answers_a_kill_does_not_hold_its_task_open() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    let hurried = Submit {
        deadline: Nanos::from(ms(100)),
        ..submit(1)
    };
    let other = bench.worker(2, 1);
    bench.submit(client, hurried);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    let alive = [worker, other, client];
    bench.advance_alive(ms(3_900), &alive);
    assert!(bench.outcomes(client).is_empty(), "the answer may come");
    bench.advance_alive(ms(300), &alive);
    let may_have_run = true;
    let ends = [
        (0, Outcome::Cancelled { may_have_run }),
        (1, Outcome::Expired { may_have_run }),
    ];
    assert_eq!(bench.outcomes(client), ends);
    assert!(bench.closed.is_empty());
    bench.assigned(worker);
    bench.submit(client, submit(2));
    bench.advance_alive(ms(10_000), &alive);
    assert!(
        bench.assigned(worker).is_empty(),
        "the slot is taken until the process has let go"
    );
}

#[test]
fn a_worker_that_never_answers_what_is_asked_back_is_closed_and_its_report_answers() {
    let mut bench = Bench::new();
    let busy = bench.worker(1, 1);
    bench.grant(busy, 3);
    let client = bench.client(3);
    for seq in 0..3 {
        bench.submit(client, submit(seq));
    }
    let assigned = bench.assigned(busy);
    assert_eq!(assigned.len(), 3);
    let free = bench.worker(2, 1);
    bench.advance_alive(ms(3_900), &[busy, free, client]);
    assert!(bench.closed.is_empty());
    bench.advance_alive(ms(500), &[busy, free, client]);
    assert_eq!(bench.closed, [busy]);
    let session = Some(EPOCH);
    let (back, _) = bench.hello(1, 2, Role::Worker { capacity: 1 }, session, "worker-1");
    bench.report(back, vec![reported(&assigned[0])], vec![]);
    assert_eq!(
        bench.assigned(free).len(),
        1,
        "what had not started is free"
    );
}

#[test]
fn a_worker_that_could_not_yet_hear_what_is_asked_back_has_more_time() {
    let mut bench = Bench::new();
    let busy = bench.worker(1, 1);
    bench.grant(busy, 2);
    let client = bench.client(3);
    for seq in 0..2 {
        bench.submit(client, submit(seq));
    }
    let free = bench.worker(2, 1);
    // Bytes of the second payload go on passing; nothing behind it has arrived.
    for _ in 0..20 {
        bench.advance_alive(ms(500), &[free, client]);
        bench.step(ManagerInput::Progress { conn: busy });
    }
    assert!(bench.closed.is_empty());
}

/// A worker as it comes to a restarted manager, with these attempts of an earlier life running.
fn returning(bench: &mut Bench, peer: u64, capacity: u32, running: Vec<ReportedAttempt>) -> ConnId {
    let called = format!("worker-{peer}");
    let (conn, _) = bench.hello(peer, 2, Role::Worker { capacity }, Some(Epoch(1)), &called);
    bench.report(conn, running, vec![]);
    conn
}

fn old_attempt(number: u64, seq: u64) -> ReportedAttempt {
    let epoch = Epoch(1);
    ReportedAttempt {
        attempt: Attempt { epoch, number },
        task: task(3, seq),
    }
}

#[test]
fn an_orphan_of_a_worker_that_was_given_up_on_does_not_hold_its_task() {
    let mut bench = Bench::new();
    let lost = returning(&mut bench, 1, 1, vec![old_attempt(0, 0)]);
    bench.close(lost);
    bench.advance(ms(300));
    let other = bench.worker(2, 1);
    let client = bench.client(3);
    let again = Submit {
        may_have_run: true,
        ..submit(0)
    };
    bench.submit(client, again);
    assert_eq!(bench.assigned(other).len(), 1, "its grace is over");
}

#[test]
fn of_two_workers_that_have_an_orphan_the_one_that_is_there_is_waited_for() {
    let mut bench = Bench::new();
    let lost = returning(&mut bench, 1, 1, vec![old_attempt(0, 0)]);
    bench.close(lost);
    bench.advance(ms(300));
    let there = returning(&mut bench, 2, 1, vec![old_attempt(1, 0)]);
    bench.grant(there, 1);
    let other = bench.worker(4, 1);
    let client = bench.client(3);
    let again = Submit {
        may_have_run: true,
        ..submit(0)
    };
    bench.submit(client, again);
    bench.advance_alive(ms(5_000), &[there, other, client]);
    assert!(bench.assigned(other).is_empty() && bench.assigned(there).is_empty());
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    let killed = bench.kills(there);
    assert_eq!(killed, [old_attempt(1, 0).attempt]);
}

#[test]
fn a_report_that_breaks_the_protocol_is_read_no_further() {
    let mut bench = Bench::with(|config| config.reconnect_grace = ms(0));
    let client = bench.client(3);
    for seq in 0..2 {
        let again = Submit {
            may_have_run: true,
            ..submit(seq)
        };
        bench.submit(client, again);
    }
    let other = bench.worker(2, 2);
    let mut never_made = old_attempt(77, 7);
    never_made.attempt.epoch = EPOCH;
    let running = vec![old_attempt(0, 0), never_made, old_attempt(1, 1)];
    let liar = returning(&mut bench, 1, 2, running);
    assert_eq!(bench.closed, [liar]);
    assert_eq!(bench.assigned(other).len(), 1, "what it had is given up on");
    bench.advance_alive(ms(3_100), &[other, client]);
    let second = bench.assigned(other);
    assert_eq!(second.len(), 1, "and nothing more was placed there");
    assert_eq!(second[0].task, task(3, 1));
}

#[test]
fn what_a_worker_said_it_started_is_not_believed_never_to_have_started() {
    for gone in ["returned", "not reported"] {
        let mut bench = Bench::new();
        let worker = bench.worker(1, 1);
        let client = bench.client(3);
        let once = Submit {
            at_most_once: true,
            ..submit(0)
        };
        bench.submit(client, once);
        let attempt = bench.assigned(worker)[0].attempt;
        let (not_started, started) = (vec![], vec![attempt]);
        let body = ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        });
        bench.send(worker, body);
        if gone == "returned" {
            let (not_started, started) = (vec![attempt], vec![]);
            let body = ToManager::Worker(FromWorker::Returned {
                not_started,
                started,
            });
            bench.send(worker, body);
        } else {
            bench.close(worker);
            let session = Some(EPOCH);
            let role = Role::Worker { capacity: 1 };
            let (back, _) = bench.hello(1, 2, role, session, "worker-1");
            bench.report(back, vec![], vec![]);
        }
        let outcomes = bench.outcomes(client);
        assert!(
            matches!(outcomes[..], [(0, Outcome::Lost { .. })]),
            "{gone}: {outcomes:?}"
        );
    }
}

#[test]
fn a_result_that_nobody_asked_for_stays_with_its_worker_until_its_client_returns() {
    let mut bench = Bench::new();
    let orphan = old_attempt(0, 0);
    let (worker, _) = bench.hello(
        1,
        2,
        Role::Worker { capacity: 1 },
        Some(Epoch(1)),
        "worker-1",
    );
    bench.report(worker, vec![], vec![orphan]);
    let finished = ToManager::Worker(FromWorker::Finished(Finished {
        attempt: orphan.attempt,
        task: orphan.task,
        ran: Nanos::ZERO,
        end: AttemptEnd::Completed,
    }));
    bench.send(worker, finished.clone());
    bench.advance_alive(ms(2_000), &[worker]);
    let inbox = bench.inbox(worker);
    assert_eq!(inbox, [], "it is not acknowledged");
    let client = bench.client(3);
    let again = Submit {
        may_have_run: true,
        ..submit(0)
    };
    bench.submit(client, again);
    let attempt = orphan.attempt;
    assert_eq!(
        bench.inbox(worker)[0].body,
        ToPeer::Worker(ToWorker::Resend { attempt })
    );
    bench.send(worker, finished);
    assert!(super::bench::completed(&bench.outcomes(client)[0].1));
}

#[test]
fn observers_are_bounded_and_make_room_when_they_leave() {
    let mut bench = Bench::new();
    let observe = |bench: &mut Bench, peer| bench.hello(peer, 1, Role::Observer, None, "eye");
    let conns: Vec<_> = (0..OBSERVERS_MAX as u64)
        .map(|peer| observe(&mut bench, peer))
        .inspect(|(_, welcome)| assert!(welcome.is_some()))
        .collect();
    let (refused, welcome) = observe(&mut bench, 9_999);
    assert_eq!(welcome, None);
    let full = ToPeer::Control(Control::Refuse(RefuseReason::Full));
    assert_eq!(bench.inbox(refused)[0].body, full);
    bench.close(conns[0].0);
    let (_, welcome) = observe(&mut bench, 10_000);
    assert!(welcome.is_some());
}

/// A rejection is said once. A client that did not hear it asks as if its task had never run.
#[test]
fn what_ran_before_its_rejection_was_lost_has_still_run() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let assign = bench.assigned(worker).remove(0);
    bench.finish_with(worker, &assign, AttemptEnd::Killed);
    bench.send(worker, ToManager::Goodbye);
    bench.close(client);
    bench.advance(ms(3_100));
    let (client, _) = bench.hello(3, 2, Role::Client, Some(EPOCH), "client-3");
    let seqs = vec![0, 1];
    bench.send(
        client,
        ToManager::Client(FromClient::Resume { seqs: seqs.clone() }),
    );
    assert_eq!(
        bench.inbox(client),
        [ToPeer::Client(ToClient::Unknown { seqs }).into()]
    );
    let no_workers = RejectReason::NoWorkers;
    for _ in 0..2 {
        bench.submit(client, submit(0));
        bench.submit(client, submit(1));
        let refused = [(0, no_workers, true), (1, no_workers, false)];
        assert_eq!(refusals(bench.inbox(client)), refused);
    }
    // It never was at a worker since; but with one there it is tried again.
    let worker = bench.worker(1, 1);
    bench.submit(client, submit(0));
    assert_eq!(bench.assigned(worker).len(), 1);
}

/// What may have run is remembered for as long as the client may ask for it, and counts as its.
#[test]
fn what_was_rejected_though_it_may_have_run_counts_as_the_clients() {
    let mut bench = Bench::with(|config| config.client_tasks = 2);
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.finish_with(worker, &assign, AttemptEnd::Killed);
    bench.send(worker, ToManager::Goodbye);
    bench.advance_alive(ms(3_100), &[client]);
    let refused = [(0, RejectReason::NoWorkers, true)];
    assert_eq!(refusals(bench.inbox(client)), refused);
    bench.worker(2, 1);
    bench.submit(client, submit(1));
    bench.submit(client, submit(2));
    let refused = [(2, RejectReason::ClientFull, false)];
    assert_eq!(refusals(bench.inbox(client)), refused);
    let floor = 1;
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor,
            seqs: vec![],
        }),
    );
    bench.submit(client, submit(2));
    assert_eq!(refusals(bench.inbox(client)), []);
}

/// What the client is done with, or says itself, need not be remembered for it.
#[test]
fn what_the_client_knows_to_have_run_is_forgotten() {
    let mut bench = Bench::with(|config| config.client_tasks = 2);
    let (worker, client) = (bench.worker(1, 2), bench.client(3));
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    for assign in bench.assigned(worker) {
        bench.finish_with(worker, &assign, AttemptEnd::Killed);
    }
    bench.send(worker, ToManager::Goodbye);
    bench.advance_alive(ms(3_100), &[client]);
    assert_eq!(refusals(bench.inbox(client)).len(), 2);
    bench.worker(2, 1);
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor: 0,
            seqs: vec![1],
        }),
    );
    bench.submit(client, submit(2));
    bench.submit(client, submit(3));
    let refused = [(3, RejectReason::ClientFull, false)];
    assert_eq!(refusals(bench.inbox(client)), refused);
    let ran = Submit {
        may_have_run: true,
        ..submit(0)
    };
    bench.submit(client, ran);
    assert_eq!(refusals(bench.inbox(client)), []);
}

#[test]
fn a_worker_may_finish_and_leave_in_one_breath() {
    let mut bench = Bench::new();
    let (worker, other) = (bench.worker(1, 1), bench.worker(2, 1));
    let client = bench.client(3);
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    let finished = Finished {
        attempt: assign.attempt,
        task: assign.task,
        ran: Nanos(1),
        end: AttemptEnd::Completed,
    };
    for body in [
        ToManager::Worker(FromWorker::Finished(finished)),
        ToManager::Goodbye,
    ] {
        let (conn, message) = (worker, body.into());
        let input = ManagerInput::Received { conn, message };
        bench.manager.handle_input(bench.now, input);
    }
    bench.submit(client, submit(1));
    assert!(super::bench::completed(&bench.outcomes(client)[0].1));
    assert_eq!(bench.assigned(other).len(), 1);
}

#[test]
fn a_peer_that_is_not_read_is_told_so_and_not_taken_for_silent() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let lease = argon_core::limits::LEASE;
    for _ in 0..12 {
        bench.advance(lease / 4);
        bench.step(ManagerInput::Paused { conn: worker });
        assert_eq!(bench.bodies(worker), [ToPeer::Control(Control::Paused)]);
    }
    assert_eq!(bench.closed, []);
    bench.advance(lease);
    assert_eq!(bench.closed, [worker]);
    bench.step(ManagerInput::Paused { conn: worker });
    assert_eq!(bench.bodies(worker), [], "it is gone");
}
