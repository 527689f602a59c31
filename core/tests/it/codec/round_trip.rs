//! What is sent is what arrives, wherever the network cuts the stream.

use std::fmt::Debug;

use argon_core::codec;
use argon_core::message::Message;
use bytes::BytesMut;
use proptest::prelude::*;

use super::{frame, generate};

/// Sends `messages` through a stream that arrives in pieces of the lengths of `cuts`, repeated.
fn check<B>(messages: &[Message<B>], cuts: &[usize]) -> Result<(), TestCaseError>
where
    B: bincode::Encode + bincode::Decode<()> + Debug + PartialEq,
{
    let mut stream = BytesMut::new();
    for message in messages {
        codec::encode(message, &mut stream).expect("it fits");
    }
    let longest = messages.iter().map(|m| frame(m).len()).max().unwrap_or(0);
    let mut cuts = cuts.iter().cycle();
    let mut buffer = BytesMut::new();
    let mut arrived = Vec::new();
    while !stream.is_empty() {
        let cut = (*cuts.next().expect("there is one")).min(stream.len());
        buffer.extend_from_slice(&stream.split_to(cut));
        while let Some(message) = codec::decode::<B>(&mut buffer, longest).expect("ours") {
            arrived.push(message);
        }
    }
    prop_assert!(buffer.is_empty());
    prop_assert_eq!(&arrived[..], messages);
    Ok(())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..8usize, 1..5_000usize], 1..8)
}

proptest! {
    #[test]
    fn native_messages_survive_any_cut(
        messages in prop::collection::vec(generate::message(generate::body()), 1..6),
        cuts in cuts(),
    ) {
        check(&messages, &cuts)?;
    }

    #[test]
    fn pool_messages_survive_any_cut(
        messages in prop::collection::vec(generate::message(generate::pool_body()), 1..6),
        cuts in cuts(),
    ) {
        check(&messages, &cuts)?;
    }
}
