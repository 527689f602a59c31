//! How fast the simulator is: `cargo run --release -p sim --example speed [THREADS]`.
//!
//! Two kinds of runs: a steady cluster without faults, and whatever seeds draw that has about 500
//! tasks. All checks are on. Where the system says how much processor time was spent (Linux), the
//! figures are per second of that on one core, so that it does not matter what else goes on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sim::options::{MS, S};
use sim::plan::Plan;
use sim::{Report, Trace, run, scenario};

/// 8 workers of 4 slots, 4 clients, 500 tasks of 1 to 10 ms.
fn steady(seed: u64) -> Plan {
    let mut options = scenario::cluster(8, 4, 4);
    options.heal_at = S;
    options.brief_quiet = true;
    let tasks = scenario::backlog(options.client_hosts(), 100 * MS, 125, &(MS..10 * MS));
    let mut plan = scenario::plan(options, tasks, vec![]);
    plan.seed = seed;
    plan
}

fn measure(what: &str, threads: u32, plans: &[Plan]) {
    let next = AtomicU64::new(0);
    let total = Mutex::new((Report::default(), 0_u64));
    let (started, spent) = (Instant::now(), processor_seconds());
    let span = Duration::from_secs(5);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while started.elapsed() < span {
                    let number = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let report = run(&plans[number % plans.len()], &mut Trace::off());
                    assert_eq!(report.failure, None);
                    let mut total = total.lock().expect("no thread panicked");
                    total.0.add(&report);
                    total.1 += 1;
                }
            });
        }
    });
    let (seconds, unit) = match (spent, processor_seconds()) {
        (Some(before), Some(after)) => (after - before, "processor time"),
        _ => (started.elapsed().as_secs_f64(), "real time"),
    };
    let (report, runs) = total.into_inner().expect("no thread panicked");
    println!(
        "{what}: {:.0} runs of {} tasks, {:.0} tasks, {:.1} M events, {:.0} virtual seconds \
         a second of {unit}",
        runs as f64 / seconds,
        report.submitted / runs.max(1),
        report.submitted as f64 / seconds,
        report.events as f64 / seconds / 1e6,
        report.virtual_time as f64 / 1e9 / seconds,
    );
}

/// Processor time of all threads so far, in seconds.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which is in parentheses, the 12th and 13th are ticks of 10 ms.
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks = fields.skip(11).take(2).map(|text| text.parse::<f64>().ok());
    ticks.sum::<Option<f64>>().map(|ticks| ticks / 100.0)
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let threads = threads.unwrap_or(2);
    let plans: Vec<Plan> = (0..200).map(steady).collect();
    measure("steady", threads, &plans);
    let drawn = (0..20_000).map(Plan::from_seed);
    let plans: Vec<Plan> = drawn
        .filter(|plan| (450..550).contains(&plan.tasks.len()))
        .take(400)
        .collect();
    measure("drawn", threads, &plans);
}
