//! The manager: takes tasks in within bounds, routes them, and sees each to its one outcome.
//!
//! Owns: sessions of clients and workers, the tasks, and who has which attempt. The order of the
//! queue is [`crate::queue`]'s business, the choice of a worker [`crate::router`]'s. Never: looks
//! into a payload, or remembers anything that clients and workers could not tell it again.
//!
//! Invariants (all asserted by `check_invariants`): a task is in the queue if and only if its
//! state says so; an attempt occupies exactly one worker; what a task says about its attempts and
//! what workers say about theirs agrees; every counter equals what it counts.
//!
//! Units: instants of the driver for what users asked for, of the awake clock for silence.

mod abilities;
mod attempts;
mod clients;
mod config;
mod connections;
mod dispatch;
mod endings;
mod idle;
mod invariants;
mod nested;
mod pace;
mod report;
mod rest;
mod results;
mod session;
mod similar;
mod status;
mod submissions;
mod tasks;
mod trust;
mod unroutable;
mod workers;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::arena::Arena;
use crate::protocol_error::ProtocolError;

use crate::durations::Durations;
use crate::event::{CloseReason, Event};
use crate::ids::{Attempt, ConnId, PeerId, TaskId};
use crate::limits::HEARTBEATS_PER_LEASE;
use crate::machine::Machine;
use crate::message::{Body, Message};
use crate::name::Name;
use crate::queue::{ClientKey, Queue, TaskKey};
use crate::router::WorkerKey;
use crate::seq_map::SeqMap;
use crate::time::{AwakeClock, AwakeInstant, Deadline, Instant, Timers, WakeReason};

pub use config::{ConfigError, ManagerConfig};
pub use status::Load;

use abilities::Abilities;
use dispatch::Look;
use idle::Idle;
use nested::Nested;
use pace::Pace;
use results::Results;
use session::{ClientSession, Conn, Peer, WorkerSession};
use tasks::Tasks;
use trust::Trust;
use unroutable::{Renewal, Unroutable};

/// A fact for the manager.
#[derive(Clone, Debug)]
pub enum ManagerInput {
    /// A connection came in. The driver numbers it; numbers are never used twice.
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// Where from, if the network has addresses; for people to read.
        from: Option<SocketAddr>,
    },
    /// A message came.
    Received {
        /// On this connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// Bytes moved in either direction although no message was finished. The driver says so now
    /// and then, not at every byte.
    Progress {
        /// On this connection.
        conn: ConnId,
    },
    /// A peer's large frame is not read on for now; said again now and then while that is so.
    Paused {
        /// On this connection.
        conn: ConnId,
    },
    /// A connection is gone: the peer or the network closed it, or what came was no frame.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Take no new tasks; finish what runs.
    Drain,
}

/// What the driver of a manager is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerOutput {
    /// Send a message.
    Send {
        /// On this connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// Send what is waiting, then close. No `Closed` needs to come back.
    Close {
        /// Which.
        conn: ConnId,
        /// For the log.
        reason: CloseReason,
    },
    /// For the log; safe to drop.
    Notify(Event),
    /// The drain is done: nothing runs and nothing waits to be acknowledged.
    Drained,
}

/// Deadlines on the driver's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A task's own deadline.
    Expiry(TaskKey),
    /// A task has waited for its start as long as it may.
    StartBy(TaskKey),
    /// Look for tasks that wait behind a busy worker.
    TakeBack,
    /// A result is acknowledged to its worker before its client has answered.
    ResultAck,
    /// What workers run has changed, and the classes have yet to follow.
    Renew,
    /// A worker on which everything fails is tried once more.
    Trial(WorkerKey),
}

/// Deadlines that measure the absence of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PeerTimer {
    /// While anybody is connected: being late for this shows that we were asleep, long before
    /// anybody's silence could be held against them.
    Tick,
    /// A peer on this connection should have been heard, or have finished its handshake.
    Silence(ConnId),
    /// A worker's attempts go elsewhere.
    Grace(WorkerKey),
    /// A worker's session ends.
    Worker(WorkerKey),
    /// A client's session ends.
    Client(ClientKey),
    /// A held task waits no longer for a worker to claim it.
    Claim(TaskKey),
    /// A worker should have answered for what was asked back on this connection.
    TakeBack(ConnId),
    /// A task whose end was asked for waits no longer for its worker's answer.
    Ending(TaskKey),
    /// An orphan waits no longer for its client.
    Orphan(WorkerKey, Attempt),
    /// Tasks that nobody can run have waited long enough.
    Unroutable,
    /// A manager without workers, just started or just left by the last of them, no longer expects
    /// any to come.
    NoWorkers,
}

/// Counters for the status report, since the start.
#[derive(Clone, Debug, Default)]
struct Totals {
    accepted: u64,
    rejected: u64,
    displaced: u64,
    completed: u64,
    not_completed: u64,
    attempts_lost: u64,
}

/// The manager's state machine.
#[derive(Clone, Debug)]
pub struct Manager {
    config: ManagerConfig,
    started: Instant,
    clock: AwakeClock,
    alarms: Timers<Alarm>,
    peer_timers: Timers<PeerTimer, AwakeInstant>,
    outputs: VecDeque<ManagerOutput>,

    conns: SeqMap<ConnId, Conn>,
    /// Connections whose hello has yet to come.
    pending: usize,
    observers: usize,
    clients: Arena<ClientKey, ClientSession>,
    clients_by_id: BTreeMap<PeerId, ClientKey>,
    workers: Arena<WorkerKey, WorkerSession>,
    workers_by_id: BTreeMap<PeerId, WorkerKey>,
    workers_by_name: BTreeMap<Name, WorkerKey>,
    /// Workers whose name another has taken; they are not let in again.
    replaced: VecDeque<PeerId>,
    idle: Idle,
    nested: Nested,

    tasks: Tasks,
    results: Results,
    queue: Queue,
    abilities: Abilities,
    unroutable: Unroutable,
    renewal: Renewal,
    /// Dispatches since the oldest of all classes was taken, while several could be.
    since_oldest: u32,
    durations: Durations,
    pace: Pace,
    /// Attempts reported for tasks that are not here, by task.
    orphans: BTreeSet<(TaskId, WorkerKey, Attempt)>,
    /// Workers that have finished something since their score was last set.
    stale_scores: Vec<WorkerKey>,
    /// Workers with more attempts than slots; where tasks can be taken back from.
    ahead: BTreeSet<WorkerKey>,
    look: Look,
    trust: Trust,

    /// Slots of the workers that are connected and take tasks.
    capacity: u64,
    connected_workers: usize,
    /// Workers may still come back from before a restart.
    starting: bool,
    draining: bool,
    drained: bool,
    totals: Totals,
}

impl Manager {
    /// A manager that knows nobody yet.
    #[must_use]
    pub fn new(config: ManagerConfig, now: Instant) -> Self {
        let mut peer_timers = Timers::default();
        let clock = AwakeClock::default();
        peer_timers.set(PeerTimer::NoWorkers, clock.at(now) + config.restart_grace);
        Self {
            queue: Queue::new(config.queue_tasks, config.queue_bytes),
            started: now,
            clock,
            alarms: Timers::default(),
            peer_timers,
            outputs: VecDeque::new(),
            conns: SeqMap::default(),
            pending: 0,
            observers: 0,
            clients: Arena::default(),
            clients_by_id: BTreeMap::new(),
            workers: Arena::default(),
            workers_by_id: BTreeMap::new(),
            workers_by_name: BTreeMap::new(),
            replaced: VecDeque::new(),
            nested: Nested::default(),
            idle: Idle::default(),
            tasks: Tasks::new(&config),
            results: Results::new(&config),
            config,
            abilities: Abilities::new(),
            unroutable: Unroutable::default(),
            renewal: Renewal::default(),
            since_oldest: 0,
            durations: Durations::new(),
            pace: Pace::new(now),
            orphans: BTreeSet::new(),
            stale_scores: Vec::new(),
            ahead: BTreeSet::new(),
            look: Look::default(),
            trust: Trust::default(),
            capacity: 0,
            connected_workers: 0,
            starting: true,
            draining: false,
            drained: false,
            totals: Totals::default(),
        }
    }

    fn client(&mut self, key: ClientKey) -> &mut ClientSession {
        &mut self.clients[key]
    }

    fn worker(&mut self, key: WorkerKey) -> &mut WorkerSession {
        &mut self.workers[key]
    }

    fn notify(&mut self, event: Event) {
        self.outputs.push_back(ManagerOutput::Notify(event));
    }

    /// Sends a message that the peer counts.
    fn send(&mut self, now: Instant, conn: ConnId, message: impl Into<Message>) {
        if self.count_sent(now, conn) {
            let message = message.into();
            self.outputs
                .push_back(ManagerOutput::Send { conn, message });
        }
    }

    /// Notes that a message goes out on this connection, if that is still there. Whoever sends
    /// many puts them where they belong right away: to move one costs as much as to make it.
    fn count_sent(&mut self, now: Instant, conn: ConnId) -> bool {
        let awake = self.clock.at(now);
        let known = self.conns.get_mut(conn);
        known.map(|known| known.detector.on_sent(awake)).is_some()
    }

    fn on_message(&mut self, now: Instant, conn: ConnId, message: Message) {
        let awake = self.clock.at(now);
        let Some(known) = self.conns.get_mut(conn) else {
            return;
        };
        let peer = known.peer;
        match message.body {
            Body::Ping(beat) => return self.on_ping(now, conn, beat),
            Body::Hello(hello) => return self.on_hello(now, conn, hello),
            _ => known.detector.on_received(awake),
        }
        match peer {
            Peer::Pending => {
                self.close(now, conn, CloseReason::Protocol(ProtocolError::BeforeHello));
            }
            Peer::Observer => self.on_observer_message(now, conn, &message.body),
            Peer::Client(client) => {
                let session = self.client(client);
                session.heard = awake;
                session.confirmed = true;
                self.on_client_message(now, conn, client, message);
            }
            Peer::Worker(worker) => {
                self.worker(worker).heard = awake;
                self.on_worker_message(now, conn, worker, message);
            }
        }
    }

    fn on_alarm(&mut self, now: Instant, alarm: Alarm) {
        match alarm {
            Alarm::Expiry(task) => self.on_deadline(now, task),
            Alarm::StartBy(task) => self.on_start_by(now, task),
            // The look itself is at the end of every batch; being woken is enough.
            Alarm::TakeBack | Alarm::Renew => {}
            Alarm::Trial(worker) => self.on_trial(worker),
            Alarm::ResultAck => self.confirm_early(now),
        }
    }

    fn on_peer_timer(&mut self, now: Instant, absence: PeerTimer) {
        match absence {
            PeerTimer::Tick => {
                self.look_at_nested(now);
                if !self.conns.is_empty() {
                    let next = self.clock.at(now) + self.config.lease / HEARTBEATS_PER_LEASE;
                    self.peer_timers.set(PeerTimer::Tick, next);
                }
            }
            PeerTimer::Silence(conn) => self.check_silence(now, conn),
            PeerTimer::Grace(worker) => {
                self.release(now, worker, crate::task::AttemptLoss::WorkerGone);
            }
            PeerTimer::Worker(worker) => self.end_worker(now, worker, workers::Leaving::Expired),
            PeerTimer::Client(client) => self.end_client(now, client, "did not come back in time"),
            PeerTimer::Claim(task) => self.on_unclaimed(now, task),
            PeerTimer::TakeBack(conn) => self.check_take_back(now, conn),
            PeerTimer::Ending(task) => self.end_unanswered(now, task),
            PeerTimer::Orphan(worker, attempt) => self.drop_orphan(now, worker, attempt),
            PeerTimer::Unroutable => self.on_unroutable(now),
            PeerTimer::NoWorkers => self.on_no_workers(now),
        }
    }

    fn start_drain(&mut self, now: Instant) {
        if !self.draining {
            self.draining = true;
            self.notify(Event::DrainStarted);
            self.reject_unstarted(now);
        }
    }
}

impl Machine for Manager {
    type Input = ManagerInput;
    type Output = ManagerOutput;

    fn handle_input(&mut self, now: Instant, input: ManagerInput) {
        let awake = self.clock.read(now);
        match input {
            ManagerInput::Accepted { conn, from } => self.on_accepted(now, conn, from),
            ManagerInput::Received { conn, message } => self.on_message(now, conn, message),
            ManagerInput::Progress { conn } => {
                if let Some(known) = self.conns.get_mut(conn) {
                    known.detector.on_progress(awake);
                }
            }
            ManagerInput::Paused { conn } => self.on_paused(awake, conn),
            ManagerInput::Closed { conn } => self.on_closed(now, conn),
            ManagerInput::Drain => self.start_drain(now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let awake = self.clock.read(now);
        while let Some(alarm) = self.alarms.pop_due(now) {
            self.on_alarm(now, alarm);
        }
        while let Some(absence) = self.peer_timers.pop_due(awake) {
            self.on_peer_timer(now, absence);
        }
    }

    fn settle(&mut self, now: Instant) {
        self.clock.read(now);
        self.renew_if_due(now);
        self.dispatch(now);
        self.take_back(now);
        self.send_acks(now);
        self.watch_results();
        if self.draining && !self.drained && self.tasks.is_empty() {
            self.drained = true;
            self.outputs.push_back(ManagerOutput::Drained);
        }
        self.clock
            .expect(self.poll_timeout().map(|deadline| deadline.at));
    }

    fn poll_output(&mut self) -> Option<ManagerOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let alarm = self.alarms.next().map(|(at, alarm)| Deadline {
            at,
            reason: match alarm {
                Alarm::Expiry(_) | Alarm::StartBy(_) => WakeReason::Expiry,
                Alarm::TakeBack => WakeReason::TakeBack,
                Alarm::Renew => WakeReason::Claim,
                Alarm::Trial(_) => WakeReason::Retry,
                Alarm::ResultAck => WakeReason::ResultAck,
            },
        });
        let absence = self.peer_timers.next().map(|(at, absence)| Deadline {
            at: self.clock.due(at),
            reason: match absence {
                PeerTimer::Silence(_) | PeerTimer::Tick => WakeReason::Heartbeat,
                PeerTimer::TakeBack(_) => WakeReason::TakeBack,
                PeerTimer::Ending(_) => WakeReason::Expiry,
                PeerTimer::Grace(_) => WakeReason::Grace,
                PeerTimer::Worker(_) | PeerTimer::Client(_) | PeerTimer::Orphan(..) => {
                    WakeReason::Resume
                }
                PeerTimer::Claim(_) | PeerTimer::NoWorkers | PeerTimer::Unroutable => {
                    WakeReason::Claim
                }
            },
        });
        match (alarm, absence) {
            (Some(alarm), Some(absence)) => Some(if absence.at < alarm.at {
                absence
            } else {
                alarm
            }),
            (one, other) => one.or(other),
        }
    }

    fn check_invariants(&self) {
        self.check();
    }
}
