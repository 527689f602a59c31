//! Whose turn it is: among classes of tasks, at the bound of what is in flight, within a batch,
//! and among workers that are asked for what they cannot run.

use super::bench::*;
use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::limits::OLDEST_EVERY;
use argon_core::machine::Machine as _;
use argon_core::manager::ManagerInput;
use argon_core::message::{
    Beat, FromClient, FromWorker, Message, Query, ReportedAttempt, Role, Submit, ToManager,
    ToObserver, ToPeer,
};
use argon_core::task::{Outcome, Priority};
use argon_core::time::{Instant, Nanos, WakeReason};

const ONE: Role = Role::Worker { capacity: 1 };

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

#[test]
fn in_flight_what_has_its_room_goes_first_and_nothing_else_goes() {
    for first in [0_u64, 1] {
        let mut bench = Bench::with(|config| config.in_flight_tasks = 2);
        let (worker, other) = (bench.worker(1, 2), bench.worker(2, 1));
        bench.capabilities(other, &["a"]);
        bench.grant(other, 0);
        let client = bench.client(3);
        let names = if first == 0 { ["a", "b"] } else { ["b", "a"] };
        for (seq, what) in (0..).zip(names) {
            bench.submit(client, called(seq, what, Priority::NORMAL));
        }
        for (seq, what) in (2..).zip(["a", "b"]) {
            bench.submit(client, called(seq, what, Priority::HIGH));
        }
        let assigned = bench.assigned(worker);
        assert_eq!(assigned.len(), 2);
        bench.grant(worker, 0);
        let not_started = assigned.iter().map(|one| one.attempt).collect();
        let started = vec![];
        bench.send(
            worker,
            ToManager::Worker(FromWorker::Returned {
                not_started,
                started,
            }),
        );
        bench.grant(worker, 1);
        assert_eq!(
            bench.assigned(worker).first().map(|one| one.task.seq),
            Some(0)
        );
        bench.grant(worker, 4);
        let next: Vec<u64> = bench
            .assigned(worker)
            .iter()
            .map(|one| one.task.seq)
            .collect();
        assert_eq!(next, [1], "the fresh ones have no room");
    }
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

#[test]
fn no_more_is_asked_back_than_can_begin_at_once() {
    // Slots, window, what it has, what is asked for.
    for (capacity, window, has, wanted) in [
        (4, 1, 0, 1),
        (1, 4, 0, 1),
        (3, 3, 1, 2),
        (2, 4, 2, 0),
        (2, 4, 3, 0),
    ] {
        let mut bench = Bench::new();
        let (busy, client) = (bench.worker(1, 1), bench.client(3));
        bench.submit(client, submit(0));
        bench.grant(busy, 7);
        bench.inbox(busy);
        let brought = |number: u64| ReportedAttempt {
            attempt: Attempt {
                epoch: Epoch(1),
                number,
            },
            task: task(77, number),
        };
        for seq in 1..7 {
            bench.submit(client, submit(seq));
        }
        assert_eq!(bench.assigned(busy).len(), 6);
        bench.advance(ms(10));
        let (free, _) = bench.hello(2, 1, Role::Worker { capacity }, None, "free");
        bench.report(free, (0..has).map(brought).collect(), vec![]);
        bench.grant(free, window);
        assert_eq!(
            bench.recalled(busy).len(),
            wanted,
            "{capacity} {window} {has}"
        );
    }
}

#[test]
fn when_everybody_has_more_than_it_can_run_nobody_is_asked() {
    let (mut bench, client, workers) = stuck(2, 3);
    bench.grant(workers[0], 9);
    bench.advance_alive(ms(3_000), &[workers[0], workers[1], client]);
    for worker in workers {
        assert_eq!(bench.recalled(worker), []);
    }
}

fn look(bench: &Bench) -> Option<Instant> {
    let due = bench.manager.poll_timeout()?;
    (due.reason == WakeReason::Recall).then_some(due.at)
}

#[test]
fn of_several_the_first_to_be_stuck_is_looked_at_when_it_is() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    let (one, two) = (bench.worker(1, 1), bench.worker(2, 1));
    bench.submit(client, submit(0));
    bench.submit(client, submit(1));
    let (first, second) = (bench.assigned(one).remove(0), bench.assigned(two).remove(0));
    bench.grant(one, 4);
    bench.grant(two, 4);
    for seq in 2..8 {
        bench.submit(client, submit(seq));
    }
    bench.complete(one, &first);
    let since = bench.now;
    bench.advance(ms(5));
    bench.complete(two, &second);
    bench.worker(4, 2);
    // Tasks of 10 ms: after 40 ms one of them is stuck.
    assert_eq!(look(&bench), Some(since + ms(40)));
    bench.advance(ms(35));
    assert_eq!(bench.recalled(one).len(), 2);
}

/// A stuck worker that has been asked for the newest of its tasks, with a free one beside it.
fn questioned() -> (Bench, ConnId, ConnId, ConnId, Attempt) {
    let (mut bench, client, workers) = stuck(1, 4);
    let free = bench.worker(2, 1);
    let first = bench.recalled(workers[0])[0];
    (bench, client, workers[0], free, first)
}

fn started(bench: &mut Bench, worker: ConnId, attempt: Attempt) {
    let (not_started, started) = (vec![], vec![attempt]);
    bench.send(
        worker,
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        }),
    );
}

#[test]
fn each_question_has_its_own_time_for_the_answer() {
    let (mut bench, client, busy, free, first) = questioned();
    let alive = [busy, free, client];
    bench.advance_alive(ms(1_000), &alive);
    // An answer; so the next is asked for, now.
    started(&mut bench, busy, first);
    let second = bench.recalled(busy);
    assert_eq!(second.len(), 1);
    bench.advance_alive(ms(3_999), &alive);
    assert_eq!(bench.closed, []);
    bench.advance_alive(ms(1), &alive);
    assert_eq!(bench.closed, [busy]);
}

#[test]
fn another_question_is_no_delay_for_the_first() {
    let (mut bench, client, busy, free, _) = questioned();
    bench.advance_alive(ms(3_000), &[busy, free, client]);
    let other = bench.worker(4, 3);
    assert!(!bench.recalled(busy).is_empty(), "two more are free");
    bench.advance_alive(ms(999), &[busy, free, client, other]);
    assert_eq!(bench.closed, []);
    bench.advance_alive(ms(1), &[busy, free, client, other]);
    assert_eq!(bench.closed, [busy]);
}

/// A worker that takes in a large payload hears the question behind it late; its heartbeats say
/// how far it has come.
#[test]
fn the_time_for_an_answer_is_not_over_before_the_question_was_heard() {
    let (mut bench, client, busy, free, _) = questioned();
    // It was sent four tasks, then the question.
    let beat = |bench: &mut Bench, received| {
        bench.step(ManagerInput::Progress { conn: busy });
        bench.send(busy, ToManager::Ping(Beat { nonce: 0, received }));
    };
    for _ in 0..14 {
        bench.advance_alive(ms(500), &[free, client]);
        beat(&mut bench, 4);
    }
    assert_eq!(
        bench.closed,
        [],
        "it has not heard of it after seven seconds"
    );
    bench.advance_alive(ms(500), &[free, client]);
    // What there is to say to a question is said before it is confirmed.
    beat(&mut bench, 5);
    assert_eq!(bench.closed, [], "it is looked at every four seconds");
    bench.advance_alive(ms(500), &[free, client]);
    assert_eq!(bench.closed, [busy]);
}

#[test]
fn a_question_of_an_earlier_connection_is_answered_by_the_report() {
    let (mut bench, client, busy, free, first) = questioned();
    bench.close(busy);
    let (back, _) = bench.hello(10, 2, ONE, Some(EPOCH), "worker-10");
    let had = ReportedAttempt {
        attempt: first,
        task: task(3, 102),
    };
    bench.report(back, vec![had], vec![]);
    let taken = bench.assigned(free);
    assert_eq!(
        taken.len(),
        1,
        "what had not started is for whoever is free"
    );
    // More is said on the new connection than was on the old one.
    bench.grant(back, 20);
    for seq in 200..210 {
        bench.submit(client, submit(seq));
    }
    bench.advance_alive(ms(100), &[back, free, client]);
    // What goes on waiting behind it is asked for, and answered at once.
    bench.complete(free, &taken[0]);
    let mut questions = 0;
    while let Some(&question) = bench.recalled(back).first() {
        started(&mut bench, back, question);
        questions += 1;
    }
    assert_eq!(questions, 12);
    bench.advance_alive(ms(10_000), &[back, free, client]);
    assert_eq!(bench.closed, [], "all is answered");
}

#[test]
fn what_was_asked_for_first_is_how_it_ends() {
    for cancel_first in [true, false] {
        let mut bench = Bench::new();
        let (worker, client) = (bench.worker(1, 1), bench.client(3));
        let deadline = Nanos::from(ms(100));
        bench.submit(
            client,
            Submit {
                deadline,
                ..submit(0)
            },
        );
        bench.advance(if cancel_first { ms(50) } else { ms(150) });
        bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
        bench.advance(ms(100));
        let assign = bench.assigned(worker).remove(0);
        bench.finish_with(worker, &assign, argon_core::message::AttemptEnd::Killed);
        let may_have_run = true;
        let outcome = match cancel_first {
            true => Outcome::Cancelled { may_have_run },
            false => Outcome::Expired { may_have_run },
        };
        assert_eq!(bench.outcomes(client), [(0, outcome)]);
    }
}

#[test]
fn asked_to_end_again_a_task_waits_no_longer_for_its_worker() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    bench.advance_alive(ms(3_000), &[worker, client]);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    bench.advance_alive(ms(1_000), &[worker, client]);
    assert_eq!(bench.outcomes(client).len(), 1);
}

#[test]
fn anybody_let_in_may_ask_what_runs_where() {
    let mut bench = Bench::new();
    let (worker, client) = (bench.worker(1, 1), bench.client(3));
    bench.submit(client, submit(0));
    bench.inbox(worker);
    let (observer, _) = bench.hello(9, 1, Role::Observer, None, "observer");
    for conn in [client, observer] {
        bench.send(conn, ToManager::Query(Query::RunningQuery { page: 0 }));
        let said = bench.inbox(conn);
        let answers = said
            .iter()
            .filter(|message| matches!(message.body, ToPeer::Observer(ToObserver::Running(_))));
        assert_eq!(answers.count(), 1);
        assert_eq!(bench.closed, []);
    }
}
