//! What one message may cost: a bounded number of steps, whatever waits.

use super::bench::*;
use argon_core::ids::{Attempt, ConnId, PeerId, PoolProcess, SlotId};
use argon_core::limits::UNCONFIRMED_BYTES_EACH;
use argon_core::manager::ManagerInput;
use argon_core::message::{
    AttemptEnd, Beat, Finished, FromClient, FromWorker, Message, Query, Role, Submit, ToManager,
    ToPeer, ToWorker,
};
use argon_core::steps;
use argon_core::task::RejectReason;
use argon_core::time::Nanos;
use bytes::Bytes;
use std::time::Duration;

/// Most steps that a message may take: twice the longest list that one can carry, or that a worker
/// can be given at once.
const BOUND: u64 = 16_384;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Size {
    queued: u64,
    names: u64,
    workers: u64,
    unacknowledged: u64,
}

const SMALL: Size = Size {
    queued: 10,
    names: 1,
    workers: 1,
    unacknowledged: 10,
};
const SIZES: [Size; 5] = [
    SMALL,
    Size {
        queued: 100_000,
        ..SMALL
    },
    Size {
        queued: 100_000,
        names: 10_000,
        ..SMALL
    },
    Size {
        workers: 1_000,
        queued: 20_000,
        ..SMALL
    },
    Size {
        unacknowledged: 100_000,
        ..SMALL
    },
];

/// A manager with much of everything.
struct Crowd {
    bench: Bench,
    client: ConnId,
    reader: ConnId,
    workers: Vec<ConnId>,
    next_seq: u64,
    /// Attempts that the first worker has.
    attempts: Vec<argon_core::message::Assign>,
}

fn named(seq: u64, name_of: String) -> Submit {
    Submit {
        name: name(&name_of),
        ..submit(seq)
    }
}

impl Crowd {
    fn new(size: Size) -> Self {
        let mut bench = Bench::with(|config| {
            config.queue_tasks = 200_000;
            config.client_tasks = 200_000;
            config.inner.outcome_window = 1;
        });
        let reader = bench.client(2);
        let worker = bench.worker(1_000_000, 64);
        let mut seq = 0;
        while seq < size.unacknowledged {
            bench.quietly(reader, submit(seq));
            for assign in bench.assigned(worker) {
                let Finished { attempt, task, .. } = end(&assign);
                bench.quietly_body(
                    worker,
                    ToManager::Worker(FromWorker::Finished(Finished {
                        attempt,
                        task,
                        ran: Nanos::from(ms(1)),
                        end: AttemptEnd::Completed,
                    })),
                );
            }
            seq += 1;
        }
        let client = bench.client(3);
        for seq in 0..64 {
            bench.quietly(client, submit(seq));
        }
        let attempts = bench.assigned(worker);
        assert_eq!(attempts.len(), 64);
        bench.checked = false;
        let mut workers = vec![worker];
        for peer in 1..size.workers {
            workers.push(bench.worker(1_000_000 + peer, 1));
            bench.quietly(client, submit(63 + peer));
        }
        let first = 63 + size.workers;
        for number in 0..size.queued {
            let called = match size.names {
                1 => "work".to_owned(),
                names => format!("name-{}", number % names),
            };
            bench.quietly(client, named(first + number, called));
        }
        Self {
            bench,
            client,
            reader,
            workers,
            next_seq: first + size.queued,
            attempts,
        }
    }

    /// Steps that a message takes.
    fn cost(&mut self, conn: ConnId, body: ToManager) -> u64 {
        let _ = steps::take();
        self.bench.quietly_body(conn, body);
        steps::take()
    }
}

fn end(assign: &argon_core::message::Assign) -> Finished {
    Finished {
        attempt: assign.attempt,
        task: assign.task,
        ran: Nanos::from(ms(1)),
        end: AttemptEnd::Completed,
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a list: every message, one after the other"
)]
fn every_message_takes_a_bounded_number_of_steps_whatever_waits() {
    for size in SIZES {
        let mut crowd = Crowd::new(size);
        let (client, reader, worker) = (crowd.client, crowd.reader, crowd.workers[0]);
        let observer = crowd.bench.hello(9, 1, Role::Observer, None, "o").0;
        let beat = Beat {
            nonce: 1,
            received: 0,
        };
        let (ended, given_back, started) = (
            end(&crowd.attempts[0]),
            crowd.attempts[1].attempt,
            crowd.attempts[2].attempt,
        );
        let seq = crowd.next_seq;
        let many: Vec<u64> = (0..4_096).collect();
        let slot = SlotId(0);
        let process = PoolProcess {
            worker: PeerId(1_000_000),
            slot,
            life: 2,
        };
        let script: Vec<(ConnId, ToManager)> = vec![
            (client, ToManager::Client(FromClient::Submit(submit(seq)))),
            (
                client,
                ToManager::Client(FromClient::Submit(named(seq + 1, "new-name".into()))),
            ),
            (
                client,
                ToManager::Client(FromClient::Submit(named(seq + 2, "newer-name".into()))),
            ),
            (
                client,
                ToManager::Client(FromClient::Submit(Submit {
                    may_have_run: true,
                    ..submit(seq + 3)
                })),
            ),
            (client, ToManager::Client(FromClient::Submit(submit(seq)))),
            (client, ToManager::Client(FromClient::Cancel { seq })),
            (
                client,
                ToManager::Client(FromClient::Resume { seqs: many.clone() }),
            ),
            (client, ToManager::Ping(beat)),
            (client, ToManager::Query(Query::StatusQuery { page: 0 })),
            (
                client,
                ToManager::Query(Query::StatusQuery { page: u32::MAX }),
            ),
            (client, ToManager::Query(Query::RunningQuery { page: 0 })),
            (
                client,
                ToManager::Query(Query::RunningQuery { page: u32::MAX }),
            ),
            (client, ToManager::Client(FromClient::Within(process))),
            (client, ToManager::Client(FromClient::Within(process))),
            (observer, ToManager::Query(Query::StatusQuery { page: 0 })),
            (observer, ToManager::Query(Query::RunningQuery { page: 3 })),
            (
                reader,
                ToManager::Client(FromClient::AckOutcomes {
                    floor: 1,
                    seqs: vec![],
                }),
            ),
            (
                reader,
                ToManager::Client(FromClient::AckOutcomes {
                    floor: 1,
                    seqs: many,
                }),
            ),
            (worker, ToManager::Ping(beat)),
            (worker, ToManager::Worker(FromWorker::Finished(ended))),
            (
                worker,
                ToManager::Worker(FromWorker::Returned {
                    not_started: vec![given_back],
                    started: vec![started],
                }),
            ),
            (worker, ToManager::Worker(FromWorker::Grant { window: 0 })),
            (worker, ToManager::Worker(FromWorker::Grant { window: 128 })),
            (
                worker,
                ToManager::Worker(FromWorker::Gone { slot, life: 1 }),
            ),
            (worker, ToManager::Worker(FromWorker::Draining)),
        ];
        for (conn, body) in script {
            let shown = format!("{body:?}");
            let steps = crowd.cost(conn, body);
            assert!(
                steps <= BOUND,
                "{steps} steps with {size:?} for {}",
                &shown[..shown.len().min(80)]
            );
        }
        // The client comes back, and so does the worker, with all that it has.
        let _ = steps::take();
        let again = crowd.bench.hello(2, 2, Role::Client, Some(EPOCH), "r").0;
        let steps = steps::take();
        assert!(steps <= BOUND, "{steps} steps with {size:?} for a hello");
        assert!(crowd.bench.closed.contains(&reader) && again != reader);
        let (again, _) = crowd.bench.hello(
            1_000_000,
            2,
            Role::Worker { capacity: 64 },
            Some(EPOCH),
            "w",
        );
        let _ = steps::take();
        let running = crowd.attempts[2..].iter().map(reported).collect();
        crowd.bench.report(again, running, vec![]);
        let steps = steps::take();
        assert!(steps <= BOUND, "{steps} steps with {size:?} for a report");
        let _ = steps::take();
        crowd.bench.close(again);
        let steps = steps::take();
        assert!(
            steps <= BOUND,
            "{steps} steps with {size:?} for a lost worker"
        );
    }
}

/// A large result needs the room of many small ones: that is not made all at once.
#[test]
fn a_result_that_needs_much_room_takes_a_bounded_number_of_steps() {
    const SMALL_RESULTS: u64 = 30_000;
    const LARGE: usize = 100 * 1024 * 1024;
    let mut bench = Bench::with(|config| {
        config.payload_max = LARGE;
        config.client_tasks = 200_000;
        config.inner.outcome_window = 1;
        config.inner.unreleased_bytes = SMALL_RESULTS * UNCONFIRMED_BYTES_EACH;
    });
    bench.checked = false;
    let client = bench.client(2);
    let worker = bench.worker(10, 1);
    for seq in 0..SMALL_RESULTS {
        bench.quietly(client, submit(seq));
        let assign = bench.assigned(worker).remove(0);
        bench.quietly_body(
            worker,
            ToManager::Worker(FromWorker::Finished(end(&assign))),
        );
    }
    bench.quietly(client, submit(SMALL_RESULTS));
    let assign = bench.assigned(worker).remove(0);
    let _ = steps::take();
    bench.send(
        worker,
        Message {
            body: ToManager::Worker(FromWorker::Finished(end(&assign))),
            payload: Bytes::from(vec![0; LARGE]).into(),
        },
    );
    let steps = steps::take();
    assert!(steps <= BOUND, "{steps} steps");
    let made_room: usize = bench
        .bodies(worker)
        .into_iter()
        .map(|body| match body {
            ToPeer::Worker(ToWorker::AckResults { attempts }) => attempts.len(),
            _ => 0,
        })
        .sum();
    assert!(made_room > 1_000, "{made_room} made room");
}

/// What workers run decides where each task waits, so a change goes through the queue: seldom
/// enough that it is a small part of the time, however often workers change their minds.
#[test]
fn workers_that_change_their_minds_cost_a_small_part_of_the_time() {
    let mut crowd = Crowd::new(Size {
        queued: 100_000,
        names: 10_000,
        ..SMALL
    });
    let flipper = crowd.bench.worker(77, 1);
    let _ = steps::take();
    for turn in 0..200 {
        let capabilities = capabilities(&["a", if turn % 2 == 0 { "b" } else { "c" }]);
        crowd.bench.quietly_body(
            flipper,
            ToManager::Worker(FromWorker::Capabilities(capabilities)),
        );
        crowd.bench.now = crowd.bench.now + Duration::from_millis(5);
    }
    let steps = steps::take();
    // The first time, and then less than a million looks a second.
    assert!(steps <= 1_000_000 + 1_000_000, "{steps} steps");
}

/// The same where each offers as many beginnings of names as can be, in as many groups as can be, and
/// the names that wait are more than are remembered.
#[test]
fn long_lists_of_capabilities_cost_no_more() {
    let mut bench = Bench::with(|config| {
        config.queue_tasks = 5_000;
        config.client_tasks = 5_000;
        config.runner_wait = ms(60_000);
    });
    bench.checked = false;
    // They differ in the last.
    let offer = |worker: usize| -> Vec<String> {
        let begin = |number: usize| format!("x{number:0>4}*");
        (0..511).chain([600 + worker]).map(begin).collect()
    };
    let say = |bench: &mut Bench, conn, worker| {
        let offer = offer(worker);
        let offer: Vec<&str> = offer.iter().map(String::as_str).collect();
        let said = FromWorker::Capabilities(capabilities(&offer));
        let _ = steps::take();
        bench.quietly_body(conn, ToManager::Worker(said));
        steps::take()
    };
    let mut conns = Vec::new();
    for worker in 0..64 {
        let conn = bench.worker(10 + worker, 1);
        say(&mut bench, conn, worker as usize);
        bench.advance(ms(20));
        conns.push(conn);
    }
    let client = bench.client(3);
    conns.push(client);
    for seq in 0..5_000 {
        bench.quietly(client, named(seq, format!("name-{seq:0>10}")));
    }
    bench.advance_alive(ms(2_000), &conns);
    const MESSAGES: u64 = 100;
    let mut all = 0;
    for turn in 0..MESSAGES {
        let cost = say(&mut bench, conns[0], 100 + turn as usize % 2);
        all += cost;
        bench.now = bench.now + ms(10);
    }
    // The first time, and then less than a million looks a second; and what each message is held
    // against.
    let once = 5_000 * (4 + 2 * 64);
    assert!(all > once / 2, "{all} steps: it had its turn");
    assert!(all <= once + 1_000_000 + MESSAGES * 4_096, "{all} steps");
}

#[test]
fn what_is_stuck_is_looked_for_in_a_small_part_of_the_time() {
    let mut bench = Bench::new();
    let client = bench.client(3);
    let stuck: Vec<ConnId> = (0..8)
        .map(|peer| {
            let conn = bench.worker(10 + peer, 1);
            bench.capabilities(conn, &["tiny"]);
            bench.grant(conn, 4_096);
            conn
        })
        .collect();
    for seq in 0..8 * 4_096 {
        bench.quietly(client, named(seq, "tiny".into()));
    }
    assert!(
        stuck
            .iter()
            .all(|conn| bench.assigned(*conn).len() == 4_096)
    );
    for peer in 0..30 {
        let conn = bench.worker(100 + peer, 1);
        bench.capabilities(conn, &[&format!("other-{peer}")]);
    }
    bench.now = bench.now + ms(100);
    let _ = steps::take();
    let attempt = Attempt {
        epoch: EPOCH,
        number: u64::MAX,
    };
    for _ in 0..1_000 {
        // Any message settles.
        let started = vec![attempt];
        let not_started = vec![];
        bench.quietly_body(
            stuck[0],
            ToManager::Worker(FromWorker::Returned {
                not_started,
                started,
            }),
        );
        bench.now = bench.now + Duration::from_micros(100);
    }
    let steps = steps::take();
    // A tenth of a second at half a million looks a second, and a few for each message.
    assert!(steps <= 60_000 + 1_000 * 64, "{steps} steps");
    bench.step(ManagerInput::Drain);
}

/// Many tasks that nobody runs are late at once, while workers offer many names: suggesting names
/// is a small part of the work, and whether somebody may still come is asked once.
#[test]
fn tasks_that_are_late_together_cost_a_few_steps_each() {
    const LATE: u64 = 1_000;
    let mut bench = Bench::with(|config| config.runner_wait = ms(60_000));
    let mut conns = Vec::new();
    for worker in 0..8 {
        let conn = bench.worker(worker + 1, 1);
        let names: Vec<String> = (0..512)
            .map(|number| format!("w{worker}-{number:0>60}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        bench.capabilities(conn, &names);
        conns.push(conn);
    }
    let client = bench.client(100);
    conns.push(client);
    // What they run takes effect.
    bench.advance_alive(ms(1_000), &conns);
    for seq in 0..LATE {
        let name = name(&format!("y{seq:0>62}"));
        let max_wait = Nanos::from(ms(20_000));
        bench.quietly(
            client,
            Submit {
                name,
                max_wait,
                ..submit(seq)
            },
        );
    }
    bench.checked = false;
    bench.advance_alive(ms(19_900), &conns);
    assert_eq!(bench.rejects(client), []);
    let _ = steps::take();
    bench.advance_alive(ms(200), &conns);
    let steps = steps::take();
    let rejects = bench.rejects(client).into_iter();
    let reasons: Vec<_> = rejects.map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [RejectReason::NoRunner; LATE as usize]);
    assert!(steps <= 20 * LATE, "{steps} steps for {LATE} late tasks");
}
