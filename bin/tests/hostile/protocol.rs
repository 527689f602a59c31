//! Strangers that speak the protocol, and use it to take what is not theirs or too much of it.

use std::thread::sleep;

use argon::command::CommandSpec;
use argon_core::ids::{Attempt, Epoch, TaskId};
use argon_core::limits::{IDS_MAX, LEASE};
use argon_core::message::{FromClient, Query, Role, ToClient, ToManager, ToPeer};
use argon_core::task::Outcome;

use crate::common::until;
use crate::raw::{Raw, frame, hello, new_id, submit};
use crate::stage::{RESTING, Stage};

/// The next outcome or rejection: the task's number, and the outcome if it is one.
fn end(raw: &mut Raw) -> (u64, Option<Outcome>) {
    loop {
        let message = raw.hear().expect("the manager closed the connection");
        match message.body {
            ToPeer::Client(ToClient::Outcome { seq, outcome }) => return (seq, Some(outcome)),
            ToPeer::Client(ToClient::Reject { seq, .. }) => return (seq, None),
            _ => {}
        }
    }
}

/// Whether that outcome is a result.
fn is_completed(outcome: &Option<Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Completed { .. }))
}

#[test]
fn a_task_that_is_submitted_many_times_runs_once() {
    let stage = Stage::new("one task submitted 1,000 times", &[], RESTING);
    stage.bears(|stage| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs");
        let script = format!("echo run >>{}", file.display());
        let payload = CommandSpec::new(["sh", "-c", &script]).encode();
        let mut raw = Raw::client(&stage.address);
        for _ in 0..1_000 {
            let said = FromClient::Submit(submit(0, "run"));
            raw.say_with(said, payload.clone()).unwrap();
        }
        let (seq, outcome) = end(&mut raw);
        assert_eq!((seq, is_completed(&outcome)), (0, true), "{outcome:?}");
        // Whatever else came of the thousand has, when the next task has ended.
        raw.submit(1, "noop").unwrap();
        while end(&mut raw).0 != 1 {}
        assert_eq!(std::fs::read_to_string(file).unwrap(), "run\n");
    });
}

#[test]
fn who_comes_in_as_another_is_thrown_out_by_the_owner_who_loses_nothing() {
    let stage = Stage::new("another's id with a higher connection number", &[], RESTING);
    stage.bears(|stage| {
        let mut own = hello(Role::Client);
        let mut owner = Raw::with_hello(&stage.address, own.clone());
        owner.submit(0, "noop").unwrap();
        assert!(is_completed(&end(&mut owner).1));
        // Not acknowledged yet.
        let mut false_one = hello(Role::Client);
        false_one.peer = own.peer;
        false_one.connection = 7;
        let mut thief = Raw::with_hello(&stage.address, false_one);
        owner.until_closed();
        // Lower numbers are refused, so the owner counts up, as clients do.
        own.session = Some(owner.epoch);
        own.connection = 2;
        assert!(!Raw::is_let_in(&stage.address, own.clone()));
        own.connection = 8;
        let mut owner = Raw::with_hello(&stage.address, own);
        thief.until_closed();
        assert!(is_completed(&end(&mut owner).1), "the outcome comes again");
    });
}

#[test]
fn a_floor_far_ahead_costs_only_who_sent_it() {
    let stage = Stage::new("floors of 2^64-1", &[], RESTING);
    stage.bears(|stage| {
        for _ in 0..100 {
            let mut raw = Raw::client(&stage.address);
            raw.submit(0, "noop").unwrap();
            for floor in [1 << 40, u64::MAX, 0] {
                let seqs = vec![u64::MAX, 0, floor];
                raw.say(FromClient::AckOutcomes { floor, seqs }).unwrap();
            }
            raw.submit(5, "noop").unwrap();
            raw.submit(u64::MAX, "noop").unwrap();
            assert!(raw.is_kept());
        }
    });
}

#[test]
fn messages_with_too_many_ids_are_closed() {
    let stage = Stage::new("4,097 ids in a message", &[], RESTING);
    stage.bears(|stage| {
        let seqs: Vec<u64> = (0..=IDS_MAX as u64).collect();
        for _ in 0..50 {
            for said in [
                FromClient::Resume { seqs: seqs.clone() },
                FromClient::Resume {
                    seqs: vec![0; 30_000],
                },
            ] {
                let mut raw = Raw::client(&stage.address);
                raw.say(said).unwrap();
                raw.until_closed();
            }
        }
        stage.log.says("lists more than 4096 ids");
    });
}

#[test]
fn long_lists_to_resume_are_answered_and_kept_nowhere() {
    let stage = Stage::new("1,000 lists of 4,096 tasks to resume", &[], RESTING + 8);
    stage.bears(|stage| {
        let mut raw = Raw::client(&stage.address);
        for round in 0..1_000 {
            let first = round * IDS_MAX as u64;
            let seqs: Vec<u64> = (first..first + IDS_MAX as u64).collect();
            raw.say(FromClient::Resume { seqs: seqs.clone() }).unwrap();
            loop {
                let message = raw.hear().unwrap();
                if let ToPeer::Client(ToClient::Unknown { seqs: unknown }) = message.body {
                    assert_eq!(unknown, seqs);
                    break;
                }
            }
        }
    });
}

#[test]
fn cancels_of_what_never_was_change_nothing() {
    let stage = Stage::new("200,000 cancels", &[], RESTING);
    stage.bears(|stage| {
        let mut raw = Raw::client(&stage.address);
        let frames: Vec<u8> = (0..2_000)
            .flat_map(|seq| frame(FromClient::Cancel { seq: seq << 20 }, Vec::new().into()))
            .collect();
        for _ in 0..100 {
            std::io::Write::write_all(&mut raw.stream, &frames).unwrap();
        }
        assert!(raw.is_kept());
    });
}

#[test]
fn questions_without_end_hold_up_nobody() {
    let stage = Stage::new("20,000 status queries, all read", &[], RESTING);
    stage.bears(|stage| {
        let mut raw = Raw::observer(&stage.address);
        let query = |page| frame(Query::StatusQuery { page }, Vec::new().into());
        for _ in 0..200 {
            raw.ping().unwrap();
            let asked: Vec<u8> = (0..100).flat_map(query).collect();
            std::io::Write::write_all(&mut raw.stream, &asked).unwrap();
            for _ in 0..100 {
                while !matches!(raw.hear().unwrap().body, ToPeer::Observer(_)) {}
            }
        }
    });
}

#[test]
fn names_that_nobody_runs_have_a_bound() {
    let args = ["--queue-size", "2000", "--runner-wait", "1s"];
    let stage = Stage::new("20,000 tasks, each of its own name", &args, RESTING + 8);
    stage.bears(|stage| {
        let mut raw = Raw::client(&stage.address);
        let long = "x".repeat(200);
        let mut ended = 0;
        for part in 0..20 {
            for seq in part * 1_000..(part + 1) * 1_000 {
                raw.submit(seq, &format!("{seq} {long}")).unwrap();
            }
            // At most a queue of them waits; the others are rejected at once.
            while ended + 2_000 < (part + 1) * 1_000 {
                let (_, outcome) = end(&mut raw);
                assert_eq!(outcome, None);
                ended += 1;
            }
            raw.ping().unwrap();
        }
        // And those that waited are when nobody has come to run them.
        while ended < 20_000 {
            raw.ping().unwrap();
            assert_eq!(end(&mut raw).1, None);
            ended += 1;
        }
    });
}

#[test]
fn attempts_out_of_range_and_counts_that_are_lies_are_closed() {
    let stage = Stage::new("attempts out of range, counts that are lies", &[], RESTING);
    stage.bears(|stage| {
        for attempts in [0, 17, 255] {
            let mut raw = Raw::client(&stage.address);
            let mut task = submit(0, "noop");
            task.max_attempts = attempts;
            raw.say(FromClient::Submit(task)).unwrap();
            raw.until_closed();
        }
        stage
            .log
            .says("its peer asked for a number of attempts that is out of range");
        let mut raw = Raw::client(&stage.address);
        raw.ping_with(u64::MAX).unwrap();
        raw.until_closed();
        stage
            .log
            .says("its peer counted more messages than it was sent");
    });
}

#[test]
fn who_says_what_another_role_says_is_closed() {
    use argon_core::message::FromWorker;
    let stage = Stage::new("messages of another role", &[], RESTING);
    stage.bears(|stage| {
        let task = || ToManager::from(FromClient::Submit(submit(0, "noop")));
        let worker = Role::Worker { capacity: 4 };
        let mut unreported = Raw::with_hello(&stage.address, hello(worker));
        unreported.say(task()).unwrap();
        unreported.until_closed();
        stage
            .log
            .says("its peer is a worker and did not report first");
        let grant = || ToManager::from(FromWorker::Grant { window: 1 });
        for (mut raw, said) in [
            (Raw::worker(&stage.address, 4), task()),
            (Raw::client(&stage.address), grant()),
            (Raw::observer(&stage.address), task()),
            (Raw::observer(&stage.address), grant()),
        ] {
            raw.say(said).unwrap();
            raw.until_closed();
        }
        stage.log.says("its peer sent a message that is not for us");
    });
}

#[test]
fn a_session_of_another_life_is_a_new_one() {
    let stage = Stage::new("sessions and processes that never were", &[], RESTING);
    stage.bears(|stage| {
        for number in 0..200 {
            let mut hello = hello(Role::Client);
            hello.session = Some(Epoch(number));
            hello.connection = u64::MAX - 1;
            let mut raw = Raw::with_hello(&stage.address, hello);
            let process = argon_core::ids::PoolProcess {
                worker: new_id(),
                slot: argon_core::ids::SlotId(u32::MAX),
                life: u64::MAX,
            };
            raw.say(FromClient::Within(process)).unwrap();
            raw.submit(u64::MAX - 1, "noop").unwrap();
            assert!(is_completed(&end(&mut raw).1));
        }
    });
}

#[test]
fn clients_that_vanish_leave_nothing_when_their_time_is_over() {
    let args = ["--resume-timeout", "4s", "--queue-size", "1000"];
    let stage = Stage::new("300 clients that submit and vanish", &args, RESTING + 16);
    stage.bears_and(
        |stage| {
            for _ in 0..300 {
                let mut raw = Raw::client(&stage.address);
                for seq in 0..10 {
                    raw.submit(seq, "noop").unwrap();
                }
            }
            sleep(LEASE / 4);
        },
        |stage| {
            until("nobody but the client beside", || {
                let report = crate::common::status(&stage.address);
                report["clients"].as_array().unwrap().len() == 1
            });
        },
    );
}

/// Used by the tests of workers too.
pub(crate) fn made_up(epoch: Epoch) -> (Attempt, TaskId) {
    let number = 1 << 50;
    let task = TaskId {
        client: new_id(),
        seq: 3,
    };
    (Attempt { epoch, number }, task)
}
