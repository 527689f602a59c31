//! When tasks are asked back from a worker that has more than it can run: from the moment at which
//! it counts as stuck, which its own progress moves on.

use super::bench::*;
use argon_core::ids::{Attempt, ConnId};
use argon_core::machine::Machine as _;
use argon_core::message::{Assign, FromWorker, Role, Submit, ToManager};
use argon_core::time::{Instant, WakeReason};
use std::time::Duration;

/// A worker that has finished nothing for so long may be stuck, if nothing is known of it.
const STALL: Duration = Duration::from_millis(2);
const ONE: Role = Role::Worker { capacity: 1 };

/// When the manager will look for stuck workers.
fn look(bench: &Bench) -> Option<Instant> {
    let due = bench.manager.poll_timeout()?;
    (due.reason == WakeReason::Recall).then_some(due.at)
}

fn submit_all(bench: &mut Bench, client: ConnId, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        bench.submit(client, submit(seq));
    }
}

fn answer(bench: &mut Bench, worker: ConnId, started: bool, attempts: Vec<Attempt>) {
    let (not_started, started) = match started {
        true => (vec![], attempts),
        false => (attempts, vec![]),
    };
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        }),
    );
}

/// A worker of one slot with so many tasks, 10 ms after the first of them came to it.
fn busy_since_10_ms(tasks: u64) -> (Bench, ConnId, ConnId, Vec<Assign>) {
    let mut bench = Bench::new();
    let (busy, client) = (bench.worker(1, 1), bench.client(3));
    bench.grant(busy, 8);
    submit_all(&mut bench, client, 0..tasks);
    let assigned = bench.assigned(busy);
    assert_eq!(assigned.len() as u64, tasks);
    bench.advance(ms(10));
    (bench, busy, client, assigned)
}

#[test]
fn a_worker_that_finishes_is_not_stuck() {
    let (mut bench, busy, _, assigned) = busy_since_10_ms(3);
    // It takes 10 ms for each: four times that, from now.
    bench.complete(busy, &assigned[0]);
    bench.worker(2, 1);
    assert_eq!(bench.recalled(busy), []);
    assert_eq!(look(&bench), Some(bench.now + ms(40)));
}

#[test]
fn a_worker_is_not_stuck_for_what_it_had_not_got_before() {
    let mut bench = Bench::new();
    let (busy, client) = (bench.worker(1, 1), bench.client(3));
    bench.grant(busy, 8);
    // It has been idle for long.
    bench.advance_alive(ms(1_000), &[busy, client]);
    submit_all(&mut bench, client, 0..2);
    let since = bench.now;
    bench.inbox(busy);
    bench.advance(ms(1));
    bench.worker(2, 1);
    assert_eq!(bench.recalled(busy), []);
    assert_eq!(look(&bench), Some(since + STALL));
}

#[test]
fn one_more_task_is_no_progress() {
    let (mut bench, busy, client, _) = busy_since_10_ms(1);
    bench.submit(client, submit(1));
    let second = bench.assigned(busy).remove(0);
    bench.worker(2, 1);
    assert_eq!(bench.recalled(busy), [second.attempt]);
}

#[test]
fn a_worker_that_has_just_come_back_is_not_stuck() {
    let (mut bench, busy, client, assigned) = busy_since_10_ms(1);
    bench.close(busy);
    bench.advance(ms(100));
    let (busy, _) = bench.hello(1, 2, ONE, Some(EPOCH), "worker-1");
    let back = bench.now;
    bench.report(busy, vec![reported(&assigned[0])], vec![]);
    bench.grant(busy, 2);
    submit_all(&mut bench, client, 1..2);
    assert_eq!(bench.assigned(busy).len(), 1);
    bench.worker(2, 1);
    assert_eq!(bench.recalled(busy), []);
    assert_eq!(look(&bench), Some(back + STALL));
}

#[test]
fn what_has_started_is_an_answer_and_is_not_asked_for_again() {
    let (mut bench, busy, client, assigned) = busy_since_10_ms(2);
    let free = bench.worker(2, 1);
    assert_eq!(bench.recalled(busy), [assigned[1].attempt]);
    answer(&mut bench, busy, true, vec![assigned[1].attempt]);
    bench.advance_alive(ms(10_000), &[busy, free, client]);
    assert_eq!(bench.closed, [], "it has answered");
    assert_eq!(bench.recalled(busy), []);
    // Nor is it believed that it has not, after that.
    answer(&mut bench, busy, false, vec![assigned[1].attempt]);
    assert_eq!(bench.manager.status(bench.now, 0).manager.attempts_lost, 1);
}

#[test]
fn what_a_worker_brought_with_it_has_started() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    let again = |seq| Submit {
        may_have_run: true,
        at_most_once: true,
        ..submit(seq)
    };
    submit_all(&mut bench, client, 7..7);
    bench.submit(client, again(0));
    let brought = argon_core::message::ReportedAttempt {
        attempt: Attempt {
            epoch: argon_core::ids::Epoch(1),
            number: 0,
        },
        task: task(3, 0),
    };
    let (busy, _) = bench.hello(1, 1, ONE, None, "worker-1");
    bench.report(busy, vec![brought], vec![]);
    bench.grant(busy, 4);
    submit_all(&mut bench, client, 1..3);
    let assigned = bench.assigned(busy);
    bench.advance(ms(10));
    let free = bench.worker(2, 4);
    let newest_first = vec![assigned[1].attempt, assigned[0].attempt];
    assert_eq!(bench.recalled(busy), newest_first, "and nothing else");
    answer(&mut bench, busy, false, vec![brought.attempt]);
    let outcomes = bench.outcomes(client);
    assert!(
        matches!(outcomes[..], [(0, argon_core::task::Outcome::Lost { .. })]),
        "it may have run: {outcomes:?}"
    );
    bench.inbox(free);
}

#[test]
fn what_comes_back_goes_to_the_free_worker_and_nothing_more_is_asked() {
    let (mut bench, busy, _, assigned) = busy_since_10_ms(4);
    let free = bench.worker(2, 2);
    let newest: Vec<Attempt> = [3, 2].map(|place: usize| assigned[place].attempt).into();
    assert_eq!(bench.recalled(busy), newest);
    bench.advance(ms(100));
    assert_eq!(bench.recalled(busy), [], "the answer is awaited");
    answer(&mut bench, busy, false, newest);
    let seqs: Vec<u64> = bench
        .assigned(free)
        .iter()
        .map(|one| one.task.seq)
        .collect();
    assert_eq!(seqs, [2, 3], "in their order");
    assert_eq!(bench.recalled(busy), [], "there is nobody free");
    assert_eq!(look(&bench), None);
}

#[test]
fn a_look_that_was_cut_short_goes_on_where_it_ended() {
    let mut bench = Bench::new();
    let (busy, client) = (bench.worker(1, 1), bench.client(3));
    bench.grant(busy, 2_000);
    // Behind the first, which never ends: one that others can run, below more that they cannot than
    // one look goes over.
    let named = |seq, text| Submit {
        name: name(text),
        ..submit(seq)
    };
    bench.submit(client, named(0, "long"));
    bench.submit(client, named(1, "shared"));
    for seq in 2..1_300 {
        bench.submit(client, named(seq, "own"));
    }
    let assigned = bench.assigned(busy);
    assert_eq!(assigned.len(), 1_300);
    let idle = bench.worker(2, 1);
    bench.capabilities(idle, &["shared"]);
    bench.advance_alive(ms(20), &[busy, client, idle]);
    assert_eq!(bench.recalled(busy), [assigned[1].attempt]);
}
