//! Byte streams of attempts: from the client to the attempt, and back, through the manager.
//!
//! ```text
//!   application ─► Writer ── Chunk ──► Relay ── Chunk ──► Reader ─► application
//!                    ▲                   │                  │
//!                    └───── Level ◄──────┴────── Level ◄────┘
//! ```
//!
//! The one who reads says how far it is and how far the writer may go, in positions from the start of
//! the stream, and never in differences: a [`Level`] that is lost or comes twice does no harm. The
//! writer keeps what it has sent until it is received, so whoever is cut off goes on from where both
//! sides are. The manager passes both on, and holds no more of a stream than its reader granted.
//!
//! Owns: positions, and the bytes between them. Never: knows attempts, connections or messages.
//! Units: bytes.

mod endpoint;
mod pieces;

/// Parts of the machines, which no driver needs: public for this repository's tests alone, which take
/// the feature `testing`.
macro_rules! parts {
    ($($name:ident::$type:ident)*) => {
        $(
            #[cfg_attr(
                not(feature = "testing"),
                allow(unreachable_pub, reason = "they are reachable with the feature")
            )]
            mod $name;
            #[cfg(feature = "testing")]
            pub use $name::$type;
            #[cfg(not(feature = "testing"))]
            pub(crate) use $name::$type;
        )*
    };
}
parts! { lane::Lane reader::Reader relay::Relay writer::Writer }

use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::limits::{STREAM_WINDOW_MAX, STREAM_WINDOW_MIN, STREAMS_MAX};
pub(crate) use endpoint::Endpoint;

/// A stream of a task, by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct StreamId(pub u8);

/// Which way the bytes of a stream go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Direction {
    /// From the client to the attempt, as standard input does.
    ToAttempt,
    /// From the attempt to the client, as standard output does.
    FromAttempt,
}

/// A stream that a task's attempts are to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StreamSpec {
    /// Its number; a task has each once.
    pub id: StreamId,
    /// Which way it goes.
    pub direction: Direction,
    /// Bytes that may be under way, sent and not read; as many may be held by each of those whom they
    /// pass. One from `STREAM_WINDOW_MIN` to `STREAM_WINDOW_MAX` is taken as it is, any other as the
    /// nearest of these.
    pub window: u32,
}

impl StreamSpec {
    /// The window that it gets: one that is far too small would be a message for each few bytes, and one
    /// that is far too large would be memory.
    #[must_use]
    pub fn window(&self) -> u64 {
        u64::from(self.window.clamp(STREAM_WINDOW_MIN, STREAM_WINDOW_MAX))
    }

    /// What is granted before its reader has said anything: a client reads from the start, and an attempt
    /// once it runs.
    #[must_use]
    pub fn granted_at_first(&self) -> u64 {
        match self.direction {
            Direction::ToAttempt => 0,
            Direction::FromAttempt => self.window(),
        }
    }
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How many bytes of the stream are before it.
    pub offset: u64,
    /// At most [`STREAM_CHUNK_MAX`](crate::limits::STREAM_CHUNK_MAX).
    pub bytes: Bytes,
    /// Whether the stream ends with it. The last may have no bytes.
    pub last: bool,
}

impl Chunk {
    /// How many bytes of the stream are before its end.
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }

    /// What of it is at `from` or behind; `None` if that would leave bytes out.
    fn starting_at(mut self, from: u64) -> Option<Self> {
        let known = from.checked_sub(self.offset)?;
        let known = self.bytes.len().min(known.try_into().unwrap_or(usize::MAX));
        self.bytes = self.bytes.slice(known..);
        self.offset += known as u64;
        Some(self)
    }
}

/// Whether a task may have these: some, not too many, and none twice.
pub(crate) fn are_valid(specs: &[StreamSpec]) -> bool {
    let is_first = |(at, spec): (usize, &StreamSpec)| {
        let mut before = specs[..at].iter();
        before.all(|before| before.id != spec.id)
    };
    (1..=STREAMS_MAX).contains(&specs.len()) && specs.iter().enumerate().all(is_first)
}

/// What whoever is at one end of a stream does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamUse {
    /// It wrote: no further than it has heard that there is room.
    Wrote {
        /// The bytes.
        bytes: Bytes,
        /// Whether it writes no more.
        last: bool,
    },
    /// It took bytes that came, and has room for as many more.
    Took {
        /// How many.
        bytes: usize,
    },
    /// It reads no more.
    Stopped,
}

/// What whoever is at one end of a stream is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// More of it came.
    Bytes {
        /// The bytes.
        bytes: Bytes,
        /// Whether the stream ends with them.
        last: bool,
    },
    /// More may be written.
    Room {
        /// Bytes before this one, counted from the start of the stream.
        up_to: u64,
    },
    /// What is written is read by nobody any more.
    Unread,
}

/// How far a stream's reader is. Positions only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Level {
    /// Every byte before this one is with the reader.
    pub received: u64,
    /// Bytes before this one may be sent.
    pub granted: u64,
    /// The end is with the reader, or it wants no more: nothing is to be sent, now or later.
    pub closed: bool,
}

impl Level {
    /// Where the reader of a new stream is that has granted so much.
    fn first(granted: u64) -> Self {
        Self {
            received: 0,
            granted,
            closed: false,
        }
    }

    /// Takes in what was said later, or earlier. Whether that was news.
    fn raise(&mut self, other: Self) -> bool {
        let before = *self;
        self.received = self.received.max(other.received);
        self.granted = self.granted.max(other.granted);
        self.closed |= other.closed;
        *self != before
    }
}

/// What the other side of a stream did that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// More bytes came than the reader had granted.
    BeyondGrant,
    /// The reader claims to have bytes that were never sent.
    NeverSent,
    /// There was more after the end, or another end.
    BeyondEnd,
}
