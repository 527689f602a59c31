//! What a pool process says: bytes in, answers out, and what is wrong with the rest.

use std::fmt;
use std::time::Duration;

use argon_core::capabilities::Capabilities;
use argon_core::codec::{self, DecodeError, LENGTH_BYTES};
use argon_core::limits::HELLO_FRAME_MAX;
use argon_core::message::{AnswerParts, MAGIC, POOL_RUNS, POOL_VERSION, PoolBody, Version};
use argon_core::payload::Payload;
use argon_core::task::{ErrorKind, TaskError};
use argon_core::time::Nanos;
use argon_core::worker::RunEnd;
use bytes::{Buf, BytesMut};

use crate::guard::NOT_STARTED;
use crate::text::{cut_error, cut_start};

/// Least and most free space for a read.
const SPACE_MIN: usize = 8 * 1024;
const SPACE_MAX: usize = 256 * 1024;
/// Bytes of a `Completed` without its length and its payload.
const COMPLETED_BYTES: usize = 21;
/// Bytes of nonsense that are shown.
const SHOWN: usize = 64;

/// A frame from a pool process that makes sense.
#[derive(Debug)]
pub(super) enum Answer {
    Ready(Capabilities),
    Done {
        id: u64,
        ran: Duration,
        end: RunEndWithoutStderr,
        payload: Payload,
    },
}

/// An end that may lack the last that was said on standard error.
#[derive(Debug)]
pub(super) struct RunEndWithoutStderr(RunEnd);

impl RunEndWithoutStderr {
    /// Adds it, if the attempt failed and the runtime gave none.
    pub(super) fn with_stderr(mut self, text: impl FnOnce() -> String) -> RunEnd {
        if let RunEnd::Failed(error) = &mut self.0 {
            if error.stderr.is_empty() {
                error.stderr = text();
            }
            cut_error(error);
        }
        self.0
    }
}

/// Bytes that came and are not answers yet: at most one frame of the largest size, and a read.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: BytesMut,
    payload_max: usize,
    ready: bool,
    /// It has said that it understands runs.
    has_runs: bool,
    /// What is left of a run of answers.
    parts: Option<AnswerParts>,
    /// Bytes to come of a result that is too large; they are dropped.
    skip: usize,
    /// The buffer has had room for a large result.
    grown: bool,
}

impl Inbox {
    pub(super) fn new(payload_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            payload_max,
            ready: false,
            has_runs: false,
            parts: None,
            skip: 0,
            grown: false,
        }
    }

    /// Whether the program understands runs, and so may say some.
    pub(super) fn has_runs(&self) -> bool {
        self.has_runs
    }

    /// Where to read to: as much space as is useful now.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        let announced = self.buffer.first_chunk::<LENGTH_BYTES>();
        let announced = announced.map_or(0, |length| u32::from_le_bytes(*length) as usize);
        let missing = (announced + LENGTH_BYTES).saturating_sub(self.buffer.len());
        if announced > SPACE_MAX {
            self.grown = true;
        } else if std::mem::take(&mut self.grown) {
            // The room of a large result is not kept for small ones.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.buffer.reserve(missing.clamp(SPACE_MIN, SPACE_MAX));
        &mut self.buffer
    }

    /// Takes bytes in.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Why the program was not started, if the guard said so.
    pub(super) fn not_started(&self) -> Option<String> {
        let reason = self
            .buffer
            .strip_prefix(NOT_STARTED)
            .filter(|_| !self.ready)?;
        let mut reason = String::from_utf8_lossy(reason).into_owned();
        cut_start(&mut reason);
        Some(reason)
    }

    /// The next answer that has wholly come, or what is wrong with what came.
    pub(super) fn next(&mut self) -> Result<Option<Answer>, PoolViolation> {
        if self.skip > 0 {
            let skipped = self.skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skip -= skipped;
        }
        if !self.ready {
            return self.first();
        }
        if let Some(answer) = self.next_part() {
            return Ok(Some(answer));
        }
        match codec::decode::<PoolBody>(&mut self.buffer, codec::frame_max(self.payload_max)) {
            Ok(None) => Ok(None),
            Ok(Some(message)) => match message.body {
                PoolBody::Completed { id, ran } => {
                    Ok(Some(self.completed(id, ran, message.payload)))
                }
                PoolBody::Failed { id, ran, error } => {
                    let payload = message.payload;
                    let payload = if payload.len() > self.payload_max {
                        Payload::empty()
                    } else {
                        payload
                    };
                    let end = RunEndWithoutStderr(RunEnd::Failed(Box::new(error)));
                    Ok(Some(Answer::Done {
                        id,
                        ran: span(ran),
                        end,
                        payload,
                    }))
                }
                PoolBody::CompletedMany(_) if !self.has_runs => Err(PoolViolation::TooNew),
                PoolBody::CompletedMany(many) => {
                    self.parts = many.into_parts(message.payload);
                    let first = self.next_part().ok_or(PoolViolation::BadRun)?;
                    Ok(Some(first))
                }
                PoolBody::Ready { .. } => Err(PoolViolation::ReadyTwice),
                PoolBody::Run { .. } | PoolBody::RunMany(_) => Err(PoolViolation::WorkersMessage),
            },
            Err(DecodeError::TooLong { length, .. }) => self.too_long(length),
            Err(DecodeError::BadHeader | DecodeError::TooManyIds) => Err(self.not_a_frame()),
        }
    }

    /// The next answer of a run of them.
    fn next_part(&mut self) -> Option<Answer> {
        let Some((id, ran, result)) = self.parts.as_mut()?.next() else {
            self.parts = None;
            return None;
        };
        Some(self.completed(id, ran, result))
    }

    fn completed(&self, id: u64, ran: Nanos, payload: Payload) -> Answer {
        let ran = span(ran);
        if payload.len() > self.payload_max {
            return self.too_large(id, ran, payload.len());
        }
        Answer::Done {
            id,
            ran,
            end: RunEndWithoutStderr(RunEnd::Completed),
            payload,
        }
    }

    fn too_large(&self, id: u64, ran: Duration, length: usize) -> Answer {
        let limit = self.payload_max;
        let text = format!("a result of {length} bytes, where at most {limit} are allowed");
        let error = TaskError::new(ErrorKind::ResultTooLarge, text);
        let end = RunEndWithoutStderr(RunEnd::Failed(Box::new(error)));
        Answer::Done {
            id,
            ran,
            end,
            payload: Payload::empty(),
        }
    }

    /// A result that is too large fails its attempt only: the rest of it is dropped as it comes.
    fn too_long(&mut self, length: usize) -> Result<Option<Answer>, PoolViolation> {
        let head = LENGTH_BYTES + COMPLETED_BYTES;
        if self.buffer.len() < head {
            return Ok(None);
        }
        let mut completed = BytesMut::from(&self.buffer[..head]);
        completed[..LENGTH_BYTES].copy_from_slice(&(COMPLETED_BYTES as u32).to_le_bytes());
        match codec::decode::<PoolBody>(&mut completed, COMPLETED_BYTES) {
            Ok(Some(message)) => match message.body {
                PoolBody::Completed { id, ran } => {
                    self.buffer.advance(head);
                    self.skip = length - COMPLETED_BYTES;
                    let skipped = self.skip.min(self.buffer.len());
                    self.buffer.advance(skipped);
                    self.skip -= skipped;
                    Ok(Some(self.too_large(
                        id,
                        span(ran),
                        length - COMPLETED_BYTES,
                    )))
                }
                PoolBody::Ready { .. }
                | PoolBody::Run { .. }
                | PoolBody::RunMany(_)
                | PoolBody::CompletedMany(_)
                | PoolBody::Failed { .. } => Err(self.not_a_frame()),
            },
            Ok(None) | Err(_) => Err(self.not_a_frame()),
        }
    }

    /// The first frame must be `Ready`.
    fn first(&mut self) -> Result<Option<Answer>, PoolViolation> {
        // The guard's word for a program that cannot be started; all of it is there at its end.
        if self.buffer.starts_with(&NOT_STARTED[..LENGTH_BYTES])
            && self.buffer.len() <= HELLO_FRAME_MAX
        {
            return Ok(None);
        }
        match codec::decode::<PoolBody>(&mut self.buffer, codec::frame_max(0)) {
            Ok(None) => Ok(None),
            Ok(Some(message)) => match message.body {
                PoolBody::Ready {
                    magic: MAGIC,
                    version,
                    capabilities,
                } => {
                    if version.major != POOL_VERSION.major {
                        return Err(PoolViolation::Version(version));
                    }
                    self.ready = true;
                    self.has_runs = version >= POOL_RUNS;
                    Ok(Some(Answer::Ready(capabilities)))
                }
                PoolBody::Ready { .. }
                | PoolBody::Run { .. }
                | PoolBody::RunMany(_)
                | PoolBody::Completed { .. }
                | PoolBody::CompletedMany(_)
                | PoolBody::Failed { .. } => Err(PoolViolation::NotReadyFirst),
            },
            Err(_) => Err(self.not_a_frame()),
        }
    }

    fn not_a_frame(&self) -> PoolViolation {
        PoolViolation::NotAFrame(self.buffer[..self.buffer.len().min(SHOWN)].into())
    }
}

/// How a pool program broke the pool protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PoolViolation {
    /// Its first message was another one than `Ready`.
    NotReadyFirst,
    /// It said `Ready` more than once.
    ReadyTwice,
    /// It said what only a worker says.
    WorkersMessage,
    /// It said what there is only in a later version than the one it speaks.
    TooNew,
    /// A run of answers whose sizes are not those of its payload, or that is too short or too long.
    BadRun,
    /// It speaks another major version.
    Version(Version),
    /// The beginning of bytes that are no frame.
    NotAFrame(Box<[u8]>),
}

impl fmt::Display for PoolViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReadyFirst => f.write_str("its first message was not that it is ready"),
            Self::ReadyTwice => f.write_str("it said twice that it is ready"),
            Self::WorkersMessage => f.write_str("it sent a message that only workers send"),
            Self::TooNew => f.write_str("it sent a run, which its version does not have"),
            Self::BadRun => f.write_str("it sent a run of answers that is none"),
            Self::Version(version) => write!(
                f,
                "it speaks version {}.{} of the pool protocol, this worker {}.{}",
                version.major, version.minor, POOL_VERSION.major, POOL_VERSION.minor
            ),
            // The usual reason is a task that prints.
            Self::NotAFrame(shown) => write!(
                f,
                "it wrote \"{}\" to its standard output, which is for the pool protocol alone: \
                 a pool program must print to standard error",
                shown.escape_ascii()
            ),
        }
    }
}

impl std::error::Error for PoolViolation {}

fn span(ran: Nanos) -> Duration {
    ran.to_duration().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon_core::message::{Message, Version};
    use argon_core::name::Name;

    fn frame(body: PoolBody, payload: Payload) -> BytesMut {
        let mut frame = BytesMut::new();
        codec::encode(&Message { body, payload }, &mut frame).expect("it fits");
        frame
    }

    /// Reads as a slot does: into what space there is.
    fn read(inbox: &mut Inbox, mut bytes: &[u8]) -> usize {
        let mut answers = 0;
        while !bytes.is_empty() {
            let space = inbox.space();
            let count = bytes.len().min(space.capacity() - space.len());
            inbox.push(&bytes[..count]);
            bytes = &bytes[count..];
            while inbox.next().expect("sense").is_some() {
                answers += 1;
            }
        }
        answers
    }

    #[test]
    fn the_room_of_a_large_result_is_not_kept() {
        let mut inbox = Inbox::new(64 << 20);
        let version = Version { major: 1, minor: 0 };
        let capabilities = Capabilities::new([Name::new("*").expect("valid")]).expect("few");
        let magic = MAGIC;
        let ready = PoolBody::Ready {
            magic,
            version,
            capabilities,
        };
        read(&mut inbox, &frame(ready, Payload::empty()));
        let ran = Nanos::ZERO;
        let large = frame(PoolBody::Completed { id: 1, ran }, vec![0; 32 << 20].into());
        assert_eq!(read(&mut inbox, &large), 1);
        let small = frame(PoolBody::Completed { id: 2, ran }, vec![0; 10].into());
        assert_eq!(read(&mut inbox, &small), 1);
        assert!(inbox.space().capacity() <= 2 * SPACE_MAX);
    }
}
