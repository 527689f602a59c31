//! Any message about streams, with contents at random.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Draw;
use crate::ids::{Attempt, Epoch, PeerId, TaskId};
use crate::message::{
    Assign, FromClient, FromWorker, StreamAssign, StreamAttempt, StreamChunk, StreamLevel,
    StreamOf, StreamSubmit, Submit, ToClient, ToManager, ToPeer, ToWorker,
};
use crate::name::Name;
use crate::stream::{Direction, Level, StreamEvent, StreamId, StreamSpec, StreamUse};
use crate::task::Priority;
use crate::time::Nanos;

fn position(rng: &mut impl Draw) -> u64 {
    rng.pick(&[0, 1, 5, 4_096, 8_192, u64::MAX - 1, u64::MAX])
}

fn attempt(rng: &mut impl Draw) -> Attempt {
    Attempt {
        epoch: Epoch(rng.pick(&[0, 1, 7])),
        number: rng.up_to(3),
    }
}

fn of(rng: &mut impl Draw) -> StreamOf {
    StreamOf {
        attempt: attempt(rng),
        stream: StreamId(rng.up_to(3) as u8),
    }
}

fn specs(rng: &mut impl Draw) -> Vec<StreamSpec> {
    let count = rng.pick(&[0, 1, 2, 2, 3, 9]);
    let ids = (0..count).map(|id| StreamId(id % 4));
    ids.map(|id| StreamSpec {
        id,
        direction: rng.pick(&[Direction::ToAttempt, Direction::FromAttempt]),
        window: rng.pick(&[0, 4_096, 65_536, u32::MAX]),
    })
    .collect()
}

fn chunk(rng: &mut impl Draw) -> StreamChunk {
    StreamChunk {
        of: of(rng),
        offset: position(rng),
        last: rng.percent(30),
    }
}

fn level(rng: &mut impl Draw) -> StreamLevel {
    StreamLevel {
        of: of(rng),
        level: Level {
            received: position(rng),
            granted: position(rng),
            closed: rng.percent(20),
        },
        again: rng.percent(30),
    }
}

/// Of a peer to a manager.
pub(super) fn to_manager(rng: &mut impl Draw, name: Name) -> ToManager {
    match rng.up_to(5) {
        0 | 1 => ToManager::Client(FromClient::SubmitStreams(Box::new(StreamSubmit {
            submit: Submit {
                seq: rng.up_to(3),
                priority: Priority::NORMAL,
                max_attempts: 3,
                at_most_once: rng.percent(30),
                may_have_run: rng.percent(30),
                deadline: Nanos::NONE,
                max_wait: Nanos::NONE,
                time_limit: Nanos::NONE,
                name,
            },
            streams: specs(rng),
            attempt: rng.percent(30).then(|| attempt(rng)),
        }))),
        2 => ToManager::Client(FromClient::StreamChunk(chunk(rng))),
        3 => ToManager::Client(FromClient::StreamLevel(level(rng))),
        4 => ToManager::Worker(FromWorker::StreamChunk(chunk(rng))),
        _ => ToManager::Worker(FromWorker::StreamLevel(level(rng))),
    }
}

/// Of a manager to a peer.
pub(super) fn from_manager(rng: &mut impl Draw, name: Name) -> ToPeer {
    match rng.up_to(7) {
        0 | 1 => ToPeer::Worker(ToWorker::AssignStreams(Box::new(StreamAssign {
            assign: Assign {
                attempt: attempt(rng),
                task: TaskId {
                    client: PeerId(rng.up_to(2)),
                    seq: rng.up_to(3),
                },
                at_most_once: rng.percent(30),
                deadline: rng.pick(&[Nanos::NONE, Nanos(1), Nanos(1_000_000)]),
                time_limit: Nanos::NONE,
                name,
            },
            streams: specs(rng),
        }))),
        2 => ToPeer::Worker(ToWorker::StreamChunk(chunk(rng))),
        3 => ToPeer::Worker(ToWorker::StreamLevel(level(rng))),
        4 => ToPeer::Worker(ToWorker::StreamAgain {
            attempt: attempt(rng),
        }),
        5 => ToPeer::Client(ToClient::StreamAttempt(StreamAttempt {
            seq: rng.up_to(3),
            attempt: attempt(rng),
            again: rng.percent(30),
        })),
        6 => ToPeer::Client(ToClient::StreamChunk(chunk(rng))),
        _ => ToPeer::Client(ToClient::StreamLevel(level(rng))),
    }
}

/// The streams of an attempt, as whoever is at this end of them knows them.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<(StreamOf, Stream)>);

/// A stream at one of its ends.
#[derive(Debug)]
enum Stream {
    Written { so_far: u64, up_to: u64 },
    Read { untaken: usize },
}

impl Streams {
    /// They begin, where those of this direction are written.
    pub(super) fn begin(
        &mut self,
        attempt: Attempt,
        specs: &[StreamSpec],
        is_written: impl Fn(Direction) -> bool,
    ) {
        self.0.retain(|(of, _)| of.attempt != attempt);
        for spec in specs {
            let stream = spec.id;
            let (so_far, up_to) = (0, spec.window());
            let known = if is_written(spec.direction) {
                Stream::Written { so_far, up_to }
            } else {
                Stream::Read { untaken: 0 }
            };
            self.0.push((StreamOf { attempt, stream }, known));
        }
    }

    /// What is said of one.
    ///
    /// # Panics
    /// If it cannot be.
    pub(super) fn hear(&mut self, of: StreamOf, event: &StreamEvent) {
        let Some((_, known)) = self.0.iter_mut().rev().find(|(other, _)| *other == of) else {
            return;
        };
        match (known, event) {
            (Stream::Written { up_to, .. }, StreamEvent::Room { up_to: now }) => {
                assert!(now >= up_to, "room is never taken back");
                *up_to = *now;
            }
            (Stream::Read { untaken }, StreamEvent::Bytes { bytes, .. }) => *untaken += bytes.len(),
            (Stream::Written { up_to, .. }, StreamEvent::Unread) => *up_to = u64::MAX,
            (Stream::Written { .. }, StreamEvent::Bytes { .. })
            | (Stream::Read { .. }, StreamEvent::Room { .. } | StreamEvent::Unread) => {
                panic!("it goes the other way")
            }
        }
    }

    /// Something that may be done with one of them.
    pub(super) fn usage(&mut self, rng: &mut impl Draw) -> Option<(StreamOf, StreamUse)> {
        let at = rng.up_to(self.0.len().checked_sub(1)? as u64) as usize;
        let (of, known) = &mut self.0[at];
        let usage = match known {
            Stream::Written { so_far, up_to } => {
                let room = (*up_to - *so_far).min(10_000);
                let count = rng.up_to(room);
                let last = rng.percent(20);
                *so_far += count;
                if last {
                    *up_to = *so_far;
                }
                let bytes = Bytes::from(vec![0; count as usize]);
                StreamUse::Wrote { bytes, last }
            }
            Stream::Read { .. } if rng.percent(5) => StreamUse::Stopped,
            Stream::Read { untaken } => {
                let bytes = rng.up_to(*untaken as u64) as usize;
                *untaken -= bytes;
                StreamUse::Took { bytes }
            }
        };
        Some((*of, usage))
    }
}
