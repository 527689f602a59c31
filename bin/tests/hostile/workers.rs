//! Strangers that come in as workers.

use std::time::Instant;

use argon_core::capabilities::Capabilities;
use argon_core::ids::{Attempt, Epoch, SlotId, TaskId};
use argon_core::limits::LEASE;
use argon_core::message::{
    AttemptEnd, Finished, FromWorker, RefuseReason, Report, ReportedAttempt, Role, ToPeer, ToWorker,
};
use argon_core::time::Nanos;

use crate::protocol::made_up;
use crate::raw::{Raw, frame, hello, name};
use crate::stage::{RESTING, Stage};

#[test]
fn results_of_tasks_that_were_never_given_are_closed() {
    let stage = Stage::new("results of tasks never assigned", &[], RESTING);
    stage.bears(|stage| {
        for _ in 0..50 {
            let mut raw = Raw::worker(&stage.address, 4);
            let (attempt, task) = made_up(raw.epoch);
            let finished = Finished {
                attempt,
                task,
                ran: Nanos(1),
                end: AttemptEnd::Completed,
            };
            raw.say_with(FromWorker::Finished(finished), vec![1; 100].into())
                .unwrap();
            raw.until_closed();
        }
        stage
            .log
            .says("its peer ended an attempt that it does not have");
    });
}

#[test]
fn reports_of_attempts_that_never_were_are_closed() {
    let stage = Stage::new("reports of attempts never made", &[], RESTING);
    stage.bears(|stage| {
        let mut raw = Raw::with_hello(&stage.address, hello(Role::Worker { capacity: 1 }));
        let (attempt, task) = made_up(raw.epoch);
        let report = Report {
            running: vec![ReportedAttempt { attempt, task }],
            finished: Vec::new(),
            last: true,
        };
        raw.say(FromWorker::Report(report)).unwrap();
        raw.until_closed();
        stage
            .log
            .says("its peer reported an attempt that was never made");
    });
}

#[test]
fn reports_without_an_end_have_a_bound() {
    let stage = Stage::new("a report that goes on for ever", &[], RESTING + 24);
    stage.bears(|stage| {
        let mut raw = Raw::with_hello(&stage.address, hello(Role::Worker { capacity: 4_096 }));
        // Of an earlier manager, so that each is believed.
        let epoch = Epoch(1);
        raw.say_until_closed(|round| {
            let (attempt, task) = made_up(epoch);
            let reported = |number| ReportedAttempt {
                attempt: Attempt { number, ..attempt },
                task: TaskId {
                    seq: number,
                    ..task
                },
            };
            let report = Report {
                running: Vec::new(),
                finished: (round * 4_000..(round + 1) * 4_000).map(reported).collect(),
                last: false,
            };
            frame(FromWorker::Report(report), Vec::new().into())
        });
        stage
            .log
            .says("its peer reported more than a worker can have");
    });
}

#[test]
fn capacities_out_of_range_are_refused() {
    let stage = Stage::new("capacities of 2^32-1 and 0", &[], RESTING);
    stage.bears(|stage| {
        for capacity in [u32::MAX, 4_097, 0] {
            let refused = Raw::knock(&stage.address, hello(Role::Worker { capacity }));
            assert_eq!(refused.unwrap_err(), RefuseReason::BadCapacity);
        }
        stage.log.says("reason=BadCapacity");
    });
}

/// Tasks that a worker was given, until nothing has come for as long as it takes to answer.
fn given(raw: &mut Raw) -> usize {
    raw.ping().unwrap();
    let mut given = 0;
    loop {
        match raw.hear().map(|message| message.body) {
            Some(ToPeer::Worker(ToWorker::Assign(_))) => given += 1,
            Some(ToPeer::Worker(_)) => {}
            Some(_) | None => return given,
        }
    }
}

#[test]
fn tasks_of_a_worker_that_answers_nothing_are_done_by_others_when_it_is_gone() {
    let args = ["--client-tasks", "1000"];
    let stage = Stage::new(
        "a worker that takes all and answers nothing",
        &args,
        RESTING + 8,
    );
    stage.bears(|stage| {
        let mut raw = Raw::worker(&stage.address, 4_096);
        raw.say(FromWorker::Capabilities(Capabilities::anything()))
            .unwrap();
        raw.say(FromWorker::Grant { window: u32::MAX }).unwrap();
        let begun = Instant::now();
        let mut took = 0;
        while took == 0 || begun.elapsed() < LEASE * 2 {
            took += given(&mut raw);
        }
        // The client beside has so many under way at most: it waits for them, and gets all.
        assert!(took <= 1_000, "{took}");
    });
}

#[test]
fn offers_without_end_hold_up_nobody() {
    let stage = Stage::new("2,000 offers of 500 names each", &[], RESTING);
    stage.bears(|stage| {
        let mut raw = Raw::worker(&stage.address, 1);
        for round in 0..2_000 {
            let patterns = (0..500).map(|number| name(&format!("{round}:{number}")));
            let offer = Capabilities::new(patterns).unwrap();
            raw.say(FromWorker::Capabilities(offer)).unwrap();
            if round % 100 == 0 {
                assert!(raw.is_kept());
            }
        }
        assert!(raw.is_kept());
    });
}

#[test]
fn processes_that_never_were_and_endless_grants_change_nothing() {
    let stage = Stage::new("100,000 grants and ends of processes", &[], RESTING);
    stage.bears(|stage| {
        let mut raw = Raw::worker(&stage.address, 1);
        for life in 0..50_000 {
            let slot = SlotId(u32::MAX);
            raw.say(FromWorker::Gone { slot, life }).unwrap();
            let window = if life % 2 == 0 { u32::MAX } else { 0 };
            raw.say(FromWorker::Grant { window }).unwrap();
        }
        assert!(raw.is_kept());
    });
}
