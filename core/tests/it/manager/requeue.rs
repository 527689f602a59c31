//! What is sent again, kept, let go or shared out by the manager, and when it wants to be woken.

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::limits::{HELD_BYTES_DEFAULT, HELD_RESULTS_DEFAULT, ORPHANS_MAX, WINDOW_MAX};
use argon_core::machine::Machine as _;
use argon_core::manager::{ManagerInput, ManagerOutput};
use argon_core::message::{
    Assign, AttemptEnd, Finished, FromClient, FromWorker, Message, Report, ReportedAttempt, Role,
    Submit, ToManager, ToPeer, ToWorker,
};
use argon_core::task::{ErrorKind, ExitCause, Outcome, TaskError};
use argon_core::time::{Nanos, WakeReason};
use bytes::Bytes;
use std::time::Duration;

const MIB: usize = 1 << 20;

fn acks(bench: &mut Bench, worker: ConnId) -> Vec<Attempt> {
    let inbox = bench.inbox(worker).into_iter();
    let acks = inbox.filter_map(|message| match message.body {
        ToPeer::Worker(ToWorker::AckResults { attempts }) => Some(attempts),
        _ => None,
    });
    acks.flatten().collect()
}

fn ack_outcomes(bench: &mut Bench, client: ConnId, floor: u64, seqs: &[u64]) {
    let seqs = seqs.to_vec();
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes { floor, seqs }),
    );
}

/// A result of so many bytes.
fn finish_large(bench: &mut Bench, worker: ConnId, assign: &Assign, bytes: usize) {
    let body = ToManager::Worker(FromWorker::Finished(Finished {
        attempt: assign.attempt,
        task: assign.task,
        ran: Nanos::from(ms(1)),
        end: AttemptEnd::Completed,
    }));
    let payload = Bytes::from(vec![0; bytes]);
    bench.send(
        worker,
        Message {
            body,
            payload: payload.into(),
        },
    );
}

fn seqs(outcomes: &[(u64, Outcome)]) -> Vec<u64> {
    outcomes.iter().map(|(seq, _)| *seq).collect()
}

fn named(seq: u64, called: &str) -> Submit {
    Submit {
        name: name(called),
        ..submit(seq)
    }
}

#[test]
fn each_result_is_confirmed_a_second_after_it_came_and_only_once() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let assigned = bench.assigned(worker);
    bench.complete(worker, &assigned[0]);
    bench.advance_alive(ms(500), &[worker, client]);
    bench.complete(worker, &assigned[1]);
    bench.inbox(client);
    bench.advance_alive(ms(499), &[worker, client]);
    assert_eq!(acks(&mut bench, worker), []);
    let due = bench.manager.poll_timeout().map(|due| (due.at, due.reason));
    assert_eq!(due, Some((bench.now + ms(1), WakeReason::ResultAck)));
    bench.advance_alive(ms(1), &[worker, client]);
    assert_eq!(acks(&mut bench, worker), [assigned[0].attempt]);
    let task = assigned[0].task;
    assert!(bench.events.contains(&Event::ResultConfirmedEarly { task }));
    bench.advance_alive(ms(499), &[worker, client]);
    assert_eq!(acks(&mut bench, worker), []);
    bench.advance_alive(ms(1), &[worker, client]);
    assert_eq!(acks(&mut bench, worker), [assigned[1].attempt]);
    ack_outcomes(&mut bench, client, 2, &[]);
    assert_eq!(acks(&mut bench, worker), [], "it has been told");
}

#[test]
fn so_many_results_wait_to_be_confirmed_and_then_the_oldest_goes() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    let mut first = None;
    let mut acked = Vec::new();
    // The invariants are not looked at each time: that would take for ever.
    let mut step = |manager: &mut argon_core::Manager, conn, message: Message<ToManager>| {
        let input = ManagerInput::Received { conn, message };
        manager.handle_input(bench.now, input);
        manager.settle(bench.now);
        let mut assign = None;
        while let Some(output) = manager.poll_output() {
            if let ManagerOutput::Send { message, .. } = output {
                match message.body {
                    ToPeer::Worker(ToWorker::Assign(given)) => assign = Some(given),
                    ToPeer::Worker(ToWorker::AckResults { attempts }) => acked.extend(attempts),
                    _ => {}
                }
            }
        }
        assign
    };
    // Half of what a worker holds.
    for seq in 0..=HELD_RESULTS_DEFAULT as u64 / 2 {
        let message = ToManager::Client(FromClient::Submit(submit(seq))).into();
        let assign = step(&mut bench.manager, client, message).expect("a free slot");
        let attempt = assign.attempt;
        first.get_or_insert(attempt);
        let message = ToManager::Worker(FromWorker::Finished(Finished {
            attempt,
            task: assign.task,
            ran: Nanos::from(ms(1)),
            end: AttemptEnd::Completed,
        }));
        step(&mut bench.manager, worker, message.into());
    }
    assert_eq!(acked, [first.expect("one")]);
}

#[test]
fn clients_that_do_not_acknowledge_leave_room_at_every_worker() {
    let mut bench = Bench::new();
    let count = 40;
    let worker = bench.worker(1, count);
    let client = bench.client(2);
    for seq in 0..u64::from(count) {
        bench.submit(client, submit(seq));
    }
    let assigned = bench.assigned(worker);
    let mut held = Vec::new();
    for assign in &assigned {
        finish_large(&mut bench, worker, assign, 4 * MIB);
        held.push(assign.attempt);
        for attempt in acks(&mut bench, worker) {
            assert_eq!(attempt, held.remove(0), "the oldest goes first");
        }
        assert!((held.len() * 4 * MIB) as u64 <= HELD_BYTES_DEFAULT / 2);
    }
    assert!(
        (held.len() * 4 * MIB) as u64 > HELD_BYTES_DEFAULT / 3,
        "and no more"
    );
}

#[test]
fn so_many_result_bytes_are_under_way_and_the_rest_follows_in_order() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 4);
    let client = bench.client(2);
    for seq in 0..4 {
        bench.submit(client, submit(seq));
    }
    let assigned = bench.assigned(worker);
    for index in [2, 0, 3, 1] {
        finish_large(&mut bench, worker, &assigned[index], 4 * MIB);
    }
    // The window is full with the second.
    assert_eq!(seqs(&bench.outcomes(client)), [2, 0]);
    ack_outcomes(&mut bench, client, 0, &[2]);
    assert_eq!(seqs(&bench.outcomes(client)), [3]);
    // One that is acknowledged before it was sent is sent no more.
    ack_outcomes(&mut bench, client, 0, &[1]);
    ack_outcomes(&mut bench, client, 0, &[0]);
    assert_eq!(seqs(&bench.outcomes(client)), []);
    assert_eq!(bench.manager.status(bench.now, 0).manager.unacknowledged, 1);
    // After a reconnect all that is left comes again.
    bench.close(client);
    let (client, _) = bench.hello(2, 2, Role::Client, Some(EPOCH), "client-2");
    assert_eq!(seqs(&bench.outcomes(client)), [3]);
    bench.submit(client, submit(4));
    let assign = bench.assigned(worker).remove(0);
    finish_large(&mut bench, worker, &assign, 4 * MIB);
    assert_eq!(seqs(&bench.outcomes(client)), [4], "counted from anew");
}

#[test]
fn clients_take_turns() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let clients = [bench.client(2), bench.client(3)];
    for client in clients {
        for seq in 0..6 {
            bench.submit(client, submit(seq));
        }
    }
    let mut order = Vec::new();
    for _ in 0..12 {
        let assign = bench.assigned(worker).remove(0);
        order.push(assign.task.client.0);
        bench.complete(worker, &assign);
    }
    assert!(
        order[1..11].windows(2).all(|pair| pair[0] != pair[1]),
        "{order:?}"
    );
}

#[test]
fn what_a_task_really_took_is_what_its_client_pays_however_it_ended() {
    let error = TaskError::new(ErrorKind::Raised("E".into()), "no");
    for end in [
        AttemptEnd::Completed,
        AttemptEnd::Failed(error.into()),
        AttemptEnd::Crashed(ExitCause::Exit(1), String::new()),
    ] {
        let mut bench = Bench::new();
        let worker = bench.worker(1, 1);
        let (long, short) = (bench.client(2), bench.client(3));
        for seq in 0..3 {
            let max_attempts = 1;
            bench.submit(
                long,
                Submit {
                    max_attempts,
                    ..named(seq, "long")
                },
            );
        }
        for seq in 0..30 {
            bench.submit(short, named(seq, "short"));
        }
        let first = bench.assigned(worker).remove(0);
        let body = ToManager::Worker(FromWorker::Finished(Finished {
            attempt: first.attempt,
            task: first.task,
            ran: Nanos::from(ms(100)),
            end,
        }));
        bench.send(worker, body);
        // 10 ms each: nine of them for one long one, before the oldest's turn.
        let mut order = Vec::new();
        for _ in 0..9 {
            let assign = bench.assigned(worker).remove(0);
            order.push(assign.task.client.0);
            bench.complete(worker, &assign);
        }
        assert_eq!(order, [3; 9]);
    }
}

#[test]
fn whatever_is_heard_counts_as_hearing() {
    let mut bench = Bench::new();
    let (talker, loader) = (bench.client(1), bench.client(2));
    for _ in 0..10 {
        bench.advance(ms(500));
        bench.send(talker, ToManager::Client(FromClient::Cancel { seq: 1 }));
        bench.step(ManagerInput::Progress { conn: loader });
    }
    assert_eq!(bench.closed, []);
    bench.advance(ms(2_001));
    assert_eq!(bench.closed.len(), 2);
}

#[test]
fn a_manager_that_stood_still_blames_nobody_however_long_it_has_run() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(2));
    bench.advance_alive(ms(5_000), &[worker, client]);
    bench.now = bench.now + ms(60_000);
    bench.manager.handle_timeout(bench.now);
    bench.advance_alive(ms(1_000), &[worker, client]);
    assert_eq!(bench.closed, []);
    let status = bench.manager.status(bench.now, 0);
    assert_eq!((status.manager.workers, status.manager.clients), (1, 1));
}

#[test]
fn it_says_when_and_why_it_wants_to_be_woken() {
    let due = |bench: &Bench| {
        let due = bench.manager.poll_timeout().expect("a deadline");
        (due.at.since(bench.now), due.reason)
    };
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    assert_eq!(due(&bench), (ms(500), WakeReason::Heartbeat));
    let with_deadline = Submit {
        deadline: Nanos::from(ms(400)),
        ..submit(0)
    };
    bench.submit(client, with_deadline);
    assert_eq!(due(&bench), (ms(400), WakeReason::Expiry));
    bench.close(worker);
    assert_eq!(due(&bench), (ms(250), WakeReason::Grace));
}

#[test]
fn a_drain_is_told_once() {
    let mut bench = Bench::new();
    bench.step(ManagerInput::Drain);
    assert!(std::mem::take(&mut bench.drained));
    bench.step(ManagerInput::Drain);
    bench.advance(ms(100));
    assert!(!bench.drained);
    let told = bench.events.iter();
    assert_eq!(
        told.filter(|event| **event == Event::DrainStarted).count(),
        1
    );
}

/// A worker with one running attempt that has come back, with what it reports.
fn came_back(session: Epoch, running: bool, finished: bool) -> (Bench, ConnId, ConnId, Assign) {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.close(worker);
    let role = Role::Worker { capacity: 1 };
    let (worker, _) = bench.hello(1, 2, role, Some(session), "worker-1");
    let list = |wanted: bool| {
        if wanted {
            vec![reported(&assign)]
        } else {
            vec![]
        }
    };
    bench.report(worker, list(running), list(finished));
    (bench, worker, client, assign)
}

#[test]
fn what_is_not_reported_never_started_unless_the_worker_was_elsewhere() {
    let charged = |bench: &Bench| bench.manager.status(bench.now, 0).manager.attempts_lost;
    let (mut bench, worker, _, assign) = came_back(EPOCH, false, false);
    assert_eq!(charged(&bench), 0);
    bench.grant(worker, 1);
    assert_eq!(bench.assigned(worker)[0].task, assign.task);
    let (mut bench, worker, _, assign) = came_back(Epoch(99), false, false);
    assert_eq!(charged(&bench), 1, "another manager may have its result");
    bench.grant(worker, 1);
    assert_eq!(bench.assigned(worker)[0].task, assign.task);
}

#[test]
fn what_ended_meanwhile_is_asked_for_and_what_runs_is_not() {
    let (mut bench, worker, client, assign) = came_back(EPOCH, false, true);
    let attempt = assign.attempt;
    assert_eq!(
        bench.inbox(worker),
        [ToPeer::Worker(ToWorker::Resend { attempt }).into()]
    );
    bench.complete(worker, &assign);
    assert!(completed(&bench.outcomes(client)[0].1));
    let (mut bench, worker, _, _) = came_back(EPOCH, true, false);
    assert_eq!(bench.inbox(worker), []);
}

#[test]
fn an_attempt_that_was_given_up_is_the_tasks_own_again_when_it_returns_in_time() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.close(worker);
    bench.advance(ms(251));
    let task = assign.task;
    assert!(bench.events.contains(&Event::TaskReturned { task }));
    let role = Role::Worker { capacity: 1 };
    let (worker, _) = bench.hello(1, 2, role, Some(EPOCH), "worker-1");
    bench.report(worker, vec![reported(&assign)], vec![]);
    let attempt = assign.attempt;
    assert!(
        bench
            .events
            .contains(&Event::AttemptAdopted { task, attempt })
    );
    bench.complete(worker, &assign);
    let Outcome::Completed(completion) = &bench.outcomes(client)[0].1 else {
        panic!("it completed");
    };
    assert_eq!(completion.charged, 0, "it was alive");
}

#[test]
fn what_nobody_wants_is_killed_or_forgotten() {
    let mut bench = Bench::new();
    let client = bench.client(2);
    let worker = bench.worker(1, 2);
    for seq in 0..2 {
        bench.submit(client, submit(seq));
    }
    let assigned = bench.assigned(worker);
    bench.complete(worker, &assigned[0]);
    bench.complete(worker, &assigned[1]);
    ack_outcomes(&mut bench, client, 2, &[]);
    // Another has attempts of this life of tasks that are over.
    let (other, _) = bench.hello(5, 1, Role::Worker { capacity: 2 }, None, "w5");
    let [running, finished] = [0, 1].map(|index: usize| reported(&assigned[index]));
    bench.report(other, vec![running], vec![finished]);
    let said: Vec<ToPeer> = bench
        .inbox(other)
        .into_iter()
        .map(|message| message.body)
        .collect();
    assert_eq!(said.len(), 2);
    assert!(said.contains(&ToPeer::Worker(ToWorker::Kill {
        attempt: running.attempt
    })));
    assert!(said.contains(&ToPeer::Worker(ToWorker::AckResults {
        attempts: vec![finished.attempt]
    })));
    assert_eq!(bench.manager.status(bench.now, 0).manager.orphans, 0);
    // What is to be killed occupies its slot until it has let go.
    bench.grant(other, 2);
    for seq in 2..6 {
        bench.submit(client, submit(seq));
    }
    assert_eq!(bench.assigned(other).len(), 1);
}

fn old_attempts(count: usize, base: u64) -> Vec<ReportedAttempt> {
    let one = |number: u64| ReportedAttempt {
        attempt: Attempt {
            epoch: Epoch(3),
            number: base + number,
        },
        task: task(7, base + number),
    };
    (0..count as u64).map(one).collect()
}

#[test]
fn a_report_is_as_long_as_a_worker_can_have() {
    let room = 2 * WINDOW_MAX as usize + HELD_RESULTS_DEFAULT;
    for (more, closed) in [(0, false), (1, true)] {
        let mut bench = Bench::new();
        let (worker, _) = bench.hello(1, 1, Role::Worker { capacity: 1 }, None, "w");
        // In two parts, since what is known counts as well.
        let running = old_attempts(10, 0);
        let last = false;
        let finished = vec![];
        bench.send(
            worker,
            ToManager::Worker(FromWorker::Report(Report {
                running,
                finished,
                last,
            })),
        );
        bench.report(worker, vec![], old_attempts(room - 10 + more, 100));
        assert_eq!(bench.closed.contains(&worker), closed);
        let orphans = bench.manager.status(bench.now, 0).manager.orphans;
        assert_eq!(orphans, if closed { 10 } else { room as u64 });
    }
}

#[test]
fn so_many_orphans_are_kept() {
    let mut bench = Bench::new();
    let each = ORPHANS_MAX / 4;
    for peer in 1..=4 {
        let role = Role::Worker { capacity: 1 };
        let (worker, _) = bench.hello(peer, 1, role, None, &format!("w{peer}"));
        bench.report(worker, vec![], old_attempts(each, peer << 32));
        assert_eq!(acks(&mut bench, worker), []);
    }
    let (worker, _) = bench.hello(9, 1, Role::Worker { capacity: 1 }, None, "w9");
    bench.report(worker, vec![], old_attempts(1, 9 << 32));
    assert_eq!(acks(&mut bench, worker).len(), 1);
    let orphans = bench.manager.status(bench.now, 0).manager.orphans;
    assert_eq!(orphans, ORPHANS_MAX as u64);
}

#[test]
fn only_as_many_are_asked_back_as_there_are_free_slots() {
    let mut bench = Bench::new();
    let client = bench.client(9);
    let busy = [bench.worker(1, 1), bench.worker(2, 1)];
    for worker in busy {
        bench.grant(worker, 4);
    }
    for seq in 0..8 {
        bench.submit(client, submit(seq));
    }
    assert_eq!(busy.map(|worker| bench.assigned(worker).len()), [4, 4]);
    let free = bench.worker(3, 2);
    let asked = |bench: &mut Bench| -> usize {
        let inboxes = busy.map(|worker| bench.inbox(worker));
        let bodies = inboxes.into_iter().flatten().map(|message| message.body);
        bodies
            .map(|body| match body {
                ToPeer::Worker(ToWorker::Recall { attempts }) => attempts.len(),
                other => panic!("{other:?}"),
            })
            .sum()
    };
    assert_eq!(asked(&mut bench), 0, "they may be done in a moment");
    let due = bench.manager.poll_timeout().expect("a deadline");
    assert_eq!(
        (due.at.since(bench.now), due.reason),
        (ms(2), WakeReason::Recall)
    );
    bench.advance(ms(2));
    assert_eq!(asked(&mut bench), 2);
    bench.advance(ms(100));
    assert_eq!(asked(&mut bench), 0, "they are on their way");
    assert_eq!(bench.assigned(free), []);
}

/// Nobody takes back what will soon start where it is: four times as long as a task takes there.
#[test]
fn a_worker_that_is_slow_by_nature_is_not_stuck() {
    let mut bench = Bench::new();
    let client = bench.client(9);
    let busy = bench.worker(1, 1);
    bench.submit(client, submit(0));
    let first = bench.assigned(busy).remove(0);
    bench.complete(busy, &first);
    bench.grant(busy, 4);
    for seq in 1..5 {
        bench.submit(client, submit(seq));
    }
    bench.worker(3, 2);
    bench.inbox(busy);
    bench.advance(ms(40) - Duration::from_nanos(1));
    assert_eq!(bench.inbox(busy), []);
    bench.advance(Duration::from_nanos(1));
    let said = bench.inbox(busy);
    assert!(matches!(
        said[0].body,
        ToPeer::Worker(ToWorker::Recall { .. })
    ));
}

#[test]
fn a_task_that_is_late_when_its_turn_comes_is_not_assigned() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    bench.submit(client, submit(0));
    let first = bench.assigned(worker).remove(0);
    let deadline = Nanos::from(ms(50));
    bench.submit(
        client,
        Submit {
            deadline,
            ..submit(1)
        },
    );
    bench.submit(client, submit(2));
    // The end of the first is news at the very moment of the deadline.
    bench.now = bench.now + ms(50);
    let end = AttemptEnd::Crashed(ExitCause::Exit(1), String::new());
    bench.finish_with(worker, &first, end);
    let again = bench.assigned(worker).remove(0);
    bench.complete(worker, &again);
    let next = bench.assigned(worker).remove(0);
    assert_eq!(next.task, task(2, 2));
    let outcomes = bench.outcomes(client);
    let may_have_run = false;
    assert!(
        outcomes.contains(&(1, Outcome::Expired { may_have_run })),
        "{outcomes:?}"
    );
}
