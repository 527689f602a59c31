//! What peers say to each other. No bytes here: those are in [`crate::codec`].
//!
//! There is a type for each direction, so that a machine is handed only what it has to answer for. On
//! the wire each message begins with a number of its own, whatever its direction; numbers are never
//! used again. What comes in with the number of another direction is `Misdirected`.

mod from_manager;
mod listed;
mod pool;
mod run;
mod said;
mod stream;
mod tagged;
mod to_client;
mod to_manager;
mod to_worker;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::payload::Payload;

pub use from_manager::{Control, FromManager, RefuseReason, ToObserver, ToPeer, Welcome};
pub(crate) use listed::TOO_MANY_IDS;
pub use pool::{POOL_RUNS, POOL_VERSION, PoolBody};
pub use run::{
    Answer, AnswerParts, Answers, Asked, AttemptRun, Completed, End, Ends, Numbered, Parts,
    Rejections, Run,
};
pub(crate) use run::{Assignments, Completions};
pub use said::Said;
pub use stream::{StreamAssign, StreamAttempt, StreamChunk, StreamLevel, StreamOf, StreamSubmit};
pub use tagged::Tagged;
use tagged::UNKNOWN;
pub use to_client::ToClient;
pub use to_manager::{
    AttemptEnd, Finished, FromClient, FromWorker, Hello, Query, Report, ReportedAttempt, Role,
    Submit, ToManager,
};
pub use to_worker::{Assign, ToWorker};

/// One frame: a header and raw bytes that nobody on the way looks into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<B> {
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
pub const VERSION: Version = Version { major: 1, minor: 1 };

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
    /// The first of this major: a message for each task.
    pub const FIRST: Self = Self { major: 1, minor: 0 };

    /// From here on peers understand runs.
    pub const RUNS: Self = Self { major: 1, minor: 1 };

    /// From here on peers understand streams. Above [`VERSION`]: the machines do, and drivers have yet to.
    pub const STREAMS: Self = Self { major: 1, minor: 2 };

    /// Whether those who speak it understand runs.
    #[must_use]
    pub fn has_runs(self) -> bool {
        self >= Self::RUNS
    }

    /// Whether those who speak it understand streams.
    #[must_use]
    pub fn has_streams(self) -> bool {
        self >= Self::STREAMS
    }

    /// What two peers of the same major speak: the lower minor.
    #[must_use]
    pub fn agreed(self, other: Self) -> Self {
        self.min(other)
    }
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
