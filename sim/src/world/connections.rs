//! Connections between processes of the world: opened, used, cut, closed.

use argon_core::ids::ConnId;

use crate::network::{ConnIndex, End, EndState, Packet, Stalled};
use crate::options::{Host, MS, S};
use crate::process::Fact;

use super::{Event, World};

/// The life of whoever answers at the address of a manager that is gone.
pub(crate) const IMPOSTOR: usize = usize::MAX - 1;
/// How often bytes of something large are seen to move.
const PROGRESS_EVERY: u64 = 100 * MS;

impl World<'_> {
    /// A process asks for a connection.
    pub(crate) fn dial(
        &mut self,
        host: Host,
        life: usize,
        count: u64,
        conn: ConnId,
        to: Host,
    ) -> ConnIndex {
        let end = End {
            host,
            life,
            conn,
            state: EndState::Opening,
        };
        let index = self.net.dial(end, count, to);
        let delay = self.net.delay(index, 0);
        self.after(delay, Event::Dial(index));
        index
    }

    pub(super) fn accept(&mut self, index: ConnIndex) {
        let ends = self.net.connections[index].ends;
        if ends[0].state == EndState::Closed {
            return;
        }
        let to = ends[1].host;
        if self.net.is_blocked(ends[0].host, to) {
            self.net.stalled.push((index, Stalled::Dial));
            return;
        }
        if self.hosts[usize::from(to)].impostor {
            return self.impostor_accepts(index);
        }
        let state = &mut self.hosts[usize::from(to)];
        let Some(process) = &mut state.process else {
            if !state.dark {
                let delay = self.net.delay(index, 1);
                self.after(delay, Event::Reset(index, 0));
            }
            return;
        };
        let conn = ConnId(process.next_conn);
        process.next_conn += 1;
        process.conns.insert(conn, index);
        let end = &mut self.net.connections[index].ends[1];
        end.life = process.life;
        end.conn = conn;
        end.state = EndState::Open;
        self.tell(to, Fact::Accepted(conn));
        let delay = self.net.delay(index, 1);
        self.after(delay, Event::Answer(index));
    }

    pub(super) fn answer(&mut self, index: ConnIndex) {
        let ends = self.net.connections[index].ends;
        if self.net.is_blocked(ends[1].host, ends[0].host) {
            self.net.stalled.push((index, Stalled::Answer));
            return;
        }
        if ends[0].state == EndState::Opening && self.is_alive(ends[0]) {
            self.net.connections[index].ends[0].state = EndState::Open;
            self.tell(ends[0].host, Fact::Connected(ends[0].conn));
        }
    }

    pub(crate) fn is_alive(&self, end: End) -> bool {
        if end.life == IMPOSTOR {
            return self.hosts[usize::from(end.host)].impostor;
        }
        self.hosts[usize::from(end.host)]
            .process
            .as_ref()
            .is_some_and(|process| process.life == end.life)
    }

    /// Which side of a connection this life of a process is.
    pub(crate) fn side(&self, life: usize, index: ConnIndex) -> usize {
        usize::from(self.net.connections[index].ends[0].life != life)
    }

    /// Sends a packet, unless this side has closed.
    pub(crate) fn send(&mut self, index: ConnIndex, side: usize, packet: Packet) {
        if self.net.connections[index].ends[side].state != EndState::Open
            && !matches!(packet, Packet::Fin)
        {
            return;
        }
        let takes = match &packet {
            Packet::Message(message, _) if self.options().bandwidth > 0 => {
                message.payload.len() as u64 * S / self.options().bandwidth
            }
            _ => 0,
        };
        let due = self.net.push(self.now, index, side, packet, takes);
        let narrow = self.options().bandwidth > 0 && due > self.now + PROGRESS_EVERY;
        if narrow && !self.net.connections[index].pipes[side].moving {
            self.net.connections[index].pipes[side].moving = true;
            self.after(PROGRESS_EVERY, Event::Progress(index, side));
        }
        let pipe = &mut self.net.connections[index].pipes[side];
        if !pipe.scheduled {
            pipe.scheduled = true;
            self.at(due, Event::Deliver(index, side));
        }
    }

    /// A process (or its host, after its death) closes its side.
    pub(crate) fn close(&mut self, host: Host, life: usize, index: ConnIndex) {
        let side = self.side(life, index);
        if self.net.connections[index].ends[side].state == EndState::Closed {
            return;
        }
        self.send(index, side, Packet::Fin);
        let end = &mut self.net.connections[index].ends[side];
        end.state = EndState::Closed;
        let conn = end.conn;
        if let Some(process) = &mut self.hosts[usize::from(host)].process
            && process.life == life
        {
            process.conns.remove(&conn);
            process.peers.remove(&conn);
        }
    }

    /// For as long as there is something on its way over a narrow connection, both sides see that
    /// bytes move.
    pub(super) fn progress(&mut self, index: ConnIndex, side: usize) {
        let ends = self.net.connections[index].ends;
        let pipe = &mut self.net.connections[index].pipes[side];
        pipe.moving = !pipe.queue.is_empty() && !pipe.black;
        if !pipe.moving {
            return;
        }
        let there = |end: End| end.state == EndState::Open && self.is_alive(end);
        let cut = self.net.is_blocked(ends[side].host, ends[1 - side].host);
        if !cut && ends.into_iter().all(there) {
            for end in ends {
                self.tell(end.host, Fact::Progress(end.conn));
            }
        }
        self.after(PROGRESS_EVERY, Event::Progress(index, side));
    }

    pub(super) fn deliver(&mut self, index: ConnIndex, side: usize) {
        let ends = self.net.connections[index].ends;
        let (from, to) = (ends[side].host, ends[1 - side]);
        if self.net.is_blocked(from, to.host) {
            self.net.stalled.push((index, Stalled::Pipe(side)));
            return;
        }
        loop {
            let pipe = &mut self.net.connections[index].pipes[side];
            let Some((due, _)) = pipe.queue.front() else {
                pipe.scheduled = false;
                return;
            };
            if *due > self.now {
                let due = *due;
                self.at(due, Event::Deliver(index, side));
                return;
            }
            let black = pipe.black;
            let Some((_, packet)) = pipe.queue.pop_front() else {
                return;
            };
            let state = self.net.connections[index].ends[1 - side].state;
            if black || state != EndState::Open {
                continue;
            }
            if !self.is_alive(to) {
                // Only a host that is up again knows that this connection is not one of its own.
                if !self.hosts[usize::from(to.host)].dark {
                    let delay = self.net.delay(index, 1 - side);
                    self.after(delay, Event::Reset(index, side));
                }
                continue;
            }
            match packet {
                Packet::Message(message, hop) => {
                    if let Some(hop) = hop {
                        self.trace.arrives(hop, self.now);
                    }
                    self.say_message(to.host, index, side, "<-", &message.body);
                    self.tell(to.host, Fact::Received(to.conn, message));
                }
                Packet::Fin => self.reset(index, 1 - side),
            }
        }
    }

    /// One side learns that the connection is gone.
    pub(crate) fn reset(&mut self, index: ConnIndex, side: usize) {
        let end = self.net.connections[index].ends[side];
        if end.state == EndState::Closed {
            return;
        }
        self.net.connections[index].ends[side].state = EndState::Closed;
        if self.is_alive(end) {
            if let Some(process) = &mut self.hosts[usize::from(end.host)].process {
                process.conns.remove(&end.conn);
            }
            self.say(end.host, None, || format!("{} is closed", end.conn));
            self.tell(end.host, Fact::Closed(end.conn));
        }
    }

    /// What waited for a cut to end goes on, a little later.
    pub(crate) fn unstall(&mut self) {
        for (index, what) in std::mem::take(&mut self.net.stalled) {
            let side = match what {
                Stalled::Pipe(side) => side,
                Stalled::Dial => 0,
                Stalled::Answer => 1,
            };
            let ends = self.net.connections[index].ends;
            if self.net.is_blocked(ends[side].host, ends[1 - side].host) {
                self.net.stalled.push((index, what));
                continue;
            }
            let delay = self.net.resend_delay(index, side);
            self.after(
                delay,
                match what {
                    Stalled::Pipe(side) => Event::Deliver(index, side),
                    Stalled::Dial => Event::Dial(index),
                    Stalled::Answer => Event::Answer(index),
                },
            );
        }
    }
}
