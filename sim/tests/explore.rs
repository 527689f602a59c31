//! Every order of events of small worlds, up to a depth. `SIM_DEPTH` goes deeper.

use std::fmt::Write as _;

use sim::explore::{Setup, explore, follow};

fn depth(usual: u32) -> u32 {
    std::env::var("SIM_DEPTH").map_or(usual, |text| text.parse().expect("SIM_DEPTH: a number"))
}

fn all_hold(faults: u32, depth: u32) {
    let mut text = String::new();
    for setup in Setup::all(faults) {
        let found = explore(&setup, depth);
        let _ = writeln!(
            text,
            "{}: {} states, {} steps, {} endings",
            setup.name, found.states, found.steps, found.endings
        );
        if let Some((path, broken)) = found.broken {
            let (log, _) = follow(&setup, &path);
            let words: Vec<String> = path.iter().map(ToString::to_string).collect();
            panic!(
                "{}\n{}: {broken}\n  sim explore --world {} --faults {faults} --follow {}",
                log.join("\n"),
                setup.name,
                setup.name,
                words.join(",")
            );
        }
        assert!(found.states > 100, "{text}");
    }
    println!("depth {depth}, {faults} faults\n{text}");
}

#[test]
fn without_faults_every_order_keeps_the_promises() {
    all_hold(0, depth(7));
}

#[test]
fn one_fault_anywhere_breaks_no_promise() {
    all_hold(1, depth(6));
}

#[test]
fn two_faults_anywhere_break_no_promise() {
    all_hold(2, depth(5));
}
