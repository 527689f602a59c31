//! The manager's rules for the corners, each as one short scene.

use super::bench::{Bench, ms, submit};
use argon_core::Machine;
use argon_core::manager::ManagerInput;
use argon_core::message::{FromClient, Message, ToManager};
use argon_core::time::Nanos;

/// Decisions are made once a batch, but a batch that does not fit is no full queue while workers
/// have nothing to do, and does not make anybody wait.
#[test]
fn a_batch_larger_than_the_queue_is_taken_while_workers_are_free() {
    let mut bench = Bench::with(|config| config.queue_tasks = 1);
    let worker = bench.worker(1, 4);
    let client = bench.client(2);
    // A first task makes run times known.
    bench.submit(client, submit(0));
    let first = bench.assigned(worker);
    bench.advance(ms(50));
    bench.complete(worker, &first[0]);
    let patient = |seq| argon_core::message::Submit {
        max_wait: Nanos(1),
        ..submit(seq)
    };
    for seq in 1..5 {
        let message = Message {
            body: ToManager::Client(FromClient::Submit(patient(seq))),
            payload: bytes::Bytes::new().into(),
        };
        let (conn, now) = (client, bench.now);
        let input = ManagerInput::Received { conn, message };
        bench.manager.handle_input(now, input);
    }
    bench.submit(client, submit(5));
    bench.submit(client, submit(6));
    assert_eq!(bench.assigned(worker).len(), 4);
    let refused = bench.rejects(client);
    assert_eq!(
        refused.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        [6],
        "four run, one waits"
    );
}
