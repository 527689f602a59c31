//! A world small enough to try everything in: one manager, two workers of one slot, one client,
//! one clock. Nothing happens but by a choice, and a copy goes its own way.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use argon_core::client::{ClientConfig, ClientInput, ClientOutput};
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::link::LinkInput;
use argon_core::manager::{ManagerConfig, ManagerInput};
use argon_core::message::Message;
use argon_core::rng::Rng;
use argon_core::task::{ExitCause, TaskSpec};
use argon_core::time::{Instant, WakeReason};
use argon_core::worker::{Job, SlotLife, WorkerConfig, WorkerInput, WorkerOutput};
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
pub(super) enum Node {
    Manager(Box<Manager>),
    Worker(Box<Worker>),
    Client(Box<Client>),
}

/// What travels on a connection.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    Message(Box<Message>),
    Closed,
}

/// A connection of a peer to the manager.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    /// Who dialled, and how it calls it.
    pub(super) peer: usize,
    pub(super) peer_conn: ConnId,
    /// How the manager calls it, once it has accepted.
    pub(super) manager_conn: Option<ConnId>,
    /// On the way to the manager, and to the peer.
    pub(super) up: VecDeque<Packet>,
    pub(super) down: VecDeque<Packet>,
    /// Neither side listens any more.
    pub(super) peer_left: bool,
    pub(super) manager_left: bool,
}

/// The pool process in a worker's slot.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) life: SlotLife,
    pub(super) ready: bool,
    /// Told to end.
    pub(super) dying: bool,
    /// What it runs first, and what waits in its pipe.
    pub(super) jobs: VecDeque<Job>,
}

/// See the [module](self).
#[derive(Clone)]
pub(super) struct World<'s> {
    pub setup: &'s Setup,
    pub now: Instant,
    pub(super) nodes: [Option<Node>; HOSTS],
    lives: [u64; HOSTS],
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) next_conn: u64,
    pub(super) children: [Option<Child>; HOSTS],
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

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
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

    // ---- machines ----

    pub(super) fn tell_manager(&mut self, input: ManagerInput) {
        if let Some(Node::Manager(manager)) = &mut self.nodes[MANAGER] {
            manager.handle_input(self.now, input);
            self.settle(MANAGER);
        }
    }

    pub(super) fn tell_worker(&mut self, host: usize, input: WorkerInput) {
        if let Some(Node::Worker(worker)) = &mut self.nodes[host] {
            worker.handle_input(self.now, input);
            self.settle(host);
        }
    }

    pub(super) fn tell_client(&mut self, input: ClientInput) {
        if let Some(Node::Client(client)) = &mut self.nodes[CLIENT] {
            client.handle_input(self.now, input);
            self.settle(CLIENT);
        }
    }

    pub(super) fn tell_link(&mut self, host: usize, input: LinkInput) {
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
