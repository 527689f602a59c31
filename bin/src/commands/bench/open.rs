//! Open loop: tasks are offered at a rate, whatever becomes of them, below and far above capacity.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use argon::{Client, Outcome, Priority, TaskSpec};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Run;
use super::closed::{self, DRAIN, locked};
use super::tally::{Tally, rate};
use crate::problem::Problem;

/// Offered load over capacity.
const STEPS: [f64; 6] = [0.5, 1.0, 2.0, 5.0, 10.0, 0.5];
/// From one look at the clock to the next.
const TICK: Duration = Duration::from_millis(1);
/// One task in so many is of high priority.
const HIGH_EVERY: u64 = 10;
/// Tasks that measure the service time, for each process of the cluster.
const CALIBRATION: u64 = 4;
const CALIBRATION_TIME: Duration = Duration::from_secs(5);
/// Recovery is looked for in windows of this length.
const WINDOW: Duration = Duration::from_millis(100);
/// A window has recovered when most of its tasks took at most so often the median before.
const RECOVERED: u32 = 2;

/// All steps.
pub(super) struct Overload {
    pub(super) slots: u64,
    pub(super) service: Duration,
    /// Tasks a second that the cluster should manage.
    pub(super) capacity: f64,
    pub(super) steps: Vec<Step>,
    /// From the end of the spike until new tasks are as fast as before it.
    pub(super) recovery: Option<Duration>,
    pub(super) stopped: Option<u8>,
}

/// One offered load.
pub(super) struct Step {
    pub(super) load: f64,
    pub(super) span: Duration,
    pub(super) offered: u64,
    /// There were too many open tasks already.
    pub(super) not_offered: u64,
    /// Tasks of any step that completed during this one.
    pub(super) done: u64,
    /// By the manager, of all clients, each time; `None` without a manager that says it.
    pub(super) rejections: Option<u64>,
    /// Of normal and of high priority.
    pub(super) tallies: [Tally; 2],
}

impl Step {
    /// Submissions after a rejection.
    pub(super) fn retries(&self) -> Option<u64> {
        let last: u64 = self.tallies.iter().map(|tally| tally.rejected).sum();
        self.rejections.map(|all| all.saturating_sub(last))
    }

    pub(super) fn sum(&self, of: impl Fn(&Tally) -> u64) -> u64 {
        self.tallies.iter().map(of).sum()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "load": self.load,
            "seconds": self.span.as_secs_f64(),
            "offered": self.offered,
            "not_offered": self.not_offered,
            "completed": self.sum(|tally| tally.completed),
            "rejected": self.sum(|tally| tally.rejected),
            "failed": self.sum(|tally| tally.failed),
            "cancelled": self.sum(Tally::open),
            "goodput": rate(self.done, self.span),
            "rejections": self.rejections,
            "retries": self.retries(),
            "normal": self.tallies[0].json(),
            "high": self.tallies[1].json(),
        })
    }
}

/// What tasks of all steps count together.
#[derive(Default)]
struct Counts {
    /// Submitted, and not ended.
    open: AtomicU64,
    /// Completed.
    done: AtomicU64,
}

/// What tasks of a step share while they are under way.
struct Shared {
    tallies: [Mutex<Tally>; 2],
    /// For each window of time: tasks of normal priority offered in it, and how many were fast.
    /// Those without an end count as slow, or a queue that never drained would look recovered.
    windows: Mutex<Vec<(u64, u64)>>,
}

/// Runs all steps, each for `seconds`, with at most `open_max` tasks open.
pub(super) async fn drive(
    run: &mut Run<'_>,
    spec: &TaskSpec,
    seconds: Duration,
    open_max: u64,
) -> Result<Overload, Problem> {
    let mut overload = calibrate(run, spec, open_max).await?;
    let counts = Arc::new(Counts::default());
    let mut under_way = JoinSet::new();
    let mut records = Vec::new();
    let mut fast = Duration::MAX;
    // One for all steps: it remembers what it asked and said.
    let watching = run.cluster.watch(run.watch);
    tokio::pin!(watching);
    for load in STEPS {
        if overload.stopped.is_some() {
            break;
        }
        run.progress.note(format!("overload: {load}x of capacity"));
        let shared = Arc::new(Shared {
            tallies: [Mutex::new(Tally::new()?), Mutex::new(Tally::new()?)],
            windows: Mutex::default(),
        });
        let rejected = run.cluster.status().await.map(|s| s.manager.rejected);
        let (start, done_before) = (Instant::now(), counts.done.load(Ordering::Relaxed));
        let (mut offered, mut not_offered) = (0, 0);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while start.elapsed() < seconds {
            tokio::select! {
                biased;
                code = run.stop.next() => {
                    overload.stopped = Some(code);
                    break;
                }
                problem = &mut watching => return Err(problem),
                _ = ticks.tick() => {}
            }
            while let Some(ended) = under_way.try_join_next() {
                let ended: Result<(), Problem> = ended?;
                ended?;
            }
            let due = (overload.capacity * load * start.elapsed().as_secs_f64()) as u64;
            while offered < due {
                if counts.open.load(Ordering::Relaxed) >= open_max {
                    not_offered += due - offered;
                    offered = due;
                    break;
                }
                offered += 1;
                let mut spec = spec.clone();
                let high = offered % HIGH_EVERY == 0;
                if high {
                    spec.priority = Priority::HIGH;
                }
                counts.open.fetch_add(1, Ordering::Relaxed);
                locked(&shared.tallies[usize::from(high)]).submitted += 1;
                let due_at = (!high).then(|| start.elapsed());
                if let Some(due_at) = due_at {
                    shared.window(due_at, 1, 0);
                }
                let (counts, shared) = (Arc::clone(&counts), Arc::clone(&shared));
                let client = run.cluster.client();
                under_way.spawn(shared.follow(client, spec, counts, due_at, fast));
            }
        }
        let after = run.cluster.status().await.map(|s| s.manager.rejected);
        let span = start.elapsed();
        if records.is_empty() {
            let median = locked(&shared.tallies[0]).quantile(0.5);
            fast = median.map_or(Duration::MAX, |median| median * RECOVERED);
        }
        let rejections = after.zip(rejected).and_then(|(a, b)| a.checked_sub(b));
        let done = counts.done.load(Ordering::Relaxed) - done_before;
        records.push(Record {
            load,
            span,
            offered,
            not_offered,
            done,
            rejections,
            shared,
        });
    }
    if overload.stopped.is_none() {
        overload.stopped = drain(run, &mut under_way).await;
    }
    under_way.shutdown().await;
    for record in records {
        if overload.steps.len() + 1 == STEPS.len() {
            overload.recovery = record.shared.recovery();
        }
        overload.steps.push(record.into_step()?);
    }
    Ok(overload)
}

/// A step whose tasks may be under way.
struct Record {
    load: f64,
    span: Duration,
    offered: u64,
    not_offered: u64,
    done: u64,
    rejections: Option<u64>,
    shared: Arc<Shared>,
}

impl Record {
    /// The step, all of whose tasks have ended.
    fn into_step(self) -> Result<Step, Problem> {
        Ok(Step {
            load: self.load,
            span: self.span,
            offered: self.offered,
            not_offered: self.not_offered,
            done: self.done,
            rejections: self.rejections,
            tallies: self.shared.take_tallies()?,
        })
    }
}

/// Finds out how much the cluster can do, with at most `open_max` tasks open.
async fn calibrate(run: &mut Run<'_>, spec: &TaskSpec, open_max: u64) -> Result<Overload, Problem> {
    let Some(slots) = run.cluster.slots().await.filter(|slots| *slots > 0) else {
        return Err(Problem::new(
            "the manager does not say how many tasks its workers run at once; \
             start one with `argon worker --manager HOST:PORT`, and try again",
        ));
    };
    let lanes = slots.min(open_max);
    let samples = slots * CALIBRATION;
    let measured = closed::drive(run, spec, lanes, CALIBRATION_TIME, samples).await?;
    let service = measured.tally.service().unwrap_or_default();
    let service = service.max(Duration::from_micros(1));
    Ok(Overload {
        slots,
        service,
        capacity: slots as f64 / service.as_secs_f64(),
        steps: Vec::new(),
        recovery: None,
        stopped: measured.stopped,
    })
}

/// Waits for the tasks that are open; the code of the signal that stopped it, if one did.
async fn drain(run: &mut Run<'_>, under_way: &mut JoinSet<Result<(), Problem>>) -> Option<u8> {
    run.progress.note("overload: what is open ends".to_owned());
    tokio::select! {
        biased;
        code = run.stop.next() => Some(code),
        _ = timeout(DRAIN, async { while under_way.join_next().await.is_some() {} }) => None,
    }
}

impl Shared {
    /// Submits a task and sees it to its end. `due_at`: when it was due, if it is of normal priority
    /// and so counts in the windows, as fast if it takes no longer than `fast`.
    async fn follow(
        self: Arc<Self>,
        client: Client,
        spec: TaskSpec,
        counts: Arc<Counts>,
        due_at: Option<Duration>,
        fast: Duration,
    ) -> Result<(), Problem> {
        let submitted = Instant::now();
        let ended = client.submit(spec).await?.await;
        let took = submitted.elapsed();
        let completed = self.ended(&ended.outcome, due_at.is_none(), took);
        counts
            .done
            .fetch_add(u64::from(completed), Ordering::Relaxed);
        counts.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(due_at) = due_at.filter(|_| completed && took <= fast) {
            self.window(due_at, 0, 1);
        }
        Ok(())
    }

    /// Counts a task that has ended; whether it completed.
    fn ended(&self, outcome: &Outcome, high: bool, took: Duration) -> bool {
        locked(&self.tallies[usize::from(high)]).ended(outcome, took);
        matches!(outcome, Outcome::Completed(_))
    }

    fn take_tallies(&self) -> Result<[Tally; 2], Problem> {
        let mut tallies = [Tally::new()?, Tally::new()?];
        for (tally, shared) in tallies.iter_mut().zip(&self.tallies) {
            std::mem::swap(tally, &mut locked(shared));
        }
        Ok(tallies)
    }

    fn window(&self, offered: Duration, all: u64, fast: u64) {
        let index = (offered.as_millis() / WINDOW.as_millis()) as usize;
        let mut windows = self
            .windows
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if windows.len() <= index {
            windows.resize(index + 1, (0, 0));
        }
        windows[index].0 += all;
        windows[index].1 += fast;
    }

    /// When the first window begins most of whose tasks were fast.
    fn recovery(&self) -> Option<Duration> {
        let windows = self
            .windows
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = windows.iter().position(|(all, fast)| *fast * 2 > *all)?;
        Some(WINDOW * u32::try_from(index).ok()?)
    }
}
