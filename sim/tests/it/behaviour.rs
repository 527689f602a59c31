//! What the product does, as a table of numbers: for each seed a hash of every frame that was sent,
//! with who sent it and when, and of every outcome that was delivered.
//!
//! A change that is only of the code's shape leaves the table as it is. One that changes what the
//! product does changes lines; then `UPDATE=1 cargo test --profile checked -p sim --test it behaviour`
//! writes the table anew, and `sim diff` of two versions' traces shows what a seed now does otherwise.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use sim::Plan;
use sim::history::{End, History};
use sim::{Level, Report, Trace, turmoil};

/// Seeds of the table, and how many are looked at unless the environment sets `SIM_SEEDS`.
const FAST: (usize, usize) = (2_000, 100);
/// The same for the level that runs the whole of net.
const TURMOIL: (usize, usize) = (200, 10);
/// Numbers in a line of the table.
const A_LINE: usize = 8;

#[test]
fn the_fast_level_does_what_it_did() {
    compare(Level::Fast, FAST);
}

#[test]
fn the_turmoil_level_does_what_it_did() {
    compare(Level::Turmoil, TURMOIL);
}

fn compare(level: Level, (all, usual): (usize, usize)) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/behaviour")
        .join(level.name());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, table(&hashes(level, all))).expect("the table can be written");
        return;
    }
    let text = std::fs::read_to_string(&file).expect("the table is there");
    let wanted: Vec<u64> = text
        .split_whitespace()
        .map(|number| u64::from_str_radix(number, 16).expect("a number"))
        .collect();
    assert_eq!(wanted.len(), all, "{}", file.display());
    let count = std::env::var_os("SIM_SEEDS").map_or(usual, |_| all);
    let found = hashes(level, count);
    let differ: Vec<usize> = (0..count)
        .filter(|seed| found[*seed] != wanted[*seed])
        .collect();
    assert!(
        differ.is_empty(),
        "{} of {count} seeds of the {} level do something else: {:?}",
        differ.len(),
        level.name(),
        &differ[..differ.len().min(20)],
    );
}

/// The hash of each of the first `count` seeds, found on two threads.
fn hashes(level: Level, count: usize) -> Vec<u64> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut some = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return some;
            }
            some.push((seed, hash(level, seed as u64)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let other = scope.spawn(some);
        let mut all = some();
        all.extend(other.join().expect("no thread panicked"));
        all
    });
    all.sort_unstable();
    all.into_iter().map(|(_, hash)| hash).collect()
}

fn hash(level: Level, seed: u64) -> u64 {
    hash_of(level, &level.plan(seed)).0
}

/// A number for what a plan makes of the product, and what it counted.
pub(crate) fn hash_of(level: Level, plan: &Plan) -> (u64, Report) {
    let mut trace = Trace::of_frames();
    let (report, history) = match level {
        Level::Fast => sim::run_with_history(plan, &mut trace),
        Level::Turmoil => turmoil::run_with_history(plan, &mut trace),
    };
    assert_eq!(report.failure, None, "seed {}", plan.seed);
    let frames = trace.frames_hash().expect("it was asked for");
    (sim::rng::mix(frames, &[outcomes(&history)]), report)
}

/// One number for all that clients were given.
fn outcomes(history: &History) -> u64 {
    history.deliveries.iter().fold(0, |hash, delivery| {
        let charged = match delivery.end {
            End::Completed { charged } => u64::from(charged),
            End::Rejected { retries, .. } => u64::from(retries),
            End::Failed { history, .. } | End::Lost { history } => history as u64,
            End::Expired { may_have_run } | End::Cancelled { may_have_run } => {
                u64::from(may_have_run)
            }
        };
        let numbers = [delivery.at, delivery.life as u64, delivery.seq, charged];
        let bytes = delivery
            .end
            .name()
            .bytes()
            .chain(delivery.payload.iter().copied());
        let numbers = numbers.into_iter().chain(bytes.map(u64::from));
        numbers.fold(hash, |hash, number| sim::rng::mix(hash, &[number]))
    })
}

fn table(hashes: &[u64]) -> String {
    let mut text = String::new();
    for line in hashes.chunks(A_LINE) {
        let words: Vec<String> = line.iter().map(|hash| format!("{hash:016x}")).collect();
        writeln!(text, "{}", words.join(" ")).expect("a string takes everything");
    }
    text
}
