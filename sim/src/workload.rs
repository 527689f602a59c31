//! What clients submit, drawn from the seed; the payload tells the simulated pool what to do.

use argon_core::rng::Rng;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::options::{Host, MS, Options, S, US};
use crate::rng::{Draw, stream};

/// What a task does to the pool process that runs it, after its run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Ends with a result.
    Complete,
    /// Ends with an error of its own.
    Fail,
    /// Kills its pool process, at every attempt.
    Crash,
    /// Kills its pool process at its first execution; completes afterwards.
    CrashOnce,
    /// Never ends by itself.
    Hang,
    /// Never ends by itself, and ignores the polite signal.
    HangStubborn,
    /// Kills its whole worker, at every attempt.
    Poison,
    /// Takes more memory than it may, half-way through.
    Hog,
}

impl Deed {
    /// Whether it leaves its pool process and worker alive.
    #[must_use]
    pub fn is_orderly(self) -> bool {
        matches!(self, Self::Complete | Self::Fail)
    }
}

/// One task that a client's application submits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "named after the fields of TaskSpec they stand for"
)]
pub struct Submission {
    /// When the application submits it, in virtual nanoseconds.
    pub at: u64,
    /// At which client.
    pub client: Host,
    /// How long an execution takes.
    pub run: u64,
    /// What it does then.
    pub deed: Deed,
    /// Which of a few names it has.
    pub name: u8,
    pub priority: u8,
    pub payload: u32,
    pub result: u32,
    pub deadline: Option<u64>,
    pub max_wait: Option<u64>,
    pub time_limit: Option<u64>,
    pub max_attempts: u8,
    pub at_most_once: bool,
    pub retries: Option<u32>,
    /// When the application cancels it, after submitting it.
    pub cancel_after: Option<u64>,
}

impl Submission {
    /// A task of `run` nanoseconds that completes.
    #[must_use]
    pub fn plain(at: u64, client: Host, run: u64) -> Self {
        Self {
            at,
            client,
            run,
            deed: Deed::Complete,
            name: 0,
            priority: 4,
            payload: 0,
            result: 0,
            deadline: None,
            max_wait: None,
            time_limit: None,
            max_attempts: 3,
            at_most_once: false,
            retries: None,
            cancel_after: None,
        }
    }

    /// Makes it one that is submitted together with another, and asked for like that; `plain` ones may
    /// take as long as they want.
    fn follow(&mut self, other: &Self, plain: bool) {
        let unless_plain = |limit: Option<u64>| limit.filter(|_| !plain);
        *self = Self {
            run: self.run,
            deed: self.deed,
            payload: self.payload,
            result: self.result,
            cancel_after: self.cancel_after,
            deadline: unless_plain(other.deadline),
            max_wait: unless_plain(other.max_wait),
            ..other.clone()
        };
    }

    /// The task's argument: its place in the plan, and filling.
    #[must_use]
    pub fn argument(&self, number: usize) -> Bytes {
        let mut bytes = (number as u64).to_le_bytes().to_vec();
        bytes.resize(8 + self.payload as usize, 7);
        bytes.into()
    }
}

/// Where the tasks of a run are written, by their number.
pub trait Book {
    /// The task of this number, if there is one.
    fn task(&self, number: usize) -> Option<Submission>;
}

impl Book for Vec<Submission> {
    fn task(&self, number: usize) -> Option<Submission> {
        self.get(number).cloned()
    }
}

/// Reads the place in the plan back out of a task's argument.
#[must_use]
pub fn number_of(argument: &[u8]) -> Option<usize> {
    let bytes = argument.first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

struct Mix {
    run: (u64, u64),
    odd: u64,
    deadlines: u64,
    max_waits: u64,
    limits: u64,
    once: u64,
    cancels: u64,
    priorities: u64,
    payload: u64,
}

/// Draws a workload; an orderly one has only tasks that complete or fail.
pub(crate) fn draw(seed: u64, options: &mut Options, orderly: bool) -> Vec<Submission> {
    let mut rng = stream(seed, &[3]);
    let mix = Mix {
        run: rng.pick(&[
            (10 * US, 100 * US),
            (MS, 10 * MS),
            (10 * US, 500 * MS),
            (10 * US, 2 * S),
            (50 * MS, 200 * MS),
        ]),
        odd: if orderly { 0 } else { rng.pick(&[0, 2, 5, 20]) },
        deadlines: rng.pick(&[0, 0, 10, 50]),
        max_waits: rng.pick(&[0, 0, 10, 50]),
        limits: rng.pick(&[0, 10, 30]),
        once: rng.pick(&[0, 10, 50]),
        cancels: rng.pick(&[0, 0, 10, 40]),
        priorities: rng.pick(&[0, 30, 100]),
        payload: rng.pick(&[0, 16, 1_000]),
    };
    let slots: u64 = options.workers.iter().map(|slots| u64::from(*slots)).sum();
    // No more work than half a minute of the whole pool, so that runs end.
    let mean = (mix.run.0 + mix.run.1) / 2;
    let most = (slots * 30 * S / mean).clamp(5, 500);
    let count = rng.log_between(5, most);
    let bursts = rng.pick(&[1, 1, 3, 10]);
    let mut tasks = Vec::new();
    for client in options.client_hosts() {
        let mut rng = stream(seed, &[4, u64::from(client)]);
        let share = count / u64::from(options.clients) + 1;
        for _ in 0..share {
            let burst = rng.between(0, bursts) * options.heal_at / (bursts + 1);
            let at = burst + rng.up_to(rng_spread(options, bursts));
            tasks.push(mix.draw(&mut rng, at, client));
        }
    }
    tasks.sort_by_key(|task| (task.at, task.client));
    draw_rows(seed, options, &mut tasks);
    draw_limits(seed, options, orderly, &mut tasks);
    tasks
}

/// In some plans most tasks are submitted together with the one before them, and are asked for alike: they
/// follow each other on the wire, and wait together.
fn draw_rows(seed: u64, options: &Options, tasks: &mut [Submission]) {
    let mut rng = stream(seed, &[36]);
    let alike = rng.pick(&[0, 0, 60, 95]);
    let plain = rng.percent(50);
    for client in options.client_hosts() {
        let mut before: Option<Submission> = None;
        for task in tasks.iter_mut().filter(|task| task.client == client) {
            // What never ends by itself needs limits of its own.
            let follows = rng.percent(alike) && task.deed.is_orderly();
            if let Some(before) = before.filter(|_| follows) {
                task.follow(&before, plain);
            }
            before = Some(task.clone());
        }
    }
    tasks.sort_by_key(|task| (task.at, task.client));
}

/// What only some plans have: limits of payloads and memory, and narrow connections.
fn draw_limits(seed: u64, options: &mut Options, orderly: bool, tasks: &mut [Submission]) {
    let mut rng = stream(seed, &[21]);
    if rng.percent(15) {
        let limit = rng.between(8, 400) as u32;
        options.payload_max = Some(limit);
        for task in tasks.iter_mut() {
            if rng.percent(40) {
                // Eight bytes say which task it is; as large as it may be, or one byte more.
                task.payload = limit - 8 + u32::from(rng.percent(50));
            }
        }
    }
    if !orderly && rng.percent(15) {
        options.memory_limit = Some(MEMORY_LIMIT);
        for task in tasks.iter_mut().filter(|_| rng.percent(10)) {
            task.deed = Deed::Hog;
        }
    }
    let bytes = |task: &Submission| u64::from(task.payload) + u64::from(task.result) + 24;
    let bytes: u64 = tasks.iter().map(bytes).sum();
    if rng.percent(15) && bytes < 10_000 {
        options.bandwidth = rng.pick(&[300, 1_000, 5_000]);
    }
}

/// Most memory of a pool process, where there is a limit; it means nothing here.
pub(crate) const MEMORY_LIMIT: u64 = 1 << 20;

fn rng_spread(options: &Options, bursts: u64) -> u64 {
    if bursts == 1 {
        options.heal_at / 2
    } else {
        50 * MS
    }
}

impl Mix {
    fn draw(&self, rng: &mut Rng, at: u64, client: Host) -> Submission {
        let mut task = Submission::plain(at, client, rng.log_between(self.run.0, self.run.1));
        task.deed = if rng.percent(self.odd) {
            rng.pick(&[
                Deed::Crash,
                Deed::CrashOnce,
                Deed::CrashOnce,
                Deed::Hang,
                Deed::HangStubborn,
                Deed::Poison,
            ])
        } else if rng.percent(10) {
            Deed::Fail
        } else {
            Deed::Complete
        };
        task.name = rng.up_to(3) as u8;
        if rng.percent(self.priorities) {
            task.priority = rng.up_to(7) as u8;
        }
        task.payload = rng.up_to(self.payload) as u32;
        task.result = rng.up_to(self.payload) as u32;
        if rng.percent(self.deadlines) {
            task.deadline = Some(rng.log_between(MS, 20 * S));
        }
        if rng.percent(self.max_waits) {
            task.max_wait = Some(rng.log_between(MS, 5 * S));
        }
        if rng.percent(self.limits) {
            task.time_limit = Some(rng.log_between(MS, 3 * S));
        }
        if matches!(task.deed, Deed::Hang | Deed::HangStubborn) {
            task.time_limit = Some(rng.log_between(MS, S));
        }
        task.max_attempts = rng.pick(&[3, 3, 1, 2, 5]);
        task.at_most_once = rng.percent(self.once);
        task.retries = rng.pick(&[None, None, Some(0), Some(20)]);
        if rng.percent(self.cancels) {
            task.cancel_after = Some(rng.log_between(1, 5 * S));
        }
        task
    }
}
