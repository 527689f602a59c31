//! What machines tell the log: safe to drop, never acted upon.

use alloc::string::String;
use core::net::SocketAddr;

use crate::ids::{Attempt, ConnId, Epoch, PeerId, SlotId, TaskId};
use crate::message::RefuseReason;
use crate::name::Name;
use crate::protocol_error::ProtocolError;
use crate::task::{AttemptLoss, ExitCause, RejectReason};

/// Why a machine closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseReason {
    /// The peer said goodbye, or was refused.
    Done,
    /// The peer was refused.
    Refused(RefuseReason),
    /// A newer connection of the same process took over.
    Superseded,
    /// The peer was silent for longer than the lease.
    Silent,
    /// The handshake took too long.
    HandshakeTimeout,
    /// The peer broke the protocol; what it did.
    Protocol(ProtocolError),
    /// The client tries another manager, which may have workers.
    MovedOn,
    /// The machine is stopping.
    Stopping,
}

/// Something worth a line in the log. The variants that simulations count as coverage are those
/// of rare branches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub enum Event {
    /// A worker or client was let in.
    PeerJoined {
        peer: PeerId,
        name: Name,
        holder: Option<Name>,
        resumed: bool,
    },
    /// A connection of a peer ended; its session is kept for a while.
    PeerDisconnected { peer: PeerId },
    /// A session ended.
    PeerGone {
        peer: PeerId,
        name: Name,
        why: &'static str,
    },
    /// A worker came in under the name of another, whose connection was closed.
    NameTaken {
        name: Name,
        by: PeerId,
        from: PeerId,
    },
    /// Tasks fail at a worker that do well elsewhere: it gets one at a time until one completes.
    WorkerDoubted { name: Name },
    /// A worker that was here has not come back, or was silent: its tasks are tried elsewhere.
    WorkerLost { name: Name, loss: AttemptLoss },
    /// A worker runs other names than all others, of which there are as many groups as may be.
    GroupRefused { name: Name },
    /// All processes of all workers have waited for tasks of their own for a while, and none is left
    /// to run those.
    AllWait { processes: u64 },
    /// A connection was refused.
    PeerRefused {
        conn: ConnId,
        from: Option<SocketAddr>,
        holder: Option<Name>,
        reason: RefuseReason,
    },
    /// A connection was closed by us.
    ConnClosed {
        conn: ConnId,
        from: Option<SocketAddr>,
        reason: CloseReason,
    },
    /// Submissions in a row were refused.
    TasksRejected {
        /// The first; the numbers of the others rise by one.
        first: TaskId,
        count: u32,
        reason: RejectReason,
    },
    /// An attempt was charged to a loss.
    AttemptCharged {
        task: TaskId,
        attempt: Attempt,
        loss: AttemptLoss,
    },
    /// An attempt was given up elsewhere and its task queued again.
    TaskReturned { task: TaskId },
    /// A worker that came back still had the attempt, and no other was assigned.
    AttemptAdopted { task: TaskId, attempt: Attempt },
    /// A worker reported an attempt of a task whose client has yet to return.
    OrphanKept { task: TaskId, attempt: Attempt },
    /// A resubmitted task was matched with an orphan.
    OrphanMatched { task: TaskId, attempt: Attempt },
    /// A result or loss of an attempt that no longer counts was ignored.
    StaleIgnored { task: TaskId, attempt: Attempt },
    /// A waiting attempt was recalled from a busy worker.
    Recalled { task: TaskId, attempt: Attempt },
    /// A resubmitted task was held for a worker to claim it.
    TaskUnclaimed { task: TaskId },
    /// A task ended without a result after its attempts were used up.
    PoisonStopped { task: TaskId },
    /// A task is lost.
    TaskLost { task: TaskId },
    /// A client's session was resumed.
    SessionResumed { peer: PeerId },
    /// A result was acknowledged to its worker before its client answered.
    ResultReleasedEarly { task: TaskId },
    /// Draining began.
    DrainStarted,
    /// The link to a manager is up.
    LinkUp {
        epoch: Epoch,
        resumed: bool,
        address: usize,
    },
    /// The link to a manager is down.
    LinkDown { reason: LinkDown },
    /// The manager refused this peer; it tries again.
    LinkRefused { reason: RefuseReason },
    /// A pool process is ready.
    SlotReady { slot: SlotId },
    /// A pool process ended, of itself or because it was asked to.
    SlotExited {
        slot: SlotId,
        cause: ExitCause,
        asked: bool,
        reached: Reached,
        stderr: String,
    },
    /// The machine lacks what an attempt needs (memory, descriptors); the worker runs one process less for a while.
    Unavailable { slot: SlotId, message: String },
    /// An attempt broke its time limit and its pool process is being stopped.
    TimeLimitHit { task: TaskId },
    /// An attempt broke its memory limit and its pool process is being killed.
    MemoryLimitHit { task: TaskId, bytes: u64 },
    /// A task is submitted again after a rejection.
    Retrying {
        task: TaskId,
        reason: RejectReason,
        retries: u32,
    },
    /// All results held are waiting for acknowledgement; nothing new is taken.
    ResultsFull,
}

/// How far a pool process got before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// It never said that it is ready.
    Nothing,
    /// It was ready, and ran no attempt to its end.
    Ready,
    /// It ran at least one.
    Served,
}

/// Why a link is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkDown {
    /// It could not be opened.
    Unreachable,
    /// The other side closed it, or the network did.
    Closed,
    /// We closed it.
    Ours(CloseReason),
}
