//! The bytes of a stream that are held, as they came.

use alloc::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

use super::Chunk;
use crate::limits::{STREAM_CHUNK_MAX, STREAM_PIECE_MIN};

/// Bytes of a stream, from one position to another.
///
/// Invariants: the pieces follow each other without a gap, none is empty, and of two side by side one at
/// least has [`STREAM_PIECE_MIN`] bytes: single bytes are not held one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    /// With their positions.
    pieces: VecDeque<(u64, Bytes)>,
    start: u64,
    end: u64,
}

impl Pieces {
    /// None, at this position.
    pub(super) fn starting_at(start: u64) -> Self {
        Self {
            pieces: VecDeque::new(),
            start,
            end: start,
        }
    }

    /// The position of the first byte.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The position behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// How many pieces they are in.
    pub(super) fn count(&self) -> usize {
        self.pieces.len()
    }

    /// Adds bytes at the end.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let position = self.end;
        self.end += bytes.len() as u64;
        match self.pieces.back_mut() {
            Some((_, last)) if last.len() < STREAM_PIECE_MIN && bytes.len() < STREAM_PIECE_MIN => {
                // Its room grows by doubling, so a byte is moved a few times at most.
                let mut both = BytesMut::from(core::mem::take(last));
                both.extend_from_slice(&bytes);
                *last = both.freeze();
            }
            _ => self.pieces.push_back((position, bytes)),
        }
    }

    /// Up to `most` bytes from this position on, as many as are in one piece.
    fn at(&self, position: u64, most: usize) -> Bytes {
        let behind = self.pieces.partition_point(|(start, _)| *start <= position);
        let piece = behind.checked_sub(1).and_then(|at| self.pieces.get(at));
        let Some((start, bytes)) = piece else {
            return Bytes::new();
        };
        let skip = bytes.len().min((position - start) as usize);
        bytes.slice(skip..bytes.len().min(skip.saturating_add(most)))
    }

    /// What is to be sent from this position on, of at most `most` bytes; the last of the stream if that
    /// `ended` with what is held.
    pub(super) fn chunk(&self, offset: u64, most: usize, ended: bool) -> Chunk {
        let bytes = self.at(offset, most.min(STREAM_CHUNK_MAX));
        let last = ended && offset + bytes.len() as u64 == self.end;
        Chunk {
            offset,
            bytes,
            last,
        }
    }

    /// Forgets what is before this position.
    pub(super) fn forget_before(&mut self, position: u64) {
        while self.start < position
            && let Some((start, first)) = self.pieces.front_mut()
        {
            let gone = (position - *start).min(first.len() as u64);
            *start += gone;
            self.start = *start;
            first.advance(gone as usize);
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// Forgets all of them; the next byte is the one at this position.
    pub(super) fn restart_at(&mut self, position: u64) {
        *self = Self::starting_at(position);
    }
}
