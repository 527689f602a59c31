//! What the codec promises: round trips, golden bytes, and no harm from hostile ones.

mod directions;
mod examples;
mod generate;
mod hostile;
mod largest;
mod pool_runs;
mod round_trip;
mod runs;
mod sizes;
mod streams;
mod vectors;

use argon_core::codec;
use argon_core::message::Message;
use bytes::BytesMut;

/// The whole frame of `message`.
fn frame<B: bincode::Encode>(message: &Message<B>) -> BytesMut {
    let mut out = BytesMut::new();
    codec::encode(message, &mut out).expect("it fits");
    out
}
