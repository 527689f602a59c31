//! The whole manager: submit, assign, finish, deliver, acknowledge, at a steady state.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use argon_core::Machine as _;
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::manager::{Manager, ManagerConfig, ManagerInput, ManagerOutput};
use argon_core::message::{
    Assign, AttemptEnd, Body, Finished, Hello, MAGIC, Message, Report, Role, Submit, VERSION,
};
use argon_core::name::Name;
use argon_core::offer::Offer;
use argon_core::task::Priority;
use argon_core::time::{Instant, Nanos};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const CAPACITY: u32 = 8;
const CLIENTS: u64 = 4;

/// A manager whose workers are all busy and whose queue holds a fixed number of tasks.
struct Steady {
    manager: Manager,
    now: Instant,
    running: VecDeque<(ConnId, Assign)>,
    next_seq: Vec<u64>,
    turn: usize,
    payload: Bytes,
    name: Name,
}

impl Steady {
    fn new(queued: usize, workers: u64) -> Self {
        let mut config = ManagerConfig::new(Epoch(1));
        config.queue_tasks = queued + 16;
        config.client_tasks = usize::MAX;
        config.in_flight_tasks = usize::MAX;
        let now = Instant::from_nanos(1);
        let mut steady = Self {
            manager: Manager::new(config, now),
            now,
            running: VecDeque::new(),
            next_seq: vec![0; CLIENTS as usize],
            turn: 0,
            payload: Bytes::from(vec![7; 64]),
            name: Name::new("noop").expect("a short name"),
        };
        for client in 0..CLIENTS {
            steady.join(client, Role::Client);
        }
        for worker in CLIENTS..CLIENTS + workers {
            steady.join(worker, Role::Worker { capacity: CAPACITY });
            let report = Report {
                running: vec![],
                finished: vec![],
                last: true,
            };
            steady.receive(ConnId(worker), Body::Report(report).into());
            steady.receive(ConnId(worker), Body::Offer(Offer::anything()).into());
            steady.receive(ConnId(worker), Body::Grant { window: CAPACITY }.into());
        }
        for _ in 0..queued + workers as usize * CAPACITY as usize {
            steady.submit();
        }
        steady.settle();
        steady
    }

    fn join(&mut self, peer: u64, role: Role) {
        let conn = ConnId(peer);
        self.manager
            .handle_input(self.now, ManagerInput::Accepted { conn });
        let hello = Hello {
            magic: MAGIC,
            version: VERSION,
            role,
            peer: PeerId(peer),
            connection: 1,
            session: None,
            name: Name::new(&format!("peer-{peer}")).expect("a short name"),
        };
        self.receive(conn, Body::Hello(hello).into());
        self.settle();
    }

    fn receive(&mut self, conn: ConnId, message: Message) {
        self.manager
            .handle_input(self.now, ManagerInput::Received { conn, message });
    }

    fn submit(&mut self) {
        let client = self.turn % CLIENTS as usize;
        self.turn += 1;
        let seq = self.next_seq[client];
        self.next_seq[client] += 1;
        let submit = Submit {
            seq,
            priority: Priority::NORMAL,
            max_attempts: 3,
            at_most_once: false,
            may_have_run: false,
            deadline: Nanos::NONE,
            max_wait: Nanos::NONE,
            time_limit: Nanos::NONE,
            name: self.name.clone(),
        };
        let message = Message {
            body: Body::Submit(submit),
            payload: self.payload.clone().into(),
        };
        self.receive(ConnId(client as u64), message);
    }

    fn settle(&mut self) -> Vec<(ConnId, u64)> {
        self.manager.settle(self.now);
        let mut delivered = Vec::new();
        while let Some(output) = self.manager.poll_output() {
            let ManagerOutput::Send { conn, message } = output else {
                continue;
            };
            match message.body {
                Body::Assign(assign) => self.running.push_back((conn, assign)),
                Body::Outcome { seq, .. } => delivered.push((conn, seq)),
                other => {
                    black_box(other);
                }
            }
        }
        delivered
    }

    /// `count` tasks through every station, in batches of 32 as they come off a socket.
    fn run(&mut self, count: u64) {
        let batch = 32.min(self.running.len());
        let mut done = 0;
        while done < count {
            self.now = self.now + Duration::from_micros(10);
            for (conn, assign) in self.running.drain(..batch).collect::<Vec<_>>() {
                let finished = Finished {
                    attempt: assign.attempt,
                    task: assign.task,
                    ran: Nanos(1_000),
                    end: AttemptEnd::Completed,
                };
                let body = Body::Finished(finished);
                self.manager.handle_input(
                    self.now,
                    ManagerInput::Received {
                        conn,
                        message: Message {
                            body,
                            payload: Bytes::new().into(),
                        },
                    },
                );
                self.submit();
            }
            // A client acknowledges what came in one read at once.
            let mut acks = vec![Vec::new(); CLIENTS as usize];
            for (conn, seq) in self.settle() {
                acks[conn.0 as usize].push(seq);
            }
            for (conn, seqs) in (0..).map(ConnId).zip(acks) {
                let ack = Body::AckOutcomes { floor: 0, seqs };
                self.receive(conn, ack.into());
            }
            done += batch as u64;
        }
    }
}

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manager_step");
    for (queued, workers) in [
        (100, 10),
        (10_000, 10),
        (10_000, 1_000),
        (1_000_000, 1_000),
        (1_000_000, 100_000),
    ] {
        let mut steady = Steady::new(queued, workers);
        let id = BenchmarkId::from_parameter(format!("{queued}_queued_{workers}_workers"));
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|count| {
                let start = Clock::now();
                steady.run(count);
                start.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = step
}
criterion_main!(benches);
