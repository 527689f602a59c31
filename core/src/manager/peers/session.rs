//! What the manager knows of a peer, whether it is connected or expected back.

use alloc::collections::BTreeMap;
use core::ops::Bound;

use crate::ids::{Attempt, ConnId, PeerId, PoolProcess, TaskId};
use crate::limits::ROW_TASKS_MAX;
use crate::manager::keys::RowKey;
use crate::name::Name;
use crate::queue::TaskKey;
use crate::seq_map::{SeqKey as _, SeqMap};
use crate::time::{AwakeInstant, Instant};

/// What is known of every peer that has a session.
#[derive(Clone, Debug)]
pub(in crate::manager) struct PeerSession {
    pub(in crate::manager) id: PeerId,
    pub(in crate::manager) name: Name,
    /// Whose key it came with. Nobody else goes on with the session.
    pub(in crate::manager) holder: Option<Name>,
    pub(in crate::manager) conn: Option<ConnId>,
    /// The peer's number of its present or last connection.
    pub(in crate::manager) connection: u64,
    pub(in crate::manager) heard: AwakeInstant,
}

impl PeerSession {
    fn new(id: PeerId, name: Name, holder: Option<Name>, awake: AwakeInstant) -> Self {
        Self {
            id,
            name,
            holder,
            conn: None,
            connection: 0,
            heard: awake,
        }
    }

    /// The peer is here, on its connection of this number.
    pub(super) fn connect(&mut self, awake: AwakeInstant, conn: ConnId, number: u64) {
        self.conn = Some(conn);
        self.connection = number;
        self.heard = awake;
    }
}

/// A client, connected or expected back.
#[derive(Clone, Debug)]
pub(in crate::manager) struct ClientSession {
    pub(in crate::manager) peer: PeerSession,
    /// The process of a pool that it runs in.
    pub(in crate::manager) within: Option<PoolProcess>,
    /// The client has spoken within this session, so it knows of it. If its first `Welcome` was
    /// lost, it must be told again that the session is new.
    pub(in crate::manager) confirmed: bool,
    /// When the client last began anew here: whatever it had under way before, elsewhere or in an
    /// earlier life of this manager, workers may claim from then on.
    pub(in crate::manager) since: AwakeInstant,
    pub(in crate::manager) rejected: u64,
}

impl ClientSession {
    pub(super) fn new(id: PeerId, name: Name, holder: Option<Name>, awake: AwakeInstant) -> Self {
        Self {
            peer: PeerSession::new(id, name, holder, awake),
            within: None,
            confirmed: false,
            since: awake,
            rejected: 0,
        }
    }
}

/// What an attempt at a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Purpose {
    /// A task that is here and has no outcome.
    Live(TaskKey),
    /// A task of a client that has yet to return after a restart of the manager.
    Orphan(TaskId),
    /// A task that ended: the attempt only occupies the worker until it has let go.
    Obsolete,
}

/// An attempt that occupies a worker.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Occupied {
    pub(in crate::manager) purpose: Purpose,
    pub(in crate::manager) at: Instant,
    pub(in crate::manager) bytes: u32,
    /// Recalled and not yet answered for, if by the present connection of its worker.
    recalled: Option<Question>,
    /// The worker has said that it may have started: asking again is of no use.
    pub(in crate::manager) started: bool,
    /// The last connection of its worker on which it was reported or assigned.
    seen: u64,
}

/// A question after an attempt.
#[derive(Clone, Copy, Debug)]
struct Question {
    since: AwakeInstant,
    /// Which of the messages that were sent on the connection, counted from 1.
    message: u64,
    /// The worker's number of the connection.
    connection: u64,
}

impl Occupied {
    /// One that is assigned now.
    pub(in crate::manager) fn assigned(task: TaskKey, now: Instant, bytes: u32) -> Self {
        Self {
            purpose: Purpose::Live(task),
            at: now,
            bytes,
            recalled: None,
            started: false,
            seen: 0,
        }
    }

    /// One that was assigned before, on this connection of its worker.
    pub(in crate::manager) fn of_row(task: TaskKey, at: Instant, bytes: u32, seen: u64) -> Self {
        Self {
            seen,
            ..Self::assigned(task, at, bytes)
        }
    }

    /// One that its worker reports. Its bytes are not known here.
    pub(in crate::manager) fn reported(purpose: Purpose, now: Instant) -> Self {
        Self {
            purpose,
            at: now,
            bytes: 0,
            recalled: None,
            started: true,
            seen: 0,
        }
    }
}

impl Occupied {
    /// It is reported or assigned on this connection of its worker.
    pub(super) fn see(&mut self, connection: u64) {
        self.seen = connection;
    }

    /// Its worker is asked for it, and may not have it.
    pub(super) fn recall(&mut self, since: AwakeInstant, message: u64, connection: u64) {
        self.recalled = Some(Question {
            since,
            message,
            connection,
        });
    }

    /// Its worker has answered.
    pub(super) fn answer(&mut self) {
        self.recalled = None;
    }
}

/// Attempts of a worker that are in rows.
#[derive(Clone, Debug, Default)]
pub(super) struct InRows {
    /// The rows, by the first attempt of each.
    pub(super) rows: BTreeMap<Attempt, RowKey>,
    pub(super) attempts: u32,
}

/// A worker, connected or expected back.
#[derive(Clone, Debug)]
pub(in crate::manager) struct WorkerSession {
    pub(in crate::manager) peer: PeerSession,
    pub(in crate::manager) capacity: u32,
    pub(in crate::manager) window: u32,
    /// When it last came in.
    pub(in crate::manager) joined: AwakeInstant,
    pub(in crate::manager) draining: bool,
    /// Its report after the last connection is complete.
    pub(in crate::manager) reported: bool,
    /// It was with another manager since its last complete report: what it does not report may
    /// have ended there.
    pub(super) elsewhere: bool,
    /// Its attempts were given up on when it was last lost.
    pub(in crate::manager) released: bool,
    /// Attempts that it has, oldest first, but for those of rows.
    pub(in crate::manager) attempts: SeqMap<Attempt, Occupied>,
    pub(super) in_rows: InRows,
    /// What they count for.
    pub(in crate::manager) bytes: u64,
    /// When it last finished something.
    pub(in crate::manager) progress: Instant,
    pub(in crate::manager) finished: u64,
    pub(in crate::manager) failed: u64,
}

impl WorkerSession {
    pub(super) fn new(
        id: PeerId,
        name: Name,
        holder: Option<Name>,
        now: Instant,
        awake: AwakeInstant,
    ) -> Self {
        Self {
            peer: PeerSession::new(id, name, holder, awake),
            capacity: 0,
            window: 0,
            joined: awake,
            draining: false,
            reported: false,
            elsewhere: false,
            released: false,
            attempts: SeqMap::default(),
            in_rows: InRows::default(),
            bytes: 0,
            progress: now,
            finished: 0,
            failed: 0,
        }
    }

    /// Whether it has reported this attempt of its since it came, or was given it.
    pub(in crate::manager) fn has_seen(&self, occupied: &Occupied) -> bool {
        occupied.seen == self.peer.connection
    }

    /// Since when this attempt of its is asked for on its connection, and by which of the messages
    /// there, counted from 1.
    pub(in crate::manager) fn asked(&self, occupied: &Occupied) -> Option<(AwakeInstant, u64)> {
        let question = occupied.recalled?;
        let is_open = question.connection == self.peer.connection;
        is_open.then_some((question.since, question.message))
    }

    /// Attempts that occupy it.
    pub(in crate::manager) fn outstanding(&self) -> u32 {
        self.attempts.len() as u32 + self.in_rows.attempts
    }

    /// Rows of which it has attempts, oldest first.
    pub(in crate::manager) fn rows(&self) -> impl DoubleEndedIterator<Item = RowKey> + '_ {
        self.in_rows.rows.values().copied()
    }

    /// The row in which this attempt may be, and its place there.
    pub(in crate::manager) fn row_around(&self, attempt: Attempt) -> Option<(RowKey, u8)> {
        let (first, row) = self.in_rows.rows.range(..=attempt).next_back()?;
        let place = u8::try_from(attempt.after(*first)?).ok()?;
        (usize::from(place) < ROW_TASKS_MAX).then_some((*row, place))
    }

    /// The rows that begin below this attempt, newest first.
    pub(in crate::manager) fn rows_below(
        &self,
        below: Option<Attempt>,
    ) -> impl Iterator<Item = RowKey> + '_ {
        let before = below.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.in_rows.rows.range((Bound::Unbounded, before));
        rows.rev().map(|(_, row)| *row)
    }

    /// Whether it can run another attempt at once.
    pub(in crate::manager) fn has_idle_slot(&self) -> bool {
        self.outstanding() < self.capacity.min(self.window)
    }

    /// Whether it is connected and takes tasks.
    pub(in crate::manager) fn is_there(&self) -> bool {
        self.peer.conn.is_some() && self.reported && !self.draining
    }

    /// The connection on which it has reported all that it has.
    pub(in crate::manager) fn reported_on(&self) -> Option<ConnId> {
        self.peer.conn.filter(|_| self.reported)
    }

    /// Whether it has more attempts than slots.
    pub(super) fn is_prefetching(&self) -> bool {
        self.reported_on().is_some() && self.outstanding() > self.capacity
    }
}
