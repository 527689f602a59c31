//! A client, a manager and a worker, with a task whose input comes back as its output.

use std::collections::VecDeque;
use std::time::Duration;

use argon_core::Machine;
use argon_core::access::Access;
use argon_core::capabilities::Capabilities;
use argon_core::client::{Client, ClientConfig, ClientInput, ClientOutput, Delivery};
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::manager::{Manager, ManagerConfig, ManagerInput, ManagerOutput};
use argon_core::message::{
    FromClient, FromWorker, Message, Said, ToClient, ToManager, ToPeer, ToWorker, Version,
};
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::rng::Rng;
use argon_core::stream::{Direction, StreamId, StreamSpec};
use argon_core::task::{Outcome, TaskSpec};
use argon_core::testing::{at_manager, at_peer, by_manager, by_peer};
use argon_core::time::Instant;
use argon_core::worker::{
    PoolInput, PoolOutput, RunEnd, Worker, WorkerConfig, WorkerInput, WorkerOutput,
};

use super::parties::{Application, Echo};

pub(super) const INPUT: StreamId = StreamId(0);
pub(super) const OUTPUT: StreamId = StreamId(1);
pub(super) const WINDOW: u32 = 4 * 1024;

/// A connection of a peer to the manager, as it is known at both ends.
#[derive(Debug, Default)]
struct Wire {
    /// What the peer and what the manager call it, while it is open.
    open: Option<(ConnId, ConnId)>,
    to_manager: VecDeque<Message<Said>>,
    to_peer: VecDeque<Message<Said>>,
    /// Whether streams are among what the peer, and what the manager, has sent and not heard to be written.
    unwritten: bool,
    unwritten_by_manager: bool,
}

pub(super) struct World {
    now: Instant,
    /// How many workers, managers and connections there were.
    workers: u64,
    managers: u64,
    conns: u64,
    manager: Manager,
    worker: Worker,
    client: Client,
    wires: [Wire; 2],
    echo: Option<Echo>,
    application: Application,
    size: u64,
    pub(super) delivered: Option<Delivery>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Worker,
}

impl Peer {
    pub(super) const BOTH: [Self; 2] = [Self::Client, Self::Worker];

    fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Worker => 1,
        }
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a good name")
}

fn new_manager(life: u64, now: Instant) -> Manager {
    let mut config = ManagerConfig::new(Epoch(life));
    config.inner.version = Version::STREAMS;
    config.inner.stream_ahead = 1_000;
    Manager::new(config, now)
}

fn new_worker(life: u64, now: Instant) -> Worker {
    let mut config = WorkerConfig::new(PeerId(100 + life), name(&format!("w{life}")), 1);
    config.inner.version = Version::STREAMS;
    config.inner.stream_ahead = 1_000;
    Worker::new(config, Rng::from_seed(life), now)
}

impl World {
    pub(super) fn new(size: u64) -> Self {
        let now = Instant::ZERO;
        let mut config = ClientConfig::new(PeerId(1), name("c"));
        config.inner.version = Version::STREAMS;
        config.inner.stream_ahead = 1_000;
        let mut world = Self {
            now,
            workers: 1,
            managers: 1,
            conns: 0,
            manager: new_manager(1, now),
            worker: new_worker(1, now),
            client: Client::new(config, Rng::from_seed(1), now),
            wires: [Wire::default(), Wire::default()],
            echo: None,
            application: Application::new(size),
            size,
            delivered: None,
        };
        let mut spec = TaskSpec::new(name("echo"), Payload::empty());
        spec.max_attempts = 16;
        let stream = |id, direction| StreamSpec {
            id,
            direction,
            window: WINDOW,
        };
        let streams = vec![
            stream(INPUT, Direction::ToAttempt),
            stream(OUTPUT, Direction::FromAttempt),
        ];
        let submitted = world.client.submit_with_streams(now, spec, streams);
        submitted.expect("the client has room");
        world.finish_all();
        world
    }

    /// Ends a step of every machine: what they want done is done, or is under way.
    fn finish_all(&mut self) {
        self.finish_client();
        self.finish_worker();
        self.finish_manager();
    }

    fn finish_client(&mut self) {
        self.client.settle(self.now);
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Link(output) => self.on_link(Peer::Client, output),
                ClientOutput::Deliver(deliveries) => {
                    for delivery in deliveries {
                        assert!(self.delivered.replace(delivery).is_none(), "one outcome");
                    }
                }
                ClientOutput::StreamsBegin { attempt, .. } => {
                    self.application.begin(attempt);
                }
                ClientOutput::Stream { of, event } => self.application.hear(of, event),
                ClientOutput::Notify(_) | ClientOutput::Stopped => {}
            }
        }
        self.client.check_invariants();
    }

    fn finish_worker(&mut self) {
        self.worker.settle(self.now);
        while let Some(output) = self.worker.poll_output() {
            match output {
                WorkerOutput::Link(output) => self.on_link(Peer::Worker, output),
                WorkerOutput::Pool(output) => self.on_pool(output),
                WorkerOutput::Notify(_) | WorkerOutput::Replaced | WorkerOutput::Stopped => {}
            }
        }
        self.worker.check_invariants();
    }

    fn on_pool(&mut self, output: PoolOutput) {
        match output {
            PoolOutput::Spawn { slot } => {
                let capabilities = Capabilities::anything();
                self.tell_worker(PoolInput::Ready { slot, capabilities });
            }
            PoolOutput::RunStreams { slot, job, streams } => {
                assert_eq!(streams.len(), 2);
                assert!(self.echo.is_none(), "one attempt at a time");
                self.echo = Some(Echo::new(slot, job.attempt));
            }
            PoolOutput::Stream { slot, of, event } => {
                if let Some(echo) = self.echo.as_mut().filter(|echo| echo.slot == slot) {
                    echo.hear(of, event);
                }
            }
            PoolOutput::Run { .. } | PoolOutput::RunMany { .. } => panic!("it has streams"),
            PoolOutput::Terminate { slot }
            | PoolOutput::Kill { slot }
            | PoolOutput::Retire { slot } => {
                self.echo = None;
                let cause = argon_core::task::ExitCause::Signal(9);
                let stderr = String::new();
                self.tell_worker(PoolInput::Exited {
                    slot,
                    cause,
                    stderr,
                });
            }
        }
    }

    fn tell_worker(&mut self, input: PoolInput) {
        self.worker.handle_input(self.now, WorkerInput::Pool(input));
    }

    fn finish_manager(&mut self) {
        self.manager.settle(self.now);
        while let Some(output) = self.manager.poll_output() {
            match output {
                ManagerOutput::Send { conn, message } => {
                    if let Some(peer) = self.peer_of(conn) {
                        let wire = &mut self.wires[peer.index()];
                        let message = by_manager(message);
                        wire.unwritten_by_manager |= is_chunk(&message);
                        wire.to_peer.push_back(message);
                    }
                }
                ManagerOutput::Close { conn, .. } => {
                    if let Some(peer) = self.peer_of(conn) {
                        self.close_at_peer(peer);
                    }
                }
                ManagerOutput::Notify(_) | ManagerOutput::Drained => {}
            }
        }
        self.manager.check_invariants();
    }

    fn peer_of(&self, conn: ConnId) -> Option<Peer> {
        let is_its = |peer: &Peer| self.conn_at_manager(*peer) == Some(conn);
        Peer::BOTH.into_iter().find(is_its)
    }

    fn conn_at_manager(&self, peer: Peer) -> Option<ConnId> {
        self.wires[peer.index()].open.map(|(_, conn)| conn)
    }

    fn on_link(&mut self, peer: Peer, output: LinkOutput) {
        match output {
            LinkOutput::Connect { conn, .. } => {
                self.conns += 1;
                self.wires[peer.index()] = Wire {
                    open: Some((conn, ConnId(self.conns))),
                    ..Wire::default()
                };
                self.tell_link(peer, Fact::Connected);
                if let Some(conn) = self.conn_at_manager(peer) {
                    let (from, access) = (None, Access::everything());
                    let input = ManagerInput::Accepted { conn, from, access };
                    self.manager.handle_input(self.now, input);
                }
            }
            LinkOutput::Send { message, .. } => {
                let wire = &mut self.wires[peer.index()];
                let message = by_peer(message);
                wire.unwritten |= is_chunk(&message);
                wire.to_manager.push_back(message);
            }
            LinkOutput::Close { .. } => self.close_at_manager(peer),
        }
    }

    fn tell_link(&mut self, peer: Peer, fact: impl Fn(ConnId) -> Fact) {
        let Some((conn, _)) = self.wires[peer.index()].open else {
            return;
        };
        match peer {
            Peer::Client => {
                let input = ClientInput::Link(fact(conn).into_input());
                self.client.handle_input(self.now, input);
            }
            Peer::Worker => {
                let input = WorkerInput::Link(fact(conn).into_input());
                self.worker.handle_input(self.now, input);
            }
        }
    }

    fn close_at_peer(&mut self, peer: Peer) {
        self.tell_link(peer, Fact::Closed);
        self.wires[peer.index()] = Wire::default();
    }

    fn close_at_manager(&mut self, peer: Peer) {
        if let Some(conn) = self.conn_at_manager(peer) {
            let input = ManagerInput::Closed { conn };
            self.manager.handle_input(self.now, input);
        }
        self.wires[peer.index()] = Wire::default();
    }

    /// The connection is cut: both ends learn of it, and what was under way is lost.
    pub(super) fn cut(&mut self, peer: Peer) {
        if let Some(conn) = self.conn_at_manager(peer) {
            let input = ManagerInput::Closed { conn };
            self.manager.handle_input(self.now, input);
        }
        self.close_at_peer(peer);
        self.finish_all();
    }

    /// The manager is another, which knows nothing.
    pub(super) fn restart_manager(&mut self) {
        for peer in Peer::BOTH {
            self.close_at_peer(peer);
        }
        self.managers += 1;
        self.manager = new_manager(self.managers, self.now);
        self.finish_all();
    }

    /// The worker's process is another, and what ran in it is gone.
    pub(super) fn restart_worker(&mut self) {
        self.close_at_manager(Peer::Worker);
        self.echo = None;
        self.workers += 1;
        self.worker = new_worker(self.workers, self.now);
        self.finish_all();
    }

    /// A message comes to the manager.
    pub(super) fn manager_hears(&mut self, peer: Peer) -> bool {
        let Some(message) = self.wires[peer.index()].to_manager.pop_front() else {
            return false;
        };
        if let Some(conn) = self.conn_at_manager(peer) {
            let message = at_manager(message);
            let input = ManagerInput::Received { conn, message };
            self.manager.handle_input(self.now, input);
        }
        self.finish_all();
        true
    }

    /// A message comes from the manager.
    pub(super) fn peer_hears(&mut self, peer: Peer) -> bool {
        let wire = &mut self.wires[peer.index()];
        let (Some(message), Some((conn, _))) = (wire.to_peer.pop_front(), wire.open) else {
            return false;
        };
        match peer {
            Peer::Client => {
                let message = at_peer(message);
                let input = ClientInput::Link(LinkInput::Received { conn, message });
                self.client.handle_input(self.now, input);
            }
            Peer::Worker => {
                let message = at_peer(message);
                let input = WorkerInput::Link(LinkInput::Received { conn, message });
                self.worker.handle_input(self.now, input);
            }
        }
        self.finish_all();
        true
    }

    /// All that was sent is written, everywhere.
    pub(super) fn written(&mut self) {
        for peer in Peer::BOTH {
            let wire = &mut self.wires[peer.index()];
            let by_peer = core::mem::take(&mut wire.unwritten);
            let by_manager = core::mem::take(&mut wire.unwritten_by_manager);
            if by_peer {
                self.tell_link(peer, Fact::Written);
            }
            if by_manager && let Some(conn) = self.conn_at_manager(peer) {
                let input = ManagerInput::Written { conn };
                self.manager.handle_input(self.now, input);
            }
        }
        self.finish_all();
    }

    /// The application writes and reads, so much at most.
    pub(super) fn application_works(&mut self, most: usize) -> bool {
        if self.delivered.is_some() {
            return false;
        }
        let uses = self.application.works(most);
        let works = !uses.is_empty();
        for (of, usage) in uses {
            let input = ClientInput::Stream { of, usage };
            self.client.handle_input(self.now, input);
        }
        self.finish_all();
        works
    }

    /// The process writes what it read, and ends with its input.
    pub(super) fn echo_works(&mut self) -> bool {
        let Some(echo) = &mut self.echo else {
            return false;
        };
        let (slot, attempt) = (echo.slot, echo.attempt);
        let uses = echo.works();
        let (works, is_done) = (!uses.is_empty(), echo.is_done());
        for (of, usage) in uses {
            self.tell_worker(PoolInput::Stream { slot, of, usage });
        }
        if is_done {
            self.echo = None;
            self.tell_worker(PoolInput::Done {
                slot,
                attempt,
                ran: Duration::ZERO,
                end: RunEnd::Completed,
                payload: Payload::from("done"),
            });
        }
        self.finish_all();
        works || is_done
    }

    /// Time passes until something is due.
    pub(super) fn time_passes(&mut self) -> bool {
        let deadlines = [
            self.client.poll_timeout(),
            self.worker.poll_timeout(),
            self.manager.poll_timeout(),
        ];
        let Some(next) = deadlines.into_iter().flatten().map(|next| next.at).min() else {
            return false;
        };
        self.now = next.max(self.now);
        self.client.handle_timeout(self.now);
        self.worker.handle_timeout(self.now);
        self.manager.handle_timeout(self.now);
        self.finish_all();
        true
    }

    /// Lets everything happen that happens without faults, until the task has ended.
    pub(super) fn settle(&mut self) {
        for _ in 0..20_000 {
            if self.delivered.is_some() {
                break;
            }
            let moved = self.manager_hears(Peer::Client)
                || self.manager_hears(Peer::Worker)
                || self.peer_hears(Peer::Client)
                || self.peer_hears(Peer::Worker)
                || self.echo_works()
                || self.application_works(usize::MAX);
            if !moved {
                self.written();
                self.time_passes();
            }
        }
        // The acknowledgement goes its way too: then nothing is left.
        while Peer::BOTH
            .iter()
            .any(|peer| self.manager_hears(*peer) || self.peer_hears(*peer))
        {}
        let outcome = self.delivered.as_ref().map(|delivery| &delivery.outcome);
        assert!(
            matches!(outcome, Some(Outcome::Completed(_))),
            "{outcome:?} {:?} {:?}",
            self.application,
            self.echo
        );
        assert!(self.application.whole, "the output came before the outcome");
        assert_eq!(self.application.read, self.size);
    }

    /// Lets everything happen but that what was said by or to a peer arrives, from when on something of the
    /// output has come.
    pub(super) fn run_until_under_way(&mut self, held_up: Peer) {
        for _ in 0..2_000 {
            let is_held = |peer: Peer| self.application.read > 0 && peer == held_up;
            let free: Vec<Peer> = Peer::BOTH
                .into_iter()
                .filter(|peer| !is_held(*peer))
                .collect();
            let moved = free
                .into_iter()
                .any(|peer| self.manager_hears(peer) || self.peer_hears(peer))
                || self.echo_works()
                || self.application_works(1_000);
            if !moved {
                self.written();
                if self.application.read > 0 {
                    return;
                }
                self.time_passes();
            }
        }
        panic!("nothing comes of it");
    }

    /// How often the streams began.
    pub(super) fn begun(&self) -> u32 {
        self.application.begun
    }
}

fn is_chunk(message: &Message<Said>) -> bool {
    matches!(
        message.body,
        Said::ToManager(ToManager::Client(FromClient::StreamChunk(_)))
            | Said::ToManager(ToManager::Worker(FromWorker::StreamChunk(_)))
            | Said::FromManager(ToPeer::Client(ToClient::StreamChunk(_)))
            | Said::FromManager(ToPeer::Worker(ToWorker::StreamChunk(_)))
    )
}

/// What a link may be told, for either peer.
enum Fact {
    Connected(ConnId),
    Written(ConnId),
    Closed(ConnId),
}

impl Fact {
    fn into_input<T>(self) -> LinkInput<T> {
        match self {
            Self::Connected(conn) => LinkInput::Connected { conn },
            Self::Written(conn) => LinkInput::Written { conn },
            Self::Closed(conn) => LinkInput::Closed { conn },
        }
    }
}
