//! What the manager does when peers go, stay away, come back, or are replaced, each as one short
//! scene.

use super::bench::{Bench, EPOCH, completed, ms, name, reported, submit, task};
use argon_core::event::Event;
use argon_core::message::{
    AttemptEnd, Control, FromClient, FromWorker, Message, RefuseReason, Role, ToClient, ToManager,
    ToPeer, ToWorker,
};
use argon_core::task::{AttemptLoss, Outcome};
use argon_core::time::Nanos;

#[test]
fn a_closed_connection_waits_the_grace_and_then_its_tasks_go_elsewhere() {
    let mut bench = Bench::new();
    let lost = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    assert_eq!(bench.assigned(lost).len(), 1);
    let other = bench.worker(2, 1);
    bench.close(lost);
    bench.advance_alive(ms(249), &[other, client]);
    assert!(
        bench.assigned(other).is_empty(),
        "within the grace nothing is repeated"
    );
    bench.advance_alive(ms(2), &[other, client]);
    let again = bench.assigned(other);
    assert_eq!(again[0].task, task(3, 0));
    bench.complete(other, &again[0]);
    let outcomes = bench.outcomes(client);
    let Outcome::Completed(completion) = &outcomes[0].1 else {
        panic!("{outcomes:?}");
    };
    assert_eq!(completion.charged, 1);
}

#[test]
fn a_short_cut_repeats_nothing() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let assigned = bench.assigned(worker);
    bench.close(worker);
    bench.advance_alive(ms(200), &[client]);
    let (back, welcome) = bench.hello(1, 2, Role::Worker { capacity: 2 }, Some(EPOCH), "worker-1");
    assert!(welcome.unwrap().resumed);
    bench.report(back, vec![reported(&assigned[0])], vec![]);
    bench.grant(back, 2);
    let again = bench.assigned(back);
    assert_eq!(
        again.len(),
        1,
        "what was not reported has not started and goes out again"
    );
    assert_eq!(again[0].task, task(3, 1));
    bench.complete(back, &assigned[0]);
    bench.complete(back, &again[0]);
    let outcomes = bench.outcomes(client);
    assert_eq!(outcomes.len(), 2);
    for (_, outcome) in outcomes {
        let Outcome::Completed(completion) = outcome else {
            panic!()
        };
        assert_eq!(completion.charged, 0);
    }
}

#[test]
fn a_silent_worker_is_given_up_after_the_lease() {
    let mut bench = Bench::new();
    let silent = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    assert_eq!(bench.assigned(silent).len(), 1);
    let other = bench.worker(2, 1);
    bench.advance_alive(ms(1_900), &[other, client]);
    assert!(bench.assigned(other).is_empty());
    bench.advance_alive(ms(200), &[other, client]);
    assert_eq!(bench.assigned(other).len(), 1);
    assert!(bench.closed.contains(&silent));
}

#[test]
fn a_paused_manager_does_not_take_its_own_absence_for_silence() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.assigned(worker);
    // Nobody calls the manager for ten seconds.
    bench.now = bench.now + ms(10_000);
    bench.advance(ms(1));
    assert!(bench.closed.is_empty());
}

#[test]
fn at_most_once_is_lost_rather_than_started_again() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    let once = argon_core::message::Submit {
        at_most_once: true,
        ..submit(0)
    };
    bench.submit(client, once);
    bench.assigned(worker);
    let other = bench.worker(2, 1);
    bench.close(worker);
    bench.advance_alive(ms(29_900), &[other, client]);
    assert!(bench.assigned(other).is_empty());
    assert!(
        bench.outcomes(client).is_empty(),
        "its worker may come back"
    );
    bench.advance_alive(ms(200), &[other, client]);
    let outcomes = bench.outcomes(client);
    let Outcome::Lost { history } = &outcomes[0].1 else {
        panic!("{outcomes:?}")
    };
    assert_eq!(history[0].worker, name("worker-1"));
    assert_eq!(history[0].end, AttemptLoss::WorkerGone);
}

#[test]
fn a_returning_attempt_is_adopted_if_no_other_was_assigned() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    let assigned = bench.assigned(worker);
    bench.close(worker);
    bench.advance_alive(ms(5_000), &[client]);
    let (back, _) = bench.hello(1, 2, Role::Worker { capacity: 1 }, Some(EPOCH), "worker-1");
    bench.report(back, vec![reported(&assigned[0])], vec![]);
    bench.grant(back, 1);
    assert!(bench.assigned(back).is_empty());
    bench.complete(back, &assigned[0]);
    let outcomes = bench.outcomes(client);
    let Outcome::Completed(completion) = &outcomes[0].1 else {
        panic!("{outcomes:?}")
    };
    assert_eq!(
        completion.charged, 0,
        "an attempt that came back is not charged"
    );
}

#[test]
fn the_first_result_of_any_attempt_counts_and_the_others_are_killed() {
    let mut bench = Bench::new();
    let first = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    let old = bench.assigned(first);
    let second = bench.worker(2, 1);
    bench.close(first);
    bench.advance_alive(ms(300), &[second, client]);
    let new = bench.assigned(second);
    assert_eq!(new.len(), 1);
    let (back, _) = bench.hello(1, 2, Role::Worker { capacity: 1 }, Some(EPOCH), "worker-1");
    bench.report(back, vec![reported(&old[0])], vec![]);
    bench.complete(back, &old[0]);
    assert_eq!(bench.outcomes(client).len(), 1);
    assert_eq!(bench.kills(second), [new[0].attempt]);
    bench.complete(second, &new[0]);
    assert!(
        bench.outcomes(client).is_empty(),
        "a second result changes nothing"
    );
    let acks = bench.inbox(second);
    assert_eq!(
        acks[0].body,
        ToPeer::Worker(ToWorker::AckResults {
            attempts: vec![new[0].attempt]
        })
    );
}

#[test]
fn a_restarted_manager_matches_what_workers_report_with_what_clients_submit() {
    for client_first in [true, false] {
        let mut bench = Bench::new();
        let old = argon_core::ids::Epoch(1);
        let attempt = argon_core::ids::Attempt {
            epoch: old,
            number: 5,
        };
        let running = argon_core::message::ReportedAttempt {
            attempt,
            task: task(3, 0),
        };
        let again = argon_core::message::Submit {
            may_have_run: true,
            ..submit(0)
        };
        let (mut client, mut worker) = (None, None);
        for step in [client_first, !client_first] {
            if step {
                let (conn, welcome) = bench.hello(3, 9, Role::Client, Some(old), "client-3");
                assert!(!welcome.unwrap().resumed);
                bench.submit(conn, again.clone());
                client = Some(conn);
            } else {
                let role = Role::Worker { capacity: 1 };
                let (conn, _) = bench.hello(1, 4, role, Some(old), "worker-1");
                bench.report(conn, vec![running], vec![]);
                bench.grant(conn, 2);
                worker = Some(conn);
            }
        }
        let (client, worker) = (client.unwrap(), worker.unwrap());
        bench.advance_alive(ms(10_000), &[client, worker]);
        assert!(bench.assigned(worker).is_empty(), "it runs already");
        let finished = argon_core::message::Finished {
            attempt,
            task: task(3, 0),
            ran: Nanos(1),
            end: AttemptEnd::Completed,
        };
        bench.send(worker, ToManager::Worker(FromWorker::Finished(finished)));
        assert!(completed(&bench.outcomes(client)[0].1));
    }
}

#[test]
fn a_result_held_by_a_worker_is_fetched_when_its_client_returns() {
    let mut bench = Bench::new();
    let old = argon_core::ids::Epoch(1);
    let attempt = argon_core::ids::Attempt {
        epoch: old,
        number: 5,
    };
    let held = argon_core::message::ReportedAttempt {
        attempt,
        task: task(3, 0),
    };
    let (worker, _) = bench.hello(1, 4, Role::Worker { capacity: 1 }, Some(old), "worker-1");
    bench.report(worker, vec![], vec![held]);
    bench.grant(worker, 1);
    assert!(bench.inbox(worker).is_empty());
    let (client, _) = bench.hello(3, 9, Role::Client, Some(old), "client-3");
    bench.submit(
        client,
        argon_core::message::Submit {
            may_have_run: true,
            ..submit(0)
        },
    );
    assert_eq!(
        bench.inbox(worker)[0].body,
        ToPeer::Worker(ToWorker::Resend { attempt })
    );
    let finished = argon_core::message::Finished {
        attempt,
        task: task(3, 0),
        ran: Nanos(1),
        end: AttemptEnd::Completed,
    };
    bench.send(worker, ToManager::Worker(FromWorker::Finished(finished)));
    assert!(completed(&bench.outcomes(client)[0].1));
}

#[test]
fn an_unclaimed_task_is_tried_again_after_the_restart_grace() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(
        client,
        argon_core::message::Submit {
            may_have_run: true,
            ..submit(0)
        },
    );
    bench.advance_alive(ms(2_900), &[worker, client]);
    assert!(bench.assigned(worker).is_empty());
    bench.advance_alive(ms(200), &[worker, client]);
    assert_eq!(bench.assigned(worker).len(), 1);
}

#[test]
fn a_worker_of_the_same_name_ends_its_predecessor_at_once() {
    let mut bench = Bench::new();
    let old = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.assigned(old);
    let (new, _) = bench.hello(4, 1, Role::Worker { capacity: 1 }, None, "worker-1");
    bench.report(new, vec![], vec![]);
    bench.grant(new, 1);
    assert_eq!(bench.assigned(new).len(), 1);
    assert!(bench.closed.contains(&old));
}

#[test]
fn of_two_workers_with_one_name_the_older_is_told_and_not_let_in_again() {
    let mut bench = Bench::new();
    let old = bench.worker(1, 1);
    let replaced = Message::from(ToPeer::Control(Control::Refuse(RefuseReason::Replaced)));
    let capacity = Role::Worker { capacity: 1 };
    let (new, _) = bench.hello(4, 1, capacity, None, "worker-1");
    assert_eq!(bench.inbox(old).last(), Some(&replaced));
    for connection in 2..4 {
        let (again, welcome) = bench.hello(1, connection, capacity, Some(EPOCH), "worker-1");
        assert!(welcome.is_none());
        assert_eq!(bench.inbox(again), std::slice::from_ref(&replaced));
        assert!(bench.closed.contains(&again) && !bench.closed.contains(&new));
    }
    // The same process on another connection is no namesake.
    let (_, welcome) = bench.hello(4, 2, capacity, Some(EPOCH), "worker-1");
    assert!(welcome.is_some_and(|welcome| welcome.resumed));
    let taken = |event: &&Event| matches!(event, Event::NameTaken { .. });
    assert_eq!(bench.events.iter().filter(taken).count(), 1);
}

#[test]
fn an_older_connection_of_a_process_is_refused_and_closed() {
    let mut bench = Bench::new();
    let (first, _) = bench.hello(3, 5, Role::Client, None, "client-3");
    bench.send(
        first,
        ToManager::Client(FromClient::AckOutcomes {
            floor: 0,
            seqs: vec![],
        }),
    );
    let (second, welcome) = bench.hello(3, 6, Role::Client, Some(EPOCH), "client-3");
    assert!(welcome.unwrap().resumed);
    assert!(bench.closed.contains(&first));
    let (third, welcome) = bench.hello(3, 6, Role::Client, Some(EPOCH), "client-3");
    assert!(welcome.is_none());
    assert!(bench.closed.contains(&third) && !bench.closed.contains(&second));
}

#[test]
fn a_resumed_client_learns_what_never_arrived_and_gets_its_outcomes_again() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    let assigned = bench.assigned(worker);
    bench.close(client);
    bench.complete(worker, &assigned[0]);
    let (back, _) = bench.hello(3, 2, Role::Client, Some(EPOCH), "client-3");
    bench.send(
        back,
        ToManager::Client(FromClient::Resume { seqs: vec![0, 1] }),
    );
    let inbox = bench.inbox(back);
    assert!(matches!(
        inbox[0].body,
        ToPeer::Client(ToClient::Outcome { seq: 0, .. })
    ));
    assert_eq!(
        inbox[1].body,
        ToPeer::Client(ToClient::Unknown { seqs: vec![1] })
    );
}

#[test]
fn a_client_that_stays_away_is_forgotten_with_all_it_had() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let assigned = bench.assigned(worker);
    bench.close(client);
    bench.advance_alive(ms(30_100), &[worker]);
    assert_eq!(bench.kills(worker), [assigned[0].attempt]);
    let manager = bench.manager.status(bench.now, 0).manager;
    assert_eq!(
        (manager.queued, manager.assigned, manager.clients),
        (0, 0, 0)
    );
    bench.finish_with(worker, &assigned[0], AttemptEnd::Killed);
    assert_eq!(
        bench.manager.status(bench.now, 0).workers[0].assigned,
        0,
        "its slot is free"
    );
}

#[test]
fn a_draining_worker_gets_nothing_more_and_hands_back_for_free() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let assigned = bench.assigned(worker);
    let other = bench.worker(2, 2);
    bench.send(worker, ToManager::Worker(FromWorker::Draining));
    let not_started = vec![assigned[1].attempt];
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started: vec![],
        }),
    );
    let moved = bench.assigned(other);
    assert_eq!(moved[0].task, task(3, 1));
    bench.send(worker, ToManager::Goodbye);
    assert_eq!(
        bench.assigned(other)[0].task,
        task(3, 0),
        "a drain that ran out of time"
    );
}

#[test]
fn a_session_that_its_client_never_heard_of_is_not_resumed() {
    let mut bench = Bench::new();
    // It was here before, for longer than the session is kept, and its welcome gets lost.
    bench.hello(3, 5, Role::Client, Some(EPOCH), "client-3");
    let (_, welcome) = bench.hello(3, 6, Role::Client, Some(EPOCH), "client-3");
    assert!(!welcome.unwrap().resumed);
}

#[test]
fn at_most_once_is_not_started_here_once_another_manager_may_have_started_it() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    let once = argon_core::message::Submit {
        at_most_once: true,
        ..submit(1)
    };
    bench.submit(client, submit(0));
    let first = bench.assigned(worker);
    bench.submit(client, once.clone());
    // The client fails over to another manager, which may start the task, and comes back.
    bench.close(client);
    let elsewhere = Some(argon_core::ids::Epoch(8));
    let (client, welcome) = bench.hello(3, 2, Role::Client, elsewhere, "client-3");
    assert!(!welcome.unwrap().resumed);
    bench.submit(
        client,
        argon_core::message::Submit {
            may_have_run: true,
            ..once
        },
    );
    bench.complete(worker, &first[0]);
    assert!(
        bench.assigned(worker).is_empty(),
        "it may have started elsewhere"
    );
    bench.outcomes(client);
    bench.advance_alive(ms(30_100), &[worker, client]);
    assert!(bench.assigned(worker).is_empty());
    let outcomes = bench.outcomes(client);
    assert!(
        matches!(outcomes[..], [(1, Outcome::Lost { .. })]),
        "{outcomes:?}"
    );
}
