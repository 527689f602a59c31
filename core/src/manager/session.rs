//! What the manager knows of its peers: connections, and the sessions that outlive them.

use alloc::collections::BTreeMap;
use core::net::SocketAddr;

use crate::failure_detector::FailureDetector;
use crate::ids::{Attempt, ConnId, PeerId, PoolProcess, TaskId};
use crate::message::Version;
use crate::name::Name;
use crate::queue::{ClientKey, TaskKey};
use crate::router::{Score, Speed, WorkerKey};
use crate::seq_map::SeqMap;
use crate::time::{AwakeInstant, Instant};

use super::abilities::KindKey;
use super::trust::Doubt;

/// A connection and who is at its other end.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) peer: Peer,
    pub(super) detector: FailureDetector,
    pub(super) from: Option<SocketAddr>,
    /// What both speak, from the welcome on.
    pub(super) version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Has not said hello.
    Pending,
    Observer,
    Client(ClientKey),
    Worker(WorkerKey),
}

/// A client, connected or expected back.
#[derive(Clone, Debug)]
pub(super) struct ClientSession {
    pub(super) id: PeerId,
    pub(super) name: Name,
    pub(super) conn: Option<ConnId>,
    /// The process of a pool that it runs in.
    pub(super) within: Option<PoolProcess>,
    /// The client's number of its present or last connection.
    pub(super) connection: u64,
    /// The client has spoken within this session, so it knows of it. If its first `Welcome` was
    /// lost, it must be told again that the session is new.
    pub(super) confirmed: bool,
    /// When the client last began anew here: whatever it had under way before, elsewhere or in an
    /// earlier life of this manager, workers may claim from then on.
    pub(super) since: AwakeInstant,
    pub(super) rejected: u64,
    pub(super) heard: AwakeInstant,
}

impl ClientSession {
    pub(super) fn new(id: PeerId, name: Name, awake: AwakeInstant) -> Self {
        Self {
            id,
            name,
            conn: None,
            within: None,
            connection: 0,
            confirmed: false,
            since: awake,
            rejected: 0,
            heard: awake,
        }
    }
}

/// What an attempt at a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A task that is here and has no outcome.
    Live(TaskKey),
    /// A task of a client that has yet to return after a restart of the manager.
    Orphan(TaskId),
    /// A task that ended: the attempt only occupies the worker until it has let go.
    Obsolete,
}

/// An attempt that occupies a worker.
#[derive(Clone, Debug)]
pub(super) struct Occupied {
    pub(super) purpose: Purpose,
    pub(super) at: Instant,
    pub(super) bytes: u32,
    /// Asked back and not yet answered: since when, and the how many-th counted
    /// message of the connection asked.
    pub(super) asked_back: Option<(AwakeInstant, u64)>,
    /// The worker has said that it may have started: asking again is of no use.
    pub(super) started: bool,
    /// Reported, or assigned since the last report.
    pub(super) seen: bool,
}

/// A worker, connected or expected back.
#[derive(Clone, Debug)]
pub(super) struct WorkerSession {
    pub(super) id: PeerId,
    pub(super) name: Name,
    pub(super) conn: Option<ConnId>,
    pub(super) connection: u64,
    pub(super) capacity: u32,
    pub(super) window: u32,
    /// The kind of what it said last that it can run.
    pub(super) kind: Option<KindKey>,
    /// When it last came in.
    pub(super) joined: AwakeInstant,
    pub(super) draining: bool,
    /// Its report after the last connection is complete.
    pub(super) reported: bool,
    /// It was with another manager since its last complete report: what it does not report may
    /// have ended there.
    pub(super) elsewhere: bool,
    /// Its attempts were given up on when it was last lost.
    pub(super) released: bool,
    /// Attempts that it has, oldest first.
    pub(super) attempts: SeqMap<Attempt, Occupied>,
    pub(super) bytes: u64,
    /// Results that it holds for clients that have yet to return.
    pub(super) results: BTreeMap<Attempt, TaskId>,
    /// Of these, the ones that its report has yet to confirm after a reconnect.
    pub(super) unreported_results: BTreeMap<Attempt, TaskId>,
    pub(super) speed: Speed,
    pub(super) doubt: Doubt,
    /// It is counted among those of its kind that are there and not doubted.
    pub(super) counted_trusted: bool,
    /// When it last finished something.
    pub(super) progress: Instant,
    pub(super) finished: u64,
    pub(super) failed: u64,
    pub(super) heard: AwakeInstant,
}

impl WorkerSession {
    pub(super) fn new(
        id: PeerId,
        name: Name,
        capacity: u32,
        now: Instant,
        awake: AwakeInstant,
    ) -> Self {
        Self {
            id,
            name,
            conn: None,
            connection: 0,
            capacity,
            window: 0,
            kind: None,
            joined: awake,
            draining: false,
            reported: false,
            elsewhere: false,
            released: false,
            attempts: SeqMap::default(),
            bytes: 0,
            results: BTreeMap::new(),
            unreported_results: BTreeMap::new(),
            speed: Speed::new(),
            doubt: Doubt::default(),
            counted_trusted: false,
            progress: now,
            finished: 0,
            failed: 0,
            heard: awake,
        }
    }

    /// Attempts that occupy it.
    pub(super) fn outstanding(&self) -> u32 {
        self.attempts.len() as u32
    }

    /// Whether it can run another attempt at once.
    pub(super) fn has_idle_slot(&self) -> bool {
        self.outstanding() < self.capacity.min(self.window)
    }

    /// Whether it is connected and takes tasks.
    pub(super) fn is_there(&self) -> bool {
        self.conn.is_some() && self.reported && !self.draining
    }

    /// Whether it is there and not doubted.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_there() && self.doubt.is_trusted()
    }

    /// How good it would be to give it a task now; `None` if it takes none, or has payloads of
    /// `window_bytes` already.
    pub(super) fn score(&self, window_bytes: u64) -> Option<Score> {
        let ready = self.is_there() && self.doubt.lets(self.outstanding(), self.capacity);
        let room = self.outstanding() < self.window && self.bytes < window_bytes;
        (ready && room).then(|| Score::new(&self.speed, self.outstanding(), self.capacity))
    }

    pub(super) fn occupy(&mut self, attempt: Attempt, occupied: Occupied) {
        self.bytes += u64::from(occupied.bytes);
        let is_new = self.attempts.insert(attempt, occupied);
        debug_assert!(is_new, "an attempt is assigned once");
    }

    pub(super) fn vacate(&mut self, attempt: Attempt) -> Option<Occupied> {
        let occupied = self.attempts.remove(attempt)?;
        self.bytes -= u64::from(occupied.bytes);
        Some(occupied)
    }
}
