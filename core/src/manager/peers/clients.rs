//! The clients that are here or are expected back.
//!
//! Owns: their sessions, by key and by process, and which of those that are away could be forgotten.
//! Others read sessions; they change them through this file alone.

use alloc::collections::BTreeMap;
use core::ops::Index;

use crate::arena::Arena;
use crate::ids::{ConnId, PeerId, PoolProcess};
use crate::name::Name;
use crate::queue::ClientKey;
use crate::time::{AwakeInstant, Timers};

use super::session::ClientSession;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(in crate::manager) struct Clients {
    sessions: Arena<ClientKey, ClientSession>,
    by_id: BTreeMap<PeerId, ClientKey>,
    /// Those that are away and have nothing here, by when they left.
    idle: Timers<ClientKey, AwakeInstant>,
}

impl Clients {
    pub(in crate::manager) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(in crate::manager) fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (ClientKey, &ClientSession)> {
        self.sessions.iter()
    }

    /// The session of this process.
    pub(in crate::manager) fn find(&self, id: PeerId) -> Option<ClientKey> {
        self.by_id.get(&id).copied()
    }

    /// Begins the session of a process that has none.
    pub(in crate::manager) fn insert(
        &mut self,
        awake: AwakeInstant,
        id: PeerId,
        name: Name,
        holder: Option<Name>,
    ) -> ClientKey {
        let session = ClientSession::new(id, name, holder, awake);
        let key = self.sessions.insert(session);
        self.by_id.insert(id, key);
        key
    }

    /// Ends a session.
    pub(in crate::manager) fn remove(&mut self, key: ClientKey) -> ClientSession {
        self.idle.cancel(key);
        let session = self.sessions.remove(key);
        self.by_id.remove(&session.peer.id);
        session
    }

    /// The client is here, on its connection of this number; it goes on, or begins anew.
    pub(in crate::manager) fn connect(
        &mut self,
        awake: AwakeInstant,
        key: ClientKey,
        conn: ConnId,
        number: u64,
        resumed: bool,
    ) {
        self.idle.cancel(key);
        let session = &mut self.sessions[key];
        session.peer.connect(awake, conn, number);
        if !resumed {
            session.since = awake;
        }
    }

    /// The client is away; with nothing here, it may be forgotten.
    pub(in crate::manager) fn disconnect(
        &mut self,
        awake: AwakeInstant,
        key: ClientKey,
        idle: bool,
    ) {
        self.sessions[key].peer.conn = None;
        if idle {
            self.idle.set(key, awake);
        }
    }

    /// The client has spoken within this session.
    pub(in crate::manager) fn heard(&mut self, awake: AwakeInstant, key: ClientKey) {
        let session = &mut self.sessions[key];
        session.peer.heard = awake;
        session.confirmed = true;
    }

    /// A task of the client was rejected.
    pub(in crate::manager) fn rejected(&mut self, key: ClientKey, tasks: u32) {
        self.sessions[key].rejected += u64::from(tasks);
    }

    /// The client runs in this process of a pool, or in none.
    pub(in crate::manager) fn set_within(&mut self, key: ClientKey, process: Option<PoolProcess>) {
        self.sessions[key].within = process;
    }

    /// The client that has been away longest and has nothing here.
    pub(in crate::manager) fn longest_idle(&self) -> Option<ClientKey> {
        let (_, key) = self.idle.next()?;
        Some(key)
    }

    /// Asserts that indexes and sessions agree; `is_empty` says which clients have nothing here.
    pub(in crate::manager) fn check_invariants(&self, is_empty: impl Fn(ClientKey) -> bool) {
        assert_eq!(self.sessions.len(), self.by_id.len());
        let mut idle = 0;
        for (key, session) in &self.sessions {
            assert_eq!(self.by_id.get(&session.peer.id), Some(&key));
            if self.idle.get(key).is_some() {
                assert!(session.peer.conn.is_none() && is_empty(key));
                idle += 1;
            }
        }
        assert_eq!(idle, self.idle.len());
    }
}

impl Index<ClientKey> for Clients {
    type Output = ClientSession;

    fn index(&self, key: ClientKey) -> &ClientSession {
        &self.sessions[key]
    }
}
