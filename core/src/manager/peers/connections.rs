//! Who is connected, what each peer is told, and every other output of the manager, in order.
//!
//! Owns: the connections, their counts, what each is known to have taken in, and the outputs.
//! Invariants: every message that a peer counts is counted here, in the order in which it goes out.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use crate::access::{Access, KeyRole};
use crate::event::{CloseReason, Event};
use crate::failure_detector::FailureDetector;
use crate::ids::{ConnId, PeerId, TaskId};
use crate::limits::{OBSERVERS_MAX, PENDING_PEERS_MAX, RUN_TASKS_MAX};
use crate::manager::ManagerOutput;
use crate::message::{Control, Message, Rejections, ToPeer, VERSION, Version};
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::seq_map::SeqMap;
use crate::steps::step;
use crate::time::AwakeInstant;

/// A connection and who is at its other end.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Conn {
    pub(in crate::manager) peer: Peer,
    pub(in crate::manager) detector: FailureDetector,
    pub(in crate::manager) from: Option<SocketAddr>,
    pub(in crate::manager) access: Access,
    /// What both speak, from the welcome on.
    pub(in crate::manager) version: Version,
}

impl Conn {
    /// Whether its key does not have the role of an observer.
    fn is_guest(&self) -> bool {
        !self.access.allows(KeyRole::Observe)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Peer {
    /// Has not said hello.
    Pending,
    Observer,
    Client(ClientKey),
    Worker(WorkerKey),
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(in crate::manager) struct Connections {
    by_id: SeqMap<ConnId, Conn>,
    /// How many have yet to say hello.
    pending: usize,
    observers: usize,
    /// Of the observers, those whose keys do not have that role.
    guests: usize,
    outputs: VecDeque<ManagerOutput>,
}

impl Connections {
    pub(in crate::manager) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(in crate::manager) fn get(&self, conn: ConnId) -> Option<&Conn> {
        self.by_id.get(conn)
    }

    pub(in crate::manager) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.by_id.iter()
    }

    /// Whether as many have yet to say hello as may.
    pub(in crate::manager) fn are_pending_full(&self) -> bool {
        self.pending >= PENDING_PEERS_MAX
    }

    /// Whether as many observers are here as may be. Those whose keys do not have that role leave half
    /// of the room to the others.
    pub(in crate::manager) fn are_observers_full(&self, access: &Access) -> bool {
        let is_guest = !access.allows(KeyRole::Observe);
        self.observers >= OBSERVERS_MAX || is_guest && self.guests >= OBSERVERS_MAX / 2
    }

    /// A connection comes in.
    pub(in crate::manager) fn accept(
        &mut self,
        awake: AwakeInstant,
        conn: ConnId,
        from: Option<SocketAddr>,
        access: Access,
    ) {
        let new = Conn {
            peer: Peer::Pending,
            detector: FailureDetector::new(awake),
            from,
            access,
            version: VERSION,
        };
        self.by_id.insert(conn, new);
        self.pending += 1;
    }

    /// It is known who is there.
    pub(in crate::manager) fn let_in(
        &mut self,
        awake: AwakeInstant,
        conn: ConnId,
        peer: Peer,
        version: Version,
    ) {
        if let Some(known) = self.by_id.get_mut(conn) {
            known.peer = peer;
            known.detector = FailureDetector::new(awake);
            known.version = version;
            self.pending -= 1;
            if peer == Peer::Observer {
                self.observers += 1;
                self.guests += usize::from(known.is_guest());
            }
        }
    }

    /// Forgets a connection; says who was there.
    pub(in crate::manager) fn remove(&mut self, conn: ConnId) -> Option<Peer> {
        let known = self.by_id.remove(conn)?;
        match known.peer {
            Peer::Pending => self.pending -= 1,
            Peer::Observer => {
                self.observers -= 1;
                self.guests -= usize::from(known.is_guest());
            }
            Peer::Client(_) | Peer::Worker(_) => {}
        }
        Some(known.peer)
    }

    /// A message came that both sides count. Returns its sender, if the connection is still there.
    pub(in crate::manager) fn on_received(
        &mut self,
        awake: AwakeInstant,
        conn: ConnId,
    ) -> Option<Peer> {
        let known = self.by_id.get_mut(conn)?;
        known.detector.on_received(awake);
        Some(known.peer)
    }

    /// A heartbeat came that says how many messages the peer has taken in. False if it was not sent as
    /// many.
    pub(in crate::manager) fn on_beat(
        &mut self,
        awake: AwakeInstant,
        conn: ConnId,
        received: u64,
    ) -> bool {
        let known = self.by_id.get_mut(conn);
        known.is_none_or(|known| known.detector.on_beat(awake, received))
    }

    /// Something moves on the connection. False if it is gone.
    pub(in crate::manager) fn on_progress(&mut self, awake: AwakeInstant, conn: ConnId) -> bool {
        let known = self.by_id.get_mut(conn);
        known
            .map(|known| known.detector.on_progress(awake))
            .is_some()
    }

    /// Sends a message that the peer counts, if the connection is still there. It is made where it
    /// belongs: to move one costs as much as to make it.
    pub(in crate::manager) fn send_with(
        &mut self,
        awake: AwakeInstant,
        conn: ConnId,
        message: impl FnOnce() -> Message<ToPeer>,
    ) {
        if let Some(known) = self.by_id.get_mut(conn) {
            known.detector.on_sent(awake);
            let message = message();
            self.outputs
                .push_back(ManagerOutput::Send { conn, message });
        }
    }

    /// As [`send_with`](Self::send_with), unless the last output can be made to say it too.
    pub(in crate::manager) fn send_run(
        &mut self,
        awake: AwakeInstant,
        conn: ConnId,
        say_too: impl FnOnce(&mut Message<ToPeer>) -> bool,
        message: impl FnOnce() -> Message<ToPeer>,
    ) {
        if self.has_runs(conn)
            && let Some(ManagerOutput::Send {
                conn: last,
                message,
            }) = self.outputs.back_mut()
            && *last == conn
            && say_too(message)
        {
            return;
        }
        self.send_with(awake, conn, message);
    }

    /// Sends what is said of so many in messages that the peer counts. What is said from one of them on,
    /// and of how many, the last output is asked first, and then a message of its own.
    pub(in crate::manager) fn send_row(
        &mut self,
        awake: AwakeInstant,
        conn: ConnId,
        len: usize,
        say_too: impl Fn(&mut Message<ToPeer>, usize) -> usize,
        message: impl Fn(usize) -> (Message<ToPeer>, usize),
    ) {
        let mut said = 0;
        if let Some(ManagerOutput::Send {
            conn: last,
            message,
        }) = self.outputs.back_mut()
            && *last == conn
        {
            said = say_too(message, said);
        }
        while said < len {
            step();
            let (message, more) = message(said);
            said += more;
            self.send_with(awake, conn, || message);
        }
    }

    /// Notes that a client's tasks in a row are rejected, and tells it if it is there: each alone, or
    /// together if it understands that. What was last noted and said is made to say it too if it can.
    pub(in crate::manager) fn reject(
        &mut self,
        awake: AwakeInstant,
        client: PeerId,
        conn: Option<ConnId>,
        rejections: &Rejections,
    ) {
        let Some(conn) = conn.filter(|conn| self.by_id.get(*conn).is_some()) else {
            return self.note_rejected(client, rejections);
        };
        let most = if self.has_runs(conn) {
            RUN_TASKS_MAX as u32
        } else {
            1
        };
        let mut left = *rejections;
        if most > 1 {
            left = left.without_first(self.reject_too(conn, rejections));
        }
        while left.count > 0 {
            step();
            let now = left.first_part(most);
            self.note_rejected(client, &now);
            self.send_with(awake, conn, || now.message());
            left = left.without_first(now.count);
        }
    }

    /// Lets the last rejection say too that the first of these are rejected, if it was the last output.
    /// Says of how many it does.
    fn reject_too(&mut self, conn: ConnId, rejections: &Rejections) -> u32 {
        let before = self.outputs.len().saturating_sub(2);
        let mut last = self.outputs.range_mut(before..);
        let (
            Some(ManagerOutput::Notify(Event::TasksRejected { count, .. })),
            Some(ManagerOutput::Send { conn: to, message }),
        ) = (last.next(), last.next())
        else {
            return 0;
        };
        if *to != conn {
            return 0;
        }
        let said = message.reject_too(rejections);
        *count += said;
        said
    }

    fn note_rejected(&mut self, client: PeerId, rejections: &Rejections) {
        self.notify(Event::TasksRejected {
            first: TaskId {
                client,
                seq: rejections.first,
            },
            count: rejections.count,
            reason: rejections.reason,
        });
    }

    /// Whether the peer understands runs.
    pub(in crate::manager) fn has_runs(&self, conn: ConnId) -> bool {
        let known = self.by_id.get(conn);
        known.is_some_and(|known| known.version.has_runs())
    }

    /// Whether the peer understands streams.
    pub(in crate::manager) fn has_streams(&self, conn: ConnId) -> bool {
        let known = self.by_id.get(conn);
        known.is_some_and(|known| known.version.has_streams())
    }

    /// Sends what peers do not count: what belongs to the handshake, and signs of life.
    pub(in crate::manager) fn send_control(&mut self, conn: ConnId, control: Control) {
        let message = control.into();
        self.outputs
            .push_back(ManagerOutput::Send { conn, message });
    }

    /// Has the connection closed when all that was said before is sent.
    pub(in crate::manager) fn close(&mut self, conn: ConnId, reason: CloseReason) {
        self.outputs
            .push_back(ManagerOutput::Close { conn, reason });
    }

    pub(in crate::manager) fn notify(&mut self, event: Event) {
        self.outputs.push_back(ManagerOutput::Notify(event));
    }

    /// The drain is done.
    pub(in crate::manager) fn drained(&mut self) {
        self.outputs.push_back(ManagerOutput::Drained);
    }

    pub(in crate::manager) fn poll_output(&mut self) -> Option<ManagerOutput> {
        self.outputs.pop_front()
    }

    /// Asserts that the counts are right.
    pub(in crate::manager) fn check_invariants(&self) {
        let count = |peer| self.by_id.values().filter(|conn| conn.peer == peer).count();
        assert_eq!(count(Peer::Pending), self.pending);
        assert_eq!(count(Peer::Observer), self.observers);
        let guests = self.by_id.values().filter(|conn| conn.is_guest());
        let guests = guests.filter(|conn| conn.peer == Peer::Observer);
        assert_eq!(guests.count(), self.guests);
    }
}
