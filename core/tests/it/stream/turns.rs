//! How streams share a connection.

use std::collections::BTreeMap;

use argon_core::limits::{STREAM_AHEAD_MAX, STREAM_CHUNK_COST, STREAM_CHUNK_MAX};
use argon_core::stream::{Chunk, Lane};
use bytes::Bytes;
use proptest::prelude::*;

/// Streams by number: the size of each chunk that it has, and bytes that it still has.
type Streams = BTreeMap<u8, (usize, usize)>;

fn take(streams: &mut Streams, stream: u8, most: usize) -> Option<Chunk> {
    let (size, left) = streams.get_mut(&stream)?;
    let bytes = (*size).min(*left).min(most);
    *left -= bytes;
    (bytes > 0).then(|| Chunk {
        offset: 0,
        bytes: Bytes::from(vec![0; bytes]),
        last: false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// However the sizes of their chunks differ, none that has enough to send gets ahead of another by
    /// more than a turn of each; and all is sent.
    #[test]
    fn streams_share_by_bytes(
        sizes in prop::collection::vec((STREAM_CHUNK_COST..2 * STREAM_CHUNK_MAX, 1_usize..4_000_000), 1..8),
    ) {
        let mut streams: Streams = (0..).zip(sizes).collect();
        let mut left: usize = streams.values().map(|(_, left)| left).sum();
        let mut lane = Lane::new(STREAM_AHEAD_MAX);
        for stream in streams.keys() {
            lane.add(*stream);
        }
        let mut unwritten = 0;
        let mut sent: BTreeMap<u8, usize> = BTreeMap::new();
        while left > 0 {
            let next = lane.next(|stream, most| take(&mut streams, stream, most));
            let Some((stream, chunk)) = next else {
                prop_assert!(unwritten >= STREAM_AHEAD_MAX, "only what is unwritten holds it up");
                unwritten = 0;
                lane.written();
                continue;
            };
            prop_assert!(chunk.bytes.len() <= STREAM_CHUNK_MAX);
            left -= chunk.bytes.len();
            unwritten += chunk.bytes.len().max(STREAM_CHUNK_COST);
            *sent.entry(stream).or_default() += chunk.bytes.len();
            let busy = streams.iter().filter(|(_, (_, left))| *left > 0);
            let busy: Vec<usize> = busy.map(|(id, _)| sent.get(id).copied().unwrap_or(0)).collect();
            let (least, most) = (busy.iter().min(), busy.iter().max());
            prop_assert!(most.unwrap_or(&0) - least.unwrap_or(&0) <= 2 * STREAM_CHUNK_MAX);
        }
    }
}

#[test]
fn no_more_than_a_bound_is_in_front_of_everything_else() {
    let mut streams: Streams = (0..50).map(|id| (id, (usize::MAX, usize::MAX))).collect();
    let mut lane = Lane::new(STREAM_AHEAD_MAX);
    for stream in streams.keys() {
        lane.add(*stream);
    }
    for _ in 0..3 {
        let mut ahead = 0;
        while let Some((_, chunk)) = lane.next(|stream, most| take(&mut streams, stream, most)) {
            ahead += chunk.bytes.len();
        }
        assert_eq!(ahead, STREAM_AHEAD_MAX);
        lane.written();
    }
}

#[test]
fn many_short_chunks_are_one_turn_too() {
    let mut streams: Streams = [(0, (1, 10_000)), (1, (STREAM_CHUNK_MAX, STREAM_CHUNK_MAX))].into();
    let mut lane = Lane::new(STREAM_AHEAD_MAX);
    lane.add(0);
    lane.add(1);
    let mut before = 0;
    while let Some((stream, _)) = lane.next(|stream, most| take(&mut streams, stream, most)) {
        if stream == 1 {
            break;
        }
        before += 1;
    }
    assert_eq!(before, STREAM_CHUNK_MAX / STREAM_CHUNK_COST);
}
