//! Workers that run different things: a task goes only where it can run, order holds where it is
//! shared, and what nobody can run does not wait for ever.

use std::collections::BTreeSet;

use super::bench::{Bench, name, submit};
use argon_core::ids::ConnId;
use argon_core::limits::OLDEST_EVERY;
use argon_core::message::Submit;
use argon_core::task::Priority;

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
