//! The state of a small cluster: processes, pools, connections, ledger, time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;
use std::time::Duration;

use argon_core::client::{Client, ClientConfig};
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::machine::Machine;
use argon_core::manager::{Manager, ManagerConfig};
use argon_core::rng::Rng;
use argon_core::task::TaskSpec;
use argon_core::time::{Deadline, Instant};
use argon_core::worker::{SlotLife, Worker, WorkerConfig};

use super::choice::Choice;
use super::ledger::{Fault, Ledger};
use super::link::Link;
use super::settings::{DRAIN_TIMEOUT, GRACE, KILL_GRACE, LEASE, RESTART_GRACE, RESUME_TIMEOUT};
use super::{Variant, WORKERS};
use crate::names::name;
use crate::options::{MS, S};

/// Hosts start one after the other, so that their heartbeats do not coincide.
const START_EVERY: u64 = 7 * MS;

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Manager(Manager),
    Worker(Worker, Slot),
    Client(Client),
}

/// The one slot of a worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    /// The pool process that lives in it.
    pub life: Option<SlotLife>,
    pub ready: bool,
    /// It was told to end.
    pub dying: bool,
    pub running: Option<(argon_core::ids::Attempt, usize)>,
}

/// One life of a process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub node: Node,
    pub life: u32,
    pub next_conn: u64,
    pub conns: BTreeMap<ConnId, usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct HostState {
    pub process: Option<Rc<Process>>,
    pub lives: u32,
    /// Of the process, if it has not changed since.
    print: Cell<Option<u64>>,
}

/// Everything.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub variant: Variant,
    pub now: u64,
    pub hosts: Vec<HostState>,
    pub links: Vec<Link>,
    pub ledger: Ledger,
    pub faults_left: u32,
    pub ticks_left: u32,
    pub wish_left: bool,
    /// Outputs other than heartbeats; tells whether a passage of time did anything.
    pub noise: u64,
    /// Entries of the last report of each worker, and how many reports there were.
    pub reports: BTreeMap<usize, (u64, usize)>,
    /// Lines of a trace, if one is wanted.
    pub trace: Option<Vec<String>>,
}

impl Cluster {
    /// All processes run and know each other, the pools are ready, and both tasks are on their way
    /// to the manager.
    pub(crate) fn new(
        variant: Variant,
        faults: u32,
        ticks: u32,
        trace: bool,
    ) -> Result<Self, String> {
        let hosts = variant.managers() + WORKERS + 1;
        let mut cluster = Self {
            variant,
            now: 0,
            hosts: vec![HostState::default(); hosts],
            links: Vec::new(),
            ledger: Ledger::default(),
            faults_left: faults,
            ticks_left: ticks,
            wish_left: !matches!(
                variant,
                Variant::Plain
                    | Variant::AtMostOnce
                    | Variant::TinyQueue
                    | Variant::SlowPool
                    | Variant::Failover
            ),
            noise: 0,
            reports: BTreeMap::new(),
            trace: trace.then(Vec::new),
        };
        for host in 0..hosts {
            cluster.now += START_EVERY;
            cluster.start(host)?;
            while let Some(choice) = cluster.eager_choice() {
                if variant == Variant::SlowPool && matches!(choice, Choice::Ready(_)) {
                    break;
                }
                cluster.take(choice)?;
            }
        }
        for task in 0..variant.tasks() {
            let payload = format!("{task}").into_bytes();
            let mut spec = TaskSpec::new(name("t"), payload);
            spec.at_most_once = task == 0 && variant.is_careful();
            let now = Instant::from_nanos(cluster.now);
            if let Some(Node::Client(client)) = cluster.node(hosts - 1) {
                client
                    .submit(now, spec)
                    .map_err(|error| error.to_string())?;
            }
        }
        cluster.step(hosts - 1, None)?;
        cluster.beats()?;
        Ok(cluster)
    }

    pub(crate) fn client_host(&self) -> usize {
        self.hosts.len() - 1
    }

    pub(crate) fn worker_hosts(&self) -> std::ops::Range<usize> {
        let managers = self.variant.managers();
        managers..managers + WORKERS
    }

    /// Whether the client that submitted the tasks still lives.
    pub(crate) fn client_lives(&self) -> bool {
        let client = &self.hosts[self.client_host()];
        client.lives == 1 && client.process.is_some()
    }

    pub(crate) fn process(&self, host: usize) -> Option<&Process> {
        self.hosts[host].process.as_deref()
    }

    /// The process of a host, to be changed; copied first if another cluster shares it.
    pub(crate) fn process_mut(&mut self, host: usize) -> Option<&mut Process> {
        let state = &mut self.hosts[host];
        state.print.set(None);
        state.process.as_mut().map(Rc::make_mut)
    }

    pub(crate) fn node(&mut self, host: usize) -> Option<&mut Node> {
        self.process_mut(host).map(|process| &mut process.node)
    }

    pub(crate) fn slot(&self, host: usize) -> Option<&Slot> {
        match &self.process(host)?.node {
            Node::Worker(_, slot) => Some(slot),
            _ => None,
        }
    }

    pub(crate) fn slot_mut(&mut self, host: usize) -> Option<&mut Slot> {
        match self.node(host)? {
            Node::Worker(_, slot) => Some(slot),
            _ => None,
        }
    }

    pub(crate) fn deadline(&self, host: usize) -> Option<Deadline> {
        match &self.process(host)?.node {
            Node::Manager(manager) => manager.poll_timeout(),
            Node::Worker(worker, _) => worker.poll_timeout(),
            Node::Client(client) => client.poll_timeout(),
        }
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            let (seconds, rest) = (now / S, now % S);
            trace.push(format!("{seconds:>3}.{rest:09}  {}", line()));
        }
    }

    /// How a host is called.
    pub(crate) fn who(&self, host: usize) -> String {
        let managers = self.variant.managers();
        match host {
            _ if host < managers => format!("m{host}"),
            _ if host < managers + WORKERS => format!("w{host}"),
            _ => format!("c{host}"),
        }
    }

    /// Starts the next life of a host.
    pub(crate) fn start(&mut self, host: usize) -> Result<(), String> {
        let life = self.hosts[host].lives + 1;
        self.hosts[host].lives = life;
        let now = Instant::from_nanos(self.now);
        let id = (host as u64 + 1) * 1_000 + u64::from(life);
        let managers = self.variant.managers();
        let node = if host < managers {
            let mut config = ManagerConfig::new(Epoch(id));
            config.reconnect_grace = Duration::from_nanos(GRACE);
            config.lease = Duration::from_nanos(LEASE);
            config.restart_grace = Duration::from_nanos(RESTART_GRACE);
            config.resume_timeout = Duration::from_nanos(RESUME_TIMEOUT);
            if self.variant == Variant::TinyQueue {
                config.queue_tasks = 1;
            }
            config.validate().map_err(|error| error.to_string())?;
            Node::Manager(Manager::new(config, now))
        } else if host < managers + WORKERS {
            let mut config = WorkerConfig::new(PeerId(id), name(&format!("w{host}")), 1);
            config.addresses = managers;
            config.drain_timeout = Duration::from_nanos(DRAIN_TIMEOUT);
            config.kill_grace = Duration::from_nanos(KILL_GRACE);
            let worker = Worker::new(config, Rng::from_seed(id), now);
            Node::Worker(worker, Slot::default())
        } else {
            let mut config = ClientConfig::new(PeerId(id), name("c"));
            config.addresses = managers;
            Node::Client(Client::new(config, Rng::from_seed(id), now))
        };
        self.hosts[host].process = Some(Rc::new(Process {
            node,
            life,
            next_conn: 0,
            conns: BTreeMap::new(),
        }));
        self.say(|| format!("host {host} starts"));
        self.step(host, None)
    }

    /// The process of a host ends: its host closes its connections, and its pool dies with it.
    pub(crate) fn end_process(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.take() else {
            return;
        };
        self.hosts[host].print.set(None);
        for &index in process.conns.values() {
            self.close_side(index, host);
        }
        self.ledger.note_gone(host, process.life);
    }

    /// A process dies although nobody asked it to.
    pub(crate) fn crash(&mut self, host: usize) {
        self.ledger.note_fault(self.now, Fault::Gone);
        self.end_process(host);
    }

    /// Tells states apart; see the head of the folder for what is taken as one.
    pub(crate) fn print(&self) -> u64 {
        let mut hasher = Print(DefaultHasher::new());
        for host in &self.hosts {
            let print = host.print.get().unwrap_or_else(|| print_of(&host.process));
            host.print.set(Some(print));
            hasher.0.write_u32(host.lives);
            hasher.0.write_u64(print);
        }
        hasher.0.write_u64(self.now);
        let budgets = (self.faults_left, self.ticks_left, self.wish_left);
        let rest = (&self.links, &self.ledger, budgets);
        write!(hasher, "{rest:?}").expect("a hasher takes everything");
        hasher.0.finish()
    }
}

fn print_of<T: fmt::Debug>(what: &T) -> u64 {
    let mut hasher = Print(DefaultHasher::new());
    write!(hasher, "{what:?}").expect("a hasher takes everything");
    hasher.0.finish()
}

/// Hashes text as it is written.
struct Print(DefaultHasher);

impl fmt::Write for Print {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
