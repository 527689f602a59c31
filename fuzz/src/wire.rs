//! Frames: bytes, cut anywhere, into every decoder.

use std::fmt::Debug;
use std::task::{Context, Poll, Waker};

use argon::testing::Frames;
use argon_core::codec::{self, DecodeError, LENGTH_BYTES};
use argon_core::message::{
    FromManager, Message, PoolBody, Said, ToClient, ToManager, ToObserver, ToWorker,
};
use bincode::{Decode, Encode};
use bytes::BytesMut;

use crate::stream::Script;

const PAYLOAD_MAX: usize = 64 * 1024;
const FRAME_MAX: usize = codec::frame_max(PAYLOAD_MAX);

/// What came of some bytes: whole messages, and what is wrong with what follows them.
#[derive(Debug, PartialEq)]
struct Heard<B> {
    messages: Vec<Message<B>>,
    wrong: Option<DecodeError>,
}

/// All bytes at once. Every message is encoded again: to the bytes that it came in.
fn at_once<B: Clone + Encode + Decode<()> + Debug + PartialEq>(
    bytes: &[u8],
    is_said: fn(&B) -> bool,
) -> Heard<B> {
    let mut buffer = BytesMut::from(bytes);
    let mut messages = Vec::new();
    loop {
        let start = bytes.len() - buffer.len();
        match codec::decode::<B>(&mut buffer, FRAME_MAX) {
            Ok(Some(message)) => {
                let end = bytes.len() - buffer.len();
                let mut again = BytesMut::new();
                if is_said(&message.body) {
                    codec::encode(&message, &mut again).expect("what came in can go out");
                    if again[..] != bytes[start..end] {
                        // Names of capabilities alone may come in any order, and more than once.
                        let told = format!("{:?}", message.body);
                        assert!(told.contains("Capabilities("), "a second encoding: {told}");
                        assert!(again.len() <= end - start, "it grows: {told}");
                        let same = codec::decode::<B>(&mut again, FRAME_MAX);
                        assert_eq!(same.as_ref(), Ok(&Some(message.clone())));
                    }
                } else {
                    assert!(codec::encode(&message, &mut again).is_err() && again.is_empty());
                }
                messages.push(message);
            }
            Ok(None) => {
                let announced = buffer
                    .first_chunk()
                    .map(|length| u32::from_le_bytes(*length));
                let is_whole =
                    announced.is_some_and(|length| LENGTH_BYTES + length as usize <= buffer.len());
                assert!(!is_whole, "a whole frame is left lying");
                return Heard {
                    messages,
                    wrong: None,
                };
            }
            Err(wrong) => {
                assert_eq!(bytes.len() - buffer.len(), start, "an error takes bytes");
                return Heard {
                    messages,
                    wrong: Some(wrong),
                };
            }
        }
    }
}

/// As a driver reads them, some at a time.
fn in_pieces<B: Decode<()>>(bytes: &[u8], piece: usize) -> Heard<B> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut stream = Script::new(bytes, piece);
    let mut frames = Frames::new(FRAME_MAX);
    let mut messages = Vec::new();
    loop {
        match frames.next() {
            Ok(Some(message)) => {
                messages.push(message);
                continue;
            }
            Ok(None) => {}
            Err(wrong) => {
                let _ = frames.other_protocol();
                return Heard {
                    messages,
                    wrong: Some(wrong),
                };
            }
        }
        match frames.poll_read(&mut cx, &mut stream) {
            Poll::Ready(Ok(0)) => {
                return Heard {
                    messages,
                    wrong: None,
                };
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) | Poll::Pending => panic!("a script neither fails nor waits"),
        }
    }
}

fn check<B>(bytes: &[u8], piece: usize, is_said: fn(&B) -> bool) -> Heard<B>
where
    B: Clone + Encode + Decode<()> + Debug + PartialEq,
{
    let whole = at_once(bytes, is_said);
    let pieces = in_pieces(bytes, piece);
    assert_eq!(whole, pieces, "it depends on how the bytes come");
    whole
}

/// Who listens to one side alone must not take for wrong what others understand.
fn understands<B>(all: &Heard<Said>, one: &Heard<B>) {
    assert!(one.messages.len() >= all.messages.len(), "not understood");
}

fn from_manager<T>(bytes: &[u8], piece: usize, all: &Heard<Said>)
where
    FromManager<T>: Clone + Encode + Decode<()> + Debug + PartialEq,
{
    let is_said = |body: &FromManager<T>| !matches!(body, FromManager::Misdirected);
    understands(all, &check(bytes, piece, is_said));
}

/// The first byte says who listens and whether the first length is put right, the second how the
/// bytes are cut.
pub(crate) fn frames(input: &[u8]) {
    let Some((&[head, piece], rest)) = input.split_first_chunk() else {
        return;
    };
    let mut bytes = rest.to_vec();
    if head & 0x80 != 0
        && let Some((length, frame)) = bytes.split_first_chunk_mut::<LENGTH_BYTES>()
    {
        *length = (frame.len() as u32).to_le_bytes();
    }
    // A head alone must come to the same as a frame with a payload that is shared.
    if head & 0x40 != 0 && bytes.len() >= LENGTH_BYTES {
        let padded = bytes.len() + codec::SHARE_MIN;
        bytes.resize(padded, 7);
        bytes[..LENGTH_BYTES].copy_from_slice(&((padded - LENGTH_BYTES) as u32).to_le_bytes());
    }
    let piece = usize::from(piece) * 7 + 1;
    if head & 7 == 0 {
        check::<PoolBody>(&bytes, piece, |_| true);
        return;
    }
    let all = check::<Said>(&bytes, piece, |_| true);
    match head & 7 {
        1 | 2 => {
            let is_said = |body: &ToManager| !matches!(body, ToManager::Misdirected);
            understands(&all, &check(&bytes, piece, is_said));
        }
        3 => from_manager::<ToClient>(&bytes, piece, &all),
        4 => from_manager::<ToWorker>(&bytes, piece, &all),
        5 => from_manager::<ToObserver>(&bytes, piece, &all),
        _ => {}
    }
}

/// The frames of the documentation, of one protocol.
pub(crate) fn examples(protocol: &str) -> Vec<Vec<u8>> {
    let text = include_str!("../../docs/vectors/frames.txt");
    let mut wanted = false;
    let mut frames = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("name ") {
            wanted = name.starts_with(protocol);
        } else if let Some(frame) = line.strip_prefix("frame ").filter(|_| wanted) {
            let digits = frame.as_bytes().chunks(2);
            let byte = |digits| std::str::from_utf8(digits).ok();
            let bytes = digits.filter_map(|digits| u8::from_str_radix(byte(digits)?, 16).ok());
            frames.push(bytes.collect());
        }
    }
    assert!(!frames.is_empty(), "the documentation has frames");
    frames
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (protocol, heads) in [("native/", 1..=6), ("pool/", 0..=0)] {
        let frames = examples(protocol);
        for (frame, head) in frames.iter().zip(heads.cycle()) {
            seeds.push([&[head, 1], &frame[..]].concat());
            seeds.push([&[head | 0x80, 255], &frame[..]].concat());
        }
        let all: Vec<u8> = frames.concat();
        seeds.push([&[1, 3], &all[..all.len().min(3_000)]].concat());
    }
    seeds
}
