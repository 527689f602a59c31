//! The rules of the client one by one: what goes in, and exactly what comes out.

use std::time::Duration;

use super::bench::*;
use argon_core::client::SubmitError;
use argon_core::event::CloseReason;
use argon_core::link::LinkInput;
use argon_core::machine::Machine as _;
use argon_core::message::{FromClient, FromManager, ToClient, ToManager};
use argon_core::protocol_error::ProtocolError;
use argon_core::task::{Outcome, Priority, RejectReason, TaskSpec};
use argon_core::time::Nanos;

#[test]
fn a_task_goes_out_when_the_manager_is_there_and_ends_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.submit(task()), 0);
    assert_eq!(bench.settle(), []);
    let sent = bench.welcome(1, false);
    assert_eq!(sent[0], ack(0));
    assert_eq!(submitted(&sent), [(0, false)]);
    assert_eq!(bench.receive(outcome(0)), [ack(1)]);
    assert_eq!(bench.delivered(), [(0, completed())]);
    assert_eq!(bench.receive(outcome(0)), [ack(1)], "a repeated outcome");
    assert_eq!(bench.delivered(), []);
}

#[test]
fn acknowledgements_name_what_the_floor_does_not_say() {
    let mut bench = Bench::up();
    for _ in 0..3 {
        bench.submit(task());
    }
    bench.settle();
    assert_eq!(bench.receive(outcome(2)), [acks(0, &[2])]);
    assert_eq!(bench.receive(outcome(0)), [ack(1)]);
    assert_eq!(bench.receive(outcome(1)), [ack(3)]);
}

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
fn too_large_for_the_manager_ends_at_once() {
    let mut bench = Bench::new();
    bench.submit(sized(PAYLOAD_MAX as usize + 1));
    bench.submit(task());
    let sent = bench.welcome(1, false);
    assert_eq!(submitted(&sent), [(1, false)]);
    let rejected = Outcome::Rejected {
        reason: RejectReason::TooLarge,
        retries: 0,
        similar: Vec::new(),
    };
    assert_eq!(bench.delivered(), [(0, rejected.clone())]);
    bench.receive(reject(1, RejectReason::TooLarge));
    assert_eq!(bench.delivered(), [(1, rejected)]);
}

#[test]
fn a_rejected_task_comes_back_later_and_gives_up_after_its_retries() {
    let mut bench = Bench::up();
    bench.submit(TaskSpec {
        retries: Some(2),
        ..task()
    });
    assert_eq!(submitted(&bench.settle()), [(0, false)]);
    for _ in 0..2 {
        let hint = Duration::from_millis(30);
        let sent = bench.receive(FromManager::Role(ToClient::Reject {
            seq: 0,
            reason: RejectReason::QueueFull,
            retry_after: hint.into(),
            may_have_run: false,
            similar: Vec::new(),
        }));
        assert_eq!(sent, []);
        assert_eq!(bench.pass(hint - MS), [], "the hint is honoured");
        assert_eq!(submitted(&bench.pass(MS * 101)), [(0, false)]);
    }
    bench.receive(reject(0, RejectReason::QueueFull));
    let rejected = Outcome::Rejected {
        reason: RejectReason::QueueFull,
        retries: 2,
        similar: Vec::new(),
    };
    assert_eq!(bench.delivered(), [(0, rejected)]);
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
fn after_a_cut_the_manager_is_asked_what_it_has() {
    let mut bench = Bench::up();
    for _ in 0..3 {
        bench.submit(task());
    }
    bench.settle();
    bench.receive(outcome(0));
    bench.cut();
    bench.submit(task());
    let sent = bench.welcome(1, true);
    assert_eq!(sent[..2], [ack(1), resume(&[1, 2])]);
    assert_eq!(submitted(&sent), [(3, false)]);
    let sent = bench.receive(FromManager::Role(ToClient::Unknown { seqs: vec![2, 9] }));
    assert_eq!(submitted(&sent), [(2, false)], "never started, so fresh");
}

#[test]
fn after_a_restart_everything_unanswered_may_have_run_and_goes_first() {
    for (epoch, resumed) in [(2, false), (1, false), (2, true)] {
        let mut bench = Bench::up();
        for _ in 0..3 {
            bench.submit(task());
        }
        bench.settle();
        bench.receive(outcome(1));
        bench.cut();
        bench.submit(TaskSpec {
            priority: Priority::MOST,
            ..task()
        });
        let sent = bench.welcome(epoch, resumed);
        let expected = [(0, true), (2, true), (3, false)];
        assert_eq!(submitted(&sent), expected, "epoch {epoch}");
        assert_eq!(sent[0], ack(0));
        // Unknown does not wash the mark off.
        bench.cut();
        bench.welcome(epoch, true);
        let sent = bench.receive(FromManager::Role(ToClient::Unknown { seqs: vec![0] }));
        assert_eq!(submitted(&sent), [(0, true)]);
    }
}

#[test]
fn cancel_is_at_once_for_what_waits_and_a_request_for_what_was_sent() {
    let mut bench = Bench::new();
    bench.submit(task());
    bench.cancel(0);
    let cancelled = |may_have_run| Outcome::Cancelled { may_have_run };
    assert_eq!(bench.delivered(), [(0, cancelled(false))]);
    bench.welcome(1, false);
    bench.submit(task());
    bench.settle();
    assert_eq!(
        bench.cancel(1),
        [ToManager::Client(FromClient::Cancel { seq: 1 })]
    );
    assert_eq!(bench.cancel(1), [], "once is enough");
    assert_eq!(bench.delivered(), []);
    bench.receive(outcome(1));
    assert_eq!(bench.delivered(), [(1, completed())], "the manager decides");
}

#[test]
fn a_cancel_while_cut_off_is_sent_on_resuming() {
    let mut bench = Bench::up();
    bench.submit(task());
    bench.submit(task());
    bench.settle();
    bench.cut();
    assert_eq!(bench.cancel(0), []);
    let sent = bench.welcome(1, true);
    assert_eq!(
        sent,
        [
            ack(0),
            resume(&[0, 1]),
            ToManager::Client(FromClient::Cancel { seq: 0 })
        ]
    );
    bench.receive(FromManager::Role(ToClient::Unknown { seqs: vec![0] }));
    let may_have_run = false;
    assert_eq!(
        bench.delivered(),
        [(0, Outcome::Cancelled { may_have_run })]
    );
    // A manager that forgot must find what may be running before it can end it.
    bench.cut();
    bench.cancel(1);
    let sent = bench.welcome(2, false);
    assert_eq!(submitted(&sent), [(1, true)]);
    assert_eq!(
        sent.last(),
        Some(&ToManager::Client(FromClient::Cancel { seq: 1 }))
    );
    bench.receive(reject(1, RejectReason::QueueFull));
    let may_have_run = true;
    assert_eq!(
        bench.delivered(),
        [(1, Outcome::Cancelled { may_have_run })]
    );
}

#[test]
fn deadlines_travel_as_what_is_left() {
    let mut bench = Bench::new();
    bench.submit(until(MS * 100));
    bench.pass(MS * 30);
    let sent = bench.welcome(1, false);
    let Some(ToManager::Client(FromClient::Submit(submit))) = sent.last() else {
        panic!("{sent:?}");
    };
    assert_eq!(submit.deadline, (MS * 70).into());
    // While it is heard, the manager keeps the deadline.
    bench.pass(MS * 500);
    assert_eq!(bench.delivered(), []);
}

#[test]
fn cut_off_the_client_keeps_deadlines_itself() {
    let mut bench = Bench::up();
    let sent = bench.submit(until(MS * 100));
    bench.settle();
    bench.cut();
    let waiting = bench.submit(until(MS * 100));
    bench.pass(MS * 99);
    assert_eq!(bench.delivered(), []);
    bench.pass(MS);
    let expired = |may_have_run| Outcome::Expired { may_have_run };
    assert_eq!(bench.delivered(), [(waiting, expired(false))]);
    // Nobody answers the dialling: it goes on, and the task ends after the lease.
    bench.pass(LEASE - MS);
    assert_eq!(bench.delivered(), []);
    bench.pass(MS);
    assert_eq!(bench.delivered(), [(sent, expired(true))]);
    bench.pass(Duration::from_secs(3));
    let sent = bench.welcome(1, true);
    assert_eq!(
        sent,
        [ToManager::Client(FromClient::Cancel { seq: 0 }), ack(2)]
    );
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
fn no_workers_sends_the_client_to_the_next_manager_but_not_round_and_round() {
    let mut bench = Bench::with(|config| config.addresses = 2);
    bench.welcome(1, false);
    bench.submit(task());
    bench.settle();
    assert_eq!(bench.address, 0);
    bench.receive(reject(0, RejectReason::NoWorkers));
    bench.pass(MS * 20);
    assert_eq!(bench.closed, [CloseReason::MovedOn]);
    assert_eq!(bench.address, 1);
    let sent = bench.welcome(2, false);
    assert_eq!(submitted(&sent), [(0, false)], "what was refused is fresh");
    bench.receive(reject(0, RejectReason::NoWorkers));
    bench.pass(MS * 900);
    assert_eq!(bench.address, 1, "every manager was tried");
    bench.pass(MS * 120);
    assert_eq!(bench.address, 0);
}

#[test]
fn what_is_not_for_clients_closes_the_connection() {
    let mut bench = Bench::up();
    bench.submit(task());
    bench.settle();
    bench.receive(FromManager::Misdirected);
    assert_eq!(
        bench.closed,
        [CloseReason::Protocol(ProtocolError::Misdirected)]
    );
    bench.pass(Duration::from_secs(1));
    let sent = bench.welcome(1, true);
    assert_eq!(sent, [ack(0), resume(&[0])], "and it comes back");
}

#[test]
fn the_important_goes_first_and_past_a_full_window() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.submit(TaskSpec {
            priority: Priority::LOW,
            ..task()
        });
    }
    let sent = bench.welcome(1, false);
    assert_eq!(submitted(&sent).len(), bench.client.window());
    assert_eq!(bench.client.window(), 64);
    bench.submit(TaskSpec {
        priority: Priority::HIGH,
        ..task()
    });
    assert_eq!(submitted(&bench.settle()), [(100, false)]);
    assert_eq!(submitted(&bench.settle()), [], "a lesser one has to wait");
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
