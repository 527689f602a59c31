//! Tasks that wait as a run, where what becomes of them is not decided by what comes next to them.

use argon_core::ids::ConnId;
use argon_core::message::*;
use argon_core::payload::Payload;

use super::bench::*;

/// A client that speaks in runs.
fn client(bench: &mut Bench) -> ConnId {
    let conn = bench.connect();
    let hello = Hello {
        magic: MAGIC,
        version: VERSION,
        role: Role::Client,
        peer: argon_core::ids::PeerId(1),
        connection: 1,
        session: None,
        name: name("client"),
    };
    assert!(bench.greet(conn, hello).is_some());
    conn
}

/// Submits so many tasks from this number on.
fn submit_run(bench: &mut Bench, conn: ConnId, first: u64, count: usize) {
    let run = Run {
        first: submit(first),
        sizes: vec![1; count],
    };
    let message = Message {
        body: ToManager::Client(FromClient::SubmitRun(run.into())),
        payload: Payload::from(vec![7; count]),
    };
    bench.send(conn, message);
}

#[test]
fn nothing_of_a_run_is_left_when_its_client_leaves() {
    let mut bench = Bench::new();
    bench.worker(10, 1);
    let conn = client(&mut bench);
    submit_run(&mut bench, conn, 0, 20);
    assert_eq!(bench.manager.load().in_runs, 19);
    bench.send(conn, ToManager::Goodbye);
    assert_eq!(bench.manager.load().queued, 0);
}

/// A rejection is not acknowledged: whoever submits such a task again may not know that it may have run.
#[test]
fn what_may_have_run_is_known_again_in_a_run() {
    let mut bench = Bench::new();
    let conn = client(&mut bench);
    let again = Submit {
        may_have_run: true,
        ..submit(30)
    };
    bench.submit(conn, again);
    while bench.rejects(conn).is_empty() {
        bench.advance_alive(ms(1_000), &[conn]);
    }
    let worker = bench.worker(10, 1);
    bench.grant(worker, 0);
    submit_run(&mut bench, conn, 30, 5);
    let load = bench.manager.load();
    assert_eq!(
        (load.queued, load.in_runs),
        (5, 0),
        "each is looked at alone"
    );
}
