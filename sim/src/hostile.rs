//! A peer that has the key but speaks out of turn: every message there is, at any moment, with
//! contents at random. It does not lie about the tasks of others, since nobody could tell.

use argon_core::ids::ConnId;
use argon_core::message::{Message, Said, ToManager};
use argon_core::testing::{hello, to_manager};
use bytes::Bytes;

use crate::options::{Host, MS};
use crate::process::Fact;
use crate::rng::{Draw, stream};
use crate::world::{Event, World};

/// Most messages that it sends on one connection.
pub(crate) const MESSAGES_MAX: u64 = 40;

impl World<'_> {
    /// It connects; what it will say is decided now.
    pub(crate) fn hostile_begins(&mut self, fault: usize, manager: Host, span: u64) {
        let mut rng = stream(self.plan.seed, &[18, fault as u64]);
        let Some(process) = &mut self.hosts[usize::from(manager)].process else {
            return;
        };
        let conn = ConnId(process.next_conn);
        process.next_conn += 1;
        process.hostile.insert(conn);
        let life = process.life;
        self.tell(manager, Fact::Accepted(conn));
        let id = rng.draw();
        self.history.hostile.push(id);
        let polite = rng.percent(85);
        let mut at = 0;
        for index in 0..rng.between(1, MESSAGES_MAX) {
            let body = if index == 0 && polite {
                Said::ToManager(ToManager::Hello(hello(&mut rng, id, index)))
            } else {
                Said::ToManager(to_manager(&mut rng, id, index))
            };
            at += if rng.percent(50) { 0 } else { rng.up_to(span) };
            let bytes = rng.up_to(40);
            // Around the limit, where there is one.
            let limit = self.options().payload_max.map(u64::from);
            let bytes = limit.map_or(bytes, |limit| limit - 1 + bytes % 3);
            let payload = Bytes::from(vec![1; bytes as usize]);
            let message = Message {
                body,
                payload: payload.into(),
            };
            let fact = Fact::Received(conn, message);
            self.after(at, Event::Hostile(manager, life, conn, Box::new(fact)));
        }
        let fact = Box::new(Fact::Closed(conn));
        self.after(at + MS, Event::Hostile(manager, life, conn, fact));
    }

    pub(crate) fn hostile_speaks(&mut self, host: Host, life: usize, conn: ConnId, fact: Fact) {
        let Some(process) = &mut self.hosts[usize::from(host)].process else {
            return;
        };
        if process.life == life && process.hostile.contains(&conn) {
            if matches!(fact, Fact::Closed(_)) {
                process.hostile.remove(&conn);
            }
            self.say(host, None, || {
                crate::world::short(&format!("<- stranger on {conn}: {fact:?}"))
            });
            self.tell(host, fact);
        }
    }
}
