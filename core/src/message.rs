//! What peers say to each other. No bytes here: those are in [`crate::codec`].
//!
//! The order of [`Body`]'s variants is the wire format: add at the end only.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::capabilities::Capabilities;
use crate::ids::{Attempt, Epoch, PeerId, PoolProcess, SlotId, TaskId};
use crate::name::Name;
use crate::payload::Payload;
use crate::status::{RunningReport, StatusReport};
use crate::task::{ExitCause, Outcome, Priority, RejectReason, TaskError, TaskOptions};
use crate::time::Nanos;
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// One frame: a header and raw bytes that nobody on the way looks into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<B = Body> {
    /// What is said.
    pub body: B,
    /// A task's argument, a result, or nothing.
    pub payload: Payload,
}

/// One frame of the pool protocol.
pub type PoolMessage = Message<PoolBody>;

impl<B> From<B> for Message<B> {
    fn from(body: B) -> Self {
        Self {
            body,
            payload: Payload::empty(),
        }
    }
}

/// The first bytes of every hello: whoever speaks something else is told so.
pub const MAGIC: [u8; 4] = *b"ARGN";
/// The version that this code speaks.
pub const VERSION: Version = Version { major: 1, minor: 0 };

/// A protocol version. Peers of different majors do not understand each other; the lower minor
/// of two peers is spoken.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize,
)]
pub struct Version {
    /// Raised when old peers can no longer follow.
    pub major: u16,
    /// Raised when messages are added.
    pub minor: u16,
}

impl Version {
    /// What two peers of the same major speak: the lower minor.
    #[must_use]
    pub fn agreed(self, other: Self) -> Self {
        self.min(other)
    }
}

/// Everything that can be said.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// Peer to manager, first on every connection. Its layout never changes, so that peers of
    /// different majors can tell.
    Hello(Hello),
    /// Manager to peer: come in.
    Welcome(Welcome),
    /// Manager to peer: stay out; the connection is closed after it.
    Refuse(RefuseReason),
    /// Peer to manager: a heartbeat. Answered by the state machine that does the work, so that
    /// the answer proves more than an open socket.
    Ping(Beat),
    /// Manager to peer: the answer.
    Pong(Beat),
    /// Peer to manager: I leave for good. A client's tasks are dropped, a worker's session ends.
    Goodbye,

    /// Client to manager: run this. The payload is the task's argument.
    Submit(Submit),
    /// Client to manager: end this task if it has no outcome yet.
    Cancel {
        /// The client's number of the task.
        seq: u64,
    },
    /// Client to manager, after a `Welcome` that resumed the session: these tasks I have sent and
    /// have no outcome of. What the manager does not know it names in `Unknown`; outcomes that
    /// wait are sent again.
    Resume {
        /// At most `IDS_MAX` numbers a message.
        seqs: Vec<u64>,
    },
    /// Client to manager: these outcomes are delivered.
    AckOutcomes {
        /// Every task below this number is finished at the client.
        floor: u64,
        /// And so are these, at or above the floor.
        seqs: Vec<u64>,
    },
    /// Observer to manager: how are things?
    StatusQuery {
        /// Which page of workers and clients, from 0.
        page: u32,
    },

    /// Manager to client: the one end of a task; held until acknowledged. The payload is the
    /// result.
    Outcome {
        /// The client's number of the task.
        seq: u64,
        /// The end.
        outcome: Outcome,
    },
    /// Manager to client: not now. The manager forgets the task.
    Reject {
        /// The client's number of the task.
        seq: u64,
        /// Why.
        reason: RejectReason,
        /// When it is worth another try.
        retry_after: Nanos,
        /// Whether an attempt may have started, now or in an earlier life.
        may_have_run: bool,
        /// For `NoRunner`: names like the task's that somebody runs, at most `SIMILAR_MAX`.
        similar: Vec<Name>,
    },
    /// Manager to client: of what you asked about in `Resume`, these I never had; in an
    /// unexpired session that means never started.
    Unknown {
        /// The client's numbers.
        seqs: Vec<u64>,
    },
    /// Manager to observer: how things are.
    Status(Box<StatusReport>),

    /// Manager to worker: run this. The payload is the task's argument.
    Assign(Assign),
    /// Manager to worker: give these back if they have not started.
    Recall {
        /// Which; each is answered by `Returned` or by `Finished`.
        attempts: Vec<Attempt>,
    },
    /// Manager to worker: end this attempt, started or not; answered by `Returned` (not started)
    /// or by `Finished`.
    Kill {
        /// Which.
        attempt: Attempt,
    },
    /// Manager to worker: these results you may forget.
    AckResults {
        /// Which.
        attempts: Vec<Attempt>,
    },
    /// Manager to worker: send the `Finished` of this attempt again.
    Resend {
        /// Which.
        attempt: Attempt,
    },

    /// Worker to manager, once after each `Welcome`, in as many parts as it takes, before
    /// anything else: all that runs here and all results held. What was assigned and is not
    /// reported has not started.
    Report(Report),
    /// Worker to manager: how much you may have outstanding here, from now on.
    Grant {
        /// Most attempts outstanding (a level, not an increase); 0 while nothing is taken.
        window: u32,
    },
    /// Worker to manager: an attempt ended. The payload is the result. Held until `AckResults`.
    Finished(Finished),
    /// Worker to manager: whether these attempts, asked for or handed back, were started.
    Returned {
        /// Given back: never started here, and forgotten.
        not_started: Vec<Attempt>,
        /// Kept: started, or written to a child and so may have; `Finished` will follow.
        started: Vec<Attempt>,
    },
    /// Worker to manager: I am leaving; send no more. What has not started comes back by
    /// `Returned`.
    Draining,
    /// Worker to manager, after the report and whenever it changes: what can run here. Until then
    /// nothing can.
    Capabilities(Capabilities),

    /// Observer or client to manager: what runs where?
    RunningQuery {
        /// Which page, from 0.
        page: u32,
    },
    /// The answer.
    Running(Box<RunningReport>),

    /// Client to manager, first in a new session: I run in this process of a pool, so what I submit
    /// is wanted by what runs there, and by nobody once that process is gone.
    Within(PoolProcess),
    /// Worker to manager: this process of mine is gone, with everything that it had started.
    Gone {
        /// Its place.
        slot: SlotId,
        /// Which of those that were there.
        life: u64,
    },
    /// Manager to peer, now and then while that is so: the rest of your large frame is read later,
    /// since too many arrive at once. Not counted; a sign of life of both.
    Paused,
}

impl Body {
    /// Whether it is answered by a page: much more work, and far more bytes, than it is itself.
    #[must_use]
    pub fn asks_for_page(&self) -> bool {
        matches!(self, Self::StatusQuery { .. } | Self::RunningQuery { .. })
    }
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// What the peer speaks.
    pub version: Version,
    /// What the peer is.
    pub role: Role,
    /// The process.
    pub peer: PeerId,
    /// Rises with every connection of this process; the highest one counts.
    pub connection: u64,
    /// The manager's life that the peer has a session with; `None` at first.
    pub session: Option<Epoch>,
    /// For people to read; a worker that registers under the name of another ends that one.
    pub name: Name,
}

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Role {
    /// Submits tasks.
    Client,
    /// Runs them.
    Worker {
        /// Attempts that it runs at once.
        capacity: u32,
    },
    /// Asks for status; has no session.
    Observer,
}

/// The manager's answer to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: Version,
    /// The manager's life.
    pub epoch: Epoch,
    /// Whether the session named in the hello goes on. If not, whatever it left unanswered may
    /// have run. A session goes on only if the peer has said something after the welcome that
    /// began it: one that never read that welcome does not know that an earlier session of the
    /// same epoch expired, and must be told again.
    pub resumed: bool,
    /// How long silence is trusted, by both sides.
    pub lease: Nanos,
    /// Largest payload that this manager takes, in bytes.
    pub payload_max: u32,
}

/// Why a peer is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum RefuseReason {
    /// The peer speaks another major version; this is ours.
    Version(Version),
    /// A newer connection of the same process is already in.
    OldConnection,
    /// As many sessions are open as may be.
    Full,
    /// What came is no hello, or no valid one.
    BadHello,
    /// A worker must have a capacity of 1 to `CAPACITY_MAX`.
    BadCapacity,
    /// Another worker has come in under the name of this one. Said on an open connection too; the
    /// worker leaves, and does not come back under that name.
    Replaced,
}

/// A heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Beat {
    /// Drawn by the pinging side; returned unchanged.
    pub nonce: u64,
    /// How many messages the sender of this one has taken in on this connection, heartbeats and
    /// handshake left out.
    pub received: u64,
}

/// A task on its way to the manager.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Submit {
    /// The client's number of the task.
    pub seq: u64,
    /// How important it is.
    pub priority: Priority,
    /// Charged attempts allowed, 1 to `ATTEMPTS_MAX`.
    pub max_attempts: u8,
    /// Never start it twice.
    pub at_most_once: bool,
    /// An attempt may have started under an earlier manager or an expired session.
    pub may_have_run: bool,
    /// What is left until its deadline.
    pub deadline: Nanos,
    /// Longest wait in the queue that makes sense.
    pub max_wait: Nanos,
    /// Longest run of one attempt.
    pub time_limit: Nanos,
    /// What to run.
    pub name: Name,
}

impl Submit {
    /// How the task is to be run.
    #[must_use]
    pub fn options(&self) -> TaskOptions {
        TaskOptions {
            priority: self.priority,
            max_attempts: self.max_attempts,
            at_most_once: self.at_most_once,
        }
    }
}

/// A task on its way to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Assign {
    /// This assignment.
    pub attempt: Attempt,
    /// The task.
    pub task: TaskId,
    /// Run it only in an idle pool process, never queued behind another.
    pub at_most_once: bool,
    /// What is left until its deadline.
    pub deadline: Nanos,
    /// Longest run.
    pub time_limit: Nanos,
    /// What to run.
    pub name: Name,
}

/// What a worker has in hand.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// Attempts that have started, and those written to a child that may have.
    pub running: Vec<ReportedAttempt>,
    /// Attempts whose `Finished` is held here. It is sent when asked for by `Resend`.
    pub finished: Vec<ReportedAttempt>,
    /// Whether this is the last part.
    pub last: bool,
}

/// An attempt that a worker reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReportedAttempt {
    /// The assignment, possibly of an earlier manager.
    pub attempt: Attempt,
    /// The task.
    pub task: TaskId,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Finished {
    /// The assignment.
    pub attempt: Attempt,
    /// The task.
    pub task: TaskId,
    /// How long it ran, measured where it ran.
    pub ran: Nanos,
    /// How it ended.
    pub end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AttemptEnd {
    /// With a result, in the payload.
    Completed,
    /// With an error of its own, or by breaking a limit. Not tried again.
    Failed(Box<TaskError>),
    /// With its pool process. May be tried again. The text is the tail of standard error.
    Crashed(ExitCause, String),
    /// Killed as the manager asked.
    Killed,
    /// Killed because the task's deadline passed at the worker.
    Expired,
}

impl AttemptEnd {
    /// Bytes of its texts. They travel in the header of a frame, and whoever holds the end counts
    /// them together with its payload.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Completed | Self::Killed | Self::Expired => 0,
            Self::Failed(error) => error.text_bytes(),
            Self::Crashed(_, stderr) => stderr.len(),
        }
    }
}

/// Worker and pool process, over the child's standard input and output.
///
/// The order of variants is the wire format, as with [`Body`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PoolBody {
    /// Child to worker, first: ready to run. Carries the version of the pool protocol.
    Ready {
        /// [`MAGIC`].
        magic: [u8; 4],
        /// [`POOL_VERSION`].
        version: Version,
        /// What it can run.
        capabilities: Capabilities,
    },
    /// Worker to child: run this; the payload is the argument. Answered in order.
    Run {
        /// The worker's number for it.
        id: u64,
        /// What to run.
        name: Name,
    },
    /// Child to worker: done; the payload is the result.
    Completed {
        /// The number of the `Run`.
        id: u64,
        /// How long it ran.
        ran: Nanos,
    },
    /// Child to worker: failed; the payload is whatever detail the runtime adds.
    Failed {
        /// The number of the `Run`.
        id: u64,
        /// How long it ran.
        ran: Nanos,
        /// What happened.
        error: TaskError,
    },
}

/// The version of the pool protocol.
pub const POOL_VERSION: Version = Version { major: 1, minor: 0 };
