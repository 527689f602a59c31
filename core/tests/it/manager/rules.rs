//! The manager's rules for the corners, each as one short scene.

use super::bench::{Bench, completed, ms, submit, task};
use argon_core::Machine;
use argon_core::manager::ManagerInput;
use argon_core::message::{
    AttemptEnd, FromClient, FromWorker, Message, ToManager, ToPeer, ToWorker,
};
use argon_core::task::{ErrorKind, ExitCause, Outcome, Priority, RejectReason, TaskError};
use argon_core::time::Nanos;

#[test]
fn a_task_goes_to_a_worker_and_its_outcome_comes_back_once() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    let assigned = bench.assigned(worker);
    assert_eq!(assigned.len(), 1);
    assert_eq!(assigned[0].task, task(2, 0));
    bench.complete(worker, &assigned[0]);
    let outcomes = bench.outcomes(client);
    assert!(completed(&outcomes[0].1));
    bench.submit(client, submit(0));
    assert!(
        bench.assigned(worker).is_empty(),
        "asking again runs nothing"
    );
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor: 1,
            seqs: vec![],
        }),
    );
    bench.submit(client, submit(0));
    assert!(
        bench.assigned(worker).is_empty(),
        "below the floor nothing is taken"
    );
    assert_eq!(bench.manager.status(bench.now, 0).manager.unacknowledged, 0);
}

#[test]
fn results_are_acknowledged_to_the_worker_when_the_client_has_them_or_after_a_second() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let assigned = bench.assigned(worker);
    bench.complete(worker, &assigned[0]);
    bench.complete(worker, &assigned[1]);
    assert!(bench.inbox(worker).is_empty());
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor: 1,
            seqs: vec![],
        }),
    );
    let acks = bench.inbox(worker);
    assert_eq!(
        acks[0].body,
        ToPeer::Worker(ToWorker::AckResults {
            attempts: vec![assigned[0].attempt]
        })
    );
    bench.advance_alive(ms(1_001), &[worker, client]);
    let acks = bench.inbox(worker);
    assert_eq!(
        acks[0].body,
        ToPeer::Worker(ToWorker::AckResults {
            attempts: vec![assigned[1].attempt]
        })
    );
}

#[test]
fn a_full_queue_refuses_and_never_holds_more() {
    let mut bench = Bench::with(|config| config.queue_tasks = 3);
    let client = bench.client(2);
    for seq in 0..5 {
        bench.submit(client, submit(seq));
    }
    let rejects = bench.rejects(client);
    assert_eq!(
        rejects,
        [(3, RejectReason::QueueFull), (4, RejectReason::QueueFull)]
    );
    assert_eq!(bench.manager.status(bench.now, 0).manager.queued, 3);
}

/// Decisions are made once a batch, but a batch that does not fit is no full queue while workers
/// have nothing to do, and does not make anybody wait.
#[test]
fn a_batch_larger_than_the_queue_is_taken_while_workers_are_free() {
    let mut bench = Bench::with(|config| config.queue_tasks = 1);
    let worker = bench.worker(1, 4);
    let client = bench.client(2);
    // A first task makes run times known.
    bench.submit(client, submit(0));
    let first = bench.assigned(worker);
    bench.advance(ms(50));
    bench.complete(worker, &first[0]);
    let patient = |seq| argon_core::message::Submit {
        max_wait: Nanos(1),
        ..submit(seq)
    };
    for seq in 1..5 {
        let message = Message {
            body: ToManager::Client(FromClient::Submit(patient(seq))),
            payload: bytes::Bytes::new().into(),
        };
        let (conn, now) = (client, bench.now);
        let input = ManagerInput::Received { conn, message };
        bench.manager.handle_input(now, input);
    }
    bench.submit(client, submit(5));
    bench.submit(client, submit(6));
    assert_eq!(bench.assigned(worker).len(), 4);
    let refused = bench.rejects(client);
    assert_eq!(
        refused.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        [6],
        "four run, one waits"
    );
}

#[test]
fn an_important_task_displaces_and_goes_first() {
    let mut bench = Bench::with(|config| config.queue_tasks = 2);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let urgent = argon_core::message::Submit {
        priority: Priority::HIGH,
        ..submit(2)
    };
    bench.submit(client, urgent);
    assert_eq!(bench.rejects(client), [(1, RejectReason::Displaced)]);
    let worker = bench.worker(1, 1);
    assert_eq!(bench.assigned(worker)[0].task, task(2, 2));
}

#[test]
fn a_poison_task_stops_and_names_the_workers_it_hit() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    for attempt in 0..3 {
        let assigned = bench.assigned(worker);
        assert_eq!(assigned.len(), 1, "attempt {attempt}");
        let end = AttemptEnd::Crashed(ExitCause::Signal(11), "boom".to_owned());
        bench.finish_with(worker, &assigned[0], end);
    }
    assert!(bench.assigned(worker).is_empty());
    let outcomes = bench.outcomes(client);
    let Outcome::Failed(failure) = &outcomes[0].1 else {
        panic!("{outcomes:?}")
    };
    assert_eq!(
        failure.error.kind,
        ErrorKind::Crashed(ExitCause::Signal(11))
    );
    assert!(
        failure.error.message.contains("worker-1"),
        "{}",
        failure.error.message
    );
    assert_eq!(failure.error.stderr, "boom");
    assert_eq!(failure.history.len(), 3);
}

#[test]
fn cancel_is_decided_by_the_first_answer() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    let queued = bench.outcomes(client);
    assert_eq!(
        queued[0].1,
        Outcome::Cancelled {
            may_have_run: false
        }
    );

    let worker = bench.worker(1, 1);
    bench.submit(client, submit(1));
    let assigned = bench.assigned(worker);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 1 }));
    assert_eq!(bench.kills(worker), [assigned[0].attempt]);
    assert!(
        bench.outcomes(client).is_empty(),
        "it keeps its slot until the worker answers"
    );
    bench.finish_with(worker, &assigned[0], AttemptEnd::Killed);
    let killed = bench.outcomes(client);
    assert_eq!(killed[0].1, Outcome::Cancelled { may_have_run: true });

    bench.submit(client, submit(2));
    let assigned = bench.assigned(worker);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 2 }));
    let not_started = vec![assigned[0].attempt];
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started: vec![],
        }),
    );
    let returned = bench.outcomes(client);
    assert_eq!(
        returned[0].1,
        Outcome::Cancelled {
            may_have_run: false
        }
    );
}

#[test]
fn an_expired_task_leaves_the_queue_at_its_deadline() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    let hurried = argon_core::message::Submit {
        deadline: Nanos::from(ms(100)),
        ..submit(0)
    };
    bench.submit(client, hurried);
    bench.advance(ms(99));
    assert!(bench.outcomes(client).is_empty());
    bench.advance(ms(1));
    assert_eq!(
        bench.outcomes(client)[0].1,
        Outcome::Expired {
            may_have_run: false
        }
    );
}

#[test]
fn tasks_behind_a_long_one_are_taken_back_for_a_free_worker() {
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
    bench.advance_alive(ms(100), &[busy, free, client]);
    let asked = bench.recalled(busy);
    assert_eq!(
        asked,
        [assigned[2].attempt],
        "the newest, as many as there are free slots"
    );
    bench.send(
        busy,
        ToManager::Worker(FromWorker::Returned {
            not_started: asked,
            started: vec![],
        }),
    );
    assert_eq!(bench.assigned(free)[0].task, task(3, 2));
}

#[test]
fn a_client_that_reads_no_results_gets_no_more_tasks_run() {
    let mut bench = Bench::with(|config| config.client_result_bytes = 5);
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    for seq in 0..3 {
        bench.submit(client, submit(seq));
    }
    let assigned = bench.assigned(worker);
    bench.complete(worker, &assigned[0]);
    assert!(bench.assigned(worker).is_empty());
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor: 1,
            seqs: vec![],
        }),
    );
    assert_eq!(bench.assigned(worker).len(), 1);
}

#[test]
fn a_draining_manager_refuses_what_has_not_started_and_finishes_what_has() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let assigned = bench.assigned(worker);
    bench.step(ManagerInput::Drain);
    bench.submit(client, submit(2));
    let rejects = bench.rejects(client);
    assert_eq!(
        rejects,
        [(1, RejectReason::Draining), (2, RejectReason::Draining)]
    );
    assert!(!bench.drained);
    bench.complete(worker, &assigned[0]);
    assert!(!bench.drained, "its client has not got the outcome yet");
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor: 3,
            seqs: vec![],
        }),
    );
    assert!(bench.drained);
}

#[test]
fn without_workers_a_manager_refuses_once_it_has_waited_for_their_return() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    bench.submit(client, submit(0));
    assert!(bench.rejects(client).is_empty());
    bench.advance_alive(ms(3_100), &[client]);
    bench.submit(client, submit(1));
    let no_workers = RejectReason::NoWorkers;
    assert_eq!(bench.rejects(client), [(0, no_workers), (1, no_workers)]);
}

#[test]
fn what_is_too_large_is_refused_as_such() {
    let mut bench = Bench::with(|config| config.payload_max = 3);
    let client = bench.client(3);
    let message = Message {
        body: ToManager::Client(FromClient::Submit(submit(0))),
        payload: bytes::Bytes::from_static(b"four").into(),
    };
    bench.send(client, message);
    assert_eq!(bench.rejects(client), [(0, RejectReason::TooLarge)]);
}

#[test]
fn a_task_that_fails_by_itself_is_not_tried_again() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    let assigned = bench.assigned(worker);
    let error = TaskError::new(ErrorKind::Raised("Boom".to_owned()), "went wrong");
    bench.finish_with(
        worker,
        &assigned[0],
        AttemptEnd::Failed(Box::new(error.clone())),
    );
    let outcomes = bench.outcomes(client);
    let Outcome::Failed(failure) = &outcomes[0].1 else {
        panic!("{outcomes:?}")
    };
    assert_eq!(failure.error, error);
    assert!(bench.assigned(worker).is_empty());
}

#[test]
fn what_a_worker_has_started_is_asked_for_once() {
    let mut bench = Bench::new();
    let busy = bench.worker(1, 1);
    bench.grant(busy, 3);
    let client = bench.client(3);
    for seq in 0..3 {
        bench.submit(client, submit(seq));
    }
    let assigned = bench.assigned(busy);
    let free = bench.worker(2, 2);
    bench.advance_alive(ms(100), &[busy, free, client]);
    let asked = |bench: &mut Bench| {
        let inbox = bench.inbox(busy).into_iter();
        let asked =
            inbox.filter(|message| matches!(message.body, ToPeer::Worker(ToWorker::Recall { .. })));
        asked.count()
    };
    assert_eq!(asked(&mut bench), 1);
    let started = vec![assigned[1].attempt, assigned[2].attempt];
    bench.send(
        busy,
        ToManager::Worker(FromWorker::Returned {
            not_started: vec![],
            started,
        }),
    );
    bench.advance_alive(ms(5_000), &[busy, free, client]);
    assert_eq!(asked(&mut bench), 0);
}
