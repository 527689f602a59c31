//! The promises that are figures: scaling, goodput, waits, clocks. All in virtual time.

use sim::history::History;
use sim::options::{MS, Plan, S};
use sim::scenario::{self, Measured, percentile};
use sim::{Report, Trace, run_with_history};

fn run(plan: &Plan) -> (Report, History) {
    let (report, history) = run_with_history(plan, &mut Trace::off());
    assert_eq!(report.failure, None);
    (report, history)
}

/// Large sizes take minutes in a build without optimisation: there they want to be asked for.
fn sizes(small: &[u16], large: &[u16]) -> Vec<u16> {
    let all = !cfg!(debug_assertions) || std::env::var_os("SIM_LARGE").is_some();
    if !all {
        println!("not run: sizes {large:?} (SIM_LARGE=1 or --release runs them)");
    }
    let large = if all { large } else { &[] };
    [small, large].concat()
}

/// Promise 15: N workers give N times the throughput of one.
///
/// Measured where clients get their outcomes, in the second second of a load that never lets the
/// queue run empty. Tasks wait for 10 to 20 ms, evenly spread.
#[test]
fn p15_throughput_is_linear_up_to_a_thousand_workers() {
    let slots = 8;
    let lengths = 10 * MS..20 * MS;
    let window = S..2 * S;
    let mut one = 0.0;
    for workers in sizes(&[1, 10], &[100, 1_000]) {
        let clients = (workers / 16).clamp(2, 64);
        let mut options = scenario::cluster(workers, slots, clients);
        options.queue_tasks = 40 * u64::from(workers) + 2_000;
        options.heal_at = S;
        options.retries = None;
        let per_second = u64::from(workers) * u64::from(slots) * S / (15 * MS);
        let each = per_second * 22 / 10 / u64::from(clients);
        let hosts = options.client_hosts();
        let tasks = scenario::backlog(hosts, 100 * MS, each, &lengths);
        let count = tasks.len();
        let plan = scenario::plan(options, tasks, vec![]);
        let started = std::time::Instant::now();
        let (report, history) = run(&plan);
        let measured = Measured::new(&plan, &history);
        let rate = measured.goodput(&window);
        if workers == 1 {
            one = rate;
        }
        let share = rate / (one * f64::from(workers));
        let busy = measured.utilisation(&window, u64::from(workers) * u64::from(slots));
        println!(
            "{workers} workers: {rate:.0} tasks/s, {:.2}% of linear, slots busy {:.2}% \
             ({count} tasks, {} events in {:.1} s)",
            share * 100.0,
            busy * 100.0,
            report.events,
            started.elapsed().as_secs_f64()
        );
        assert!((0.98..1.02).contains(&share), "{workers} workers: {share}");
        assert!(busy > 0.98, "{workers} workers: {busy}");
    }
}
