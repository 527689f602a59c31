//! Workers that run different things: a task goes only where it can run, order holds where it is
//! shared, and what nobody can run does not wait for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bench::{Bench, name, submit};
use argon_core::ids::ConnId;
use argon_core::limits::{OLDEST_EVERY, RUNNER_WAIT};
use argon_core::message::{FromWorker, Report, Role, Submit, ToClient, ToManager, ToPeer};
use argon_core::task::{Outcome, Priority, RejectReason};

fn called(seq: u64, what: &str) -> Submit {
    Submit {
        name: name(what),
        ..submit(seq)
    }
}

fn with_priority(seq: u64, what: &str, level: u8) -> Submit {
    Submit {
        priority: Priority::new(level).expect("a level"),
        ..called(seq, what)
    }
}

/// A worker of one slot that runs these names.
fn worker_of(bench: &mut Bench, peer: u64, patterns: &[&str]) -> ConnId {
    let conn = bench.worker(peer, 1);
    bench.capabilities(conn, patterns);
    conn
}

/// The numbers of the tasks that a worker was given since the last call; it finishes each.
fn ran(bench: &mut Bench, worker: ConnId) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(assign) = bench.assigned(worker).first().cloned() {
        seqs.push(assign.task.seq);
        bench.complete(worker, &assign);
    }
    seqs
}

fn rejected(bench: &mut Bench, client: ConnId) -> Vec<(u64, RejectReason, Vec<String>)> {
    let said = bench.inbox(client);
    said.into_iter()
        .filter_map(|message| match message.body {
            ToPeer::Client(ToClient::Reject {
                seq,
                reason,
                similar,
                ..
            }) => Some((
                seq,
                reason,
                similar.iter().map(ToString::to_string).collect(),
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn a_task_goes_only_to_a_worker_that_runs_it() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let adds = worker_of(&mut bench, 10, &["add"]);
    let perl = worker_of(&mut bench, 11, &["perl:*"]);
    let both = worker_of(&mut bench, 12, &["add", "perl:*"]);
    for seq in 0..30 {
        let what = ["add", "perl:X", "perl:Y"][seq as usize % 3];
        bench.submit(client, called(seq, what));
    }
    let mut all = BTreeSet::new();
    for (worker, runs) in [(adds, [0].as_slice()), (perl, &[1, 2]), (both, &[0, 1, 2])] {
        for seq in ran(&mut bench, worker) {
            assert!(runs.contains(&(seq % 3)), "{seq}");
            assert!(all.insert(seq));
        }
    }
    assert_eq!(all.len(), 30);
}

#[test]
fn a_class_without_a_free_worker_holds_up_no_other() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let _busy = worker_of(&mut bench, 10, &["a"]);
    let free = worker_of(&mut bench, 11, &["b"]);
    for seq in 0..20 {
        bench.submit(client, with_priority(seq, "a", 0));
    }
    bench.submit(client, with_priority(20, "b", 7));
    assert_eq!(ran(&mut bench, free), [20]);
}

#[test]
fn classes_that_share_a_worker_share_its_order() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let narrow = worker_of(&mut bench, 10, &["a"]);
    let wide = worker_of(&mut bench, 11, &["a", "b"]);
    bench.submit(client, called(0, "a"));
    bench.submit(client, called(1, "b"));
    let (first, second) = (bench.assigned(narrow), bench.assigned(wide));
    assert_eq!((first.len(), second.len()), (1, 1));
    // Only `wide` can run `b`, but it takes the important `a` first, and then what came first.
    bench.submit(client, with_priority(2, "b", 4));
    bench.submit(client, with_priority(3, "a", 4));
    bench.submit(client, with_priority(4, "a", 1));
    bench.complete(wide, &second[0]);
    assert_eq!(ran(&mut bench, wide), [4, 2, 3]);
}

#[test]
fn the_oldest_has_its_turn_although_its_class_is_less_important() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let narrow = worker_of(&mut bench, 10, &["a"]);
    let wide = worker_of(&mut bench, 11, &["a", "b"]);
    bench.submit(client, called(0, "a"));
    bench.submit(client, called(1, "b"));
    let second = bench.assigned(wide);
    assert_eq!(bench.assigned(narrow).len(), 1);
    bench.submit(client, with_priority(2, "b", 7));
    for seq in 3..100 {
        bench.submit(client, with_priority(seq, "a", 0));
    }
    bench.complete(wide, &second[0]);
    let order = ran(&mut bench, wide);
    let place = order.iter().position(|seq| *seq == 2);
    assert!(
        place.is_some_and(|place| place < OLDEST_EVERY as usize),
        "{order:?}"
    );
}

#[test]
fn tasks_that_wait_are_found_by_a_worker_that_comes_later() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let _other = worker_of(&mut bench, 10, &["a"]);
    for seq in 0..5 {
        bench.submit(client, called(seq, "b"));
    }
    bench.advance_alive(RUNNER_WAIT / 2, &[client, _other]);
    let late = worker_of(&mut bench, 11, &["b*"]);
    assert_eq!(ran(&mut bench, late), [0, 1, 2, 3, 4]);
    // And by one that has learnt something.
    bench.submit(client, called(5, "c"));
    assert_eq!(ran(&mut bench, late), []);
    bench.capabilities(late, &["c"]);
    assert_eq!(ran(&mut bench, late), [5]);
}

#[test]
fn what_nobody_runs_is_rejected_with_the_names_that_are_like_it() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let worker = worker_of(&mut bench, 10, &["resize", "restore", "hash", "perl:*"]);
    bench.submit(client, called(0, "resiz"));
    bench.submit(client, called(1, "resize"));
    let short = RUNNER_WAIT - Duration::from_millis(500);
    bench.advance_alive(short, &[client, worker]);
    assert_eq!(rejected(&mut bench, client), []);
    bench.submit(client, called(2, "resiz"));
    bench.submit(client, called(3, "other"));
    bench.advance_alive(Duration::from_secs(1), &[client, worker]);
    let like = vec!["resize".to_owned()];
    let reason = RejectReason::NoRunner;
    let expected = [(0, reason, like.clone()), (2, reason, like)];
    assert_eq!(rejected(&mut bench, client), expected, "one clock a name");
    bench.advance_alive(RUNNER_WAIT, &[client, worker]);
    assert_eq!(rejected(&mut bench, client), [(3, reason, vec![])]);
    assert_eq!(ran(&mut bench, worker), [1]);
}

#[test]
fn without_any_worker_or_before_its_word_nothing_is_decided() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    bench.submit(client, called(0, "a"));
    // No worker at all: another manager may have some, or they come later. That is not final.
    bench.advance_alive(RUNNER_WAIT * 2, &[client]);
    let refused = rejected(&mut bench, client);
    assert_eq!(refused, [(0, RejectReason::NoWorkers, vec![])]);
    // One whose processes are slow to start.
    let role = Role::Worker { capacity: 1 };
    let (worker, _) = bench.hello(10, 1, role, None, "slow");
    let report = Report {
        running: vec![],
        finished: vec![],
        last: true,
    };
    bench.send(worker, ToManager::Worker(FromWorker::Report(report)));
    bench.grant(worker, 1);
    bench.submit(client, called(0, "a"));
    bench.advance_alive(RUNNER_WAIT * 2, &[client, worker]);
    assert_eq!(rejected(&mut bench, client), []);
    bench.capabilities(worker, &["b"]);
    bench.advance_alive(RUNNER_WAIT * 2, &[client, worker]);
    let gone = rejected(&mut bench, client);
    assert_eq!(gone, [(0, RejectReason::NoRunner, vec!["b".to_owned()])]);
}

#[test]
fn what_may_have_run_and_can_run_nowhere_is_lost_not_rejected() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let worker = worker_of(&mut bench, 10, &["a"]);
    bench.submit(client, called(0, "a"));
    let assigned = bench.assigned(worker);
    assert_eq!(assigned.len(), 1);
    bench.close(worker);
    let other = worker_of(&mut bench, 11, &["b"]);
    // Its session, and with it the kind, is kept for the resume window.
    bench.advance_alive(Duration::from_secs(60), &[client, other]);
    let outcomes = bench.outcomes(client);
    assert!(
        matches!(&outcomes[..], [(0, Outcome::Lost { .. })]),
        "{outcomes:?}"
    );
}

#[test]
fn an_idle_worker_takes_back_only_what_it_can_run() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let busy = worker_of(&mut bench, 10, &["a", "b"]);
    bench.grant(busy, 4);
    for (seq, what) in [(0, "a"), (1, "a"), (2, "b"), (3, "a")] {
        bench.submit(client, called(seq, what));
    }
    let assigned = bench.assigned(busy);
    assert_eq!(assigned.len(), 4);
    let idle = worker_of(&mut bench, 11, &["b"]);
    bench.grant(idle, 4);
    bench.advance_alive(Duration::from_secs(1), &[client, busy, idle]);
    let asked = bench.recalled(busy);
    assert_eq!(asked, [assigned[2].attempt]);
}
