//! A worker and its manager: reports, held results, the window, being cut off, leaving.

use super::bench::*;
use argon_core::event::CloseReason;
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{
    AttemptEnd, Control, FromManager, FromWorker, Message, RefuseReason, Report, ToManager,
    ToWorker,
};
use argon_core::protocol_error::ProtocolError;
use argon_core::task::{ErrorKind, ExitCause};
use argon_core::worker::{WorkerInput, WorkerOutput};
use std::time::Duration;

fn ack(numbers: impl IntoIterator<Item = u64>) -> FromManager<ToWorker> {
    FromManager::Role(ToWorker::AckResults {
        attempts: numbers.into_iter().map(attempt).collect(),
    })
}

fn bodies(said: &[WorkerOutput]) -> Vec<&Message<ToManager>> {
    let body = |output| match output {
        &WorkerOutput::Link(LinkOutput::Send { ref message, .. }) => Some(message),
        _ => None,
    };
    said.iter().filter_map(body).collect()
}

#[test]
fn first_a_report_then_a_window() {
    let mut rig = Rig::ready(config(4));
    let said = rig.connect();
    assert_eq!(
        said,
        vec![rig.report(&[], &[]), rig.capabilities(), rig.grant(4)]
    );
}

#[test]
fn a_long_report_comes_in_parts() {
    let mut rig = Rig::up(config(1));
    rig.assign_many(0..5_000);
    rig.step();
    for number in 0..5_000 {
        rig.worker_done(number);
    }
    rig.step();
    rig.cut();
    let said = rig.connect();
    let sizes: Vec<_> = bodies(&said)
        .iter()
        .filter_map(|message| match &message.body {
            ToManager::Worker(FromWorker::Report(Report { finished, last, .. })) => {
                Some((finished.len(), *last))
            }
            _ => None,
        })
        .collect();
    assert_eq!(sizes, vec![(4_096, false), (904, true)]);
}

#[test]
fn a_result_is_held_until_it_is_acknowledged_and_sent_as_often_as_asked() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    rig.step();
    for _ in 0..2 {
        let attempt = attempt(1);
        rig.say(FromManager::Role(ToWorker::Resend { attempt }));
        assert_eq!(rig.step(), vec![rig.completed(1, MS)]);
    }
    rig.say(ack([1]));
    let attempt = attempt(1);
    let conn = rig.conn.unwrap();
    rig.say(FromManager::Role(ToWorker::Resend { attempt }));
    let reason = CloseReason::Protocol(ProtocolError::ResendOfAcknowledged);
    let close = WorkerOutput::Link(LinkOutput::Close { conn, reason });
    assert_eq!(rig.step(), vec![close], "it did start, and its end is gone");
}

#[test]
fn a_worker_cut_off_for_a_lease_starts_nothing_that_has_not_started() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1, 2]);
    rig.step();
    let conn = rig.conn.take().unwrap();
    rig.feed(WorkerInput::Link(LinkInput::Closed { conn }));
    rig.step();
    rig.pass_alone(LEASE - MS);
    rig.done(life(0, 1), 1, MS);
    assert_eq!(rig.step(), vec![run(life(0, 1), 2)], "not yet");

    let mut rig = Rig::up(config(1));
    rig.assign_all([1, 2]);
    rig.step();
    let conn = rig.conn.take().unwrap();
    rig.feed(WorkerInput::Link(LinkInput::Closed { conn }));
    rig.step();
    rig.pass_alone(LEASE);
    rig.done(life(0, 1), 1, MS);
    assert_eq!(rig.step(), vec![]);
}

#[test]
fn a_paused_worker_does_not_take_its_own_absence_for_the_managers() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1, 2]);
    rig.step();
    let conn = rig.conn.take().unwrap();
    rig.feed(WorkerInput::Link(LinkInput::Closed { conn }));
    rig.step();
    rig.now = rig.now + Duration::from_secs(60);
    rig.done(life(0, 1), 1, MS);
    assert_eq!(rig.step(), vec![run(life(0, 1), 2)]);
}

#[test]
fn tiny_tasks_ask_ahead_for_what_hides_the_round_trip() {
    let mut rig = Rig::ready(config(2));
    rig.connect();
    // Learn a round trip of 100 us.
    for _ in 0..64 {
        let due = rig.worker.poll_timeout().unwrap().at;
        rig.now = rig.now.max(due);
        rig.worker.handle_timeout(rig.now);
        rig.answer_pings(US * 100);
    }
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 1, US * 10);
    let said = rig.step();
    let window = bodies(&said)
        .iter()
        .find_map(|message| match message.body {
            ToManager::Worker(FromWorker::Grant { window }) => Some(window),
            _ => None,
        })
        .unwrap();
    assert!((40..=44).contains(&window), "{window}");
    rig.say(ack([1]));
    rig.assign_all([2]);
    rig.step();
    rig.pass_alone(MS * 900);
    rig.done(life(0, 1), 2, Duration::from_secs(1));
    assert!(rig.step().contains(&rig.grant(2)), "none for long ones");
}

#[test]
fn a_drain_hands_back_finishes_and_leaves_when_all_is_acknowledged() {
    let mut rig = Rig::up(config(2));
    rig.assign_all(1..=3);
    rig.step();
    rig.feed(WorkerInput::Drain);
    assert_eq!(
        rig.step(),
        vec![
            rig.sent(ToManager::Worker(FromWorker::Draining)),
            rig.returned(&[3], &[]),
            rig.grant(0)
        ]
    );
    rig.assign_all([4]);
    assert_eq!(rig.step(), vec![rig.returned(&[4], &[])]);
    rig.done(life(0, 1), 1, MS);
    rig.done(life(1, 1), 2, MS);
    assert_eq!(rig.step(), vec![rig.completed(1, MS), rig.completed(2, MS)]);
    rig.say(ack([1]));
    assert_eq!(rig.step(), vec![]);
    rig.say(ack([2]));
    let goodbye = vec![
        retire(life(0, 1)),
        retire(life(1, 1)),
        rig.sent(ToManager::Goodbye),
        WorkerOutput::Link(LinkOutput::Close {
            conn: rig.conn.unwrap(),
            reason: CloseReason::Stopping,
        }),
    ];
    assert_eq!(rig.step(), goodbye);
    rig.exited(life(0, 1), ExitCause::Exit(0));
    assert_eq!(rig.step(), vec![]);
    rig.exited(life(1, 1), ExitCause::Exit(0));
    assert_eq!(rig.step(), vec![WorkerOutput::Stopped]);
    assert_eq!(rig.worker.poll_timeout(), None);
}

#[test]
fn a_drain_that_takes_too_long_leaves_what_runs() {
    let mut config = config(1);
    config.drain_timeout = MS * 700;
    config.kill_grace = MS * 50;
    let mut rig = Rig::up(config);
    rig.assign_all([1]);
    rig.step();
    rig.feed(WorkerInput::Drain);
    rig.step();
    assert_eq!(
        rig.pass(MS * 700),
        vec![
            terminate(life(0, 1)),
            rig.sent(ToManager::Goodbye),
            WorkerOutput::Link(LinkOutput::Close {
                conn: rig.conn.unwrap(),
                reason: CloseReason::Stopping,
            }),
        ]
    );
    assert_eq!(rig.pass(MS * 50), vec![kill(life(0, 1))]);
    rig.exited(life(0, 1), ExitCause::Signal(9));
    assert_eq!(rig.step(), vec![WorkerOutput::Stopped]);
}

#[test]
fn a_worker_whose_name_another_has_taken_leaves_and_does_not_come_back() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.say(FromManager::Control(Control::Refuse(
        RefuseReason::Replaced,
    )));
    let said = rig.step();
    assert!(said.contains(&WorkerOutput::Replaced));
    assert!(
        !said
            .iter()
            .any(|output| matches!(output, WorkerOutput::Link(LinkOutput::Connect { .. })))
    );
    rig.exited(life(0, 1), ExitCause::Signal(15));
    assert_eq!(rig.step(), vec![WorkerOutput::Stopped]);
}

#[test]
fn long_texts_are_cut_to_what_travels() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.feed(WorkerInput::Pool(argon_core::worker::PoolInput::Exited {
        slot: life(0, 1),
        cause: ExitCause::Exit(1),
        stderr: "ä".repeat(20_000) + "end",
    }));
    let said = rig.step();
    let ToManager::Worker(FromWorker::Finished(finished)) = &bodies(&said)[0].body else {
        panic!("{said:?}");
    };
    let AttemptEnd::Crashed(_, stderr) = &finished.end else {
        panic!("{finished:?}");
    };
    assert!(stderr.len() <= 16 * 1024 && stderr.ends_with("äend"));
}

#[test]
fn a_result_that_the_manager_does_not_take_fails_there_and_is_kept_for_another() {
    let mut rig = Rig::ready(config(1));
    rig.payload_max = 7;
    rig.connect();
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    let said = rig.step();
    let failed = bodies(&said).into_iter().any(|message| {
        let ToManager::Worker(FromWorker::Finished(finished)) = &message.body else {
            return false;
        };
        let AttemptEnd::Failed(error) = &finished.end else {
            return false;
        };
        assert_eq!(error.kind, ErrorKind::ResultTooLarge);
        assert!(error.message.contains("8 bytes"), "{}", error.message);
        message.payload.is_empty()
    });
    assert!(failed, "{said:?}");
    rig.cut();
    rig.payload_max = 8;
    let said = rig.connect();
    assert_eq!(
        said,
        vec![rig.report(&[], &[1]), rig.capabilities(), rig.grant(1)]
    );
    let attempt = attempt(1);
    rig.say(FromManager::Role(ToWorker::Resend { attempt }));
    assert_eq!(rig.step(), vec![rig.completed(1, MS)]);
}
