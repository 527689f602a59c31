//! Runs are an encoding: a manager that is told in runs what another is told one by one decides the
//! same, task by task, and says the same when it is taken apart.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod acts;
mod joined;
mod met;

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use argon_core::Machine;
use argon_core::access::Access;
use argon_core::ids::{Attempt, ConnId, Epoch, PeerId, TaskId};
use argon_core::limits::{HELD_BYTES_DEFAULT, HELD_RESULTS_DEFAULT};
use argon_core::manager::{Load, Manager, ManagerConfig, ManagerInput, ManagerOutput};
use argon_core::message::*;
use argon_core::payload::Payload;
use argon_core::task::{ErrorKind, ExitCause, Outcome, Priority, TaskError};
use argon_core::testing::by_manager;
use argon_core::time::{Instant, Nanos};
use bytes::Bytes;
use proptest::prelude::*;

use super::bench::{EPOCH, name, submit};
use acts::{Act, BUSY, MIXED, acts};
use joined::in_runs;

const CLIENTS: u64 = 3;
const WORKERS: u64 = 3;

/// A manager, told in runs or one by one.
struct Told {
    manager: Manager,
    in_runs: bool,
    /// How many runs were heard and said.
    runs: usize,
}

impl Told {
    fn new(in_runs: bool, now: Instant, config: ManagerConfig) -> Self {
        Self {
            manager: Manager::new(config, now),
            in_runs,
            runs: 0,
        }
    }

    /// Hears one batch, and says what comes of it, taken apart.
    fn hear(&mut self, now: Instant, batch: &[ManagerInput]) -> Vec<(ConnId, Message<Said>)> {
        let batch = if self.in_runs {
            in_runs(batch)
        } else {
            batch.to_vec()
        };
        for input in batch {
            if let ManagerInput::Received { message, .. } = &input {
                self.runs += usize::from(matches!(
                    message.body,
                    ToManager::Client(FromClient::SubmitRun(_))
                        | ToManager::Worker(FromWorker::FinishedRun(_))
                ));
            }
            self.manager.handle_input(now, input);
        }
        self.settle(now)
    }

    fn settle(&mut self, now: Instant) -> Vec<(ConnId, Message<Said>)> {
        self.manager.settle(now);
        self.manager.check_invariants();
        let mut said = Vec::new();
        while let Some(output) = self.manager.poll_output() {
            if let ManagerOutput::Send { conn, message } = output {
                let message = by_manager(message);
                let singles = message.singles();
                self.runs += usize::from(singles.len() > 1);
                said.extend(singles.into_iter().map(|single| (conn, single)));
            }
        }
        said
    }
}

/// Clients and workers, and the two managers that hear the same of them.
struct Twins {
    now: Instant,
    one_by_one: Told,
    in_runs: Told,
    next_conn: u64,
    /// Of each peer: clients first.
    conns: Vec<ConnId>,
    connections: Vec<u64>,
    next_seq: Vec<u64>,
    /// What each worker has.
    running: BTreeMap<ConnId, Vec<(Attempt, TaskId)>>,
    ended: BTreeMap<ConnId, Vec<u64>>,
    decisions: usize,
}

/// Bounds that are met with a few tasks.
fn narrow(turn_time: Duration) -> ManagerConfig {
    let mut config = ManagerConfig::new(EPOCH);
    config.queue_tasks = 24;
    config.in_flight_tasks = 20;
    config.client_tasks = 30;
    config.runner_wait = Duration::from_millis(150);
    config.turn_time = turn_time;
    config
}

/// Bounds that leave room for rows; one of those on outcomes may be met.
fn wide() -> impl Strategy<Value = ManagerConfig> {
    let micros = prop_oneof![Just(64), Just(400), Just(1_000), Just(1_000_000)];
    // Each outcome counts some ten bytes, and each result for its worker as many.
    let unreleased = 30 * HELD_BYTES_DEFAULT / HELD_RESULTS_DEFAULT as u64;
    (micros, 0..6_u8).prop_map(move |(micros, met)| {
        let mut config = narrow(Duration::from_micros(micros));
        config.queue_tasks = 300;
        config.in_flight_tasks = 150;
        config.client_tasks = 400;
        match met {
            0 => config.inner.outcome_window = 300,
            1 => config.client_result_bytes = 400,
            2 => config.unread_bytes = 600,
            3 => config.inner.unreleased_bytes = unreleased,
            _ => {}
        }
        config
    })
}

impl Twins {
    fn new(config: ManagerConfig) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut twins = Self {
            now,
            one_by_one: Told::new(false, now, config.clone()),
            in_runs: Told::new(true, now, config),
            next_conn: 0,
            conns: vec![ConnId(0); (CLIENTS + WORKERS) as usize],
            connections: vec![0; (CLIENTS + WORKERS) as usize],
            next_seq: vec![0; CLIENTS as usize],
            running: BTreeMap::new(),
            ended: BTreeMap::new(),
            decisions: 0,
        };
        for peer in 0..CLIENTS + WORKERS {
            twins.connect(peer, None);
        }
        twins
    }

    fn connect(&mut self, peer: u64, stray: Option<(u64, u64)>) {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let index = peer as usize;
        let before = mem::replace(&mut self.conns[index], conn);
        self.connections[index] += 1;
        let is_client = peer < CLIENTS;
        let had = self.running.remove(&before).unwrap_or_default();
        let hello = |version| Hello {
            magic: MAGIC,
            version,
            role: if is_client {
                Role::Client
            } else {
                Role::Worker { capacity: 4 }
            },
            peer: PeerId(peer),
            connection: self.connections[index],
            session: (self.connections[index] > 1).then_some(EPOCH),
            name: name(&format!("peer-{peer}")),
        };
        let accepted = ManagerInput::Accepted {
            conn,
            from: None,
            access: Access::everything(),
        };
        let said = [
            (&mut self.one_by_one, Version::FIRST),
            (&mut self.in_runs, VERSION),
        ]
        .map(|(told, version)| {
            let hello = ManagerInput::Received {
                conn,
                message: ToManager::Hello(hello(version)).into(),
            };
            let mut said = told.hear(self.now, &[accepted.clone(), hello]);
            said.retain(|(_, message)| {
                !matches!(message.body, Said::FromManager(ToPeer::Control(_)))
            });
            said
        });
        self.take(said);
        if !is_client {
            let running = had
                .iter()
                .map(|&(attempt, task)| ReportedAttempt { attempt, task });
            let stray = stray.map(|(client, ahead)| ReportedAttempt {
                attempt: Attempt {
                    epoch: Epoch(EPOCH.0 - 1),
                    number: self.next_conn,
                },
                task: TaskId {
                    client: PeerId(client),
                    seq: (self.next_seq[client as usize] + ahead).saturating_sub(10),
                },
            });
            let running: Vec<_> = running.chain(stray).collect();
            self.running.insert(conn, had);
            let report = Report {
                running,
                finished: Vec::new(),
                last: true,
            };
            let capabilities = argon_core::capabilities::Capabilities::anything();
            self.say(
                conn,
                [
                    FromWorker::Report(report),
                    FromWorker::Grant { window: 12 },
                    FromWorker::Capabilities(capabilities),
                ]
                .map(|said| Message::from(ToManager::from(said))),
            );
        }
    }

    fn say(&mut self, conn: ConnId, messages: impl IntoIterator<Item = Message<ToManager>>) {
        let facts = messages
            .into_iter()
            .map(|message| ManagerInput::Received { conn, message });
        self.hear(&facts.collect::<Vec<_>>());
    }

    fn hear(&mut self, batch: &[ManagerInput]) {
        let twins = [&mut self.one_by_one, &mut self.in_runs];
        let said = twins.map(|told| told.hear(self.now, batch));
        self.take(said);
    }

    /// Compares what both said, and lets peers act on it.
    fn take(&mut self, [one, other]: [Vec<(ConnId, Message<Said>)>; 2]) {
        assert_eq!(one, other, "the same decisions in the same order");
        let [load, same] = [&self.one_by_one, &self.in_runs].map(|told| Load {
            in_runs: 0,
            in_rows: 0,
            ..told.manager.load()
        });
        assert_eq!(load, same, "as many tasks everywhere");
        self.decisions += one.len();
        for (conn, message) in one {
            match message.body {
                Said::FromManager(ToPeer::Worker(ToWorker::Assign(assign))) => {
                    let running = self.running.entry(conn).or_default();
                    running.push((assign.attempt, assign.task));
                }
                Said::FromManager(ToPeer::Worker(ToWorker::Kill { attempt })) => {
                    let running = self.running.entry(conn).or_default();
                    running.retain(|(other, _)| *other != attempt);
                    let (not_started, started) = (vec![attempt], vec![]);
                    let said = FromWorker::Returned {
                        not_started,
                        started,
                    };
                    self.say(conn, [Message::from(ToManager::from(said))]);
                }
                Said::FromManager(ToPeer::Client(ToClient::Outcome { seq, outcome })) => {
                    assert!(!matches!(outcome, Outcome::Rejected { .. }));
                    self.ended.entry(conn).or_default().push(seq);
                }
                _ => {}
            }
        }
    }

    fn submit(&mut self, client: u64, count: u64, again: u64, flags: u8, bytes: usize) {
        let next = &mut self.next_seq[client as usize];
        let first = next.saturating_sub(again);
        *next = (first + count).max(*next);
        let messages = (first..first + count).map(|seq| {
            let submit = Submit {
                name: name(["a", "b"][usize::from(flags & 1)]),
                priority: if flags & 2 > 0 {
                    Priority::HIGH
                } else {
                    Priority::NORMAL
                },
                at_most_once: flags & 12 == 12,
                deadline: if flags & 48 == 48 {
                    Nanos(200_000_000)
                } else {
                    Nanos::NONE
                },
                max_wait: if flags & 192 == 192 {
                    Nanos(100_000_000)
                } else {
                    Nanos::NONE
                },
                // Not all are neighbours, and not all are allowed.
                max_attempts: match flags {
                    64..=66 => 0,
                    200.. if seq % 3 == 0 => 1,
                    _ => 2,
                },
                time_limit: Nanos(u64::from(flags / 100) * (1 + seq / 7)),
                ..submit(seq)
            };
            let payload = vec![seq as u8; bytes * (seq % 3) as usize];
            Message {
                body: FromClient::Submit(submit).into(),
                payload: Payload::from(Bytes::from(payload)),
            }
        });
        self.say(self.conns[client as usize], messages.collect::<Vec<_>>());
    }

    fn finish(&mut self, worker: u64, count: usize, badly: usize, end: u8) {
        let conn = self.conns[(CLIENTS + worker) as usize];
        let running = self.running.entry(conn).or_default();
        let mut ended: Vec<_> = running.drain(..count.min(running.len())).collect();
        if end == 5 {
            ended.truncate(4);
            // One that it never had, and one twice.
            let lie = |(attempt, task): (Attempt, TaskId)| (attempt.plus(9_000), task.plus(9_000));
            let lies = ended.first().copied().and_then(|first| {
                let (attempt, task) = lie(first);
                Some((attempt?, task?))
            });
            let at = badly.min(ended.len());
            ended.splice(at..at, lies);
        } else if end == 6 {
            ended.extend(ended.first().copied());
        }
        let messages = ended.iter().enumerate().map(|(index, &(attempt, task))| {
            let bad = match end {
                0 => AttemptEnd::Failed(TaskError::new(ErrorKind::TimeLimit, "").into()),
                1 => AttemptEnd::Crashed(ExitCause::Signal(9), String::new()),
                2 => AttemptEnd::Killed,
                _ => AttemptEnd::Completed,
            };
            let finished = Finished {
                attempt,
                task,
                ran: Nanos(1_000 * (1 + task.seq % 50)),
                end: if index == badly {
                    bad
                } else {
                    AttemptEnd::Completed
                },
            };
            Message {
                body: FromWorker::Finished(finished).into(),
                payload: Payload::from(vec![7; index % 3]),
            }
        });
        self.say(conn, messages.collect::<Vec<_>>());
    }

    fn give_back(&mut self, worker: u64, count: usize, started: bool) {
        let conn = self.conns[(CLIENTS + worker) as usize];
        let running = self.running.entry(conn).or_default();
        let count = count.min(running.len());
        let newest = running[running.len() - count..].iter();
        let newest: Vec<Attempt> = newest.map(|(attempt, _)| *attempt).collect();
        let (not_started, started) = if started {
            (Vec::new(), newest)
        } else {
            running.truncate(running.len() - count);
            (newest, Vec::new())
        };
        let said = FromWorker::Returned {
            not_started,
            started,
        };
        self.say(conn, [Message::from(ToManager::from(said))]);
    }

    /// What an operator sees is the same but for what peers speak.
    fn compare_status(&self) {
        let [one, other] = [&self.one_by_one, &self.in_runs].map(|told| {
            let mut status = told.manager.status(self.now, 0);
            status.workers.iter_mut().for_each(|row| row.version = None);
            status.clients.iter_mut().for_each(|row| row.version = None);
            (status, told.manager.running(self.now, 0))
        });
        assert_eq!(one, other);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Submit {
                client,
                count,
                again,
                flags,
                bytes,
            } => self.submit(client, count, again, flags, bytes),
            Act::Finish {
                worker,
                count,
                badly,
                end,
            } => self.finish(worker, count, badly, end),
            Act::Return {
                worker,
                count,
                started,
            } => self.give_back(worker, count, started),
            Act::Grant { worker, window } => {
                let conn = self.conns[(CLIENTS + worker) as usize];
                let said = FromWorker::Grant { window };
                self.say(conn, [Message::from(ToManager::from(said))]);
            }
            Act::Ack { client, count } => {
                let conn = self.conns[client as usize];
                let ended = self.ended.entry(conn).or_default();
                let seqs = ended.drain(..count.min(ended.len())).collect();
                let said = FromClient::AckOutcomes { floor: 0, seqs };
                self.say(conn, [Message::from(ToManager::from(said))]);
            }
            Act::Floor { client, floor } => {
                let floor = floor.min(self.next_seq[client as usize]);
                let said = FromClient::AckOutcomes {
                    floor,
                    seqs: Vec::new(),
                };
                self.say(
                    self.conns[client as usize],
                    [Message::from(ToManager::from(said))],
                );
            }
            Act::Again { client, seq } if seq < self.next_seq[client as usize] => {
                let again = Submit {
                    may_have_run: true,
                    max_attempts: 2,
                    ..submit(seq)
                };
                let said = FromClient::Submit(again);
                self.say(
                    self.conns[client as usize],
                    [Message::from(ToManager::from(said))],
                );
            }
            Act::Again { .. } => {}
            Act::Resume { client } => {
                let seqs = (0..self.next_seq[client as usize]).collect();
                let said = FromClient::Resume { seqs };
                self.say(
                    self.conns[client as usize],
                    [Message::from(ToManager::from(said))],
                );
            }
            Act::Offer { worker, names } => {
                let conn = self.conns[(CLIENTS + worker) as usize];
                let names = ["a", "b", "c"].map(name).into_iter().take(names.into());
                let offer = argon_core::capabilities::Capabilities::new(names).unwrap();
                let said = FromWorker::Capabilities(offer);
                self.say(conn, [Message::from(ToManager::from(said))]);
            }
            Act::Drain => self.hear(&[ManagerInput::Drain]),
            Act::Cancel { client, seq } => {
                let conn = self.conns[client as usize];
                let said = FromClient::Cancel { seq };
                self.say(conn, [Message::from(ToManager::from(said))]);
            }
            Act::Reconnect { peer, stray } => {
                let conn = self.conns[peer as usize];
                self.hear(&[ManagerInput::Closed { conn }]);
                self.connect(peer, stray);
            }
            Act::Wait { ms } => {
                self.now = self.now + Duration::from_millis(ms);
                let said = [&mut self.one_by_one, &mut self.in_runs].map(|told| {
                    told.manager.handle_timeout(self.now);
                    told.settle(self.now)
                });
                self.take(said);
            }
        }
    }
}

/// So many scripts.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn what_is_said_in_runs_is_decided_as_if_said_one_by_one(
        script in acts(MIXED),
        micros in prop_oneof![Just(0), Just(64), Just(1_000), Just(1_000_000)],
        few_bytes in prop::bool::weighted(0.3),
    ) {
        let mut config = narrow(Duration::from_micros(micros));
        if few_bytes {
            config.queue_bytes = 20;
        }
        let mut twins = Twins::new(config);
        for act in script {
            twins.act(act);
            twins.compare_status();
        }
    }
}

proptest! {
    #![proptest_config(cases(128))]

    /// Also where many wait of which it is known that they are short, and go out in rows.
    #[test]
    fn what_goes_out_in_rows_is_decided_as_if_one_by_one(
        script in acts(BUSY),
        config in wide(),
    ) {
        let mut twins = Twins::new(config);
        for flags in 0..2 {
            twins.submit(0, 4, 0, flags, 1);
        }
        for worker in 0..WORKERS {
            let (count, badly, end) = (8, usize::MAX, 7);
            twins.act(Act::Finish { worker, count, badly, end });
        }
        for act in script {
            twins.act(act);
            twins.compare_status();
        }
    }
}
