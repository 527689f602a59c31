//! In which order the manager says things, and in which order the clocks that it keeps run out.

use super::bench::*;
use argon_core::ids::ConnId;
use argon_core::limits::{HEARTBEATS_PER_LEASE, LEASE};
use argon_core::machine::Machine as _;
use argon_core::manager::{ManagerInput, ManagerOutput};
use argon_core::message::{
    Assign, AttemptEnd, Beat, Control, Finished, FromClient, FromWorker, Message, ToClient,
    ToManager, ToPeer, ToWorker,
};
use argon_core::time::{Nanos, WakeReason};
use std::time::Duration;

/// Hands several facts to the manager before it settles, as a driver does with what came at once.
fn batch(bench: &mut Bench, inputs: Vec<(ConnId, ToManager)>) -> Vec<ManagerOutput> {
    for (conn, body) in inputs {
        let message = Message::from(body);
        let input = ManagerInput::Received { conn, message };
        bench.manager.handle_input(bench.now, input);
    }
    bench.manager.settle(bench.now);
    bench.manager.check_invariants();
    std::iter::from_fn(|| bench.manager.poll_output())
        .filter(|output| !matches!(output, ManagerOutput::Notify(_)))
        .collect()
}

fn ack_outcomes(seqs: &[u64]) -> ToManager {
    let (floor, seqs) = (0, seqs.to_vec());
    ToManager::Client(FromClient::AckOutcomes { floor, seqs })
}

fn finish_after(bench: &mut Bench, worker: ConnId, assign: &Assign, ran: Duration) {
    let body = ToManager::Worker(FromWorker::Finished(Finished {
        attempt: assign.attempt,
        task: assign.task,
        ran: Nanos::from(ran),
        end: AttemptEnd::Completed,
    }));
    bench.send(worker, body);
}

/// What a heartbeat confirms has been answered before: whoever hears the confirmation without an
/// answer may rely on there being none.
#[test]
fn what_there_is_to_say_to_a_message_is_said_before_it_is_confirmed() {
    let mut bench = Bench::with(|config| config.queue_tasks = 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    let (nonce, received) = (5, 0);
    let said = batch(
        &mut bench,
        vec![
            (client, ToManager::Client(FromClient::Submit(submit(1)))),
            (client, ToManager::Ping(Beat { nonce, received })),
        ],
    );
    let bodies: Vec<&ToPeer> = said
        .iter()
        .filter_map(|output| match output {
            ManagerOutput::Send { message, .. } => Some(&message.body),
            _ => None,
        })
        .collect();
    assert!(
        matches!(bodies[..], [ToPeer::Client(ToClient::Reject { seq: 1, .. }), ToPeer::Control(Control::Pong(beat))] if beat.received == 2),
        "{bodies:?}"
    );
}

#[test]
fn that_the_drain_is_done_is_the_last_that_is_said() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.complete(worker, &assign);
    bench.step(ManagerInput::Drain);
    assert!(!bench.drained);
    let said = batch(&mut bench, vec![(client, ack_outcomes(&[0]))]);
    let [
        ManagerOutput::Send { conn, message },
        ManagerOutput::Drained,
    ] = &said[..]
    else {
        panic!("the worker is told first: {said:?}");
    };
    let attempts = vec![assign.attempt];
    assert_eq!(
        (conn, &message.body),
        (&worker, &ToPeer::Worker(ToWorker::AckResults { attempts }))
    );
}

#[test]
fn a_worker_that_leaves_takes_no_acknowledgement_of_another_with_it() {
    let mut bench = Bench::new();
    let (one, two, client) = (bench.worker(1, 1), bench.worker(2, 1), bench.client(3));
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let (first, second) = (bench.assigned(one).remove(0), bench.assigned(two).remove(0));
    bench.complete(one, &first);
    bench.complete(two, &second);
    let (floor, seqs) = (2, vec![]);
    let said = batch(
        &mut bench,
        vec![
            (
                client,
                ToManager::Client(FromClient::AckOutcomes { floor, seqs }),
            ),
            (one, ToManager::Goodbye),
        ],
    );
    let attempts = vec![second.attempt];
    let message = ToPeer::Worker(ToWorker::AckResults { attempts }).into();
    assert!(
        said.contains(&ManagerOutput::Send { conn: two, message }),
        "{said:?}"
    );
}

/// Being late for its own heartbeat is how the manager knows that it stood still: newcomers do not
/// put that off.
#[test]
fn it_wants_to_be_woken_four_times_in_a_lease_however_many_come() {
    let mut bench = Bench::new();
    bench.connect();
    let due = bench.now + LEASE / HEARTBEATS_PER_LEASE;
    for _ in 0..4 {
        let woken = bench.manager.poll_timeout().map(|due| (due.at, due.reason));
        assert_eq!(woken, Some((due, WakeReason::Heartbeat)));
        bench.advance(ms(100));
        bench.connect();
    }
}

/// The clients of the next so many tasks.
fn turns(bench: &mut Bench, worker: ConnId, count: usize, ran: Duration) -> Vec<u64> {
    (0..count)
        .map(|_| {
            let assign = bench.assigned(worker).remove(0);
            finish_after(bench, worker, &assign, ran);
            assign.task.client.0
        })
        .collect()
}

#[test]
fn a_task_that_took_much_longer_than_any_of_its_name_is_paid_for() {
    let mut bench = Bench::new();
    let (worker, teacher) = (bench.worker(1, 1), bench.client(9));
    for seq in 0..400 {
        bench.submit(teacher, submit(seq));
        let assign = bench.assigned(worker).remove(0);
        finish_after(&mut bench, worker, &assign, Duration::ZERO);
    }
    let (lucky, other) = (bench.client(2), bench.client(3));
    for seq in 0..20 {
        bench.submit(lucky, submit(seq));
    }
    let long = bench.assigned(worker).remove(0);
    for seq in 0..20 {
        bench.submit(other, submit(seq));
    }
    finish_after(&mut bench, worker, &long, ms(1_000));
    assert_eq!(turns(&mut bench, worker, 10, ms(10)), [3; 10]);
}
