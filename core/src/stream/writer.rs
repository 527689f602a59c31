//! The end of a stream where its bytes are made.

use bytes::Bytes;

use super::pieces::Pieces;
use super::{Chunk, Level, StreamError};

/// What is written and not known to be received, and how far it was sent.
///
/// Invariants: holds at most the window; sends nothing that was not granted; what is before
/// `level.received` is forgotten, and all once the reader has closed.
#[derive(Clone, Debug)]
pub struct Writer {
    window: u64,
    held: Pieces,
    /// Sent on this connection, or before it and received.
    sent: u64,
    /// The most that was ever sent.
    reached: u64,
    ended: bool,
    /// On this connection.
    end_sent: bool,
    level: Level,
}

impl Writer {
    /// Of a new stream, of which so much is granted.
    #[must_use]
    pub fn new(window: u64, granted: u64) -> Self {
        Self {
            window,
            held: Pieces::default(),
            sent: 0,
            reached: 0,
            ended: false,
            end_sent: false,
            level: Level::first(granted),
        }
    }

    /// How many bytes may be written before more are received. Of what nobody reads any more, any number:
    /// it is dropped.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.ended {
            0
        } else if self.level.closed {
            usize::MAX
        } else {
            self.window.saturating_sub(self.held.len()) as usize
        }
    }

    /// The position up to which bytes may be written before more are received.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.held.end().saturating_add(self.room() as u64)
    }

    /// Takes bytes in: no more than there is [room](Self::room) for, or more than the window is held.
    pub fn write(&mut self, bytes: Bytes) {
        debug_assert!(bytes.len() <= self.room(), "whoever writes asks for room");
        if !self.level.closed && !self.ended {
            self.held.push(bytes);
        }
    }

    /// There will be no more bytes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the reader wants no more: it has the end, or went away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.level.closed
    }

    /// Takes in how far the reader is. With `again`, what it has not received is sent again: it came to
    /// nobody.
    ///
    /// # Errors
    /// If the reader claims to have what was never sent; nothing has changed then.
    pub fn hear(&mut self, level: Level, again: bool) -> Result<(), StreamError> {
        if level.received > self.reached {
            return Err(StreamError::NeverSent);
        }
        self.level.raise(level);
        self.held.forget_before(self.level.received);
        self.sent = self.sent.max(self.level.received);
        if self.level.closed {
            self.give_up();
        } else if again {
            self.send_again();
        }
        Ok(())
    }

    /// Nobody reads it any more.
    pub fn give_up(&mut self) {
        self.level.closed = true;
        self.held.restart_at(self.held.end());
    }

    /// What was sent and not received may be lost: the connection is another.
    pub fn send_again(&mut self) {
        self.sent = self.level.received;
        self.end_sent = false;
    }

    /// Whether [`take`](Self::take) has something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if self.level.closed {
            return false;
        }
        let end_is_next = self.ended && !self.end_sent && self.sent == self.held.end();
        end_is_next || self.sent < self.held.end().min(self.level.granted)
    }

    /// The next piece to send, of at most `most` bytes.
    pub fn take(&mut self, most: usize) -> Option<Chunk> {
        if !self.is_ready() {
            return None;
        }
        let granted = self.level.granted.saturating_sub(self.sent);
        let most = most.min(granted as usize);
        let chunk = self.held.chunk(self.sent, most, self.ended);
        self.sent = chunk.end();
        self.reached = self.reached.max(self.sent);
        self.end_sent |= chunk.last;
        Some(chunk)
    }

    /// Bytes and pieces held.
    #[must_use]
    pub fn held(&self) -> (u64, usize) {
        (self.held.len(), self.held.count())
    }
}
