//! Heartbeats of a peer's connection: what they say, what they measure, and what silence is.

use super::bench::*;
use argon_core::event::CloseReason;
use argon_core::ids::ConnId;
use argon_core::limits::LEASE;
use argon_core::link::{LinkEvent, LinkInput, LinkOutput};
use argon_core::message::{Control, FromManager, ToManager, ToWorker, Welcome};
use argon_core::protocol_error::ProtocolError;
use argon_core::time::{Instant, Nanos, WakeReason};
use std::time::Duration;

#[test]
fn four_times_in_a_lease_it_says_what_it_has_received() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    assert_eq!(bench.wait(), Duration::ZERO, "the first at once");
    assert_eq!(bench.due().reason, WakeReason::Heartbeat);
    let first = bench.ping(conn);
    assert_eq!(first.received, 0);
    assert_eq!(bench.wait(), LEASE / 4);
    bench.pong(conn, first.nonce, 0);
    assert_eq!(
        bench.say(conn, FromManager::Role(nothing())),
        Some(LinkEvent::Message(nothing().into())),
        "what is not the link's own business"
    );
    let second = bench.ping(conn);
    assert_eq!(second.received, 1, "heartbeats do not count");
    assert!(second.nonce != first.nonce);
    assert_eq!(bench.wait(), LEASE / 4);
}

#[test]
fn counted_is_what_was_sent_on_this_connection_and_taken_in_there() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    assert_eq!((bench.link.sent(), bench.link.confirmed()), (0, 0));
    for _ in 0..3 {
        bench.send();
    }
    bench.out.clear();
    assert_eq!((bench.link.sent(), bench.link.confirmed()), (3, 0));
    let beat = bench.ping(conn);
    assert_eq!(bench.pong(conn, beat.nonce, 2), None);
    assert_eq!((bench.link.sent(), bench.link.confirmed()), (3, 2));
    assert_eq!(bench.pong(conn, beat.nonce, 1), None);
    assert_eq!(bench.link.confirmed(), 2, "it is not taken back");
    bench.closed(conn);
    assert_eq!((bench.link.sent(), bench.link.confirmed()), (0, 0));
    bench.up();
    assert_eq!((bench.link.sent(), bench.link.confirmed()), (0, 0));
}

#[test]
fn who_claims_to_have_received_what_was_never_sent_is_left() {
    let mut bench = Bench::new(2);
    let conn = bench.up();
    bench.send();
    bench.out.clear();
    assert_eq!(bench.pong(conn, 0, 1), None);
    let event = bench.pong(conn, 0, 2);
    let reason = CloseReason::Protocol(ProtocolError::Overcounted);
    assert_eq!(event, ours(reason));
    assert_eq!(bench.only(), LinkOutput::Close { conn, reason });
    assert_eq!(bench.dial().1, 1, "for another");
}

#[test]
fn the_round_trip_is_measured_from_a_ping_to_its_own_answer_and_smoothed() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    assert_eq!(bench.link.round_trip(), None);
    let first = bench.ping(conn);
    bench.now = bench.now + ms(8);
    bench.pong(conn, first.nonce + 1, 0);
    assert_eq!(bench.link.round_trip(), None, "that is no answer to it");
    bench.pong(conn, first.nonce, 0);
    assert_eq!(bench.link.round_trip(), Some(ms(8)));
    bench.now = bench.now + ms(8);
    bench.pong(conn, first.nonce, 0);
    assert_eq!(bench.link.round_trip(), Some(ms(8)), "it was answered");
    let second = bench.ping(conn);
    bench.now = bench.now + ms(16);
    bench.pong(conn, second.nonce, 0);
    assert_eq!(bench.link.round_trip(), Some(ms(9)), "an eighth is new");
    bench.closed(conn);
    assert_eq!(bench.link.round_trip(), Some(ms(9)), "it is remembered");
}

#[test]
fn a_late_answer_is_one_to_the_ping_that_asked() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    let first = bench.ping(conn);
    bench.ping(conn);
    bench.now = bench.now + ms(100);
    bench.pong(conn, first.nonce, 0);
    assert_eq!(bench.link.round_trip(), Some(LEASE / 4 + ms(100)));
}

#[test]
fn a_ping_can_be_had_sooner_if_none_is_under_way() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    let beat = bench.ping(conn);
    bench.now = bench.now + ms(1);
    bench.link.ping_now(bench.now);
    assert!(bench.wait() > ms(100), "one is under way");
    bench.pong(conn, beat.nonce, 0);
    bench.link.ping_now(bench.now);
    assert_eq!(bench.wait(), Duration::ZERO);
    bench.ping(conn);
    assert_eq!(bench.wait(), LEASE / 4, "the next in its time");
}

/// A message that asks for nothing.
fn nothing() -> ToWorker {
    ToWorker::AckResults { attempts: vec![] }
}

/// Lets the link wake until something happens; says what and when.
fn until_event(bench: &mut Bench) -> (LinkEvent<ToWorker>, Instant) {
    for _ in 0..100 {
        if let Some(event) = bench.wake() {
            return (event, bench.now);
        }
    }
    panic!("nothing happens");
}

#[test]
fn a_manager_that_reads_later_is_not_silent() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    bench.send();
    let end = bench.now + 3 * LEASE;
    let mut said = bench.now;
    while bench.now < end {
        assert_eq!(bench.wake(), None);
        if bench.now.since(said) >= LEASE / 4 {
            said = bench.now;
            assert_eq!(bench.say(conn, FromManager::Control(Control::Paused)), None);
        }
    }
    bench.out.clear();
    let beat = bench.ping(conn);
    assert_eq!(beat.received, 0, "it is not counted");
    let (event, at) = until_event(&mut bench);
    assert_eq!(Some(event), ours(CloseReason::Silent));
    assert_eq!(at, said + LEASE);
}

#[test]
fn silence_of_a_lease_ends_the_connection() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    let up = bench.now;
    let (event, at) = until_event(&mut bench);
    assert_eq!(Some(event), ours(CloseReason::Silent));
    assert_eq!(at, up + LEASE);
    let reason = CloseReason::Silent;
    assert_eq!(bench.out.back(), Some(&LinkOutput::Close { conn, reason }));
    bench.out.clear();
    assert_eq!(bench.wait(), Duration::ZERO, "it is dialled again at once");
    assert_eq!(bench.dial().1, 0);
}

#[test]
fn whatever_is_heard_counts_as_hearing_and_so_does_progress() {
    type Hear = fn(&mut Bench, ConnId);
    let ways: [Hear; 3] = [
        |bench, conn| {
            bench.say(conn, FromManager::Role(nothing()));
        },
        |bench, conn| {
            bench.pong(conn, 77, 0);
        },
        |bench, conn| {
            bench.input(LinkInput::Progress { conn });
        },
    ];
    for hear in ways {
        let mut bench = Bench::new(1);
        let conn = bench.up();
        let up = bench.now;
        while bench.now < up + ms(1_500) {
            assert_eq!(bench.wake(), None);
        }
        let heard = bench.now;
        hear(&mut bench, conn);
        assert_eq!(until_event(&mut bench).1, heard + LEASE);
    }
}

#[test]
fn a_manager_that_answers_but_takes_nothing_in_is_silent() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    bench.now = bench.now + ms(1);
    bench.send();
    let sent = bench.now;
    while bench.now < sent + ms(1_500) {
        assert_eq!(bench.wake(), None);
        bench.pong(conn, 77, 0);
    }
    assert_eq!(until_event(&mut bench).1, sent + LEASE);
}

#[test]
fn a_link_that_stood_still_does_not_call_its_manager_silent() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    bench.ping(conn);
    let heard = bench.now;
    bench.now = bench.now + ms(60_000);
    let awake = bench.link.awake(bench.now);
    let asked = (heard + LEASE / 4).as_nanos();
    assert_eq!(awake.as_nanos(), asked, "it was to be woken for its ping");
    assert_eq!(bench.timeout(), None);
    let (_, silent) = until_event(&mut bench);
    assert_eq!(silent, heard + ms(60_000) + LEASE * 3 / 4);
    // What it sends is counted from when it is awake, too.
    let mut bench = Bench::new(1);
    bench.up();
    bench.now = bench.now + ms(60_000);
    bench.timeout();
    bench.send();
    let sent = bench.now;
    bench.expect();
    let (_, silent) = until_event(&mut bench);
    assert_eq!(silent, sent + LEASE);
}

#[test]
fn the_lease_is_the_managers_but_not_to_be_absurd() {
    for (said, meant) in [
        (Nanos::from(ms(400)), ms(400)),
        (Nanos::from(ms(20)), ms(20)),
        (Nanos::from(ms(19)), ms(20)),
        (Nanos::ZERO, ms(20)),
        (Nanos::NONE, LEASE),
    ] {
        let mut bench = Bench::new(1);
        let lease = said;
        let conn = bench.up_with(Welcome {
            lease,
            ..welcome(7)
        });
        let up = bench.now;
        assert_eq!(bench.link.lease(), meant);
        bench.ping(conn);
        assert_eq!(bench.wait(), meant / 4);
        assert_eq!(until_event(&mut bench).1, up + meant);
    }
}

#[test]
fn bytes_that_move_on_another_connection_are_not_heard() {
    let mut bench = Bench::new(1);
    bench.up();
    let up = bench.now;
    while bench.now < up + ms(1_000) {
        assert_eq!(bench.wake(), None);
    }
    let conn = ConnId(99);
    bench.input(LinkInput::Progress { conn });
    assert_eq!(until_event(&mut bench).1, up + LEASE);
}

/// What it says of what it has received is true of what it has said before.
#[test]
fn a_heartbeat_does_not_overtake_what_was_said_before_it() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    assert!(bench.send());
    bench.timeout();
    let said: Vec<bool> = bench
        .out
        .drain(..)
        .map(|output| match output {
            LinkOutput::Send { message, .. } => matches!(message.body, ToManager::Ping(_)),
            other => panic!("on {conn:?}: {other:?}"),
        })
        .collect();
    assert_eq!(said, [false, true]);
}
