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

mod admission;
mod config;
mod dispatch;
mod endings;
mod given_back;
mod invariants;
mod keys;
mod nested;
mod on_capabilities;
mod on_client;
mod on_connection;
mod on_finished;
mod on_report;
mod on_timer;
mod on_worker;
mod orphans;
mod parts;
mod peers;
mod placement;
mod recall;
mod results;
mod room;
mod rows;
mod schedule;
mod status;
mod streams;
mod tasks;
mod waiting_runs;

use core::net::SocketAddr;

use crate::access::Access;
use crate::event::{CloseReason, Event};
use crate::ids::ConnId;
use crate::machine::Machine;
use crate::message::{Message, ToManager, ToPeer};
use crate::protocol_error::ProtocolError;
use crate::time::{Deadline, Instant};

pub use config::{ConfigError, ManagerConfig};
pub use status::Load;

use nested::Nested;
use on_worker::Leaving;
use orphans::Orphans;
use peers::{Clients, Connections, Peer, Workers};
use placement::Placement;
use recall::Recall;
use results::Results;
use schedule::{PeerTimer, Schedule};
use streams::Streams;
use tasks::Tasks;

/// A fact for the manager.
#[derive(Clone, Debug)]
pub enum ManagerInput {
    /// A connection came in. The driver numbers it; numbers are never used twice.
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// Where from, if the network has addresses; for people to read.
        from: Option<SocketAddr>,
        /// What its key allows, which the driver has checked.
        access: Access,
    },
    /// A message came.
    Received {
        /// On this connection.
        conn: ConnId,
        /// The message.
        message: Message<ToManager>,
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
    /// What was sent is written. Said each time once nothing waits any more, if streams were among it.
    Written {
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
        message: Message<ToPeer>,
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

/// Where the manager is between its start and its end.
#[derive(Clone, Debug)]
struct Stage {
    started: Instant,
    /// Workers may still come back from before a restart.
    starting: bool,
    draining: bool,
    drained: bool,
}

/// The manager's state machine.
#[derive(Clone, Debug)]
pub struct Manager {
    config: ManagerConfig,
    stage: Stage,
    schedule: Schedule,
    connections: Connections,
    clients: Clients,
    workers: Workers,
    nested: Nested,
    tasks: Tasks,
    streams: Streams,
    results: Results,
    orphans: Orphans,
    placement: Placement,
    recall: Recall,
    totals: Totals,
}

impl Manager {
    /// A manager that knows nobody yet.
    #[must_use]
    pub fn new(config: ManagerConfig, now: Instant) -> Self {
        let mut schedule = Schedule::default();
        let until = schedule.awake(now) + config.restart_grace;
        schedule.peers.set(PeerTimer::NoWorkers, until);
        Self {
            stage: Stage {
                started: now,
                starting: true,
                draining: false,
                drained: false,
            },
            schedule,
            connections: Connections::default(),
            clients: Clients::default(),
            workers: Workers::default(),
            nested: Nested::default(),
            tasks: Tasks::new(&config),
            streams: Streams::new(&config),
            results: Results::new(&config),
            orphans: Orphans::default(),
            placement: Placement::new(&config, now),
            recall: Recall::default(),
            totals: Totals::default(),
            config,
        }
    }

    fn notify(&mut self, event: Event) {
        self.connections.notify(event);
    }

    /// Sends a message that the peer counts.
    fn send(&mut self, now: Instant, conn: ConnId, message: impl Into<Message<ToPeer>>) {
        let awake = self.schedule.awake(now);
        self.connections.send_with(awake, conn, || message.into());
    }

    fn on_message(&mut self, now: Instant, conn: ConnId, message: Message<ToManager>) {
        let Message { body, payload } = message;
        match body {
            ToManager::Ping(beat) => self.on_ping(now, conn, beat),
            ToManager::Hello(hello) => self.on_hello(now, conn, hello),
            ToManager::Client(said) => match self.hear(now, conn) {
                Some(Peer::Client(client)) => self.on_client(now, conn, client, said, payload),
                other => self.on_misdirected(now, conn, other),
            },
            ToManager::Worker(said) => match self.hear(now, conn) {
                Some(Peer::Worker(worker)) => self.on_worker(now, conn, worker, said, payload),
                other => self.on_misdirected(now, conn, other),
            },
            ToManager::Query(query) => match self.hear(now, conn) {
                Some(Peer::Observer | Peer::Client(_)) => self.on_query(now, conn, query),
                other => self.on_misdirected(now, conn, other),
            },
            ToManager::Goodbye => {
                if let Some(peer) = self.hear(now, conn) {
                    self.on_goodbye(now, conn, peer);
                }
            }
            ToManager::Misdirected => {
                let peer = self.hear(now, conn);
                self.on_misdirected(now, conn, peer);
            }
        }
    }

    /// A message came that both sides count. Returns its sender, if that has said hello.
    fn hear(&mut self, now: Instant, conn: ConnId) -> Option<Peer> {
        let awake = self.schedule.awake(now);
        let peer = self.connections.on_received(awake, conn)?;
        match peer {
            Peer::Pending => {
                let reason = CloseReason::Protocol(ProtocolError::BeforeHello);
                self.close(now, conn, reason);
                return None;
            }
            Peer::Observer => {}
            Peer::Client(client) => self.clients.heard(awake, client),
            Peer::Worker(worker) => self.workers.heard(awake, worker),
        }
        Some(peer)
    }

    /// A peer, if it may say anything, says what others say.
    fn on_misdirected(&mut self, now: Instant, conn: ConnId, peer: Option<Peer>) {
        let error = match peer {
            None => return,
            Some(Peer::Worker(worker)) if !self.workers[worker].reported => {
                ProtocolError::BeforeReport
            }
            Some(_) => ProtocolError::Misdirected,
        };
        self.close(now, conn, CloseReason::Protocol(error));
    }

    /// A peer leaves for good.
    fn on_goodbye(&mut self, now: Instant, conn: ConnId, peer: Peer) {
        self.close(now, conn, CloseReason::Done);
        match peer {
            Peer::Client(client) => self.end_client(now, client, "said goodbye"),
            Peer::Worker(worker) => self.end_worker(now, worker, Leaving::Goodbye),
            Peer::Observer | Peer::Pending => {}
        }
    }

    fn start_drain(&mut self, now: Instant) {
        if !self.stage.draining {
            self.stage.draining = true;
            self.notify(Event::DrainStarted);
            self.reject_unstarted(now);
        }
    }
}

impl Machine for Manager {
    type Input = ManagerInput;
    type Output = ManagerOutput;

    fn handle_input(&mut self, now: Instant, input: ManagerInput) {
        self.placement.forget_may_come();
        let awake = self.schedule.read(now);
        match input {
            ManagerInput::Accepted { conn, from, access } => {
                self.on_accepted(now, conn, from, access);
            }
            ManagerInput::Received { conn, message } => self.on_message(now, conn, message),
            ManagerInput::Progress { conn } => {
                self.connections.on_progress(awake, conn);
            }
            ManagerInput::Paused { conn } => self.on_paused(awake, conn),
            ManagerInput::Written { conn } => self.streams.written(conn),
            ManagerInput::Closed { conn } => self.on_closed(now, conn),
            ManagerInput::Drain => self.start_drain(now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let awake = self.schedule.read(now);
        self.placement.forget_may_come();
        while let Some(alarm) = self.schedule.alarms.pop_due(now) {
            self.on_alarm(now, alarm);
        }
        while let Some(timer) = self.schedule.peers.pop_due(awake) {
            self.on_peer_timer(now, timer);
        }
    }

    fn settle(&mut self, now: Instant) {
        self.schedule.read(now);
        self.renew_if_due(now);
        self.dispatch(now);
        self.recall(now);
        self.send_streams(now);
        self.send_acks(now);
        self.watch_results();
        if self.stage.draining && !self.stage.drained && self.tasks.is_empty() {
            self.stage.drained = true;
            self.connections.drained();
        }
        self.schedule.expect_next();
    }

    fn poll_output(&mut self) -> Option<ManagerOutput> {
        self.connections.poll_output()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.schedule.next()
    }

    fn check_invariants(&self) {
        self.check();
    }
}
