//! Connections: who is let in, heartbeats, silence, and what the end of a connection means.

use core::net::SocketAddr;

use crate::access::Access;
use crate::event::{CloseReason, Event};
use crate::ids::ConnId;
use crate::limits::{CAPACITY_MAX, CLIENTS_MAX, HANDSHAKE, HEARTBEATS_PER_LEASE, WORKERS_MAX};
use crate::message::{Beat, Control, Hello, MAGIC, RefuseReason, Role, VERSION, Version, Welcome};
use crate::name::Name;
use crate::protocol_error::ProtocolError;
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::task::AttemptLoss;
use crate::time::{AwakeInstant, Instant};

use super::Manager;
use super::on_worker::Leaving;
use super::peers::Peer;
use super::schedule::PeerTimer;

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
    pub(super) fn on_accepted(
        &mut self,
        now: Instant,
        conn: ConnId,
        from: Option<SocketAddr>,
        access: Access,
    ) {
        let awake = self.schedule.awake(now);
        if self.connections.are_pending_full() {
            let reason = RefuseReason::Full;
            let holder = access.holder().cloned();
            self.notify(Event::PeerRefused {
                conn,
                from,
                holder,
                reason,
            });
            return self.connections.close(conn, CloseReason::Refused(reason));
        }
        self.connections.accept(awake, conn, from, access);
        self.schedule
            .peers
            .set(PeerTimer::Silence(conn), awake + HANDSHAKE);
        if self.schedule.peers.get(PeerTimer::Tick).is_none() {
            let tick = awake + self.config.lease / HEARTBEATS_PER_LEASE;
            self.schedule.peers.set(PeerTimer::Tick, tick);
        }
    }

    /// The peer or the network ended the connection.
    pub(super) fn on_closed(&mut self, now: Instant, conn: ConnId) {
        self.disconnect(now, conn, Absent::Gone);
    }

    /// Closes a connection because the manager wants to.
    pub(super) fn close(&mut self, now: Instant, conn: ConnId, reason: CloseReason) {
        let Some(known) = self.connections.get(conn) else {
            return;
        };
        let from = known.from;
        self.notify(Event::ConnClosed { conn, from, reason });
        self.connections.close(conn, reason);
        let absent = match reason {
            CloseReason::Silent => Absent::Silent,
            CloseReason::Protocol(_) => Absent::Gone,
            CloseReason::Done
            | CloseReason::Refused(_)
            | CloseReason::Superseded
            | CloseReason::HandshakeTimeout
            | CloseReason::MovedOn
            | CloseReason::Stopping => Absent::Replaced,
        };
        self.disconnect(now, conn, absent);
    }

    /// Forgets the connection; the session of its peer goes on without it for a while.
    fn disconnect(&mut self, now: Instant, conn: ConnId, absent: Absent) {
        let Some(peer) = self.connections.remove(conn) else {
            return;
        };
        self.schedule.peers.cancel(PeerTimer::Silence(conn));
        self.schedule.peers.cancel(PeerTimer::Recall(conn));
        self.cut_streams(conn, peer);
        match peer {
            Peer::Pending | Peer::Observer => {}
            Peer::Client(client) => self.on_client_cut_off(now, client),
            Peer::Worker(worker) => self.on_worker_cut_off(now, worker, absent),
        }
    }

    fn on_client_cut_off(&mut self, now: Instant, key: ClientKey) {
        let awake = self.schedule.awake(now);
        let is_idle = self.tasks.of(key).count() == 0;
        self.clients.disconnect(awake, key, is_idle);
        let until = awake + self.config.resume_timeout;
        self.schedule.peers.set(PeerTimer::Client(key), until);
        let peer = self.clients[key].peer.id;
        self.notify(Event::PeerDisconnected { peer });
    }

    fn on_worker_cut_off(&mut self, now: Instant, key: WorkerKey, absent: Absent) {
        let awake = self.schedule.awake(now);
        let session = &self.workers[key];
        let peer = session.peer.id;
        let is_idle = session.outstanding() == 0 && self.orphans.results_at(key) == 0;
        self.workers.disconnect(awake, key, is_idle);
        self.results.drop_acks(key);
        self.rescore(key);
        self.pardon_needed();
        let until = awake + self.config.resume_timeout;
        self.schedule.peers.set(PeerTimer::Worker(key), until);
        self.notify(Event::PeerDisconnected { peer });
        match absent {
            Absent::Silent => self.release(now, key, AttemptLoss::WorkerSilent),
            Absent::Gone if self.config.reconnect_grace.is_zero() => {
                self.release(now, key, AttemptLoss::WorkerGone);
            }
            Absent::Gone => {
                let until = awake + self.config.reconnect_grace;
                self.schedule.peers.set(PeerTimer::Grace(key), until);
            }
            Absent::Replaced => {}
        }
    }

    pub(super) fn on_ping(&mut self, now: Instant, conn: ConnId, beat: Beat) {
        let awake = self.schedule.awake(now);
        let Some(known) = self.connections.get(conn) else {
            return;
        };
        let (peer, received) = (known.peer, known.detector.received());
        if peer == Peer::Pending {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::BeforeHello));
        }
        if !self.connections.on_beat(awake, conn, beat.received) {
            let reason = CloseReason::Protocol(ProtocolError::Overcounted);
            return self.close(now, conn, reason);
        }
        match peer {
            Peer::Client(client) => self.clients.heard(awake, client),
            Peer::Worker(worker) => self.workers.heard(awake, worker),
            Peer::Pending | Peer::Observer => {}
        }
        let answer = Beat {
            nonce: beat.nonce,
            received,
        };
        self.connections.send_control(conn, Control::Pong(answer));
    }

    /// We do not read, so neither side may take the silence for the other's end.
    pub(super) fn on_paused(&mut self, awake: AwakeInstant, conn: ConnId) {
        if self.connections.on_progress(awake, conn) {
            self.connections.send_control(conn, Control::Paused);
        }
    }

    pub(super) fn check_silence(&mut self, now: Instant, conn: ConnId) {
        let awake = self.schedule.awake(now);
        let Some(known) = self.connections.get(conn) else {
            return;
        };
        if known.peer == Peer::Pending {
            return self.close(now, conn, CloseReason::HandshakeTimeout);
        }
        let silent_at = known.detector.silent_at(self.config.lease);
        if silent_at <= awake {
            self.close(now, conn, CloseReason::Silent);
        } else {
            self.schedule.peers.set(PeerTimer::Silence(conn), silent_at);
        }
    }

    pub(super) fn on_hello(&mut self, now: Instant, conn: ConnId, hello: Hello) {
        let Some(known) = self.connections.get(conn) else {
            return;
        };
        if known.peer != Peer::Pending {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::SecondHello));
        }
        let (from, access) = (known.from, known.access.clone());
        if let Err(reason) = self.admit(now, conn, hello, &access) {
            let holder = access.holder().cloned();
            self.notify(Event::PeerRefused {
                conn,
                from,
                holder,
                reason,
            });
            self.connections.send_control(conn, Control::Refuse(reason));
            self.close(now, conn, CloseReason::Refused(reason));
        }
    }

    fn admit(
        &mut self,
        now: Instant,
        conn: ConnId,
        hello: Hello,
        access: &Access,
    ) -> Result<(), RefuseReason> {
        if hello.magic != MAGIC {
            return Err(RefuseReason::BadHello);
        }
        if hello.version.major != VERSION.major {
            return Err(RefuseReason::Version(VERSION));
        }
        if !access.lets_in(hello.role) {
            return Err(RefuseReason::NotAllowed);
        }
        let version = self.config.inner.version.agreed(hello.version);
        let holder = access.holder();
        match hello.role {
            Role::Observer => {
                if self.connections.are_observers_full(access) {
                    return Err(RefuseReason::Full);
                }
                self.welcome(now, conn, Peer::Observer, version, false);
            }
            Role::Client => self.admit_client(now, conn, hello, version, holder)?,
            Role::Worker { capacity } => {
                if capacity == 0 || capacity > CAPACITY_MAX {
                    return Err(RefuseReason::BadCapacity);
                }
                self.admit_worker(now, conn, hello, version, holder)?;
            }
        }
        Ok(())
    }

    fn welcome(&mut self, now: Instant, conn: ConnId, peer: Peer, version: Version, resumed: bool) {
        let awake = self.schedule.awake(now);
        self.connections.let_in(awake, conn, peer, version);
        self.schedule
            .peers
            .set(PeerTimer::Silence(conn), awake + self.config.lease);
        let welcome = Welcome {
            version,
            epoch: self.config.epoch,
            resumed,
            lease: self.config.lease.into(),
            payload_max: self.config.payload_max as u32,
        };
        self.connections
            .send_control(conn, Control::Welcome(welcome));
    }

    fn admit_client(
        &mut self,
        now: Instant,
        conn: ConnId,
        hello: Hello,
        version: Version,
        holder: Option<&Name>,
    ) -> Result<(), RefuseReason> {
        let awake = self.schedule.awake(now);
        let (key, resumed) = match self.clients.find(hello.peer) {
            Some(key) => {
                let session = &self.clients[key];
                let confirmed = session.confirmed;
                if session.peer.holder.as_ref() != holder {
                    return Err(RefuseReason::OtherHolder);
                }
                if hello.connection <= session.peer.connection {
                    return Err(RefuseReason::OldConnection);
                }
                if let Some(old) = session.peer.conn {
                    self.close(now, old, CloseReason::Superseded);
                }
                (key, confirmed && hello.session == Some(self.config.epoch))
            }
            None => {
                if self.clients.len() >= CLIENTS_MAX && !self.forget_idle_client(now) {
                    return Err(RefuseReason::Full);
                }
                let key =
                    self.clients
                        .insert(awake, hello.peer, hello.name.clone(), holder.cloned());
                self.tasks.open(key);
                self.results.open(key);
                (key, false)
            }
        };
        self.schedule.peers.cancel(PeerTimer::Client(key));
        self.clients
            .connect(awake, key, conn, hello.connection, resumed);
        self.welcome(now, conn, Peer::Client(key), version, resumed);
        self.notify(Event::PeerJoined {
            peer: hello.peer,
            name: hello.name,
            holder: holder.cloned(),
            resumed,
        });
        if resumed {
            self.notify(Event::SessionResumed { peer: hello.peer });
        }
        self.send_outcomes_again(now, key);
        Ok(())
    }

    /// A worker has come in under the name of another, mostly the same one started again. The other
    /// is told if it is connected, so that it does not come back and replace this one.
    fn replace(&mut self, now: Instant, key: WorkerKey, by: &Hello) {
        let other = &self.workers[key].peer;
        let (from, conn) = (other.id, other.conn);
        if let Some(conn) = conn {
            let name = other.name.clone();
            let by = by.peer;
            self.notify(Event::NameTaken { name, by, from });
            let refusal = Control::Refuse(RefuseReason::Replaced);
            self.connections.send_control(conn, refusal);
        }
        self.workers.replace(from);
        self.end_worker(now, key, Leaving::Replaced);
    }

    fn admit_worker(
        &mut self,
        now: Instant,
        conn: ConnId,
        hello: Hello,
        version: Version,
        holder: Option<&Name>,
    ) -> Result<(), RefuseReason> {
        let awake = self.schedule.awake(now);
        let known = self.workers.find(hello.peer);
        if let Some(key) = known {
            let peer = &self.workers[key].peer;
            if peer.holder.as_ref() != holder {
                return Err(RefuseReason::OtherHolder);
            }
            if hello.connection <= peer.connection {
                return Err(RefuseReason::OldConnection);
            }
            if let Some(old) = peer.conn {
                self.close(now, old, CloseReason::Superseded);
            }
        }
        if self.workers.is_replaced(hello.peer) {
            return Err(RefuseReason::Replaced);
        }
        let namesake = self.workers.find_name(&hello.name);
        if let Some(namesake) = namesake.filter(|key| Some(*key) != known) {
            if self.workers[namesake].peer.holder.as_ref() != holder {
                return Err(RefuseReason::OtherHolder);
            }
            self.replace(now, namesake, &hello);
        }
        let key = match known {
            Some(key) => key,
            None => {
                if self.workers.len() >= WORKERS_MAX && !self.forget_idle_worker(now) {
                    return Err(RefuseReason::Full);
                }
                let key = self.workers.insert(now, awake, &hello, holder.cloned());
                self.placement.open(key);
                key
            }
        };
        self.schedule.peers.cancel(PeerTimer::Grace(key));
        self.schedule.peers.cancel(PeerTimer::Worker(key));
        let resumed = known.is_some() && hello.session == Some(self.config.epoch);
        let is_from_elsewhere = known.is_some() && !resumed;
        self.workers
            .connect(now, awake, key, conn, &hello, is_from_elsewhere);
        self.orphans.await_report(key);
        self.welcome(now, conn, Peer::Worker(key), version, resumed);
        self.notify(Event::PeerJoined {
            peer: hello.peer,
            name: hello.name,
            holder: holder.cloned(),
            resumed,
        });
        Ok(())
    }

    /// Makes room for a client: forgets the one that has been away longest and has nothing here. A short
    /// absence is to cost nothing, but nobody keeps others out by having been here. Whether there was
    /// one.
    fn forget_idle_client(&mut self, now: Instant) -> bool {
        let idle = self.clients.longest_idle();
        if let Some(key) = idle {
            self.end_client(now, key, "made room for another");
        }
        idle.is_some()
    }

    /// The same for a worker.
    pub(super) fn forget_idle_worker(&mut self, now: Instant) -> bool {
        let idle = self.workers.longest_idle();
        if let Some(key) = idle {
            self.end_worker(now, key, Leaving::Forgotten);
        }
        idle.is_some()
    }
}
