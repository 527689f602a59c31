//! `max_wait`: how long a task may wait for its start, wherever it waits.

use super::bench::*;
use argon_core::message::Submit;
use argon_core::task::RejectReason;
use argon_core::time::Nanos;

fn patient(seq: u64, called: &str, max_wait: u64) -> Submit {
    Submit {
        name: name(called),
        max_wait: Nanos::from(ms(max_wait)),
        ..submit(seq)
    }
}

#[test]
fn a_manager_that_wakes_up_late_sends_out_nothing_that_is_too_late() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    for seq in 1..3 {
        bench.submit(client, patient(seq, "work", 300 * seq));
    }
    let first = bench.assigned(worker);
    // It stood still, and reads what came meanwhile before it looks at the clock.
    bench.now = bench.now + ms(300);
    bench.complete(worker, &first[0]);
    assert_eq!(bench.rejects(client), [(1, RejectReason::TooSlow)]);
    assert_eq!(bench.assigned(worker)[0].task.seq, 2);
}
