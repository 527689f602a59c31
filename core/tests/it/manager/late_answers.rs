//! Rare corners of the manager: attempts given up on that answer after all, workers that say
//! things twice, and what a reconnect starts anew.

use super::bench::*;
use argon_core::event::{CloseReason, Event};
use argon_core::ids::{Attempt, Epoch};
use argon_core::limits::{HANDSHAKE, IDS_MAX};
use argon_core::message::{FromClient, ReportedAttempt, Role, ToManager, ToPeer, ToWorker};

const OLD: Epoch = Epoch(3);
const WORKER: Role = Role::Worker { capacity: 1 };

#[test]
fn a_stranger_has_so_long_to_say_hello() {
    let mut bench = Bench::new();
    let conn = bench.connect();
    bench.advance(HANDSHAKE - ms(1));
    assert_eq!(bench.closed, []);
    bench.advance(ms(1));
    assert_eq!(bench.closed, [conn]);
    let reason = CloseReason::HandshakeTimeout;
    let from = None;
    let closed = Event::ConnClosed { conn, from, reason };
    assert!(bench.events.contains(&closed));
    // Whoever was let in has the lease.
    let client = bench.client(1);
    bench.advance(HANDSHAKE + ms(1));
    assert!(!bench.closed.contains(&client));
}

#[test]
fn many_results_are_acknowledged_in_parts() {
    let mut bench = Bench::new();
    let (worker, _) = bench.hello(1, 1, WORKER, None, "w");
    let client = bench.client(7);
    let floor = 10_000;
    bench.send(
        client,
        ToManager::Client(FromClient::AckOutcomes {
            floor,
            seqs: vec![],
        }),
    );
    for (count, sizes) in [(IDS_MAX, vec![IDS_MAX]), (IDS_MAX + 1, vec![IDS_MAX, 1])] {
        let (worker, _) = bench.hello(1, 2 + count as u64, WORKER, None, "w");
        let finished = (0..count as u64).map(|number| ReportedAttempt {
            attempt: Attempt { epoch: OLD, number },
            task: task(7, number),
        });
        bench.report(worker, vec![], finished.collect());
        let parts = bench.bodies(worker).into_iter().map(|body| match body {
            ToPeer::Worker(ToWorker::AckResults { attempts }) => attempts.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(parts.collect::<Vec<_>>(), sizes);
    }
    assert!(bench.closed.contains(&worker));
}
