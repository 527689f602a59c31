//! What a seed decides: the whole plan of a run.

use argon_core::limits::{Inner, STREAM_AHEAD_MAX, UNCONFIRMED_BYTES_EACH, WAITING_RUN_MIN};
use argon_core::message::{VERSION, Version};
use serde::{Deserialize, Serialize};

use crate::rng::{Draw, stream};

/// A place in the cluster: managers first, then workers, then clients.
pub type Host = u16;

/// Nanoseconds in a microsecond.
pub const US: u64 = 1_000;
/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const S: u64 = 1_000_000_000;

/// Topology and settings. Times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "named after the settings of core they stand for"
)]
pub struct Options {
    pub managers: u16,
    /// Capacities, one a worker.
    pub workers: Vec<u32>,
    pub clients: u16,

    pub queue_tasks: u64,
    pub queue_bytes: u64,
    pub in_flight_tasks: u64,
    pub client_tasks: u64,
    pub client_result_bytes: u64,
    pub reconnect_grace: u64,
    pub lease: u64,
    pub restart_grace: u64,
    pub resume_timeout: u64,

    pub max_requests: Option<u64>,
    pub held_results: u64,
    pub kill_grace: u64,
    pub drain_timeout: u64,
    pub retries: Option<u32>,
    pub client_held: u64,

    /// Least and most delay of a message on an ordinary link.
    pub delay: (u64, u64),
    /// One message in so many is late by up to 200 ms; 0 for none.
    pub late_one_in: u64,
    /// Longest wait of a driver between noticing a fact and taking its turn: makes batches.
    pub step: u64,
    /// Facts in one batch at most.
    pub batch: u32,
    /// How long a pool process takes to start, at most.
    pub spawn: u64,
    /// Most that a host's clock is fast or slow, in millionths.
    pub drift: u64,
    /// Whether every message goes through the codec.
    pub codec: bool,
    /// Check every machine's invariants at every so many of its turns, and at the end.
    pub check_every: u32,
    /// End as soon as nothing is left, and do not wait for what might still come of nothing.
    #[serde(default)]
    pub brief_quiet: bool,
    /// Largest payload that managers take; what no plan reaches if it is not given.
    #[serde(default)]
    pub payload_max: Option<u32>,
    /// Most memory of a pool process.
    #[serde(default)]
    pub memory_limit: Option<u64>,
    /// Bytes of payloads a second on every connection; 0: they take no time.
    #[serde(default)]
    pub bandwidth: u64,
    /// Which of the names each worker runs, a bit each; none: everybody runs everything.
    #[serde(default)]
    pub runs: Vec<u8>,
    /// A worker that is started again runs what the next one ran: a rolling change of programs.
    #[serde(default)]
    pub rolling: bool,
    /// How long a task that nobody runs waits for somebody who does.
    #[serde(default = "runner_wait")]
    pub runner_wait: u64,
    /// Run time of the tasks that a worker is given in one turn.
    #[serde(default = "turn_time")]
    pub turn_time: u64,
    /// Whether managers let the tasks of a run wait as one, which must change nothing else.
    #[serde(default = "yes")]
    pub waiting_runs: bool,
    /// Whether a worker that is started again has the name that it had.
    pub same_names: bool,
    /// Bounds inside the machines that are tiny in this run; none: what they are in production.
    #[serde(default)]
    pub tiny: Option<Tiny>,

    /// When faults end for the core of hosts that must make progress.
    pub heal_at: u64,
    /// The manager, workers and clients that are healed; the others stay dead.
    pub core_manager: Host,
    /// See `core_manager`.
    pub core_workers: Vec<Host>,
    /// See `core_manager`.
    pub core_clients: Vec<Host>,
    /// Who speaks only the first version of the protocol, without runs.
    #[serde(default)]
    pub old: Old,
}

/// See [`Options::old`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named after who it is")]
pub struct Old {
    pub managers: bool,
    pub workers: bool,
    pub clients: bool,
}

/// Bounds inside core's machines that nobody sets, made so tiny that what is rare in production
/// happens all the time: parts of messages, full windows, early acknowledgements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named after the bounds of core they stand for")]
pub struct Tiny {
    pub ids: u64,
    pub outcome_window: u64,
    pub worker_window: u64,
    pub unconfirmed: u64,
    pub orphans: u64,
    pub result_ack: u64,
}

impl Tiny {
    fn draw(rng: &mut argon_core::rng::Rng) -> Self {
        // What is not tiny is as it is in production, so that each is also met alone.
        let normal = Inner::default();
        let mut some = |tiny: &[u64], normal: u64| match rng.percent(60) {
            true => rng.pick(tiny),
            false => normal,
        };
        Self {
            ids: some(&[1, 1, 2, 5], normal.ids as u64),
            outcome_window: some(&[1, 30, 200], normal.outcome_window),
            worker_window: some(&[1, 30, 200], normal.worker_window),
            unconfirmed: some(&[0, 1, 4], normal.unreleased_bytes / UNCONFIRMED_BYTES_EACH),
            orphans: some(&[0, 1, 3], normal.orphans as u64),
            result_ack: some(&[0, MS, 50 * MS], normal.result_ack.as_nanos() as u64),
        }
    }

    /// In core's words.
    fn inner(&self) -> Inner {
        Inner {
            ids: self.ids as usize,
            outcome_window: self.outcome_window,
            worker_window: self.worker_window,
            unreleased_bytes: self.unconfirmed * UNCONFIRMED_BYTES_EACH,
            orphans: self.orphans as usize,
            result_ack: std::time::Duration::from_nanos(self.result_ack),
            waiting_run: WAITING_RUN_MIN,
            stream_ahead: STREAM_AHEAD_MAX,
            version: VERSION,
        }
    }
}

fn yes() -> bool {
    true
}

fn turn_time() -> u64 {
    argon_core::limits::TURN_TIME.as_nanos() as u64
}

fn runner_wait() -> u64 {
    10 * S
}

impl Options {
    /// Bounds inside core's machines, for processes of which it is known whether they are old.
    pub(crate) fn inner(&self, is_old: bool) -> Inner {
        let version = if is_old { Version::FIRST } else { VERSION };
        Inner {
            version,
            ..self.tiny.as_ref().map_or_else(Inner::default, Tiny::inner)
        }
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> u16 {
        self.managers + self.workers.len() as u16 + self.clients
    }

    /// The hosts of workers.
    #[must_use]
    pub fn worker_hosts(&self) -> std::ops::Range<Host> {
        self.managers..self.managers + self.workers.len() as u16
    }

    /// The hosts of clients.
    #[must_use]
    pub fn client_hosts(&self) -> std::ops::Range<Host> {
        self.managers + self.workers.len() as u16..self.hosts()
    }

    /// The names that the worker at this host runs in this life, a bit each.
    #[must_use]
    pub fn runs(&self, host: Host, count: u64) -> u8 {
        let index = usize::from(host - self.managers);
        let shift = if self.rolling { count as usize } else { 0 };
        match self.runs.len() {
            0 => u8::MAX,
            len => self.runs[(index + shift) % len],
        }
    }

    /// Whether every worker, in any life, runs tasks of this name.
    #[must_use]
    pub fn is_run_by_all(&self, name: u8) -> bool {
        self.runs.iter().all(|runs| runs & 1 << name != 0)
    }

    /// Whether this host is healed when faults end.
    #[must_use]
    pub fn is_core(&self, host: Host) -> bool {
        host == self.core_manager
            || self.core_workers.contains(&host)
            || self.core_clients.contains(&host)
    }

    /// Defaults for a cluster of this size: one manager, nothing goes wrong.
    #[must_use]
    pub fn calm(workers: Vec<u32>, clients: u16) -> Self {
        let worker_count = workers.len() as u16;
        Self {
            managers: 1,
            workers,
            clients,
            queue_tasks: 10_000,
            queue_bytes: 1 << 30,
            in_flight_tasks: 262_144,
            client_tasks: 131_072,
            client_result_bytes: 256 << 20,
            reconnect_grace: 250 * MS,
            lease: 2 * S,
            restart_grace: 3 * S,
            resume_timeout: 30 * S,
            max_requests: None,
            held_results: 65_536,
            kill_grace: 2 * S,
            drain_timeout: 30 * S,
            retries: Some(10),
            client_held: 65_536,
            delay: (50 * US, 200 * US),
            late_one_in: 0,
            step: 20 * US,
            batch: 1_000,
            spawn: 5 * MS,
            drift: 0,
            codec: false,
            check_every: 1,
            brief_quiet: false,
            payload_max: None,
            memory_limit: None,
            bandwidth: 0,
            runs: Vec::new(),
            rolling: false,
            runner_wait: runner_wait(),
            turn_time: turn_time(),
            waiting_runs: yes(),
            same_names: true,
            tiny: None,
            heal_at: S,
            core_manager: 0,
            core_workers: (1..=worker_count).collect(),
            core_clients: (1 + worker_count..1 + worker_count + clients).collect(),
            old: Old::default(),
        }
    }

    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = stream(seed, &[1]);
        let managers = rng.pick(&[1, 1, 1, 1, 2, 3]);
        let worker_count = rng.log_between(1, 8) as u16;
        let workers = (0..worker_count)
            .map(|_| rng.log_between(1, 8) as u32)
            .collect();
        let clients = rng.log_between(1, 6) as u16;
        let mut options = Self::calm(workers, clients);
        options.managers = managers;
        options.heal_at = rng.between(2, 25) * S;
        if rng.percent(50) {
            options.queue_tasks = rng.log_between(1, 500);
        }
        if rng.percent(15) {
            options.queue_bytes = rng.log_between(200, 100_000);
        }
        if rng.percent(15) {
            options.in_flight_tasks = rng.log_between(2, 64);
        }
        if rng.percent(15) {
            options.client_tasks = rng.log_between(2, 200);
        }
        if rng.percent(15) {
            options.client_result_bytes = rng.log_between(16, 10_000);
        }
        if rng.percent(15) {
            options.held_results = rng.log_between(2, 64);
        }
        options.reconnect_grace = rng.pick(&[250 * MS, 250 * MS, 0, 50 * MS]);
        options.lease = rng.pick(&[2 * S, 2 * S, S, 400 * MS]);
        options.resume_timeout = rng.pick(&[30 * S, 30 * S, 10 * S, 5 * S]);
        options.max_requests = rng.pick(&[None, None, Some(1), Some(7)]);
        options.kill_grace = rng.pick(&[2 * S, 100 * MS, 0]);
        options.drain_timeout = rng.pick(&[30 * S, S, 50 * MS]);
        options.retries = rng.pick(&[Some(10), Some(10), None, Some(0), Some(2)]);
        if rng.percent(10) {
            options.client_held = rng.log_between(1, 100);
        }
        options.delay = rng.pick(&[
            (50 * US, 200 * US),
            (50 * US, 200 * US),
            (0, 10 * US),
            (MS, 20 * MS),
            (10 * MS, 120 * MS),
        ]);
        options.late_one_in = rng.pick(&[0, 0, 20, 200]);
        // Delays that come near the lease are silence.
        if options.lease < 2 * S {
            options.delay.1 = options.delay.1.min(20 * MS);
            options.delay.0 = options.delay.0.min(options.delay.1);
            if options.lease < S {
                options.late_one_in = 0;
            }
        }
        options.step = rng.pick(&[0, 20 * US, 20 * US, MS, 15 * MS]);
        options.batch = rng.pick(&[1, 3, 64, 1_000, 1_000]);
        options.spawn = rng.pick(&[MS, 5 * MS, 50 * MS, S]);
        options.drift = rng.pick(&[0, 0, 200, 200, 50_000]);
        options.codec = rng.percent(25);
        options.same_names = rng.percent(80);
        options.pick_core(&mut rng);
        // Looking changes nothing but costs as much as all the rest: some runs look at every turn,
        // the others now and then, and all of them at the end.
        options.brief_quiet = stream(seed, &[20]).percent(90);
        let mut runs = stream(seed, &[21]);
        if runs.percent(15) {
            let some = |_: &u32| runs.between(1, 15) as u8;
            options.runs = options.workers.iter().map(some).collect();
            options.rolling = runs.percent(50);
            options.runner_wait = runs.pick(&[runner_wait(), S, 200 * MS]);
        }
        let mut tiny = stream(seed, &[33]);
        if tiny.percent(20) {
            options.tiny = Some(Tiny::draw(&mut tiny));
        }
        let mut old = stream(seed, &[35]);
        if old.percent(25) {
            options.old = Old {
                managers: old.percent(30),
                workers: old.percent(50),
                clients: old.percent(50),
            };
        }
        // Most tasks here take milliseconds.
        options.turn_time = stream(seed, &[34]).pick(&[turn_time(), 0, 20 * MS, S]);
        options.check_every = stream(seed, &[19]).pick(&[1, 16, 16, 64, 64, 256]);
        options
    }

    pub(crate) fn pick_core(&mut self, rng: &mut argon_core::rng::Rng) {
        self.core_manager = rng.between(0, u64::from(self.managers) - 1) as Host;
        let all = rng.percent(50);
        let mut some = |hosts: std::ops::Range<Host>| -> Vec<Host> {
            let must = rng.between(u64::from(hosts.start), u64::from(hosts.end) - 1) as Host;
            hosts
                .filter(|host| all || *host == must || rng.percent(60))
                .collect()
        };
        self.core_workers = some(self.managers..self.managers + self.workers.len() as u16);
        self.core_clients = some(self.managers + self.workers.len() as u16..self.hosts());
    }
}
