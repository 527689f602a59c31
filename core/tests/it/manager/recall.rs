//! When tasks are asked back from a worker that has more than it can run: from the moment at which
//! it counts as stuck, which its own progress moves on.

use super::bench::*;
use argon_core::message::Submit;

#[test]
fn a_look_that_was_cut_short_goes_on_where_it_ended() {
    let mut bench = Bench::new();
    let (busy, client) = (bench.worker(1, 1), bench.client(3));
    bench.grant(busy, 2_000);
    // Behind the first, which never ends: one that others can run, below more that they cannot than
    // one look goes over.
    let named = |seq, text| Submit {
        name: name(text),
        ..submit(seq)
    };
    bench.submit(client, named(0, "long"));
    bench.submit(client, named(1, "shared"));
    for seq in 2..1_300 {
        bench.submit(client, named(seq, "own"));
    }
    let assigned = bench.assigned(busy);
    assert_eq!(assigned.len(), 1_300);
    let idle = bench.worker(2, 1);
    bench.capabilities(idle, &["shared"]);
    bench.advance_alive(ms(20), &[busy, client, idle]);
    assert_eq!(bench.recalled(busy), [assigned[1].attempt]);
}
