//! How often the manager allocates for a task, with what its messages bring.

mod steady;

use steady::{QUEUED, Steady, WORKERS};

const TASKS: u64 = 64_000;

fn main() {
    println!("allocations a task  queued  workers");
    for (queued, workers) in QUEUED.into_iter().flat_map(|q| WORKERS.map(|w| (q, w))) {
        let mut steady = Steady::new(queued, workers);
        // Tables grow at first.
        steady.run(TASKS);
        let counted = allocation_counter::measure(|| steady.run(TASKS));
        let each = counted.count_total as f64 / TASKS as f64;
        println!("{each:18.2} {queued:7} {workers:8}");
    }
}
