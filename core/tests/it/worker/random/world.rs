//! A worker between a manager and children that are all made up here.

mod take;

use crate::worker::bench::{EPOCH, LEASE, MS, US, attempt, payload};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use argon_core::capabilities::Capabilities;
use argon_core::event::Event;
use argon_core::ids::{Attempt, ConnId, SlotId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{
    Assign, Beat, Control, FromManager, FromWorker, Message, ToManager, ToWorker, Version, Welcome,
};
use argon_core::name::Name;
use argon_core::rng::Rng;
use argon_core::task::{ErrorKind, ExitCause, TaskError};
use argon_core::time::{Instant, Nanos};
use argon_core::worker::{
    JobEnd, PoolInput, PoolOutput, RunEnd, SlotLife, Worker, WorkerConfig, WorkerInput,
    WorkerOutput,
};
use bytes::Bytes;
/// A pool process as the worker's driver would see it.
#[derive(Debug, Default)]
pub(crate) struct Child {
    life: u64,
    alive: bool,
    ready: bool,
    killed: bool,
    leaving: bool,
    /// What its program runs.
    capabilities: Capabilities,
    queue: VecDeque<Attempt>,
}

/// What the manager knows of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Assigned on this connection, and nothing heard since.
    Assigned,
    /// The worker says that it has it.
    Running,
    Finished,
    NotStarted,
}

pub(crate) struct World {
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
    /// What the program of the child that got ready last runs.
    newest: Capabilities,
}

impl World {
    pub(crate) fn new(config: WorkerConfig) -> Self {
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
            newest: Capabilities::nothing(),
        };
        world.settle();
        world
    }

    pub(crate) fn feed(&mut self, input: WorkerInput) {
        self.worker.handle_input(self.now, input);
        self.worker.check_invariants();
    }

    pub(crate) fn say(&mut self, body: FromManager<ToWorker>, payload: Bytes) {
        if let (true, Some(conn)) = (self.up, self.conn) {
            let message = Message {
                body,
                payload: payload.into(),
            };
            self.feed(WorkerInput::Link(LinkInput::Received { conn, message }));
        }
    }

    pub(crate) fn pool(&mut self, input: PoolInput) {
        self.feed(WorkerInput::Pool(input));
    }

    pub(crate) fn settle(&mut self) {
        self.worker.settle(self.now);
        self.worker.check_invariants();
        while let Some(output) = self.worker.poll_output() {
            assert!(!self.stopped, "nothing comes after the end: {output:?}");
            match output {
                WorkerOutput::Link(output) => self.on_link(output),
                WorkerOutput::Pool(output) => {
                    output.singles().into_iter().for_each(|it| self.on_pool(it));
                }
                WorkerOutput::Notify(Event::SlotReady { slot }) => {
                    let child = &self.children[slot.0 as usize];
                    self.newest = child.capabilities.clone();
                }
                WorkerOutput::Notify(_) => {}
                WorkerOutput::Replaced => {}
                WorkerOutput::Stopped => {
                    assert!(self.children.iter().all(|child| !child.alive));
                    self.stopped = true;
                }
            }
        }
    }

    pub(crate) fn on_link(&mut self, output: LinkOutput) {
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
                    ToManager::Hello(_) => {}
                    ToManager::Ping(beat) => self.pings.push(beat),
                    body => {
                        assert!(self.up);
                        self.counted += 1;
                        self.on_message(body);
                    }
                }
            }
        }
    }

    pub(crate) fn on_message(&mut self, body: ToManager) {
        let first = std::mem::take(&mut self.reporting);
        match body {
            ToManager::Worker(FromWorker::Report(report)) => {
                assert!(first, "a report comes first and once");
                let (running, finished) = &mut self.report;
                running.extend(report.running.iter().map(|r| r.attempt));
                finished.extend(report.finished.iter().map(|r| r.attempt));
                self.reporting = !report.last;
                if report.last {
                    self.compare_report();
                }
            }
            ToManager::Worker(FromWorker::Grant { window }) => self.window = window,
            ToManager::Worker(FromWorker::Finished(finished)) => {
                let old = self.known.insert(finished.attempt, Known::Finished);
                assert!(!matches!(old, None | Some(Known::NotStarted)), "{old:?}");
                assert!(!self.acked.contains(&finished.attempt));
            }
            ToManager::Worker(FromWorker::Returned {
                not_started,
                started,
            }) => {
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
            ToManager::Worker(FromWorker::Draining) => assert!(self.draining),
            ToManager::Worker(FromWorker::Capabilities(capabilities)) => {
                assert!(!self.reporting, "the report comes first");
                assert_eq!(capabilities, self.newest);
            }
            ToManager::Goodbye | ToManager::Worker(FromWorker::Gone { .. }) => {}
            body => panic!("a worker never says {body:?}"),
        }
    }

    pub(crate) fn on_not_started(&mut self, attempt: Attempt) {
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
    pub(crate) fn compare_report(&mut self) {
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

    pub(crate) fn on_pool(&mut self, output: PoolOutput) {
        let slot = output.slot();
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
                assert_eq!(
                    child.capabilities, self.newest,
                    "only the newest program is used"
                );
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
                assert_eq!(job.payload, payload(job.attempt.number).into());
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
            PoolOutput::RunStreams { .. } | PoolOutput::Stream { .. } => {
                panic!("no task has streams")
            }
            PoolOutput::Spawn { .. } | PoolOutput::RunMany { .. } => {}
        }
    }

    pub(crate) fn child(&self, pick: u8) -> (usize, SlotLife) {
        let slot = usize::from(pick) % self.children.len();
        let life = SlotLife {
            slot: SlotId(slot as u32),
            life: self.children[slot].life,
        };
        (slot, life)
    }

    pub(crate) fn pick(&self, pick: u8) -> Attempt {
        // Recent ones, and now and then one that never was.
        match self.next.checked_sub(1 + u64::from(pick) % 40) {
            Some(number) => attempt(number),
            None => attempt(u64::MAX - u64::from(pick)),
        }
    }

    pub(crate) fn assign(&mut self, new: Assign) {
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
        self.say(FromManager::Role(ToWorker::Assign(new)), payload);
    }

    pub(crate) fn done(&mut self, slot: usize, life: SlotLife, ran: Duration, fails: bool) {
        if fails {
            // Whether an error counts depends on what the process had been told before.
            self.settle();
        }
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
                payload: payload.into(),
            });
        }
    }

    /// A child ends up to `count` attempts in one go. Whoever hears of many of them does what it would have
    /// done on hearing of one after the other.
    pub(crate) fn done_many(&mut self, slot: usize, life: SlotLife, count: usize, ran: Duration) {
        let child = &mut self.children[slot];
        if !child.alive || child.killed || child.queue.is_empty() || count == 0 {
            return;
        }
        let count = count.min(child.queue.len());
        let end = |attempt: Attempt| JobEnd {
            attempt,
            ran,
            end: RunEnd::Completed,
            payload: payload(attempt.number).into(),
        };
        let ends: Vec<_> = child.queue.drain(..count).map(end).collect();
        for JobEnd { attempt, .. } in &ends {
            self.last_ran.insert(self.names[attempt].clone(), ran);
        }
        let mut twin = self.worker.clone();
        for end in ends.clone() {
            let JobEnd {
                attempt,
                ran,
                end,
                payload,
            } = end;
            let done = PoolInput::Done {
                slot: life,
                attempt,
                ran,
                end,
                payload,
            };
            twin.handle_input(self.now, WorkerInput::Pool(done));
        }
        self.pool(PoolInput::DoneMany { slot: life, ends });
        let said = |mut worker: Worker| {
            worker.settle(self.now);
            let load = worker.load();
            let outputs: Vec<_> = std::iter::from_fn(|| worker.poll_output()).collect();
            (load, outputs)
        };
        assert_eq!(said(twin), said(self.worker.clone()));
    }

    pub(crate) fn dies(&mut self, slot: usize, life: SlotLife) {
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

    pub(crate) fn ready(&mut self, slot: usize, life: SlotLife) {
        let child = &mut self.children[slot];
        if child.alive && !child.ready && !child.killed {
            child.ready = true;
            // Somebody replaces the program now and then.
            let capabilities = if life.life % 5 < 3 {
                Capabilities::anything()
            } else {
                Capabilities::nothing()
            };
            child.capabilities = capabilities.clone();
            self.pool(PoolInput::Ready {
                slot: life,
                capabilities,
            });
        }
    }

    pub(crate) fn welcome(&mut self) {
        if let (false, Some(conn)) = (self.up, self.conn) {
            self.up = true;
            self.counted = 0;
            self.window = 0;
            self.reporting = true;
            self.pings.clear();
            let welcome = Welcome {
                version: Version::FIRST,
                epoch: EPOCH,
                resumed: true,
                lease: LEASE.into(),
                payload_max: u32::MAX,
            };
            let message = FromManager::Control(Control::Welcome(welcome)).into();
            self.feed(WorkerInput::Link(LinkInput::Received { conn, message }));
        }
    }

    pub(crate) fn pong(&mut self) {
        for beat in std::mem::take(&mut self.pings) {
            let received = self.counted;
            self.say(
                FromManager::Control(Control::Pong(Beat { received, ..beat })),
                Bytes::new(),
            );
        }
    }

    /// Wakes the worker whenever it wants to be woken.
    pub(crate) fn pass(&mut self, span: Duration) {
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

    pub(crate) fn ack(&mut self, attempts: Vec<Attempt>) {
        // What was sent before this message must be heard before the manager can acknowledge it.
        self.settle();
        let finished = |attempt: &Attempt| self.known.get(attempt) == Some(&Known::Finished);
        let attempts: Vec<_> = attempts.into_iter().filter(finished).collect();
        if self.up {
            self.acked.extend(&attempts);
            self.say(
                FromManager::Role(ToWorker::AckResults { attempts }),
                Bytes::new(),
            );
        }
    }

    /// All goes well from here on, until nothing changes.
    pub(crate) fn calm_down(&mut self) {
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
            let unheard = |(attempt, known): (&Attempt, &Known)| {
                let open = *known != Known::NotStarted && !self.acked.contains(attempt);
                open.then_some(*attempt)
            };
            let unheard: Vec<_> = self.known.iter().filter_map(unheard).collect();
            for attempt in unheard {
                self.say(
                    FromManager::Role(ToWorker::Resend { attempt }),
                    Bytes::new(),
                );
            }
            let attempts: Vec<_> = self.known.keys().copied().collect();
            self.ack(attempts);
            self.pass(MS * 400);
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
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
    pub(crate) fn check_quiet(&self) {
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
