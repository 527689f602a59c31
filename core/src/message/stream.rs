//! What is said of the streams of an attempt: the same to a manager and by one, since it passes it on.

use alloc::vec::Vec;

use bincode::{Decode, Encode};

use super::{Assign, Message, Submit};
use crate::ids::Attempt;
use crate::payload::{Content, Payload};
use crate::stream::{Chunk, Level, StreamId, StreamSpec};

/// A task whose attempts have streams, on its way to the manager.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StreamSubmit {
    /// The task.
    pub submit: Submit,
    /// The streams, at most `STREAMS_MAX`.
    pub streams: Vec<StreamSpec>,
    /// The attempt whose streams the client has: no other that began before goes on.
    pub attempt: Option<Attempt>,
}

/// A task whose attempts have streams, on its way to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StreamAssign {
    /// The task.
    pub assign: Assign,
    /// The streams.
    pub streams: Vec<StreamSpec>,
}

/// Which stream of which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct StreamOf {
    /// The attempt.
    pub attempt: Attempt,
    /// The number of its stream.
    pub stream: StreamId,
}

/// A piece of a stream; the payload has its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StreamChunk {
    /// Whose.
    pub of: StreamOf,
    /// How many bytes of the stream are before it.
    pub offset: u64,
    /// Whether the stream ends with it.
    pub last: bool,
}

impl StreamChunk {
    /// What a message says of a chunk, and its payload.
    pub(crate) fn of(of: StreamOf, chunk: Chunk) -> (Self, Payload) {
        let said = Self {
            of,
            offset: chunk.offset,
            last: chunk.last,
        };
        (said, Payload::new(Content::BYTES, chunk.bytes))
    }

    /// The chunk.
    pub(crate) fn chunk(self, payload: Payload) -> Chunk {
        Chunk {
            offset: self.offset,
            bytes: payload.into_bytes(),
            last: self.last,
        }
    }
}

/// How far the reader of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StreamLevel {
    /// Whose.
    pub of: StreamOf,
    /// How far.
    pub level: Level,
    /// Whether what it has not received is lost, and has to be sent again.
    pub again: bool,
}

/// An attempt that is the one whose streams a client has, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StreamAttempt {
    /// The client's number of the task.
    pub seq: u64,
    /// The attempt.
    pub attempt: Attempt,
    /// Whether what the client was sent of it is lost, and so is what it sent.
    pub again: bool,
}

impl<B> Message<B> {
    /// A chunk as a message, in the words of a direction.
    pub(crate) fn of_chunk(
        of: StreamOf,
        chunk: Chunk,
        said: impl FnOnce(StreamChunk) -> B,
    ) -> Self {
        let (chunk, payload) = StreamChunk::of(of, chunk);
        Self {
            body: said(chunk),
            payload,
        }
    }
}
