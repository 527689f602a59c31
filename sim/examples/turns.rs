//! What turns do to sharing, waits and goodput: `cargo run --profile checked -p sim --example turns`.
//!
//! Two clients with a backlog of equal tasks, on workers of one slot, with turns of one task and with
//! turns of the default turn time. A third client asks for one task at a time meanwhile. All in
//! virtual time, without what a manager's own work takes: the figures are of the rule, not of a machine.
//! Facts are taken in batches, as they come within 10 us.

use sim::history::History;
use sim::options::{Host, MS, S, US};
use sim::plan::Plan;
use sim::scenario::{self, Measured, backlog, percentile};
use sim::workload::Submission;
use sim::{Trace, run_with_history};

const LENGTHS: [u64; 4] = [US, 20 * US, 100 * US, 10 * MS];
const TURN_TIMES: [u64; 2] = [0, 64 * US];
const WORKERS: [u16; 4] = [1, 4, 16, 64];
const BEGIN: u64 = 100 * MS;

/// A run and what it was of.
struct Scene {
    plan: Plan,
    history: History,
    workers: u16,
}

impl Scene {
    /// `workers` that have enough to do for a while.
    fn new(workers: u16, length: u64, turn_time: u64) -> Self {
        let mut options = scenario::cluster(workers, 1, 3);
        options.turn_time = turn_time;
        options.retries = None;
        options.queue_tasks = 1 << 20;
        let first = 1 + workers;
        let each = (100 * MS / length).clamp(40, 1_000) * u64::from(workers) / 2;
        let exact = length..length;
        // The names are measured first.
        let mut tasks = backlog(first..first + 1, 50 * MS, 1, &exact);
        tasks.extend(backlog(first..first + 2, BEGIN, each, &exact));
        let span = each * 2 * length / u64::from(workers);
        let sparse = (1..10).map(|part| BEGIN + span.max(2 * MS) * part / 10);
        tasks.extend(sparse.map(|at| Submission::plain(at, first + 2, length)));
        let plan = scenario::plan(options, tasks, vec![]);
        let (report, history) = run_with_history(&plan, &mut Trace::off());
        assert_eq!(report.failure, None);
        Self {
            plan,
            history,
            workers,
        }
    }

    /// From the start of the first task of the backlog to the end of the last.
    fn busy(&self) -> (u64, u64) {
        let runs = self
            .history
            .executions
            .iter()
            .filter(|run| run.start >= BEGIN);
        let start = runs.clone().map(|run| run.start).min().unwrap_or(0);
        let ends = runs.filter_map(|run| Some(run.end?.0));
        (start, ends.max().unwrap_or(0))
    }

    /// Tasks a second.
    fn goodput(&self) -> f64 {
        let (start, end) = self.busy();
        let runs = self.history.executions.iter();
        let count = runs.filter(|run| run.start >= BEGIN).count();
        count as f64 * S as f64 / (end - start).max(1) as f64
    }

    /// By how much run time one of the two got more than the other over any stretch of the middle half.
    fn apart(&self) -> u64 {
        let client = |task: usize| self.plan.tasks[task].client - 1 - self.workers;
        let runs = self
            .history
            .executions
            .iter()
            .filter(|run| run.start >= BEGIN);
        let mut starts: Vec<(u64, Host, u64)> = runs
            .filter(|run| client(run.task) < 2)
            .map(|run| (run.start, client(run.task), self.plan.tasks[run.task].run))
            .collect();
        starts.sort_unstable();
        let (mut ahead, mut most, mut least) = (0, 0, 0);
        for &(_, client, run) in &starts[starts.len() / 4..starts.len() * 3 / 4] {
            ahead += if client == 0 {
                run as i64
            } else {
                -(run as i64)
            };
            most = most.max(ahead);
            least = least.min(ahead);
        }
        (most - least).unsigned_abs()
    }

    /// How long the sparse client's tasks wait for their start: in the middle, and at worst.
    fn waits(&self) -> (u64, u64) {
        let measured = Measured::new(&self.plan, &self.history);
        let sparse = measured.of(3 + self.workers);
        let all = measured.latencies(&sparse);
        let longest = self.plan.tasks.iter().map(|task| task.run).max();
        let beside = |latency: u64| latency.saturating_sub(longest.unwrap_or(0));
        (beside(percentile(&all, 50)), beside(percentile(&all, 99)))
    }
}

fn micros(nanos: u64) -> String {
    format!("{:.0} us", nanos as f64 / US as f64)
}

fn main() {
    println!(
        "| task | turn time | workers | apart | wait p50 | wait p99 | tasks/s | of one worker |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for length in LENGTHS {
        for turn_time in TURN_TIMES {
            let mut one = 0.0;
            for workers in WORKERS {
                let scene = Scene::new(workers, length, turn_time);
                let (p50, p99) = scene.waits();
                let goodput = scene.goodput();
                if workers == 1 {
                    one = goodput;
                }
                println!(
                    "| {} | {} | {workers} | {} | {} | {} | {goodput:.0} | {:.1} |",
                    micros(length),
                    micros(turn_time),
                    micros(scene.apart()),
                    micros(p50),
                    micros(p99),
                    goodput / one,
                );
            }
        }
    }
}
