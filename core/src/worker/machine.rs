//! The worker's control flow: dispatches what comes in, and decides when it leaves.
//!
//! Owns: the phase of its life, and what is batched until `settle`. Never: decides the rules of
//! attempts, slots or results. Invariants: nothing starts and nothing is asked for while
//! leaving; outputs come in the order in which they were decided. Units: driver instants, but
//! awake instants for the manager's absence.

use alloc::collections::VecDeque;

use super::announced::Announced;
use super::answers::Answers;
use super::attempts::{AttemptKey, Attempts};
use super::outage::Outage;
use super::pool::{Pool, SlotState, Stage};
use super::window::{Demand, Window};
use super::{WorkerConfig, WorkerInput, WorkerOutput};
use crate::durations::Durations;
use crate::event::Event;
use crate::ids::SlotId;
use crate::limits::CAPACITY_MAX;
use crate::link::{Link, LinkConfig};
use crate::machine::Machine;
use crate::message::{FromWorker, Role};
use crate::rng::Rng;
use crate::time::{AwakeClock, AwakeInstant, Deadline, Instant, Timers, WakeReason};

/// Where in its life a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Takes attempts.
    Running,
    /// Finishes what may have started, and leaves at this instant at the latest.
    Draining { until: Instant },
    /// Has said goodbye; waits for its processes to end.
    Leaving,
    /// All are gone.
    Stopped,
}

/// What a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Attempts that wait for a slot.
    pub waiting: usize,
    /// Attempts that slots were given.
    pub given: usize,
    /// Ends that the manager has not acknowledged.
    pub held: usize,
    /// Their bytes.
    pub held_bytes: u64,
}

/// The worker's state machine.
#[derive(Clone, Debug)]
pub struct Worker {
    pub(super) config: WorkerConfig,
    pub(super) phase: Phase,
    pub(super) link: Link,
    /// The awake clock at the last call.
    pub(super) awake: AwakeInstant,
    pub(super) outage: Outage,
    pub(super) attempts: Attempts,
    pub(super) pool: Pool,
    /// Deadlines of the attempts that wait.
    pub(super) expiries: Timers<AttemptKey>,
    pub(super) durations: Durations,
    pub(super) demand: Demand,
    /// Largest payload that the manager takes.
    pub(super) payload_max: usize,
    pub(super) announced: Announced,
    pub(super) answers: Answers,
    pub(super) out: VecDeque<WorkerOutput>,
}

impl Worker {
    /// A worker that starts its pool and dials its manager.
    #[must_use]
    pub fn new(mut config: WorkerConfig, rng: Rng, now: Instant) -> Self {
        config.capacity = config.capacity.clamp(1, CAPACITY_MAX);
        config.held_results = config.held_results.max(1);
        config.held_bytes = config.held_bytes.max(1);
        let link = LinkConfig {
            peer: config.peer,
            name: config.name.clone(),
            role: Role::Worker {
                capacity: config.capacity,
            },
            addresses: config.addresses.max(1),
            version: config.inner.version,
        };
        let awake = AwakeClock::default().at(now);
        let mut out = VecDeque::new();
        let pool = Pool::new(
            now,
            config.capacity,
            config.max_requests,
            config.kill_grace,
            &mut out,
        );
        let attempts = Attempts::new(config.inner.stream_ahead);
        Self {
            config,
            phase: Phase::Running,
            link: Link::new(link, rng, now),
            awake,
            outage: Outage::from_the_start(awake),
            attempts,
            pool,
            expiries: Timers::default(),
            durations: Durations::new(),
            demand: Demand::new(now),
            payload_max: usize::MAX,
            announced: Announced::default(),
            answers: Answers::default(),
            out,
        }
    }

    /// What the worker holds now.
    #[must_use]
    pub fn load(&self) -> Load {
        let (waiting, held) = (self.attempts.waiting(), self.attempts.held());
        Load {
            waiting,
            given: self.attempts.len() - waiting - held,
            held,
            held_bytes: self.attempts.held_bytes(),
        }
    }

    pub(super) fn notify(&mut self, event: Event) {
        self.out.push_back(WorkerOutput::Notify(event));
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving | Phase::Stopped)
    }

    /// Whether the worker may look forward to more attempts, and how many.
    fn wanted(&self) -> Window {
        if self.phase != Phase::Running || self.demand.is_full() {
            return Window::CLOSED;
        }
        let round_trip = self.link.round_trip();
        let wanted = self.demand.wanted(self.pool.alive(), round_trip);
        // What has ended and is not received takes no slot, and nobody is to wait for its reader.
        wanted.beside(self.attempts.unread())
    }

    fn send_capabilities(&mut self, now: Instant) {
        if self.link.is_up()
            && let Some(capabilities) = self.announced.take_due()
        {
            self.link
                .send(now, FromWorker::Capabilities(capabilities), &mut self.out);
        }
    }

    fn grant(&mut self, now: Instant) {
        if !self.link.is_up() {
            return;
        }
        let wanted = self.wanted();
        if self.demand.grant(wanted) {
            let window = wanted.level();
            self.link
                .send(now, FromWorker::Grant { window }, &mut self.out);
        }
    }

    /// Sends a heartbeat for the sake of the round trip, now and then while attempts flow.
    fn probe(&mut self, now: Instant) {
        if !self.demand.take_probe(now) {
            return;
        }
        self.link.ping_now(now);
        let event = self.link.handle_timeout(now, &mut self.out);
        self.on_link_event(now, event);
    }

    fn drain(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        let until = now + self.config.drain_timeout;
        self.phase = Phase::Draining { until };
        self.notify(Event::DrainStarted);
        self.link.send(now, FromWorker::Draining, &mut self.out);
        self.return_waiting();
    }

    /// Leaves: attempts that are still here are lost, and every process is asked to end, politely unless
    /// `at_once`.
    pub(super) fn leave(&mut self, now: Instant, at_once: bool) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.flush_returned(now);
        for slot in (0..self.pool.capacity()).map(SlotId) {
            let place = self.pool.get(slot);
            let stage = match place.state {
                _ if at_once => Stage::Killed,
                SlotState::Starting => Stage::Killed,
                _ if place.queue.is_empty() => Stage::Retired,
                SlotState::Ready
                | SlotState::Stopping { .. }
                | SlotState::Dead
                | SlotState::Gone => Stage::Terminated,
            };
            self.pool.abandon(slot);
            self.pool.stop(now, slot, stage, None, &mut self.out);
        }
        self.attempts.clear(self.config.inner.stream_ahead);
        self.expiries = Timers::default();
        self.link.stop(now, &mut self.out);
        self.demand.on_down();
        self.phase = Phase::Leaving;
    }

    /// The earliest of all deadlines.
    fn next_deadline(&self) -> Option<Deadline> {
        let due = |at, reason| Deadline { at, reason };
        let pool = self.pool.next_timer().map(|(at, respawn)| match respawn {
            true => due(at, WakeReason::Respawn),
            false => due(at, WakeReason::Limit),
        });
        let expiry = self.expiries.next();
        let drain = match self.phase {
            Phase::Draining { until } => Some(due(until, WakeReason::Drain)),
            Phase::Running | Phase::Leaving | Phase::Stopped => None,
        };
        [
            self.link.poll_timeout(),
            pool,
            expiry.map(|(at, _)| due(at, WakeReason::Expiry)),
            drain,
        ]
        .into_iter()
        .flatten()
        .min_by_key(|deadline| deadline.at)
    }
}

impl Machine for Worker {
    type Input = WorkerInput;
    type Output = WorkerOutput;

    fn handle_input(&mut self, now: Instant, input: WorkerInput) {
        self.awake = self.link.awake(now);
        match input {
            WorkerInput::Link(input) => self.on_link(now, input),
            WorkerInput::Pool(input) => self.on_pool(now, input),
            WorkerInput::Drain => self.drain(now),
            WorkerInput::Stop => self.leave(now, true),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.awake = self.link.awake(now);
        // A heartbeat confirms what came before it, so the answers to that go first.
        self.answer_recalls(now);
        self.flush_returned(now);
        while self.link.poll_timeout().is_some_and(|due| due.at <= now) {
            let event = self.link.handle_timeout(now, &mut self.out);
            self.on_link_event(now, event);
        }
        while let Some(slot) = self.pool.pop_due(now) {
            self.on_slot_timer(now, slot);
        }
        while let Some(key) = self.expiries.pop_due(now) {
            self.expire(now, key);
        }
        if matches!(self.phase, Phase::Draining { until } if until <= now) {
            self.leave(now, false);
        }
    }

    fn settle(&mut self, now: Instant) {
        self.awake = self.link.awake(now);
        match self.phase {
            Phase::Running | Phase::Draining { .. } => {
                self.answer_recalls(now);
                self.feed(now);
                self.flush_returned(now);
                self.send_streams(now);
                self.send_capabilities(now);
                self.grant(now);
                self.probe(now);
                if self.phase != Phase::Running && self.attempts.len() == 0 {
                    self.leave(now, false);
                }
            }
            Phase::Leaving | Phase::Stopped => {}
        }
        if self.phase == Phase::Leaving && self.pool.is_gone() {
            self.phase = Phase::Stopped;
            self.out.push_back(WorkerOutput::Stopped);
        }
    }

    fn poll_output(&mut self) -> Option<WorkerOutput> {
        let output = self.out.pop_front();
        if output.is_none() {
            // The driver sleeps next.
            let next = self.next_deadline();
            self.link.expect(next.map(|deadline| deadline.at));
        }
        output
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.next_deadline()
    }

    fn check_invariants(&self) {
        self.check();
    }
}
