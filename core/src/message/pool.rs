//! What a worker and its pool processes say to each other.

use alloc::boxed::Box;

use bincode::{Decode, Encode};

use super::{Answers, Asked, Run, Version};
use crate::capabilities::Capabilities;
use crate::name::Name;
use crate::task::TaskError;
use crate::time::Nanos;

/// Worker and pool process, over the child's standard input and output.
///
/// The order of variants is the wire format, so new ones are added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PoolBody {
    /// Child to worker, first: ready to run. Carries the version of the pool protocol.
    Ready {
        /// [`MAGIC`](super::MAGIC).
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
    /// Worker to child, since [`POOL_RUNS`]: what several `Run` would say.
    RunMany(Box<Run<Asked>>),
    /// Child to worker, since [`POOL_RUNS`]: what several `Completed` would say.
    CompletedMany(Box<Answers>),
}

/// The version of the pool protocol.
pub const POOL_VERSION: Version = Version { major: 1, minor: 1 };

/// From here on pool processes understand runs. A worker says no version: it has one like this if it
/// says a run.
pub const POOL_RUNS: Version = Version { major: 1, minor: 1 };
