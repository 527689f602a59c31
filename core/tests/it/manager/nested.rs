//! Tasks that have tasks of their own: what becomes of those when a process is gone, and what is
//! said when every process waits for some.

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::{ConnId, PeerId, PoolProcess, SlotId};
use argon_core::message::{FromClient, FromWorker, ToManager};
use argon_core::status::ManagerStatus;
use std::time::Duration;

const GONE: ToManager = ToManager::Worker(FromWorker::Gone {
    slot: SlotId(0),
    life: 7,
});

fn process(worker: u64, slot: u32) -> ToManager {
    ToManager::Client(FromClient::Within(PoolProcess {
        worker: PeerId(worker),
        slot: SlotId(slot),
        life: 7,
    }))
}

/// A client in a process of a worker.
fn within(bench: &mut Bench, peer: u64, worker: u64, slot: u32) -> ConnId {
    let client = bench.client(peer);
    bench.send(client, process(worker, slot));
    client
}

fn status(bench: &Bench) -> ManagerStatus {
    bench.manager.status(bench.now, 0).manager
}

#[test]
fn what_a_process_submitted_ends_with_it() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let parent = bench.client(8);
    bench.submit(parent, submit(0));
    let child = within(&mut bench, 9, 1, 0);
    bench.submit(child, submit(0));
    bench.close(child);
    assert_eq!((status(&bench).queued, status(&bench).clients), (1, 2));
    bench.send(worker, GONE);
    let after = status(&bench);
    assert_eq!((after.queued, after.clients), (0, 1));
    assert_eq!(after.assigned, 1, "what runs for others goes on");
}

#[test]
fn attempts_of_what_a_process_submitted_are_killed() {
    let mut bench = Bench::new();
    let parent = bench.worker(1, 1);
    let other = bench.worker(2, 1);
    let child = within(&mut bench, 9, 1, 0);
    bench.submit(child, submit(0));
    let at_parent = bench.assigned(parent);
    let at_other = bench.assigned(other);
    let assign = at_parent.iter().chain(&at_other).next().expect("assigned");
    bench.send(parent, GONE);
    let killed: Vec<_> = [bench.kills(parent), bench.kills(other)].concat();
    assert_eq!(killed, [assign.attempt]);
}

#[test]
fn nobody_else_ends_with_a_process() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let _stranger = bench.worker(2, 1);
    let outside = bench.client(8);
    let beside = within(&mut bench, 9, 1, 1);
    let elsewhere = within(&mut bench, 10, 2, 0);
    let moved = within(&mut bench, 11, 1, 0);
    bench.send(moved, process(2, 0));
    bench.send(worker, GONE);
    assert_eq!(status(&bench).clients, 4);
    for (seq, client) in [outside, beside, elsewhere, moved].into_iter().enumerate() {
        bench.submit(client, submit(seq as u64));
    }
}

#[test]
fn a_deadlock_is_said_once() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let all_wait = |bench: &Bench| {
        let said = bench.events.iter();
        said.filter(|event| matches!(event, Event::AllWait { .. }))
            .count()
    };
    let first = within(&mut bench, 9, 1, 0);
    let second = within(&mut bench, 10, 1, 1);
    let third = bench.client(11);
    bench.submit(first, submit(0));
    let all = [worker, first, second, third];
    bench.advance_alive(Duration::from_secs(5), &all);
    assert_eq!((status(&bench).waiting, all_wait(&bench)), (1, 0));
    bench.submit(second, submit(0));
    bench.advance_alive(Duration::from_secs(5), &all);
    assert_eq!((status(&bench).waiting, all_wait(&bench)), (2, 1));
    assert!(bench.events.contains(&Event::AllWait { processes: 2 }));
    bench.send(second, ToManager::Client(FromClient::Cancel { seq: 0 }));
    for assign in bench.assigned(worker) {
        bench.complete(worker, &assign);
    }
    bench.advance_alive(Duration::from_secs(5), &all);
    assert_eq!((status(&bench).waiting, all_wait(&bench)), (0, 1));
}

#[test]
fn what_clients_claim_is_no_more_than_there_are_places() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 2);
    let mut all = vec![worker];
    for (peer, slot, life) in [(9, 0, 1), (10, 0, 2), (11, 2, 1), (12, u32::MAX, 1)] {
        let client = bench.client(peer);
        bench.send(
            client,
            ToManager::Client(FromClient::Within(PoolProcess {
                worker: PeerId(1),
                slot: SlotId(slot),
                life,
            })),
        );
        bench.submit(client, submit(0));
        all.push(client);
    }
    bench.advance_alive(Duration::from_secs(5), &all);
    assert_eq!(status(&bench).waiting, 1);
}

#[test]
fn a_process_has_room_for_sixteen_clients() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    for peer in 0..17 {
        within(&mut bench, 100 + peer, 1, 0);
    }
    bench.send(worker, GONE);
    assert_eq!(status(&bench).clients, 1, "one is as other clients are");
}

#[test]
fn processes_are_written_as_they_are_read() {
    let process = PoolProcess {
        worker: PeerId(0x0123_4567_89ab_cdef),
        slot: SlotId(11),
        life: u64::MAX,
    };
    let text = process.to_string();
    assert_eq!(text, "0123456789abcdef.11.18446744073709551615");
    assert_eq!(text.parse(), Ok(process));
    for bad in [
        "",
        "1",
        "1.2",
        "x.1.1",
        "1.-1.1",
        "1.1.1.1",
        "1.4294967296.1",
    ] {
        assert!(bad.parse::<PoolProcess>().is_err(), "{bad}");
    }
}
