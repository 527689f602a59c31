//! Who is let in by the manager, who is shown out, and what the log hears of it.

use std::time::Duration;

use super::bench::*;
use argon_core::access::{Access, KeyRole};
use argon_core::event::{CloseReason, Event};
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::limits::{
    CAPACITY_MAX, CLIENTS_MAX, HANDSHAKE, IDS_MAX, OBSERVERS_MAX, PAYLOAD_MAX_CEILING,
    PENDING_PEERS_MAX, RECONNECT_DELAY_MAX, WORKERS_MAX,
};
use argon_core::machine::Machine as _;
use argon_core::manager::{ConfigError, Manager, ManagerConfig, ManagerInput, ManagerOutput};
use argon_core::message::{
    Beat, Control, FromClient, FromWorker, Hello, MAGIC, RefuseReason, Role, ToManager, ToPeer,
    VERSION, Version,
};
use argon_core::protocol_error::ProtocolError;
use argon_core::time::Instant;

fn hello(peer: u64, connection: u64, role: Role) -> Hello {
    Hello {
        magic: MAGIC,
        version: VERSION,
        role,
        peer: PeerId(peer),
        connection,
        session: None,
        name: name(&format!("p{peer}")),
    }
}

/// Says hello; why it was refused, if it was.
fn refusal(bench: &mut Bench, hello: Hello) -> Option<RefuseReason> {
    let conn = bench.connect();
    bench.send(conn, ToManager::Hello(hello));
    let inbox = bench.inbox(conn);
    let refused = match inbox[0].body {
        ToPeer::Control(Control::Refuse(reason)) => Some(reason),
        _ => None,
    };
    assert_eq!(bench.closed.contains(&conn), refused.is_some());
    if let Some(reason) = refused {
        assert!(bench.events.contains(&Event::PeerRefused {
            conn,
            from: None,
            holder: None,
            reason
        }));
        let reason = CloseReason::Refused(reason);
        let from = None;
        assert!(
            bench
                .events
                .contains(&Event::ConnClosed { conn, from, reason })
        );
    }
    refused
}

#[test]
fn strangers_that_cannot_be_talked_to_are_told_why() {
    let mut bench = Bench::new();
    let client = hello(1, 1, Role::Client);
    let magic = Hello {
        magic: [1; 4],
        ..client.clone()
    };
    assert_eq!(refusal(&mut bench, magic), Some(RefuseReason::BadHello));
    let version = Hello {
        version: Version {
            major: VERSION.major + 1,
            ..VERSION
        },
        ..client
    };
    let reason = RefuseReason::Version(VERSION);
    assert_eq!(refusal(&mut bench, version), Some(reason));
    for (peer, capacity) in [(2, 0), (3, CAPACITY_MAX + 1)] {
        let worker = hello(peer, 1, Role::Worker { capacity });
        let reason = Some(RefuseReason::BadCapacity);
        assert_eq!(refusal(&mut bench, worker), reason, "{capacity}");
    }
    for (peer, capacity) in [(4, 1), (5, CAPACITY_MAX)] {
        let worker = hello(peer, 1, Role::Worker { capacity });
        assert_eq!(refusal(&mut bench, worker), None, "{capacity}");
    }
    assert_eq!(bench.manager.status(bench.now, 0).manager.workers, 2);
}

#[test]
fn an_older_or_repeated_connection_is_refused_and_a_newer_one_takes_over() {
    for role in [Role::Client, Role::Worker { capacity: 1 }] {
        let mut bench = Bench::new();
        let (first, _) = bench.hello(1, 5, role, None, "p1");
        for connection in [4, 5] {
            let reason = Some(RefuseReason::OldConnection);
            assert_eq!(refusal(&mut bench, hello(1, connection, role)), reason);
        }
        assert!(!bench.closed.contains(&first));
        assert_eq!(refusal(&mut bench, hello(1, 6, role)), None);
        assert!(bench.closed.contains(&first));
        let reason = Some(RefuseReason::OldConnection);
        assert_eq!(refusal(&mut bench, hello(1, 6, role)), reason);
    }
}

/// As many connections, clients and workers as may be, and one more.
#[test]
fn there_is_room_for_so_many_and_no_more() {
    let config = ManagerConfig::new(EPOCH);
    let now = Instant::from_nanos(1);
    let mut manager = Manager::new(config, now);
    let mut said = |input| {
        manager.handle_input(now, input);
        std::iter::from_fn(|| manager.poll_output()).collect::<Vec<_>>()
    };
    let closed = |outputs: &[ManagerOutput]| {
        let full = CloseReason::Refused(RefuseReason::Full);
        let is_close = |output: &ManagerOutput| matches!(output, ManagerOutput::Close { reason, .. } if *reason == full);
        outputs.iter().any(is_close)
    };
    for number in 0..PENDING_PEERS_MAX as u64 {
        let conn = ConnId(number);
        assert!(!closed(&said(ManagerInput::Accepted {
            conn,
            from: None,
            access: Access::everything()
        })));
    }
    let conn = ConnId(u64::MAX);
    assert!(closed(&said(ManagerInput::Accepted {
        conn,
        from: None,
        access: Access::everything()
    })));
    // It was not kept: what it says means nothing.
    let message = ToManager::Hello(hello(1, 1, Role::Client)).into();
    assert_eq!(said(ManagerInput::Received { conn, message }), []);
    // One that leaves makes room.
    let conn = ConnId(0);
    said(ManagerInput::Closed { conn });
    let mut next = 1_000_000;
    let mut joins = |role| {
        next += 1;
        let conn = ConnId(next);
        assert!(!closed(&said(ManagerInput::Accepted {
            conn,
            from: None,
            access: Access::everything()
        })));
        let message = ToManager::Hello(hello(next, 1, role)).into();
        !closed(&said(ManagerInput::Received { conn, message }))
    };
    for _ in 0..CLIENTS_MAX {
        assert!(joins(Role::Client));
    }
    assert!(!joins(Role::Client));
    for _ in 0..WORKERS_MAX {
        assert!(joins(Role::Worker { capacity: 1 }));
    }
    assert!(!joins(Role::Worker { capacity: 1 }));
}

#[test]
fn whoever_speaks_out_of_turn_is_shown_out() {
    let mut bench = Bench::new();
    let beat = Beat {
        nonce: 1,
        received: 0,
    };
    let early = bench.connect();
    bench.send(early, ToManager::Ping(beat));
    let goodbye = bench.connect();
    bench.send(goodbye, ToManager::Goodbye);
    let client = bench.client(1);
    bench.send(client, ToManager::Worker(FromWorker::Draining));
    let worker = bench.worker(2, 1);
    bench.send(worker, ToManager::Client(FromClient::Cancel { seq: 1 }));
    let (unreported, _) = bench.hello(3, 1, Role::Worker { capacity: 1 }, None, "w3");
    bench.grant(unreported, 1);
    let again = bench.worker(4, 1);
    bench.report(again, vec![], vec![]);
    let twice = bench.client(5);
    bench.send(twice, ToManager::Hello(hello(5, 2, Role::Client)));
    let (observer, _) = bench.hello(6, 1, Role::Observer, None, "o");
    bench.send(observer, ToManager::Client(FromClient::Cancel { seq: 1 }));
    let attempts = bench.client(8);
    bench.submit(
        attempts,
        argon_core::message::Submit {
            max_attempts: 0,
            ..submit(1)
        },
    );
    let counts = bench.client(9);
    let received = 1;
    bench.send(counts, ToManager::Ping(Beat { nonce: 1, received }));
    assert_eq!(
        bench.closed,
        [
            early, goodbye, client, worker, unreported, again, twice, observer, attempts, counts
        ]
    );
    let by_protocol = |event: &Event| match event {
        Event::ConnClosed {
            reason: CloseReason::Protocol(error),
            ..
        } => Some(*error),
        _ => None,
    };
    let errors: Vec<_> = bench.events.iter().filter_map(by_protocol).collect();
    use ProtocolError as E;
    assert_eq!(
        errors,
        [
            E::BeforeHello,
            E::BeforeHello,
            E::Misdirected,
            E::Misdirected,
            E::BeforeReport,
            E::Misdirected,
            E::SecondHello,
            E::Misdirected,
            E::BadMaxAttempts,
            E::Overcounted,
        ]
    );
    let rude = bench.hello(1, 2, Role::Client, None, "client-1");
    assert!(rude.1.is_some(), "the session itself outlives it");
    let just_fits = vec![1; IDS_MAX];
    bench.send(
        rude.0,
        ToManager::Client(FromClient::Resume { seqs: just_fits }),
    );
    assert!(!bench.closed.contains(&rude.0));
}

#[test]
fn settings_that_cannot_keep_the_promises_are_named() {
    let check = |change: fn(&mut ManagerConfig)| {
        let mut config = ManagerConfig::new(EPOCH);
        change(&mut config);
        config.validate()
    };
    let zero = |change| match check(change) {
        Err(ConfigError::Zero(what)) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(zero(|config| config.queue_tasks = 0), "queue size");
    assert_eq!(zero(|config| config.queue_bytes = 0), "queue bytes");
    assert_eq!(zero(|config| config.in_flight_tasks = 0), "in-flight tasks");
    assert_eq!(zero(|config| config.in_flight_bytes = 0), "in-flight bytes");
    assert_eq!(zero(|config| config.client_tasks = 0), "tasks of a client");
    assert_eq!(zero(|config| config.payload_max = 0), "largest payload");
    let ones = |config: &mut ManagerConfig| {
        config.queue_tasks = 1;
        config.payload_max = PAYLOAD_MAX_CEILING;
        config.reconnect_grace = Duration::ZERO;
    };
    assert_eq!(check(ones), Ok(()));
    assert_eq!(
        check(|config| config.payload_max = PAYLOAD_MAX_CEILING + 1),
        Err(ConfigError::PayloadMax(PAYLOAD_MAX_CEILING + 1))
    );
    let clocks = |change| match check(change) {
        Err(ConfigError::Clocks {
            shorter, longer, ..
        }) => (shorter, longer),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        clocks(|config| config.reconnect_grace = config.lease),
        ("reconnect grace", "lease")
    );
    assert_eq!(
        clocks(|config| config.restart_grace = RECONNECT_DELAY_MAX + HANDSHAKE),
        ("reconnect delay and handshake", "restart grace")
    );
    assert_eq!(
        clocks(|config| config.resume_timeout = config.restart_grace),
        ("restart grace", "resume timeout")
    );
    assert_eq!(
        clocks(|config| config.lease = config.resume_timeout),
        ("lease", "resume timeout")
    );
}

#[test]
fn a_refusal_is_said_before_the_door_is_shut() {
    let now = Instant::from_nanos(1);
    let mut manager = Manager::new(ManagerConfig::new(EPOCH), now);
    let conn = ConnId(1);
    manager.handle_input(
        now,
        ManagerInput::Accepted {
            conn,
            from: None,
            access: Access::everything(),
        },
    );
    let message = ToManager::Hello(hello(1, 1, Role::Worker { capacity: 0 })).into();
    manager.handle_input(now, ManagerInput::Received { conn, message });
    let mut said = std::iter::from_fn(|| manager.poll_output())
        .filter(|output| !matches!(output, ManagerOutput::Notify(_)));
    assert!(matches!(said.next(), Some(ManagerOutput::Send { .. })));
    assert!(matches!(said.next(), Some(ManagerOutput::Close { .. })));
    assert_eq!(said.next(), None);
}

/// Whoever submits may ask how things are, but keeps no operator from seeing everything.
#[test]
fn those_who_only_submit_leave_room_to_observers() {
    let now = Instant::ZERO;
    let mut manager = Manager::new(ManagerConfig::new(Epoch(1)), now);
    let mut next = 0;
    let mut comes_in = |role| {
        let conn = ConnId(next);
        next += 1;
        let access = Access::new([role], None);
        let from = None;
        manager.handle_input(now, ManagerInput::Accepted { conn, from, access });
        let message = ToManager::Hello(hello(next, 1, Role::Observer)).into();
        manager.handle_input(now, ManagerInput::Received { conn, message });
        let mut refused = false;
        while let Some(output) = manager.poll_output() {
            refused |= matches!(output, ManagerOutput::Close { .. });
        }
        !refused
    };
    let guests = (0..OBSERVERS_MAX).filter(|_| comes_in(KeyRole::Submit));
    assert_eq!(guests.count(), OBSERVERS_MAX / 2);
    let observers = (0..OBSERVERS_MAX).filter(|_| comes_in(KeyRole::Observe));
    assert_eq!(observers.count(), OBSERVERS_MAX / 2);
}
