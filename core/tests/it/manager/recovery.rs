//! What the manager does when peers go, stay away, come back, or are replaced, each as one short
//! scene.

use super::bench::{Bench, ms, submit};

#[test]
fn a_paused_manager_does_not_take_its_own_absence_for_silence() {
    let mut bench = Bench::new();
    let worker = bench.worker(1, 1);
    let client = bench.client(3);
    bench.submit(client, submit(0));
    bench.assigned(worker);
    // Nobody calls the manager for ten seconds.
    bench.now = bench.now + ms(10_000);
    bench.advance(ms(1));
    assert!(bench.closed.is_empty());
}
