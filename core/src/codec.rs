//! Messages to and from bytes; the only place that knows the encoding.
//!
//! A frame is a length (32 bits, little-endian: the bytes that follow it), one byte that says what
//! kind of bytes the payload holds, a header, and the payload, which is whatever is left of the
//! frame after the header. Headers are bincode 2 with fixed-size little-endian integers.
//!
//! Invariants: a length is checked against its limit before anything is allocated for it, so one
//! call of [`decode`] allocates at most [`HEADER_MAX`] bytes and the payload, which has already
//! arrived; every message has exactly one encoding; an error leaves both buffers as they were.

use core::fmt;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::enc::write::Writer;
use bincode::{Decode, Encode};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::HEADER_MAX;
use crate::message::Message;
use crate::payload::{Content, Payload};

/// Bytes of the length before each frame.
pub const LENGTH_BYTES: usize = 4;

/// Bytes of the kind of payload, first in each frame.
const CONTENT_BYTES: usize = 1;

/// Payloads up to this many bytes are copied out of the read buffer, so that a task that waits
/// long does not keep the buffer of its neighbours alive; longer ones share it.
pub const COPY_MAX: usize = 4 * 1024;

/// The longest frame that may come in where payloads of up to `payload_max` bytes are allowed.
#[must_use]
pub const fn frame_max(payload_max: usize) -> usize {
    CONTENT_BYTES + HEADER_MAX + payload_max
}

const CONFIG: Configuration<LittleEndian, Fixint, Limit<HEADER_MAX>> = bincode::config::standard()
    .with_fixed_int_encoding()
    .with_limit::<HEADER_MAX>();

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The frame says that it is longer than the limit.
    TooLong {
        /// Bytes that the frame announces.
        length: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The header is not one that this version knows.
    BadHeader,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, limit } => {
                write!(
                    f,
                    "a frame of {length} bytes, where at most {limit} are allowed"
                )
            }
            Self::BadHeader => write!(f, "a frame whose header makes no sense"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError;

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message too large for a frame")
    }
}

impl core::error::Error for EncodeError {}

struct Appender<'a> {
    out: &'a mut BytesMut,
    left: usize,
}

impl Writer for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(bincode::error::EncodeError::Other("header too long"))?;
        self.out.put_slice(bytes);
        Ok(())
    }
}

/// Appends `message` as one frame to `out`.
///
/// # Errors
/// If the header is longer than [`HEADER_MAX`] or the frame longer than 32 bits can say; then
/// nothing is appended.
pub fn encode<B: Encode>(message: &Message<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    encode_head(message, out)?;
    out.extend_from_slice(&message.payload);
    Ok(())
}

/// Appends all of a frame but its payload, for those who write that from where it is.
///
/// # Errors
/// As [`encode`].
pub fn encode_head<B: Encode>(message: &Message<B>, out: &mut BytesMut) -> Result<(), EncodeError> {
    let start = out.len();
    if message.payload.len() > u32::MAX as usize - HEADER_MAX - CONTENT_BYTES {
        return Err(EncodeError);
    }
    out.put_u32_le(0);
    out.put_u8(message.payload.content.0);
    let header = Appender {
        out,
        left: HEADER_MAX,
    };
    if bincode::encode_into_writer(&message.body, header, CONFIG).is_err() {
        out.truncate(start);
        return Err(EncodeError);
    }
    let length = out.len() - start - LENGTH_BYTES + message.payload.len();
    let length = u32::try_from(length).expect("both parts were checked");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// A copy of a short payload. Bytes that come from a vector need a second allocation as soon as
/// they are shared, and payloads are always shared: with what is kept, and what is sent.
fn copied(payload: &[u8]) -> Bytes {
    match payload.len() {
        0 => Bytes::new(),
        1..=32 => Bytes::from_owner(Inline::<32>::new(payload)),
        33..=64 => Bytes::from_owner(Inline::<64>::new(payload)),
        65..=128 => Bytes::from_owner(Inline::<128>::new(payload)),
        129..=256 => Bytes::from_owner(Inline::<256>::new(payload)),
        _ => Bytes::copy_from_slice(payload),
    }
}

/// Up to `N` bytes, to be allocated together with the count of those who share them.
struct Inline<const N: usize> {
    len: usize,
    bytes: [u8; N],
}

impl<const N: usize> Inline<N> {
    fn new(payload: &[u8]) -> Self {
        let (len, mut bytes) = (payload.len(), [0; N]);
        bytes[..len].copy_from_slice(payload);
        Self { len, bytes }
    }
}

impl<const N: usize> AsRef<[u8]> for Inline<N> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Takes one whole frame off the front of `buffer`, or nothing if it has not all arrived.
///
/// # Errors
/// If the frame is longer than `frame_max` bytes (without its length), or is not one of ours.
/// The connection is of no use after that.
pub fn decode<B: Decode<()>>(
    buffer: &mut BytesMut,
    frame_max: usize,
) -> Result<Option<Message<B>>, DecodeError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > frame_max {
        return Err(DecodeError::TooLong {
            length,
            limit: frame_max,
        });
    }
    let end = LENGTH_BYTES + length;
    let Some(frame) = buffer.get(LENGTH_BYTES..end) else {
        return Ok(None);
    };
    let (&content, rest) = frame.split_first().ok_or(DecodeError::BadHeader)?;
    let (body, header) =
        bincode::decode_from_slice::<B, _>(rest, CONFIG).map_err(|_| DecodeError::BadHeader)?;
    let payload = &rest[header..];
    let bytes = if payload.len() <= COPY_MAX {
        let bytes = copied(payload);
        buffer.advance(end);
        bytes
    } else {
        let start = end - payload.len();
        let mut frame = buffer.split_to(end).freeze();
        frame.advance(start);
        frame
    };
    let payload = Payload::new(Content(content), bytes);
    Ok(Some(Message { body, payload }))
}
