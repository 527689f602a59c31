//! Random steps against a worker: a manager that now and then talks nonsense, children that
//! die, connections that come and go, time that passes. After each step the worker's invariants
//! hold; at the end, once all is quiet, nothing is left over.

mod worker_support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use argon_core::ids::{Attempt, ConnId, SlotId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{Assign, Beat, Body, Message, VERSION, Welcome};
use argon_core::name::Name;
use argon_core::rng::Rng;
use argon_core::task::{ErrorKind, ExitCause, TaskError};
use argon_core::time::{Instant, Nanos};
use argon_core::worker::{
    PoolInput, PoolOutput, RunEnd, SlotLife, Worker, WorkerConfig, WorkerInput, WorkerOutput,
};
use bytes::Bytes;
use proptest::prelude::*;
use worker_support::{EPOCH, LEASE, MS, US, assign, attempt, config, payload};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Assign {
        name: u8,
        at_most_once: bool,
        deadline: Option<u16>,
        limit: Option<u16>,
    },
    AssignMany(u8),
    AssignAgain(u8),
    TakeBack(Vec<u8>),
    Kill(u8),
    Resend(u8),
    Ack(Vec<u8>),
    AckAll,
    Nonsense(u8),
    Connected,
    Welcome,
    Pong,
    Cut,
    Ready(u8),
    Done {
        slot: u8,
        ran: u32,
        fails: bool,
    },
    DoneMany(u8),
    Dies(u8),
    Memory(u8),
    /// An answer that was not asked for, or one of an earlier process.
    Lies(u8),
    Pass(u32),
    Settle,
    Drain,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let few = || prop::collection::vec(any::<u8>(), 0..6);
    let step = prop_oneof![
        12 => (
            0..3_u8,
            prop::bool::weighted(0.2),
            prop::option::weighted(0.2, 0..2_000_u16),
            prop::option::weighted(0.2, 0..2_000_u16),
        )
            .prop_map(|(name, at_most_once, deadline, limit)| Step::Assign {
                name,
                at_most_once,
                deadline,
                limit,
            }),
        2 => any::<u8>().prop_map(Step::AssignMany),
        1 => any::<u8>().prop_map(Step::AssignAgain),
        2 => few().prop_map(Step::TakeBack),
        2 => any::<u8>().prop_map(Step::Kill),
        1 => any::<u8>().prop_map(Step::Resend),
        3 => few().prop_map(Step::Ack),
        1 => Just(Step::AckAll),
        1 => any::<u8>().prop_map(Step::Nonsense),
        5 => Just(Step::Connected),
        5 => Just(Step::Welcome),
        4 => Just(Step::Pong),
        2 => Just(Step::Cut),
        8 => any::<u8>().prop_map(Step::Ready),
        10 => (any::<u8>(), 0..3_000_000_u32, any::<bool>())
            .prop_map(|(slot, ran, fails)| Step::Done { slot, ran, fails }),
        4 => any::<u8>().prop_map(Step::DoneMany),
        3 => any::<u8>().prop_map(Step::Dies),
        1 => any::<u8>().prop_map(Step::Memory),
        1 => any::<u8>().prop_map(Step::Lies),
        10 => prop_oneof![
            0..100_u32,
            0..100_000_u32,
            0..3_000_000_u32
        ]
        .prop_map(Step::Pass),
        25 => Just(Step::Settle),
    ];
    let leave = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Step::Drain)),
        1 => Just(Some(Step::Stop)),
    ];
    (prop::collection::vec(step, 1..250), leave).prop_map(|(mut steps, leave)| {
        // At a place that depends on the steps, so that shrinking keeps it.
        if let Some(leave) = leave {
            steps.insert(steps.len() * 2 / 3, leave);
        }
        steps
    })
}

fn worker_config() -> impl Strategy<Value = WorkerConfig> {
    (
        1..5_u32,
        prop::option::weighted(0.3, 1..20_u64),
        prop::option::weighted(0.3, 1..2_000_u64),
        prop::option::weighted(0.3, Just(1_000_u64)),
        1..40_usize,
        prop_oneof![Just(u64::MAX), 1..500_u64],
    )
        .prop_map(
            |(capacity, requests, limit, memory, results, bytes)| WorkerConfig {
                max_requests: requests,
                time_limit: limit.map(Duration::from_millis),
                memory_limit: memory,
                held_results: results,
                held_bytes: bytes,
                ..config(capacity)
            },
        )
}

/// A pool process as the worker's driver would see it.
#[derive(Debug, Default)]
struct Child {
    life: u64,
    alive: bool,
    ready: bool,
    killed: bool,
    leaving: bool,
    queue: VecDeque<Attempt>,
}

/// What the manager knows of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Assigned on this connection, and nothing heard since.
    Assigned,
    /// The worker says that it has it.
    Running,
    Finished,
    NotStarted,
}

struct World {
    worker: Worker,
    now: Instant,
    children: Vec<Child>,
    conn: Option<ConnId>,
    up: bool,
    counted: u64,
    pings: Vec<Beat>,
    window: u32,
    known: BTreeMap<Attempt, Known>,
    at_most_once: BTreeSet<Attempt>,
    acked: BTreeSet<Attempt>,
    /// How often each was written to a child.
    starts: BTreeMap<Attempt, u32>,
    report: (BTreeSet<Attempt>, BTreeSet<Attempt>),
    reporting: bool,
    names: BTreeMap<Attempt, Name>,
    /// The run time of the last one that ended by itself.
    last_ran: BTreeMap<Name, Duration>,
    next: u64,
    stopped: bool,
    draining: bool,
}

impl World {
    fn new(config: WorkerConfig) -> Self {
        let now = Instant::ZERO + MS;
        let mut world = Self {
            children: (0..config.capacity).map(|_| Child::default()).collect(),
            worker: Worker::new(config, Rng::from_seed(3), now),
            now,
            conn: None,
            up: false,
            counted: 0,
            pings: Vec::new(),
            window: 0,
            known: BTreeMap::new(),
            at_most_once: BTreeSet::new(),
            acked: BTreeSet::new(),
            starts: BTreeMap::new(),
            report: Default::default(),
            reporting: false,
            names: BTreeMap::new(),
            last_ran: BTreeMap::new(),
            next: 0,
            stopped: false,
            draining: false,
        };
        world.settle();
        world
    }

    fn feed(&mut self, input: WorkerInput) {
        self.worker.handle_input(self.now, input);
        self.worker.check_invariants();
    }

    fn say(&mut self, body: Body, payload: Bytes) {
        if let (true, Some(conn)) = (self.up, self.conn) {
            let message = Message { body, payload };
            self.feed(WorkerInput::Link(LinkInput::Received { conn, message }));
        }
    }

    fn pool(&mut self, input: PoolInput) {
        self.feed(WorkerInput::Pool(input));
    }

    fn settle(&mut self) {
        self.worker.settle(self.now);
        self.worker.check_invariants();
        while let Some(output) = self.worker.poll_output() {
            assert!(!self.stopped, "nothing comes after the end: {output:?}");
            match output {
                WorkerOutput::Link(output) => self.on_link(output),
                WorkerOutput::Pool(output) => self.on_pool(output),
                WorkerOutput::Notify(_) => {}
                WorkerOutput::Stopped => {
                    assert!(self.children.iter().all(|child| !child.alive));
                    self.stopped = true;
                }
            }
        }
    }

    fn on_link(&mut self, output: LinkOutput) {
        match output {
            LinkOutput::Connect { conn, .. } => {
                assert_eq!(self.conn, None, "one connection at a time");
                self.conn = Some(conn);
            }
            LinkOutput::Close { conn, .. } => {
                assert_eq!(self.conn, Some(conn));
                self.conn = None;
                self.up = false;
            }
            LinkOutput::Send { conn, message } => {
                assert_eq!(self.conn, Some(conn));
                match message.body {
                    Body::Hello(_) => {}
                    Body::Ping(beat) => self.pings.push(beat),
                    body => {
                        assert!(self.up);
                        self.counted += 1;
                        self.on_message(body);
                    }
                }
            }
        }
    }

    fn on_message(&mut self, body: Body) {
        let first = std::mem::take(&mut self.reporting);
        match body {
            Body::Report(report) => {
                assert!(first, "a report comes first and once");
                let (running, finished) = &mut self.report;
                running.extend(report.running.iter().map(|r| r.attempt));
                finished.extend(report.finished.iter().map(|r| r.attempt));
                self.reporting = !report.last;
                if report.last {
                    self.compare_report();
                }
            }
            Body::Grant { window } => self.window = window,
            Body::Finished(finished) => {
                let old = self.known.insert(finished.attempt, Known::Finished);
                assert!(!matches!(old, None | Some(Known::NotStarted)), "{old:?}");
                assert!(!self.acked.contains(&finished.attempt));
            }
            Body::Returned {
                not_started,
                started,
            } => {
                for attempt in not_started {
                    self.on_not_started(attempt);
                }
                for attempt in started {
                    let old = self.known.insert(attempt, Known::Running);
                    assert!(matches!(
                        old,
                        Some(Known::Assigned | Known::Running | Known::Finished)
                    ));
                    if old == Some(Known::Finished) {
                        self.known.insert(attempt, Known::Finished);
                    }
                }
            }
            Body::Draining => assert!(self.draining),
            Body::Goodbye => {}
            body => panic!("a worker never says {body:?}"),
        }
    }

    fn on_not_started(&mut self, attempt: Attempt) {
        if let Some(known) = self.known.get(&attempt).copied() {
            if known == Known::Finished {
                assert!(self.acked.contains(&attempt), "its end was held");
                return;
            }
            assert!(!self.starts.contains_key(&attempt), "{attempt} had started");
            self.known.insert(attempt, Known::NotStarted);
        }
    }

    /// Everything that ever started or ended here and is not acknowledged is in the report, in
    /// one place; nothing else is.
    fn compare_report(&mut self) {
        let (running, finished) = std::mem::take(&mut self.report);
        assert!(running.is_disjoint(&finished));
        let reported: BTreeSet<_> = running.union(&finished).copied().collect();
        let started: BTreeSet<_> = self.starts.keys().copied().collect();
        let expected: BTreeSet<_> = started.difference(&self.acked).copied().collect();
        assert_eq!(reported, expected);
        for (attempt, known) in &mut self.known {
            if *known == Known::Assigned && !reported.contains(attempt) {
                *known = Known::NotStarted;
            }
            if *known == Known::Finished && !self.acked.contains(attempt) {
                assert!(finished.contains(attempt), "a held result is reported");
            }
        }
        for attempt in running {
            self.known.insert(attempt, Known::Running);
        }
        for attempt in finished {
            self.known.insert(attempt, Known::Finished);
        }
    }

    fn on_pool(&mut self, output: PoolOutput) {
        let (PoolOutput::Spawn { slot }
        | PoolOutput::Run { slot, .. }
        | PoolOutput::Terminate { slot }
        | PoolOutput::Kill { slot }
        | PoolOutput::Retire { slot }) = output;
        let child = &mut self.children[slot.slot.0 as usize];
        if let PoolOutput::Spawn { .. } = output {
            assert!(!child.alive, "one process a slot");
            assert!(slot.life > child.life);
            *child = Child {
                life: slot.life,
                alive: true,
                ..Child::default()
            };
            return;
        }
        assert_eq!(child.life, slot.life);
        if !child.alive {
            // It died before it could be told.
            assert!(!matches!(output, PoolOutput::Run { .. }));
            return;
        }
        match output {
            PoolOutput::Run { job, .. } => {
                assert!(child.ready && !child.leaving && !child.killed);
                let once = self.at_most_once.contains(&job.attempt);
                let tiny = self.last_ran.get(&job.name).is_some_and(|&ran| ran < MS);
                self.names.insert(job.attempt, job.name);
                assert!(
                    child.queue.is_empty() || (tiny && !once),
                    "queued inside a child"
                );
                child.queue.push_back(job.attempt);
                let starts = self.starts.entry(job.attempt).or_default();
                *starts += 1;
                assert!(!(once && *starts > 1), "started twice");
                assert_eq!(job.payload, payload(job.attempt.number));
            }
            PoolOutput::Retire { .. } => {
                assert!(child.queue.is_empty());
                child.leaving = true;
            }
            PoolOutput::Terminate { .. } => child.leaving = true,
            PoolOutput::Kill { .. } => {
                assert!(!child.killed, "once is enough");
                child.killed = true;
            }
            PoolOutput::Spawn { .. } => {}
        }
    }

    fn child(&self, pick: u8) -> (usize, SlotLife) {
        let slot = usize::from(pick) % self.children.len();
        let life = SlotLife {
            slot: SlotId(slot as u32),
            life: self.children[slot].life,
        };
        (slot, life)
    }

    fn pick(&self, pick: u8) -> Attempt {
        // Recent ones, and now and then one that never was.
        match self.next.checked_sub(1 + u64::from(pick) % 40) {
            Some(number) => attempt(number),
            None => attempt(u64::MAX - u64::from(pick)),
        }
    }

    fn assign(&mut self, new: Assign) {
        if !self.up {
            return;
        }
        let outstanding = self.known.values();
        let outstanding = outstanding.filter(|k| matches!(k, Known::Assigned | Known::Running));
        if outstanding.count() as u32 >= self.window {
            return;
        }
        self.next += 1;
        self.known.insert(new.attempt, Known::Assigned);
        if new.at_most_once {
            self.at_most_once.insert(new.attempt);
        }
        let payload = payload(new.attempt.number);
        self.say(Body::Assign(new), payload);
    }

    fn done(&mut self, slot: usize, life: SlotLife, ran: Duration, fails: bool) {
        let child = &mut self.children[slot];
        if child.alive
            && !child.killed
            && let Some(attempt) = child.queue.pop_front()
        {
            if !(fails && child.leaving) {
                let name = self.names[&attempt].clone();
                self.last_ran.insert(name, ran);
            }
            let end = if fails {
                RunEnd::Failed(TaskError::new(ErrorKind::Exit(1), "no").into())
            } else {
                RunEnd::Completed
            };
            let payload = payload(attempt.number);
            let slot = life;
            self.pool(PoolInput::Done {
                slot,
                attempt,
                ran,
                end,
                payload,
            });
        }
    }

    fn dies(&mut self, slot: usize, life: SlotLife) {
        let child = &mut self.children[slot];
        if child.alive {
            child.alive = false;
            child.queue.clear();
            self.pool(PoolInput::Exited {
                slot: life,
                cause: ExitCause::Signal(9),
                stderr: String::new(),
            });
        }
    }

    fn ready(&mut self, slot: usize, life: SlotLife) {
        let child = &mut self.children[slot];
        if child.alive && !child.ready && !child.killed {
            child.ready = true;
            self.pool(PoolInput::Ready { slot: life });
        }
    }

    fn welcome(&mut self) {
        if let (false, Some(conn)) = (self.up, self.conn) {
            self.up = true;
            self.counted = 0;
            self.window = 0;
            self.reporting = true;
            self.pings.clear();
            let welcome = Welcome {
                version: VERSION,
                epoch: EPOCH,
                resumed: true,
                lease: LEASE.into(),
                payload_max: u32::MAX,
            };
            let message = Body::Welcome(welcome).into();
            self.feed(WorkerInput::Link(LinkInput::Received { conn, message }));
        }
    }

    fn pong(&mut self) {
        for beat in std::mem::take(&mut self.pings) {
            let received = self.counted;
            self.say(Body::Pong(Beat { received, ..beat }), Bytes::new());
        }
    }

    /// Wakes the worker whenever it wants to be woken.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let due = self.worker.poll_timeout().map(|deadline| deadline.at);
            self.now = due.map_or(until, |due| due.max(self.now).min(until));
            self.worker.handle_timeout(self.now);
            self.worker.check_invariants();
            self.settle();
            let next = self.worker.poll_timeout();
            assert!(
                next.is_none_or(|next| next.at > self.now),
                "a busy loop: {next:?} at {:?}",
                self.now
            );
            if self.now == until {
                return;
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Assign {
                name,
                at_most_once,
                deadline,
                limit,
            } => {
                let span = |span: Option<u16>| {
                    Nanos::from(span.map(|span| Duration::from_millis(span.into())))
                };
                self.assign(Assign {
                    at_most_once,
                    deadline: span(deadline),
                    time_limit: span(limit),
                    name: worker_support::name(["n0", "n1", "n2"][usize::from(name)]),
                    ..assign(self.next)
                });
            }
            Step::AssignMany(count) => {
                for _ in 0..count % 64 {
                    let name = worker_support::name("n0");
                    self.assign(Assign {
                        name,
                        ..assign(self.next)
                    });
                }
            }
            Step::AssignAgain(pick) => {
                let attempt = self.pick(pick);
                // A manager never assigns anew what it was told the end of.
                let known = self.known.get(&attempt);
                if matches!(known, Some(Known::Running)) {
                    let again = assign(attempt.number);
                    self.say(Body::Assign(again), payload(attempt.number));
                }
            }
            Step::TakeBack(picks) => {
                let attempts = picks.into_iter().map(|pick| self.pick(pick)).collect();
                self.say(Body::TakeBack { attempts }, Bytes::new());
            }
            Step::Kill(pick) => {
                let attempt = self.pick(pick);
                self.say(Body::Kill { attempt }, Bytes::new());
            }
            Step::Resend(pick) => {
                let attempt = self.pick(pick);
                self.say(Body::Resend { attempt }, Bytes::new());
            }
            Step::Ack(picks) => {
                let attempts: Vec<_> = picks.into_iter().map(|pick| self.pick(pick)).collect();
                self.ack(attempts);
            }
            Step::AckAll => {
                let attempts: Vec<_> = self.known.keys().copied().collect();
                self.ack(attempts);
            }
            Step::Nonsense(what) => {
                let body = match what % 4 {
                    0 => Body::Goodbye,
                    1 => Body::Grant { window: 9 },
                    2 => Body::Unknown { seqs: Vec::new() },
                    _ => Body::Pong(Beat {
                        nonce: 0,
                        received: u64::MAX,
                    }),
                };
                self.say(body, Bytes::new());
            }
            Step::Connected => {
                if let (false, Some(conn)) = (self.up, self.conn) {
                    self.feed(WorkerInput::Link(LinkInput::Connected { conn }));
                }
            }
            Step::Welcome => self.welcome(),
            Step::Pong => self.pong(),
            Step::Cut => {
                self.settle();
                if let Some(conn) = self.conn.take() {
                    self.up = false;
                    self.feed(WorkerInput::Link(LinkInput::Closed { conn }));
                }
            }
            Step::Ready(pick) => {
                let (slot, life) = self.child(pick);
                self.ready(slot, life);
            }
            Step::Done { slot, ran, fails } => {
                let (slot, life) = self.child(slot);
                self.done(slot, life, Duration::from_nanos(ran.into()), fails);
            }
            Step::DoneMany(pick) => {
                let (slot, life) = self.child(pick);
                for _ in 0..pick {
                    self.done(slot, life, US, false);
                }
            }
            Step::Dies(pick) => {
                let (slot, life) = self.child(pick);
                self.dies(slot, life);
            }
            Step::Memory(pick) => {
                let (_, slot) = self.child(pick);
                let bytes = u64::from(pick) * 10;
                self.pool(PoolInput::Memory { slot, bytes });
            }
            Step::Lies(pick) => {
                let (_, mut slot) = self.child(pick);
                slot.life -= u64::from(pick) % 2;
                let attempt = attempt(u64::MAX);
                self.pool(PoolInput::Done {
                    slot,
                    attempt,
                    ran: MS,
                    end: RunEnd::Completed,
                    payload: Bytes::new(),
                });
            }
            Step::Pass(micros) => {
                self.settle();
                self.pass(US * micros);
            }
            Step::Settle => self.settle(),
            Step::Drain => {
                self.draining = true;
                self.feed(WorkerInput::Drain);
            }
            Step::Stop => {
                self.draining = true;
                self.feed(WorkerInput::Stop);
            }
        }
    }

    fn ack(&mut self, attempts: Vec<Attempt>) {
        // What was sent before this message must be heard before the manager can acknowledge it.
        self.settle();
        let finished = |attempt: &Attempt| self.known.get(attempt) == Some(&Known::Finished);
        let attempts: Vec<_> = attempts.into_iter().filter(finished).collect();
        if self.up {
            self.acked.extend(&attempts);
            self.say(Body::AckResults { attempts }, Bytes::new());
        }
    }

    /// All goes well from here on, until nothing changes.
    fn calm_down(&mut self) {
        // Enough for a whole window, one attempt a process and two rounds a process.
        for _ in 0..500 {
            if self.is_quiet() {
                break;
            }
            self.settle();
            for slot in 0..self.children.len() {
                let life = self.child(slot as u8).1;
                if self.children[slot].leaving || self.children[slot].killed {
                    self.dies(slot, life);
                    self.settle();
                }
                let life = self.child(slot as u8).1;
                self.ready(slot, life);
                while !self.children[slot].queue.is_empty() && !self.children[slot].killed {
                    self.done(slot, life, US, false);
                    self.settle();
                }
            }
            self.welcome();
            self.settle();
            self.pong();
            for attempt in self.known.clone().into_keys() {
                self.say(Body::Resend { attempt }, Bytes::new());
            }
            let attempts: Vec<_> = self.known.keys().copied().collect();
            self.ack(attempts);
            self.pass(MS * 400);
        }
    }

    fn is_quiet(&self) -> bool {
        let ended = |known: &Known| matches!(known, Known::Finished | Known::NotStarted);
        let alive = |child: &Child| child.alive && child.ready && !child.leaving && !child.killed;
        self.stopped
            || self.up
                && !self.draining
                && self.known.values().all(ended)
                && self.children.iter().all(alive)
                && self.window >= self.children.len() as u32
    }

    /// The laws of the end.
    fn check_quiet(&self) {
        for child in &self.children {
            assert!(child.queue.is_empty());
            assert_eq!(
                child.alive, !self.stopped,
                "every slot is idle, or all are gone"
            );
        }
        assert_eq!(
            self.stopped, self.draining,
            "who was told to leave has left"
        );
        if self.stopped {
            return;
        }
        assert!(self.up);
        assert!(
            self.window >= self.children.len() as u32,
            "all that was taken is given back"
        );
        for (attempt, known) in &self.known {
            assert!(
                matches!(known, Known::Finished | Known::NotStarted),
                "{attempt} is {known:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_doubled_or_left_over(
        config in worker_config(),
        steps in steps(),
    ) {
        let mut world = World::new(config);
        for step in steps {
            world.take(step);
        }
        world.calm_down();
        world.check_quiet();
    }
}
