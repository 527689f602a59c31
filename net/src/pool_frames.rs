//! Frames of the pool protocol on their way out, of which the last may yet become a run.

use argon_core::codec::EncodeError;
use argon_core::limits::RUN_BYTES_MAX;
use argon_core::message::{PoolBody, PoolMessage};
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::time::Nanos;

use crate::frames::Outgoing;

/// Frames that wait to be written. What is pushed joins the last of them, if it can. Nothing waits for
/// that: whoever writes takes all there is.
#[derive(Debug, Default)]
pub(crate) struct PoolOutgoing {
    /// The last frame, not encoded yet; small enough to grow.
    last: Option<PoolMessage>,
    /// All before it.
    frames: Outgoing,
}

impl PoolOutgoing {
    /// Appends a `Run`, or lets the last frame say it too if the other side `has_runs`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(crate) fn push_run(
        &mut self,
        has_runs: bool,
        id: u64,
        name: &Name,
        payload: Payload,
    ) -> Result<(), EncodeError> {
        if has_runs
            && let Some(last) = &mut self.last
            && last.run_too(id, name, &payload)
        {
            return Ok(());
        }
        let name = name.clone();
        let body = PoolBody::Run { id, name };
        self.push_open(has_runs, PoolMessage { body, payload })
    }

    /// Appends a `Completed`, or lets the last frame say it too if the other side `has_runs`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(crate) fn push_completed(
        &mut self,
        has_runs: bool,
        id: u64,
        ran: Nanos,
        payload: Payload,
    ) -> Result<(), EncodeError> {
        if has_runs
            && let Some(last) = &mut self.last
            && last.completed_too(id, ran, &payload)
        {
            return Ok(());
        }
        let body = PoolBody::Completed { id, ran };
        self.push_open(has_runs, PoolMessage { body, payload })
    }

    /// Appends a frame that others may join.
    fn push_open(&mut self, has_runs: bool, message: PoolMessage) -> Result<(), EncodeError> {
        if !has_runs || message.payload.len() >= RUN_BYTES_MAX {
            return self.push(&message);
        }
        self.close()?;
        self.last = Some(message);
        Ok(())
    }

    /// Appends a frame as it is.
    ///
    /// # Errors
    /// If it does not fit into a frame; then nothing is appended.
    pub(crate) fn push(&mut self, message: &PoolMessage) -> Result<(), EncodeError> {
        self.close()?;
        self.frames.push(message)
    }

    /// Nothing joins the last frame any more.
    fn close(&mut self) -> Result<(), EncodeError> {
        match self.last.take() {
            Some(last) => self.frames.push(&last),
            None => Ok(()),
        }
    }

    /// Bytes that wait, about: what stands before the payload of the last frame is not counted.
    pub(crate) fn len(&self) -> usize {
        self.frames.len() + self.last.as_ref().map_or(0, |last| last.payload.len())
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none() && self.frames.is_empty()
    }

    /// All that waits, as bytes.
    pub(crate) fn bytes(&mut self) -> &mut Outgoing {
        self.close().expect("a run is smaller than any frame");
        &mut self.frames
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
