//! Peers that say of a stream what cannot be.

use argon_core::stream::{Chunk, Level, Reader, Relay, StreamError, Writer};
use bytes::Bytes;

use super::pipe::bytes_at;

fn chunk(offset: u64, count: usize, last: bool) -> Chunk {
    Chunk {
        offset,
        bytes: bytes_at(offset, count),
        last,
    }
}

fn level(received: u64, granted: u64) -> Level {
    Level {
        received,
        granted,
        closed: false,
    }
}

#[test]
fn more_than_was_granted_is_refused() {
    let mut reader = Reader::new(100, 100);
    let mut relay = Relay::new(100, 100);
    for bad in [
        chunk(0, 101, false),
        chunk(100, 1, false),
        chunk(u64::MAX - 1, 1, true),
    ] {
        assert_eq!(reader.hear(bad.clone()), Err(StreamError::BeyondGrant));
        assert_eq!(relay.hear(bad), Err(StreamError::BeyondGrant));
    }
    assert_eq!(reader.hear(chunk(0, 100, false)), Ok(bytes_at(0, 100)));
    assert_eq!(relay.hear(chunk(0, 100, false)), Ok(()));
}

#[test]
fn a_stream_has_one_end() {
    let mut reader = Reader::new(100, 100);
    let mut relay = Relay::new(100, 100);
    assert_eq!(reader.hear(chunk(0, 10, false)), Ok(bytes_at(0, 10)));
    assert_eq!(relay.hear(chunk(0, 10, false)), Ok(()));
    // Before what came.
    assert_eq!(reader.hear(chunk(0, 9, true)), Err(StreamError::BeyondEnd));
    assert_eq!(relay.hear(chunk(0, 9, true)), Err(StreamError::BeyondEnd));
    assert_eq!(reader.hear(chunk(10, 5, true)), Ok(bytes_at(10, 5)));
    assert_eq!(relay.hear(chunk(10, 5, true)), Ok(()));
    // In another place.
    for bad in [chunk(0, 16, false), chunk(10, 6, true), chunk(15, 1, false)] {
        assert_eq!(reader.hear(bad.clone()), Err(StreamError::BeyondEnd));
        assert_eq!(relay.hear(bad), Err(StreamError::BeyondEnd));
    }
    // The same again is nothing new.
    assert_eq!(reader.hear(chunk(10, 5, true)), Ok(Bytes::new()));
    assert_eq!(relay.hear(chunk(10, 5, true)), Ok(()));
}

#[test]
fn what_was_never_sent_was_not_received() {
    let mut writer = Writer::new(100, 100);
    writer.write(bytes_at(0, 10));
    assert_eq!(
        writer.hear(level(1, 101), false),
        Err(StreamError::NeverSent)
    );
    assert_eq!(writer.take(5).unwrap().bytes.len(), 5);
    assert_eq!(
        writer.hear(level(6, 106), true),
        Err(StreamError::NeverSent)
    );
    assert_eq!(writer.hear(level(5, 105), false), Ok(()));
    // Sent again, it still was sent.
    let rest = writer.take(5).unwrap();
    writer.send_again();
    assert_eq!(writer.hear(level(10, 110), false), Ok(()));
    assert_eq!((rest.offset, writer.take(5)), (5, None));

    let mut relay = Relay::new(100, 100);
    relay.hear(chunk(0, 10, false)).unwrap();
    relay.take(5).unwrap();
    assert_eq!(
        relay.hear_level(level(6, 106), false),
        Err(StreamError::NeverSent)
    );
    assert_eq!(
        relay.hear_level(level(5, 105), false),
        Ok(Some(level(5, 105)))
    );
}

#[test]
fn a_reader_cannot_have_more_held_than_its_window() {
    let mut relay = Relay::new(100, 100);
    let told = relay.hear_level(level(0, u64::MAX), false).unwrap();
    assert_eq!(told, None, "as much is granted as was before");
    // Whoever comes back can claim what it likes, and is held as much as anybody.
    let told = relay.hear_level(level(1_000, u64::MAX), true).unwrap();
    assert_eq!(told, Some(level(1_000, 1_100)));
    assert_eq!(relay.hear(chunk(0, 100, false)), Ok(()));
    assert_eq!(relay.held(), (0, 0));
    assert_eq!(relay.hear(chunk(900, 200, false)), Ok(()));
    assert_eq!(relay.held().0, 100);
    let told = relay.hear_level(level(u64::MAX, u64::MAX), true).unwrap();
    assert_eq!(told, Some(level(u64::MAX, u64::MAX)));
}

#[test]
fn levels_of_the_past_change_nothing() {
    let mut writer = Writer::new(100, 100);
    writer.write(bytes_at(0, 100));
    writer.take(100).unwrap();
    writer.hear(level(60, 160), false).unwrap();
    writer.hear(level(10, 110), false).unwrap();
    assert_eq!((writer.held().0, writer.room()), (40, 60));
    writer.write(bytes_at(100, 60));
    let more = writer.take(100).unwrap();
    assert_eq!((more.offset, more.bytes.len()), (100, 60));
}

#[test]
fn bytes_that_are_there_come_once_and_gaps_are_not_skipped() {
    let mut reader = Reader::new(100, 100);
    let mut relay = Relay::new(100, 100);
    for (said, new) in [
        (chunk(0, 10, false), bytes_at(0, 10)),
        (chunk(0, 10, false), Bytes::new()),
        (chunk(5, 10, false), bytes_at(10, 5)),
        (chunk(16, 10, false), Bytes::new()),
        (chunk(16, 10, true), Bytes::new()),
        (chunk(15, 5, false), bytes_at(15, 5)),
    ] {
        assert_eq!(reader.hear(said.clone()), Ok(new.clone()));
        relay.hear(said).unwrap();
        assert_eq!(relay.held().0 > 0, !new.is_empty());
        assert_eq!(
            relay.take(100).map(|chunk| chunk.bytes),
            (!new.is_empty()).then_some(new)
        );
    }
    assert!(!reader.is_whole());
}
