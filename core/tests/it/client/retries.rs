//! How long a client waits before it tries a task again, and which it tries when nothing is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bench::*;
use argon_core::machine::Machine as _;
use argon_core::message::{FromManager, ToClient, ToManager};
use argon_core::retry::BASE;
use argon_core::task::RejectReason;
use argon_core::time::Nanos;

fn refuse(bench: &mut Bench, seq: u64, reason: RejectReason, may_have_run: bool) -> Vec<ToManager> {
    bench.receive(FromManager::Role(ToClient::Reject {
        seq,
        reason,
        retry_after: Nanos::ZERO,
        may_have_run,
        similar: Vec::new(),
    }))
}

fn seqs(sent: &[ToManager]) -> Vec<u64> {
    submitted(sent).iter().map(|(seq, _)| *seq).collect()
}

/// What may have run cannot end as refused, so it is tried for ever: after a span of chance below a
/// ceiling that doubles with each refusal.
#[test]
fn the_first_wait_is_short_and_each_may_be_twice_as_long() {
    const TASKS: u64 = 60;
    let mut bench = Bench::up();
    for _ in 0..TASKS {
        bench.submit(task());
    }
    let mut out = seqs(&bench.settle());
    assert_eq!(out.len() as u64, TASKS);
    for tries in 0..3 {
        let mut sent = Vec::new();
        // None is refused right after the one before it, and waits with that.
        for seq in out.into_iter().rev() {
            // A matter of this task, so that the others go on.
            sent.extend(refuse(&mut bench, seq, RejectReason::TooSlow, true));
        }
        let ceiling = BASE * (1 << tries);
        sent.extend(bench.pass(ceiling / 2));
        let soon = seqs(&sent).len() as u64;
        assert!(
            (TASKS / 4..TASKS * 3 / 4).contains(&soon),
            "{soon} of {TASKS}"
        );
        sent.extend(bench.pass(ceiling / 2));
        out = seqs(&sent);
        assert_eq!(out.len() as u64, TASKS, "after {tries} tries");
        bench.pong();
    }
}

/// Where nothing is taken, one task at a time tries the ground: each in its turn, so that no task
/// pays for all with its retries.
#[test]
fn the_tasks_that_try_the_ground_take_turns() {
    let mut bench = Bench::up();
    for _ in 0..4 {
        bench.submit(task());
    }
    for seq in seqs(&bench.settle()) {
        refuse(&mut bench, seq, RejectReason::QueueFull, false);
    }
    let mut tried: BTreeMap<u64, u32> = BTreeMap::new();
    for _ in 0..12 {
        let mut sent = Vec::new();
        for _ in 0..1_000 {
            sent.extend(bench.pass(Duration::from_millis(10)));
            bench.pong();
            if !seqs(&sent).is_empty() {
                break;
            }
        }
        let sent = seqs(&sent);
        assert_eq!(sent.len(), 1, "one at a time");
        *tried.entry(sent[0]).or_default() += 1;
        refuse(&mut bench, sent[0], RejectReason::QueueFull, false);
    }
    assert_eq!(tried.len(), 4, "{tried:?}");
    assert!(
        tried.values().all(|times| (2..=4).contains(times)),
        "{tried:?}"
    );
}

/// What is refused in a row waits for the same time, whichever that is, and goes out as it did before.
#[test]
fn tasks_that_are_refused_in_a_row_are_tried_again_together() {
    let mut bench = Bench::up();
    for _ in 0..40 {
        bench.submit(task());
    }
    bench.settle();
    let mut sent = Vec::new();
    for seq in (0..20).chain(30..40) {
        sent.extend(refuse(&mut bench, seq, RejectReason::TooSlow, false));
    }
    // One that is cancelled leaves the others where they are.
    assert_eq!(bench.cancel(7), []);
    assert_eq!(sent, [], "none at once");
    let mut tries = Vec::new();
    while bench.client.in_flight() < 39 {
        let next = bench.client.poll_timeout().expect("a try");
        let sent = seqs(&bench.pass(next.at.since(bench.now)));
        if !sent.is_empty() {
            tries.push(sent);
        }
    }
    tries.sort();
    let first: Vec<u64> = (0..20).filter(|seq| *seq != 7).collect();
    assert_eq!(tries, [first, (30..40).collect()]);
}
