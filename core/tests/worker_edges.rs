//! Corners of the worker: where a bound lies exactly, what is said twice, what is counted from
//! when, and what it tells the log.

mod worker_support;

use std::time::Duration;

use argon_core::event::Event;
use argon_core::ids::{PeerId, SlotId};
use argon_core::limits::{CHILD_QUEUE_MAX, WINDOW_MAX, WORKER_WINDOW_BYTES, YOUNG};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{Assign, AttemptEnd, Body, Message, RefuseReason};
use argon_core::task::{ErrorKind, ExitCause, TaskError};
use argon_core::time::{Deadline, WakeReason};
use argon_core::worker::{PoolInput, PoolOutput, RunEnd, WorkerConfig, WorkerInput, WorkerOutput};
use bytes::Bytes;
use worker_support::*;

/// A worker that has learnt that tasks named "t" take `ran`.
fn knowing(capacity: u32, ran: Duration) -> Rig {
    let mut rig = Rig::up(config(capacity));
    for number in 1_000..1_004 {
        rig.assign_all([number]);
        rig.step();
        rig.done(life(0, 1), number, ran);
        let attempts = vec![attempt(number)];
        rig.say(Body::AckResults { attempts });
    }
    rig.step();
    rig
}

/// The numbers of the attempts given to slots in `said`.
fn given(said: &[WorkerOutput]) -> Vec<u64> {
    let run = |output: &WorkerOutput| match output {
        WorkerOutput::Pool(PoolOutput::Run { job, .. }) => Some(job.attempt.number),
        _ => None,
    };
    said.iter().filter_map(run).collect()
}

fn grants(said: &[WorkerOutput]) -> Vec<u32> {
    let grant = |output: &WorkerOutput| match output {
        WorkerOutput::Link(LinkOutput::Send { message, .. }) => match message.body {
            Body::Grant { window } => Some(window),
            _ => None,
        },
        _ => None,
    };
    said.iter().filter_map(grant).collect()
}

fn is_closed(said: &[WorkerOutput]) -> bool {
    let close =
        |output: &WorkerOutput| matches!(output, WorkerOutput::Link(LinkOutput::Close { .. }));
    said.iter().any(close)
}

#[test]
fn settings_that_allow_nothing_allow_one() {
    let mut config = WorkerConfig::new(PeerId(1), name("w"), 0);
    config.addresses = 0;
    config.max_requests = Some(0);
    config.held_results = 0;
    config.held_bytes = 0;
    let mut rig = Rig::new(config);
    assert_eq!(rig.step(), vec![spawn(life(0, 1))]);
    rig.ready_again(life(0, 1));
    let said = rig.connect();
    assert_eq!(said[1], rig.grant(1));
    rig.assign_all([1, 2]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    let said = rig.step();
    assert_eq!(grants(&said), [0], "one result is as many as may be held");
    assert!(said.contains(&retire(life(0, 1))), "its share was one");
    let attempts = vec![attempt(1)];
    rig.say(Body::AckResults { attempts });
    rig.exited(life(0, 1), ExitCause::Exit(0));
    assert_eq!(grants(&rig.step()), [1]);
}

#[test]
fn a_worker_has_one_manager_and_half_a_minute_to_drain_unless_told_otherwise() {
    let config = config(1);
    assert_eq!(config.addresses, 1);
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
}

/// Drivers show the reason in their logs, and must be woken at the time.
#[test]
fn it_says_when_and_why_it_wants_to_be_woken() {
    let due = |rig: &Rig, after: Duration, reason| {
        let at = rig.now + after;
        assert_eq!(rig.worker.poll_timeout(), Some(Deadline { at, reason }));
    };
    let mut rig = Rig::new(config(1));
    rig.step();
    rig.connect();
    rig.exited(life(0, 1), ExitCause::NotStarted);
    rig.step();
    due(&rig, MS * 10, WakeReason::Respawn);
    rig.pass(MS * 10);
    rig.ready_again(life(0, 2));
    rig.assign(Assign {
        time_limit: (MS * 40).into(),
        ..assign(1)
    });
    rig.step();
    due(&rig, MS * 40, WakeReason::Limit);
    rig.assign(Assign {
        deadline: (MS * 30).into(),
        ..assign(2)
    });
    rig.step();
    due(&rig, MS * 30, WakeReason::Expiry);

    let mut config = config(1);
    config.drain_timeout = MS * 20;
    let mut rig = Rig::up(config);
    rig.assign_all([1]);
    rig.step();
    rig.feed(WorkerInput::Drain);
    rig.step();
    due(&rig, MS * 20, WakeReason::Drain);
    rig.feed(WorkerInput::Drain);
    assert_eq!(rig.step(), vec![], "it drains already");
    rig.pass(MS * 10);
    rig.feed(WorkerInput::Drain);
    rig.step();
    due(&rig, MS * 10, WakeReason::Drain);
    let drains = rig.events.iter();
    assert_eq!(
        drains
            .filter(|event| **event == Event::DrainStarted)
            .count(),
        1
    );
}

#[test]
fn the_log_is_told_of_the_connection_and_of_each_process() {
    let mut rig = Rig::up(config(1));
    assert!(rig.events.contains(&Event::LinkUp {
        epoch: EPOCH,
        resumed: true,
        address: 0
    }));
    rig.ready_again(life(0, 1));
    let slot = SlotId(0);
    let ready = rig.events.iter();
    let ready = ready.filter(|event| **event == Event::SlotReady { slot });
    assert_eq!(ready.count(), 1, "the second time is no news");
    rig.exited(life(0, 1), ExitCause::Exit(2));
    rig.step();
    let asked = |asked| Event::SlotExited {
        slot,
        cause: ExitCause::Exit(2),
        asked,
        stderr: "last words".into(),
    };
    assert!(rig.events.contains(&asked(false)));
    rig.ready_again(life(0, 2));
    rig.feed(WorkerInput::Stop);
    rig.step();
    rig.exited(life(0, 2), ExitCause::Exit(2));
    rig.step();
    assert!(rig.events.contains(&asked(true)));

    let mut rig = Rig::ready(config(1));
    let conn = loop {
        rig.now = rig.now.max(rig.worker.poll_timeout().unwrap().at);
        rig.worker.handle_timeout(rig.now);
        if let [WorkerOutput::Link(LinkOutput::Connect { conn, .. })] = rig.step()[..] {
            break conn;
        }
    };
    rig.feed(WorkerInput::Link(LinkInput::Connected { conn }));
    rig.conn = Some(conn);
    rig.say(Body::Refuse(RefuseReason::Full));
    rig.step();
    assert!(rig.events.contains(&Event::LinkRefused {
        reason: RefuseReason::Full
    }));
}

#[test]
fn a_process_that_says_twice_that_it_is_ready_gets_no_more_for_it() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1, 2]);
    rig.step();
    assert_eq!(rig.ready_again(life(0, 1)), vec![]);
}

#[test]
fn only_deaths_in_a_row_of_young_processes_that_were_of_no_use_count() {
    let mut rig = Rig::up(config(1));
    let mut process = 1;
    let mut dies = |rig: &mut Rig, delay: Duration| {
        rig.exited(life(0, process), ExitCause::Exit(1));
        process += 1;
        let next = spawn(life(0, process));
        let at_once = rig.step().contains(&next);
        assert_eq!(at_once, delay.is_zero(), "process {process}");
        if !at_once {
            assert!(!rig.pass(delay - US).contains(&next));
            assert!(rig.pass(US).contains(&next));
        }
        process
    };
    // Each lives for long enough.
    for _ in 0..3 {
        rig.pass(YOUNG);
        let next = dies(&mut rig, Duration::ZERO);
        rig.ready_again(life(0, next));
    }
    // Young ones: the first may have been bad luck.
    for delay in [0, 10, 20] {
        rig.pass(YOUNG - US);
        let next = dies(&mut rig, MS * delay);
        // However long it takes to be ready does not count as its life.
        rig.pass(YOUNG * 2);
        rig.ready_again(life(0, next));
    }
    // One that was of use is forgiven, and what went before it.
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 4 + 3), 1, MS);
    rig.step();
    for delay in [0, 0, 10] {
        let next = dies(&mut rig, MS * delay);
        rig.ready_again(life(0, next));
    }
}

#[test]
fn a_child_is_written_so_many_attempts_and_no_more() {
    let mut rig = knowing(1, Duration::ZERO);
    rig.assign_many(1..=2_000);
    assert_eq!(given(&rig.step()).len(), CHILD_QUEUE_MAX);
}

#[test]
fn what_is_written_to_a_child_never_sums_up_to_more_than_a_millisecond() {
    let mut rig = knowing(1, US * 600);
    rig.assign_all([1, 2]);
    assert_eq!(given(&rig.step()), [1]);
    let mut rig = knowing(1, US * 500);
    rig.assign_all([1, 2, 3]);
    assert_eq!(given(&rig.step()), [1, 2]);
}

#[test]
fn children_share_what_is_left_over_too() {
    let mut rig = knowing(2, US);
    rig.assign_all(1..=5);
    assert_eq!(given(&rig.step()).len(), 5);
}

#[test]
fn nothing_is_queued_behind_a_name_that_is_not_always_short() {
    let mut rig = knowing(1, US);
    rig.assign(Assign {
        name: name("slow"),
        ..assign(1)
    });
    rig.assign_all([2]);
    assert_eq!(given(&rig.step()), [1]);
    // Nor behind one that has been at it for long, whatever came behind it meanwhile.
    let mut rig = knowing(1, US);
    rig.assign_all([1]);
    rig.step();
    rig.pass(US * 600);
    rig.assign_all([2]);
    assert_eq!(given(&rig.step()), [2]);
    rig.pass(US * 600);
    rig.assign_all([3]);
    assert_eq!(given(&rig.step()), []);
}

#[test]
fn each_attempt_in_a_child_has_its_whole_time() {
    let mut rig = knowing(1, US);
    for number in [1, 2] {
        rig.assign(Assign {
            time_limit: (MS * 5).into(),
            ..assign(number)
        });
    }
    assert_eq!(given(&rig.step()), [1, 2]);
    rig.pass(MS * 4);
    rig.done(life(0, 1), 1, MS * 4);
    rig.step();
    assert_eq!(rig.pass(MS * 5 - US), vec![]);
    assert_eq!(rig.pass(US), vec![terminate(life(0, 1))]);
}

#[test]
fn whatever_ends_an_attempt_soonest_ends_it() {
    for (limit, deadline, ended) in [(20, 30, 20), (30, 20, 20)] {
        let mut rig = Rig::up(config(1));
        rig.assign(Assign {
            time_limit: (MS * limit).into(),
            deadline: (MS * deadline).into(),
            ..assign(1)
        });
        rig.step();
        assert_eq!(rig.pass(MS * ended - US), vec![]);
        assert_eq!(rig.pass(US), vec![terminate(life(0, 1))]);
        rig.exited(life(0, 1), ExitCause::Signal(15));
        let said = rig.step();
        let expired = rig.finished(1, MS * ended, AttemptEnd::Expired);
        assert_eq!(said[0] == expired, deadline < limit);
    }
    // Without any time left, it is not started at all, even if nobody was woken for it.
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.assign(Assign {
        deadline: (MS * 10).into(),
        ..assign(2)
    });
    rig.step();
    rig.now = rig.now + MS * 10;
    rig.done(life(0, 1), 1, MS * 10);
    let said = rig.step();
    assert_eq!(given(&said), []);
    assert!(said.contains(&rig.returned(&[2], &[])));
}

/// What the way to an idle child takes is hidden as well; time spent behind others in it is not
/// the way.
#[test]
fn the_way_to_an_idle_child_counts_for_the_window() {
    let mut rig = knowing(1, US * 10);
    rig.assign_all([1]);
    rig.step();
    rig.pass(US * 330);
    rig.done(life(0, 1), 1, US * 10);
    // A sixteenth of 320 us is new: twice that, over 10 us.
    assert_eq!(grants(&rig.step()), [5]);
    rig.assign_all([2, 3]);
    assert_eq!(given(&rig.step()), [2, 3]);
    rig.done(life(0, 1), 2, US * 10);
    rig.pass(US * 900);
    rig.done(life(0, 1), 3, US * 10);
    assert_eq!(grants(&rig.step()), []);
}

#[test]
fn more_bytes_than_two_windows_of_waiting_payloads_end_the_connection() {
    let large = Bytes::from(vec![0; WORKER_WINDOW_BYTES as usize]);
    let mut rig = Rig::up(config(1));
    let assign_large = |rig: &mut Rig, number| {
        let body = Body::Assign(assign(number));
        let payload = large.clone();
        rig.say(Message { body, payload });
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
fn a_manager_that_acknowledges_nothing_and_assigns_without_end_is_left() {
    let mut config = config(1);
    config.held_results = 7;
    let room = 7 + 2 * u64::from(WINDOW_MAX);
    let mut rig = Rig::up(config);
    for number in 0..room {
        rig.assign_many_unchecked(number);
        rig.worker_done(number);
    }
    assert!(!is_closed(&rig.step()));
    rig.assign_many_unchecked(room);
    assert!(is_closed(&rig.step()));
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
    for number in 1..=5 {
        rig.done(life(0, 1), number, MS * 50);
        rig.step();
    }
    let full = rig
        .events
        .iter()
        .filter(|event| **event == Event::ResultsFull);
    assert_eq!(full.count(), 1, "it is full only once");
    for number in 1..=3 {
        let attempts = vec![attempt(number)];
        rig.say(Body::AckResults { attempts });
        let expected: &[u32] = if number == 3 { &[1] } else { &[] };
        assert_eq!(grants(&rig.step()), expected, "after {number}");
    }
}

#[test]
fn an_acknowledgement_of_what_runs_is_passed_over() {
    let mut rig = Rig::up(config(1));
    rig.assign_all([1]);
    rig.step();
    let attempts = vec![attempt(1)];
    rig.say(Body::AckResults { attempts });
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
        rig.say(Body::Resend { attempt });
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
    rig.say(Body::Kill { attempt });
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
    rig.say(Body::TakeBack { attempts });
    let attempts = (5_000..5_001).map(attempt).collect();
    rig.say(Body::TakeBack { attempts });
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
    rig.say(Body::Kill { attempt });
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
    let Body::Finished(finished) = &message.body else {
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
    rig.say(Body::TakeBack { attempts });
    rig.feed(WorkerInput::Stop);
    let said = rig.step();
    assert_eq!(said[0], rig.returned(&[9], &[]));
    assert!(said.contains(&rig.sent(Body::Goodbye)));
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
    rig.say(Body::Pong(argon_core::message::Beat {
        received: received - 1,
        ..beat
    }));
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
            rig.say(Body::AckResults { attempts });
            window = grants(&rig.step()).last().copied().unwrap_or(window);
        }
        window
    };
    assert_eq!(level(MS), 2);
    assert_eq!(level(MS * 9), 1);
}
