//! Any bytes, cut anywhere, into both decoders: no panic, bounded memory, one encoding for each
//! message.

#![no_main]

use std::alloc::System;
use std::fmt::Debug;

use argon_core::codec;
use argon_core::limits::HEADER_MAX;
use argon_core::message::{PoolBody, Said};
use bytes::BytesMut;
use cap::Cap;
use libfuzzer_sys::fuzz_target;

/// An allocator with a limit, which ends the process when the decoder is talked into more.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const PAYLOAD_MAX: usize = 64 * 1024;

/// What one input may make us allocate: the input, its copies, and a header a few times over.
const ALLOWED: usize = 8 * HEADER_MAX;

/// Feeds `bytes` in pieces; the first byte decides how long they are.
fn check<B>(bytes: &[u8])
where
    B: bincode::Encode + bincode::Decode<()> + Debug + PartialEq,
{
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let mut buffer = BytesMut::new();
    let mut decoded = 0;
    for piece in bytes.chunks(usize::from(cut) * 7 + 1) {
        buffer.extend_from_slice(piece);
        loop {
            match codec::decode::<B>(&mut buffer, codec::frame_max(PAYLOAD_MAX)) {
                Ok(Some(message)) => {
                    let mut again = BytesMut::new();
                    codec::encode(&message, &mut again).expect("what came in can go out");
                    let end = decoded + again.len();
                    assert_eq!(&again[..], &bytes[decoded..end], "a second encoding");
                    decoded = end;
                    let back = codec::decode::<B>(&mut again, codec::frame_max(PAYLOAD_MAX));
                    assert_eq!(back, Ok(Some(message)));
                    assert!(again.is_empty());
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    ALLOCATOR
        .set_limit(ALLOCATOR.allocated() + ALLOWED)
        .expect("room for what there is");
    check::<Said>(bytes);
    check::<PoolBody>(bytes);
    ALLOCATOR
        .set_limit(usize::MAX)
        .expect("no limit is no less");
});
