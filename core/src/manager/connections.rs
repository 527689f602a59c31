//! Connections: who is let in, heartbeats, silence, and what the end of a connection means.

use core::net::SocketAddr;

use crate::event::{CloseReason, Event};
use crate::failure_detector::FailureDetector;
use crate::ids::ConnId;
use crate::limits::{
    CAPACITY_MAX, CLIENTS_MAX, HANDSHAKE, HEARTBEATS_PER_LEASE, OBSERVERS_MAX, PENDING_PEERS_MAX,
    WORKERS_MAX,
};
use crate::message::{Beat, Body, Hello, MAGIC, RefuseReason, Role, VERSION, Version, Welcome};
use crate::protocol_error::ProtocolError;
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::task::AttemptLoss;
use crate::time::{AwakeInstant, Instant};

use super::session::{ClientSession, Conn, Peer, WorkerSession};
use super::workers::Leaving;
use super::{Manager, ManagerOutput, PeerTimer};

/// Workers that are remembered as shown out because of their name, the last of them.
const REPLACED_MAX: usize = 256;

/// What the end of a connection says about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// It may be back in a moment.
    Gone,
    /// It had a whole lease to say something.
    Silent,
    /// It is here on another connection, or has left for good.
    Replaced,
}

impl Manager {
    pub(super) fn on_accepted(&mut self, now: Instant, conn: ConnId, from: Option<SocketAddr>) {
        let awake = self.clock.at(now);
        if self.pending >= PENDING_PEERS_MAX {
            let reason = CloseReason::Refused(RefuseReason::Full);
            self.outputs
                .push_back(ManagerOutput::Close { conn, reason });
            return;
        }
        self.pending += 1;
        self.conns.insert(
            conn,
            Conn {
                peer: Peer::Pending,
                detector: FailureDetector::new(awake),
                from,
                version: VERSION,
            },
        );
        self.peer_timers
            .set(PeerTimer::Silence(conn), awake + HANDSHAKE);
        if self.peer_timers.get(PeerTimer::Tick).is_none() {
            let tick = awake + self.config.lease / HEARTBEATS_PER_LEASE;
            self.peer_timers.set(PeerTimer::Tick, tick);
        }
    }

    /// The connection is gone, by the other side's doing or the network's.
    pub(super) fn on_closed(&mut self, now: Instant, conn: ConnId) {
        self.disconnect(now, conn, Absent::Gone);
    }

    /// Closes a connection by our own doing.
    pub(super) fn close(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        if !self.conns.contains(conn) {
            return;
        }
        self.notify(Event::ConnClosed { conn, reason });
        self.outputs
            .push_back(ManagerOutput::Close { conn, reason });
        let absent = match reason {
            CloseReason::Silent => Absent::Silent,
            CloseReason::Protocol(_) => Absent::Gone,
            _ => Absent::Replaced,
        };
        self.disconnect(now, conn, absent);
    }

    /// Forgets the connection; the session of its peer goes on without it for a while.
    fn disconnect(&mut self, now: Instant, conn: ConnId, absent: Absent) {
        let Some(known) = self.conns.remove(conn) else {
            return;
        };
        self.peer_timers.cancel(PeerTimer::Silence(conn));
        self.peer_timers.cancel(PeerTimer::TakeBack(conn));
        match known.peer {
            Peer::Pending => self.pending -= 1,
            Peer::Observer => self.observers -= 1,
            Peer::Client(client) => self.on_client_cut_off(now, client),
            Peer::Worker(worker) => self.on_worker_cut_off(now, worker, absent),
        }
    }

    fn on_client_cut_off(&mut self, now: Instant, key: ClientKey) {
        let until = self.clock.at(now) + self.config.resume_window;
        let session = self.client(key);
        session.conn = None;
        let peer = session.id;
        self.peer_timers.set(PeerTimer::Client(key), until);
        self.note_idle_client(now, key);
        self.notify(Event::PeerDisconnected { peer });
    }

    fn on_worker_cut_off(&mut self, now: Instant, key: WorkerKey, absent: Absent) {
        let awake = self.clock.at(now);
        let session = self.worker(key);
        session.conn = None;
        session.reported = false;
        self.results.drop_acks(key);
        let session = self.worker(key);
        let peer = session.id;
        let capacity = if session.draining {
            0
        } else {
            session.capacity
        };
        self.connected_workers -= 1;
        self.capacity -= u64::from(capacity);
        self.rescore(key);
        self.pardon_needed();
        self.note_idle_worker(now, key);
        self.peer_timers
            .set(PeerTimer::Worker(key), awake + self.config.resume_window);
        self.notify(Event::PeerDisconnected { peer });
        match absent {
            Absent::Silent => self.release(now, key, AttemptLoss::WorkerSilent),
            Absent::Gone if self.config.reconnect_grace.is_zero() => {
                self.release(now, key, AttemptLoss::WorkerGone);
            }
            Absent::Gone => {
                self.peer_timers
                    .set(PeerTimer::Grace(key), awake + self.config.reconnect_grace);
            }
            Absent::Replaced => {}
        }
    }

    pub(super) fn on_ping(&mut self, now: Instant, conn: ConnId, beat: Beat) {
        let awake = self.clock.at(now);
        let Some(known) = self.conns.get_mut(conn) else {
            return;
        };
        if known.peer == Peer::Pending {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::BeforeHello));
        }
        if !known.detector.on_beat(awake, beat.received) {
            let reason = CloseReason::Protocol(ProtocolError::Overcounted);
            return self.close(now, conn, reason);
        }
        let answer = Beat {
            nonce: beat.nonce,
            received: known.detector.received(),
        };
        match known.peer {
            Peer::Client(client) => {
                let session = self.client(client);
                session.heard = awake;
                session.confirmed = true;
            }
            Peer::Worker(worker) => self.worker(worker).heard = awake,
            Peer::Pending | Peer::Observer => {}
        }
        self.outputs.push_back(ManagerOutput::Send {
            conn,
            message: Body::Pong(answer).into(),
        });
    }

    /// We do not read, so neither side may take the silence for the other's end.
    pub(super) fn on_paused(&mut self, awake: AwakeInstant, conn: ConnId) {
        if let Some(known) = self.conns.get_mut(conn) {
            known.detector.on_progress(awake);
            self.outputs.push_back(ManagerOutput::Send {
                conn,
                message: Body::Paused.into(),
            });
        }
    }

    pub(super) fn check_silence(&mut self, now: Instant, conn: ConnId) {
        let awake = self.clock.at(now);
        let Some(known) = self.conns.get(conn) else {
            return;
        };
        if known.peer == Peer::Pending {
            return self.close(now, conn, CloseReason::HandshakeTimeout);
        }
        let silent_at = known.detector.silent_at(self.config.lease);
        if silent_at <= awake {
            self.close(now, conn, CloseReason::Silent);
        } else {
            self.peer_timers.set(PeerTimer::Silence(conn), silent_at);
        }
    }

    pub(super) fn on_hello(&mut self, now: Instant, conn: ConnId, hello: Hello) {
        let stranger = self.conns.get(conn);
        let Some(stranger) = stranger.filter(|known| known.peer == Peer::Pending) else {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::SecondHello));
        };
        let from = stranger.from;
        if let Err(reason) = self.admit(now, conn, hello) {
            self.notify(Event::PeerRefused { conn, from, reason });
            self.outputs.push_back(ManagerOutput::Send {
                conn,
                message: Body::Refuse(reason).into(),
            });
            self.close(now, conn, CloseReason::Refused(reason));
        }
    }

    fn admit(&mut self, now: Instant, conn: ConnId, hello: Hello) -> Result<(), RefuseReason> {
        if hello.magic != MAGIC {
            return Err(RefuseReason::BadHello);
        }
        if hello.version.major != VERSION.major {
            return Err(RefuseReason::Version(VERSION));
        }
        let version = VERSION.agreed(hello.version);
        match hello.role {
            Role::Observer => {
                if self.observers >= OBSERVERS_MAX {
                    return Err(RefuseReason::Full);
                }
                self.observers += 1;
                self.welcome(now, conn, Peer::Observer, version, false);
            }
            Role::Client => self.admit_client(now, conn, hello, version)?,
            Role::Worker { capacity } => {
                if capacity == 0 || capacity > CAPACITY_MAX {
                    return Err(RefuseReason::BadCapacity);
                }
                self.admit_worker(now, conn, hello, capacity, version)?;
            }
        }
        Ok(())
    }

    fn welcome(&mut self, now: Instant, conn: ConnId, peer: Peer, version: Version, resumed: bool) {
        let awake = self.clock.at(now);
        self.pending -= 1;
        if let Some(known) = self.conns.get_mut(conn) {
            *known = Conn {
                peer,
                detector: FailureDetector::new(awake),
                from: known.from,
                version,
            };
        }
        self.peer_timers
            .set(PeerTimer::Silence(conn), awake + self.config.lease);
        let welcome = Welcome {
            version,
            epoch: self.config.epoch,
            resumed,
            lease: self.config.lease.into(),
            payload_max: self.config.payload_max as u32,
        };
        self.outputs.push_back(ManagerOutput::Send {
            conn,
            message: Body::Welcome(welcome).into(),
        });
    }

    fn admit_client(
        &mut self,
        now: Instant,
        conn: ConnId,
        hello: Hello,
        version: Version,
    ) -> Result<(), RefuseReason> {
        let awake = self.clock.at(now);
        let (key, resumed) = match self.clients_by_id.get(&hello.peer).copied() {
            Some(key) => {
                let session = &self.clients[key];
                let confirmed = session.confirmed;
                if hello.connection <= session.connection {
                    return Err(RefuseReason::OldConnection);
                }
                if let Some(old) = session.conn {
                    self.close(now, old, CloseReason::Superseded);
                }
                (key, confirmed && hello.session == Some(self.config.epoch))
            }
            None => {
                if self.clients.len() >= CLIENTS_MAX && !self.forget_idle_client(now) {
                    return Err(RefuseReason::Full);
                }
                let session = ClientSession::new(hello.peer, hello.name.clone(), awake);
                let key = self.clients.insert(session);
                self.tasks.open(key);
                self.results.open(key);
                self.clients_by_id.insert(hello.peer, key);
                (key, false)
            }
        };
        self.peer_timers.cancel(PeerTimer::Client(key));
        self.unnote_idle_client(key);
        let session = self.client(key);
        session.conn = Some(conn);
        session.connection = hello.connection;
        session.heard = awake;
        if !resumed {
            session.since = awake;
        }
        self.welcome(now, conn, Peer::Client(key), version, resumed);
        self.notify(Event::PeerJoined {
            peer: hello.peer,
            name: hello.name,
            resumed,
        });
        if resumed {
            self.notify(Event::SessionResumed { peer: hello.peer });
        }
        self.send_outcomes_again(now, key);
        Ok(())
    }

    /// A worker has come in under the name of another, mostly the same one started again. The other
    /// is told, if it is there, so that it does not come back and show this one out.
    fn replace(&mut self, now: Instant, key: WorkerKey, by: &Hello) {
        let session = self.worker(key);
        let (from, conn) = (session.id, session.conn);
        if let Some(conn) = conn {
            let name = session.name.clone();
            let by = by.peer;
            self.notify(Event::NameTaken { name, by, from });
            let refusal = Body::Refuse(RefuseReason::Replaced).into();
            self.outputs.push_back(ManagerOutput::Send {
                conn,
                message: refusal,
            });
        }
        if self.replaced.len() >= REPLACED_MAX {
            self.replaced.pop_front();
        }
        self.replaced.push_back(from);
        self.end_worker(now, key, Leaving::Replaced);
    }

    fn admit_worker(
        &mut self,
        now: Instant,
        conn: ConnId,
        hello: Hello,
        capacity: u32,
        version: Version,
    ) -> Result<(), RefuseReason> {
        let awake = self.clock.at(now);
        let known = self.workers_by_id.get(&hello.peer).copied();
        if let Some(key) = known {
            let session = &self.workers[key];
            if hello.connection <= session.connection {
                return Err(RefuseReason::OldConnection);
            }
            if let Some(old) = session.conn {
                self.close(now, old, CloseReason::Superseded);
            }
        }
        if self.replaced.contains(&hello.peer) {
            return Err(RefuseReason::Replaced);
        }
        if let Some(&namesake) = self.workers_by_name.get(&hello.name)
            && Some(namesake) != known
        {
            self.replace(now, namesake, &hello);
        }
        let key = match known {
            Some(key) => key,
            None => {
                if self.workers.len() >= WORKERS_MAX && !self.forget_idle_worker(now) {
                    return Err(RefuseReason::Full);
                }
                let session =
                    WorkerSession::new(hello.peer, hello.name.clone(), capacity, now, awake);
                let key = self.workers.insert(session);
                self.workers_by_id.insert(hello.peer, key);
                key
            }
        };
        self.workers_by_name.insert(hello.name.clone(), key);
        self.peer_timers.cancel(PeerTimer::Grace(key));
        self.peer_timers.cancel(PeerTimer::Worker(key));
        self.unnote_idle_worker(key);
        let resumed = known.is_some() && hello.session == Some(self.config.epoch);
        let session = self.worker(key);
        session.elsewhere |= known.is_some() && !resumed;
        let old_name = core::mem::replace(&mut session.name, hello.name.clone());
        session.conn = Some(conn);
        session.connection = hello.connection;
        session.capacity = capacity;
        session.window = 0;
        session.draining = false;
        session.reported = false;
        session.heard = awake;
        session.joined = awake;
        session.progress = now;
        session.unreported_results = session.results.clone();
        for occupied in session.attempts.values_mut() {
            occupied.seen = false;
            occupied.asked_back = None;
        }
        if old_name != hello.name && self.workers_by_name.get(&old_name) == Some(&key) {
            self.workers_by_name.remove(&old_name);
        }
        self.connected_workers += 1;
        self.capacity += u64::from(capacity);
        self.welcome(now, conn, Peer::Worker(key), version, resumed);
        self.notify(Event::PeerJoined {
            peer: hello.peer,
            name: hello.name,
            resumed,
        });
        Ok(())
    }
}
