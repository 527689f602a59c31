//! Bytes from strangers: refused without a panic, an allocation for their promises, or a trace.

use argon_core::codec::{self, DecodeError};
use argon_core::limits::{HEADER_MAX, IDS_MAX, NAME_MAX};
use argon_core::message::{
    FromClient, FromManager, FromWorker, Message, PoolBody, Report, Said, ToClient, ToManager,
    ToPeer, ToWorker,
};
use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::{frame, generate};

const FRAME_MAX: usize = codec::frame_max(1_000);

fn framed(header: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32_le(1 + header.len() as u32);
    out.put_u8(0);
    out.put_slice(header);
    out
}

fn refused(header: &[u8]) {
    let mut buffer = framed(header);
    let before = buffer.clone();
    assert_eq!(
        codec::decode::<Said>(&mut buffer, FRAME_MAX),
        Err(DecodeError::BadHeader)
    );
    assert_eq!(buffer, before);
}

#[test]
fn a_frame_above_the_limit_is_refused_by_its_length_alone() {
    for (length, ok) in [
        (FRAME_MAX, true),
        (FRAME_MAX + 1, false),
        (u32::MAX as usize, false),
    ] {
        let mut buffer = BytesMut::new();
        buffer.put_u32_le(length as u32);
        let answer = codec::decode::<Said>(&mut buffer, FRAME_MAX);
        let limit = FRAME_MAX;
        let expected = if ok {
            Ok(None)
        } else {
            Err(DecodeError::TooLong { length, limit })
        };
        assert_eq!(answer, expected);
    }
}

#[test]
fn a_frame_without_a_header_is_refused() {
    refused(&[]);
    refused(&[5, 0, 0]);
}

#[test]
fn unknown_tags_are_refused() {
    refused(&28u32.to_le_bytes());
    refused(&u32::MAX.to_le_bytes());
    let mut buffer = framed(&6u32.to_le_bytes());
    assert_eq!(
        codec::decode::<PoolBody>(&mut buffer, FRAME_MAX),
        Err(DecodeError::BadHeader)
    );
    // Refuse, with a reason that does not exist; an outcome, likewise.
    refused(&[2, 0, 0, 0, 9, 0, 0, 0]);
    refused(&[11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0]);
}

#[test]
fn bools_options_and_priorities_have_one_form() {
    // Outcome, task 1, Expired, with a bool of 2.
    refused(&[11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2]);
    // Submit with priority 8: levels index arrays.
    let submit = Message::from(Said::ToManager(ToManager::Client(FromClient::Submit(
        super::examples::submit(),
    ))));
    let mut bytes = frame(&submit);
    assert_eq!(bytes[17], 4, "the offset in docs/protocol.md");
    bytes[17] = 7;
    assert!(codec::decode::<Said>(&mut bytes.clone(), FRAME_MAX).is_ok());
    bytes[17] = 8;
    refused(&bytes[5..]);
    // Hello with an option tag of 2.
    let hello = Message::from(Said::ToManager(ToManager::Hello(super::examples::hello())));
    let mut bytes = frame(&hello);
    assert_eq!(bytes[37], 0, "the offset in docs/protocol.md");
    bytes[37] = 2;
    refused(&bytes[5..]);
}

#[test]
fn bad_names_are_refused() {
    let run = |name: &[u8]| {
        let mut header = vec![1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        header.push(name.len() as u8);
        header.extend_from_slice(name);
        codec::decode::<PoolBody>(&mut framed(&header), FRAME_MAX).is_ok()
    };
    assert!(run(b"ok"));
    assert!(run(&[b'x'; NAME_MAX]));
    assert!(!run(b""));
    assert!(!run(b"a\nb"));
    assert!(!run(b"\xff\xfe"));
    assert!(!run(b"\xc3"));
}

#[test]
fn texts_must_be_utf_8() {
    // Finished, Crashed with signal 9 and a text of one byte.
    let mut header = vec![22, 0, 0, 0];
    header.extend_from_slice(&[0; 40]);
    header.extend_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
    header.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    let mut good = header.clone();
    good.push(b'x');
    assert!(codec::decode::<Said>(&mut framed(&good), FRAME_MAX).is_ok());
    header.push(0xff);
    refused(&header);
}

#[test]
fn lists_that_cannot_be_there_are_refused() {
    for length in [
        1,
        HEADER_MAX as u64 / 8,
        1 << 20,
        1 << 40,
        1 << 61,
        u64::MAX,
    ] {
        let mut header = vec![8, 0, 0, 0];
        header.extend_from_slice(&length.to_le_bytes());
        refused(&header);
        // The same as the length of a text.
        let mut header = vec![22, 0, 0, 0];
        header.extend_from_slice(&[0; 40]);
        header.extend_from_slice(&[2, 0, 0, 0, 2, 0, 0, 0]);
        header.extend_from_slice(&length.to_le_bytes());
        refused(&header);
    }
}

#[test]
fn a_header_too_long_is_not_sent() {
    let seqs = vec![0; HEADER_MAX / 8];
    let mut out = BytesMut::from(&b"before"[..]);
    assert!(
        codec::encode(
            &Message::from(Said::FromManager(ToPeer::Client(ToClient::Unknown {
                seqs
            }))),
            &mut out
        )
        .is_err()
    );
    assert_eq!(&out[..], b"before");
}

/// Decodes until an error or an empty buffer; what was decoded has one encoding only.
fn swallow<B>(bytes: &[u8])
where
    B: bincode::Encode + bincode::Decode<()> + PartialEq + std::fmt::Debug,
{
    let mut buffer = BytesMut::from(bytes);
    let mut seen = 0;
    while let Ok(Some(message)) = codec::decode::<B>(&mut buffer, FRAME_MAX) {
        let again = frame(&message);
        assert_eq!(&again[..], &bytes[seen..seen + again.len()]);
        seen += again.len();
    }
    assert_eq!(&buffer[..], &bytes[seen..]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        swallow::<Said>(&bytes);
        swallow::<PoolBody>(&bytes);
        swallow::<Said>(&framed(&bytes));
        swallow::<PoolBody>(&framed(&bytes));
    }

    #[test]
    fn spoiled_messages_do_no_harm(
        message in generate::message(generate::body()),
        spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = frame(&message).to_vec();
        for (spot, byte) in spots {
            let spot = spot.index(bytes.len());
            bytes[spot] = byte;
        }
        swallow::<Said>(&bytes);
    }
}

/// Whoever reads a message does something for each id in it.
#[test]
fn a_message_lists_so_many_ids_and_no_more() {
    let attempts = |count| vec![super::examples::attempt(); count];
    let reported = |count| vec![super::examples::reported(); count];
    let seqs = |count| vec![1; count];
    let with = |count: usize| -> Vec<Said> {
        let (few, most) = (count / 3, count - count / 3);
        vec![
            FromClient::Resume { seqs: seqs(count) }.into(),
            FromClient::AckOutcomes {
                floor: 0,
                seqs: seqs(count),
            }
            .into(),
            FromWorker::Returned {
                not_started: attempts(most),
                started: attempts(few),
            }
            .into(),
            FromWorker::Report(Report {
                running: reported(few),
                finished: reported(most),
                last: true,
            })
            .into(),
            ToClient::Unknown { seqs: seqs(count) }.into(),
            ToWorker::Recall {
                attempts: attempts(count),
            }
            .into(),
            ToWorker::AckResults {
                attempts: attempts(count),
            }
            .into(),
        ]
    };
    for said in with(IDS_MAX) {
        assert_eq!(read(&said), Ok(()), "{said:?}");
    }
    for said in with(IDS_MAX + 1) {
        assert!(frame(&Message::from(said.clone())).len() < HEADER_MAX);
        assert_eq!(read(&said), Err(DecodeError::TooManyIds));
    }
}

/// Reads a message as whoever it is for does.
fn read(said: &Said) -> Result<(), DecodeError> {
    let mut frame = frame(&Message::from(said.clone()));
    let frame_max = codec::frame_max(0);
    let any = codec::decode::<Said>(&mut frame.clone(), frame_max).map(|_| ());
    let one = match said {
        Said::ToManager(_) => codec::decode::<ToManager>(&mut frame, frame_max).map(|_| ()),
        Said::FromManager(ToPeer::Client(_)) => {
            codec::decode::<FromManager<ToClient>>(&mut frame, frame_max).map(|_| ())
        }
        Said::FromManager(_) => {
            codec::decode::<FromManager<ToWorker>>(&mut frame, frame_max).map(|_| ())
        }
    };
    assert_eq!(any, one);
    one
}
