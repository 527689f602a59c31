//! What is sent again, kept, let go or shared out by the manager, and when it wants to be woken.

use super::bench::*;
use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::limits::{HELD_RESULTS_DEFAULT, ORPHANS_MAX, WINDOW_MAX};
use argon_core::machine::Machine as _;
use argon_core::manager::{ManagerInput, ManagerOutput};
use argon_core::message::{
    AttemptEnd, Finished, FromClient, FromWorker, Message, Report, ReportedAttempt, Role, Submit,
    ToManager, ToPeer, ToWorker,
};
use argon_core::task::{ExitCause, Outcome};
use argon_core::time::Nanos;

fn acks(bench: &mut Bench, worker: ConnId) -> Vec<Attempt> {
    let inbox = bench.inbox(worker).into_iter();
    let acks = inbox.filter_map(|message| match message.body {
        ToPeer::Worker(ToWorker::AckResults { attempts }) => Some(attempts),
        _ => None,
    });
    acks.flatten().collect()
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
