//! A worker on which tasks fail that do well elsewhere is tried with one at a time.

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::ConnId;
use argon_core::message::{Assign, AttemptEnd, FromWorker, Submit, ToManager};
use argon_core::task::{ErrorKind, ExitCause, Outcome, TaskError};
use std::time::Duration;

fn failed() -> AttemptEnd {
    AttemptEnd::Failed(Box::new(TaskError::new(ErrorKind::Exit(1), "no")))
}

fn crashed() -> AttemptEnd {
    AttemptEnd::Crashed(ExitCause::Exit(1), String::new())
}

/// A client's tasks on some workers, each of which ends what it has by its own rule; tasks take
/// `span` where they complete, and no time where they fail.
struct Shop {
    bench: Bench,
    client: ConnId,
    workers: Vec<(ConnId, Vec<Assign>)>,
}

impl Shop {
    fn new(workers: u64, capacity: u32, tasks: u64) -> Self {
        let mut bench = Bench::new();
        let client = bench.client(1);
        let workers = (0..workers)
            .map(|peer| (bench.worker(10 + peer, capacity), Vec::new()))
            .collect();
        for seq in 0..tasks {
            bench.submit(
                client,
                Submit {
                    max_attempts: 1,
                    ..submit(seq)
                },
            );
        }
        Self {
            bench,
            client,
            workers,
        }
    }

    /// The worker ends all that it has, and what it is given meanwhile, so.
    fn end_all(&mut self, worker: usize, end: &AttemptEnd) -> usize {
        let mut ended = 0;
        loop {
            self.collect();
            let conn = self.workers[worker].0;
            let attempts = std::mem::take(&mut self.workers[worker].1);
            if attempts.is_empty() {
                return ended;
            }
            for assign in attempts {
                self.bench.finish_with(conn, &assign, end.clone());
                ended += 1;
            }
        }
    }

    /// The worker completes what it has, once.
    fn complete(&mut self, worker: usize) -> usize {
        self.collect();
        let conn = self.workers[worker].0;
        let attempts = std::mem::take(&mut self.workers[worker].1);
        for assign in &attempts {
            self.bench.complete(conn, assign);
        }
        attempts.len()
    }

    fn collect(&mut self) {
        for (conn, attempts) in &mut self.workers {
            attempts.extend(self.bench.assigned(*conn));
        }
    }

    fn pass(&mut self, span: Duration) {
        let mut conns: Vec<ConnId> = self.workers.iter().map(|(conn, _)| *conn).collect();
        conns.push(self.client);
        self.bench.advance_alive(span, &conns);
    }

    fn doubts(&self) -> usize {
        let doubted = |event: &&Event| matches!(event, Event::WorkerDoubted { .. });
        self.bench.events.iter().filter(doubted).count()
    }
}

#[test]
fn a_worker_that_fails_at_once_ruins_few_tasks_beside_a_good_one() {
    for end in [failed(), crashed()] {
        let mut shop = Shop::new(2, 2, 400);
        let mut ruined = 0;
        let mut done = 0;
        while done + ruined < 400 {
            ruined += shop.end_all(0, &end);
            shop.pass(ms(25));
            done += shop.complete(1);
        }
        assert!(ruined < 14, "{ruined} of 400 tasks");
        assert_eq!(shop.doubts(), 1, "said once");
        let outcomes = shop.bench.outcomes(shop.client);
        let good = outcomes.iter().filter(|(_, outcome)| completed(outcome));
        assert_eq!(good.count(), 400 - ruined);
    }
}

#[test]
fn tasks_that_fail_everywhere_are_nobodys_fault() {
    let mut shop = Shop::new(3, 2, 1_000);
    let mut ended = 0;
    // One after the other, so that each has the failures of the others before it.
    while ended < 1_000 {
        for worker in 0..3 {
            shop.collect();
            let conn = shop.workers[worker].0;
            for assign in std::mem::take(&mut shop.workers[worker].1) {
                shop.bench.finish_with(conn, &assign, failed());
                ended += 1;
            }
        }
    }
    assert_eq!(shop.doubts(), 0);
    let lost = |outcome: &Outcome| !matches!(outcome, Outcome::Failed(_));
    assert!(
        !shop
            .bench
            .outcomes(shop.client)
            .iter()
            .any(|(_, outcome)| lost(outcome))
    );
}

#[test]
fn who_is_alone_is_never_doubted() {
    let mut shop = Shop::new(1, 2, 100);
    assert_eq!(shop.end_all(0, &failed()), 100);
    assert_eq!(shop.doubts(), 0);
}

#[test]
fn who_is_left_alone_is_pardoned() {
    for leave in [ToManager::Worker(FromWorker::Draining), ToManager::Goodbye] {
        let mut shop = Shop::new(2, 2, 100);
        shop.complete(1);
        let ruined = shop.end_all(0, &failed());
        assert_eq!(shop.doubts(), 1);
        assert!(ruined < 50);
        let other = shop.workers[1].0;
        shop.bench.send(other, leave);
        assert!(shop.end_all(0, &failed()) > 50);
    }
}
