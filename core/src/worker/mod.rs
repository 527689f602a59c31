//! The worker: a pool of processes, and the reports on what they do.
//!
//! This file holds what goes in and what comes out. Of the machine, `machine` owns control flow,
//! `manager` obeys the manager, `runs` brings attempts and slots together, `pool` keeps the
//! slots, `attempts` knows where each attempt is, `results` holds and sends ends, and
//! `window` decides how much to ask for.

mod announced;
mod answers;
mod attempts;
mod invariants;
mod machine;
mod manager;
mod outage;
mod pool;
mod results;
mod runs;
mod streams;
mod window;

use alloc::boxed::Box;
use alloc::string::String;
#[cfg(feature = "testing")]
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::capabilities::Capabilities;
use crate::event::Event;
use crate::ids::{Attempt, PeerId, SlotId, TaskId};
use crate::limits;
use crate::link::{CarriesLink, LinkInput, LinkOutput};
use crate::message::{StreamOf, ToWorker};
use crate::name::Name;
use crate::payload::Payload;
use crate::stream::{StreamEvent, StreamSpec, StreamUse};
use crate::task::{ExitCause, TaskError};

pub use machine::{Load, Worker};

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// This process, drawn at random at its start.
    pub peer: PeerId,
    /// Its name; a worker that registers under the name of another ends that one.
    pub name: Name,
    /// How many managers are in the driver's list, at least 1.
    pub addresses: usize,
    /// Attempts run at once: the number of slots, 1 to `CAPACITY_MAX`.
    pub capacity: u32,
    /// Attempts that a pool process runs before it is replaced; `None`: any number.
    pub max_requests: Option<u64>,
    /// Time limit of attempts whose task names none.
    pub time_limit: Option<Duration>,
    /// Memory of a pool process and its descendants, in bytes, above which it is killed.
    pub memory_limit: Option<u64>,
    /// From the polite signal to the killing one.
    pub kill_grace: Duration,
    /// How long a drain waits for running attempts.
    pub drain_timeout: Duration,
    /// Most results held for acknowledgement.
    pub held_results: usize,
    /// Most bytes of results held for acknowledgement.
    pub held_bytes: u64,
    /// Bounds that need no setting.
    pub inner: limits::Inner,
}

impl WorkerConfig {
    /// The defaults, for a worker of `capacity` slots with one manager.
    #[must_use]
    pub fn new(peer: PeerId, name: Name, capacity: u32) -> Self {
        Self {
            peer,
            name,
            addresses: 1,
            capacity,
            max_requests: None,
            time_limit: None,
            memory_limit: None,
            kill_grace: limits::KILL_GRACE,
            drain_timeout: Duration::from_secs(30),
            held_results: limits::HELD_RESULTS_DEFAULT,
            held_bytes: limits::HELD_BYTES_DEFAULT,
            inner: limits::Inner::default(),
        }
    }
}

/// A slot's occupant: slots are started again, and news of an earlier life is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotLife {
    /// The place in the pool.
    pub slot: SlotId,
    /// Rises with every start of this slot.
    pub life: u64,
}

/// An attempt for a slot to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The assignment; names it in everything said about it.
    pub attempt: Attempt,
    /// The task, for logs.
    pub task: TaskId,
    /// What to run.
    pub name: Name,
    /// Its argument.
    pub payload: Payload,
}

/// How a slot's run of an attempt ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// With a result.
    Completed,
    /// With an error.
    Failed(Box<TaskError>),
}

/// The end of an attempt, by itself, in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// The attempt.
    pub attempt: Attempt,
    /// How long it ran, measured where it ran.
    pub ran: Duration,
    /// How it ended.
    pub end: RunEnd,
    /// The result, or detail of the error.
    pub payload: Payload,
}

/// A fact about the pool, from whatever runs the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolInput {
    /// A pool process is ready to run.
    Ready {
        /// Which.
        slot: SlotLife,
        /// What it can run.
        capabilities: Capabilities,
    },
    /// A slot ended an attempt; slots answer in the order in which they were given attempts.
    Done {
        /// Which.
        slot: SlotLife,
        /// The attempt.
        attempt: Attempt,
        /// How long it ran, measured where it ran.
        ran: Duration,
        /// How it ended.
        end: RunEnd,
        /// The result, or detail of the error.
        payload: Payload,
    },
    /// Many of `Done`, in their order.
    DoneMany {
        /// Which.
        slot: SlotLife,
        /// What it ended.
        ends: Vec<JobEnd>,
    },
    /// A slot did something with a stream of the attempt that it runs.
    Stream {
        /// Which slot.
        slot: SlotLife,
        /// Which stream.
        of: StreamOf,
        /// What it did.
        usage: StreamUse,
    },
    /// A pool process is gone, with everything that it started. Nothing more comes from this life.
    Exited {
        /// Which.
        slot: SlotLife,
        /// How.
        cause: ExitCause,
        /// The last that it wrote to its standard error, or why it could not be started.
        stderr: String,
    },
    /// The memory that a pool process and its descendants hold now; said now and then if there is
    /// a memory limit.
    Memory {
        /// Which.
        slot: SlotLife,
        /// Bytes.
        bytes: u64,
    },
}

/// What is to be done with a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolOutput {
    /// Start a pool process; `Ready` or `Exited` answers.
    Spawn {
        /// In this slot, for this life.
        slot: SlotLife,
    },
    /// Give a ready pool process an attempt to run; `Done` or `Exited` answers.
    Run {
        /// Which.
        slot: SlotLife,
        /// What.
        job: Job,
    },
    /// Many of `Run`, in their order: at least two, [`JOBS_MAX`](limits::JOBS_MAX) at most.
    RunMany {
        /// Which.
        slot: SlotLife,
        /// What.
        jobs: Vec<Job>,
    },
    /// As `Run`, of an attempt with streams: as many bytes as its window has may be written to each that
    /// goes from it.
    RunStreams {
        /// Which.
        slot: SlotLife,
        /// What.
        job: Job,
        /// Its streams.
        streams: Vec<StreamSpec>,
    },
    /// Something of a stream, for the attempt that a slot runs.
    Stream {
        /// Which slot.
        slot: SlotLife,
        /// Which stream.
        of: StreamOf,
        /// What.
        event: StreamEvent,
    },
    /// Ask a pool process and all its descendants to end (SIGTERM).
    Terminate {
        /// Which.
        slot: SlotLife,
    },
    /// HeldResult a pool process and all its descendants (SIGKILL); `Exited` answers.
    Kill {
        /// Which.
        slot: SlotLife,
    },
    /// Let an idle pool process go: close its input; `Exited` answers.
    Retire {
        /// Which.
        slot: SlotLife,
    },
}

#[cfg(feature = "testing")]
impl PoolOutput {
    /// The slot that it is about.
    #[must_use]
    pub fn slot(&self) -> SlotLife {
        let (Self::Spawn { slot }
        | Self::Run { slot, .. }
        | Self::RunMany { slot, .. }
        | Self::RunStreams { slot, .. }
        | Self::Stream { slot, .. }
        | Self::Terminate { slot }
        | Self::Kill { slot }
        | Self::Retire { slot }) = self;
        *slot
    }

    /// What many of `Run` say of each attempt alone; itself if it is something else.
    #[must_use]
    pub fn singles(self) -> Vec<Self> {
        match self {
            Self::RunMany { slot, jobs } => {
                let jobs = jobs.into_iter();
                jobs.map(|job| Self::Run { slot, job }).collect()
            }
            Self::Spawn { .. }
            | Self::Run { .. }
            | Self::RunStreams { .. }
            | Self::Stream { .. }
            | Self::Terminate { .. }
            | Self::Kill { .. }
            | Self::Retire { .. } => vec![self],
        }
    }
}

#[cfg(feature = "testing")]
impl WorkerOutput {
    /// The same of what a worker says.
    #[must_use]
    pub fn singles(self) -> Vec<Self> {
        match self {
            Self::Pool(output) => output.singles().into_iter().map(Self::Pool).collect(),
            Self::Link(_) | Self::Notify(_) | Self::Replaced | Self::Stopped => vec![self],
        }
    }
}

/// A fact for the worker.
#[derive(Clone, Debug)]
pub enum WorkerInput {
    /// About the connection to the manager.
    Link(LinkInput<ToWorker>),
    /// About the pool.
    Pool(PoolInput),
    /// Finish what runs, take nothing new, leave.
    Drain,
    /// Leave now.
    Stop,
}

/// What the driver of a worker is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerOutput {
    /// About the connection to the manager.
    Link(LinkOutput),
    /// About the pool.
    Pool(PoolOutput),
    /// For the log; safe to drop.
    Notify(Event),
    /// Another worker has come in under this one's name: it leaves, and must not come back under
    /// that name. `Stopped` follows.
    Replaced,
    /// The worker has left: everything is closed, no pool process is alive.
    Stopped,
}

impl From<LinkOutput> for WorkerOutput {
    fn from(output: LinkOutput) -> Self {
        Self::Link(output)
    }
}

impl CarriesLink for WorkerOutput {
    fn as_link(&mut self) -> Option<&mut LinkOutput> {
        match self {
            Self::Link(output) => Some(output),
            Self::Pool(_) | Self::Notify(_) | Self::Replaced | Self::Stopped => None,
        }
    }
}
