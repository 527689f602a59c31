//! The rules of the client one by one: what goes in, and exactly what comes out.

use std::time::Duration;

use super::bench::*;
use argon_core::client::SubmitError;
use argon_core::event::CloseReason;
use argon_core::link::LinkInput;
use argon_core::machine::Machine as _;
use argon_core::message::{FromManager, ToClient, ToManager};
use argon_core::task::{Outcome, RejectReason, TaskSpec};
use argon_core::time::Nanos;

#[test]
fn submit_refuses_what_can_never_be_sent_or_not_now() {
    let mut bench = Bench::with(|config| {
        config.tasks = 2;
        config.bytes = 100;
        config.payload_max = 2_000;
    });
    let now = bench.now;
    let too_large = bench.client.submit(now, sized(2_001));
    let expected = SubmitError::TooLarge {
        bytes: 2_001,
        limit: 2_000,
    };
    assert_eq!(too_large, Err(expected));
    let bad = TaskSpec {
        max_attempts: 17,
        ..task()
    };
    let attempts = bench.client.submit(now, bad);
    assert_eq!(attempts, Err(SubmitError::Attempts(17)));
    // One is let in whatever its size, then nothing until it is gone.
    bench.submit(sized(500));
    assert_eq!(bench.client.submit(now, task()), Err(SubmitError::Full));
    bench.welcome(1, false);
    bench.receive(outcome(0));
    bench.submit(task());
    bench.submit(task());
    assert_eq!(bench.client.submit(now, task()), Err(SubmitError::Full));
    let limit = PAYLOAD_MAX as usize;
    let bytes = limit + 1;
    let expected = SubmitError::TooLarge { bytes, limit };
    assert_eq!(bench.client.submit(now, sized(bytes)), Err(expected));
    bench.stop();
    assert_eq!(bench.client.submit(now, task()), Err(SubmitError::Stopped));
}

#[test]
fn what_may_have_run_is_tried_for_ever_and_never_ends_as_rejected() {
    let mut bench = Bench::with(|config| config.retries = Some(0));
    bench.welcome(1, false);
    bench.submit(task());
    bench.settle();
    for round in 1..20 {
        bench.receive(FromManager::Role(ToClient::Reject {
            seq: 0,
            reason: RejectReason::Draining,
            retry_after: Nanos::ZERO,
            may_have_run: round == 1,
            similar: Vec::new(),
        }));
        let mut sent = Vec::new();
        for _ in 0..6 {
            sent.extend(bench.pass(Duration::from_secs(1)));
            let conn = bench.conn.expect("up");
            bench.link(LinkInput::Progress { conn });
        }
        assert_eq!(submitted(&sent), [(0, true)], "round {round}");
    }
    assert_eq!(bench.delivered(), []);
    bench.receive(reject(0, RejectReason::TooLarge));
    let lost = Outcome::Lost {
        history: Vec::new(),
    };
    assert_eq!(bench.delivered(), [(0, lost)]);
}

#[test]
fn stopping_gives_everything_up_honestly() {
    let mut bench = Bench::up();
    bench.submit(task());
    bench.submit(task());
    bench.settle();
    bench.receive(reject(1, RejectReason::QueueFull));
    bench.submit(task());
    assert_eq!(bench.stop(), [ToManager::Goodbye]);
    let cancelled = |may_have_run| Outcome::Cancelled { may_have_run };
    assert_eq!(
        bench.delivered(),
        [
            (0, cancelled(true)),
            (1, cancelled(false)),
            (2, cancelled(false))
        ]
    );
    assert!(bench.stopped);
    assert_eq!(bench.closed, [CloseReason::Stopping]);
    assert_eq!(bench.client.poll_timeout(), None);
    bench.stopped = false;
    assert_eq!(bench.stop(), []);
    assert!(!bench.stopped, "once");
}

#[test]
fn refusals_shrink_the_window_to_what_the_manager_holds() {
    let mut bench = Bench::new();
    for _ in 0..1_000 {
        bench.submit(task());
    }
    bench.welcome(1, false);
    for seq in 16..64 {
        bench.receive(reject(seq, RejectReason::QueueFull));
    }
    assert_eq!(bench.client.window(), 16);
    assert_eq!(bench.client.in_flight(), 16);
    for seq in 0..16 {
        bench.receive(reject(seq, RejectReason::Displaced));
    }
    assert_eq!(bench.client.window(), 1);
    assert_eq!(bench.client.in_flight(), 0, "a pause before the next try");
    bench.pass(MS * 25);
    assert_eq!(bench.client.in_flight(), 1, "one task tries the ground");
}
