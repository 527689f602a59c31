//! A worker and attempts that have streams.

use argon_core::message::*;
use argon_core::stream::{Direction, StreamId, StreamSpec};
use argon_core::worker::{PoolOutput, WorkerOutput};

use super::bench::*;

/// With one process, which has shown that what it runs takes no time.
fn up() -> Rig {
    let mut config = config(1);
    config.inner.version = Version::STREAMS;
    let mut rig = Rig::ready(config);
    rig.version = Version::STREAMS;
    rig.connect();
    rig.assign(assign(0));
    assert_eq!(given(&rig.step()), [0]);
    rig.done(life(0, 1), 0, US);
    rig.step();
    rig
}

fn assign_streams(number: u64) -> FromManager<ToWorker> {
    let stream = StreamSpec {
        id: StreamId(1),
        direction: Direction::FromAttempt,
        window: 4_096,
    };
    FromManager::Role(ToWorker::AssignStreams(Box::new(StreamAssign {
        assign: assign(number),
        streams: vec![stream],
    })))
}

/// The attempts that the slot was given.
fn given(outputs: &[WorkerOutput]) -> Vec<u64> {
    let of = |output: &WorkerOutput| match output {
        WorkerOutput::Pool(PoolOutput::Run { job, .. } | PoolOutput::RunStreams { job, .. }) => {
            vec![job.attempt.number]
        }
        WorkerOutput::Pool(PoolOutput::RunMany { jobs, .. }) => {
            jobs.iter().map(|job| job.attempt.number).collect()
        }
        _ => vec![],
    };
    outputs.iter().flat_map(of).collect()
}

#[test]
fn an_attempt_with_streams_is_queued_behind_no_other() {
    let mut rig = up();
    rig.assign_all([1, 2]);
    rig.say(assign_streams(3));
    assert_eq!(given(&rig.step()), [1, 2], "tiny ones go together");
    rig.done(life(0, 1), 1, US);
    assert_eq!(given(&rig.step()), [0; 0]);
    rig.done(life(0, 1), 2, US);
    assert_eq!(given(&rig.step()), [3]);
}

#[test]
fn nothing_is_queued_behind_an_attempt_with_streams() {
    let mut rig = up();
    rig.say(assign_streams(1));
    rig.assign_all([2]);
    assert_eq!(given(&rig.step()), [1]);
}
