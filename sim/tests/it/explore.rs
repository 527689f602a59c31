//! Every interleaving of a small world, as far as half a minute goes in a debug build. More:
//! `cargo run --release -p sim -- explore --depth 11 --faults 2`.

use sim::explore::{Choice, Limits, Variant, explore, replay};

/// Goes through a variant, and says how many states there were. `at_least` notices when a change
/// of the simulator makes the world smaller than it was thought to be.
fn all_hold(variant: Variant, depth: u32, faults: u32, at_least: u64) {
    let limits = Limits {
        depth,
        faults,
        ticks: 2,
    };
    match explore(variant, limits) {
        Ok(counts) => {
            println!("{variant:?}, {depth} choices, {faults} faults: {counts}");
            assert!(counts.states >= at_least, "{variant:?}: {counts}");
        }
        Err(found) => panic!("{variant:?}: {found}"),
    }
}

/// Without faults, to the very end of all that can happen.
#[test]
fn without_faults_every_order_completes_every_task_once() {
    all_hold(Variant::Plain, 40, 0, 200);
    all_hold(Variant::SlowPool, 40, 0, 200);
}

#[test]
fn a_small_world_keeps_its_promises_whatever_goes_wrong() {
    all_hold(Variant::Plain, 8, 1, 3_000);
    all_hold(Variant::Plain, 5, 2, 2_000);
}

#[test]
fn variants_of_the_small_world_keep_their_promises() {
    all_hold(Variant::AtMostOnce, 7, 1, 1_500);
    all_hold(Variant::TinyQueue, 7, 1, 1_500);
    all_hold(Variant::Cancel, 7, 1, 1_500);
    all_hold(Variant::SlowPool, 7, 1, 1_500);
}

#[test]
fn drains_keep_the_promises() {
    all_hold(Variant::DrainWorker, 6, 1, 1_500);
    all_hold(Variant::DrainManager, 6, 1, 1_500);
}

#[test]
fn failover_keeps_the_promises() {
    all_hold(Variant::Failover, 8, 1, 3_000);
}

/// Paths on which a promise was once broken.
#[test]
fn paths_of_mended_defects_hold() {
    // A client that moved on to a manager without workers was kept waiting there for ever.
    holds(Variant::Failover, "2>,crash0,2<,restart0");
}

fn holds(variant: Variant, path: &str) {
    let path: Result<Vec<Choice>, _> = path.split(',').map(str::parse).collect();
    let (trace, wrong) = replay(variant, &path.expect("choices"));
    assert_eq!(wrong, None, "\n{trace}");
}
