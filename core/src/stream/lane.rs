//! Whose turn it is to send bulk on a connection.
//!
//! Deficit round robin (Shreedhar and Varghese, 1995) with quanta as large as the largest chunk, so that
//! each turn sends something.

use alloc::collections::VecDeque;

use super::Chunk;
use crate::limits::{STREAM_CHUNK_COST, STREAM_CHUNK_MAX};

/// The streams of a connection that have something to send, and how much of them the driver has yet to
/// write. What is not bulk goes past them.
///
/// Invariants: a stream is in it once at most, as its owner sees to; the driver is handed a chunk only
/// while it has less than so many bytes of bulk as it may.
#[derive(Clone, Debug)]
pub struct Lane<K> {
    ready: VecDeque<K>,
    /// Bytes that the first may still send in its turn.
    left: usize,
    /// Bytes that the driver has not said to be written.
    ahead: usize,
    ahead_max: usize,
}

impl<K: Copy> Lane<K> {
    /// Where so many bytes of bulk may wait to be written; one chunk is always let through.
    #[must_use]
    pub fn new(ahead_max: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            left: STREAM_CHUNK_MAX,
            ahead: 0,
            ahead_max: ahead_max.max(1),
        }
    }

    /// A stream has something to send, which it had not.
    pub fn add(&mut self, stream: K) {
        self.ready.push_back(stream);
    }

    /// All that the driver was handed is written.
    pub fn written(&mut self) {
        self.ahead = 0;
    }

    /// The next chunk to send, and whose it is. `take` is asked for a chunk of a stream, of at most so many
    /// bytes; a stream that has none leaves the lane.
    pub fn next(&mut self, mut take: impl FnMut(K, usize) -> Option<Chunk>) -> Option<(K, Chunk)> {
        while self.ahead < self.ahead_max
            && let Some(&stream) = self.ready.front()
        {
            if self.left < STREAM_CHUNK_COST {
                self.left = STREAM_CHUNK_MAX;
                self.ready.rotate_left(1);
                continue;
            }
            let Some(chunk) = take(stream, self.left) else {
                self.left = STREAM_CHUNK_MAX;
                self.ready.pop_front();
                continue;
            };
            let cost = chunk.bytes.len().max(STREAM_CHUNK_COST);
            self.left = self.left.saturating_sub(cost);
            self.ahead += cost;
            return Some((stream, chunk));
        }
        None
    }
}
