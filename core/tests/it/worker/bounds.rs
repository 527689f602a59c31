//! Corners of the worker: where a bound lies exactly, what is said twice, what is counted from
//! when, and what it tells the log.

use std::time::Duration;

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::{PeerId, SlotId};
use argon_core::limits::{CHILD_QUEUE_MAX, CHILD_WORK_MIN, YOUNG};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{
    Assign, AttemptEnd, Control, FromManager, FromWorker, RefuseReason, ToManager, ToWorker,
};
use argon_core::task::ExitCause;
use argon_core::time::{Deadline, WakeReason};
use argon_core::worker::{WorkerConfig, WorkerInput, WorkerOutput};

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
    assert_eq!(said[2], rig.grant(1));
    rig.assign_all([1, 2]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    let said = rig.step();
    assert_eq!(grants(&said), [0], "one result is as many as may be held");
    assert!(said.contains(&retire(life(0, 1))), "its share was one");
    let attempts = vec![attempt(1)];
    rig.say(FromManager::Role(ToWorker::AckResults { attempts }));
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
    rig.say(FromManager::Control(Control::Refuse(RefuseReason::Full)));
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
    let most = CHILD_WORK_MIN.as_micros() as u64;
    let mut rig = knowing(2, US);
    rig.assign_all(1..=2 * most + 5);
    assert_eq!(given(&rig.step()).len() as u64, 2 * most + 5);
}

#[test]
fn a_child_that_takes_no_more_has_no_share() {
    let mut rig = knowing(2, US);
    rig.assign(Assign {
        name: name("slow"),
        ..assign(1)
    });
    rig.assign_all(2..=401);
    assert_eq!(given(&rig.step()).len(), 401);
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
fn what_it_holds_is_counted_by_what_it_waits_for() {
    let mut rig = Rig::up(config(2));
    rig.assign_all(0..5);
    rig.step();
    let load = rig.worker.load();
    assert_eq!((load.waiting, load.given, load.held), (3, 2, 0));
    rig.done(life(0, 1), 0, Duration::from_millis(5));
    rig.step();
    let load = rig.worker.load();
    assert_eq!((load.waiting, load.given, load.held), (2, 2, 1));
    assert!(load.held_bytes > 0);
}

/// Whatever the program of a pool can do is told when it is known, and again after a change.
#[test]
fn a_change_of_what_is_offered_is_told_once_and_after_every_connection() {
    use argon_core::capabilities::Capabilities;
    use argon_core::worker::PoolInput;
    let offers = |said: &[WorkerOutput]| {
        let is_offer = |output: &&WorkerOutput| {
            matches!(output, WorkerOutput::Link(LinkOutput::Send { message, .. })
                if matches!(message.body, ToManager::Worker(FromWorker::Capabilities(_))))
        };
        said.iter().filter(is_offer).count()
    };
    let mut rig = Rig::up(config(1));
    let another = Capabilities::new([name("another")]).expect("few");
    let mut said = Vec::new();
    rig.exited(life(0, 1), ExitCause::Exit(0));
    for life_number in 2..4 {
        said.extend(rig.pass(Duration::from_secs(1)));
        rig.feed(WorkerInput::Pool(PoolInput::Ready {
            slot: life(0, life_number),
            capabilities: another.clone(),
        }));
        said.extend(rig.step());
        rig.exited(life(0, life_number), ExitCause::Exit(0));
    }
    assert_eq!(offers(&said), 1, "the same is not told twice");
    rig.cut();
    let said = rig.connect();
    assert_eq!(offers(&said), 1);
}

/// A heartbeat tells how much was received, and whoever hears that relies on the answers having been
/// said: one that is due as a question comes does not overtake the answer.
#[test]
fn what_is_asked_back_is_answered_before_it_is_confirmed() {
    let mut rig = Rig::up(config(1));
    rig.assign_all(0..3);
    rig.step();
    rig.pass(Duration::from_millis(600));
    let due = rig.worker.poll_timeout().expect("the next heartbeat");
    assert_eq!(due.reason, WakeReason::Heartbeat);
    rig.now = due.at;
    let attempts = vec![attempt(2)];
    rig.say(FromManager::Role(ToWorker::Recall { attempts }));
    rig.worker.handle_timeout(rig.now);
    let said = rig.step();
    let answer = rig.returned(&[2], &[]);
    let answered = said.iter().position(|output| *output == answer);
    let confirmed = said.iter().position(|output| ping(output).is_some());
    assert!(answered.is_some() && confirmed.is_some(), "{said:?}");
    assert!(answered < confirmed, "{said:?}");
}
