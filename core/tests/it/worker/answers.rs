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
use argon_core::worker::{PoolInput, PoolOutput, RunEnd, WorkerInput, WorkerOutput};
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
fn nothing_is_taken_until_half_of_the_bytes_are_acknowledged() {
    let mut config = config(1);
    config.held_bytes = 32;
    let mut rig = Rig::up(config);
    rig.assign_all(1..=5);
    rig.step();
    let mut said = Vec::new();
    for number in 1..=4 {
        rig.done(life(0, 1), number, MS * 50);
        said.extend(rig.step());
    }
    assert!(
        said.contains(&rig.returned(&[5], &[])),
        "what waits is handed back"
    );
    let full = rig
        .events
        .iter()
        .filter(|event| **event == Event::ResultsFull);
    assert_eq!(full.count(), 1, "it is full only once");
    for number in 1..=2 {
        let attempts = vec![attempt(number)];
        rig.say(FromManager::Role(ToWorker::AckResults { attempts }));
        let expected: &[u32] = if number == 2 { &[1] } else { &[] };
        assert_eq!(grants(&rig.step()), expected, "after {number}");
    }
}

#[test]
fn an_acknowledgement_of_what_runs_is_passed_over() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    let attempts = vec![attempt(1)];
    rig.say(FromManager::Role(ToWorker::AckResults { attempts }));
    rig.done(life(0, 1), 1, MS);
    assert_eq!(rig.step(), vec![rig.completed(1, MS)]);
}

#[test]
fn asked_for_an_end_again_it_says_what_is_started_and_keeps_quiet_on_what_waits() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1, 2]);
    rig.step();
    for number in [1, 2] {
        let attempt = attempt(number);
        rig.say(FromManager::Role(ToWorker::Resend { attempt }));
    }
    assert_eq!(rig.step(), vec![rig.returned(&[], &[1])]);
}

#[test]
fn what_came_back_from_a_dead_child_is_killed_without_waiting_for_another() {
    let mut rig = knowing(1, US);
    rig.assign_all([1]);
    rig.assign(Assign {
        deadline: (MS * 50).into(),
        ..assign(2)
    });
    rig.assign_all([3]);
    assert_eq!(given(&rig.step()), [1, 2, 3]);
    rig.exited(life(0, 1), ExitCause::Signal(11));
    rig.step();
    let attempt = attempt(2);
    rig.say(FromManager::Role(ToWorker::Kill { attempt }));
    let killed = rig.finished(2, Duration::ZERO, AttemptEnd::Killed);
    assert_eq!(rig.step(), vec![killed]);
    assert_eq!(rig.pass(MS * 60), vec![], "its deadline is of no more use");
    assert_eq!(given(&rig.ready_again(life(0, 2))), [3]);
}

#[test]
fn a_reconnect_drops_what_never_started_and_keeps_what_came_back_from_a_dead_child() {
    let mut rig = knowing(1, US);
    rig.assign_all([1, 2]);
    rig.step();
    rig.exited(life(0, 1), ExitCause::Signal(11));
    rig.assign_all([3]);
    rig.step();
    rig.cut();
    let said = rig.connect();
    assert_eq!(said[0], rig.report(&[2], &[1]));
    assert_eq!(given(&rig.ready_again(life(0, 2))), [2]);
    rig.done(life(0, 2), 2, US);
    assert_eq!(given(&rig.step()), [], "3 is forgotten");
}

#[test]
fn a_draining_worker_does_not_call_what_runs_not_started() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.feed(WorkerInput::Drain);
    rig.step();
    rig.assign_all([1]);
    assert_eq!(rig.step(), vec![]);
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
fn memory_of_an_idle_process_has_its_limit_too() {
    let mut config = config(1);
    config.memory_limit = Some(1_000);
    let mut rig = Rig::up(config);
    let slot = life(0, 1);
    rig.feed(WorkerInput::Pool(PoolInput::Memory { slot, bytes: 5_000 }));
    assert_eq!(rig.step(), vec![kill(slot)]);
    let of_tasks = |event: &Event| matches!(event, Event::MemoryLimitHit { .. });
    assert!(!rig.events.iter().any(of_tasks));
    // Without a limit, nothing is too much.
    let mut rig = knowing(1, US);
    rig.assign_all([1, 2]);
    rig.step();
    rig.feed(WorkerInput::Pool(PoolInput::Memory { slot, bytes: 5_000 }));
    assert_eq!(rig.step(), vec![]);
}

#[test]
fn the_log_names_the_attempt_that_hit_a_limit() {
    let mut config = config(1);
    config.memory_limit = Some(1_000);
    config.time_limit = Some(MS * 10);
    for by_memory in [true, false] {
        let mut rig = Rig::up(config.clone());
        rig.assign_all([7]);
        rig.step();
        rig.done(life(0, 1), 7, US);
        rig.step();
        rig.assign_all([1, 2]);
        assert_eq!(given(&rig.step()), [1, 2]);
        let (slot, bytes) = (life(0, 1), 2_000);
        let task = task(1);
        if by_memory {
            rig.feed(WorkerInput::Pool(PoolInput::Memory { slot, bytes }));
            rig.step();
            assert!(rig.events.contains(&Event::MemoryLimitHit { task, bytes }));
        } else {
            rig.pass(MS * 10);
            assert!(rig.events.contains(&Event::TimeLimitHit { task }));
        }
    }
}

#[test]
fn a_kill_of_what_is_stopped_already_changes_nothing() {
    let mut rig = Rig::up(config(1));
    rig.assign(Assign {
        time_limit: MS.into(),
        ..assign(1)
    });
    rig.step();
    assert_eq!(rig.pass(MS), vec![terminate(life(0, 1))]);
    let events = rig.events.len();
    let attempt = attempt(1);
    rig.say(FromManager::Role(ToWorker::Kill { attempt }));
    assert_eq!(rig.step(), vec![]);
    assert_eq!(rig.events.len(), events);
}

#[test]
fn errors_are_cut_to_what_travels() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    let error = TaskError::new(ErrorKind::Raised("E".into()), "x".repeat(1 << 20));
    rig.ended(life(0, 1), 1, MS, RunEnd::Failed(error.into()));
    let said = rig.step();
    let WorkerOutput::Link(LinkOutput::Send { message, .. }) = &said[0] else {
        panic!("{said:?}");
    };
    let ToManager::Worker(FromWorker::Finished(finished)) = &message.body else {
        panic!("{said:?}");
    };
    let AttemptEnd::Failed(error) = &finished.end else {
        panic!("{said:?}");
    };
    assert!(error.message.len() <= 16 * 1024);
}

#[test]
fn the_last_answers_are_given_before_it_leaves() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.assign(Assign {
        deadline: (MS * 50).into(),
        ..assign(2)
    });
    rig.step();
    let attempts = vec![attempt(9)];
    rig.say(FromManager::Role(ToWorker::Recall { attempts }));
    rig.feed(WorkerInput::Stop);
    let said = rig.step();
    assert_eq!(said[0], rig.returned(&[9], &[]));
    assert!(said.contains(&rig.sent(ToManager::Goodbye)));
    rig.feed(WorkerInput::Stop);
    assert_eq!(rig.step(), vec![]);
    rig.exited(life(0, 1), ExitCause::Signal(9));
    assert_eq!(rig.step(), vec![WorkerOutput::Stopped]);
    rig.feed(WorkerInput::Stop);
    assert_eq!(rig.step(), vec![], "it has left");
}

#[test]
fn a_process_that_is_not_ready_need_not_be_asked_politely() {
    let mut rig = Rig::new(config(2));
    rig.step();
    rig.ready_again(life(0, 1));
    rig.connect();
    rig.feed(WorkerInput::Drain);
    let said = rig.step();
    assert!(said.contains(&retire(life(0, 1))) && said.contains(&kill(life(1, 1))));
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
fn each_bound_of_results_is_one_at_least() {
    let mut config = config(1);
    config.held_results = 0;
    let mut rig = Rig::up(config);
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    assert_eq!(grants(&rig.step()), [0]);
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

#[test]
fn stopping_forgets_why_a_process_was_asked_to_end() {
    let mut rig = Rig::up(config(1));
    rig.assign(Assign {
        time_limit: MS.into(),
        ..assign(1)
    });
    rig.step();
    assert_eq!(rig.pass(MS), vec![terminate(life(0, 1))]);
    rig.feed(WorkerInput::Stop);
    assert!(rig.step().contains(&kill(life(0, 1))));
}

/// A machine that can start nothing more: the attempt goes back as one that has not run, its process
/// makes room, and the next one comes after a pause that grows until one does well.
#[test]
fn a_process_that_can_start_nothing_makes_room_for_a_while() {
    let mut rig = Rig::up(config(2));
    let unavailable = |rig: &mut Rig, number: u64, slot| {
        rig.assign_all([number]);
        rig.step();
        let error = TaskError::new(ErrorKind::Unavailable, "no more processes");
        rig.ended(slot, number, MS, RunEnd::Failed(error.into()));
        let said = rig.step();
        assert!(said.contains(&retire(slot)), "{said:?}");
        let unavailable = |said: &WorkerOutput| match said {
            WorkerOutput::Link(LinkOutput::Send { message, .. }) => {
                matches!(&message.body, ToManager::Worker(FromWorker::Finished(finished))
                if matches!(&finished.end, AttemptEnd::Failed(error)
                    if error.kind == ErrorKind::Unavailable))
            }
            _ => false,
        };
        assert!(said.iter().any(unavailable), "{said:?}");
        rig.exited(slot, ExitCause::Exit(0));
        let said = rig.step();
        let spawns =
            |said: &WorkerOutput| matches!(said, WorkerOutput::Pool(PoolOutput::Spawn { .. }));
        assert!(!said.iter().any(spawns), "{said:?}");
    };
    unavailable(&mut rig, 1, life(0, 1));
    assert_eq!(rig.pass(MS * 9), vec![]);
    assert!(rig.pass(MS).contains(&spawn(life(0, 2))));
    rig.ready_again(life(0, 2));
    rig.step();
    unavailable(&mut rig, 2, life(0, 2));
    assert_eq!(rig.pass(MS * 19), vec![]);
    assert!(rig.pass(MS).contains(&spawn(life(0, 3))));
    rig.ready_again(life(0, 3));
    rig.step();
    rig.assign_all([3]);
    rig.step();
    rig.done(life(0, 3), 3, MS);
    rig.step();
    unavailable(&mut rig, 4, life(0, 3));
    assert_eq!(rig.pass(MS * 9), vec![]);
    assert!(rig.pass(MS).contains(&spawn(life(0, 4))));
}

/// The search for what a machine lacks says nothing of the task that it was for: many of a name that
/// takes no time still go to one process.
#[test]
fn what_could_not_be_started_was_not_measured() {
    let mut rig = knowing(1, Duration::from_micros(10));
    rig.assign_all([10]);
    rig.step();
    let error = TaskError::new(ErrorKind::Unavailable, "no more processes");
    rig.pass(MS * 50);
    rig.ended(life(0, 1), 10, MS * 50, RunEnd::Failed(error.into()));
    rig.step();
    rig.exited(life(0, 1), ExitCause::Exit(0));
    rig.step();
    rig.pass(MS * 10);
    rig.ready_again(life(0, 2));
    rig.assign_all([11, 12, 13]);
    assert_eq!(given(&rig.step()), [11, 12, 13]);
}

#[test]
fn the_end_of_a_process_that_ran_is_told() {
    let mut rig = Rig::up(config(2));
    rig.exited(life(1, 1), ExitCause::Exit(1));
    rig.step();
    assert_eq!(rig.gone, [life(1, 1)]);
    rig.cut();
    rig.exited(life(0, 1), ExitCause::Exit(1));
    rig.step();
    assert_eq!(rig.gone.len(), 1, "there is nobody to tell");
}
