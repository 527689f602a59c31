//! How attempts end at the manager, and what that means for their tasks.

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::{Attempt, ConnId};
use argon_core::limits::ERROR_TEXT_MAX;
use argon_core::manager::ManagerInput;
use argon_core::message::{
    Assign, AttemptEnd, FromClient, FromWorker, Message, Role, Submit, ToManager, ToPeer, ToWorker,
};
use argon_core::task::{
    AttemptLoss, AttemptRecord, ErrorKind, ExitCause, Outcome, RejectReason, TaskError,
};
use argon_core::time::Nanos;

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

fn at_most_once(seq: u64) -> Submit {
    Submit {
        at_most_once: true,
        ..submit(seq)
    }
}

fn one(mut outcomes: Vec<(u64, Outcome)>) -> Outcome {
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.remove(0).1
}

fn returned(attempts: &[Attempt]) -> ToManager {
    ToManager::Worker(FromWorker::Returned {
        not_started: attempts.to_vec(),
        started: vec![],
    })
}

fn has(bench: &Bench, wanted: impl Fn(&Event) -> bool) -> bool {
    bench.events.iter().any(wanted)
}

/// A worker and a client with one assigned task.
fn assigned(submit: Submit) -> (Bench, ConnId, ConnId, Assign) {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    bench.submit(client, submit);
    let assign = bench.assigned(worker).remove(0);
    (bench, worker, client, assign)
}

#[test]
fn a_crash_says_where_and_only_a_repeated_one_is_poison() {
    let (mut bench, worker, client, assign) = assigned(with_attempts(0, 1));
    bench.finish_with(worker, &assign, crashed());
    let Outcome::Failed(failure) = one(bench.outcomes(client)) else {
        panic!("a crash is a failure");
    };
    assert_eq!(
        failure.error.message,
        format!("its pool process on worker-1 {SIGNAL}")
    );
    assert_eq!(failure.error.stderr, "last words");
    assert!(!has(&bench, |event| matches!(
        event,
        Event::PoisonStopped { .. }
    )));
    let loss = AttemptLoss::ChildCrashed(SIGNAL);
    let record = AttemptRecord {
        worker: name("worker-1"),
        end: loss,
    };
    assert_eq!(failure.history, [record]);
    let charged = Event::AttemptCharged {
        task: assign.task,
        attempt: assign.attempt,
        loss,
    };
    assert!(bench.events.contains(&charged));

    let (mut bench, worker, client, first) = assigned(with_attempts(0, 3));
    bench.finish_with(worker, &first, crashed());
    let second = bench.assigned(worker).remove(0);
    bench.finish_with(worker, &second, crashed());
    let third = bench.assigned(worker).remove(0);
    bench.finish_with(worker, &third, crashed());
    let Outcome::Failed(failure) = one(bench.outcomes(client)) else {
        panic!("a crash is a failure");
    };
    let message = format!("its pool process {SIGNAL}; 3 attempts ended so, on worker-1");
    assert_eq!(failure.error.message, message);
    assert!(has(&bench, |event| matches!(
        event,
        Event::PoisonStopped { .. }
    )));
    assert_eq!(bench.manager.status(bench.now, 0).manager.attempts_lost, 3);
}

#[test]
fn two_crashes_are_poison_too() {
    let (mut bench, worker, client, first) = assigned(with_attempts(0, 2));
    bench.finish_with(worker, &first, crashed());
    let second = bench.assigned(worker).remove(0);
    bench.finish_with(worker, &second, crashed());
    let Outcome::Failed(failure) = one(bench.outcomes(client)) else {
        panic!("a crash is a failure");
    };
    assert!(
        failure.error.message.contains("2 attempts"),
        "{}",
        failure.error.message
    );
    assert!(has(&bench, |event| matches!(
        event,
        Event::PoisonStopped { .. }
    )));
}

#[test]
fn texts_are_cut_to_what_travels() {
    let long = "x".repeat(2 * ERROR_TEXT_MAX);
    let (mut bench, worker, client, assign) = assigned(with_attempts(0, 1));
    bench.finish_with(worker, &assign, AttemptEnd::Crashed(SIGNAL, long.clone()));
    let Outcome::Failed(failure) = one(bench.outcomes(client)) else {
        panic!("a crash is a failure");
    };
    assert!(failure.error.stderr.len() <= ERROR_TEXT_MAX);
    let (mut bench, worker, client, assign) = assigned(submit(0));
    let error = TaskError::new(ErrorKind::Raised("E".into()), long);
    bench.finish_with(worker, &assign, AttemptEnd::Failed(error.into()));
    let Outcome::Failed(failure) = one(bench.outcomes(client)) else {
        panic!("an error is a failure");
    };
    assert!(failure.error.message.len() <= ERROR_TEXT_MAX);
}

#[test]
fn an_outcome_says_how_long_it_ran_and_waited_and_what_it_cost() {
    let mut bench = Bench::new();
    let client = bench.client(2);
    bench.submit(client, submit(0));
    bench.advance(ms(70));
    let worker = bench.worker(1, 1);
    let first = bench.assigned(worker).remove(0);
    bench.advance(ms(30));
    bench.finish_with(worker, &first, crashed());
    let second = bench.assigned(worker).remove(0);
    bench.complete(worker, &second);
    let Outcome::Completed(completion) = one(bench.outcomes(client)) else {
        panic!("it completed");
    };
    assert_eq!(completion.last.ran, Nanos::from(ms(10)));
    assert_eq!(completion.last.waited, Nanos::from(ms(100)));
    assert_eq!(completion.last.worker, name("worker-1"));
    assert_eq!(completion.charged, 1);
    // The same of a failure, also of one by its pool process.
    let failed = TaskError::new(ErrorKind::Exit(1), "no");
    for (seq, end) in [(1, AttemptEnd::Failed(failed.into())), (2, crashed())] {
        bench.submit(client, with_attempts(seq, 1));
        let assign = bench.assigned(worker).remove(0);
        bench.finish_with(worker, &assign, end);
        let Outcome::Failed(failure) = one(bench.outcomes(client)) else {
            panic!("it failed");
        };
        assert_eq!(failure.last.ran, Nanos::from(ms(10)));
        assert_eq!(failure.last.waited, Nanos::ZERO);
        assert_eq!(failure.last.worker, name("worker-1"));
    }
}

#[test]
fn an_outcome_names_the_worker_that_brought_it() {
    let mut bench = Bench::new();
    let client = bench.client(9);
    let workers = [bench.worker(1, 1), bench.worker(2, 1), bench.worker(3, 1)];
    for seq in 0..3 {
        bench.submit(client, with_attempts(seq, 1));
    }
    let assigned = workers.map(|worker| (worker, bench.assigned(worker).remove(0)));
    let no = || AttemptEnd::Failed(TaskError::new(ErrorKind::Exit(1), "no").into());
    // Not in the order in which they were given.
    for (place, end) in [(2, AttemptEnd::Completed), (0, no()), (1, crashed())] {
        let (worker, assign) = &assigned[place];
        bench.finish_with(*worker, assign, end);
        let last = match one(bench.outcomes(client)) {
            Outcome::Completed(completion) => completion.last,
            Outcome::Failed(failure) => failure.last,
            other => panic!("{other:?}"),
        };
        assert_eq!(last.worker, name(&format!("worker-{}", place + 1)));
    }
}

#[test]
fn a_crash_of_what_was_to_end_ends_it() {
    let (mut bench, worker, client, assign) = assigned(submit(0));
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    assert_eq!(bench.kills(worker), [assign.attempt]);
    bench.finish_with(worker, &assign, crashed());
    let may_have_run = true;
    assert_eq!(
        one(bench.outcomes(client)),
        Outcome::Cancelled { may_have_run }
    );
    assert_eq!(bench.manager.status(bench.now, 0).manager.attempts_lost, 0);
}

#[test]
fn a_kill_that_nobody_asked_for_costs_nothing_but_at_most_once_is_lost() {
    let (mut bench, worker, client, first) = assigned(with_attempts(0, 1));
    bench.finish_with(worker, &first, AttemptEnd::Killed);
    let second = bench.assigned(worker).remove(0);
    // It did run, so what is taken back later may have run.
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    bench.send(worker, returned(&[second.attempt]));
    let may_have_run = true;
    assert_eq!(
        one(bench.outcomes(client)),
        Outcome::Cancelled { may_have_run }
    );

    let (mut bench, worker, client, assign) = assigned(at_most_once(0));
    bench.finish_with(worker, &assign, AttemptEnd::Killed);
    let Outcome::Lost { history } = one(bench.outcomes(client)) else {
        panic!("it may have run");
    };
    assert_eq!(history[0].end, AttemptLoss::WorkerDrained);
    assert_eq!(bench.assigned(worker), []);
}

#[test]
fn what_never_started_is_cancelled_as_such() {
    let (mut bench, worker, client, assign) = assigned(submit(0));
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    bench.send(worker, returned(&[assign.attempt]));
    let may_have_run = false;
    assert_eq!(
        one(bench.outcomes(client)),
        Outcome::Cancelled { may_have_run }
    );
}

#[test]
fn a_result_that_comes_again_counts_once_and_not_when_it_was_acknowledged() {
    let (mut bench, worker, client, assign) = assigned(submit(0));
    bench.complete(worker, &assign);
    bench.inbox(client);
    // The client has not answered: the worker must keep it.
    bench.complete(worker, &assign);
    assert_eq!(bench.inbox(worker), []);
    let floor = 1;
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor,
            seqs: vec![],
        }),
    );
    let acks: Vec<Message<ToPeer>> = vec![
        ToPeer::Worker(ToWorker::AckResults {
            attempts: vec![assign.attempt],
        })
        .into(),
    ];
    assert_eq!(bench.inbox(worker), acks);
    assert_eq!(bench.closed, []);
    bench.complete(worker, &assign);
    assert_eq!(bench.closed, [worker], "it has forgotten it by now");
    assert_eq!(bench.outcomes(client), []);
}

#[test]
fn goodbye_charges_nothing_but_at_most_once_is_lost() {
    let (mut bench, worker, client, _) = assigned(with_attempts(0, 1));
    bench.submit(client, at_most_once(1));
    bench.grant(worker, 2);
    assert_eq!(bench.assigned(worker).len(), 1);
    bench.send(worker, ToManager::Goodbye);
    let Outcome::Lost { history } = one(bench.outcomes(client)) else {
        panic!("at most once");
    };
    assert_eq!(history[0].end, AttemptLoss::WorkerDrained);
    let lost = task(2, 1);
    assert!(has(&bench, |event| *event == Event::TaskLost { task: lost }));
    let other = bench.worker(3, 1);
    let again = bench.assigned(other).remove(0);
    // The first attempt may have done something.
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    bench.send(other, returned(&[again.attempt]));
    let may_have_run = true;
    assert_eq!(
        one(bench.outcomes(client)),
        Outcome::Cancelled { may_have_run }
    );
}

#[test]
fn lost_as_often_as_allowed_is_lost_for_good() {
    let mut bench = Bench::new();
    let client = bench.client(9);
    bench.worker(10, 1);
    bench.submit(client, with_attempts(0, 2));
    for peer in 11..=12 {
        // Each is replaced by a new process of its name, at once.
        let (next, _) = bench.hello(peer, 1, Role::Worker { capacity: 1 }, None, "worker-10");
        bench.report(next, vec![], vec![]);
        bench.grant(next, 1);
    }
    let Outcome::Lost { history } = one(bench.outcomes(client)) else {
        panic!("twice is enough");
    };
    let ends: Vec<_> = history.iter().map(|record| record.end).collect();
    assert_eq!(ends, [AttemptLoss::WorkerReplaced; 2]);
    assert!(has(&bench, |event| matches!(
        event,
        Event::PoisonStopped { .. }
    )));
    assert_eq!(bench.manager.status(bench.now, 0).manager.attempts_lost, 2);
}

#[test]
fn the_last_attempt_waits_for_its_worker_as_long_as_its_session() {
    let (mut bench, worker, client, assign) = assigned(with_attempts(0, 1));
    let other = bench.worker(3, 1);
    bench.close(worker);
    bench.advance_alive(ms(1_000), &[client, other]);
    assert_eq!(bench.assigned(other), [], "it could not be tried once more");
    assert!(!has(&bench, |event| matches!(
        event,
        Event::TaskReturned { .. }
    )));
    let role = Role::Worker { capacity: 1 };
    let (worker, _) = bench.hello(1, 2, role, Some(EPOCH), "worker-1");
    bench.report(worker, vec![reported(&assign)], vec![]);
    bench.complete(worker, &assign);
    assert!(completed(&one(bench.outcomes(client))));
}

#[test]
fn what_was_to_end_ends_with_its_worker() {
    let (mut bench, worker, client, _) = assigned(submit(0));
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    bench.close(worker);
    assert_eq!(bench.outcomes(client), [], "it may be back in a moment");
    bench.advance(ms(251));
    let may_have_run = true;
    assert_eq!(
        one(bench.outcomes(client)),
        Outcome::Cancelled { may_have_run }
    );
    // Asked for while nobody is there any more, it ends at once.
    let (mut bench, worker, client, _) = assigned(with_attempts(0, 1));
    bench.close(worker);
    bench.advance(ms(251));
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    assert_eq!(
        one(bench.outcomes(client)),
        Outcome::Cancelled { may_have_run }
    );
}

#[test]
fn a_worker_that_comes_back_is_told_what_to_end() {
    let (mut bench, worker, client, assign) = assigned(submit(0));
    bench.close(worker);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    let role = Role::Worker { capacity: 1 };
    let (worker, _) = bench.hello(1, 2, role, Some(EPOCH), "worker-1");
    bench.report(worker, vec![reported(&assign)], vec![]);
    assert_eq!(bench.kills(worker), [assign.attempt]);
}

#[test]
fn a_task_past_its_deadline_is_not_tried_again() {
    let deadline = Nanos::from(ms(100));
    let (mut bench, worker, client, assign) = assigned(Submit {
        deadline,
        ..submit(0)
    });
    let other = bench.worker(3, 1);
    // The crash is news at the very moment of the deadline, and news is taken in first.
    bench.now = bench.now + ms(100);
    bench.finish_with(worker, &assign, crashed());
    let may_have_run = true;
    assert_eq!(
        one(bench.outcomes(client)),
        Outcome::Expired { may_have_run }
    );
    assert_eq!(bench.assigned(other), []);
}

#[test]
fn at_most_once_that_ran_elsewhere_is_lost_when_this_attempt_did_not_start() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(2);
    // It waits here while its client is with another manager.
    bench.submit(client, submit(0));
    let busy = bench.assigned(worker).remove(0);
    bench.submit(client, at_most_once(1));
    bench.complete(worker, &busy);
    let attempt = bench.assigned(worker).remove(0).attempt;
    bench.submit(
        client,
        Submit {
            may_have_run: true,
            ..at_most_once(1)
        },
    );
    bench.send(worker, returned(&[attempt]));
    let outcomes = bench.outcomes(client);
    assert!(
        matches!(outcomes[1], (1, Outcome::Lost { .. })),
        "{outcomes:?}"
    );
    let task = task(2, 1);
    assert!(has(&bench, |event| *event == Event::TaskLost { task }));
}

#[test]
fn a_draining_manager_refuses_what_comes_back_unstarted() {
    let (mut bench, worker, client, assign) = assigned(submit(0));
    bench.step(ManagerInput::Drain);
    bench.send(worker, returned(&[assign.attempt]));
    assert_eq!(bench.rejects(client), [(0, RejectReason::Draining)]);
    assert!(bench.drained);
}

/// What a machine could not start has not run: it goes elsewhere, whatever it may do twice, and is
/// charged for nothing.
#[test]
fn what_could_not_be_started_goes_elsewhere() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let [first, second] = [bench.worker(10, 1), bench.worker(11, 1)];
    let once = Submit {
        at_most_once: true,
        max_attempts: 1,
        ..submit(1)
    };
    bench.submit(client, once);
    let unavailable = || {
        let error = TaskError::new(ErrorKind::Unavailable, "no more processes");
        AttemptEnd::Failed(Box::new(error))
    };
    let mut tries = [0; 2];
    for _ in 0..20 {
        for (worker, tries) in [first, second].into_iter().zip(&mut tries) {
            for assign in bench.assigned(worker) {
                bench.finish_with(worker, &assign, unavailable());
                *tries += 1;
            }
        }
    }
    assert!(tries.iter().all(|tries| *tries > 2), "{tries:?}");
    assert_eq!(bench.outcomes(client), vec![]);
    let end = |bench: &mut Bench, worker| {
        for assign in bench.assigned(worker) {
            bench.complete(worker, &assign);
        }
    };
    end(&mut bench, first);
    end(&mut bench, second);
    let outcomes = bench.outcomes(client);
    let [(1, Outcome::Completed(completion))] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(completion.charged, 0);
}
