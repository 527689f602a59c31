//! A world small enough to try everything in: one manager, two workers of one slot, one client,
//! one clock. Nothing happens but by a choice, and a copy goes its own way.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use argon_core::client::{ClientConfig, ClientInput, ClientOutput};
use argon_core::event::CloseReason;
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::manager::{ManagerConfig, ManagerInput, ManagerOutput};
use argon_core::message::{Body, Message};
use argon_core::offer::Offer;
use argon_core::payload::Payload;
use argon_core::rng::Rng;
use argon_core::task::{ExitCause, TaskSpec};
use argon_core::time::{Instant, WakeReason};
use argon_core::worker::{
    Job, PoolInput, PoolOutput, RunEnd, SlotLife, WorkerConfig, WorkerInput, WorkerOutput,
};
use argon_core::{Client, Machine, Manager, Worker};

use super::ledger::Ledger;
use super::{Choice, Setup};
use crate::process::name;

/// Who is who.
pub(super) const MANAGER: usize = 0;
pub(super) const WORKERS: std::ops::Range<usize> = 1..3;
pub(super) const CLIENT: usize = 3;
const HOSTS: usize = 4;

/// Heartbeats that time may pass over in one step.
const BEATS_MAX: u32 = 16;

/// The machine of a process.
#[derive(Clone, Debug)]
enum Node {
    Manager(Box<Manager>),
    Worker(Box<Worker>),
    Client(Box<Client>),
}

/// What travels on a connection.
#[derive(Clone, Debug)]
enum Packet {
    Message(Box<Message>),
    Closed,
}

/// A connection of a peer to the manager.
#[derive(Clone, Debug)]
struct Conn {
    /// Who dialled, and how it calls it.
    peer: usize,
    peer_conn: ConnId,
    /// How the manager calls it, once it has accepted.
    manager_conn: Option<ConnId>,
    /// On the way to the manager, and to the peer.
    up: VecDeque<Packet>,
    down: VecDeque<Packet>,
    /// Neither side listens any more.
    peer_left: bool,
    manager_left: bool,
}

/// The pool process in a worker's slot.
#[derive(Clone, Debug)]
struct Child {
    life: SlotLife,
    ready: bool,
    /// Told to end.
    dying: bool,
    /// What it runs first, and what waits in its pipe.
    jobs: VecDeque<Job>,
}

/// See the [module](self).
#[derive(Clone)]
pub(super) struct World<'s> {
    pub setup: &'s Setup,
    pub now: Instant,
    nodes: [Option<Node>; HOSTS],
    lives: [u64; HOSTS],
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    children: [Option<Child>; HOSTS],
    pub ledger: Ledger,
    pub faults: u32,
    cancelled: bool,
    drained: bool,
    pub log: Option<Vec<String>>,
}

/// Everything that what comes next depends on; so not the log.
impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (
            (&self.now, &self.nodes, &self.lives, &self.conns),
            (self.next_conn, &self.children, &self.ledger),
            (self.faults, self.cancelled, self.drained),
        )
            .fmt(f)
    }
}

impl<'s> World<'s> {
    /// Everybody has just been started.
    pub(super) fn new(setup: &'s Setup) -> Self {
        let mut world = Self {
            setup,
            now: Instant::from_nanos(1_000_000_000),
            nodes: [const { None }; HOSTS],
            lives: [0; HOSTS],
            conns: BTreeMap::new(),
            next_conn: 0,
            children: [const { None }; HOSTS],
            ledger: Ledger::new(setup),
            faults: 0,
            cancelled: false,
            drained: false,
            log: None,
        };
        for host in 0..HOSTS {
            world.start(host);
        }
        world
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let at = self.now.as_nanos() / 1_000_000;
            log.push(format!("{:>6}.{:03} s  {}", at / 1_000, at % 1_000, text()));
        }
    }

    /// The client's application hands its tasks in.
    pub(super) fn submit(&mut self) {
        for (index, shape) in self.setup.tasks.iter().enumerate() {
            let Some(Node::Client(client)) = &mut self.nodes[CLIENT] else {
                return;
            };
            let mut spec = TaskSpec::new(name("task"), vec![index as u8]);
            spec.at_most_once = shape.at_most_once;
            spec.deadline = shape.deadline;
            let id = client.submit(self.now, spec);
            self.ledger.submitted(index, id.expect("it has room").seq);
        }
        self.settle(CLIENT);
    }

    // ---- what can be chosen ----

    /// What could happen next, always in the same order.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let mut all = Vec::new();
        for (&conn, it) in &self.conns {
            if it.manager_conn.is_none() && !it.peer_left {
                all.push(Choice::Open(conn));
            }
            if !it.up.is_empty() {
                all.push(Choice::Up(conn));
            }
            if !it.down.is_empty() {
                all.push(Choice::Down(conn));
            }
        }
        for worker in WORKERS {
            match &self.children[worker] {
                Some(child) if child.dying => all.push(Choice::Die(worker)),
                Some(child) if !child.ready => all.push(Choice::Ready(worker)),
                Some(child) if !child.jobs.is_empty() => all.push(Choice::Finish(worker)),
                _ => {}
            }
        }
        if self.setup.cancel && !self.cancelled {
            all.push(Choice::Cancel);
        }
        if self.setup.drain && !self.drained && self.nodes[WORKERS.start].is_some() {
            all.push(Choice::Drain);
        }
        for host in 0..HOSTS {
            if self.nodes[host].is_none() && (host != CLIENT) {
                all.push(Choice::Start(host));
            }
        }
        all.push(Choice::Time);
        if self.faults < self.setup.faults {
            for (&conn, it) in &self.conns {
                if it.manager_conn.is_some() && !it.peer_left && !it.manager_left {
                    all.push(Choice::Cut(conn));
                }
            }
            for host in 0..CLIENT {
                if self.nodes[host].is_some() {
                    all.push(Choice::Crash(host));
                }
            }
            for worker in WORKERS {
                if self.children[worker]
                    .as_ref()
                    .is_some_and(|child| !child.jobs.is_empty())
                {
                    all.push(Choice::Kill(worker));
                }
            }
        }
        all
    }

    /// Does one thing, and what follows from it at once.
    pub(super) fn choose(&mut self, choice: Choice) {
        self.note(|| format!("-- {choice}"));
        match choice {
            Choice::Open(conn) => self.open(conn),
            Choice::Up(conn) => self.deliver_up(conn),
            Choice::Down(conn) => self.deliver_down(conn),
            Choice::Ready(worker) => self.ready(worker),
            Choice::Finish(worker) => self.finish(worker),
            Choice::Die(worker) => self.exit(worker, ExitCause::Signal(15)),
            Choice::Cancel => {
                self.cancelled = true;
                let seq = self.ledger.seq_of(0);
                self.tell_client(ClientInput::Cancel { seq });
            }
            Choice::Drain => {
                self.drained = true;
                self.ledger.trouble();
                self.tell_worker(WORKERS.start, WorkerInput::Drain);
            }
            Choice::Start(host) => self.start(host),
            Choice::Time => self.pass_time(),
            Choice::Cut(conn) => {
                self.trouble();
                if let Some(it) = self.conns.get_mut(&conn) {
                    it.up = [Packet::Closed].into();
                    it.down = [Packet::Closed].into();
                }
            }
            Choice::Crash(host) => {
                self.trouble();
                self.end(host);
            }
            Choice::Kill(worker) => {
                self.trouble();
                self.exit(worker, ExitCause::Signal(9));
            }
        }
        self.pass_beats();
    }

    fn trouble(&mut self) {
        self.faults += 1;
        self.ledger.trouble();
    }

    // ---- processes ----

    fn start(&mut self, host: usize) {
        self.lives[host] += 1;
        let id = 1_000 * self.lives[host] + host as u64;
        let rng = Rng::from_seed(id);
        let now = self.now;
        let node = match host {
            MANAGER => {
                let mut config = ManagerConfig::new(Epoch(id));
                config.queue_tasks = self.setup.queue;
                Node::Manager(Box::new(Manager::new(config, now)))
            }
            CLIENT => {
                let config = ClientConfig::new(PeerId(id), name("c"));
                Node::Client(Box::new(Client::new(config, rng, now)))
            }
            _ => {
                let called = name(&format!("w{host}.{}", self.lives[host]));
                let config = WorkerConfig::new(PeerId(id), called, 1);
                Node::Worker(Box::new(Worker::new(config, rng, now)))
            }
        };
        self.nodes[host] = Some(node);
        self.settle(host);
    }

    /// A process is gone, with all it held; its peers learn it from their connections.
    fn end(&mut self, host: usize) {
        self.nodes[host] = None;
        self.children[host] = None;
        for conn in self.conns.values_mut() {
            if host == MANAGER && conn.manager_conn.is_some() && !conn.manager_left {
                conn.manager_left = true;
                conn.up.clear();
                conn.down.push_back(Packet::Closed);
            }
            if host == conn.peer && !conn.peer_left {
                conn.peer_left = true;
                conn.down.clear();
                if conn.manager_conn.is_some() {
                    conn.up.push_back(Packet::Closed);
                }
            }
        }
        self.conns.retain(|_, conn| {
            !(conn.peer_left && (conn.manager_left || conn.manager_conn.is_none()))
        });
    }

    // ---- connections ----

    fn open(&mut self, conn: u64) {
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        let (peer, peer_conn) = (it.peer, it.peer_conn);
        if self.nodes[MANAGER].is_none() {
            self.conns.remove(&conn);
            return self.tell_link(peer, LinkInput::Closed { conn: peer_conn });
        }
        let id = ConnId(conn);
        it.manager_conn = Some(id);
        self.tell_manager(ManagerInput::Accepted { conn: id });
        self.tell_link(peer, LinkInput::Connected { conn: peer_conn });
    }

    fn deliver_up(&mut self, conn: u64) {
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        let (Some(packet), Some(id)) = (it.up.pop_front(), it.manager_conn) else {
            return;
        };
        let input = match packet {
            Packet::Message(message) => ManagerInput::Received {
                conn: id,
                message: *message,
            },
            Packet::Closed => {
                it.manager_left = true;
                self.forget(conn);
                ManagerInput::Closed { conn: id }
            }
        };
        self.tell_manager(input);
    }

    fn deliver_down(&mut self, conn: u64) {
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        let (peer, id) = (it.peer, it.peer_conn);
        let Some(packet) = it.down.pop_front() else {
            return;
        };
        let input = match packet {
            Packet::Message(message) => LinkInput::Received {
                conn: id,
                message: *message,
            },
            Packet::Closed => {
                it.peer_left = true;
                self.forget(conn);
                LinkInput::Closed { conn: id }
            }
        };
        self.tell_link(peer, input);
    }

    fn forget(&mut self, conn: u64) {
        if self
            .conns
            .get(&conn)
            .is_some_and(|conn| conn.peer_left && conn.manager_left)
        {
            self.conns.remove(&conn);
        }
    }

    /// Heartbeats are taken in at once where nothing is before them.
    fn pass_beats(&mut self) {
        let is_beat = |packet: &Packet| {
            matches!(packet, Packet::Message(message)
                if matches!(message.body, Body::Ping(_) | Body::Pong(_)))
        };
        loop {
            let up = self
                .conns
                .iter()
                .find(|(_, conn)| conn.up.front().is_some_and(is_beat));
            if let Some((&conn, _)) = up {
                self.deliver_up(conn);
                continue;
            }
            let down = self
                .conns
                .iter()
                .find(|(_, conn)| conn.down.front().is_some_and(is_beat));
            let Some((&conn, _)) = down else {
                return;
            };
            self.deliver_down(conn);
        }
    }

    // ---- time ----

    fn deadline(&self) -> Option<(Instant, WakeReason)> {
        let due = |node: &Node| match node {
            Node::Manager(manager) => manager.poll_timeout(),
            Node::Worker(worker) => worker.poll_timeout(),
            Node::Client(client) => client.poll_timeout(),
        };
        let all = self.nodes.iter().flatten().filter_map(due);
        all.map(|due| (due.at.max(self.now), due.reason))
            .min_by_key(|(at, _)| *at)
    }

    /// Time passes until something is due that is more than a heartbeat, or has gone on for a
    /// while.
    fn pass_time(&mut self) {
        for _ in 0..BEATS_MAX {
            let Some((at, reason)) = self.deadline() else {
                return;
            };
            self.now = at;
            let before = self.conns.values().map(waiting).sum::<usize>();
            for host in 0..HOSTS {
                let now = self.now;
                match &mut self.nodes[host] {
                    Some(Node::Manager(manager)) => manager.handle_timeout(now),
                    Some(Node::Worker(worker)) => worker.handle_timeout(now),
                    Some(Node::Client(client)) => client.handle_timeout(now),
                    None => continue,
                }
                self.settle(host);
            }
            self.pass_beats();
            let after = self.conns.values().map(waiting).sum::<usize>();
            if reason != WakeReason::Heartbeat || after != before {
                return;
            }
        }
    }

    // ---- pools ----

    fn ready(&mut self, worker: usize) {
        if let Some(child) = &mut self.children[worker] {
            child.ready = true;
            let slot = child.life;
            let offer = Offer::anything();
            self.tell_worker(worker, WorkerInput::Pool(PoolInput::Ready { slot, offer }));
        }
    }

    fn finish(&mut self, worker: usize) {
        let Some(child) = &mut self.children[worker] else {
            return;
        };
        let slot = child.life;
        let Some(job) = child.jobs.pop_front() else {
            return;
        };
        if let Some(next) = child.jobs.front() {
            self.ledger.started(usize::from(next.payload[0]));
        }
        let task = usize::from(job.payload[0]);
        self.ledger.finished(task);
        self.tell_worker(
            worker,
            WorkerInput::Pool(PoolInput::Done {
                slot,
                attempt: job.attempt,
                ran: Duration::from_micros(1_500),
                end: RunEnd::Completed,
                payload: Payload::from(vec![job.payload[0]]),
            }),
        );
    }

    fn exit(&mut self, worker: usize, cause: ExitCause) {
        if let Some(child) = self.children[worker].take() {
            let exited = PoolInput::Exited {
                slot: child.life,
                cause,
                stderr: String::new(),
            };
            self.tell_worker(worker, WorkerInput::Pool(exited));
        }
    }

    fn on_pool(&mut self, worker: usize, output: PoolOutput) {
        let child = &mut self.children[worker];
        match output {
            PoolOutput::Spawn { slot } => {
                assert!(child.is_none(), "one process a slot");
                *child = Some(Child {
                    life: slot,
                    ready: false,
                    dying: false,
                    jobs: VecDeque::new(),
                });
            }
            PoolOutput::Run { slot, job } => {
                let Some(child) = child.as_mut().filter(|child| child.life == slot) else {
                    return;
                };
                assert!(
                    child.ready && !child.dying,
                    "given to a process that takes it"
                );
                if child.jobs.is_empty() {
                    self.ledger.started(usize::from(job.payload[0]));
                }
                child.jobs.push_back(job);
            }
            PoolOutput::Terminate { slot }
            | PoolOutput::Kill { slot }
            | PoolOutput::Retire { slot } => {
                if let Some(child) = child.as_mut().filter(|child| child.life == slot) {
                    child.dying = true;
                }
            }
        }
    }

    // ---- machines ----

    fn tell_manager(&mut self, input: ManagerInput) {
        if let Some(Node::Manager(manager)) = &mut self.nodes[MANAGER] {
            manager.handle_input(self.now, input);
            self.settle(MANAGER);
        }
    }

    fn tell_worker(&mut self, host: usize, input: WorkerInput) {
        if let Some(Node::Worker(worker)) = &mut self.nodes[host] {
            worker.handle_input(self.now, input);
            self.settle(host);
        }
    }

    fn tell_client(&mut self, input: ClientInput) {
        if let Some(Node::Client(client)) = &mut self.nodes[CLIENT] {
            client.handle_input(self.now, input);
            self.settle(CLIENT);
        }
    }

    fn tell_link(&mut self, host: usize, input: LinkInput) {
        match host {
            CLIENT => self.tell_client(ClientInput::Link(input)),
            _ => self.tell_worker(host, WorkerInput::Link(input)),
        }
    }

    /// Lets a machine decide, and carries out what it says.
    fn settle(&mut self, host: usize) {
        let now = self.now;
        match &mut self.nodes[host] {
            Some(Node::Manager(manager)) => {
                manager.settle(now);
                manager.check_invariants();
            }
            Some(Node::Worker(worker)) => {
                worker.settle(now);
                worker.check_invariants();
            }
            Some(Node::Client(client)) => {
                client.settle(now);
                client.check_invariants();
            }
            None => return,
        }
        loop {
            match &mut self.nodes[host] {
                Some(Node::Manager(manager)) => {
                    let Some(output) = manager.poll_output() else {
                        return;
                    };
                    self.on_manager(output);
                }
                Some(Node::Worker(worker)) => {
                    let Some(output) = worker.poll_output() else {
                        return;
                    };
                    match output {
                        WorkerOutput::Link(output) => self.on_link(host, output),
                        WorkerOutput::Pool(output) => self.on_pool(host, output),
                        WorkerOutput::Notify(_) => {}
                        WorkerOutput::Stopped => return self.end(host),
                    }
                }
                Some(Node::Client(client)) => {
                    let Some(output) = client.poll_output() else {
                        return;
                    };
                    match output {
                        ClientOutput::Link(output) => self.on_link(host, output),
                        ClientOutput::Deliver { seq, outcome, .. } => {
                            self.note(|| format!("c: task {seq} ends: {outcome:?}"));
                            self.ledger.delivered(seq, &outcome);
                        }
                        ClientOutput::Notify(_) => {}
                        ClientOutput::Stopped => return self.end(host),
                    }
                }
                None => return,
            }
        }
    }

    fn on_manager(&mut self, output: ManagerOutput) {
        match output {
            ManagerOutput::Send { conn, message } => {
                self.note(|| format!("m: -> {conn} {:?}", message.body));
                if let Some(it) = self.conns.get_mut(&conn.0)
                    && !it.manager_left
                    && !it.peer_left
                {
                    it.down.push_back(Packet::Message(Box::new(message)));
                }
            }
            ManagerOutput::Close { conn, reason } => {
                self.note(|| format!("m: closes {conn}: {reason:?}"));
                if reason == CloseReason::Silent {
                    self.ledger.trouble();
                }
                if let Some(it) = self.conns.get_mut(&conn.0) {
                    it.manager_left = true;
                    it.up.clear();
                    if !it.peer_left {
                        it.down.push_back(Packet::Closed);
                    }
                }
                self.forget(conn.0);
            }
            ManagerOutput::Notify(_) | ManagerOutput::Drained => {}
        }
    }

    fn on_link(&mut self, host: usize, output: LinkOutput) {
        let conn_of = |world: &Self, id: ConnId| {
            let mut all = world.conns.iter();
            all.find(|(_, conn)| conn.peer == host && conn.peer_conn == id && !conn.peer_left)
                .map(|(&conn, _)| conn)
        };
        match output {
            LinkOutput::Connect { conn, .. } => {
                let it = Conn {
                    peer: host,
                    peer_conn: conn,
                    manager_conn: None,
                    up: VecDeque::new(),
                    down: VecDeque::new(),
                    peer_left: false,
                    manager_left: false,
                };
                self.conns.insert(self.next_conn, it);
                self.next_conn += 1;
            }
            LinkOutput::Send { conn, message } => {
                self.note(|| format!("{}: -> {:?}", called(host), message.body));
                if let Some(index) = conn_of(self, conn)
                    && let Some(it) = self.conns.get_mut(&index)
                    && !it.manager_left
                {
                    it.up.push_back(Packet::Message(Box::new(message)));
                }
            }
            LinkOutput::Close { conn, reason } => {
                self.note(|| format!("{}: closes: {reason:?}", called(host)));
                if reason == CloseReason::Silent {
                    self.ledger.trouble();
                }
                let Some(index) = conn_of(self, conn) else {
                    return;
                };
                if let Some(it) = self.conns.get_mut(&index) {
                    it.peer_left = true;
                    it.down.clear();
                    if it.manager_conn.is_none() {
                        self.conns.remove(&index);
                    } else if !it.manager_left {
                        it.up.push_back(Packet::Closed);
                    }
                }
                self.forget(index);
            }
        }
    }

    // ---- what can be asked ----

    /// Whether both workers are in and ready, so that what is worth trying can begin.
    pub(super) fn is_warm(&self) -> bool {
        let Some(Node::Manager(manager)) = &self.nodes[MANAGER] else {
            return false;
        };
        let status = manager.status(self.now, 0);
        let quiet = self.conns.values().all(|conn| waiting(conn) == 0);
        let windows = status.workers.iter().filter(|worker| worker.window > 0);
        quiet && windows.count() == WORKERS.len() && status.clients.len() == 1
    }

    /// What a manager that lives still holds, if anything.
    pub(super) fn leftovers(&self) -> Option<String> {
        let Some(Node::Manager(manager)) = &self.nodes[MANAGER] else {
            return Some("no manager lives".to_owned());
        };
        let status = manager.status(self.now, 0);
        let it = &status.manager;
        let held = it.queued
            + it.returning
            + it.held
            + it.assigned
            + it.unacknowledged
            + it.orphans
            + it.stranded;
        let busy = status.workers.iter().any(|worker| worker.assigned > 0);
        (held > 0 || busy).then(|| format!("{it:?}"))
    }
}

fn waiting(conn: &Conn) -> usize {
    conn.up.len() + conn.down.len() + usize::from(conn.manager_conn.is_none())
}

pub(super) fn called(host: usize) -> String {
    match host {
        MANAGER => "m".to_owned(),
        CLIENT => "c".to_owned(),
        _ => format!("w{host}"),
    }
}
