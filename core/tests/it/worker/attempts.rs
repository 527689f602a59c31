//! What becomes of an attempt at a worker: waiting, running, ending, handed back.

use super::bench::*;
use argon_core::event::CloseReason;
use argon_core::link::LinkOutput;
use argon_core::message::{Assign, AttemptEnd, FromManager, FromWorker, ToManager};
use argon_core::protocol_error::ProtocolError;
use argon_core::task::{ErrorKind, ExitCause, TaskError};
use argon_core::time::Nanos;
use argon_core::worker::{RunEnd, WorkerOutput};

#[test]
fn a_result_in_spite_of_the_signal_counts_and_an_error_because_of_it_does_not() {
    let mut rig = Rig::up(config(2));
    let limit = Nanos::from(MS);
    for number in [1, 2] {
        rig.assign(Assign {
            time_limit: limit,
            ..assign(number)
        });
    }
    rig.step();
    assert_eq!(
        rig.pass(MS),
        vec![terminate(life(0, 1)), terminate(life(1, 1))]
    );
    rig.done(life(0, 1), 1, MS);
    let signal = TaskError::new(ErrorKind::Signal(15), "ended by a signal");
    rig.ended(life(1, 1), 2, MS, RunEnd::Failed(signal.into()));
    let said = rig.step();
    assert_eq!(said[0], rig.completed(1, MS));
    let WorkerOutput::Link(LinkOutput::Send { message, .. }) = &said[1] else {
        panic!("{said:?}");
    };
    let ToManager::Worker(FromWorker::Finished(finished)) = &message.body else {
        panic!("{message:?}");
    };
    let AttemptEnd::Failed(error) = &finished.end else {
        panic!("{finished:?}");
    };
    assert_eq!(error.kind, ErrorKind::TimeLimit);
    rig.exited(life(0, 1), ExitCause::Signal(15));
    rig.exited(life(1, 1), ExitCause::Signal(15));
    assert_eq!(rig.step(), vec![spawn(life(0, 2)), spawn(life(1, 2))]);
}

#[test]
fn a_message_that_is_not_for_a_worker_ends_the_connection() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.say(FromManager::Misdirected);
    let reason = CloseReason::Protocol(ProtocolError::Misdirected);
    let conn = rig.conn.unwrap();
    assert_eq!(
        rig.step(),
        vec![WorkerOutput::Link(LinkOutput::Close { conn, reason })]
    );
    let said = rig.connect();
    assert_eq!(said[0], rig.report(&[1], &[]), "the attempt runs on");
}

#[test]
fn a_manager_that_assigns_without_end_is_left() {
    let mut rig = Rig::up(config(1));
    rig.assign_many(0..8_192);
    assert_eq!(rig.step(), vec![run(life(0, 1), 0)]);
    rig.assign_many(9_000..9_002);
    let said = rig.step();
    assert!(
        matches!(
            said[..],
            [WorkerOutput::Link(LinkOutput::Close {
                reason: CloseReason::Protocol(ProtocolError::WindowExceeded),
                ..
            })]
        ),
        "{said:?}"
    );
}
