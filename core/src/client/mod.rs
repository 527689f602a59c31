//! The client: submissions, retries, resumption, and exactly one outcome for each task.

use core::fmt;

use bytes::Bytes;

use crate::event::Event;
use crate::ids::{PeerId, TaskId};
use crate::limits;
use crate::link::{LinkInput, LinkOutput};
use crate::machine::Machine;
use crate::name::Name;
use crate::rng::Rng;
use crate::task::{Outcome, TaskSpec};
use crate::time::{Deadline, Instant};

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// This process, drawn at random at its start.
    pub peer: PeerId,
    /// For people to read.
    pub name: Name,
    /// How many managers are in the driver's list, at least 1.
    pub addresses: usize,
    /// Most tasks held, submitted or waiting for it.
    pub tasks: usize,
    /// Most payload bytes held; one task is always let in.
    pub bytes: u64,
    /// How often a rejected task is submitted again before it ends as `Rejected`; `None`: for
    /// ever. A task may say otherwise.
    pub retries: Option<u32>,
    /// Largest payload that is sent, in bytes; the manager's own limit counts too.
    pub payload_max: usize,
}

impl ClientConfig {
    /// The defaults, for one manager.
    #[must_use]
    pub fn new(peer: PeerId, name: Name) -> Self {
        Self {
            peer,
            name,
            addresses: 1,
            tasks: limits::CLIENT_HELD_DEFAULT,
            bytes: limits::QUEUE_BYTES_DEFAULT,
            retries: Some(limits::RETRIES_DEFAULT),
            payload_max: limits::PAYLOAD_MAX_DEFAULT,
        }
    }
}

/// Why a task was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The client holds as many tasks or bytes as it may: take outcomes first.
    Full,
    /// The payload is larger than may be sent. Trying again is of no use.
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// `max_attempts` must be 1 to 16.
    Attempts(u8),
    /// The client is stopping.
    Stopped,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(
                f,
                "the client holds as many tasks as it may; wait for outcomes"
            ),
            Self::TooLarge { bytes, limit } => {
                write!(
                    f,
                    "a payload of {bytes} bytes, where at most {limit} are allowed"
                )
            }
            Self::Attempts(given) => write!(
                f,
                "max_attempts is {given}, but must be from 1 to {}",
                limits::ATTEMPTS_MAX
            ),
            Self::Stopped => write!(f, "the client is stopping"),
        }
    }
}

impl core::error::Error for SubmitError {}

/// A fact for the client. Tasks come in by [`Client::submit`], which can refuse.
#[derive(Clone, Debug)]
pub enum ClientInput {
    /// About the connection to the manager.
    Link(LinkInput),
    /// The application no longer wants this task; its outcome still comes.
    Cancel {
        /// Which.
        seq: u64,
    },
    /// Leave: tasks without an outcome are given up, here and at the manager.
    Stop,
}

/// What the driver of a client is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// About the connection to the manager.
    Link(LinkOutput),
    /// A task has ended. Exactly one for each accepted [`Client::submit`].
    Deliver {
        /// Which.
        seq: u64,
        /// How.
        outcome: Outcome,
        /// Its result, or the detail of its error.
        payload: Bytes,
    },
    /// For the log; safe to drop.
    Notify(Event),
    /// The client has left.
    Stopped,
}

impl From<LinkOutput> for ClientOutput {
    fn from(output: LinkOutput) -> Self {
        Self::Link(output)
    }
}

/// The client's state machine.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// A client that dials its manager.
    #[must_use]
    pub fn new(_config: ClientConfig, _rng: Rng, _now: Instant) -> Self {
        Self {}
    }

    /// Takes a task in; its outcome comes as a `Deliver` output.
    ///
    /// # Errors
    /// If it can never be sent, or not now; then nothing was taken.
    pub fn submit(&mut self, _now: Instant, _spec: TaskSpec) -> Result<TaskId, SubmitError> {
        Err(SubmitError::Stopped)
    }
}

impl Machine for Client {
    type Input = ClientInput;
    type Output = ClientOutput;
    fn handle_input(&mut self, _now: Instant, _input: ClientInput) {}
    fn handle_timeout(&mut self, _now: Instant) {}
    fn settle(&mut self, _now: Instant) {}
    fn poll_output(&mut self) -> Option<ClientOutput> {
        None
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
    fn check_invariants(&self) {}
}
