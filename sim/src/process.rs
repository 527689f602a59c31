//! Hosts, and the processes that live on them: a machine of the product behind a driver's loop.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use argon_core::Machine;
use argon_core::access::Access;
use argon_core::client::{Client, ClientConfig, ClientInput};
use argon_core::ids::{Attempt, ConnId, Epoch, PeerId};
use argon_core::link::LinkInput;
use argon_core::manager::{Manager, ManagerConfig, ManagerInput};
use argon_core::message::Message;

use argon_core::message::Said;
use argon_core::rng::Rng;
use argon_core::testing::{Told, at_manager, at_peer};
use argon_core::time::Instant;
use argon_core::worker::{PoolInput, Worker, WorkerConfig, WorkerInput};
use std::time::Duration;

use crate::names::called;
use crate::network::ConnIndex;
use crate::options::{Host, Options, S};
use crate::pool::{Pool, PoolEvent};
use crate::rng::{Draw, mix, stream};
use crate::trace::Counts;

/// A monotonic clock of one process: begins anywhere, runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: u64,
    offset: u64,
    /// Millionths that it is fast (above a million) or slow.
    rate: u64,
}

/// The rate of a clock that is neither fast nor slow.
pub(crate) const EVEN: u64 = 1_000_000;

impl Clock {
    fn draw(seed: u64, host: Host, count: u64, now: u64, options: &Options) -> Self {
        let mut rng = stream(seed, &[10, u64::from(host), count]);
        Self {
            start: now,
            offset: rng.log_between(1, 1_000_000 * S),
            rate: EVEN + rng.up_to(2 * options.drift) - options.drift,
        }
    }

    pub(crate) fn read(&self, now: u64) -> Instant {
        let passed = now - self.start;
        if self.rate == EVEN {
            return Instant::from_nanos(self.offset + passed);
        }
        let passed = u128::from(passed) * u128::from(self.rate) / u128::from(EVEN);
        Instant::from_nanos(self.offset + passed as u64)
    }

    /// The first virtual instant at which the clock shows `local` or later.
    pub(crate) fn when(&self, local: Instant) -> u64 {
        let ahead = local.as_nanos().saturating_sub(self.offset);
        if self.rate == EVEN {
            return self.start.saturating_add(ahead);
        }
        let passed = (u128::from(ahead) * u128::from(EVEN)).div_ceil(u128::from(self.rate));
        self.start
            .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// A fact that waits for the driver's turn.
#[derive(Debug)]
pub(crate) enum Fact {
    Accepted(ConnId),
    Connected(ConnId),
    Received(ConnId, Message<Said>),
    Closed(ConnId),
    /// Bytes of something large have moved.
    Progress(ConnId),
    Pool(PoolInput),
    Submit(usize),
    Cancel(usize),
    Drain,
    Stop,
}

/// The machine of a process.
pub(crate) enum Node {
    Manager(Box<Manager>),
    Worker(Box<Worker>, Pool),
    Client(Box<Client>),
}

impl Node {
    /// What it counts, for traces: tasks that wait, that are under way, and what is held until it
    /// is acknowledged.
    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::Manager(manager) => {
                let load = manager.load();
                let queued = load.queued + load.returning;
                [
                    ("queued", queued),
                    ("out", load.assigned),
                    ("held", load.unacknowledged),
                ]
            }
            Self::Worker(worker, _) => {
                let load = worker.load();
                [
                    ("waiting", load.waiting),
                    ("running", load.given),
                    ("held", load.held),
                ]
            }
            Self::Client(client) => {
                let (all, out) = (client.held(), client.in_flight());
                [
                    ("waiting", all.saturating_sub(out)),
                    ("out", out),
                    ("held", 0),
                ]
            }
        }
    }

    pub(crate) fn check_invariants(&self) {
        match self {
            Self::Manager(manager) => manager.check_invariants(),
            Self::Worker(worker, _) => worker.check_invariants(),
            Self::Client(client) => client.check_invariants(),
        }
    }
}

/// One life of a process.
pub(crate) struct Process {
    pub node: Node,
    /// Its place in the ledger of lives.
    pub life: usize,
    pub clock: Clock,
    pub inbox: VecDeque<Fact>,
    pub step_due: bool,
    /// When it is to be woken next; what is not for this instant is an old alarm.
    pub wake_at: Option<u64>,
    pub conns: BTreeMap<ConnId, ConnIndex>,
    pub next_conn: u64,
    pub paused: u32,
    pub steps: u32,
    /// Which life of its host it is; a key of its streams of chance.
    pub count: u64,
    pub rng: Rng,
    /// For a client: the number of each task of the plan that it took in.
    pub numbers: BTreeMap<usize, u64>,
    /// For a manager: who is at the other end.
    pub peers: BTreeMap<ConnId, u64>,
    /// For a manager: the tasks by their last attempts, and the attempts by their tasks.
    pub assigned: BTreeMap<Attempt, (u64, u64)>,
    /// See `assigned`.
    pub last_attempts: BTreeMap<(u64, u64), Attempt>,
    /// For a manager: connections of strangers, which have no other end.
    pub hostile: BTreeSet<ConnId>,
}

/// A place in the cluster.
#[derive(Default)]
pub(crate) struct HostState {
    /// Boxed, since it is taken out for each of its turns.
    pub process: Option<Box<Process>>,
    /// Off: nobody is told anything.
    pub dark: bool,
    /// It stays dead.
    pub gone: bool,
    /// How many faults hold the whole host still, and what its pool would have done meanwhile.
    pub frozen: u32,
    pub thawing: Vec<(usize, PoolEvent)>,
    /// Somebody else answers at its address.
    pub impostor: bool,
    /// How many processes have lived here.
    pub lives: u64,
}

fn span(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// The settings of a manager.
pub(crate) fn manager_config(options: &Options, id: u64) -> ManagerConfig {
    let mut config = ManagerConfig::new(Epoch(id));
    config.queue_tasks = options.queue_tasks as usize;
    config.queue_bytes = options.queue_bytes;
    config.in_flight_tasks = options.in_flight_tasks as usize;
    config.client_tasks = options.client_tasks as usize;
    config.client_result_bytes = options.client_result_bytes;
    config.unread_bytes = 2 * options.client_result_bytes;
    config.reconnect_grace = span(options.reconnect_grace);
    config.lease = span(options.lease);
    config.restart_grace = span(options.restart_grace);
    config.resume_timeout = span(options.resume_timeout);
    config.runner_wait = span(options.runner_wait);
    config.turn_time = span(options.turn_time);
    if let Some(limit) = options.payload_max {
        config.payload_max = limit as usize;
    }
    config.inner = options.inner(options.old.managers);
    if !options.waiting_runs {
        config.inner.waiting_run = usize::MAX;
    }
    config
}

/// The settings of a worker.
pub(crate) fn worker_config(options: &Options, host: Host, count: u64, id: u64) -> WorkerConfig {
    let capacity = options.workers[usize::from(host - options.managers)];
    let mut config = WorkerConfig::new(PeerId(id), called(options, "w", host, count), capacity);
    config.addresses = usize::from(options.managers);
    config.max_requests = options.max_requests;
    config.memory_limit = options.memory_limit;
    config.kill_grace = span(options.kill_grace);
    config.drain_timeout = span(options.drain_timeout);
    config.held_results = options.held_results as usize;
    config.inner = options.inner(options.old.workers);
    config
}

/// Makes the machine of a host's next life.
pub(crate) fn boot(
    seed: u64,
    host: Host,
    count: u64,
    life: usize,
    now: u64,
    options: &Options,
) -> (Box<Process>, u64) {
    let clock = Clock::draw(seed, host, count, now, options);
    let id = mix(seed, &[11, u64::from(host), count]);
    let rng = stream(seed, &[12, u64::from(host), count]);
    let local = clock.read(now);
    let node = if host < options.managers {
        let config = manager_config(options, id);
        if let Err(error) = config.validate() {
            panic!("the simulator drew settings that contradict each other: {error}");
        }
        Node::Manager(Box::new(Manager::new(config, local)))
    } else if options.worker_hosts().contains(&host) {
        let config = worker_config(options, host, count, id);
        let pool = Pool::new(seed, life, host, count, options);
        Node::Worker(Box::new(Worker::new(config, rng, local)), pool)
    } else {
        let mut config = ClientConfig::new(PeerId(id), called(options, "c", host, count));
        config.addresses = usize::from(options.managers);
        config.retries = options.retries;
        config.tasks = options.client_held as usize;
        config.inner = options.inner(options.old.clients);
        Node::Client(Box::new(Client::new(config, rng, local)))
    };
    let process = Process {
        node,
        life,
        clock,
        inbox: VecDeque::new(),
        step_due: false,
        wake_at: None,
        conns: BTreeMap::new(),
        next_conn: 0,
        paused: 0,
        steps: 0,
        count,
        rng: stream(seed, &[13, u64::from(host), count]),
        numbers: BTreeMap::new(),
        peers: BTreeMap::new(),
        assigned: BTreeMap::new(),
        last_attempts: BTreeMap::new(),
        hostile: BTreeSet::new(),
    };
    (Box::new(process), id)
}

/// A fact in a manager's words.
pub(crate) fn for_manager(fact: Fact) -> Option<ManagerInput> {
    Some(match fact {
        Fact::Accepted(conn) => ManagerInput::Accepted {
            conn,
            from: None,
            access: Access::everything(),
        },
        Fact::Received(conn, message) => ManagerInput::Received {
            conn,
            message: at_manager(message),
        },
        Fact::Closed(conn) => ManagerInput::Closed { conn },
        Fact::Progress(conn) => ManagerInput::Progress { conn },
        Fact::Drain => ManagerInput::Drain,
        _ => return None,
    })
}

fn for_link<T: Told>(fact: Fact) -> Option<LinkInput<T>> {
    Some(match fact {
        Fact::Connected(conn) => LinkInput::Connected { conn },
        Fact::Received(conn, message) => LinkInput::Received {
            conn,
            message: at_peer(message),
        },
        Fact::Closed(conn) => LinkInput::Closed { conn },
        Fact::Progress(conn) => LinkInput::Progress { conn },
        _ => return None,
    })
}

/// A fact in a worker's words.
pub(crate) fn for_worker(fact: Fact) -> Option<WorkerInput> {
    Some(match fact {
        Fact::Pool(input) => WorkerInput::Pool(input),
        Fact::Drain => WorkerInput::Drain,
        Fact::Stop => WorkerInput::Stop,
        other => WorkerInput::Link(for_link(other)?),
    })
}

/// A fact in a client's words; submissions and cancels are calls of their own.
pub(crate) fn for_client(fact: Fact) -> Option<ClientInput> {
    Some(match fact {
        Fact::Stop => ClientInput::Stop,
        other => ClientInput::Link(for_link(other)?),
    })
}
