//! Workers that speak of attempts that they were never given: no task ends by their word.

use super::bench::*;
use argon_core::ids::{Attempt, ConnId, Epoch, TaskId};
use argon_core::message::{Assign, AttemptEnd, ReportedAttempt, Role, Submit, ToPeer, ToWorker};
use argon_core::time::Nanos;

const OLD: Epoch = Epoch(1);
const WORKER: Role = Role::Worker { capacity: 4 };

/// An assignment that nobody made.
fn made_up(epoch: Epoch, number: u64, task: TaskId) -> Assign {
    Assign {
        attempt: Attempt { epoch, number },
        task,
        at_most_once: false,
        deadline: Nanos::NONE,
        time_limit: Nanos::NONE,
        name: name("work"),
    }
}

/// An honest worker with a task, and a liar beside it.
fn honest_and_liar(submit: Submit) -> (Bench, ConnId, ConnId, ConnId, Assign) {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit);
    let assign = bench.assigned(worker).remove(0);
    let liar = bench.worker(2, 4);
    (bench, worker, client, liar, assign)
}

fn once(seq: u64) -> Submit {
    Submit {
        at_most_once: true,
        ..submit(seq)
    }
}

#[test]
fn the_end_of_an_attempt_counts_only_from_the_worker_that_has_it() {
    for (submit, end) in [
        (submit(0), AttemptEnd::Completed),
        (once(0), AttemptEnd::Completed),
        (once(0), AttemptEnd::Killed),
        (submit(0), AttemptEnd::Expired),
    ] {
        let (mut bench, worker, client, liar, assign) = honest_and_liar(submit);
        bench.finish_with(liar, &assign, end);
        assert_eq!(bench.closed, [liar]);
        assert_eq!(bench.outcomes(client), []);
        bench.complete(worker, &assign);
        assert!(completed(&bench.outcomes(client)[0].1));
    }
}

#[test]
fn an_attempt_that_was_never_made_ends_nothing() {
    for epoch in [OLD, EPOCH] {
        let (mut bench, worker, client, liar, assign) = honest_and_liar(once(0));
        bench.complete(liar, &made_up(epoch, 1_000, assign.task));
        assert_eq!(bench.closed, [liar]);
        assert_eq!(bench.outcomes(client), []);
        bench.complete(worker, &assign);
        assert!(completed(&bench.outcomes(client)[0].1));
    }
}

#[test]
fn nobody_reports_what_was_given_to_another() {
    for finished in [false, true] {
        for attempt in [
            None,
            Some(Attempt {
                epoch: OLD,
                number: 7,
            }),
        ] {
            let mut bench = Bench::new();
            let (worker, client) = (bench.worker(1, 1), bench.client(3));
            bench.submit(client, once(0));
            let assign = bench.assigned(worker).remove(0);
            let reported = ReportedAttempt {
                attempt: attempt.unwrap_or(assign.attempt),
                task: assign.task,
            };
            let (liar, _) = bench.hello(2, 1, WORKER, None, "liar");
            let (running, held) = if finished {
                (vec![], vec![reported])
            } else {
                (vec![reported], vec![])
            };
            bench.report(liar, running, held);
            bench.grant(liar, 4);
            let said: Vec<ToPeer> = bench
                .inbox(liar)
                .into_iter()
                .map(|said| said.body)
                .collect();
            let unwanted = if finished {
                ToPeer::Worker(ToWorker::AckResults {
                    attempts: vec![reported.attempt],
                })
            } else {
                ToPeer::Worker(ToWorker::Kill {
                    attempt: reported.attempt,
                })
            };
            assert!(said.contains(&unwanted), "{said:?}");
            let resend = ToPeer::Worker(ToWorker::Resend {
                attempt: reported.attempt,
            });
            assert!(!said.contains(&resend));
            bench.finish_with(
                liar,
                &made_up(reported.attempt.epoch, reported.attempt.number, assign.task),
                AttemptEnd::Completed,
            );
            assert_eq!(bench.outcomes(client), []);
            bench.complete(worker, &assign);
            assert!(completed(&bench.outcomes(client)[0].1));
        }
    }
}

/// A worker reports attempts of tasks that their client has yet to submit.
#[test]
fn a_task_that_is_submitted_for_the_first_time_is_with_nobody() {
    for finished in [false, true] {
        let mut bench = Bench::new();
        let (liar, _) = bench.hello(2, 1, WORKER, Some(OLD), "liar");
        let reported = ReportedAttempt {
            attempt: Attempt {
                epoch: OLD,
                number: 1,
            },
            task: task(3, 0),
        };
        let (running, held) = if finished {
            (vec![], vec![reported])
        } else {
            (vec![reported], vec![])
        };
        bench.report(liar, running, held);
        let client = bench.client(3);
        let worker = bench.worker(1, 1);
        bench.submit(client, once(0));
        let assign = bench.assigned(worker).remove(0);
        bench.complete(liar, &made_up(OLD, 1, task(3, 0)));
        assert_eq!(bench.outcomes(client), []);
        bench.complete(worker, &assign);
        assert!(completed(&bench.outcomes(client)[0].1));
    }
}
