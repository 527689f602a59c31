//! The connections of a small world: opened, in order, closed, and what machines want of them.

use std::collections::VecDeque;

use argon_core::event::CloseReason;
use argon_core::ids::ConnId;
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::manager::{ManagerInput, ManagerOutput};
use argon_core::message::Body;

use super::world::{Conn, MANAGER, Packet, World, called};

impl World<'_> {
    pub(super) fn open(&mut self, conn: u64) {
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        let (peer, peer_conn) = (it.peer, it.peer_conn);
        if self.nodes[MANAGER].is_none() {
            self.conns.remove(&conn);
            return self.tell_link(peer, LinkInput::Closed { conn: peer_conn });
        }
        let id = ConnId(conn);
        it.manager_conn = Some(id);
        self.tell_manager(ManagerInput::Accepted { conn: id });
        self.tell_link(peer, LinkInput::Connected { conn: peer_conn });
    }

    pub(super) fn deliver_up(&mut self, conn: u64) {
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        let (Some(packet), Some(id)) = (it.up.pop_front(), it.manager_conn) else {
            return;
        };
        let input = match packet {
            Packet::Message(message) => ManagerInput::Received {
                conn: id,
                message: *message,
            },
            Packet::Closed => {
                it.manager_left = true;
                self.forget(conn);
                ManagerInput::Closed { conn: id }
            }
        };
        self.tell_manager(input);
    }

    pub(super) fn deliver_down(&mut self, conn: u64) {
        let Some(it) = self.conns.get_mut(&conn) else {
            return;
        };
        let (peer, id) = (it.peer, it.peer_conn);
        let Some(packet) = it.down.pop_front() else {
            return;
        };
        let input = match packet {
            Packet::Message(message) => LinkInput::Received {
                conn: id,
                message: *message,
            },
            Packet::Closed => {
                it.peer_left = true;
                self.forget(conn);
                LinkInput::Closed { conn: id }
            }
        };
        self.tell_link(peer, input);
    }

    pub(super) fn forget(&mut self, conn: u64) {
        if self
            .conns
            .get(&conn)
            .is_some_and(|conn| conn.peer_left && conn.manager_left)
        {
            self.conns.remove(&conn);
        }
    }

    /// Heartbeats are taken in at once where nothing is before them.
    pub(super) fn pass_beats(&mut self) {
        let is_beat = |packet: &Packet| {
            matches!(packet, Packet::Message(message)
                if matches!(message.body, Body::Ping(_) | Body::Pong(_)))
        };
        loop {
            let up = self
                .conns
                .iter()
                .find(|(_, conn)| conn.up.front().is_some_and(is_beat));
            if let Some((&conn, _)) = up {
                self.deliver_up(conn);
                continue;
            }
            let down = self
                .conns
                .iter()
                .find(|(_, conn)| conn.down.front().is_some_and(is_beat));
            let Some((&conn, _)) = down else {
                return;
            };
            self.deliver_down(conn);
        }
    }

    pub(super) fn on_manager(&mut self, output: ManagerOutput) {
        match output {
            ManagerOutput::Send { conn, message } => {
                self.note(|| format!("m: -> {conn} {:?}", message.body));
                if let Some(it) = self.conns.get_mut(&conn.0)
                    && !it.manager_left
                    && !it.peer_left
                {
                    it.down.push_back(Packet::Message(Box::new(message)));
                }
            }
            ManagerOutput::Close { conn, reason } => {
                self.note(|| format!("m: closes {conn}: {reason:?}"));
                if reason == CloseReason::Silent {
                    self.ledger.trouble();
                }
                if let Some(it) = self.conns.get_mut(&conn.0) {
                    it.manager_left = true;
                    it.up.clear();
                    if !it.peer_left {
                        it.down.push_back(Packet::Closed);
                    }
                }
                self.forget(conn.0);
            }
            ManagerOutput::Notify(_) | ManagerOutput::Drained => {}
        }
    }

    pub(super) fn on_link(&mut self, host: usize, output: LinkOutput) {
        let conn_of = |world: &Self, id: ConnId| {
            let mut all = world.conns.iter();
            all.find(|(_, conn)| conn.peer == host && conn.peer_conn == id && !conn.peer_left)
                .map(|(&conn, _)| conn)
        };
        match output {
            LinkOutput::Connect { conn, .. } => {
                let it = Conn {
                    peer: host,
                    peer_conn: conn,
                    manager_conn: None,
                    up: VecDeque::new(),
                    down: VecDeque::new(),
                    peer_left: false,
                    manager_left: false,
                };
                self.conns.insert(self.next_conn, it);
                self.next_conn += 1;
            }
            LinkOutput::Send { conn, message } => {
                self.note(|| format!("{}: -> {:?}", called(host), message.body));
                if let Some(index) = conn_of(self, conn)
                    && let Some(it) = self.conns.get_mut(&index)
                    && !it.manager_left
                {
                    it.up.push_back(Packet::Message(Box::new(message)));
                }
            }
            LinkOutput::Close { conn, reason } => {
                self.note(|| format!("{}: closes: {reason:?}", called(host)));
                if reason == CloseReason::Silent {
                    self.ledger.trouble();
                }
                let Some(index) = conn_of(self, conn) else {
                    return;
                };
                if let Some(it) = self.conns.get_mut(&index) {
                    it.peer_left = true;
                    it.down.clear();
                    if it.manager_conn.is_none() {
                        self.conns.remove(&index);
                    } else if !it.manager_left {
                        it.up.push_back(Packet::Closed);
                    }
                }
                self.forget(index);
            }
        }
    }
}
