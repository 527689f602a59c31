//! Whose turn it is: among classes of tasks, at the bound of what is in flight, within a batch,
//! and among workers that are asked for what they cannot run.

use super::bench::*;
use argon_core::ids::ConnId;
use argon_core::limits::OLDEST_EVERY;
use argon_core::machine::Machine as _;
use argon_core::manager::ManagerInput;
use argon_core::message::{FromClient, FromWorker, Message, Submit, ToManager};
use argon_core::task::Priority;
use argon_core::time::Nanos;

fn called(seq: u64, what: &str, priority: Priority) -> Submit {
    Submit {
        name: name(what),
        priority,
        ..submit(seq)
    }
}

/// The numbers of the next so many tasks; each is finished at once.
fn run(bench: &mut Bench, worker: ConnId, count: usize) -> Vec<u64> {
    (0..count)
        .filter_map(|_| {
            let assign = bench.assigned(worker).first().cloned()?;
            bench.complete(worker, &assign);
            Some(assign.task.seq)
        })
        .collect()
}

/// A worker that runs everything, one that runs only `a` and takes nothing, and a client.
fn two_classes() -> (Bench, ConnId, ConnId) {
    let mut bench = Bench::new();
    let (worker, other) = (bench.worker(1, 1), bench.worker(2, 1));
    bench.capabilities(other, &["a"]);
    bench.grant(other, 0);
    let client = bench.client(3);
    (bench, worker, client)
}

#[test]
fn among_classes_one_turn_in_sixteen_is_the_oldests() {
    let (mut bench, worker, client) = two_classes();
    // What goes out while nothing else could counts for nothing.
    for seq in 100..110 {
        bench.submit(client, called(seq, "b", Priority::HIGH));
        assert_eq!(run(&mut bench, worker, 1), [seq]);
    }
    bench.submit(client, called(0, "b", Priority::HIGH));
    // The two oldest that wait, and one of their class that is more important than they are.
    bench.submit(client, called(1, "a", Priority::LOW));
    bench.submit(client, called(2, "a", Priority::LOW));
    bench.submit(client, called(3, "a", Priority::NORMAL));
    for seq in 10..60 {
        bench.submit(client, called(seq, "b", Priority::HIGH));
    }
    let order = run(&mut bench, worker, 53);
    assert_eq!(order[0], 0);
    let every = OLDEST_EVERY as usize;
    let place = |seq: u64| order.iter().position(|one| *one == seq);
    assert_eq!(place(1), Some(every), "{order:?}");
    assert_eq!(place(2), Some(2 * every), "{order:?}");
    assert_eq!(place(3), Some(3 * every), "{order:?}");
    let rest: Vec<u64> = order[1..].iter().copied().filter(|seq| *seq > 3).collect();
    let in_order: Vec<u64> = (10..).take(rest.len()).collect();
    assert_eq!(rest, in_order);
}

/// Hands several submissions to the manager before it settles.
fn batch(bench: &mut Bench, client: ConnId, tasks: Vec<Submit>) {
    for task in tasks {
        let message = Message::from(ToManager::Client(FromClient::Submit(task)));
        let input = ManagerInput::Received {
            conn: client,
            message,
        };
        bench.manager.handle_input(bench.now, input);
    }
    // Something of no account, so that the bench collects what came of it.
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 999 }));
}

#[test]
fn of_what_comes_at_once_the_most_important_goes_first() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    let tasks = [
        (0, Priority::LOW),
        (1, Priority::HIGH),
        (2, Priority::NORMAL),
    ];
    let tasks = tasks.map(|(seq, priority)| called(seq, "b", priority));
    batch(&mut bench, client, tasks.to_vec());
    assert_eq!(run(&mut bench, worker, 3), [1, 2, 0]);
}

#[test]
fn what_comes_at_once_does_not_wait_for_what_free_workers_take() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 2), bench.client(3));
    bench.submit(client, submit(0));
    run(&mut bench, worker, 1);
    // Tasks take 10 ms; nobody may wait.
    let max_wait = Nanos::from(ms(1));
    let tasks = (1..4).map(|seq| Submit {
        max_wait,
        ..submit(seq)
    });
    batch(&mut bench, client, tasks.collect());
    assert_eq!(bench.assigned(worker).len(), 2);
    let rejected: Vec<u64> = bench.rejects(client).iter().map(|(seq, _)| *seq).collect();
    assert_eq!(
        rejected,
        [],
        "two have begun, and nobody is before the third"
    );
}

/// Workers of one slot with so many tasks each, long stuck.
fn stuck(workers: u64, tasks: u32) -> (Bench, ConnId, Vec<ConnId>) {
    let mut bench = Bench::new();
    let client = bench.client(3);
    let workers: Vec<ConnId> = (10..10 + workers)
        .map(|peer| bench.worker(peer, 1))
        .collect();
    for seq in 0..workers.len() as u64 {
        bench.submit(client, submit(seq));
    }
    for &worker in &workers {
        bench.grant(worker, tasks);
    }
    let more = workers.len() as u64 * u64::from(tasks - 1);
    for seq in 100..100 + more {
        bench.submit(client, submit(seq));
    }
    for &worker in &workers {
        assert_eq!(bench.assigned(worker).len() as u32, tasks);
    }
    bench.advance(ms(10));
    (bench, client, workers)
}

#[test]
fn each_that_is_stuck_is_asked_in_its_turn() {
    for workers in 2..5 {
        let (mut bench, _, workers) = stuck(workers, 4);
        let free = bench.worker(2, 1);
        let mut turns = Vec::new();
        for _ in 0..2 * workers.len() + 1 {
            let place = workers.iter().position(|worker| {
                let not_started = bench.recalled(*worker);
                let is_asked = !not_started.is_empty();
                if is_asked {
                    assert_eq!(not_started.len(), 1, "as many as are free");
                    let started = vec![];
                    bench.send(
                        *worker,
                        ToManager::Worker(FromWorker::Returned {
                            not_started,
                            started,
                        }),
                    );
                }
                is_asked
            });
            turns.push(place.expect("one is asked"));
            let given = bench.assigned(free).remove(0);
            bench.complete(free, &given);
        }
        let in_turn: Vec<usize> = (0..workers.len()).cycle().take(turns.len()).collect();
        assert_eq!(turns, in_turn);
    }
}
