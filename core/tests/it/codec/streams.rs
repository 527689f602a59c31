//! Messages about streams, with contents at random.

use argon_core::message::*;
use argon_core::stream::{Direction, Level, StreamId, StreamSpec};
use proptest::prelude::*;

use super::examples;
use super::generate::{assign, attempt, submit};

/// The message with the highest number.
pub(super) fn newest() -> Said {
    let attempt = examples::attempt();
    ToWorker::StreamAgain { attempt }.into()
}

fn of() -> impl Strategy<Value = StreamOf> {
    (attempt(), any::<u8>()).prop_map(|(attempt, stream)| StreamOf {
        attempt,
        stream: StreamId(stream),
    })
}

fn specs() -> impl Strategy<Value = Vec<StreamSpec>> {
    let direction = prop_oneof![Just(Direction::ToAttempt), Just(Direction::FromAttempt)];
    let spec =
        (any::<u8>(), direction, any::<u32>()).prop_map(|(id, direction, window)| StreamSpec {
            id: StreamId(id),
            direction,
            window,
        });
    prop::collection::vec(spec, 0..10)
}

fn chunk() -> impl Strategy<Value = StreamChunk> {
    let numbers = (of(), any::<u64>(), any::<bool>());
    numbers.prop_map(|(of, offset, last)| StreamChunk { of, offset, last })
}

fn level() -> impl Strategy<Value = StreamLevel> {
    let numbers = (of(), any::<(u64, u64)>(), any::<(bool, bool)>());
    numbers.prop_map(|(of, (received, granted), (closed, again))| StreamLevel {
        of,
        level: Level {
            received,
            granted,
            closed,
        },
        again,
    })
}

/// Each message of a client or a worker.
pub(super) fn to_manager() -> Vec<BoxedStrategy<Said>> {
    let submission = (submit(), specs(), prop::option::of(attempt()));
    vec![
        submission
            .prop_map(|(submit, streams, attempt)| StreamSubmit {
                submit,
                streams,
                attempt,
            })
            .prop_map(|said| Said::from(FromClient::SubmitStreams(Box::new(said))))
            .boxed(),
        chunk()
            .prop_map(|said| Said::from(FromClient::StreamChunk(said)))
            .boxed(),
        level()
            .prop_map(|said| Said::from(FromClient::StreamLevel(said)))
            .boxed(),
        chunk()
            .prop_map(|said| Said::from(FromWorker::StreamChunk(said)))
            .boxed(),
        level()
            .prop_map(|said| Said::from(FromWorker::StreamLevel(said)))
            .boxed(),
    ]
}

/// Each message of a manager.
pub(super) fn from_manager() -> Vec<BoxedStrategy<Said>> {
    let begun = (any::<u64>(), attempt(), any::<bool>());
    vec![
        begun
            .prop_map(|(seq, attempt, again)| {
                Said::from(ToClient::StreamAttempt(StreamAttempt {
                    seq,
                    attempt,
                    again,
                }))
            })
            .boxed(),
        chunk()
            .prop_map(|said| Said::from(ToClient::StreamChunk(said)))
            .boxed(),
        level()
            .prop_map(|said| Said::from(ToClient::StreamLevel(said)))
            .boxed(),
        (assign(), specs())
            .prop_map(|(assign, streams)| StreamAssign { assign, streams })
            .prop_map(|said| Said::from(ToWorker::AssignStreams(Box::new(said))))
            .boxed(),
        attempt()
            .prop_map(|attempt| Said::from(ToWorker::StreamAgain { attempt }))
            .boxed(),
        chunk()
            .prop_map(|said| Said::from(ToWorker::StreamChunk(said)))
            .boxed(),
        level()
            .prop_map(|said| Said::from(ToWorker::StreamLevel(said)))
            .boxed(),
    ]
}
