//! What a worker gives back although nobody asked counts: no task goes round for ever by its word,
//! and an honest worker loses nothing by it.

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::ConnId;
use argon_core::limits::{ATTEMPTS_DEFAULT, FREE_RETURNS_MAX};
use argon_core::message::{Assign, AttemptEnd, FromWorker, Role, Submit, ToManager};
use argon_core::task::{ErrorKind, Outcome, TaskError};
use argon_core::time::Nanos;

/// What a worker says of an attempt that it was given.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    /// It never started here.
    Returned,
    /// The machine has not what it takes.
    Unavailable,
    /// It was killed.
    Killed,
    /// Its deadline has passed.
    Expired,
    /// Nothing: the worker comes again and does not report it.
    Unreported,
    /// The worker says that it leaves, gives it back, and comes again.
    Drained,
    /// The worker leaves with it, and comes again.
    Left,
}

const WORDS: [Word; 7] = [
    Word::Returned,
    Word::Unavailable,
    Word::Killed,
    Word::Expired,
    Word::Unreported,
    Word::Drained,
    Word::Left,
];

/// A worker that says the same of whatever it is given.
struct Shirker {
    conn: ConnId,
    connection: u64,
    word: Word,
}

impl Shirker {
    fn new(bench: &mut Bench, word: Word) -> Self {
        let conn = bench.worker(10, 1);
        Self {
            conn,
            connection: 1,
            word,
        }
    }

    fn return_it(&self, bench: &mut Bench, assign: &Assign) {
        let body = FromWorker::Returned {
            not_started: vec![assign.attempt],
            started: vec![],
        };
        bench.send(self.conn, ToManager::Worker(body));
    }

    fn come_again(&mut self, bench: &mut Bench) {
        self.connection += 1;
        let role = Role::Worker { capacity: 1 };
        let (conn, welcome) = bench.hello(10, self.connection, role, Some(EPOCH), "worker-10");
        assert!(welcome.is_some());
        bench.report(conn, vec![], vec![]);
        bench.grant(conn, 1);
        self.conn = conn;
    }

    fn answer(&mut self, bench: &mut Bench, assign: &Assign) {
        match self.word {
            Word::Returned => self.return_it(bench, assign),
            Word::Unavailable => {
                let error = TaskError::new(ErrorKind::Unavailable, "no more processes");
                bench.finish_with(self.conn, assign, AttemptEnd::Failed(Box::new(error)));
            }
            Word::Killed => bench.finish_with(self.conn, assign, AttemptEnd::Killed),
            Word::Expired => bench.finish_with(self.conn, assign, AttemptEnd::Expired),
            Word::Unreported => {
                bench.close(self.conn);
                self.come_again(bench);
            }
            Word::Drained => {
                bench.send(self.conn, ToManager::Worker(FromWorker::Draining));
                self.return_it(bench, assign);
                bench.send(self.conn, ToManager::Goodbye);
                self.come_again(bench);
            }
            Word::Left => {
                bench.send(self.conn, ToManager::Goodbye);
                self.come_again(bench);
            }
        }
    }
}

fn doubts(bench: &Bench) -> usize {
    let doubted = |event: &&Event| matches!(event, Event::WorkerDoubted { .. });
    bench.events.iter().filter(doubted).count()
}

#[test]
fn a_task_goes_round_a_bounded_number_of_times_with_a_worker_that_is_alone() {
    for word in WORDS {
        for at_most_once in [false, true] {
            let mut bench = Bench::new();
            let client = bench.client(1);
            let mut worker = Shirker::new(&mut bench, word);
            bench.submit(
                client,
                Submit {
                    at_most_once,
                    ..submit(0)
                },
            );
            let mut given = 0;
            let outcomes = loop {
                let outcomes = bench.outcomes(client);
                if !outcomes.is_empty() {
                    break outcomes;
                }
                match bench.assigned(worker.conn).pop() {
                    Some(assign) => {
                        given += 1;
                        worker.answer(&mut bench, &assign);
                    }
                    // It rests, for ten seconds at most.
                    None => {
                        bench.checked = false;
                        bench.advance_alive(ms(10_500), &[client, worker.conn]);
                        bench.checked = true;
                    }
                }
                let most = u32::from(FREE_RETURNS_MAX) + u32::from(ATTEMPTS_DEFAULT);
                assert!(given <= most, "{word:?}: given {given} times");
            };
            let [(0, Outcome::Lost { history })] = &outcomes[..] else {
                panic!("{word:?}: {outcomes:?}");
            };
            assert!(!history.is_empty());
        }
    }
}

#[test]
fn a_worker_that_gives_back_gets_little_while_others_are_busy() {
    // Those that leave for good are new ones when they come again: nobody knows them.
    for word in &WORDS[..5] {
        let mut bench = Bench::new();
        let client = bench.client(1);
        let good = bench.worker(11, 1);
        bench.submit(client, submit(0));
        assert_eq!(bench.assigned(good).len(), 1);
        let mut worker = Shirker::new(&mut bench, *word);
        for seq in 1..200 {
            bench.submit(client, submit(seq));
        }
        let mut given = 0;
        for _ in 0..60 {
            while let Some(assign) = bench.assigned(worker.conn).pop() {
                given += 1;
                assert!(given < 40, "{word:?}: given {given} in a minute");
                worker.answer(&mut bench, &assign);
            }
            bench.advance_alive(ms(1_000), &[client, good, worker.conn]);
        }
        assert!(given >= 3, "{word:?}: it was tried");
        assert_eq!(doubts(&bench), 1, "{word:?}");
        assert_eq!(bench.outcomes(client), [], "{word:?}: nothing is lost");
    }
}

#[test]
fn a_worker_that_lacks_something_for_a_moment_loses_nothing() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let mut worker = Shirker::new(&mut bench, Word::Unavailable);
    bench.submit(client, submit(0));
    // Half a minute without a process to spare.
    for _ in 0..60 {
        while let Some(assign) = bench.assigned(worker.conn).pop() {
            worker.answer(&mut bench, &assign);
        }
        bench.advance_alive(ms(500), &[client, worker.conn]);
    }
    let mut outcomes = bench.outcomes(client);
    assert_eq!(outcomes, []);
    for _ in 0..21 {
        while let Some(assign) = bench.assigned(worker.conn).pop() {
            bench.complete(worker.conn, &assign);
        }
        outcomes.extend(bench.outcomes(client));
        bench.advance_alive(ms(500), &[client, worker.conn]);
    }
    let [(0, Outcome::Completed(completion))] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(completion.charged, 0);
    // And it has all that it can take at once.
    for seq in 1..5 {
        bench.submit(client, submit(seq));
        let assign = bench.assigned(worker.conn).remove(0);
        bench.complete(worker.conn, &assign);
    }
}

/// To drain, to be asked for what was given, and to give back what is too late anyway is no reason
/// for doubt.
#[test]
fn who_gives_back_for_a_reason_is_not_doubted() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let worker = Shirker::new(&mut bench, Word::Returned);
    let _other = bench.worker(11, 1);
    let deadline = Nanos::from(ms(20));
    for seq in 0..20 {
        // The clock of the worker is a little ahead.
        bench.submit(
            client,
            Submit {
                deadline,
                ..submit(seq)
            },
        );
        bench.now = bench.now + ms(19);
        for assign in bench.assigned(worker.conn) {
            worker.return_it(&mut bench, &assign);
        }
        bench.advance(ms(1));
    }
    for seq in 20..40 {
        bench.submit(client, submit(seq));
        bench.send(
            client,
            ToManager::Client(argon_core::message::FromClient::Cancel { seq }),
        );
        for assign in bench.assigned(worker.conn) {
            worker.return_it(&mut bench, &assign);
        }
    }
    bench.send(worker.conn, ToManager::Worker(FromWorker::Draining));
    assert_eq!(doubts(&bench), 0);
}

/// A worker measures a deadline with its own clock, which may be a little ahead.
#[test]
fn a_worker_may_say_that_a_deadline_has_passed_a_little_early() {
    for (deadline, passed, believed) in [
        (60_000, 59_500, true),
        (60_000, 30_000, false),
        (300_000, 297_500, true),
        (300_000, 290_000, false),
    ] {
        let mut bench = Bench::new();
        let client = bench.client(1);
        let worker = Shirker::new(&mut bench, Word::Expired).conn;
        let deadline = Nanos::from(ms(deadline));
        bench.submit(
            client,
            Submit {
                deadline,
                ..submit(0)
            },
        );
        let assign = bench.assigned(worker).remove(0);
        bench.advance_alive(ms(passed), &[client, worker]);
        bench.finish_with(worker, &assign, AttemptEnd::Expired);
        let may_have_run = true;
        let expected = believed.then_some((0, Outcome::Expired { may_have_run }));
        assert_eq!(
            bench.outcomes(client),
            expected.into_iter().collect::<Vec<_>>()
        );
    }
}
