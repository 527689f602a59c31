//! Messages to and from bytes; the only place that knows the encoding.
//!
//! A frame is a length (32 bits, little-endian: the bytes that follow it), one byte that says what
//! kind of bytes the payload holds, a header, and the payload, which is whatever is left of the
//! frame after the header. Headers are bincode 2 with fixed-size little-endian integers.
//!
//! Invariants: a length is checked against its limit before anything is allocated for it, so one
//! call of [`decode`] allocates at most [`HEADER_MAX`] bytes and the payload, which has already
//! arrived; every message has exactly one encoding, but for the names of capabilities, which may come
//! in any order and more than once; an error leaves both buffers as they were.

use core::fmt;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::de::read::Reader;
use bincode::de::{Decoder as _, DecoderImpl};
use bincode::enc::write::Writer;
use bincode::{Decode, Encode, error};
use bytes::{Buf, BufMut, BytesMut};

use crate::limits::{HEADER_MAX, IDS_MAX, RUN_TASKS_MAX};
use crate::message::{Message, TOO_MANY_IDS};
use crate::payload::{Content, Payload};

/// Bytes of the length before each frame.
pub const LENGTH_BYTES: usize = 4;

/// Bytes of the kind of payload, first in each frame.
const CONTENT_BYTES: usize = 1;

/// Headers up to so many bytes are written in one go: nearly all, those of runs as long as most are, and
/// the longest of a run.
const HEADERS: [usize; 3] = [128, 2 * 1024, 1_024 + 10 * RUN_TASKS_MAX];

/// Payloads of at least this many bytes share the buffer that they were read into. Shorter ones
/// are copied out of it, so that a task that waits long does not keep its neighbours' bytes alive.
pub const SHARE_MIN: usize = 32 * 1024;

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
    /// The header lists more ids than a message may.
    TooManyIds,
}

/// Nothing more is to be said of a header than whether it is one, but for what is too long.
fn bad_header(error: error::DecodeError) -> DecodeError {
    if matches!(error, error::DecodeError::Other(TOO_MANY_IDS)) {
        DecodeError::TooManyIds
    } else {
        DecodeError::BadHeader
    }
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
            Self::TooManyIds => write!(f, "a frame that lists more than {IDS_MAX} ids"),
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
    fn write(&mut self, bytes: &[u8]) -> Result<(), error::EncodeError> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(error::EncodeError::Other("header too long"))?;
        self.out.put_slice(bytes);
        Ok(())
    }
}

/// What is left of a frame. Reading from it, and not from a slice, leaves us the payload without
/// a count that would have to travel with each message.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a [u8]);

impl Reader for Rest<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), error::DecodeError> {
        let additional = bytes.len().saturating_sub(self.0.len());
        let (taken, rest) = self
            .0
            .split_at_checked(bytes.len())
            .ok_or(error::DecodeError::UnexpectedEnd { additional })?;
        bytes.copy_from_slice(taken);
        self.0 = rest;
        Ok(())
    }

    fn peek_read(&mut self, count: usize) -> Option<&[u8]> {
        self.0.get(..count)
    }

    fn consume(&mut self, count: usize) {
        self.0 = self.0.get(count..).unwrap_or_default();
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
    out.put_u8(message.payload.content().0);
    let within = |room: &usize| encode_within(&message.body, out, *room);
    if !HEADERS.iter().any(within) {
        let header = Appender {
            out,
            left: HEADER_MAX,
        };
        if bincode::encode_into_writer(&message.body, header, CONFIG).is_err() {
            out.truncate(start);
            return Err(EncodeError);
        }
    }
    let length = out.len() - start - LENGTH_BYTES + message.payload.len();
    let length = u32::try_from(length).expect("both parts were checked");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Appends a header if it has at most `room` bytes, as nearly all have; tells whether it has. To write
/// into space that is there costs a third of asking for it field by field.
fn encode_within<B: Encode>(body: &B, out: &mut BytesMut, room: usize) -> bool {
    let start = out.len();
    let end = start + room;
    if out.capacity() < end {
        // What grows by doubling is to stay as small as what it holds lets it.
        out.reserve(end.next_power_of_two() - start);
    }
    out.resize(end, 0);
    let encoded = bincode::encode_into_slice(body, &mut out[start..], CONFIG);
    out.truncate(start + encoded.as_ref().map_or(0, |written| *written));
    encoded.is_ok()
}

/// Takes one whole frame off the front of `buffer`, or nothing if it has not all arrived.
///
/// # Errors
/// If the frame is longer than `frame_max` bytes (without its length), or does not decode.
/// The connection is of no use after that.
// Inlined, a message is decoded where its reader wants it: each move costs as much as a field.
#[inline(always)]
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
    let mut header = DecoderImpl::new(Rest(rest), CONFIG, ());
    let body = B::decode(&mut header).map_err(bad_header)?;
    let Rest(payload) = *header.reader();
    let content = Content(content);
    let payload = if payload.len() < SHARE_MIN {
        let payload = Payload::copy_from_slice(content, payload);
        buffer.advance(end);
        payload
    } else {
        let start = end - payload.len();
        let mut frame = buffer.split_to(end).freeze();
        frame.advance(start);
        Payload::new(content, frame)
    };
    Ok(Some(Message { body, payload }))
}
