//! What becomes of an attempt at a worker: waiting, running, ending, handed back.

use super::bench::*;
use argon_core::event::{CloseReason, Event};
use argon_core::ids::SlotId;
use argon_core::link::LinkOutput;
use argon_core::message::{Assign, AttemptEnd, FromManager, FromWorker, ToManager, ToWorker};
use argon_core::protocol_error::ProtocolError;
use argon_core::task::{ErrorKind, ExitCause, TaskError};
use argon_core::time::Nanos;
use argon_core::worker::{PoolInput, RunEnd, WorkerInput, WorkerOutput};
use std::time::Duration;

#[test]
fn attempts_run_in_order_of_arrival_in_the_lowest_idle_slots() {
    let mut rig = Rig::up(config(2));
    rig.assign_all([5, 3, 9]);
    assert_eq!(rig.step(), vec![run(life(0, 1), 5), run(life(1, 1), 3)]);
    rig.done(life(1, 1), 3, MS * 7);
    assert_eq!(
        rig.step(),
        vec![rig.completed(3, MS * 7), run(life(1, 1), 9)]
    );
}

#[test]
fn an_attempt_that_is_known_is_not_taken_twice() {
    let mut rig = Rig::up(config(2));
    rig.assign_all([1, 1]);
    assert_eq!(rig.step(), vec![run(life(0, 1), 1)]);
    rig.done(life(0, 1), 1, MS);
    rig.step();
    rig.assign_all([1]);
    assert_eq!(rig.step(), vec![]);
}

#[test]
fn a_time_limit_asks_then_kills_and_keeps_the_slot_until_the_process_is_gone() {
    let mut rig = Rig::up(config(1));
    rig.assign(Assign {
        time_limit: (MS * 100).into(),
        ..assign(1)
    });
    rig.assign_all([2]);
    assert_eq!(rig.step(), vec![run(life(0, 1), 1)]);
    assert_eq!(rig.pass(MS * 99), vec![]);
    assert_eq!(rig.pass(MS), vec![terminate(life(0, 1))]);
    assert!(rig.events.contains(&Event::TimeLimitHit { task: task(1) }));
    assert_eq!(rig.pass(MS * 1_999), vec![]);
    assert_eq!(rig.pass(MS), vec![kill(life(0, 1))]);
    rig.exited(life(0, 1), ExitCause::Signal(9));
    let end = error(
        ErrorKind::TimeLimit,
        "it ran longer than its time limit of 100ms",
        "last words",
    );
    assert_eq!(
        rig.step(),
        vec![rig.finished(1, MS * 2_100, end), spawn(life(0, 2))]
    );
    assert_eq!(rig.ready_again(life(0, 2)), vec![run(life(0, 2), 2)]);
}

#[test]
fn the_workers_own_time_limit_holds_where_the_task_names_none() {
    let mut config = config(1);
    config.time_limit = Some(MS * 10);
    let mut rig = Rig::up(config);
    rig.assign_all([1]);
    rig.step();
    assert_eq!(rig.pass(MS * 10), vec![terminate(life(0, 1))]);
}

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
fn too_much_memory_kills_at_once_and_says_how_much() {
    let mut config = config(1);
    config.memory_limit = Some(1_000);
    let mut rig = Rig::up(config);
    rig.assign_all([1]);
    rig.step();
    let slot = life(0, 1);
    for bytes in [1_000, 1_001] {
        rig.feed(WorkerInput::Pool(PoolInput::Memory { slot, bytes }));
    }
    assert_eq!(rig.step(), vec![kill(slot)]);
    rig.exited(slot, ExitCause::Signal(9));
    let message = "its pool process exceeded the memory limit of 1000 bytes: 1001 bytes";
    let end = error(ErrorKind::MemoryLimit, message, "last words");
    assert_eq!(
        rig.step(),
        vec![rig.finished(1, Duration::ZERO, end), spawn(life(0, 2))]
    );
}

#[test]
fn a_death_for_memory_that_the_pool_saw_itself_is_a_memory_limit() {
    let mut config = config(1);
    config.memory_limit = Some(1_000);
    let mut rig = Rig::up(config);
    rig.assign_all([1]);
    rig.step();
    rig.exited(life(0, 1), ExitCause::Memory);
    let message = "its pool process exceeded the memory limit of 1000 bytes";
    let end = error(ErrorKind::MemoryLimit, message, "last words");
    assert_eq!(rig.step()[0], rig.finished(1, Duration::ZERO, end));
}

#[test]
fn a_crash_is_charged_with_its_cause_and_last_words() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.pass(MS * 5);
    rig.exited(life(0, 1), ExitCause::Exit(3));
    let end = AttemptEnd::Crashed(ExitCause::Exit(3), "last words".into());
    assert_eq!(
        rig.step(),
        vec![rig.finished(1, MS * 5, end), spawn(life(0, 2))]
    );
}

#[test]
fn a_kill_hands_back_what_has_not_started_and_ends_what_has() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1, 2]);
    rig.step();
    for number in [2, 1, 77] {
        let attempt = attempt(number);
        rig.say(FromManager::Role(ToWorker::Kill { attempt }));
    }
    assert_eq!(
        rig.step(),
        vec![terminate(life(0, 1)), rig.returned(&[2, 77], &[])]
    );
    rig.exited(life(0, 1), ExitCause::Signal(15));
    assert_eq!(
        rig.step(),
        vec![
            rig.finished(1, Duration::ZERO, AttemptEnd::Killed),
            spawn(life(0, 2))
        ]
    );
}

#[test]
fn a_deadline_hands_back_what_waits_and_ends_what_runs() {
    let mut rig = Rig::up(config(1));
    for (number, deadline) in [(1, MS * 20), (2, MS * 10), (3, Duration::ZERO)] {
        rig.assign(Assign {
            deadline: deadline.into(),
            ..assign(number)
        });
    }
    assert_eq!(
        rig.step(),
        vec![run(life(0, 1), 1), rig.returned(&[3], &[])]
    );
    assert_eq!(rig.pass(MS * 10), vec![rig.returned(&[2], &[])]);
    assert_eq!(rig.pass(MS * 10), vec![terminate(life(0, 1))]);
    rig.exited(life(0, 1), ExitCause::Signal(15));
    let end = AttemptEnd::Expired;
    assert_eq!(rig.step()[0], rig.finished(1, MS * 20, end));
}

#[test]
fn taking_back_is_a_question_with_an_honest_answer() {
    let mut rig = Rig::up(config(2));
    rig.assign_all([1, 2, 3]);
    rig.step();
    rig.done(life(1, 1), 2, MS);
    rig.assign_all([4]);
    rig.step();
    let attempts = [1, 2, 3, 4, 5].map(attempt).to_vec();
    rig.say(FromManager::Role(ToWorker::Recall { attempts }));
    assert_eq!(rig.step(), vec![rig.returned(&[5, 4], &[1, 2, 3])]);
    rig.done(life(0, 1), 1, MS);
    assert_eq!(rig.step(), vec![rig.completed(1, MS)], "4 is forgotten");
}

#[test]
fn an_answer_never_comes_after_the_end_that_it_announces() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    let attempts = vec![attempt(1)];
    rig.say(FromManager::Role(ToWorker::Recall { attempts }));
    rig.done(life(0, 1), 1, MS);
    assert_eq!(
        rig.step(),
        vec![rig.returned(&[], &[1]), rig.completed(1, MS)]
    );
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

#[test]
fn news_of_an_earlier_process_means_nothing() {
    let mut rig = Rig::up(config(1));
    rig.exited(life(0, 1), ExitCause::Exit(0));
    rig.step();
    rig.ready_again(life(0, 2));
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    rig.exited(life(0, 1), ExitCause::Exit(0));
    rig.done(life(3, 1), 1, MS);
    assert_eq!(rig.step(), vec![]);
}

#[test]
fn a_process_that_answers_twice_is_replaced_and_the_next_attempt_is_not_to_blame() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    rig.assign_all([2]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    assert_eq!(rig.step(), vec![kill(life(0, 1))]);
    rig.exited(life(0, 1), ExitCause::Signal(9));
    let said = rig.step();
    let uncharged = rig.finished(2, Duration::ZERO, AttemptEnd::Killed);
    assert!(said.contains(&uncharged), "{said:?}");
    assert!(said.contains(&spawn(life(0, 2))), "at once");
}

#[test]
fn how_long_a_program_says_that_it_ran_is_believed_as_far_as_it_can_be_true() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.pass(MS * 5);
    rig.done(life(0, 1), 1, Duration::from_nanos(u64::MAX));
    let said = rig.step();
    assert!(said.contains(&rig.completed(1, MS * 105)), "{said:?}");
}

#[test]
fn a_process_that_answers_what_it_was_not_asked_is_killed() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 2, MS);
    assert_eq!(rig.step(), vec![kill(life(0, 1))]);
    rig.exited(life(0, 1), ExitCause::Signal(9));
    let end = AttemptEnd::Crashed(ExitCause::Protocol, "last words".into());
    assert_eq!(rig.step()[0], rig.finished(1, Duration::ZERO, end));
    let slot = SlotId(0);
    assert!(rig.events.contains(&Event::SlotReady { slot }));
}

/// Tasks that may not wait are asked back at once, often in the same turn in which they arrive.
#[test]
fn what_is_asked_back_as_it_arrives_starts_if_a_slot_is_free() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1, 2]);
    let attempts = vec![attempt(1), attempt(2)];
    rig.say(FromManager::Role(ToWorker::Recall { attempts }));
    let said = rig.step();
    assert!(said.contains(&rig.returned(&[2], &[1])), "{said:?}");
}

/// The manager cannot hear the answer any more: it learns from the next report what has started.
#[test]
fn what_was_asked_back_just_before_a_cut_stays() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1, 2]);
    rig.step();
    rig.say(FromManager::Role(ToWorker::Recall {
        attempts: vec![attempt(2)],
    }));
    rig.cut();
    rig.step();
    rig.done(life(0, 1), 1, MS);
    assert_eq!(given(&rig.step()), [2]);
}
