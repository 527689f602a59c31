//! The workers that are here or are expected back, and which attempts each of them has.
//!
//! Owns: their sessions, by key, by process and by name; the slots of those that are here; who has more
//! attempts than slots; and which of those that are away could be forgotten. Others read sessions;
//! they change them through this file alone. Never: knows what makes a worker a good choice.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::ops::Index;

use crate::arena::Arena;
use crate::ids::{Attempt, ConnId, PeerId};
use crate::limits::{REPLACED_MAX, WINDOW_MAX};
use crate::manager::keys::{Assignee, RowKey};
use crate::message::{Hello, Role};
use crate::name::Name;
use crate::router::WorkerKey;
use crate::time::{AwakeInstant, Instant, Timers};

use super::session::{Occupied, Purpose, WorkerSession};

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(in crate::manager) struct Workers {
    sessions: Arena<WorkerKey, WorkerSession>,
    by_id: BTreeMap<PeerId, WorkerKey>,
    by_name: BTreeMap<Name, WorkerKey>,
    /// Workers whose name another has taken, the last of them; they are not let in again.
    replaced: VecDeque<PeerId>,
    /// Those that are away and have nothing here, by when they left.
    idle: Timers<WorkerKey, AwakeInstant>,
    /// Slots of the workers that are connected and take tasks.
    capacity: u64,
    connected: usize,
    /// Workers with more attempts than slots; tasks can be recalled from them.
    prefetching: BTreeSet<WorkerKey>,
}

impl Workers {
    pub(in crate::manager) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(in crate::manager) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Slots of the workers that are connected and take tasks.
    pub(in crate::manager) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How many are connected.
    pub(in crate::manager) fn connected(&self) -> usize {
        self.connected
    }

    /// Workers with more attempts than slots.
    pub(in crate::manager) fn prefetching(&self) -> &BTreeSet<WorkerKey> {
        &self.prefetching
    }

    pub(in crate::manager) fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (WorkerKey, &WorkerSession)> {
        self.sessions.iter()
    }

    pub(in crate::manager) fn get(&self, key: WorkerKey) -> Option<&WorkerSession> {
        self.sessions.get(key)
    }

    /// The session of this process.
    pub(in crate::manager) fn find(&self, id: PeerId) -> Option<WorkerKey> {
        self.by_id.get(&id).copied()
    }

    /// The session of the worker that last came in under this name.
    pub(in crate::manager) fn find_name(&self, name: &Name) -> Option<WorkerKey> {
        self.by_name.get(name).copied()
    }

    /// Whether another has taken the name of this process.
    pub(in crate::manager) fn is_replaced(&self, id: PeerId) -> bool {
        self.replaced.contains(&id)
    }

    /// Notes that another has taken the name of this process.
    pub(in crate::manager) fn replace(&mut self, id: PeerId) {
        if self.replaced.len() >= REPLACED_MAX {
            self.replaced.pop_front();
        }
        self.replaced.push_back(id);
    }

    /// Begins the session of a process that has none.
    pub(in crate::manager) fn insert(
        &mut self,
        now: Instant,
        awake: AwakeInstant,
        hello: &Hello,
        holder: Option<Name>,
    ) -> WorkerKey {
        let session = WorkerSession::new(hello.peer, hello.name.clone(), holder, now, awake);
        let key = self.sessions.insert(session);
        self.by_id.insert(hello.peer, key);
        key
    }

    /// Ends a session.
    pub(in crate::manager) fn remove(&mut self, key: WorkerKey) -> WorkerSession {
        self.idle.cancel(key);
        self.prefetching.remove(&key);
        let session = self.sessions.remove(key);
        self.by_id.remove(&session.peer.id);
        if self.by_name.get(&session.peer.name) == Some(&key) {
            self.by_name.remove(&session.peer.name);
        }
        session
    }

    /// The worker is here. It was `elsewhere` meanwhile, as far as anybody knows.
    pub(in crate::manager) fn connect(
        &mut self,
        now: Instant,
        awake: AwakeInstant,
        key: WorkerKey,
        conn: ConnId,
        hello: &Hello,
        elsewhere: bool,
    ) {
        let capacity = match hello.role {
            Role::Worker { capacity } => capacity,
            Role::Client | Role::Observer => 0,
        };
        self.idle.cancel(key);
        self.by_name.insert(hello.name.clone(), key);
        let session = &mut self.sessions[key];
        session.peer.connect(awake, conn, hello.connection);
        let old_name = core::mem::replace(&mut session.peer.name, hello.name.clone());
        session.elsewhere |= elsewhere;
        session.capacity = capacity;
        session.window = 0;
        session.draining = false;
        session.reported = false;
        session.joined = awake;
        session.progress = now;
        if old_name != hello.name && self.by_name.get(&old_name) == Some(&key) {
            self.by_name.remove(&old_name);
        }
        self.connected += 1;
        self.capacity += u64::from(capacity);
    }

    /// The worker is away; with nothing here, it may be forgotten.
    pub(in crate::manager) fn disconnect(
        &mut self,
        awake: AwakeInstant,
        key: WorkerKey,
        idle: bool,
    ) {
        let session = &mut self.sessions[key];
        session.peer.conn = None;
        session.reported = false;
        self.connected -= 1;
        if !session.draining {
            self.capacity -= u64::from(session.capacity);
        }
        if idle {
            self.idle.set(key, awake);
        }
    }

    /// The worker has said something.
    pub(in crate::manager) fn heard(&mut self, awake: AwakeInstant, key: WorkerKey) {
        self.sessions[key].peer.heard = awake;
    }

    /// So many attempts may be outstanding there.
    pub(in crate::manager) fn set_window(&mut self, key: WorkerKey, window: u32) {
        self.sessions[key].window = window.min(WINDOW_MAX);
    }

    /// The worker takes no more tasks.
    pub(in crate::manager) fn drain(&mut self, key: WorkerKey) {
        let session = &mut self.sessions[key];
        if !session.draining {
            session.draining = true;
            self.capacity -= u64::from(session.capacity);
        }
    }

    /// The report of the worker is complete. Says whether it was elsewhere before.
    pub(in crate::manager) fn reported(&mut self, key: WorkerKey) -> bool {
        let session = &mut self.sessions[key];
        session.reported = true;
        session.released = false;
        core::mem::take(&mut session.elsewhere)
    }

    /// The attempts of a worker that is away are given up on.
    pub(in crate::manager) fn release(&mut self, key: WorkerKey) {
        self.sessions[key].released = true;
    }

    /// Keeps the list of those that have more attempts than slots.
    pub(in crate::manager) fn update_prefetching(&mut self, key: WorkerKey) {
        if self.sessions[key].is_prefetching() {
            self.prefetching.insert(key);
        } else {
            self.prefetching.remove(&key);
        }
    }

    /// An attempt takes up a slot, or waits for one.
    pub(in crate::manager) fn occupy(&mut self, assignee: Assignee, mut occupied: Occupied) {
        let session = &mut self.sessions[assignee.worker];
        occupied.see(session.peer.connection);
        if session.outstanding() == 0 && !occupied.started {
            session.progress = occupied.at;
        }
        session.bytes += u64::from(occupied.bytes);
        let is_new = session.attempts.insert(assignee.attempt, occupied);
        debug_assert!(is_new, "an attempt is assigned once");
    }

    /// The attempt no longer occupies the worker.
    pub(in crate::manager) fn vacate(&mut self, assignee: Assignee) -> Option<Occupied> {
        let session = &mut self.sessions[assignee.worker];
        let occupied = session.attempts.remove(assignee.attempt)?;
        session.bytes -= u64::from(occupied.bytes);
        Some(occupied)
    }

    /// So many attempts, of which this is the first, take up slots or wait for them. They are of a row,
    /// and count so many bytes together.
    pub(in crate::manager) fn occupy_row(
        &mut self,
        now: Instant,
        first: Assignee,
        row: RowKey,
        tasks: u32,
        bytes: u64,
    ) {
        let session = &mut self.sessions[first.worker];
        if session.outstanding() == 0 {
            session.progress = now;
        }
        session.bytes += bytes;
        session.in_rows.attempts += tasks;
        session.in_rows.rows.insert(first.attempt, row);
    }

    /// So many attempts of this row no longer occupy the worker, which counted so many bytes together. The
    /// row `is_over` for it if it has no others.
    pub(in crate::manager) fn vacate_row(
        &mut self,
        first: Assignee,
        tasks: u32,
        bytes: u64,
        is_over: bool,
    ) {
        let session = &mut self.sessions[first.worker];
        session.bytes -= bytes;
        session.in_rows.attempts -= tasks;
        if is_over {
            session.in_rows.rows.remove(&first.attempt);
        }
    }

    /// An attempt of a row is known by itself from now on.
    pub(in crate::manager) fn leave_row(
        &mut self,
        first: Assignee,
        attempt: Attempt,
        occupied: Occupied,
        is_over: bool,
    ) {
        self.vacate_row(first, 1, 0, is_over);
        let session = &mut self.sessions[first.worker];
        let is_new = session.attempts.insert(attempt, occupied);
        debug_assert!(is_new, "an attempt is in one place");
    }

    /// The attempt is for something else now. False if the worker does not have it.
    pub(in crate::manager) fn set_purpose(&mut self, assignee: Assignee, purpose: Purpose) -> bool {
        let occupied = self.attempt(assignee);
        occupied
            .map(|occupied| occupied.purpose = purpose)
            .is_some()
    }

    /// The worker says that the attempt may have started.
    pub(in crate::manager) fn started(&mut self, assignee: Assignee) {
        if let Some(occupied) = self.attempt(assignee) {
            occupied.answer();
            occupied.started = true;
        }
    }

    /// The worker reports that it has the attempt: it may have started. Says what it is for.
    pub(in crate::manager) fn seen(&mut self, assignee: Assignee) -> Option<Purpose> {
        let connection = self.sessions[assignee.worker].peer.connection;
        let occupied = self.attempt(assignee)?;
        occupied.see(connection);
        occupied.started = true;
        Some(occupied.purpose)
    }

    /// The attempt is recalled, by a message of this number.
    pub(in crate::manager) fn mark_recalled(
        &mut self,
        awake: AwakeInstant,
        assignee: Assignee,
        message: u64,
    ) {
        let connection = self.sessions[assignee.worker].peer.connection;
        if let Some(occupied) = self.attempt(assignee) {
            occupied.recall(awake, message, connection);
        }
    }

    /// An attempt ended at the worker.
    pub(in crate::manager) fn progressed(&mut self, now: Instant, key: WorkerKey) {
        self.sessions[key].progress = now;
    }

    /// A task was finished there, with a result or without.
    pub(in crate::manager) fn finished(&mut self, key: WorkerKey, completed: bool) {
        let session = &mut self.sessions[key];
        session.finished += 1;
        session.failed += u64::from(!completed);
    }

    /// So many tasks were completed there.
    pub(in crate::manager) fn completed(&mut self, key: WorkerKey, tasks: u32) {
        self.sessions[key].finished += u64::from(tasks);
    }

    /// The worker that has been away longest and has nothing here.
    pub(in crate::manager) fn longest_idle(&self) -> Option<WorkerKey> {
        let (_, key) = self.idle.next()?;
        Some(key)
    }

    fn attempt(&mut self, assignee: Assignee) -> Option<&mut Occupied> {
        let session = &mut self.sessions[assignee.worker];
        session.attempts.get_mut(assignee.attempt)
    }

    /// Asserts that indexes, counts and sessions agree; `has_results` says which workers hold results.
    /// `in_row` says how many of a row are with its worker, and what they count for.
    pub(in crate::manager) fn check_invariants(
        &self,
        has_results: impl Fn(WorkerKey) -> bool,
        in_row: impl Fn(RowKey) -> (u32, u64),
    ) {
        assert_eq!(self.sessions.len(), self.by_id.len());
        assert!(self.by_name.len() <= self.sessions.len());
        let (mut connected, mut capacity, mut idle) = (0, 0, 0);
        for (key, session) in &self.sessions {
            assert_eq!(self.by_id.get(&session.peer.id), Some(&key));
            if session.peer.conn.is_some() {
                connected += 1;
                if !session.draining {
                    capacity += u64::from(session.capacity);
                }
            }
            let bytes = session.attempts.values();
            let mut bytes: u64 = bytes.map(|occupied| u64::from(occupied.bytes)).sum();
            let mut in_rows = 0;
            for row in session.rows() {
                let (tasks, of_row) = in_row(row);
                assert!(tasks > 0, "rows that are over are forgotten");
                in_rows += tasks;
                bytes += of_row;
            }
            assert_eq!((in_rows, bytes), (session.in_rows.attempts, session.bytes));
            if self.idle.get(key).is_some() {
                assert!(session.peer.conn.is_none());
                assert!(session.outstanding() == 0 && !has_results(key));
                idle += 1;
            }
        }
        assert_eq!(connected, self.connected);
        assert_eq!(capacity, self.capacity);
        assert_eq!(idle, self.idle.len());
    }
}

impl Index<WorkerKey> for Workers {
    type Output = WorkerSession;

    fn index(&self, key: WorkerKey) -> &WorkerSession {
        &self.sessions[key]
    }
}
