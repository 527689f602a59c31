//! The manager: queue, routing, sessions, recovery.

mod config;

use crate::event::{CloseReason, Event};
use crate::ids::ConnId;
use crate::machine::Machine;
use crate::message::Message;
use crate::rng::Rng;
use crate::time::{Deadline, Instant};

pub use config::{ConfigError, ManagerConfig};

/// A fact for the manager.
#[derive(Clone, Debug)]
pub enum ManagerInput {
    /// A connection came in. The driver numbers it; numbers are never used twice.
    Accepted {
        /// The new connection.
        conn: ConnId,
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

/// The manager's state machine.
#[derive(Debug)]
pub struct Manager {}

impl Manager {
    /// A manager that knows nobody yet.
    #[must_use]
    pub fn new(_config: ManagerConfig, _rng: Rng, _now: Instant) -> Self {
        Self {}
    }
}

impl Machine for Manager {
    type Input = ManagerInput;
    type Output = ManagerOutput;
    fn handle_input(&mut self, _now: Instant, _input: ManagerInput) {}
    fn handle_timeout(&mut self, _now: Instant) {}
    fn settle(&mut self, _now: Instant) {}
    fn poll_output(&mut self) -> Option<ManagerOutput> {
        None
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
    fn check_invariants(&self) {}
}
