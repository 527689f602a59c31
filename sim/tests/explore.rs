//! Every interleaving of a small world, as far as half a minute goes. More:
//! `cargo run --release -p sim -- explore --depth 14 --faults 2`.

use sim::explore::{Limits, Variant, explore};

/// Goes through a variant, and says how many states there were.
fn all_hold(variant: Variant, depth: u32, faults: u32) {
    let limits = Limits {
        depth,
        faults,
        ticks: 2,
    };
    match explore(variant, limits) {
        Ok(counts) => println!("{variant:?}, {depth} choices, {faults} faults: {counts}"),
        Err(found) => panic!("{variant:?}: {found}"),
    }
}

#[test]
fn a_small_world_keeps_its_promises_whatever_happens() {
    all_hold(Variant::Plain, 9, 1);
    all_hold(Variant::Plain, 5, 2);
    all_hold(Variant::Plain, 20, 0);
}

#[test]
fn variants_of_the_small_world_keep_their_promises() {
    all_hold(Variant::AtMostOnce, 8, 1);
    all_hold(Variant::TinyQueue, 8, 1);
    all_hold(Variant::Cancel, 8, 1);
    all_hold(Variant::DrainWorker, 6, 1);
    all_hold(Variant::DrainManager, 6, 1);
}

#[test]
fn failover_keeps_the_promises() {
    all_hold(Variant::Failover, 9, 1);
}
