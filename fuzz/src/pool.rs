//! What a worker makes of a pool process's bytes, on both of its outputs.

use argon::testing::{PoolEars, PoolHeard};
use argon_core::codec;
use argon_core::limits::{ERROR_TEXT_MAX, HEADER_MAX, HELLO_FRAME_MAX};
use argon_core::message::PoolMessage;
use argon_core::task::{ErrorKind, TaskError};
use argon_core::worker::RunEnd;
use bytes::BytesMut;

use crate::wire::examples;

pub(crate) const WORDS: &[&[u8]] = &[
    b"ARGN",
    b"ARGN not started: ",
    b"\x00\x00\x00\x00",
    b"\x02\x00\x00\x00",
    b"\x03\x00\x00\x00",
    b"\x05\x00\x00\x00",
    b"\xff\xff\x03\x00",
];

/// Largest result: small, so that some are too large.
const PAYLOAD_MAX: usize = 1_024;
/// Most room that may be held for a process that says nothing large: a frame and a read, doubled as
/// buffers grow.
const ROOM_MAX: usize = 2 * (HEADER_MAX + PAYLOAD_MAX) + 512 * 1024;

/// What was understood, and what was wrong with the rest.
#[derive(Debug, PartialEq)]
struct Heard {
    answers: Vec<PoolHeard>,
    wrong: Option<String>,
    not_started: bool,
}

fn listen(bytes: &[u8], piece: usize) -> Heard {
    let mut ears = PoolEars::new(PAYLOAD_MAX);
    let mut answers = Vec::new();
    let mut wrong = None;
    'pieces: for mut part in bytes.chunks(piece) {
        while !part.is_empty() {
            let count = ears.stdout(part);
            assert!(count > 0, "no room for a byte");
            part = &part[count..];
            loop {
                match ears.next() {
                    Ok(Some(answer)) => answers.push(answer),
                    Ok(None) => break,
                    Err(violation) => {
                        wrong = Some(violation.0);
                        break 'pieces;
                    }
                }
            }
            assert!(ears.room() <= ROOM_MAX, "room for {} bytes", ears.room());
        }
    }
    // How much of nonsense is shown depends on how much of it has come.
    if let Some(text) = &mut wrong
        && text.starts_with("it wrote ")
    {
        text.truncate("it wrote ".len());
    }
    // What follows something wrong is not looked at, however much of it has come.
    let not_started = wrong.is_none() && ears.not_started().is_some();
    Heard {
        answers,
        wrong,
        not_started,
    }
}

/// What core and the manager count on.
fn judge(answer: &PoolHeard) {
    if let PoolHeard::Done { end, payload, .. } = answer {
        assert!(payload.len() <= PAYLOAD_MAX, "a payload that is too large");
        if let RunEnd::Failed(error) = end {
            let TaskError {
                kind,
                message,
                backtrace,
                stderr,
            } = &**error;
            for text in [message, backtrace, stderr] {
                assert!(text.len() <= ERROR_TEXT_MAX, "a text that is too long");
            }
            if let ErrorKind::Raised(kind) = kind {
                assert!(kind.len() <= ERROR_TEXT_MAX, "a type that is too long");
            }
        }
    }
}

/// The same frames without runs, if they are frames.
fn singles(bytes: &[u8]) -> Option<BytesMut> {
    let mut bytes = BytesMut::from(bytes);
    let mut singles = BytesMut::new();
    while let Some(message) = codec::decode(&mut bytes, codec::frame_max(PAYLOAD_MAX)).ok()? {
        for single in PoolMessage::pool_singles(&message) {
            codec::encode(&single, &mut singles).ok()?;
        }
    }
    bytes.is_empty().then_some(singles)
}

/// The first byte says how the bytes are cut and what comes before them, the second how much is
/// printed, and which version is spoken.
pub(crate) fn pool(input: &[u8]) {
    let Some((&[head, printed], rest)) = input.split_first_chunk() else {
        return;
    };
    let mut bytes = Vec::new();
    if head & 1 != 0 {
        // Of version 1.0 or 1.1.
        bytes.extend_from_slice(&examples("pool/ready")[usize::from(printed & 1)]);
    }
    bytes.extend_from_slice(rest);
    if head & 2 != 0 {
        // Longer than what a result may be, and than a hello.
        bytes.resize(bytes.len() + 2 * PAYLOAD_MAX.max(HELLO_FRAME_MAX), 0);
    }
    let piece = usize::from(head >> 2) * 5 + 1;
    let whole = listen(&bytes, bytes.len().max(1));
    let pieces = listen(&bytes, piece);
    assert_eq!(whole, pieces, "it depends on how the bytes come");
    whole.answers.iter().for_each(judge);
    // The least that an answer takes is its place in a run.
    assert!(
        whole.answers.len() * 8 <= bytes.len(),
        "answers from nothing"
    );
    if let Some(singles) = singles(&bytes).filter(|_| whole.wrong.is_none()) {
        let alone = listen(&singles, singles.len().max(1));
        assert_eq!(whole, alone, "a run is not what its parts are");
    }
    let first = whole.answers.first();
    assert!(
        first.is_none_or(|first| matches!(first, PoolHeard::Ready(_))),
        "something before that it is ready"
    );

    // The same bytes as what it prints, many times over.
    let mut ears = PoolEars::new(PAYLOAD_MAX);
    for _ in 0..printed {
        ears.stderr(rest);
    }
    for mut part in bytes.chunks(piece) {
        while !part.is_empty() {
            part = &part[ears.stdout(part)..];
            loop {
                match ears.next() {
                    Ok(Some(answer)) => judge(&answer),
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let frames = examples("pool/");
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (frame, head) in frames.iter().zip([1u8, 0xff, 3, 0x41].into_iter().cycle()) {
        seeds.push([&[head, 9], &frame[..]].concat());
        seeds.push([&[head & !1, 9], &frame[..]].concat());
    }
    seeds.push(b"\x08\x00ARGN not started: no such file".to_vec());
    seeds.push(b"\x08\x01printed by a task\n".to_vec());
    // Results that are just small enough, just too large, and so large that they are not read whole.
    for payload in [PAYLOAD_MAX, PAYLOAD_MAX + 1, PAYLOAD_MAX + HEADER_MAX + 1] {
        let length = 1 + 4 + 8 + 8 + payload;
        let mut seed = vec![1, 3];
        seed.extend_from_slice(&(length as u32).to_le_bytes());
        seed.extend_from_slice(&[0, 2, 0, 0, 0]);
        seed.resize(2 + 4 + length.min(1_100), 0);
        seeds.push(seed);
    }
    seeds
}
