//! A manager at a steady state: a task ends, another comes.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use argon_core::Machine as _;
use argon_core::access::Access;
use argon_core::capabilities::Capabilities;
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::manager::{Manager, ManagerConfig, ManagerInput, ManagerOutput};
use argon_core::message::{
    Assign, AttemptEnd, Finished, FromClient, FromWorker, Hello, MAGIC, Message, Report, Role,
    Submit, ToClient, ToManager, ToPeer, ToWorker, Version,
};
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::Priority;
use argon_core::time::{Instant, Nanos};
use bytes::Bytes;

/// Tasks that wait.
pub(crate) const QUEUED: [usize; 3] = [100, 10_000, 1_000_000];
pub(crate) const WORKERS: [u64; 3] = [10, 1_000, 100_000];

const CAPACITY: u32 = 8;
const CLIENTS: u64 = 4;

/// A manager whose workers are all busy and whose queue holds a fixed number of tasks.
pub(crate) struct Steady {
    manager: Manager,
    now: Instant,
    running: VecDeque<(ConnId, Assign)>,
    next_seq: Vec<u64>,
    turn: usize,
    payload: Bytes,
    name: Name,
    /// What the last settling delivered.
    delivered: Vec<(ConnId, u64)>,
}

impl Steady {
    pub(crate) fn new(queued: usize, workers: u64) -> Self {
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
            delivered: Vec::new(),
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
            steady.receive(
                ConnId(worker),
                ToManager::Worker(FromWorker::Report(report)).into(),
            );
            steady.receive(
                ConnId(worker),
                ToManager::Worker(FromWorker::Capabilities(Capabilities::anything())).into(),
            );
            steady.receive(
                ConnId(worker),
                ToManager::Worker(FromWorker::Grant { window: CAPACITY }).into(),
            );
        }
        for _ in 0..queued + workers as usize * CAPACITY as usize {
            steady.submit();
        }
        steady.settle();
        steady
    }

    fn join(&mut self, peer: u64, role: Role) {
        let conn = ConnId(peer);
        self.manager.handle_input(
            self.now,
            ManagerInput::Accepted {
                conn,
                from: None,
                access: Access::everything(),
            },
        );
        let hello = Hello {
            magic: MAGIC,
            version: Version::FIRST,
            role,
            peer: PeerId(peer),
            connection: 1,
            session: None,
            name: Name::new(&format!("peer-{peer}")).expect("a short name"),
        };
        self.receive(conn, ToManager::Hello(hello).into());
        self.settle();
    }

    fn receive(&mut self, conn: ConnId, message: Message<ToManager>) {
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
            body: ToManager::Client(FromClient::Submit(submit)),
            payload: self.payload.clone().into(),
        };
        self.receive(ConnId(client as u64), message);
    }

    fn settle(&mut self) {
        self.manager.settle(self.now);
        while let Some(output) = self.manager.poll_output() {
            let ManagerOutput::Send { conn, message } = output else {
                continue;
            };
            match message.body {
                ToPeer::Worker(ToWorker::Assign(assign)) => self.running.push_back((conn, assign)),
                ToPeer::Client(ToClient::Outcome { seq, .. }) => self.delivered.push((conn, seq)),
                other => {
                    black_box(other);
                }
            }
        }
    }

    fn finish(&mut self, conn: ConnId, assign: &Assign) {
        let finished = Finished {
            attempt: assign.attempt,
            task: assign.task,
            ran: Nanos(1_000),
            end: AttemptEnd::Completed,
        };
        let message = Message {
            body: ToManager::Worker(FromWorker::Finished(finished)),
            payload: Payload::empty(),
        };
        self.receive(conn, message);
    }

    /// `count` tasks through every station, in batches of 32 as they come off a socket.
    pub(crate) fn run(&mut self, count: u64) {
        let batch = 32.min(self.running.len());
        let mut done = 0;
        while done < count {
            self.now = self.now + Duration::from_micros(10);
            for _ in 0..batch {
                if let Some((conn, assign)) = self.running.pop_front() {
                    self.finish(conn, &assign);
                }
                self.submit();
            }
            self.settle();
            // A client acknowledges what came in one read at once.
            for client in (0..CLIENTS).map(ConnId) {
                let mine = self.delivered.iter().filter(|(conn, _)| *conn == client);
                let seqs = mine.map(|(_, seq)| *seq).collect();
                self.receive(
                    client,
                    ToManager::Client(FromClient::AckOutcomes { floor: 0, seqs }).into(),
                );
            }
            self.delivered.clear();
            done += batch as u64;
        }
    }
}
