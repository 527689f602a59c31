//! `max_wait`: how long a task may wait for its start, wherever it waits.

use super::bench::*;
use argon_core::message::{FromWorker, Submit, ToManager};
use argon_core::task::{Outcome, RejectReason};
use argon_core::time::Nanos;

fn patient(seq: u64, called: &str, max_wait: u64) -> Submit {
    Submit {
        name: name(called),
        max_wait: Nanos::from(ms(max_wait)),
        ..submit(seq)
    }
}

#[test]
fn what_has_waited_its_max_wait_in_the_queue_is_rejected_then() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 2), bench.client(3));
    for seq in 0..4 {
        bench.submit(client, patient(seq, "work", 300));
    }
    let assigned = bench.assigned(worker);
    assert_eq!(assigned.len(), 2);
    let started = assigned.iter().map(|assign| assign.attempt).collect();
    let not_started = vec![];
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        }),
    );
    bench.advance_alive(ms(299), &[worker, client]);
    assert_eq!(bench.rejects(client), []);
    bench.advance_alive(ms(1), &[worker, client]);
    let late = RejectReason::TooSlow;
    assert_eq!(bench.rejects(client), [(2, late), (3, late)]);
    // Those that have started are nobody's business any more.
    bench.advance_alive(ms(1_000), &[worker, client]);
    assert_eq!(bench.inbox(worker), []);
    assigned
        .iter()
        .for_each(|assign| bench.complete(worker, assign));
    assert_eq!(bench.outcomes(client).len(), 2);
}

#[test]
fn a_manager_that_wakes_up_late_sends_out_nothing_that_is_too_late() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    for seq in 1..3 {
        bench.submit(client, patient(seq, "work", 300 * seq));
    }
    let first = bench.assigned(worker);
    // It stood still, and reads what came meanwhile before it looks at the clock.
    bench.now = bench.now + ms(300);
    bench.complete(worker, &first[0]);
    assert_eq!(bench.rejects(client), [(1, RejectReason::TooSlow)]);
    assert_eq!(bench.assigned(worker)[0].task.seq, 2);
}

#[test]
fn what_has_waited_its_max_wait_at_a_worker_is_asked_back_and_rejected() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.grant(worker, 3);
    bench.submit(client, submit(0));
    for seq in 1..3 {
        bench.submit(client, patient(seq, "work", 300));
    }
    let assigned = bench.assigned(worker);
    assert_eq!(assigned.len(), 3);
    bench.advance_alive(ms(300), &[worker, client]);
    let asked = bench.recalled(worker);
    assert_eq!(asked, [assigned[1].attempt, assigned[2].attempt]);
    let (not_started, started) = (vec![asked[0]], vec![asked[1]]);
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        }),
    );
    assert_eq!(bench.rejects(client), [(1, RejectReason::TooSlow)]);
    bench.complete(worker, &assigned[2]);
    assert!(matches!(
        bench.outcomes(client)[..],
        [(2, Outcome::Completed(_))]
    ));
}

#[test]
fn of_a_name_that_nobody_has_measured_few_are_taken_in_that_must_not_wait_long() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 2), bench.client(3));
    for seq in 0..10 {
        bench.submit(client, patient(seq, "new", 100));
    }
    for seq in 100..110 {
        bench.submit(client, patient(seq, "new", 3_600_000));
    }
    assert_eq!(bench.assigned(worker).len(), 2);
    let late = RejectReason::TooSlow;
    assert_eq!(
        bench.rejects(client),
        (5..10).map(|seq| (seq, late)).collect::<Vec<_>>()
    );
}

#[test]
fn of_a_name_that_nobody_runs_it_is_told_so() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.capabilities(worker, &["other"]);
    bench.submit(client, patient(0, "work", 300));
    bench.advance_alive(ms(300), &[worker, client]);
    assert_eq!(bench.rejects(client), [(0, RejectReason::NoRunner)]);
}

/// A free slot says little: its process may be about to start, as the worker alone knows.
#[test]
fn what_a_slot_is_free_for_is_asked_back_too() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 2), bench.client(3));
    bench.submit(client, patient(0, "work", 300));
    let assigned = bench.assigned(worker);
    bench.advance_alive(ms(300), &[worker, client]);
    assert_eq!(bench.recalled(worker), [assigned[0].attempt]);
    let (not_started, started) = (vec![], vec![assigned[0].attempt]);
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        }),
    );
    bench.advance_alive(ms(1_000), &[worker, client]);
    assert_eq!(bench.recalled(worker), []);
    assert_eq!(bench.rejects(client), []);
}
