//! Frames on their way out: many small ones in one write, large payloads without a copy.

use std::collections::VecDeque;

use argon_core::codec::{self, EncodeError};
use argon_core::message::{PoolBody, PoolMessage};
use argon_core::payload::Payload;
use bytes::{Buf, Bytes, BytesMut};

/// Payloads of at least this many bytes are queued as they are; shorter ones are copied beside
/// their header, which costs less than another write.
const SHARE_MIN: usize = 32 * 1024;

/// Bytes waiting to be written. As large as what was put in: whoever fills it bounds it.
#[derive(Debug, Default)]
pub(crate) struct OutBuffer {
    /// In order, before `open`; none is empty.
    chunks: VecDeque<Bytes>,
    open: BytesMut,
    len: usize,
}

impl OutBuffer {
    /// Appends a frame.
    pub(crate) fn push(&mut self, body: PoolBody, payload: Payload) -> Result<(), EncodeError> {
        let start = self.open.len();
        let message = PoolMessage { body, payload };
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

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes to be written next; empty only if none wait.
    pub(crate) fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&self.open[..], |chunk| chunk)
    }

    /// Takes `count` written bytes off the front; at most as many as `front` has.
    pub(crate) fn advance(&mut self, count: usize) {
        self.len -= count;
        match self.chunks.front_mut() {
            Some(chunk) => {
                chunk.advance(count);
                if chunk.is_empty() {
                    self.chunks.pop_front();
                }
            }
            None => self.open.advance(count),
        }
        if self.len == 0 {
            // Gives the space at the front back, so that a steady stream allocates nothing.
            self.open.clear();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use argon_core::name::Name;

    use super::*;

    #[test]
    fn frames_come_out_in_order_whatever_their_size() {
        let mut buffer = OutBuffer::default();
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
            buffer
                .push(body, Bytes::from(vec![7; size]).into())
                .unwrap();
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
}
