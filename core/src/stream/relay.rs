//! A stream on its way through the manager.

use super::pieces::Pieces;
use super::{Chunk, Level, StreamError};

/// What has come from the writer and not gone to the reader, and what the reader last said.
///
/// Invariants: holds bytes in order, without gaps, and no more of them than the window; nothing while the
/// reader is away, since what is lost comes again.
#[derive(Clone, Debug)]
pub struct Relay {
    window: u64,
    level: Level,
    held: Pieces,
    /// The stream ends where what is held does.
    ended: bool,
    /// On the reader's connection.
    end_sent: bool,
    reader_is_here: bool,
}

impl Relay {
    /// Of a new stream, whose reader is here and has granted so much.
    #[must_use]
    pub fn new(window: u64, granted: u64) -> Self {
        Self {
            window,
            level: Level::first(granted),
            held: Pieces::default(),
            ended: false,
            end_sent: false,
            reader_is_here: true,
        }
    }

    /// Of a stream that was there before: its reader has yet to say how far it is.
    #[must_use]
    pub fn without_reader(window: u64) -> Self {
        Self {
            reader_is_here: false,
            ..Self::new(window, 0)
        }
    }

    /// Takes in a piece from the writer: what of it is not here yet, if the reader is here and nothing is
    /// left out.
    ///
    /// # Errors
    /// If it is beyond what the reader has granted, or beyond the end.
    pub fn hear(&mut self, chunk: Chunk) -> Result<(), StreamError> {
        // Without its reader nothing is known of what that has granted.
        if self.level.closed || !self.reader_is_here {
            return Ok(());
        }
        if chunk.end() > self.level.granted {
            return Err(StreamError::BeyondGrant);
        }
        let ends_early = chunk.last && chunk.end() < self.held.end();
        if ends_early || self.ended && chunk.end() > self.held.end() {
            return Err(StreamError::BeyondEnd);
        }
        if let Some(chunk) = chunk.starting_at(self.held.end()) {
            self.held.push(chunk.bytes);
            self.ended |= chunk.last;
        }
        Ok(())
    }

    /// Takes in how far the reader is. Gives what the writer is to be told, if it is news. With `again`
    /// the reader is back, and what it has not received has to come again.
    ///
    /// # Errors
    /// If the reader claims to have what it was not sent.
    pub fn hear_level(&mut self, said: Level, again: bool) -> Result<Option<Level>, StreamError> {
        if !again && said.received > self.held.start() {
            return Err(StreamError::NeverSent);
        }
        let level = Level {
            // Whoever grants more than was agreed is granted what was.
            granted: said.granted.min(said.received.saturating_add(self.window)),
            ..said
        };
        let news = self.level.raise(level);
        if again || self.level.closed {
            self.restart();
            self.reader_is_here = true;
        }
        Ok((news || again).then_some(self.level))
    }

    /// What the writer is told when it comes back.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The reader is cut off.
    pub fn reader_left(&mut self) {
        self.reader_is_here = false;
        self.restart();
    }

    /// Forgets what is held; it comes again, from where the reader is.
    fn restart(&mut self) {
        self.held.restart_at(self.level.received);
        self.ended = false;
        self.end_sent = false;
    }

    /// Whether [`take`](Self::take) has something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.held.len() > 0 || self.ended && !self.end_sent
    }

    /// The next piece for the reader, of at most `most` bytes.
    pub fn take(&mut self, most: usize) -> Option<Chunk> {
        if !self.is_ready() {
            return None;
        }
        let chunk = self.held.chunk(self.held.start(), most, self.ended);
        self.held.forget_before(chunk.end());
        self.end_sent |= chunk.last;
        Some(chunk)
    }

    /// Bytes and pieces held.
    #[must_use]
    pub fn held(&self) -> (u64, usize) {
        (self.held.len(), self.held.count())
    }
}
