//! Every id is its own type, so that one cannot be passed for another.

use core::fmt;
use core::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::arena::Key;

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

impl Key for SlotId {
    fn from_index(index: usize) -> Self {
        Self(index as u32)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A process of a worker's pool, together with everything that it starts. Written as
/// `WORKER.SLOT.LIFE`: 16 hexadecimal digits and two decimal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PoolProcess {
    /// The worker.
    pub worker: PeerId,
    /// Its place there.
    pub slot: SlotId,
    /// Rises with every process in that place.
    pub life: u64,
}

impl fmt::Display for PoolProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.worker, self.slot.0, self.life)
    }
}

/// A text that names no [`PoolProcess`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPoolProcess;

impl FromStr for PoolProcess {
    type Err = NoPoolProcess;

    fn from_str(text: &str) -> Result<Self, NoPoolProcess> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(NoPoolProcess);
        let (worker, slot, life) = (part()?, part()?, part()?);
        Ok(Self {
            worker: PeerId(u64::from_str_radix(worker, 16).map_err(|_| NoPoolProcess)?),
            slot: SlotId(slot.parse().map_err(|_| NoPoolProcess)?),
            life: life.parse().map_err(|_| NoPoolProcess)?,
        })
    }
}

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
