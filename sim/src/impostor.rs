//! A stranger at the address of a manager that is gone: it has the key, lets workers and clients
//! in, and says anything at any moment. It does not make up outcomes of tasks that there are, nor
//! acknowledge results that it was told of, since nobody could tell that from a manager's word.

use argon_core::message::{Control, Message, Said, ToPeer};
use argon_core::rng::Rng;
use argon_core::testing::{from_manager, welcome};
use bytes::Bytes;

use crate::network::{ConnIndex, EndState, Packet};
use crate::options::{Host, MS, S};
use crate::rng::{Draw, stream};
use crate::world::connections::IMPOSTOR;
use crate::world::{Event, World};

/// Most messages on one connection.
const MESSAGES_MAX: u64 = 30;

impl World<'_> {
    pub(crate) fn impostor_begins(&mut self, host: Host) {
        self.hosts[usize::from(host)].impostor = true;
        self.hosts[usize::from(host)].dark = false;
        self.history.hostile.push(self.impostor_id(host));
    }

    /// It is gone, and so are its connections.
    pub(crate) fn impostor_ends(&mut self, host: Host) {
        self.hosts[usize::from(host)].impostor = false;
        for index in 0..self.net.connections.len() {
            let end = self.net.connections[index].ends[1];
            if end.host == host && end.life == IMPOSTOR && end.state == EndState::Open {
                self.send(index, 1, Packet::Fin);
                self.net.connections[index].ends[1].state = EndState::Closed;
            }
        }
    }

    pub(crate) fn impostor_accepts(&mut self, index: ConnIndex) {
        let end = &mut self.net.connections[index].ends[1];
        end.life = IMPOSTOR;
        end.state = EndState::Open;
        let delay = self.net.delay(index, 1);
        self.after(delay, Event::Answer(index));
        let mut rng = self.impostor_rng(index, 0);
        let left = rng.between(1, MESSAGES_MAX);
        self.after(delay + rng.up_to(10 * MS), Event::Impostor(index, left));
    }

    pub(crate) fn impostor_speaks(&mut self, index: ConnIndex, left: u64) {
        let end = self.net.connections[index].ends[1];
        if end.state != EndState::Open || !self.is_alive(end) {
            return;
        }
        let mut rng = self.impostor_rng(index, left);
        if left == 0 {
            self.send(index, 1, Packet::Fin);
            self.net.connections[index].ends[1].state = EndState::Closed;
            return;
        }
        let body = if rng.percent(60) && self.net.connections[index].pipes[1].is_new() {
            Said::FromManager(ToPeer::Control(Control::Welcome(welcome(&mut rng))))
        } else {
            from_manager(&mut rng, self.impostor_id(end.host))
        };
        // Shorter than what names a task of the plan.
        let payload = Bytes::from(vec![1; rng.up_to(7) as usize]);
        let message = Message {
            body,
            payload: payload.into(),
        };
        let hop = self.say_message(end.host, index, 1, "->", &message.body);
        self.send(index, 1, Packet::Message(message, hop));
        let later = if rng.percent(50) {
            0
        } else {
            rng.log_between(1, S)
        };
        self.after(later, Event::Impostor(index, left - 1));
    }

    fn impostor_id(&self, host: Host) -> u64 {
        stream(self.plan.seed, &[23, u64::from(host)]).draw()
    }

    fn impostor_rng(&self, index: ConnIndex, left: u64) -> Rng {
        stream(self.plan.seed, &[24, index as u64, left])
    }
}
