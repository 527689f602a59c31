//! Where the manager's bounds lie exactly, what it counts, and what waits for whom how long.

use super::bench::*;
use argon_core::codec;
use argon_core::event::Event;
use argon_core::ids::{Attempt, ConnId, Epoch, PeerId};
use argon_core::manager::ManagerInput;
use argon_core::message::{
    AttemptEnd, Finished, FromClient, FromWorker, Message, ReportedAttempt, Role, Submit, ToClient,
    ToManager, ToPeer, ToWorker,
};
use argon_core::task::{ErrorKind, ExitCause, Outcome, Priority, RejectReason, TaskError};
use argon_core::time::Nanos;
use bytes::{Bytes, BytesMut};
use std::time::Duration;

const SIGNAL: ExitCause = ExitCause::Signal(11);

fn crashed() -> AttemptEnd {
    AttemptEnd::Crashed(SIGNAL, "last words".into())
}

fn with_attempts(seq: u64, max_attempts: u8) -> Submit {
    Submit {
        max_attempts,
        ..submit(seq)
    }
}

fn may_have_run(seq: u64) -> Submit {
    Submit {
        may_have_run: true,
        ..submit(seq)
    }
}

fn one(mut outcomes: Vec<(u64, Outcome)>) -> Outcome {
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.remove(0).1
}

fn has(bench: &Bench, wanted: impl Fn(&Event) -> bool) -> bool {
    bench.events.iter().any(wanted)
}

#[test]
fn fresh_tasks_wait_for_room_in_flight_and_those_that_return_do_not() {
    for by_bytes in [false, true] {
        let mut bench = Bench::with(|config| {
            if by_bytes {
                // A name of four bytes and a payload of one.
                config.in_flight_bytes = 10;
            } else {
                config.in_flight_tasks = 2;
            }
        });
        let worker = bench.worker(1, 10);
        let client = bench.client(2);
        for seq in 0..4 {
            bench.submit(client, with_attempts(seq, 2));
        }
        let first = bench.assigned(worker);
        assert_eq!(first.len(), 2);
        bench.finish_with(worker, &first[0], crashed());
        let again = bench.assigned(worker);
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].task, first[0].task, "it has its room already");
        bench.complete(worker, &first[1]);
        assert_eq!(bench.assigned(worker)[0].task, task(2, 2));
    }
}

#[test]
fn a_client_may_have_so_many_tasks_here() {
    let mut bench = Bench::with(|config| config.client_tasks = 2);
    let client = bench.client(2);
    let other = bench.client(3);
    for seq in 0..3 {
        bench.submit(client, submit(seq));
        bench.submit(other, submit(seq));
    }
    assert_eq!(bench.rejects(client), [(2, RejectReason::ClientFull)]);
    bench.submit(client, may_have_run(7));
    assert_eq!(bench.rejects(client), [(7, RejectReason::ClientFull)]);
    assert_eq!(bench.manager.status(bench.now, 0).manager.accepted, 4);
}

#[test]
fn what_may_have_run_is_refused_without_ending() {
    let refused =
        |change: fn(&mut argon_core::manager::ManagerConfig), first: Submit, then: Submit| {
            let mut bench = Bench::with(change);
            let client = bench.client(2);
            bench.submit(client, first);
            bench.inbox(client);
            bench.submit(client, then);
            let inbox = bench.inbox(client);
            inbox.first().map(|message| match message.body {
                ToPeer::Client(ToClient::Reject {
                    reason,
                    may_have_run,
                    ..
                }) => {
                    assert!(may_have_run);
                    reason
                }
                ref other => panic!("{other:?}"),
            })
        };
    let once = |seq| Submit {
        at_most_once: true,
        ..may_have_run(seq)
    };
    let tasks = |config: &mut argon_core::manager::ManagerConfig| config.queue_tasks = 1;
    let full = Some(RejectReason::QueueFull);
    assert_eq!(refused(tasks, may_have_run(0), may_have_run(1)), full);
    assert_eq!(
        refused(tasks, may_have_run(0), once(1)),
        None,
        "it takes no room there"
    );
    let bytes = |config: &mut argon_core::manager::ManagerConfig| config.queue_bytes = 9;
    assert_eq!(refused(bytes, may_have_run(0), may_have_run(1)), full);
    let flight = |config: &mut argon_core::manager::ManagerConfig| config.in_flight_tasks = 1;
    let full = Some(RejectReason::InFlightFull);
    assert_eq!(refused(flight, once(0), once(1)), full);
    assert_eq!(
        refused(flight, once(0), may_have_run(1)),
        None,
        "it waits in the queue"
    );
    let tiny = |config: &mut argon_core::manager::ManagerConfig| config.queue_bytes = 4;
    let never = Some(RejectReason::TooLarge);
    assert_eq!(refused(tiny, may_have_run(0), may_have_run(1)), never);
    let just = |config: &mut argon_core::manager::ManagerConfig| config.queue_bytes = 5;
    assert_eq!(
        refused(
            just,
            submit(0),
            Submit {
                seq: 0,
                ..submit(0)
            }
        ),
        None
    );
}

#[test]
fn room_that_was_held_is_given_back() {
    let mut bench = Bench::with(|config| config.queue_tasks = 1);
    let client = bench.client(2);
    for seq in 0..3 {
        bench.submit(client, may_have_run(seq));
        assert_eq!(bench.rejects(client), [], "{seq}");
        bench.send(client, ToManager::Client(FromClient::Cancel { seq }));
        let floor = seq + 1;
        bench.send(
            client,
            ToManager::Client(FromClient::AckOutcomes {
                floor,
                seqs: vec![],
            }),
        );
        bench.inbox(client);
    }
}

#[test]
fn what_just_fits_is_taken() {
    let payload = |bench: &mut Bench, conn, seq, bytes: usize| {
        let body = ToManager::Client(FromClient::Submit(submit(seq)));
        let payload = Bytes::from(vec![0; bytes]);
        bench.send(
            conn,
            Message {
                body,
                payload: payload.into(),
            },
        );
    };
    let mut bench = Bench::with(|config| {
        config.payload_max = 100;
        config.queue_bytes = 1_000;
    });
    let client = bench.client(2);
    payload(&mut bench, client, 0, 100);
    payload(&mut bench, client, 1, 101);
    assert_eq!(bench.rejects(client), [(1, RejectReason::TooLarge)]);
    let mut bench = Bench::with(|config| config.queue_bytes = 50);
    let client = bench.client(2);
    payload(&mut bench, client, 0, 47);
    assert_eq!(bench.rejects(client), [(0, RejectReason::TooLarge)]);
    payload(&mut bench, client, 1, 46);
    payload(&mut bench, client, 2, 0);
    assert_eq!(bench.rejects(client), [(2, RejectReason::QueueBytesFull)]);
}

fn retry_after(bench: &mut Bench, conn: ConnId) -> Duration {
    let inbox = bench.inbox(conn);
    match inbox.last().map(|message| &message.body) {
        Some(ToPeer::Client(ToClient::Reject { retry_after, .. })) => {
            retry_after.to_duration().expect("advice")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn advice_on_when_to_come_back_fits_the_reason() {
    let mut bench = Bench::with(|config| config.queue_tasks = 8);
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    // Tasks of 10 ms: learnt from the first.
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.complete(worker, &assign);
    for seq in 1..=10 {
        bench.submit(client, submit(seq));
    }
    // A quarter of the queue.
    assert_eq!(retry_after(&mut bench, client), ms(20));
    let large = Message {
        body: ToManager::Client(FromClient::Submit(submit(20))),
        payload: Bytes::from(vec![0; 65 << 20]).into(),
    };
    bench.send(client, large);
    assert_eq!(retry_after(&mut bench, client), Duration::ZERO);
    bench.step(ManagerInput::Drain);
    bench.inbox(client);
    bench.submit(client, submit(30));
    assert_eq!(retry_after(&mut bench, client), ms(1_000));
    let mut bench = Bench::with(|config| config.queue_tasks = 1);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    assert_eq!(
        retry_after(&mut bench, client),
        ms(1),
        "nothing is known yet"
    );
}

#[test]
fn what_cannot_start_in_time_is_refused_now() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.complete(worker, &assign);
    // One runs, five wait for 10 ms each, one of them less important.
    for seq in 1..=5 {
        bench.submit(client, submit(seq));
    }
    bench.submit(
        client,
        Submit {
            priority: Priority::LOW,
            ..submit(6)
        },
    );
    let patient = |seq, wait, priority| Submit {
        max_wait: Nanos::from(wait),
        priority,
        ..submit(seq)
    };
    bench.inbox(client);
    bench.submit(
        client,
        patient(10, ms(40) - Duration::from_nanos(1), Priority::NORMAL),
    );
    assert_eq!(bench.rejects(client), [(10, RejectReason::TooSlow)]);
    bench.submit(client, patient(11, ms(40), Priority::NORMAL));
    bench.submit(client, patient(12, Duration::ZERO, Priority::HIGH));
    assert_eq!(bench.rejects(client), []);
    bench.submit(client, patient(13, ms(59), Priority::LOW));
    assert_eq!(bench.rejects(client), [(13, RejectReason::TooSlow)]);
}

#[test]
fn the_status_counts_everything() {
    let mut bench = Bench::with(|config| config.queue_tasks = 2);
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    bench.submit(client, with_attempts(0, 1));
    let assign = bench.assigned(worker).remove(0);
    for seq in 1..=3 {
        bench.submit(client, submit(seq)); // the third is refused
    }
    let important = Submit {
        priority: Priority::HIGH,
        ..submit(4)
    };
    bench.submit(client, important); // displaces one
    let status = bench.manager.status(bench.now, 0);
    let it = &status.manager;
    assert_eq!((it.accepted, it.rejected, it.displaced), (4, 2, 1));
    assert_eq!((it.queued, it.assigned, it.queued_bytes), (2, 1, 10));
    let one = &status.clients[0];
    assert_eq!(
        (one.queued, one.assigned, one.rejected, one.finished),
        (2, 1, 2, 0)
    );
    bench.finish_with(worker, &assign, crashed());
    let assign = bench.assigned(worker).remove(0);
    assert_eq!(assign.task, task(2, 4), "the important one");
    bench.complete(worker, &assign);
    let assign = bench.assigned(worker).remove(0);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 1 }));
    bench.finish_with(worker, &assign, AttemptEnd::Killed);
    let status = bench.manager.status(bench.now, 0);
    let it = &status.manager;
    assert_eq!(
        (it.completed, it.not_completed, it.attempts_lost),
        (1, 2, 1)
    );
    assert_eq!((it.queued, it.assigned, it.unacknowledged), (0, 0, 3));
    let one = &status.clients[0];
    assert_eq!((one.finished, one.unacknowledged), (3, 3));
    let one = &status.workers[0];
    assert_eq!((one.finished, one.failed), (3, 2));
    assert_eq!(one.average, Nanos::from(ms(10)));
    assert!(one.slowness > 1_000);
}

#[test]
fn an_unclaimed_task_that_must_not_run_twice_waits_out_the_window_and_is_lost() {
    let mut bench = Bench::new();
    let client = bench.client(2);
    let worker = bench.worker(1, 1);
    let once = Submit {
        at_most_once: true,
        ..may_have_run(0)
    };
    bench.submit(client, once.clone());
    let held = task(2, 0);
    assert!(has(&bench, |event| *event == Event::TaskHeld { task: held }));
    bench.advance_alive(ms(29_999), &[client, worker]);
    assert_eq!(bench.outcomes(client), []);
    bench.advance(ms(1));
    let outcome = one(bench.outcomes(client));
    assert!(matches!(outcome, Outcome::Lost { .. }));
    assert!(has(&bench, |event| *event == Event::TaskLost { task: held }));
    assert_eq!(bench.assigned(worker), []);
    // One that comes later need not wait as long again.
    bench.submit(client, Submit { seq: 1, ..once });
    assert!(matches!(one(bench.outcomes(client)), Outcome::Lost { .. }));
}

#[test]
fn what_workers_hold_for_a_client_that_stays_away_is_let_go() {
    let old = Epoch(3);
    let reported = |number, seq| ReportedAttempt {
        attempt: Attempt { epoch: old, number },
        task: task(7, seq),
    };
    let mut bench = Bench::new();
    let (worker, _) = bench.hello(1, 1, Role::Worker { capacity: 2 }, Some(old), "w");
    bench.report(worker, vec![reported(1, 0)], vec![reported(2, 1)]);
    bench.grant(worker, 2);
    assert_eq!(bench.manager.status(bench.now, 0).manager.orphans, 2);
    bench.advance_alive(ms(29_999), &[worker]);
    bench.inbox(worker);
    bench.advance(ms(1));
    let said: Vec<_> = bench
        .inbox(worker)
        .into_iter()
        .map(|message| message.body)
        .collect();
    let [running, finished] = [reported(1, 0), reported(2, 1)].map(|one| one.attempt);
    assert_eq!(
        said,
        [
            ToPeer::Worker(ToWorker::Kill { attempt: running }),
            ToPeer::Worker(ToWorker::AckResults {
                attempts: vec![finished]
            })
        ]
    );
    assert_eq!(bench.manager.status(bench.now, 0).manager.orphans, 0);
    // Below the floor of its client nothing is an orphan.
    let client = bench.client(7);
    let floor = 10;
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor,
            seqs: vec![],
        }),
    );
    let (other, _) = bench.hello(3, 1, Role::Worker { capacity: 2 }, Some(old), "x");
    bench.report(other, vec![reported(5, 9)], vec![reported(6, 8)]);
    assert_eq!(bench.manager.status(bench.now, 0).manager.orphans, 0);
    let said: Vec<_> = bench
        .inbox(other)
        .into_iter()
        .map(|message| message.body)
        .collect();
    assert_eq!(said.len(), 2, "killed and acknowledged: {said:?}");
}

#[test]
fn the_result_of_an_orphan_waits_at_its_worker() {
    let old = Epoch(3);
    let attempt = Attempt {
        epoch: old,
        number: 1,
    };
    let id = task(7, 0);
    let mut bench = Bench::new();
    let (worker, _) = bench.hello(1, 1, Role::Worker { capacity: 1 }, Some(old), "w");
    bench.report(worker, vec![ReportedAttempt { attempt, task: id }], vec![]);
    bench.grant(worker, 1);
    let finished = Finished {
        attempt,
        task: id,
        ran: Nanos::from(ms(5)),
        end: AttemptEnd::Completed,
    };
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Finished(finished.clone())),
    );
    assert_eq!(bench.inbox(worker), [], "neither acknowledged nor killed");
    let client = bench.client(7);
    bench.submit(client, may_have_run(0));
    assert!(has(&bench, |event| matches!(
        event,
        Event::OrphanMatched { .. }
    )));
    let resend: Vec<Message<ToPeer>> = vec![ToPeer::Worker(ToWorker::Resend { attempt }).into()];
    assert_eq!(bench.inbox(worker), resend);
    bench.send(worker, ToManager::Worker(FromWorker::Finished(finished)));
    assert!(completed(&one(bench.outcomes(client))));
}

#[test]
fn a_faster_worker_gets_more_and_a_failing_one_less() {
    let mut bench = Bench::new();
    let client = bench.client(9);
    let workers = [bench.worker(1, 4), bench.worker(2, 4)];
    let mut got = [0; 2];
    for seq in 0..400 {
        bench.submit(client, submit(seq));
        for (index, worker) in workers.iter().enumerate() {
            for assign in bench.assigned(*worker) {
                got[index] += 1;
                if index == 0 {
                    let error = TaskError::new(ErrorKind::Raised("E".into()), "no");
                    bench.finish_with(*worker, &assign, AttemptEnd::Failed(error.into()));
                } else {
                    bench.complete(*worker, &assign);
                }
            }
        }
    }
    assert!(got[0] < 20, "{got:?}");
    let status = bench.manager.status(bench.now, 0);
    let slowness: Vec<u32> = status
        .workers
        .iter()
        .map(|worker| worker.slowness)
        .collect();
    assert!(slowness[0] > slowness[1], "{slowness:?}");
    assert_eq!(status.workers[0].id, PeerId(1));
}

#[test]
fn what_was_never_started_is_refused_as_such() {
    let flags = |bench: &mut Bench, conn| -> Vec<bool> {
        let inbox = bench.inbox(conn).into_iter();
        let flags = inbox.filter_map(|message| match message.body {
            ToPeer::Client(ToClient::Reject { may_have_run, .. }) => Some(may_have_run),
            _ => None,
        });
        flags.collect()
    };
    let mut bench = Bench::with(|config| config.queue_tasks = 1);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1)); // refused
    let important = Submit {
        priority: Priority::HIGH,
        ..submit(2)
    };
    bench.submit(client, important); // displaces
    bench.step(ManagerInput::Drain); // ends the rest
    bench.submit(client, submit(3)); // comes too late
    assert_eq!(flags(&mut bench, client), [false; 4]);
}

#[test]
fn the_status_says_how_many_ended_in_the_last_second() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    for seq in 0..5 {
        bench.submit(client, submit(seq));
        let assign = bench.assigned(worker).remove(0);
        bench.complete(worker, &assign);
    }
    bench.advance(ms(1_000));
    assert_eq!(bench.manager.status(bench.now, 0).manager.rate, 5);
}

#[test]
fn with_workers_a_manager_takes_tasks_long_after_its_start() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(2));
    bench.advance_alive(ms(4_000), &[worker, client]);
    bench.submit(client, submit(0));
    assert_eq!(bench.rejects(client), []);
}

#[test]
fn the_most_important_tasks_are_waited_for_too() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.complete(worker, &assign);
    for seq in 1..=5 {
        let priority = Priority::MOST;
        bench.submit(
            client,
            Submit {
                priority,
                ..submit(seq)
            },
        );
    }
    let hurried = Submit {
        max_wait: Nanos::from(ms(39)),
        ..submit(9)
    };
    bench.submit(client, hurried);
    assert_eq!(bench.rejects(client), [(9, RejectReason::TooSlow)]);
}

/// Bytes of all frames in `messages`.
fn frames(messages: &[Message<ToPeer>]) -> usize {
    let bytes = |message: &Message<ToPeer>| {
        let mut frame = BytesMut::new();
        codec::encode(message, &mut frame).expect("it fits");
        frame.len()
    };
    messages.iter().map(bytes).sum()
}

#[test]
fn outcomes_with_long_texts_wait_for_acknowledgements_like_those_with_long_payloads() {
    const TEXT: usize = 10_000;
    const WINDOW: usize = 100_000;
    let error = TaskError {
        kind: ErrorKind::Raised("t".repeat(TEXT)),
        message: "m".repeat(TEXT),
        backtrace: "b".repeat(TEXT),
        stderr: "s".repeat(TEXT),
    };
    let mut bench = Bench::with(|config| {
        config.inner.outcome_window = WINDOW as u64;
        config.client_result_bytes = 2 * WINDOW as u64;
    });
    let worker = bench.worker(1, 64);
    let client = bench.client(2);
    for seq in 0..200 {
        bench.submit(client, submit(seq));
    }
    let (mut ended, mut floor) = (0, 0);
    while floor < 200 {
        loop {
            let assigned = bench.assigned(worker);
            if assigned.is_empty() {
                break;
            }
            for assign in assigned {
                bench.finish_with(worker, &assign, AttemptEnd::Failed(Box::new(error.clone())));
                ended += 1;
            }
        }
        let messages = bench.inbox(client);
        let bytes = frames(&messages);
        assert!(bytes <= WINDOW + 5 * TEXT, "{bytes} bytes on their way");
        let outcomes = messages
            .iter()
            .filter(|message| matches!(message.body, ToPeer::Client(ToClient::Outcome { .. })));
        floor += outcomes.count() as u64;
        // 64 may have been on their way when the client had too much to read.
        assert!((ended - floor) as usize <= 2 * WINDOW / (4 * TEXT) + 1 + 64);
        bench.send(
            client,
            ToManager::Client(FromClient::AckOutcomes {
                floor,
                seqs: Vec::new(),
            }),
        );
    }
}
