//! The promises that are figures: scaling, goodput, waits, clocks. All in virtual time.

use std::ops::Range;

use sim::faults::{Fault, FaultKind};
use sim::history::History;
use sim::options::{MS, S};
use sim::plan::Plan;
use sim::scenario::{self, Measured, Open, percentile};
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

/// An overload: 8 slots that can do 800 tasks a second, half of that from steady clients, and
/// then for a while ten times the capacity. Clients submit whatever happens, and what the manager
/// refuses they submit again, as the product does.
struct Overload {
    queue: u64,
    retries: u32,
    /// How many clients bring the spike, and how many tasks each client may hold.
    spikers: u16,
    held: u64,
    /// The spike's tasks are of five priorities around that of the steady load.
    priorities: bool,
    /// The second of two workers loses power for a second of the spike.
    loss: bool,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            queue: 80,
            retries: 10,
            spikers: 16,
            held: 64,
            priorities: false,
            loss: false,
        }
    }
}

const STEADY: u16 = 4;
const SPIKE: Range<u64> = 3 * S..5 * S + 500 * MS;
/// Tasks a second.
const CAPACITY: u64 = 800;
const RUN: u64 = 10 * MS;

impl Overload {
    /// When the last of what waited at the end of the spike is done, at the manager and at its
    /// clients: both are bounded. Half of the capacity goes to what comes meanwhile, and a client
    /// may wait a second before it tries again.
    fn drained(&self) -> u64 {
        let waiting = self.queue + u64::from(STEADY + self.spikers) * self.held;
        SPIKE.end + waiting * S / (CAPACITY - CAPACITY / 2) + S
    }

    fn plan(&self) -> Plan {
        let mut options = scenario::cluster(2, 4, STEADY + self.spikers);
        options.queue_tasks = self.queue;
        options.retries = Some(self.retries);
        options.client_held = self.held;
        options.check_every = 100;
        options.heal_at = self.drained() + 2 * S;
        let steady = Open {
            clients: 3..3 + STEADY,
            during: S..options.heal_at,
            per_second: CAPACITY / 2,
            run: RUN..RUN,
            priority: 4,
        };
        let spike = Open {
            clients: 3 + STEADY..3 + STEADY + self.spikers,
            during: SPIKE,
            per_second: CAPACITY * 10 - steady.per_second,
            ..steady.clone()
        };
        let mut tasks = spike.tasks();
        if self.priorities {
            for (index, task) in tasks.iter_mut().enumerate() {
                task.priority = 2 + (index % 5) as u8;
            }
        }
        tasks.extend(steady.tasks());
        let loss = Fault {
            at: 4 * S,
            span: S,
            kind: FaultKind::PowerLoss(2),
        };
        scenario::plan(
            options,
            tasks,
            self.loss.then_some(loss).into_iter().collect(),
        )
    }

    fn holds(&self, what: &str) {
        let plan = self.plan();
        let (_, history) = run(&plan);
        let measured = Measured::new(&plan, &history);
        let share = |from: u64, until: u64| measured.goodput(&(from..until)) / CAPACITY as f64;
        let goodput = if self.loss {
            // One worker is as good as half of the capacity; the other is back a while after its
            // power is.
            2.0 * share(4 * S + 100 * MS, 5 * S)
        } else {
            share(SPIKE.start + 200 * MS, SPIKE.end)
        };
        let admitted = measured.admitted();
        let drained = self.drained();
        let after = measured.latencies(|task| plan.tasks[task].at >= drained);
        println!(
            "{what}: goodput {:.1}% of capacity; once admitted, median {} ms, 99% {} ms, most \
             {} ms; {:.1} s after the spike, most {} ms; {:?}",
            goodput * 100.0,
            percentile(&admitted, 50) / MS,
            percentile(&admitted, 99) / MS,
            percentile(&admitted, 100) / MS,
            (drained - SPIKE.end) as f64 / S as f64,
            percentile(&after, 100) / MS,
            measured.outcomes()
        );
        assert!(goodput >= 0.98, "{what}: goodput {goodput}");
        // The time that the full queue takes to drain, twice, since clients do not hold exactly
        // the same; or the worst case that is stated if more important tasks may overtake.
        let full = self.queue + 1;
        let wait = if self.priorities { 16 * full } else { 2 * full } * S / CAPACITY;
        let lost = if self.loss { 3 * S + wait } else { 0 };
        let most = percentile(&admitted, 100);
        assert!(
            most <= wait + 2 * RUN + lost,
            "{what}: admitted for {most} ns"
        );
        assert!(
            after.len() as u64 >= CAPACITY / 2,
            "{what}: none are turned away"
        );
        let normal = RUN + 5 * MS;
        assert!(
            percentile(&after, 100) <= normal,
            "{what}: not back to normal"
        );
        let outcomes = measured.outcomes();
        let known = outcomes["completed"] + outcomes.get("rejected").unwrap_or(&0);
        assert_eq!(known, history.submits.len(), "{what}: {outcomes:?}");
    }
}

#[test]
fn p10_overload_ten_times_the_capacity() {
    Overload::default().holds("as it comes");
}

#[test]
fn p10_overload_of_a_tiny_queue() {
    for queue in [1, 8] {
        let spike = Overload {
            queue,
            ..Overload::default()
        };
        spike.holds(&format!("queue of {queue}"));
    }
}

#[test]
fn p10_overload_without_retries() {
    let spike = Overload {
        retries: 0,
        ..Overload::default()
    };
    spike.holds("no retries");
}

#[test]
fn p10_overload_of_several_priorities() {
    let spike = Overload {
        priorities: true,
        ..Overload::default()
    };
    spike.holds("five priorities");
}

#[test]
fn p10_overload_from_many_clients() {
    let spike = Overload {
        spikers: 200,
        held: 16,
        ..Overload::default()
    };
    spike.holds("200 more clients");
}

#[test]
fn p10_overload_and_a_lost_worker() {
    let spike = Overload {
        loss: true,
        ..Overload::default()
    };
    spike.holds("a worker lost");
}
