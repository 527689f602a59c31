//! Reads off a study's history what it comes to, checks it, and lets it be forgotten.

use std::collections::BTreeMap;

use crate::history::{Delivery, End, ExecutionEnd};
use crate::report::{Class, Failure};
use crate::wire::REJECTIONS;
use crate::world::World;

use serde::Serialize;

use super::config::{START, Study};
use super::histogram::Histogram;

/// What became of the tasks that came; all but the first add up to the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// They came.
    pub offered: u64,
    /// With a result.
    pub completed: u64,
    /// With an error.
    pub failed: u64,
    /// Rejected for good, after all retries.
    pub gave_up: u64,
    /// Too late.
    pub expired: u64,
    /// Nobody knows.
    pub lost: u64,
    /// Its client already held as many tasks as it may.
    pub turned_away: u64,
    /// No outcome when the study ended.
    pub open: u64,
}

/// A part of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Moment {
    /// When it begins, in seconds.
    pub at: f64,
    /// How long it is, in seconds.
    pub seconds: f64,
    /// Tasks that came.
    pub offered: u64,
    /// Tasks that completed.
    pub completed: u64,
    /// Submissions that the manager refused or displaced.
    pub rejected: u64,
    /// Most tasks that the queue held.
    pub most_queued: u64,
    /// The share of all slots' time that went into executions.
    pub utilisation: f64,
    /// Median latency of the tasks that completed.
    pub p50: u64,
    /// 99th percentile of the same.
    pub p99: u64,
}

/// Into so many parts the time in which tasks come is cut for the plot.
pub(super) const MOMENTS: u64 = 120;
/// After so many of these parts nothing more is plotted.
const MOMENTS_MAX: usize = 2 * MOMENTS as usize;

/// A task without an outcome.
struct Open {
    at: u64,
    priority: u8,
    executions: u32,
    completed: bool,
}

/// How long tasks of one priority took.
#[derive(Default)]
pub(super) struct Level {
    pub latency: Histogram,
    pub wait: Histogram,
}

/// A part of the time.
#[derive(Clone, Default)]
struct Part {
    moment: Moment,
    latency: Histogram,
    busy: u64,
}

/// What has been read so far.
pub(super) struct Measure<'s> {
    study: &'s Study,
    /// Whether the history is kept whole for the judge.
    keep: bool,
    /// The first task that counts; those before it came during the warm-up.
    first: usize,
    /// How much of each ledger has been read.
    read: [usize; 4],
    open: BTreeMap<usize, Open>,
    by_number: BTreeMap<(usize, u64), usize>,
    /// Executions that have not ended, and on which life.
    running: BTreeMap<usize, usize>,
    /// Submitted or turned away, of those that came.
    seen: u64,
    came: u64,
    parts: Vec<Part>,
    pub levels: BTreeMap<u8, Level>,
    pub counts: Counts,
    pub goodput: u64,
    pub busy: u64,
    pub repeated: u64,
    pub most_queued: u64,
    pub rejections: u64,
    pub retries: u64,
    before: (u64, u64),
    pub last_delivery: u64,
    pub failure: Option<Failure>,
}

impl<'s> Measure<'s> {
    pub(super) fn new(study: &'s Study, keep: bool) -> Self {
        Self {
            study,
            keep,
            first: usize::MAX,
            read: [0; 4],
            open: BTreeMap::new(),
            by_number: BTreeMap::new(),
            running: BTreeMap::new(),
            seen: 0,
            came: 0,
            parts: Vec::new(),
            levels: BTreeMap::new(),
            counts: Counts::default(),
            goodput: 0,
            busy: 0,
            repeated: 0,
            most_queued: 0,
            rejections: 0,
            retries: 0,
            before: (0, 0),
            last_delivery: 0,
            failure: None,
        }
    }

    /// A task comes, at this time from the start of the load.
    pub(super) fn comes(&mut self, task: usize, at: u64) {
        self.came += 1;
        if at >= self.study.warmup.0 {
            self.first = self.first.min(task);
            self.counts.offered += 1;
        }
        if let Some(part) = self.part(START + at) {
            part.moment.offered += 1;
        }
    }

    /// How many tasks have no outcome.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether every task that came has ended.
    pub(super) fn all_ended(&self) -> bool {
        self.seen == self.came && self.open.is_empty()
    }

    fn width(&self) -> u64 {
        (self.study.duration.0 / MOMENTS).max(1)
    }

    fn part(&mut self, at: u64) -> Option<&mut Part> {
        let place = (at.checked_sub(START)? / self.width()) as usize;
        if place >= MOMENTS_MAX {
            return None;
        }
        if place >= self.parts.len() {
            self.parts.resize_with(place + 1, Part::default);
        }
        self.parts.get_mut(place)
    }

    fn broken(&mut self, promise: &'static str, text: String, task: usize) {
        let failure = Failure::new(Class::Safety, promise, text).about(task);
        self.failure.get_or_insert(failure);
    }

    /// Reads what has been added to the history since the last look.
    pub(super) fn look(&mut self, world: &mut World<'_>) {
        self.read_submits(world);
        self.read_executions(world);
        self.read_deliveries(world);
        self.read_counters(world);
        if !self.keep {
            let history = &mut world.history;
            history.submits.clear();
            history.turned_away.clear();
            history.deliveries.clear();
            history.wire.clear();
            let next = history.next_execution();
            let first = self.running.keys().next().copied();
            history.forget_executions(first.unwrap_or(next));
            self.read = [0, 0, next, 0];
        }
    }

    fn read_submits(&mut self, world: &World<'_>) {
        let history = &world.history;
        for submit in &history.submits[self.read[0]..] {
            let plan = world.book.task(submit.task);
            let open = Open {
                at: submit.at,
                priority: plan.map_or(0, |plan| plan.priority),
                executions: 0,
                completed: false,
            };
            self.open.insert(submit.task, open);
            self.by_number
                .insert((submit.life, submit.seq), submit.task);
            self.seen += 1;
        }
        for task in &history.turned_away[self.read[1]..] {
            self.seen += 1;
            self.counts.turned_away += u64::from(*task >= self.first);
        }
        self.read[0] = history.submits.len();
        self.read[1] = history.turned_away.len();
    }

    fn read_executions(&mut self, world: &World<'_>) {
        let history = &world.history;
        for place in self.read[2]..history.next_execution() {
            let run = history.execution(place);
            self.running.insert(place, run.life);
            let first = self.open.get_mut(&run.task).is_some_and(|open| {
                open.executions += 1;
                open.executions == 1
            });
            if first {
                if run.task >= self.first
                    && let Some(open) = self.open.get(&run.task)
                {
                    let (wait, level) = (run.start - open.at, open.priority);
                    self.levels.entry(level).or_default().wait.add(wait);
                }
            } else {
                self.repeated += 1;
                if history.disturbances.is_empty() {
                    let text = "runs again although nothing went wrong".to_owned();
                    self.broken("3 (without faults, once)", text, run.task);
                }
            }
        }
        self.read[2] = history.next_execution();
        let mut on: BTreeMap<usize, u32> = BTreeMap::new();
        for (place, life) in std::mem::take(&mut self.running) {
            let run = history.execution(place);
            let Some((end, how)) = run.end else {
                self.running.insert(place, life);
                *on.entry(life).or_default() += 1;
                continue;
            };
            if let Some(open) = self.open.get_mut(&run.task) {
                open.completed |= how == ExecutionEnd::Completed;
            }
            self.was_busy(run.start, end);
        }
        for (life, count) in on {
            let capacity = history.lives[life].capacity;
            if count > capacity {
                let text = format!("{count} executions at once on a worker of {capacity} slots");
                self.broken("capacity", text, 0);
            }
        }
    }

    /// What still runs at the end was busy until then.
    pub(super) fn finish(&mut self, world: &World<'_>) {
        for place in std::mem::take(&mut self.running).into_keys() {
            self.was_busy(world.history.execution(place).start, world.now);
        }
        self.counts.open = self.open.range(self.first..).count() as u64;
    }

    fn was_busy(&mut self, start: u64, end: u64) {
        let window = START + self.study.warmup.0..START + self.study.duration.0;
        let inside = end.min(window.end).saturating_sub(start.max(window.start));
        self.busy += inside;
        let width = self.width();
        let mut from = start;
        while from < end {
            let to = end.min(START + ((from - START) / width + 1) * width);
            match self.part(from) {
                Some(part) => part.busy += to - from,
                None => break,
            }
            from = to;
        }
    }

    fn read_deliveries(&mut self, world: &mut World<'_>) {
        for place in self.read[3]..world.history.deliveries.len() {
            let delivery = &world.history.deliveries[place];
            let (life, at) = (delivery.life, delivery.at);
            let Some(task) = self.by_number.remove(&(life, delivery.seq)) else {
                let text = format!("an outcome of number {} that is not open", delivery.seq);
                self.broken("1 (exactly one outcome)", text, 0);
                continue;
            };
            self.last_delivery = at;
            if let Some(open) = self.open.remove(&task) {
                self.ended(task, &open, delivery);
            }
            let host = usize::from(world.history.lives[life].host);
            if let Some(process) = &mut world.hosts[host].process {
                process.numbers.remove(&task);
            }
        }
        self.read[3] = world.history.deliveries.len();
    }

    fn ended(&mut self, task: usize, open: &Open, delivery: &Delivery) {
        let (at, end) = (delivery.at, &delivery.end);
        let completed = matches!(end, End::Completed { .. });
        if completed && !open.completed {
            let text = "completed, but no execution of it did".to_owned();
            self.broken("2 (completed has run)", text, task);
        }
        if matches!(end, End::Rejected { .. }) && open.executions > 0 {
            let text = "rejected, but it was started".to_owned();
            self.broken("2 (rejected never ran)", text, task);
        }
        let window = START + self.study.warmup.0..START + self.study.duration.0;
        self.goodput += u64::from(completed && window.contains(&at));
        if completed && let Some(part) = self.part(at) {
            part.moment.completed += 1;
            part.latency.add(at - open.at);
        }
        if task < self.first {
            return;
        }
        let counts = &mut self.counts;
        *match end {
            End::Completed { .. } => &mut counts.completed,
            End::Failed { .. } => &mut counts.failed,
            End::Rejected { .. } => &mut counts.gave_up,
            End::Expired { .. } | End::Cancelled { .. } => &mut counts.expired,
            End::Lost { .. } => &mut counts.lost,
        } += 1;
        if completed {
            let level = self.levels.entry(open.priority).or_default();
            level.latency.add(at - open.at);
        }
    }

    fn read_counters(&mut self, world: &mut World<'_>) {
        let (rejected, retried) = (rejections(world), world.marked("retrying"));
        let most = std::mem::take(&mut world.most_queued) as u64;
        let (fresh, again) = (rejected - self.before.0, retried - self.before.1);
        self.before = (rejected, retried);
        // The look belongs to the time that it ends.
        if let Some(part) = self.part(world.now.saturating_sub(1)) {
            part.moment.rejected += fresh;
            part.moment.most_queued = part.moment.most_queued.max(most);
        }
        if world.now > START + self.study.warmup.0 {
            self.rejections += fresh;
            self.retries += again;
            self.most_queued = self.most_queued.max(most);
        }
    }

    /// The parts of the time, from its beginning.
    pub(super) fn moments(&self) -> Vec<Moment> {
        let seconds = self.width() as f64 / 1e9;
        let slots = self.study.slots() as f64;
        let part = |(place, part): (usize, &Part)| Moment {
            at: place as f64 * seconds,
            seconds,
            utilisation: part.busy as f64 / 1e9 / seconds / slots,
            p50: part.latency.percentile(500),
            p99: part.latency.percentile(990),
            ..part.moment
        };
        self.parts.iter().enumerate().map(part).collect()
    }
}

fn rejections(world: &World<'_>) -> u64 {
    REJECTIONS.iter().map(|mark| world.marked(mark)).sum()
}
