//! Every id is its own type, so that one cannot be passed for another.

use core::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

id!(
    /// A process that speaks the protocol: a client or a worker. Drawn at random once a process,
    /// so a restarted process is a new peer.
    PeerId(u64),
    "{:016x}"
);
id!(
    /// One life of a manager, drawn at random at its start.
    Epoch(u64),
    "{:016x}"
);
id!(
    /// A connection as its driver numbers it; never used twice by one driver. Local, not sent.
    ConnId(u64),
    "c{}"
);
id!(
    /// A pool process's place in its worker, from 0 to capacity - 1.
    SlotId(u32),
    "s{}"
);

/// A task: the client that submitted it and the client's own rising number for it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct TaskId {
    /// The submitting client.
    pub client: PeerId,
    /// Its number for this task, from 0.
    pub seq: u64,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.client, self.seq)
    }
}

/// One assignment of a task to a worker. A restarted manager draws a new epoch, so it never
/// mistakes an attempt of its predecessor for one of its own.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct Attempt {
    /// The life of the manager that made the assignment.
    pub epoch: Epoch,
    /// Unique within the epoch, rising.
    pub number: u64,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.number)
    }
}
