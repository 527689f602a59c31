//! Frames on their way out: many small ones in one write, large payloads without a copy.

use std::collections::VecDeque;

use argon_core::codec::{self, EncodeError, SHARE_MIN};
use argon_core::message::Message;
use bincode::Encode;
use bytes::{Buf, Bytes, BytesMut};

/// Space kept by a buffer that has become empty; one that holds so much grows no further: its space
/// would double with it, and what waits for peers that do not read is counted by its bytes.
const KEEP_MAX: usize = 256 * 1024;

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
    /// Appends `message`. A large payload is queued as it is; a short one is copied beside its
    /// header, which costs less than another write.
    ///
    /// # Errors
    /// If it does not fit into a frame; then nothing is appended.
    pub(crate) fn push<B: Encode>(&mut self, message: &Message<B>) -> Result<(), EncodeError> {
        let start = self.open.len();
        if message.payload.len() < SHARE_MIN {
            codec::encode(message, &mut self.open)?;
            self.len += self.open.len() - start;
            if self.open.len() >= KEEP_MAX {
                let full = std::mem::take(&mut self.open);
                self.chunks.push_back(full.freeze());
            }
            return Ok(());
        }
        codec::encode_head(message, &mut self.open)?;
        self.len += self.open.len() - start + message.payload.len();
        self.chunks.push_back(self.open.split().freeze());
        self.chunks.push_back(message.payload.to_bytes());
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

    /// Whether what waits lies in one piece.
    pub(crate) fn is_one_piece(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The bytes to be written next; empty only if none wait.
    pub(crate) fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&self.open[..], |chunk| chunk)
    }

    /// All that waits, in order; none is empty.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let chunks = self.chunks.iter().map(|chunk| &chunk[..]);
        chunks.chain((!self.open.is_empty()).then_some(&self.open[..]))
    }

    /// Takes `count` written bytes off the front.
    pub(crate) fn advance(&mut self, mut count: usize) {
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

#[cfg(test)]
mod tests {
    use argon_core::message::{PoolBody, PoolMessage};
    use argon_core::name::Name;
    use argon_core::time::Nanos;

    use super::*;

    #[test]
    fn many_small_frames_take_little_more_space_than_their_bytes() {
        let mut buffer = Outgoing::default();
        let name = Name::new("n".repeat(200).as_str()).unwrap();
        for id in 0..100_000 {
            let body = PoolBody::Run {
                id,
                name: name.clone(),
            };
            let payload = Bytes::new().into();
            buffer.push(&PoolMessage { body, payload }).unwrap();
            assert!(buffer.open.capacity() <= 2 * KEEP_MAX);
        }
        let in_chunks: usize = buffer.chunks.iter().map(Bytes::len).sum();
        assert_eq!(buffer.len(), in_chunks + buffer.open.len());
        assert!(buffer.chunks.iter().all(|chunk| chunk.len() >= KEEP_MAX));
    }

    #[test]
    fn frames_come_out_in_order_whatever_their_size() {
        let mut buffer = Outgoing::default();
        let sizes = [
            0,
            5,
            SHARE_MIN - 1,
            SHARE_MIN,
            7,
            3 * SHARE_MIN,
            SHARE_MIN,
            0,
        ];
        for (id, size) in (0..).zip(sizes) {
            let name = Name::new("x").unwrap();
            let body = PoolBody::Run { id, name };
            let payload = Bytes::from(vec![7; size]).into();
            buffer.push(&PoolMessage { body, payload }).unwrap();
        }
        let mut wire = BytesMut::new();
        while !buffer.is_empty() {
            let part = buffer.front().len().min(1_000);
            wire.extend_from_slice(&buffer.front()[..part]);
            buffer.advance(part);
        }
        for (expected, size) in (0..).zip(sizes) {
            let message = codec::decode::<PoolBody>(&mut wire, 1 << 20)
                .unwrap()
                .unwrap();
            assert!(matches!(message.body, PoolBody::Run { id, .. } if id == expected));
            assert_eq!(message.payload.len(), size);
        }
        assert!(wire.is_empty());
    }

    #[test]
    fn a_steady_stream_is_written_from_the_same_space() {
        let mut buffer = Outgoing::default();
        let mut space = None;
        for round in 0..100 {
            for id in 0..50 {
                let name = Name::new("x").unwrap();
                let body = PoolBody::Run { id, name };
                let payload = vec![7; 100].into();
                buffer.push(&PoolMessage { body, payload }).unwrap();
                if round > 0 {
                    let used = buffer.open.as_ptr();
                    assert_eq!(*space.get_or_insert(used), used, "nothing is moved");
                }
            }
            buffer.advance(buffer.len());
        }
    }

    #[test]
    fn a_flood_leaves_a_small_buffer_behind() {
        let mut buffer = Outgoing::default();
        let message = PoolMessage {
            body: PoolBody::Completed {
                id: 0,
                ran: Nanos::ZERO,
            },
            payload: vec![7; SHARE_MIN - 1].into(),
        };
        while buffer.len() <= 10 * KEEP_MAX {
            buffer.push(&message).unwrap();
        }
        buffer.advance(buffer.len());
        assert!(buffer.open.capacity() <= KEEP_MAX);
    }
}
