//! What the manager makes of a worker's report after a reconnect: whose attempt it is, what waits
//! for the report, and what it does not believe.

use super::bench::*;
use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::message::{
    Assign, AttemptEnd, FromClient, FromWorker, Message, Report, ReportedAttempt, Role, Submit,
    ToManager, ToPeer, ToWorker,
};
use argon_core::task::{ExitCause, Outcome};
use argon_core::time::Nanos;

const ONE: Role = Role::Worker { capacity: 1 };

fn flagged(seq: u64) -> Submit {
    Submit {
        may_have_run: true,
        ..submit(seq)
    }
}

fn old(number: u64, seq: u64) -> ReportedAttempt {
    let epoch = Epoch(1);
    ReportedAttempt {
        attempt: Attempt { epoch, number },
        task: task(3, seq),
    }
}

/// A worker that comes in, for the how many-th time, and has not reported.
fn come_in(bench: &mut Bench, peer: u64, connection: u64) -> ConnId {
    let called = format!("worker-{peer}");
    bench.hello(peer, connection, ONE, Some(EPOCH), &called).0
}

fn acks(bench: &mut Bench, worker: ConnId) -> Vec<Attempt> {
    let inbox = bench.inbox(worker).into_iter();
    let acks = inbox.filter_map(|message| match message.body {
        ToPeer::Worker(ToWorker::AckResults { attempts }) => Some(attempts),
        _ => None,
    });
    acks.flatten().collect()
}

fn orphans(bench: &Bench) -> u64 {
    bench.manager.status(bench.now, 0).manager.orphans
}

/// A worker with a task that was given up on and that is back with it, no other having it.
fn reclaimed(max_attempts: u8) -> (Bench, ConnId, ConnId, Assign) {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(
        client,
        Submit {
            max_attempts,
            ..submit(0)
        },
    );
    let assign = bench.assigned(worker).remove(0);
    bench.close(worker);
    bench.advance(ms(250));
    let worker = come_in(&mut bench, 1, 2);
    bench.report(worker, vec![reported(&assign)], vec![]);
    (bench, worker, client, assign)
}

#[test]
fn what_was_given_up_on_and_came_back_costs_no_attempt() {
    let (mut bench, worker, client, assign) = reclaimed(2);
    let end = AttemptEnd::Crashed(ExitCause::Exit(1), String::new());
    bench.finish_with(worker, &assign, end);
    bench.grant(worker, 1);
    assert_eq!(bench.assigned(worker).len(), 1, "it has another");
    assert_eq!(bench.outcomes(client), []);
}

#[test]
fn what_came_back_and_is_lost_again_is_tried_elsewhere() {
    let (mut bench, worker, _, _) = reclaimed(3);
    let other = bench.worker(2, 1);
    bench.send(worker, ToManager::Goodbye);
    assert_eq!(bench.assigned(other).len(), 1);
}

#[test]
fn a_worker_that_came_back_is_waited_for_again_when_it_is_cut_off_again() {
    let (mut bench, worker, client, assign) = reclaimed(3);
    bench.close(worker);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    assert_eq!(bench.outcomes(client), [], "its answer decides");
    let worker = come_in(&mut bench, 1, 3);
    bench.report(worker, vec![], vec![reported(&assign)]);
    bench.complete(worker, &assign);
    assert!(completed(&bench.outcomes(client)[0].1));
}

#[test]
fn an_end_that_is_asked_for_while_the_worker_is_away_waits_for_it() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    bench.close(worker);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    assert_eq!(bench.outcomes(client), []);
    bench.advance(ms(249));
    assert_eq!(bench.outcomes(client), []);
    bench.advance(ms(1));
    let may_have_run = true;
    let cancelled = (0, Outcome::Cancelled { may_have_run });
    assert_eq!(bench.outcomes(client), [cancelled], "for its grace");
}

/// Until its report is complete, nothing is asked of a worker: what it would be asked about may
/// not be there.
#[test]
fn what_is_to_end_is_said_once_and_after_the_report() {
    type End = fn(&mut Bench, ConnId);
    let ends: [End; 3] = [
        |bench, client| bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 })),
        |bench, client| bench.send(client, ToManager::Goodbye),
        |bench, client| {
            let (floor, seqs) = (1, vec![]);
            bench.send(
                client,
                ToManager::Client(FromClient::AckOutcomes { floor, seqs }),
            );
        },
    ];
    for end in ends {
        let mut bench = Bench::new();
        let (worker, client) = (bench.worker(1, 1), bench.client(3));
        bench.submit(client, submit(0));
        let assign = bench.assigned(worker).remove(0);
        bench.close(worker);
        let worker = come_in(&mut bench, 1, 2);
        end(&mut bench, client);
        assert_eq!(bench.inbox(worker), []);
        bench.report(worker, vec![reported(&assign)], vec![]);
        assert_eq!(bench.kills(worker), [assign.attempt]);
    }
}

#[test]
fn an_orphan_that_is_given_up_is_ended_after_the_report_too() {
    let mut bench = Bench::new();
    let worker = come_in(&mut bench, 1, 1);
    bench.report(worker, vec![old(0, 0)], vec![]);
    bench.advance_alive(ms(29_900), &[worker]);
    assert_eq!(bench.kills(worker), []);
    bench.close(worker);
    let worker = come_in(&mut bench, 1, 2);
    bench.advance_alive(ms(100), &[worker]);
    assert_eq!(bench.inbox(worker), [], "its client did not come");
    bench.report(worker, vec![old(0, 0)], vec![]);
    assert_eq!(bench.kills(worker), [old(0, 0).attempt]);
    assert_eq!(orphans(&bench), 0);
}

#[test]
fn a_result_is_kept_for_its_client_for_so_long_however_often_its_worker_comes_back() {
    let mut bench = Bench::new();
    let mut worker = come_in(&mut bench, 1, 1);
    bench.report(worker, vec![], vec![old(0, 0)]);
    bench.advance_alive(ms(20_000), &[worker]);
    bench.close(worker);
    worker = come_in(&mut bench, 1, 2);
    bench.report(worker, vec![], vec![old(0, 0)]);
    assert_eq!(orphans(&bench), 1);
    bench.advance_alive(ms(9_999), &[worker]);
    assert_eq!(acks(&mut bench, worker), []);
    bench.advance_alive(ms(1), &[worker]);
    assert_eq!(acks(&mut bench, worker), [old(0, 0).attempt]);
    assert_eq!(orphans(&bench), 0);
}

#[test]
fn the_first_attempt_that_was_not_made_yet_is_a_lie() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    let mut next = reported(&bench.assigned(worker)[0]);
    next.attempt.number += 1;
    let liar = come_in(&mut bench, 2, 1);
    bench.send(
        liar,
        ToManager::Worker(FromWorker::Report(Report {
            running: vec![next],
            finished: vec![],
            last: true,
        })),
    );
    assert_eq!(bench.closed, [liar]);
}

#[test]
fn who_lies_gets_no_task_by_it() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    bench.submit(client, submit(0));
    let liar = come_in(&mut bench, 2, 1);
    let mut lie = old(9, 0);
    lie.attempt.epoch = EPOCH;
    bench.send(
        liar,
        ToManager::Worker(FromWorker::Report(Report {
            running: vec![lie],
            finished: vec![],
            last: true,
        })),
    );
    assert_eq!(bench.closed, [liar]);
    let worker = bench.worker(1, 1);
    assert_eq!(bench.assigned(worker).len(), 1, "it still waits");
}

/// A task of which an earlier manager's worker says something is here again, and waits for it.
#[test]
fn a_result_is_asked_for_and_what_runs_is_not() {
    for finished in [false, true] {
        let mut bench = Bench::new();
        let client = bench.client(3);
        bench.submit(client, flagged(0));
        let worker = come_in(&mut bench, 1, 1);
        let (running, done) = match finished {
            false => (vec![old(0, 0)], vec![]),
            true => (vec![], vec![old(0, 0)]),
        };
        bench.report(worker, running, done);
        let attempt = old(0, 0).attempt;
        let expected: Vec<Message<ToPeer>> = match finished {
            false => vec![],
            true => vec![ToPeer::Worker(ToWorker::Resend { attempt }).into()],
        };
        assert_eq!(bench.inbox(worker), expected);
    }
}

#[test]
fn only_below_the_floor_is_a_task_known_to_be_over() {
    for (seq, is_over) in [(4, true), (5, false), (6, false)] {
        let mut bench = Bench::new();
        let client = bench.client(3);
        let (floor, seqs) = (5, vec![]);
        bench.send(
            client,
            ToManager::Client(FromClient::AckOutcomes { floor, seqs }),
        );
        let worker = come_in(&mut bench, 1, 1);
        bench.report(worker, vec![old(0, seq)], vec![]);
        assert_eq!(bench.kills(worker).len(), usize::from(is_over), "{seq}");
        assert_eq!(orphans(&bench), u64::from(!is_over));
    }
}

#[test]
fn an_attempt_of_this_manager_whose_task_is_gone_is_nobodys() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    bench.close(worker);
    bench.send(client, ToManager::Goodbye);
    bench.advance(ms(31_000));
    let worker = come_in(&mut bench, 1, 2);
    bench.report(worker, vec![reported(&assign)], vec![]);
    assert_eq!(bench.kills(worker), [assign.attempt]);
    assert_eq!(orphans(&bench), 0);
}

#[test]
fn an_outcome_says_how_long_the_task_waited_for_the_attempt_that_brought_it() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.advance(ms(30));
    let worker = bench.worker(1, 1);
    let assign = bench.assigned(worker).remove(0);
    bench.advance(ms(100));
    bench.complete(worker, &assign);
    let Outcome::Completed(completion) = &bench.outcomes(client)[0].1 else {
        panic!("it completed");
    };
    assert_eq!(completion.last.waited, Nanos::from(ms(30)));
}

#[test]
fn what_a_worker_brought_is_charged_when_it_denies_it() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    bench.submit(client, flagged(0));
    let worker = come_in(&mut bench, 1, 1);
    bench.report(worker, vec![old(0, 0)], vec![]);
    let (not_started, started) = (vec![old(0, 0).attempt], vec![]);
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        }),
    );
    assert_eq!(bench.manager.status(bench.now, 0).manager.attempts_lost, 1);
}

#[test]
fn a_lost_worker_leaves_its_task_the_last_attempt() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    let max_attempts = 2;
    bench.submit(
        client,
        Submit {
            max_attempts,
            ..submit(0)
        },
    );
    bench.close(worker);
    bench.advance(ms(250));
    let other = bench.worker(2, 1);
    assert_eq!(bench.assigned(other).len(), 1);
}

/// An orphan's worker that is away is waited for as long as any, from when it went.
#[test]
fn a_task_that_comes_back_while_its_worker_is_away_waits_the_grace() {
    let mut bench = Bench::new();
    let away = come_in(&mut bench, 1, 1);
    bench.report(away, vec![old(0, 0)], vec![]);
    let (other, client) = (bench.worker(2, 1), bench.client(3));
    bench.close(away);
    bench.submit(client, flagged(0));
    assert_eq!(bench.assigned(other), []);
    bench.advance(ms(249));
    assert_eq!(bench.assigned(other), []);
    bench.advance(ms(1));
    assert_eq!(bench.assigned(other).len(), 1);
}

#[test]
fn a_task_that_comes_back_just_before_the_report_of_its_worker_waits_for_that() {
    let mut bench = Bench::new();
    let worker = come_in(&mut bench, 1, 1);
    bench.report(worker, vec![old(0, 0)], vec![]);
    let (other, client) = (bench.worker(2, 1), bench.client(3));
    bench.close(worker);
    bench.advance_alive(ms(300), &[other, client]);
    let worker = come_in(&mut bench, 1, 2);
    bench.submit(client, flagged(0));
    assert_eq!(bench.assigned(other), []);
    bench.report(worker, vec![old(0, 0)], vec![]);
    bench.grant(worker, 1);
    assert_eq!(bench.assigned(other), []);
}

#[test]
fn a_manager_that_has_just_started_expects_workers_for_so_long_whoever_looks_in() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.advance_alive(ms(1_000), &[worker, client]);
    bench.send(worker, ToManager::Goodbye);
    bench.submit(client, submit(0));
    bench.advance_alive(ms(1_999), &[client]);
    assert_eq!(bench.rejects(client), []);
    bench.advance(ms(1));
    assert_eq!(bench.rejects(client).len(), 1);
}
