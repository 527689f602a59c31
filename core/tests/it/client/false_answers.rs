//! Managers that say what cannot be, or are restarted again and again: the client believes
//! nothing of tasks that they were not sent, and its tasks end all the same.

use std::time::Duration;

use super::bench::*;
use argon_core::event::CloseReason;
use argon_core::ids::Epoch;
use argon_core::limits::{LEASE_MAX, LEASE_MIN, RESUME_TIMEOUT};
use argon_core::link::LinkInput;
use argon_core::message::{Control, FromManager, ToClient, Version, Welcome};
use argon_core::task::{Outcome, RejectReason, TaskSpec};
use argon_core::time::Nanos;

const SECOND: Duration = Duration::from_secs(1);

fn once() -> TaskSpec {
    TaskSpec {
        at_most_once: true,
        ..task()
    }
}

fn lost() -> Outcome {
    Outcome::Lost {
        history: Vec::new(),
    }
}

/// Time passes with a manager that answers heartbeats.
fn pass_alive(bench: &mut Bench, span: Duration) {
    for _ in 0..span.as_millis() / 400 {
        bench.pass(MS * 400);
        bench.pong();
    }
}

#[test]
fn no_manager_ends_a_task_that_none_was_sent() {
    for body in [outcome(1), reject(1, RejectReason::TooLarge)] {
        let mut bench = Bench::up();
        bench.submit(task());
        bench.settle();
        bench.submit(task());
        let conn = bench.conn.expect("a connection");
        let ended = matches!(body, FromManager::Role(ToClient::Outcome { .. }));
        bench.link(LinkInput::Received {
            conn,
            message: body.into(),
        });
        assert_eq!(bench.delivered, []);
        assert_eq!(
            bench.closed.len(),
            usize::from(ended),
            "a late rejection may be"
        );
    }
}

#[test]
fn leases_are_kept_within_reason() {
    for (said, kept) in [
        (Nanos::ZERO, LEASE_MIN),
        (Nanos(u64::MAX - 1), LEASE_MAX),
        (Nanos::from(LEASE_MAX), LEASE_MAX),
        (Nanos::from(SECOND), SECOND),
    ] {
        let mut bench = Bench::new();
        let conn = bench.conn.expect("a connection");
        bench.link(LinkInput::Connected { conn });
        bench.receive(FromManager::Control(Control::Welcome(Welcome {
            version: Version::FIRST,
            epoch: Epoch(1),
            resumed: false,
            lease: said,
            payload_max: 1,
        })));
        bench.pass(kept - MS);
        assert_eq!(bench.closed, [], "{said:?}");
        bench.pass(MS * 2);
        assert_eq!(bench.closed, [CloseReason::Silent], "{said:?}");
    }
}

/// Restarts of the manager, each `apart` after the last, until the first task ends.
fn restarts_until_it_ends(bench: &mut Bench, apart: Duration) -> (u32, Vec<(u64, Outcome)>) {
    for restarts in 0..100 {
        let delivered = bench.delivered();
        if !delivered.is_empty() {
            return (restarts, delivered);
        }
        pass_alive(bench, apart);
        bench.cut();
        bench.pass(SECOND);
        bench.welcome(2 + u64::from(restarts), false);
    }
    panic!("it never ends");
}

#[test]
fn managers_that_are_restarted_for_ever_end_what_may_run_only_once() {
    for (apart, most) in [(MS * 400, 31), (SECOND * 2, 17), (SECOND * 20, 3)] {
        let mut bench = Bench::up();
        let seq = bench.submit(once());
        bench.settle();
        let (restarts, delivered) = restarts_until_it_ends(&mut bench, apart);
        assert_eq!(delivered, [(seq, lost())]);
        assert!(restarts <= most, "{restarts} restarts {apart:?} apart");
        assert!(restarts > 2, "one restart is not enough");
    }
}

#[test]
fn what_a_manager_keeps_for_longer_was_claimed_and_is_not_given_up() {
    let mut bench = Bench::up();
    let seq = bench.submit(once());
    bench.settle();
    for epoch in (2..40).step_by(2) {
        for (epoch, held) in [(epoch, SECOND * 20), (epoch + 1, RESUME_TIMEOUT + SECOND)] {
            pass_alive(&mut bench, held);
            bench.cut();
            assert_eq!(submitted(&bench.welcome(epoch, false)), [(seq, true)]);
        }
    }
    assert_eq!(bench.delivered, []);
}

#[test]
fn what_may_run_again_is_never_given_up() {
    let mut bench = Bench::up();
    let seq = bench.submit(task());
    bench.settle();
    for epoch in 2..100 {
        pass_alive(&mut bench, SECOND * 2);
        bench.cut();
        assert_eq!(submitted(&bench.welcome(epoch, false)), [(seq, true)]);
    }
    assert_eq!(bench.delivered, []);
}
