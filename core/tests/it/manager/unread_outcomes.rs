//! Outcomes that clients have yet to acknowledge: all of them come, and they have a bound.

use super::bench::*;
use argon_core::machine::Machine as _;
use argon_core::message::{FromClient, Role, ToManager};

#[test]
fn all_outcomes_come_after_a_reconnect_however_many() {
    const TASKS: u64 = 10_000;
    let mut bench = Bench::new();
    bench.checked = false;
    let (worker, client) = (bench.worker(1, 4_000), bench.client(3));
    for seq in 0..TASKS {
        bench.submit(client, submit(seq));
    }
    // Some were sent before the cut, and are sent again.
    for assign in bench.assigned(worker) {
        bench.complete(worker, &assign);
    }
    bench.close(client);
    loop {
        let assigned = bench.assigned(worker);
        if assigned.is_empty() {
            break;
        }
        for assign in assigned {
            bench.complete(worker, &assign);
        }
    }
    let (client, _) = bench.hello(3, 2, Role::Client, Some(EPOCH), "client-3");
    let mut heard = Vec::new();
    loop {
        let outcomes = bench.outcomes(client);
        if outcomes.is_empty() {
            break;
        }
        // As many as one message may name.
        for part in outcomes.chunks(4_096) {
            let seqs: Vec<u64> = part.iter().map(|(seq, _)| *seq).collect();
            let acks = ToManager::Client(FromClient::AckOutcomes {
                floor: 0,
                seqs: seqs.clone(),
            });
            bench.send(client, acks);
            heard.extend(seqs);
        }
    }
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..TASKS));
    bench.manager.check_invariants();
}
