//! One connection's bytes: frames in, frames out, bounded both ways.
//!
//! Owns: the buffers. Never: knows what a message means, or reads a clock. Invariants: a peer can
//! make us hold no more than one frame and one read; nothing is allocated because a length says
//! so, only as bytes arrive. Units: bytes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use argon_core::codec::{self, COPY_MAX, DecodeError, EncodeError, LENGTH_BYTES};
use argon_core::message::{Body, Message};
use argon_core::payload::Payload;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Payloads of at least this many bytes are handed on as they are; shorter ones are copied, which
/// costs less than another write, or than keeping a read buffer alive.
pub(crate) const SHARE_MIN: usize = 32 * 1024;
/// First size of a read: thousands of idle connections must cost little.
const READ_MIN: usize = 4 * 1024;
/// Largest size of a read of small frames; busy connections grow up to it.
const READ_MAX: usize = 32 * 1024;
/// Space kept by a write buffer that has become empty.
const KEEP_MAX: usize = 256 * 1024;
/// Most pieces handed to the system in one write.
const PIECES_MAX: usize = 16;

/// Bytes read and not yet understood.
#[derive(Debug)]
pub(crate) struct Incoming {
    buffer: BytesMut,
    frame_max: usize,
    read: usize,
}

impl Incoming {
    /// For frames of at most `frame_max` bytes.
    pub(crate) fn new(frame_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            frame_max,
            read: READ_MIN,
        }
    }

    /// Allows frames of at most `frame_max` bytes from now on.
    pub(crate) fn set_frame_max(&mut self, frame_max: usize) {
        self.frame_max = frame_max;
    }

    /// Takes the next whole frame.
    ///
    /// # Errors
    /// If what came is no frame, or too long a one; the connection is of no use then.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, DecodeError> {
        let Some(mut message) = codec::decode::<Body>(&mut self.buffer, self.frame_max)? else {
            return Ok(None);
        };
        if (COPY_MAX..SHARE_MIN).contains(&message.payload.len()) {
            let content = message.payload.content();
            message.payload = Payload::copy_from_slice(content, &message.payload);
        }
        Ok(Some(message))
    }

    /// Reads once; to be called when [`next`](Self::next) has no more. 0 is the end.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let missing = self.missing();
        let room = if missing < SHARE_MIN {
            self.read
        } else {
            // A large frame gets a buffer of its own, which grows only as fast as it fills.
            missing.min(self.buffer.len().max(READ_MAX))
        };
        self.buffer.reserve(room);
        let polled = {
            let mut space = (&mut self.buffer).limit(room);
            pin!(stream.read_buf(&mut space)).poll(cx)
        };
        if polled.is_pending() && self.buffer.is_empty() && self.buffer.capacity() > READ_MAX {
            self.buffer = BytesMut::new();
        }
        let count = ready!(polled)?;
        if missing < SHARE_MIN {
            if count == room {
                self.read = (self.read * 2).min(READ_MAX);
            } else if count < self.read / 4 {
                self.read = (self.read / 2).max(READ_MIN);
            }
        }
        Poll::Ready(Ok(count))
    }

    /// Bytes that the frame at the front still lacks, as far as its length is known.
    fn missing(&self) -> usize {
        self.buffer
            .first_chunk::<LENGTH_BYTES>()
            .map_or(0, |length| {
                (LENGTH_BYTES + u32::from_le_bytes(*length) as usize)
                    .saturating_sub(self.buffer.len())
            })
    }
}

/// Frames that wait to be written. As large as what was put in: whoever fills it bounds it.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// In order, before `open`; none is empty.
    chunks: VecDeque<Bytes>,
    /// Small frames, one after the other.
    open: BytesMut,
    len: usize,
}

impl Outgoing {
    /// Appends `message`.
    ///
    /// # Errors
    /// If it does not fit into a frame; then nothing is appended.
    pub(crate) fn push(&mut self, message: Message) -> Result<(), EncodeError> {
        let start = self.open.len();
        if message.payload.len() < SHARE_MIN {
            codec::encode(&message, &mut self.open)?;
            self.len += self.open.len() - start;
            return Ok(());
        }
        codec::encode_head(&message, &mut self.open)?;
        self.len += self.open.len() - start + message.payload.len();
        self.chunks.push_back(self.open.split().freeze());
        self.chunks.push_back(message.payload.into_bytes());
        Ok(())
    }

    /// Appends all that waits in `other`.
    pub(crate) fn append(&mut self, other: Self) {
        if !self.open.is_empty() {
            self.chunks.push_back(self.open.split().freeze());
        }
        self.chunks.extend(other.chunks);
        self.open = other.open;
        self.len += other.len;
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes until everything is written or the stream takes no more. Adds what it wrote to
    /// `written`, whatever it returns.
    pub(crate) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        written: &mut usize,
    ) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.is_empty() {
            let count = ready!(self.poll_write(cx, stream))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count;
            self.advance(count);
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        if self.chunks.is_empty() {
            return Pin::new(stream).poll_write(cx, &self.open);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let mut used = 0;
        for (piece, chunk) in pieces.iter_mut().zip(&self.chunks) {
            *piece = IoSlice::new(chunk);
            used += 1;
        }
        if used < PIECES_MAX && !self.open.is_empty() {
            pieces[used] = IoSlice::new(&self.open);
            used += 1;
        }
        Pin::new(stream).poll_write_vectored(cx, &pieces[..used])
    }

    /// Takes `count` written bytes off the front.
    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while let Some(chunk) = self.chunks.front_mut() {
            if count < chunk.len() {
                chunk.advance(count);
                return;
            }
            count -= chunk.len();
            self.chunks.pop_front();
        }
        if count < self.open.len() {
            return self.open.advance(count);
        }
        // Not advanced: that would give the space away, and a steady stream is to allocate nothing.
        self.open.clear();
        if self.open.capacity() > KEEP_MAX {
            self.open = BytesMut::new();
        }
    }
}

/// Sends what waits, says that no more will come, and waits for the other side to have read it.
/// To be bounded by the caller.
pub(crate) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    mut outgoing: Outgoing,
) {
    use tokio::io::AsyncWriteExt as _;

    let flushed = std::future::poll_fn(|cx| outgoing.poll_flush(cx, &mut stream, &mut 0)).await;
    if flushed.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    // Closing a socket that holds unread input resets it, and takes back our last words.
    let mut rest = [0; 1_024];
    while matches!(stream.read(&mut rest).await, Ok(count) if count > 0) {}
}

#[cfg(test)]
mod tests;
