//! How attempts end at the manager, and what that means for their tasks.

use super::bench::*;
use argon_core::ids::ConnId;
use argon_core::limits::ERROR_TEXT_MAX;
use argon_core::message::{Assign, AttemptEnd, Submit};
use argon_core::task::{ErrorKind, ExitCause, Outcome, TaskError};
use argon_core::time::Nanos;

const SIGNAL: ExitCause = ExitCause::Signal(11);

fn crashed() -> AttemptEnd {
    AttemptEnd::Crashed(SIGNAL, "last words".into())
}

fn one(mut outcomes: Vec<(u64, Outcome)>) -> Outcome {
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.remove(0).1
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
fn texts_are_cut_to_what_travels() {
    let long = "x".repeat(2 * ERROR_TEXT_MAX);
    let last_attempt = Submit {
        max_attempts: 1,
        ..submit(0)
    };
    let (mut bench, worker, client, assign) = assigned(last_attempt);
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
