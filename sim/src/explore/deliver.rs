//! What may happen to connections: a dial is answered, a packet arrives, a side finds it cut.

use std::collections::VecDeque;

use argon_core::ids::ConnId;
use argon_core::message::{FromWorker, Message, ToManager};

use super::cluster::Cluster;
use super::ledger::Fault;
use super::link::{Link, Packet, Side};
use crate::process::Fact;
use crate::wire::is_beat;
use argon_core::message::Said;

impl Cluster {
    pub(crate) fn dial(&mut self, host: usize, conn: ConnId, to: usize) -> usize {
        let side = |host, conn, open| Side { host, conn, open };
        self.links.push(Link {
            sides: [side(host, conn, true), side(to, ConnId(0), false)],
            pipes: [VecDeque::new(), VecDeque::new()],
            dialling: true,
            dead: false,
        });
        self.links.len() - 1
    }

    /// A dial is answered: by the process there, or by its host that there is none.
    pub(crate) fn answer(&mut self, index: usize) -> Result<(), String> {
        self.links[index].dialling = false;
        let [from, to] = self.links[index].sides;
        let Some(process) = self.process_mut(to.host) else {
            self.links[index].sides[0].open = false;
            if let Some(process) = self.process_mut(from.host) {
                process.conns.remove(&from.conn);
            }
            return self.step(from.host, Some(Fact::Closed(from.conn)));
        };
        let conn = ConnId(process.next_conn);
        process.next_conn += 1;
        process.conns.insert(conn, index);
        let side = &mut self.links[index].sides[1];
        (side.conn, side.open) = (conn, true);
        self.step(to.host, Some(Fact::Accepted(conn)))?;
        self.step(from.host, Some(Fact::Connected(from.conn)))
    }

    pub(crate) fn send(&mut self, host: usize, conn: ConnId, message: Message<Said>) {
        let Some(&index) = self.process(host).and_then(|known| known.conns.get(&conn)) else {
            return;
        };
        let link = &mut self.links[index];
        let side = usize::from(link.sides[0].host != host);
        let arrives = !link.dead && link.sides[1 - side].open;
        if !is_beat(&message.body) {
            let text = super::step::short(&message.body);
            let lost = if arrives { "" } else { " (into the void)" };
            let who = self.who(host);
            let mark = ['>', '<'][side];
            self.say(|| format!("{who} sends on {index}{mark}{lost}: {text}"));
        }
        if arrives {
            self.links[index].pipes[side].push_back(Packet::Message(message));
        }
    }

    /// One side closes; what it has sent still arrives, what was sent to it does not.
    pub(crate) fn close_side(&mut self, index: usize, host: usize) {
        let link = &mut self.links[index];
        let side = usize::from(link.sides[0].host != host);
        link.sides[side].open = false;
        link.pipes[1 - side].clear();
        if link.sides[1 - side].open && !link.dead && !link.dialling {
            link.pipes[side].push_back(Packet::Fin);
        } else {
            link.pipes[side].clear();
        }
        link.dialling = false;
    }

    /// The first packet of a direction arrives.
    pub(crate) fn deliver(&mut self, index: usize, side: usize) -> Result<(), String> {
        let Some(packet) = self.links[index].pipes[side].pop_front() else {
            return Err(format!("nothing is under way on {index}"));
        };
        let to = self.links[index].sides[1 - side];
        match packet {
            Packet::Message(message) => {
                let from = self.links[index].sides[side];
                if matches!(message.body, Said::ToManager(ToManager::Hello(_))) && !from.open {
                    self.ledger.note_fault(self.now, Fault::Ghost(from.host));
                }
                if let Said::ToManager(ToManager::Worker(FromWorker::Report(report))) =
                    &message.body
                {
                    let count = report.running.len() + report.finished.len();
                    let entry = self.reports.entry(from.host).or_default();
                    *entry = (entry.0 + 1, count);
                    if self.variant.managers() == 1 {
                        self.ledger.note_report(self.now, from.host);
                    }
                }
                self.step(to.host, Some(Fact::Received(to.conn, message)))
            }
            Packet::Fin => {
                let link = &mut self.links[index];
                link.sides[1 - side].open = false;
                if !link.sides[side].open {
                    link.pipes[1 - side].clear();
                }
                if let Some(process) = self.process_mut(to.host) {
                    process.conns.remove(&to.conn);
                }
                self.step(to.host, Some(Fact::Closed(to.conn)))
            }
        }
    }

    /// A connection breaks; both sides are told, some time.
    pub(crate) fn cut(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.dead = true;
        for pipe in &mut link.pipes {
            pipe.clear();
            pipe.push_back(Packet::Fin);
        }
    }

    /// A connection breaks and nobody is told.
    pub(crate) fn silence(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.dead = true;
        for pipe in &mut link.pipes {
            pipe.clear();
        }
    }

    /// Delivers heartbeats that are first in line, and refuses dials to hosts without a process.
    pub(crate) fn beats(&mut self) -> Result<(), String> {
        while let Some((index, side)) = self.next_beat() {
            match side {
                Some(side) => self.deliver(index, side)?,
                None => self.answer(index)?,
            }
        }
        Ok(())
    }

    fn next_beat(&self) -> Option<(usize, Option<usize>)> {
        self.links.iter().enumerate().find_map(|(index, link)| {
            if link.dialling && self.process(link.sides[1].host).is_none() {
                return Some((index, None));
            }
            (0..2)
                .find(|&side| {
                    matches!(link.head(side), Some(Packet::Message(message))
                        if is_beat(&message.body))
                })
                .map(|side| (index, Some(side)))
        })
    }

    /// Whether anything waits to arrive.
    pub(crate) fn is_busy(&self) -> bool {
        let waits = |link: &Link| link.dialling || (0..2).any(|side| link.head(side).is_some());
        self.links.iter().any(waits)
    }
}
