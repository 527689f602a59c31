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

#[cfg(test)]
mod tests {
    use argon_core::codec;
    use argon_core::payload::Content;
    use bytes::BytesMut;

    use super::*;

    /// What is read of all that waits.
    fn written(outgoing: &mut PoolOutgoing) -> Vec<PoolMessage> {
        let mut wire = BytesMut::new();
        let bytes = outgoing.bytes();
        while !bytes.is_empty() {
            wire.extend_from_slice(bytes.front());
            bytes.advance(bytes.front().len());
        }
        let mut read = Vec::new();
        while let Some(message) = codec::decode(&mut wire, 1 << 24).expect("frames") {
            read.push(message);
        }
        assert!(wire.is_empty() && outgoing.is_empty());
        read
    }

    fn pushed(has_runs: bool) -> (Vec<PoolMessage>, PoolOutgoing) {
        let mut singles = Vec::new();
        let mut outgoing = PoolOutgoing::default();
        let sizes = [3, 0, RUN_BYTES_MAX - 10, 20, RUN_BYTES_MAX, 100_000, 7, 7];
        for (id, size) in (0..).zip(sizes) {
            let content = if id == 7 {
                Content::JSON
            } else {
                Content::BYTES
            };
            let payload = Payload::new(content, vec![1; size]);
            let name = Name::new("x").expect("a good name");
            let pushed = outgoing.push_run(has_runs, id, &name, payload.clone());
            pushed.expect("it fits");
            let body = PoolBody::Run { id, name };
            singles.push(PoolMessage { body, payload });
        }
        for id in 0..5 {
            let (ran, payload) = (Nanos(id), Payload::from("result"));
            let pushed = outgoing.push_completed(has_runs, id, ran, payload.clone());
            pushed.expect("it fits");
            let body = PoolBody::Completed { id, ran };
            singles.push(PoolMessage { body, payload });
        }
        (singles, outgoing)
    }

    #[test]
    fn whoever_knows_no_runs_is_sent_none() {
        let (singles, mut outgoing) = pushed(false);
        assert_eq!(written(&mut outgoing), singles);
    }

    #[test]
    fn what_is_pushed_in_a_row_goes_in_runs_and_in_order() {
        let (singles, mut outgoing) = pushed(true);
        let said = written(&mut outgoing);
        let heard: Vec<_> = said.iter().flat_map(PoolMessage::pool_singles).collect();
        assert_eq!(heard, singles);
        // The first three, five alone, and the results.
        assert_eq!(said.len(), 1 + 5 + 1);
    }

    #[test]
    fn what_has_been_taken_to_be_written_grows_no_more() {
        let mut outgoing = PoolOutgoing::default();
        for id in 0..3 {
            let payload = Payload::from("result");
            let pushed = outgoing.push_completed(true, id, Nanos(1), payload);
            pushed.expect("it fits");
            assert!(!outgoing.is_empty() && outgoing.len() >= "result".len());
            outgoing.bytes();
        }
        assert_eq!(written(&mut outgoing).len(), 3);
    }
}
