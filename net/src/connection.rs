//! One connection's bytes: frames in, frames out, bounded both ways.
//!
//! Owns: the buffers. Never: knows what a message means, or reads a clock. Invariants: a peer can
//! make us hold no more than one frame and one read; nothing is allocated because a length says
//! so, only as bytes arrive. Units: bytes.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use argon_core::codec::{self, DecodeError, LENGTH_BYTES, SHARE_MIN};
use argon_core::message::{Beat, Message, ToManager};
use bincode::Decode;
use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::frames::Outgoing;

/// First size of a read: thousands of idle connections must cost little.
const READ_MIN: usize = 4 * 1024;
/// Largest size of a read of small frames; busy connections grow up to it.
const READ_MAX: usize = 32 * 1024;
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

    /// What is spoken there instead, by a server or by a client, if it is something well known; to be
    /// asked when what came is no frame.
    pub(crate) fn other_protocol(&self) -> Option<&'static str> {
        // A server that takes what it was sent for HTTP 0.9 answers without a header.
        let known: [(&[u8], &str); 7] = [
            (b"HTTP/", "HTTP"),
            (b"GET ", "HTTP"),
            (b"POST ", "HTTP"),
            (b"<!DOCTYPE", "HTTP"),
            (b"SSH-", "SSH"),
            (b"\x15\x03", "TLS"),
            (b"\x16\x03", "TLS"),
        ];
        let spoken = known
            .iter()
            .find(|(start, _)| self.buffer.starts_with(start));
        spoken.map(|(_, name)| *name)
    }

    /// Takes the next whole frame.
    ///
    /// # Errors
    /// If what came is no frame, or too long a one; the connection is of no use then.
    #[inline(always)]
    pub(crate) fn next<B: Decode<()>>(&mut self) -> Result<Option<Message<B>>, DecodeError> {
        codec::decode(&mut self.buffer, self.frame_max)
    }

    /// Reads once; to be called when [`next`](Self::next) has no more. 0 is the end.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let missing = self.missing();
        let room = if missing < SHARE_MIN {
            // With the start of the next frame, which the last read may have left, it is as much
            // as a read: the buffer need not be larger than that. A read of nothing would look
            // like the end.
            let rest = self.read.saturating_sub(self.buffer.len());
            rest.max(missing).max(1)
        } else {
            // A large frame gets a buffer of its own, which grows only as fast as it fills: TLS, and
            // slow networks, fill far less than there is room for, and what is there is copied each time.
            let spare = self.buffer.capacity() - self.buffer.len();
            missing.min(if spare < READ_MIN {
                self.buffer.len().max(READ_MAX)
            } else {
                spare
            })
        };
        self.make_room(room);
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

    /// Makes room for so many more bytes: where the buffer is, if it is large enough.
    fn make_room(&mut self, room: usize) {
        if !self.buffer.try_reclaim(room) {
            // `reserve` would copy what is already used up, too.
            let mut larger = BytesMut::with_capacity(self.buffer.len() + room);
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
    }

    /// Bytes of a frame that is larger than a read and has yet to end; 0 if there is none. To be asked
    /// when [`next`](Self::next) has no more.
    pub(crate) fn large(&self) -> usize {
        let held = self.buffer.len();
        if held > READ_MAX { held } else { 0 }
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

impl Outgoing {
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
        if self.is_one_piece() {
            return Pin::new(stream).poll_write(cx, self.front());
        }
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(self.pieces()) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        Pin::new(stream).poll_write_vectored(cx, &slices[..used])
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

/// What one speaks that has not answered a hello, if that is well known. Nobody else is to read any
/// more.
///
/// It is sent a heartbeat with the end of a line and of a header in it: servers that wait for those
/// answer it, and to a manager it is a heartbeat as any other.
pub(crate) async fn provoke<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    mut incoming: Incoming,
    mut outgoing: Outgoing,
) -> Option<&'static str> {
    let beat = Beat {
        nonce: u64::from_le_bytes(*b"\r\n\r\n\r\n\r\n"),
        received: 0,
    };
    outgoing.push(&Message::from(ToManager::Ping(beat))).ok()?;
    let flush = std::future::poll_fn(|cx| outgoing.poll_flush(cx, &mut stream, &mut 0));
    flush.await.ok()?;
    loop {
        if let Some(spoken) = incoming.other_protocol() {
            return Some(spoken);
        }
        let read = std::future::poll_fn(|cx| incoming.poll_read(cx, &mut stream)).await;
        if read.ok()? == 0 || incoming.buffer.len() > READ_MIN {
            return None;
        }
    }
}

#[cfg(test)]
mod tests;
