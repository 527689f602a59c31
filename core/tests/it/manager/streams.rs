//! Tasks with streams, as the manager sees them.

use argon_core::ids::{Attempt, ConnId, Epoch, PeerId};
use argon_core::manager::ManagerConfig;
use argon_core::message::{
    Assign, FromClient, Hello, MAGIC, ReportedAttempt, Role, StreamAttempt, StreamSubmit, Submit,
    ToClient, ToManager, ToPeer, ToWorker, Version,
};
use argon_core::stream::{Direction, StreamId, StreamSpec};

use super::bench::{Bench, name, submit, task};

fn bench(change: impl FnOnce(&mut ManagerConfig)) -> Bench {
    Bench::with(|config| {
        config.inner.version = Version::STREAMS;
        change(config);
    })
}

fn greet(bench: &mut Bench, peer: u64, role: Role, version: Version) -> ConnId {
    let conn = bench.connect();
    let hello = Hello {
        magic: MAGIC,
        version,
        role,
        peer: PeerId(peer),
        connection: 1,
        session: None,
        name: name(&format!("peer-{peer}")),
    };
    bench.greet(conn, hello).expect("it is let in");
    conn
}

fn client(bench: &mut Bench) -> ConnId {
    greet(bench, 1, Role::Client, Version::STREAMS)
}

fn worker(bench: &mut Bench, peer: u64, running: Vec<ReportedAttempt>) -> ConnId {
    let conn = greet(bench, peer, Role::Worker { capacity: 4 }, Version::STREAMS);
    bench.report(conn, running, vec![]);
    bench.grant(conn, 4);
    conn
}

fn output(window: u32) -> StreamSpec {
    StreamSpec {
        id: StreamId(1),
        direction: Direction::FromAttempt,
        window,
    }
}

fn submit_streams(submit: Submit, streams: Vec<StreamSpec>, attempt: Option<Attempt>) -> ToManager {
    ToManager::Client(FromClient::SubmitStreams(Box::new(StreamSubmit {
        submit,
        streams,
        attempt,
    })))
}

fn assigned(bench: &mut Bench, conn: ConnId) -> Vec<Assign> {
    let bodies = bench.bodies(conn).into_iter();
    let assign = |body| match body {
        ToPeer::Worker(ToWorker::AssignStreams(said)) => Some(said.assign),
        _ => None,
    };
    bodies.filter_map(assign).collect()
}

#[test]
fn who_speaks_an_earlier_version_has_no_streams() {
    let mut bench = bench(|_| {});
    let conn = greet(&mut bench, 1, Role::Client, Version::RUNS);
    bench.send(conn, submit_streams(submit(0), vec![output(4_096)], None));
    assert_eq!(bench.closed, [conn]);
}

#[test]
fn streams_that_no_task_can_have_are_refused() {
    let twice = vec![output(4_096), output(8_192)];
    let too_many = (0..9).map(|id| StreamSpec {
        id: StreamId(id),
        ..output(4_096)
    });
    for streams in [vec![], twice, too_many.collect()] {
        let mut bench = bench(|_| {});
        let conn = client(&mut bench);
        bench.send(conn, submit_streams(submit(0), streams, None));
        assert_eq!(bench.closed, [conn]);
    }
}

#[test]
fn windows_count_in_flight() {
    let mut bench = bench(|config| config.in_flight_bytes = 100_000);
    let (client, worker) = (client(&mut bench), worker(&mut bench, 2, vec![]));
    for seq in 0..3 {
        bench.send(
            client,
            submit_streams(submit(seq), vec![output(65_536)], None),
        );
    }
    // There is room for tasks for as long as there is any.
    let first = assigned(&mut bench, worker);
    assert_eq!(first.len(), 2);
    bench.complete(worker, &first[0]);
    assert_eq!(assigned(&mut bench, worker).len(), 1);
}

#[test]
fn an_attempt_whose_streams_the_client_has_left_does_not_go_on() {
    let attempt = |number| Attempt {
        epoch: Epoch(6),
        number,
    };
    let (left, current) = (attempt(3), attempt(5));
    for client_first in [false, true] {
        let mut bench = bench(|_| {});
        let mut again = submit(0);
        again.may_have_run = true;
        let said = submit_streams(again, vec![output(4_096)], Some(current));
        let running = |attempt| ReportedAttempt {
            attempt,
            task: task(1, 0),
        };
        let client = client(&mut bench);
        if client_first {
            bench.send(client, said.clone());
        }
        // The one that was left is the first to come.
        let other = worker(&mut bench, 2, vec![running(left)]);
        let worker = worker(&mut bench, 3, vec![running(current)]);
        if !client_first {
            bench.send(client, said);
        }
        let kill = ToPeer::Worker(ToWorker::Kill { attempt: left });
        assert!(bench.bodies(other).contains(&kill), "{client_first}");
        let go_on = ToPeer::Worker(ToWorker::StreamAgain { attempt: current });
        assert!(bench.bodies(worker).contains(&go_on), "{client_first}");
        let begun = StreamAttempt {
            seq: 0,
            attempt: current,
            again: true,
        };
        let said = bench.bodies(client);
        let begun = ToPeer::Client(ToClient::StreamAttempt(begun));
        assert!(said.contains(&begun), "{client_first} {said:?}");
    }
}
