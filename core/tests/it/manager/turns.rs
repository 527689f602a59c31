//! Turns: a worker gets the tasks of one client at a time, as many as take no longer together than the
//! turn time by the recent maximum of their names; and never more than it would get one by one.
//!
//! Tasks are named after how long they take, in microseconds.

use std::ops::Range;
use std::time::Duration;

use super::bench::*;
use argon_core::ids::ConnId;
use argon_core::limits::OLDEST_EVERY;
use argon_core::machine::Machine as _;
use argon_core::manager::{ManagerConfig, ManagerInput};
use argon_core::message::{Assign, AttemptEnd, FromClient, Message, Role, Submit, ToManager};
use argon_core::task::{ErrorKind, Outcome, Priority, RejectReason, TaskError};
use argon_core::time::Nanos;
use bytes::Bytes;
use proptest::prelude::*;

const CLIENTS: [u64; 2] = [1, 2];
/// One that nobody has measured.
const UNKNOWN: u64 = 7;

fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn taking(micros: u64, seq: u64) -> Submit {
    Submit {
        name: name(&format!("{micros}us")),
        ..submit(seq)
    }
}

fn tasks(micros: u64, seqs: Range<u64>) -> impl Iterator<Item = Submit> {
    seqs.map(move |seq| taking(micros, seq))
}

/// A manager with two clients, that has seen tasks of some names.
struct Scene {
    bench: Bench,
    clients: [ConnId; 2],
}

impl Scene {
    fn new(measured: &[u64]) -> Self {
        Self::with(measured, |_| {})
    }

    fn with(measured: &[u64], change: impl FnOnce(&mut ManagerConfig)) -> Self {
        let mut bench = Bench::with(change);
        let clients = CLIENTS.map(|peer| bench.client(peer));
        let worker = bench.worker(3, 1);
        for &micros in measured {
            bench.submit(clients[0], taking(micros, 1_000_000 + micros));
            let assign = bench.assigned(worker).remove(0);
            bench.finish_after(worker, &assign, us(micros), AttemptEnd::Completed);
        }
        bench.close(worker);
        Self { bench, clients }
    }

    /// A worker joins that has so many slots and takes so many tasks.
    fn join(&mut self, peer: u64, capacity: u32, window: u32) -> ConnId {
        let role = Role::Worker { capacity };
        let called = format!("worker-{peer}");
        let (conn, _) = self.bench.hello(peer, 1, role, None, &called);
        self.bench.report(conn, vec![], vec![]);
        self.bench.grant(conn, window);
        conn
    }

    /// A client's tasks come at once.
    fn come(&mut self, client: u64, tasks: impl IntoIterator<Item = Submit>) {
        self.come_with(client, tasks.into_iter().map(|task| (task, 1)));
    }

    /// The same, each with so many bytes.
    fn come_with(&mut self, client: u64, tasks: impl IntoIterator<Item = (Submit, usize)>) {
        let conn = self.clients[client as usize - 1];
        for (submit, bytes) in tasks {
            let message = Message {
                body: ToManager::Client(FromClient::Submit(submit)),
                payload: Bytes::from(vec![0; bytes]).into(),
            };
            let input = ManagerInput::Received { conn, message };
            self.bench.manager.handle_input(self.bench.now, input);
        }
        // Something of no account, so that what comes of it is seen.
        let cancel = FromClient::Cancel { seq: 999_999 };
        self.bench.send(conn, ToManager::Client(cancel));
    }

    /// Whose tasks a worker gets in a row, and how many, if so many are taken at once.
    fn rows(&mut self, window: u32) -> Vec<(u64, usize)> {
        let worker = self.join(20, 1, window);
        rows(&self.bench.assigned(worker))
    }
}

fn rows(assigned: &[Assign]) -> Vec<(u64, usize)> {
    let rows = assigned.chunk_by(|one, next| one.task.client == next.task.client);
    rows.map(|row| (row[0].task.client.0, row.len())).collect()
}

#[test]
fn a_turn_is_as_many_tasks_as_the_turn_time_has_room_for() {
    for (micros, turn) in [
        (0, 64),
        (1, 64),
        (2, 32),
        (20, 3),
        (32, 2),
        (33, 1),
        (10_000, 1),
        (UNKNOWN, 1),
    ] {
        let mut scene = Scene::new(&[0, 1, 2, 20, 32, 33, 10_000]);
        for client in CLIENTS {
            scene.come(client, tasks(micros, 0..200));
        }
        let rows = scene.rows(6 * turn as u32);
        let expected = [1, 2, 1, 2, 1, 2].map(|client| (client, turn));
        assert_eq!(rows, expected, "{micros} us");
    }
}

#[test]
fn without_a_turn_time_tasks_go_one_by_one() {
    let mut scene = Scene::with(&[1], |config| config.turn_time = Duration::ZERO);
    for client in CLIENTS {
        scene.come(client, tasks(1, 0..50));
    }
    let expected: Vec<(u64, usize)> = (0..20).map(|turn| (1 + turn % 2, 1)).collect();
    assert_eq!(scene.rows(20), expected);
}

#[test]
fn a_turn_goes_over_several_names_and_ends_before_one_that_nobody_knows() {
    let mut scene = Scene::new(&[1, 20]);
    // 10 + 2 * 20 + 14 us.
    let mixed = tasks(1, 0..10)
        .chain(tasks(20, 10..12))
        .chain(tasks(1, 12..40));
    scene.come(1, mixed);
    let known_and_unknown = tasks(1, 0..5).chain(tasks(UNKNOWN, 5..6));
    scene.come(2, known_and_unknown.chain(tasks(1, 6..10)));
    // What nobody knows is charged as what is usual, so the others have their turns first.
    assert_eq!(scene.rows(26 + 5)[..], [(1, 26), (2, 5)]);
}

#[test]
fn a_turn_is_of_one_priority() {
    let mut scene = Scene::new(&[1]);
    scene.come(1, tasks(1, 0..10));
    let high = |task| Submit {
        priority: Priority::HIGH,
        ..task
    };
    scene.come(2, tasks(1, 0..10));
    scene.come(2, tasks(1, 10..20).map(high));
    assert_eq!(scene.rows(30), [(2, 10), (1, 10), (2, 10)]);
}

#[test]
fn a_turn_is_of_one_class() {
    let mut scene = Scene::new(&[]);
    let picky = scene.join(20, 1, 0);
    scene.bench.capabilities(picky, &["1us", "2us"]);
    let other = scene.join(21, 1, 0);
    scene.bench.capabilities(other, &["2us"]);
    for micros in [1, 2] {
        scene.bench.grant(picky, 1);
        scene.come(1, [taking(micros, 100 + micros)]);
        let assign = scene.bench.assigned(picky).remove(0);
        let bench = &mut scene.bench;
        bench.finish_after(picky, &assign, us(micros), AttemptEnd::Completed);
        bench.grant(picky, 0);
    }
    scene.come(1, (0..20).map(|seq| taking(1 + seq / 5 % 2, seq)));
    scene.bench.grant(picky, 20);
    let given = scene.bench.assigned(picky);
    let seqs: Vec<u64> = given.iter().map(|assign| assign.task.seq).collect();
    let (one, two) = (0..20).partition::<Vec<u64>, _>(|seq| seq / 5 % 2 == 0);
    assert_eq!(seqs, [one, two].concat());
}

#[test]
fn attempts_of_a_turn_are_numbered_in_order() {
    let mut scene = Scene::new(&[1]);
    for client in CLIENTS {
        scene.come(client, tasks(1, 0..100));
    }
    let worker = scene.join(20, 1, 150);
    let assigned = scene.bench.assigned(worker);
    for pair in assigned.windows(2) {
        assert_eq!(pair[1].attempt.number, pair[0].attempt.number + 1);
        if pair[1].task.client == pair[0].task.client {
            assert_eq!(pair[1].task.seq, pair[0].task.seq + 1);
        }
    }
}

/// What each of some workers has after so many tasks of a microsecond came to them.
fn spread(workers: &[(u32, u32)], count: u64) -> Vec<usize> {
    let mut scene = Scene::new(&[1]);
    let join = |(at, &(capacity, window)): (usize, &(u32, u32))| {
        scene.join(20 + at as u64, capacity, window)
    };
    let conns: Vec<ConnId> = workers.iter().enumerate().map(join).collect();
    scene.come(1, tasks(1, 0..count));
    let given = conns.iter().map(|conn| scene.bench.assigned(*conn).len());
    given.collect()
}

#[test]
fn what_comes_at_once_is_spread_over_those_that_are_idle() {
    assert_eq!(spread(&[(1, 64); 4], 3), [1, 1, 1, 0]);
    assert_eq!(spread(&[(1, 64); 4], 40), [10; 4]);
    assert_eq!(spread(&[(1, 64); 4], 42), [10, 10, 11, 11]);
    assert_eq!(spread(&[(8, 64); 4], 40), [10; 4]);
    // Nobody is given less time than there is, and nobody more than its window.
    assert_eq!(spread(&[(1, 1_000); 2], 128), [64; 2]);
    assert_eq!(spread(&[(1, 3), (1, 64)], 40), [3, 37]);
}

#[test]
fn who_is_busy_is_given_none_while_another_is_idle() {
    let mut scene = Scene::new(&[1]);
    let busy = scene.join(20, 1, 64);
    scene.come(1, tasks(1, 0..1));
    assert_eq!(scene.bench.assigned(busy).len(), 1);
    let idle = [21, 22].map(|peer| scene.join(peer, 1, 5));
    scene.come(1, tasks(1, 1..9));
    assert_eq!(scene.bench.assigned(busy).len(), 0);
    assert_eq!(idle.map(|conn| scene.bench.assigned(conn).len()), [4, 4]);
}

#[test]
fn what_is_found_too_late_neither_counts_nor_ends_a_turn() {
    let mut scene = Scene::new(&[1]);
    let late = (0..200).map(|seq| {
        let (mut deadline, mut max_wait) = (Nanos::NONE, Nanos::NONE);
        match seq % 4 {
            0 if seq < 100 => deadline = Nanos::from(ms(1)),
            1 if seq < 100 => max_wait = Nanos::from(ms(1)),
            _ => {}
        }
        Submit {
            deadline,
            max_wait,
            ..taking(1, seq)
        }
    });
    let worker = scene.join(20, 1, 0);
    scene.come(1, late);
    scene.come(2, tasks(1, 0..200));
    // Nobody is woken for them before somebody has room.
    scene.bench.now = scene.bench.now + ms(2);
    scene.bench.grant(worker, 3 * 64);
    let given = scene.bench.assigned(worker);
    assert_eq!(rows(&given), [(1, 64), (2, 64), (1, 64)]);
    let client = scene.clients[0];
    let mut ended = Vec::new();
    for body in scene.bench.bodies(client) {
        use argon_core::message::{ToClient, ToPeer};
        match body {
            ToPeer::Client(ToClient::Outcome { seq, outcome }) => {
                if matches!(outcome, Outcome::Expired { .. }) {
                    ended.push(seq);
                }
            }
            ToPeer::Client(ToClient::Reject { seq, reason, .. }) => {
                assert_eq!(reason, RejectReason::TooSlow);
                ended.push(seq);
            }
            _ => {}
        }
    }
    let expected: Vec<u64> = (0..100).filter(|seq| seq % 4 < 2).collect();
    assert_eq!(ended, expected);
}

#[test]
fn one_turn_in_sixteen_is_the_oldests() {
    let mut scene = Scene::new(&[1]);
    let with = |priority| move |task| Submit { priority, ..task };
    scene.come(1, tasks(1, 0..200).map(with(Priority::LOW)));
    scene.come(2, tasks(1, 0..3_000).map(with(Priority::HIGH)));
    let before = (OLDEST_EVERY as usize - 1) * 64;
    // The task that was measured had a turn too.
    let expected = [(2, before - 64), (1, 64), (2, before), (1, 64)];
    assert_eq!(scene.rows(2 * (before + 64) as u32 - 64), expected);
}

/// A worker and what it was given.
#[derive(Clone, Debug)]
struct Given {
    conn: ConnId,
    capacity: u32,
    window: u32,
    has_failed: bool,
    bytes: Vec<usize>,
}

impl Given {
    /// Whether it would take one more task.
    fn has_room(&self, worker_window: u64) -> bool {
        let most = if self.has_failed {
            self.window.min(self.capacity)
        } else {
            self.window
        };
        let bytes = self.bytes.iter().map(|bytes| *bytes as u64).sum::<u64>();
        (self.bytes.len() as u32) < most && bytes < worker_window
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// No bound is passed, and nothing waits that might go.
    #[test]
    fn no_worker_is_given_more_than_one_by_one(
        workers in prop::collection::vec((1u32..4, 0u32..100, any::<bool>()), 1..5),
        sizes in prop::collection::vec(0usize..50, 0..300),
        worker_window in 1u64..2_000,
        in_flight in prop_oneof![1usize..200, Just(100_000)],
        micros in prop::sample::select(&[1u64, 20, 40][..]),
    ) {
        let mut scene = Scene::with(&[1, 20, 40], |config| {
            config.inner.worker_window = worker_window;
            config.in_flight_tasks = in_flight;
        });
        let mut all: Vec<Given> = Vec::new();
        for (at, (capacity, window, has_failed)) in workers.into_iter().enumerate() {
            let conn = scene.join(20 + at as u64, capacity, 0);
            if has_failed {
                scene.bench.grant(conn, 1);
                scene.come(1, [taking(1, 10_000 + at as u64)]);
                let assign = scene.bench.assigned(conn).remove(0);
                let error = Box::new(TaskError::new(ErrorKind::Exit(1), "no"));
                scene.bench.finish_with(conn, &assign, AttemptEnd::Failed(error));
                scene.bench.grant(conn, 0);
            }
            all.push(Given { conn, capacity, window, has_failed, bytes: Vec::new() });
        }
        for given in &all {
            let input = ToManager::Worker(argon_core::message::FromWorker::Grant { window: given.window });
            scene.bench.manager.handle_input(
                scene.bench.now,
                ManagerInput::Received { conn: given.conn, message: input.into() },
            );
        }
        let count = sizes.len();
        let submits = (0..).map(|seq| taking(micros, seq)).zip(sizes.iter().copied());
        scene.come_with(1, submits);
        // In the order in which they were given.
        let mut assigned: Vec<(u64, usize, u64)> = Vec::new();
        for (at, given) in all.iter().enumerate() {
            let mine = scene.bench.assigned(given.conn);
            assigned.extend(mine.iter().map(|one| (one.attempt.number, at, one.task.seq)));
        }
        assigned.sort_unstable();
        for &(_, at, seq) in &assigned {
            prop_assert!(all[at].has_room(worker_window), "{:?}", all[at]);
            all[at].bytes.push(sizes[seq as usize] + format!("{micros}us").len());
        }
        prop_assert!(assigned.len() <= in_flight);
        let waits = assigned.len() < count.min(in_flight);
        prop_assert!(!waits || !all.iter().any(|given| given.has_room(worker_window)));
    }
}
