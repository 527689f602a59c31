//! Corners of a worker's answers: bounds of what it holds and sends, what is said twice, and how it
//! leaves.

use std::time::Duration;

use super::bench::*;
use argon_core::event::Event;
use argon_core::limits::WORKER_WINDOW_BYTES;
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{
    Assign, AttemptEnd, Control, FromManager, FromWorker, Message, ToManager, ToWorker,
};
use argon_core::task::{ErrorKind, ExitCause, TaskError};
use argon_core::worker::{PoolInput, RunEnd, WorkerInput, WorkerOutput};
use bytes::Bytes;

#[test]
fn more_bytes_than_two_windows_of_waiting_payloads_end_the_connection() {
    let large = Bytes::from(vec![0; WORKER_WINDOW_BYTES as usize]);
    let mut rig = Rig::up(config(1));
    let assign_large = |rig: &mut Rig, number| {
        let body = FromManager::Role(ToWorker::Assign(assign(number)));
        let payload = large.clone();
        rig.say(Message {
            body,
            payload: payload.into(),
        });
    };
    for number in 1..=3 {
        assign_large(&mut rig, number);
    }
    assign_large(&mut rig, 4);
    assert!(
        is_closed(&rig.step()),
        "the window, once more, and one more"
    );

    let mut rig = Rig::up(config(1));
    for number in 1..=3 {
        assign_large(&mut rig, number);
    }
    assert!(!is_closed(&rig.step()));
}

#[test]
fn a_manager_that_acknowledges_nothing_and_assigns_without_end_gets_it_back() {
    let mut config = config(1);
    config.held_results = 7;
    let mut rig = Rig::up(config);
    for number in 0..7 {
        rig.assign_many_unchecked(number);
        rig.worker_done(number);
    }
    rig.step();
    for number in 7..10_000 {
        rig.assign_many_unchecked(number);
        assert!(rig.step().contains(&rig.returned(&[number], &[])));
    }
    assert_eq!(rig.worker.load().held, 7);
}

#[test]
fn texts_of_errors_count_as_bytes_that_are_held() {
    let mut config = config(1);
    config.held_bytes = 8 + 30;
    let mut rig = Rig::up(config);
    rig.assign_all([1]);
    rig.step();
    let mut error = TaskError::new(ErrorKind::Raised("E".into()), "0123456789");
    error.backtrace = "0123456789".into();
    error.stderr = "0123456789".into();
    rig.ended(life(0, 1), 1, MS, RunEnd::Failed(error.into()));
    assert_eq!(grants(&rig.step()), [0]);
    assert_eq!(
        rig.events
            .iter()
            .filter(|event| **event == Event::ResultsFull)
            .count(),
        1
    );
}

#[test]
fn answers_come_in_parts_of_so_many_ids() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    let attempts = (1..=4_096).map(attempt).collect();
    rig.say(FromManager::Role(ToWorker::Recall { attempts }));
    let attempts = (5_000..5_001).map(attempt).collect();
    rig.say(FromManager::Role(ToWorker::Recall { attempts }));
    let all: Vec<u64> = (2..=4_096).chain([5_000]).collect();
    assert_eq!(
        rig.step(),
        vec![rig.returned(&all, &[]), rig.returned(&[], &[1])]
    );
}

#[test]
fn heartbeats_for_the_round_trip_keep_their_distance() {
    let mut rig = Rig::up(config(1));
    rig.pass(MS * 60);
    rig.assign_all([1]);
    let said = rig.step();
    let beat = said.iter().find_map(ping).unwrap();
    let received = 3; // report, window, and nothing else
    rig.say(FromManager::Control(Control::Pong(
        argon_core::message::Beat {
            received: received - 1,
            ..beat
        },
    )));
    rig.step();
    rig.pass(MS * 49);
    rig.assign_all([2]);
    assert_eq!(rig.step().iter().filter_map(ping).count(), 0);
    rig.pass(MS);
    rig.assign_all([3]);
    assert_eq!(rig.step().iter().filter_map(ping).count(), 1);
}

/// Tasks on the brink of being worth it: what was asked ahead goes on being asked for.
#[test]
fn what_is_asked_ahead_is_not_given_up_at_once() {
    let level = |first: Duration| {
        let mut rig = Rig::ready(config(1));
        rig.connect();
        for _ in 0..64 {
            let due = rig.worker.poll_timeout().unwrap().at;
            rig.now = rig.now.max(due);
            rig.worker.handle_timeout(rig.now);
            rig.answer_pings(US * 100);
        }
        let mut window = 1;
        for number in 0..300 {
            rig.assign_all([number]);
            let said = rig.step();
            window = grants(&said).last().copied().unwrap_or(window);
            let ran = if number == 0 { first } else { MS * 9 };
            rig.done(life(0, 1), number, ran);
            let attempts = vec![attempt(number)];
            rig.say(FromManager::Role(ToWorker::AckResults { attempts }));
            window = grants(&rig.step()).last().copied().unwrap_or(window);
        }
        window
    };
    assert_eq!(level(MS), 2);
    assert_eq!(level(MS * 9), 1);
}

#[test]
fn with_no_manager_in_its_list_it_dials_the_first() {
    let mut config = config(1);
    config.addresses = 0;
    let mut rig = Rig::ready(config);
    for _ in 0..3 {
        rig.now = rig.now.max(rig.worker.poll_timeout().unwrap().at);
        rig.worker.handle_timeout(rig.now);
        let said = rig.step();
        let [WorkerOutput::Link(LinkOutput::Connect { conn, address })] = said[..] else {
            panic!("{said:?}");
        };
        assert_eq!(address, 0);
        rig.feed(WorkerInput::Link(LinkInput::Closed { conn }));
        rig.step();
    }
}

#[test]
fn only_the_last_part_of_a_report_says_that_it_is() {
    let mut rig = Rig::up(config(1));
    for number in 0..9_000 {
        rig.assign_many_unchecked(number);
        rig.worker_done(number);
    }
    rig.step();
    rig.cut();
    let said = rig.connect();
    let parts: Vec<bool> = said
        .iter()
        .filter_map(|output| match output {
            WorkerOutput::Link(LinkOutput::Send { message, .. }) => match &message.body {
                ToManager::Worker(FromWorker::Report(report)) => Some(report.last),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(parts, [false, false, true]);
}

#[test]
fn children_that_are_not_ready_get_nothing() {
    let mut rig = knowing(2, US);
    rig.exited(life(1, 1), ExitCause::Exit(0));
    rig.step();
    rig.assign_all(1..=10);
    assert_eq!(given(&rig.step()).len(), 10);
    // Nor those that were asked to end.
    let mut rig = knowing(1, US);
    rig.assign_all([1]);
    rig.step();
    let attempt = attempt(1);
    rig.say(FromManager::Role(ToWorker::Kill { attempt }));
    rig.pass(MS);
    let mut rig = knowing(1, US);
    rig.assign_all([1]);
    rig.step();
    rig.feed(WorkerInput::Pool(PoolInput::Done {
        slot: life(0, 1),
        attempt,
        ran: US,
        end: RunEnd::Completed,
        payload: Bytes::new().into(),
    }));
    rig.assign_all([2]);
    rig.step();
    // It answers what it was not asked, and is killed under its attempt.
    rig.done(life(0, 1), 77, US);
    rig.assign_all([3]);
    assert_eq!(given(&rig.step()), []);
}

#[test]
fn what_came_back_and_is_late_when_its_turn_comes_has_expired() {
    let mut rig = knowing(1, US);
    rig.assign_all([1]);
    rig.assign(Assign {
        deadline: (MS * 50).into(),
        ..assign(2)
    });
    rig.step();
    rig.exited(life(0, 1), ExitCause::Signal(11));
    rig.step();
    // The new process is news at the very moment of the deadline, and news is taken in first.
    rig.now = rig.now + MS * 50;
    let said = rig.ready_again(life(0, 2));
    assert_eq!(
        said,
        vec![rig.finished(2, Duration::ZERO, AttemptEnd::Expired)]
    );
}
