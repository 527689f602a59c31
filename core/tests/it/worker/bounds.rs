//! Corners of the worker: where a bound lies exactly, what is said twice, what is counted from
//! when, and what it tells the log.

use std::time::Duration;

use super::bench::*;
use argon_core::event::{Event, Reached};
use argon_core::ids::SlotId;
use argon_core::limits::{CHILD_QUEUE_MAX, CHILD_WORK_MIN};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{Assign, AttemptEnd, Control, FromManager, RefuseReason, ToWorker};
use argon_core::task::ExitCause;
use argon_core::time::{Deadline, WakeReason};
use argon_core::worker::{WorkerInput, WorkerOutput};

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
        reached: Reached::Ready,
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
fn a_child_is_written_so_many_attempts_and_no_more() {
    let mut rig = knowing(1, Duration::ZERO);
    rig.assign_many(1..=2_000);
    assert_eq!(given(&rig.step()).len(), CHILD_QUEUE_MAX);
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
