//! The end of a stream where its bytes are wanted.

use bytes::Bytes;

use super::{Chunk, Level, StreamError};

/// How far a stream was received and read, and what its writer was told of that.
///
/// Invariants: bytes come out in order, each once; no more is granted than the window beyond what the
/// application has taken.
#[derive(Clone, Debug)]
pub struct Reader {
    window: u64,
    /// What the application has taken.
    taken: u64,
    /// As of now.
    level: Level,
    /// As the writer was last told.
    said: Level,
    /// Where the stream ends, if its end has come.
    end: Option<u64>,
}

impl Reader {
    /// Of a new stream, whose writer knows of so much that is granted.
    #[must_use]
    pub fn new(window: u64, granted: u64) -> Self {
        Self {
            window,
            taken: 0,
            level: Level::first(granted),
            said: Level::first(granted),
            end: None,
        }
    }

    /// Takes in a piece; gives what of it is new, in order. A piece behind bytes that have yet to come is
    /// dropped, since these come again and so does it.
    ///
    /// # Errors
    /// If it is beyond what was granted, or the stream ends before what came, or in two places.
    pub fn hear(&mut self, chunk: Chunk) -> Result<Bytes, StreamError> {
        if chunk.end() > self.level.granted {
            return Err(StreamError::BeyondGrant);
        }
        let ends_early = chunk.last && chunk.end() < self.level.received;
        if ends_early || self.end.is_some_and(|end| chunk.end() > end) {
            return Err(StreamError::BeyondEnd);
        }
        if self.level.closed {
            return Ok(Bytes::new());
        }
        let Some(chunk) = chunk.starting_at(self.level.received) else {
            return Ok(Bytes::new());
        };
        self.level.received += chunk.bytes.len() as u64;
        if chunk.last {
            self.end = Some(self.level.received);
            self.level.closed = true;
        }
        Ok(chunk.bytes)
    }

    /// The application has taken so many bytes more of what came; with none it begins to read.
    pub fn take(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes as u64);
        debug_assert!(
            self.taken <= self.level.received,
            "only what came can be taken"
        );
        self.level.granted = self.taken.saturating_add(self.window);
    }

    /// The application wants no more.
    pub fn close(&mut self) {
        self.level.closed = true;
    }

    /// Whether the end has come.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.end.is_some()
    }

    /// What the writer is to be told now, if that is worth a message: the end of the stream is, and each
    /// quarter of the window.
    pub fn due(&mut self) -> Option<Level> {
        let more = self.level.granted - self.said.granted;
        let closed = self.level.closed && !self.said.closed;
        (closed || !self.level.closed && more >= self.window / 4).then(|| self.say())
    }

    /// What the writer is told after a pause, in which either side may have lost what the other said.
    pub fn say(&mut self) -> Level {
        self.said = self.level;
        self.level
    }
}
