//! What the manager is told.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use super::tagged::{TAGS, Tagged, tagged};
use super::{Beat, Ends, Message, Run, StreamChunk, StreamLevel, StreamSubmit, Version};
use crate::capabilities::Capabilities;
use crate::ids::{Attempt, Epoch, PeerId, PoolProcess, SlotId, TaskId};
use crate::name::Name;
use crate::payload::Payload;
use crate::task::{ExitCause, Priority, TaskError, TaskOptions};
use crate::time::Nanos;

/// Everything that the manager is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToManager {
    /// First on every connection. Its layout never changes, so that peers of different majors can
    /// tell.
    Hello(Hello),
    /// A heartbeat. Answered by the state machine that does the work, so that the answer proves more
    /// than an open socket.
    Ping(Beat),
    /// I leave for good. A client's tasks are dropped, a worker's session ends.
    Goodbye,
    /// By a client.
    Client(FromClient),
    /// By a worker.
    Worker(FromWorker),
    /// By an observer or a client.
    Query(Query),
    /// A message that there is, but not for managers. What it says is not read.
    Misdirected,
}

tagged! {
    /// Client to manager.
    pub enum FromClient {
        /// Run this. The payload is the task's argument.
        6 => Submit(submit: Submit),
        /// End this task if it has no outcome yet.
        7 => Cancel {
            /// The client's number of the task.
            seq: u64,
        },
        /// After a `Welcome` that resumed the session: these tasks I have sent and have no outcome of.
        /// What the manager does not know it names in `Unknown`; outcomes that wait are sent again.
        8 => Resume {
            /// In parts if need be, as with all lists: at most `IDS_MAX` in a message.
            seqs: Vec<u64>,
        },
        /// These outcomes are delivered.
        9 => AckOutcomes {
            /// Every task below this number is finished at the client.
            floor: u64,
            /// And so are these, at or above the floor.
            seqs: Vec<u64>,
        },
        /// First in a new session: I run in this process of a pool, so what I submit is wanted by what
        /// runs there, and by nobody once that process is gone.
        28 => Within(process: PoolProcess),
        /// Many of `Submit`. Since 1.1.
        31 => SubmitRun(run: Box<Run<Submit>>),
        /// As `Submit`, of a task whose attempts have streams. Since 1.2.
        37 => SubmitStreams(submit: Box<StreamSubmit>),
        /// A piece of a stream that goes to an attempt. Since 1.2.
        38 => StreamChunk(chunk: StreamChunk),
        /// How far a stream that comes from an attempt is here. Since 1.2.
        39 => StreamLevel(level: StreamLevel),
    }
}

tagged! {
    /// Worker to manager.
    pub enum FromWorker {
        /// Once after each `Welcome`, in as many parts as it takes, before anything else: all that runs
        /// here and all results held. What was assigned and is not reported has not started.
        20 => Report(report: Report),
        /// How much you may have outstanding here, from now on.
        21 => Grant {
            /// Most attempts outstanding (a level, not an increase); 0 while nothing is taken.
            window: u32,
        },
        /// An attempt ended. The payload is the result. Held until `AckResults`.
        22 => Finished(finished: Finished),
        /// Whether these attempts, recalled or returned, were started.
        23 => Returned {
            /// Given back: never started here, and forgotten.
            not_started: Vec<Attempt>,
            /// Kept: started, or written to a child and so may have; `Finished` will follow.
            started: Vec<Attempt>,
        },
        /// I am leaving; send no more. What has not started comes back by `Returned`.
        24 => Draining,
        /// After the report and whenever it changes: what can run here. Until then nothing can.
        25 => Capabilities(capabilities: Capabilities),
        /// This process of mine is gone, with everything that it had started.
        29 => Gone {
            /// Its place.
            slot: SlotId,
            /// Which of those that were there.
            life: u64,
        },
        /// Many of `Finished` that say that the attempt completed. Since 1.1.
        33 => FinishedRun(ends: Box<Ends<ReportedAttempt>>),
        /// A piece of a stream that comes from an attempt. Since 1.2.
        40 => StreamChunk(chunk: StreamChunk),
        /// How far a stream that goes to an attempt is here. Since 1.2.
        41 => StreamLevel(level: StreamLevel),
    }
}

tagged! {
    /// Observer or client to manager. Each is answered by a page: much more work, and far more bytes,
    /// than it is itself.
    pub enum Query {
        /// How are things?
        10 => StatusQuery {
            /// Which page of workers and clients, from 0.
            page: u32,
        },
        /// What runs where?
        26 => RunningQuery {
            /// Which page, from 0.
            page: u32,
        },
    }
}

const HELLO: u32 = 0;
const PING: u32 = 3;
const GOODBYE: u32 = 5;

impl Encode for ToManager {
    #[inline]
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::Client(client) => client.encode(encoder),
            Self::Worker(worker) => worker.encode(encoder),
            Self::Query(query) => query.encode(encoder),
            Self::Hello(hello) => {
                HELLO.encode(encoder)?;
                hello.encode(encoder)
            }
            Self::Ping(beat) => {
                PING.encode(encoder)?;
                beat.encode(encoder)
            }
            Self::Goodbye => GOODBYE.encode(encoder),
            Self::Misdirected => Err(EncodeError::Other("nobody says that")),
        }
    }
}

impl Tagged for ToManager {
    #[inline(always)]
    fn owns(tag: u32) -> bool {
        FromClient::owns(tag)
            || FromWorker::owns(tag)
            || Query::owns(tag)
            || matches!(tag, HELLO | PING | GOODBYE)
    }

    #[inline(always)]
    fn decode_rest<D: Decoder<Context = ()>, R>(
        tag: u32,
        decoder: &mut D,
        wrap: impl FnOnce(Self) -> R,
    ) -> Result<R, DecodeError> {
        if FromClient::owns(tag) {
            return FromClient::decode_rest(tag, decoder, |said| wrap(Self::Client(said)));
        }
        if FromWorker::owns(tag) {
            return FromWorker::decode_rest(tag, decoder, |said| wrap(Self::Worker(said)));
        }
        match tag {
            HELLO => Ok(wrap(Self::Hello(Decode::decode(decoder)?))),
            PING => Ok(wrap(Self::Ping(Decode::decode(decoder)?))),
            GOODBYE => Ok(wrap(Self::Goodbye)),
            _ => Query::decode_rest(tag, decoder, |said| wrap(Self::Query(said))),
        }
    }
}

impl Decode<()> for ToManager {
    #[inline(always)]
    fn decode<D: Decoder<Context = ()>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let tag = u32::decode(decoder)?;
        if tag < TAGS && !Self::owns(tag) {
            return Ok(Self::Misdirected);
        }
        Self::decode_rest(tag, decoder, |said| said)
    }
}

macro_rules! to_manager {
    ($($part:ident($type:ty),)+) => {$(
        impl From<$type> for ToManager {
            #[inline]
            fn from(part: $type) -> Self {
                Self::$part(part)
            }
        }

        impl From<$type> for Message<ToManager> {
            #[inline]
            fn from(part: $type) -> Self {
                Self {
                    body: ToManager::$part(part),
                    payload: Payload::empty(),
                }
            }
        }
    )+};
}

to_manager! {
    Client(FromClient),
    Worker(FromWorker),
    Query(Query),
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// [`MAGIC`](super::MAGIC).
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
