//! How a peer comes to its manager and comes back: what it asks for, what it says first, where and
//! when it tries again, and what it makes of facts that come late, twice or not at all.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::time::Duration;

use super::bench::*;
use argon_core::event::{CloseReason, LinkDown};
use argon_core::ids::{ConnId, Epoch};
use argon_core::limits::{HANDSHAKE, LEASE, RECONNECT_DELAY_FIRST, RECONNECT_DELAY_MAX};
use argon_core::link::{LinkEvent, LinkInput, LinkOutput};
use argon_core::message::{
    Beat, Control, FromManager, FromWorker, Hello, MAGIC, RefuseReason, Role, ToManager, ToWorker,
    VERSION, Version, Welcome,
};
use argon_core::name::Name;
use argon_core::protocol_error::ProtocolError;
use argon_core::time::{Deadline, Instant, WakeReason};
use proptest::prelude::*;

const BEFORE: Duration = Duration::from_nanos(1);

/// What comes of a call that changes nothing for the machine.
const NOTHING: Option<LinkEvent<ToWorker>> = None;

#[test]
fn it_dials_at_once_and_says_who_it_is_and_nothing_else_before_it_is_let_in() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.wait(), Duration::ZERO);
    assert!(!bench.send() && bench.out.is_empty());
    let (conn, address) = bench.dial();
    assert_eq!((conn, address), (ConnId(0), 0));
    assert!(!bench.send() && bench.out.is_empty());
    let hello = bench.greet(conn);
    let expected = Hello {
        magic: MAGIC,
        version: VERSION,
        role: Role::Worker { capacity: 3 },
        peer: PEER,
        connection: 0,
        session: None,
        name: Name::new("peer").unwrap(),
    };
    assert_eq!(hello, expected);
    assert!(!bench.send() && bench.out.is_empty());
    assert!(!bench.link.is_up());
    assert_eq!((bench.link.session(), bench.link.sent()), (None, 0));
    assert_eq!(bench.link.lease(), LEASE);
    bench.say(conn, FromManager::Control(Control::Welcome(welcome(7))));
    assert!(bench.link.is_up());
    assert_eq!(bench.link.session(), Some(Epoch(7)));
    assert!(bench.send());
    let message = ToManager::Worker(FromWorker::Draining).into();
    assert_eq!(bench.only(), LinkOutput::Send { conn, message });
}

#[test]
fn the_next_connection_has_a_higher_number_and_names_the_session() {
    let mut bench = Bench::new(1);
    let first = bench.up();
    bench.closed(first);
    let (conn, _) = bench.dial();
    assert!(conn > first);
    let hello = bench.greet(conn);
    assert_eq!(hello.connection, conn.0);
    assert_eq!(hello.session, Some(Epoch(7)));
    bench.say(conn, FromManager::Control(Control::Welcome(welcome(8))));
    assert_eq!(bench.link.session(), Some(Epoch(8)));
}

#[test]
fn a_handshake_has_so_long() {
    for greeted in [false, true] {
        let mut bench = Bench::new(2);
        let (conn, _) = bench.dial();
        if greeted {
            bench.now = bench.now + ms(100);
            bench.greet(conn);
        }
        let begun = Instant::from_nanos(1_000_000_000);
        let due = Deadline {
            at: begun + HANDSHAKE,
            reason: WakeReason::Handshake,
        };
        assert_eq!(bench.link.poll_timeout(), Some(due));
        bench.now = Instant::from_nanos(due.at.as_nanos() - 1);
        assert_eq!(bench.timeout(), None, "there is time left");
        assert_eq!(bench.out, []);
        let reason = CloseReason::HandshakeTimeout;
        assert_eq!(bench.wake(), ours(reason));
        assert_eq!(bench.only(), LinkOutput::Close { conn, reason });
        assert_eq!(bench.dial().1, 1, "the next is tried");
    }
}

#[test]
fn called_too_early_it_does_nothing() {
    let mut bench = Bench::new(1);
    let conn = bench.up();
    bench.closed(conn);
    let (conn, _) = bench.dial();
    bench.closed(conn);
    assert!(bench.wait() > Duration::ZERO, "it backs off");
    assert_eq!(bench.timeout(), None);
    assert_eq!(bench.out, []);
    let conn = bench.up();
    bench.ping(conn);
    assert_eq!(bench.timeout(), None);
    assert_eq!(bench.out, [], "the next ping is not due");
}

/// A fact about a connection that is not, or no longer, the one.
#[test]
fn facts_about_other_connections_mean_nothing() {
    let stranger = ConnId(99);
    let facts = |conn| {
        [
            LinkInput::Connected { conn },
            LinkInput::Received {
                conn,
                message: FromManager::Control(Control::Welcome(welcome(3))).into(),
            },
            LinkInput::Received {
                conn,
                message: FromManager::Control(Control::Refuse(RefuseReason::Full)).into(),
            },
            LinkInput::Received {
                conn,
                message: FromManager::Control(Control::Pong(Beat {
                    nonce: 1,
                    received: 9,
                }))
                .into(),
            },
            LinkInput::Received {
                conn,
                message: FromManager::Role(ToWorker::AckResults { attempts: vec![] }).into(),
            },
            LinkInput::Progress { conn },
            LinkInput::Closed { conn },
        ]
    };
    // Waiting, dialling, greeting, up, stopped.
    for stage in 0..5 {
        let mut bench = Bench::new(1);
        if stage > 0 {
            let (conn, _) = bench.dial();
            if stage > 1 {
                bench.greet(conn);
            }
            if stage > 2 {
                bench.say(conn, FromManager::Control(Control::Welcome(welcome(7))));
                bench.ping(conn);
                bench.send();
                bench.out.clear();
            }
            if stage > 3 {
                bench.link.stop(bench.now, &mut bench.out);
                bench.out.clear();
            }
        }
        bench.now = bench.now + ms(1);
        let before = (bench.link.is_up(), bench.link.poll_timeout());
        for fact in facts(stranger) {
            let what = format!("{fact:?} in stage {stage}");
            assert_eq!(bench.input(fact), None, "{what}");
            assert_eq!(bench.out, [], "{what}");
            let after = (bench.link.is_up(), bench.link.poll_timeout());
            assert_eq!(after, before, "{what}");
        }
        assert_eq!(bench.link.confirmed(), 0);
    }
}

#[test]
fn only_a_welcome_of_its_major_version_lets_it_in() {
    let version = Version {
        major: VERSION.major + 1,
        minor: 0,
    };
    let bodies = [
        FromManager::Misdirected,
        FromManager::Role(ToWorker::AckResults { attempts: vec![] }),
        FromManager::Control(Control::Welcome(Welcome {
            version,
            ..welcome(7)
        })),
        FromManager::Control(Control::Pong(Beat {
            nonce: 0,
            received: 0,
        })),
    ];
    for body in bodies {
        let mut bench = Bench::new(2);
        let (conn, _) = bench.dial();
        bench.greet(conn);
        let reason = CloseReason::Protocol(ProtocolError::NoWelcome);
        assert_eq!(bench.say(conn, body), ours(reason));
        assert_eq!(bench.only(), LinkOutput::Close { conn, reason });
        assert!(!bench.link.is_up());
        assert_eq!(bench.link.session(), None);
        assert_eq!(bench.dial().1, 1);
    }
}

/// An end of a connection, and the event that tells of it.
fn refuse(bench: &mut Bench, reason: RefuseReason) {
    let (conn, _) = bench.dial();
    bench.greet(conn);
    let event = bench.say(conn, FromManager::Control(Control::Refuse(reason)));
    assert_eq!(event, Some(LinkEvent::Refused(reason)));
    let reason = CloseReason::Refused(reason);
    assert_eq!(bench.only(), LinkOutput::Close { conn, reason });
}

#[test]
fn a_refusal_is_told_and_waits_before_it_is_tried_again() {
    let mut bench = Bench::new(1);
    for _ in 0..20 {
        refuse(&mut bench, RefuseReason::Full);
        assert!(bench.wait() >= RECONNECT_DELAY_FIRST / 2);
    }
    assert!(bench.wait() >= RECONNECT_DELAY_MAX / 2, "it backs off");
}

#[test]
fn every_manager_is_tried_in_its_turn_whatever_the_others_say() {
    // Each manager is away, closes as it is greeted, or refuses: none keeps the next from its turn.
    for managers in 1..5 {
        for ways in 0..3_usize.pow(managers as u32) {
            let mut bench = Bench::new(managers);
            let mut dialled = Vec::new();
            for _ in 0..3 * managers {
                let (conn, address) = bench.dial();
                dialled.push(address);
                match ways / 3_usize.pow(address as u32) % 3 {
                    0 => {
                        let event = bench.closed(conn);
                        assert_eq!(event, Some(LinkEvent::Down(LinkDown::Unreachable)));
                    }
                    1 => {
                        bench.greet(conn);
                        bench.closed(conn);
                    }
                    _ => {
                        bench.greet(conn);
                        bench.say(
                            conn,
                            FromManager::Control(Control::Refuse(RefuseReason::Full)),
                        );
                        bench.out.clear();
                    }
                }
            }
            let in_turn: Vec<usize> = (0..managers).cycle().take(3 * managers).collect();
            assert_eq!(dialled, in_turn, "{managers} managers, {ways}");
        }
    }
}

#[test]
fn a_cut_is_mended_at_once_but_a_door_that_shuts_again_is_not_hammered() {
    let mut bench = Bench::new(2);
    let conn = bench.up();
    let event = bench.closed(conn);
    assert_eq!(event, Some(LinkEvent::Down(LinkDown::Closed)));
    assert_eq!(bench.wait(), Duration::ZERO);
    let (conn, address) = bench.dial();
    assert_eq!(address, 0, "with the same manager");
    // Up, and closed again within the time: that counts as a failure.
    bench.greet(conn);
    bench.say(conn, FromManager::Control(Control::Welcome(welcome(7))));
    bench.now = bench.now + (RECONNECT_DELAY_MAX - BEFORE);
    bench.closed(conn);
    let (conn, address) = bench.dial();
    assert_eq!(address, 1);
    // Up for so long: that was a success.
    bench.greet(conn);
    bench.say(conn, FromManager::Control(Control::Welcome(welcome(7))));
    bench.now = bench.now + RECONNECT_DELAY_MAX;
    bench.closed(conn);
    assert_eq!(bench.wait(), Duration::ZERO);
    assert_eq!(bench.dial().1, 1);
}

proptest! {
    /// After a round without success it waits: half of a ceiling at least, which doubles with
    /// each round up to a second; the rest is chance.
    #[test]
    fn the_wait_doubles_with_each_round_up_to_a_second(addresses in 1_usize..4, seed: u64) {
        let mut bench = Bench::seeded(addresses, seed);
        for failures in 1..=30 * addresses {
            let (conn, _) = bench.dial();
            bench.closed(conn);
            let wait = bench.wait();
            match failures.checked_sub(addresses) {
                None => prop_assert_eq!(wait, Duration::ZERO),
                Some(beyond) => {
                    let doublings = (beyond / addresses).min(10) as u32;
                    let ceiling = RECONNECT_DELAY_FIRST * (1 << doublings);
                    let ceiling = ceiling.min(RECONNECT_DELAY_MAX);
                    prop_assert!(wait >= ceiling / 2 && wait <= ceiling, "{wait:?}, {failures}");
                }
            }
        }
        prop_assert!(bench.wait() >= RECONNECT_DELAY_MAX / 2);
    }
}

#[test]
fn a_crowd_does_not_come_back_at_the_same_moment() {
    let waits: std::collections::BTreeSet<Duration> = (0..20)
        .map(|seed| {
            let mut bench = Bench::seeded(1, seed);
            let (conn, _) = bench.dial();
            bench.closed(conn);
            bench.wait()
        })
        .collect();
    assert!(waits.len() > 15);
}

#[test]
fn it_can_be_sent_on_to_the_next_manager() {
    for managers in [2, 3] {
        let mut bench = Bench::new(managers);
        for turn in 0..5 {
            assert_eq!(bench.link.move_on(bench.now, &mut bench.out), NOTHING);
            let (conn, address) = bench.dial();
            assert_eq!(address, turn % managers);
            if turn % 2 == 0 {
                bench.greet(conn);
                bench.say(conn, FromManager::Control(Control::Welcome(welcome(7))));
            }
            let reason = CloseReason::MovedOn;
            let event = bench.link.move_on(bench.now, &mut bench.out);
            assert_eq!(event, ours(reason));
            assert_eq!(bench.only(), LinkOutput::Close { conn, reason });
            assert_eq!(bench.wait(), Duration::ZERO);
        }
    }
    let mut bench = Bench::new(1);
    bench.up();
    assert_eq!(bench.link.move_on(bench.now, &mut bench.out), NOTHING);
    assert!(bench.link.is_up() && bench.out.is_empty(), "there is none");
}

#[test]
fn closed_by_its_machine_it_comes_back() {
    let reason = CloseReason::Silent;
    let mut bench = Bench::new(2);
    let close = |bench: &mut Bench, reason| bench.link.close(bench.now, reason, &mut bench.out);
    assert_eq!(close(&mut bench, reason), None, "nothing is open");
    assert_eq!(bench.out, []);
    let conn = bench.up();
    assert_eq!(close(&mut bench, reason), ours(reason));
    assert_eq!(bench.only(), LinkOutput::Close { conn, reason });
    assert_eq!(bench.wait(), Duration::ZERO);
    let (conn, address) = bench.dial();
    assert_eq!(address, 0);
    let reason = CloseReason::Protocol(ProtocolError::Misdirected);
    assert_eq!(close(&mut bench, reason), ours(reason));
    assert_eq!(bench.only(), LinkOutput::Close { conn, reason });
    assert_eq!(bench.dial().1, 1, "not to one that talks nonsense");
}

#[test]
fn stopped_it_says_goodbye_and_stays_closed() {
    let reason = CloseReason::Stopping;
    // Waiting, dialling, up.
    for stage in 0..3 {
        let mut bench = Bench::new(2);
        let conn = match stage {
            0 => ConnId(0),
            1 => bench.dial().0,
            _ => bench.up(),
        };
        bench.link.stop(bench.now, &mut bench.out);
        let goodbye = LinkOutput::Send {
            conn,
            message: ToManager::Goodbye.into(),
        };
        let close = LinkOutput::Close { conn, reason };
        let expected: &[LinkOutput] = match stage {
            0 => &[],
            1 => &[close],
            _ => &[goodbye, close],
        };
        assert_eq!(bench.out, expected);
        bench.out.clear();
        assert_eq!(bench.link.poll_timeout(), None);
        assert!(!bench.link.is_up());
        bench.now = bench.now + ms(60_000);
        assert_eq!(bench.timeout(), None);
        assert_eq!(bench.closed(conn), None);
        let again = CloseReason::Silent;
        assert_eq!(bench.link.close(bench.now, again, &mut bench.out), NOTHING);
        assert_eq!(bench.link.move_on(bench.now, &mut bench.out), NOTHING);
        bench.link.stop(bench.now, &mut bench.out);
        assert!(!bench.send() && bench.out.is_empty());
        assert_eq!(bench.link.poll_timeout(), None);
    }
}
