//! The manager under peers that do anything at all: no input breaks an invariant, and every task
//! that a well-behaved worker was given is accounted for.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::manager::ManagerInput;
use argon_core::message::{
    Assign, AttemptEnd, Finished, FromClient, FromWorker, Message, Report, ReportedAttempt, Role,
    Submit, ToManager,
};
use argon_core::task::{ErrorKind, ExitCause, Outcome, Priority, TaskError};
use argon_core::time::Nanos;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::bench::{Bench, EPOCH, submit, task};

/// Something that a peer, the network, or time does. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    HelloClient {
        peer: u64,
        connection: u64,
        session: bool,
    },
    HelloWorker {
        peer: u64,
        connection: u64,
        name: u64,
        capacity: u32,
    },
    Report {
        conn: usize,
        running: Vec<(u64, u64, u64)>,
        finished: Vec<(u64, u64, u64)>,
        honest: u8,
    },
    Grant {
        conn: usize,
        window: u32,
    },
    Capabilities {
        conn: usize,
        which: usize,
    },
    Submit {
        conn: usize,
        seq: u64,
        priority: u8,
        flags: u8,
        deadline: u64,
        bytes: usize,
    },
    Cancel {
        conn: usize,
        seq: u64,
    },
    Ack {
        conn: usize,
        floor: u64,
        seqs: Vec<u64>,
    },
    Resume {
        conn: usize,
        seqs: Vec<u64>,
    },
    Finish {
        conn: usize,
        which: usize,
        end: u8,
    },
    FinishAnything {
        conn: usize,
        client: u64,
        seq: u64,
        number: u64,
    },
    Return {
        conn: usize,
        which: usize,
        started: bool,
    },
    Draining {
        conn: usize,
    },
    Goodbye {
        conn: usize,
    },
    Close {
        conn: usize,
    },
    Nonsense {
        conn: usize,
    },
    Drain,
    Wait {
        ms: u64,
    },
    WaitAlive {
        ms: u64,
    },
}

/// What workers say that they can run.
const OFFERS: [&[&str]; 6] = [&["*"], &["a"], &["a", "b"], &["b*"], &["c"], &[]];
/// What tasks are called.
const NAMES: [&str; 4] = ["a", "b", "bc", "work"];

fn steps() -> impl Strategy<Value = Step> {
    let ids = || vec((0..3_u64, 0..8_u64, 0..12_u64), 0..3);
    prop_oneof![
        3 => (0..3_u64, 1..20_u64, any::<bool>())
            .prop_map(|(peer, connection, session)| Step::HelloClient { peer, connection, session }),
        4 => (10..14_u64, 1..20_u64, 10..13_u64, 1..4_u32).prop_map(
            |(peer, connection, name, capacity)| Step::HelloWorker { peer, connection, name, capacity }
        ),
        6 => (any::<usize>(), ids(), ids(), any::<u8>()).prop_map(
            |(conn, running, finished, honest)| Step::Report { conn, running, finished, honest }
        ),
        4 => (any::<usize>(), 0..6_u32).prop_map(|(conn, window)| Step::Grant { conn, window }),
        3 => (any::<usize>(), 0..OFFERS.len()).prop_map(|(conn, which)| Step::Capabilities { conn, which }),
        16 => (any::<usize>(), 0..12_u64, 0..8_u8, any::<u8>(), 0..4_000_u64, 0..9_usize).prop_map(
            |(conn, seq, priority, flags, deadline, bytes)| Step::Submit {
                conn, seq, priority, flags, deadline, bytes
            }
        ),
        2 => (any::<usize>(), 0..12_u64).prop_map(|(conn, seq)| Step::Cancel { conn, seq }),
        4 => (any::<usize>(), 0..6_u64, vec(0..12_u64, 0..4))
            .prop_map(|(conn, floor, seqs)| Step::Ack { conn, floor, seqs }),
        1 => (any::<usize>(), vec(0..12_u64, 0..4))
            .prop_map(|(conn, seqs)| Step::Resume { conn, seqs }),
        12 => (any::<usize>(), any::<usize>(), 0..6_u8)
            .prop_map(|(conn, which, end)| Step::Finish { conn, which, end }),
        1 => (any::<usize>(), 0..3_u64, 0..12_u64, 0..9_u64).prop_map(
            |(conn, client, seq, number)| Step::FinishAnything { conn, client, seq, number }
        ),
        3 => (any::<usize>(), any::<usize>(), any::<bool>())
            .prop_map(|(conn, which, started)| Step::Return { conn, which, started }),
        1 => any::<usize>().prop_map(|conn| Step::Draining { conn }),
        1 => any::<usize>().prop_map(|conn| Step::Goodbye { conn }),
        3 => any::<usize>().prop_map(|conn| Step::Close { conn }),
        1 => any::<usize>().prop_map(|conn| Step::Nonsense { conn }),
        1 => Just(Step::Drain),
        4 => (0..3_000_u64).prop_map(|ms| Step::Wait { ms }),
        4 => (0..9_000_u64).prop_map(|ms| Step::WaitAlive { ms }),
    ]
}

struct Chaos {
    bench: Bench,
    conns: Vec<ConnId>,
    /// What each worker connection was told to run and has not answered for.
    running: BTreeMap<ConnId, Vec<Assign>>,
    /// What each worker connection said last that it can run.
    offers: BTreeMap<ConnId, &'static [&'static str]>,
}

impl Chaos {
    fn conn(&self, index: usize) -> Option<ConnId> {
        (!self.conns.is_empty()).then(|| self.conns[index % self.conns.len()])
    }

    fn collect(&mut self) {
        for conn in self.conns.clone() {
            let assigned = self.bench.assigned(conn);
            for assign in &assigned {
                let capabilities =
                    super::bench::capabilities(self.offers.get(&conn).copied().unwrap_or(&["*"]));
                assert!(
                    capabilities.covers(&assign.name),
                    "{capabilities:?} {:?}",
                    assign.name
                );
            }
            self.running.entry(conn).or_default().extend(assigned);
        }
        for conn in std::mem::take(&mut self.bench.closed) {
            self.conns.retain(|open| *open != conn);
        }
    }

    fn take(&mut self, conn: ConnId, which: usize) -> Option<Assign> {
        let running = self.running.entry(conn).or_default();
        (!running.is_empty()).then(|| running.remove(which % running.len()))
    }

    #[expect(clippy::too_many_lines, reason = "a list: what each step does")]
    fn run(&mut self, step: Step) {
        let reported = |(client, seq, number): (u64, u64, u64)| ReportedAttempt {
            attempt: Attempt {
                epoch: Epoch(6 + number % 2),
                number,
            },
            task: task(client, seq),
        };
        match step {
            Step::HelloClient {
                peer,
                connection,
                session,
            } => {
                let session = session.then_some(EPOCH);
                let called = format!("client-{peer}");
                let (conn, _) = self
                    .bench
                    .hello(peer, connection, Role::Client, session, &called);
                self.conns.push(conn);
            }
            Step::HelloWorker {
                peer,
                connection,
                name,
                capacity,
            } => {
                let role = Role::Worker { capacity };
                let called = format!("worker-{name}");
                let (conn, _) = self
                    .bench
                    .hello(peer, connection, role, Some(EPOCH), &called);
                self.conns.push(conn);
            }
            Step::Report {
                conn,
                running,
                finished,
                honest,
            } => {
                let Some(conn) = self.conn(conn) else { return };
                let mut running: Vec<_> = running.into_iter().map(reported).collect();
                if honest > 40 {
                    running.clear();
                }
                let finished = if honest > 80 { vec![] } else { finished };
                let finished = finished.into_iter().map(reported).collect();
                // Sometimes a worker still has what an earlier connection of its was given.
                if honest % 3 > 0 {
                    for assigned in self.running.values_mut() {
                        for assign in assigned.drain(..) {
                            running.push(super::bench::reported(&assign));
                        }
                    }
                }
                let last = honest % 5 > 0;
                self.bench.send(
                    conn,
                    ToManager::Worker(FromWorker::Report(Report {
                        running,
                        finished,
                        last,
                    })),
                );
            }
            Step::Grant { conn, window } => {
                let Some(conn) = self.conn(conn) else { return };
                self.bench.grant(conn, window);
            }
            Step::Capabilities { conn, which } => {
                let Some(conn) = self.conn(conn) else { return };
                self.offers.insert(conn, OFFERS[which]);
                self.bench.capabilities(conn, OFFERS[which]);
            }
            Step::Submit {
                conn,
                seq,
                priority,
                flags,
                deadline,
                bytes,
            } => {
                let Some(conn) = self.conn(conn) else { return };
                let submit = Submit {
                    name: super::bench::name(NAMES[usize::from(flags) / 16 % NAMES.len()]),
                    priority: Priority::new(priority).unwrap(),
                    at_most_once: flags & 1 > 0,
                    may_have_run: flags & 6 == 6,
                    max_attempts: 1 + flags % 4,
                    deadline: if deadline < 2_000 {
                        Nanos(deadline * 1_000_000)
                    } else {
                        Nanos::NONE
                    },
                    max_wait: if flags & 24 == 24 {
                        Nanos(1_000_000)
                    } else {
                        Nanos::NONE
                    },
                    ..submit(seq)
                };
                let payload = Bytes::from(vec![7; bytes]);
                self.bench.send(
                    conn,
                    Message {
                        body: ToManager::Client(FromClient::Submit(submit)),
                        payload: payload.into(),
                    },
                );
            }
            Step::Cancel { conn, seq } => {
                let Some(conn) = self.conn(conn) else { return };
                self.bench
                    .send(conn, ToManager::Client(FromClient::Cancel { seq }));
            }
            Step::Ack { conn, floor, seqs } => {
                let Some(conn) = self.conn(conn) else { return };
                self.bench.send(
                    conn,
                    ToManager::Client(FromClient::AckOutcomes { floor, seqs }),
                );
            }
            Step::Resume { conn, seqs } => {
                let Some(conn) = self.conn(conn) else { return };
                self.bench
                    .send(conn, ToManager::Client(FromClient::Resume { seqs }));
            }
            Step::Finish { conn, which, end } => {
                let Some(conn) = self.conn(conn) else { return };
                let Some(assign) = self.take(conn, which) else {
                    return;
                };
                let end = match end {
                    0 => AttemptEnd::Failed(Box::new(TaskError::new(ErrorKind::TimeLimit, ""))),
                    1 => AttemptEnd::Crashed(ExitCause::Signal(9), String::new()),
                    2 => AttemptEnd::Killed,
                    3 => AttemptEnd::Expired,
                    _ => AttemptEnd::Completed,
                };
                self.bench.finish_with(conn, &assign, end);
            }
            Step::FinishAnything {
                conn,
                client,
                seq,
                number,
            } => {
                let Some(conn) = self.conn(conn) else { return };
                let finished = Finished {
                    attempt: Attempt {
                        epoch: EPOCH,
                        number,
                    },
                    task: task(client, seq),
                    ran: Nanos(u64::MAX),
                    end: AttemptEnd::Completed,
                };
                self.bench
                    .send(conn, ToManager::Worker(FromWorker::Finished(finished)));
            }
            Step::Return {
                conn,
                which,
                started,
            } => {
                let Some(conn) = self.conn(conn) else { return };
                let Some(assign) = self.take(conn, which) else {
                    return;
                };
                let (mut not, mut yes) = (vec![], vec![]);
                if started { &mut yes } else { &mut not }.push(assign.attempt);
                if started {
                    self.running.entry(conn).or_default().push(assign);
                }
                self.bench.send(
                    conn,
                    ToManager::Worker(FromWorker::Returned {
                        not_started: not,
                        started: yes,
                    }),
                );
            }
            Step::Draining { conn } => {
                let Some(conn) = self.conn(conn) else { return };
                self.bench
                    .send(conn, ToManager::Worker(FromWorker::Draining));
            }
            Step::Goodbye { conn } => {
                let Some(conn) = self.conn(conn) else { return };
                self.bench.send(conn, ToManager::Goodbye);
            }
            Step::Close { conn } => {
                let Some(conn) = self.conn(conn) else { return };
                self.conns.retain(|open| *open != conn);
                self.bench.close(conn);
            }
            Step::Nonsense { conn } => {
                let Some(conn) = self.conn(conn) else { return };
                self.bench.send(conn, ToManager::Misdirected);
            }
            Step::Drain => self.bench.step(ManagerInput::Drain),
            Step::Wait { ms } => self.bench.advance(Duration::from_millis(ms)),
            Step::WaitAlive { ms } => {
                let conns = self.conns.clone();
                self.bench.advance_alive(Duration::from_millis(ms), &conns);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_024) })]

    #[test]
    fn no_input_breaks_an_invariant(script in vec(steps(), 1..160)) {
        let bench = Bench::with(|config| {
            config.queue_tasks = 4;
            config.queue_bytes = 60;
            config.in_flight_tasks = 3;
            config.client_tasks = 8;
            config.client_result_bytes = 20;
        });
        let mut chaos = Chaos { bench, conns: Vec::new(), running: BTreeMap::new(), offers: BTreeMap::new() };
        for step in script {
            chaos.run(step);
            chaos.collect();
        }
        // When everybody has been gone for long enough, nothing is left behind.
        for conn in chaos.conns.clone() {
            chaos.bench.close(conn);
        }
        chaos.bench.advance(Duration::from_secs(70));
        let manager = chaos.bench.manager.status(chaos.bench.now, 0).manager;
        let left = (
            manager.queued,
            manager.returning,
            manager.unclaimed,
            manager.assigned,
            manager.unacknowledged,
            manager.orphans,
            manager.clients,
        );
        prop_assert_eq!(left, (0, 0, 0, 0, 0, 0, 0));
        prop_assert!(chaos.bench.manager.status(chaos.bench.now, 0).workers.is_empty());
    }

    #[test]
    fn every_task_of_a_client_that_stays_ends_exactly_once(
        ends in vec(0..6_u8, 1..60),
        capacity in 1..5_u32,
        window in 1..9_u32,
    ) {
        let mut bench = Bench::new();
        let worker = bench.worker(1, capacity);
        bench.grant(worker, window);
        let client = bench.client(3);
        let mut outcomes: BTreeMap<u64, Vec<Outcome>> = BTreeMap::new();
        for seq in 0..ends.len() as u64 {
            bench.submit(client, submit(seq));
        }
        let mut waiting: Vec<Assign> = bench.assigned(worker);
        let mut runs = 0;
        while let Some(assign) = waiting.pop() {
            runs += 1;
            prop_assert!(runs < 1_000, "it comes to an end");
            let end = match ends[assign.task.seq as usize] {
                0 => AttemptEnd::Failed(Box::new(TaskError::new(ErrorKind::TimeLimit, ""))),
                1 => AttemptEnd::Crashed(ExitCause::Exit(1), String::new()),
                _ => AttemptEnd::Completed,
            };
            bench.finish_with(worker, &assign, end);
            waiting.extend(bench.assigned(worker));
            prop_assert!(waiting.len() <= window as usize, "never more than the window");
            for (seq, outcome) in bench.outcomes(client) {
                outcomes.entry(seq).or_default().push(outcome);
            }
        }
        for (seq, end) in ends.iter().enumerate() {
            let got = &outcomes[&(seq as u64)];
            prop_assert_eq!(got.len(), 1);
            prop_assert_eq!(*end > 1, matches!(got[0], Outcome::Completed(_)));
        }
    }
}
