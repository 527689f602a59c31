//! A peer that has the key but speaks out of turn: every message there is, at any moment, with
//! contents at random. It does not lie about the tasks of others, since nobody could tell.

use argon_core::capabilities::Capabilities;
use argon_core::ids::{Attempt, ConnId, Epoch, PeerId, PoolProcess, SlotId, TaskId};
use argon_core::message::{
    AttemptEnd, Beat, Finished, FromClient, FromWorker, Hello, MAGIC, Message, Query, Report,
    ReportedAttempt, Role, Submit, ToManager, VERSION, Version,
};
use argon_core::rng::Rng;
use argon_core::task::{ExitCause, Priority};
use argon_core::time::Nanos;
use bytes::Bytes;

use crate::options::{Host, MS};
use crate::process::{Fact, name};
use crate::rng::{Draw, stream};
use crate::world::{Event, World};
use argon_core::message::Said;

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
                body(&mut rng, id, index)
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

/// A greeting of sorts.
pub(crate) fn hello(rng: &mut Rng, id: u64, index: u64) -> Hello {
    Hello {
        magic: if rng.percent(95) { MAGIC } else { *b"HTTP" },
        version: if rng.percent(90) {
            VERSION
        } else {
            Version {
                major: rng.up_to(3) as u16,
                minor: rng.up_to(3) as u16,
            }
        },
        role: match rng.up_to(4) {
            0 | 1 => Role::Client,
            2 | 3 => Role::Worker {
                capacity: rng.pick(&[0, 1, 3, 4_096, u32::MAX]),
            },
            _ => Role::Observer,
        },
        peer: PeerId(id),
        connection: rng.pick(&[index, 0, 7, u64::MAX]),
        session: rng.percent(30).then(|| Epoch(rng.draw())),
        name: name(rng.pick(&["x", "stranger", "y"])),
    }
}

fn attempt(rng: &mut Rng) -> Attempt {
    Attempt {
        epoch: Epoch(rng.up_to(2)),
        number: rng.up_to(5),
    }
}

fn task(rng: &mut Rng, id: u64) -> TaskId {
    TaskId {
        client: PeerId(if rng.percent(50) { id } else { rng.up_to(2) }),
        seq: rng.pick(&[0, 1, 2, 3, u64::MAX]),
    }
}

fn seqs(rng: &mut Rng) -> Vec<u64> {
    (0..rng.up_to(5))
        .map(|_| rng.pick(&[0, 1, 2, 3, 4, u64::MAX]))
        .collect()
}

fn reported(rng: &mut Rng, id: u64) -> Vec<ReportedAttempt> {
    (0..rng.up_to(3))
        .map(|_| ReportedAttempt {
            attempt: attempt(rng),
            task: task(rng, id),
        })
        .collect()
}

fn nanos(rng: &mut Rng) -> Nanos {
    Nanos(rng.pick(&[0, 1, MS, 1_000 * MS, u64::MAX - 1, u64::MAX]))
}

/// Any message.
pub(crate) fn body(rng: &mut Rng, id: u64, index: u64) -> Said {
    match rng.up_to(19) {
        0 => Said::ToManager(ToManager::Hello(hello(rng, id, index))),
        1 => Said::ToManager(ToManager::Ping(Beat {
            nonce: rng.draw(),
            received: rng.pick(&[0, 1, u64::MAX]),
        })),
        2 => Said::ToManager(ToManager::Goodbye),
        3..=6 => Said::ToManager(ToManager::Client(FromClient::Submit(Submit {
            seq: rng.pick(&[0, 1, 2, 3, 4, u64::MAX]),
            priority: Priority::new(rng.up_to(7) as u8).unwrap_or_default(),
            max_attempts: rng.pick(&[0, 1, 3, 16, 255]),
            at_most_once: rng.percent(50),
            may_have_run: rng.percent(50),
            deadline: nanos(rng),
            max_wait: nanos(rng),
            time_limit: nanos(rng),
            name: name("x"),
        }))),
        7 => Said::ToManager(ToManager::Client(FromClient::Cancel {
            seq: rng.pick(&[0, 1, 2, u64::MAX]),
        })),
        8 => Said::ToManager(ToManager::Client(FromClient::Resume { seqs: seqs(rng) })),
        9 => Said::ToManager(ToManager::Client(FromClient::AckOutcomes {
            floor: rng.pick(&[0, 1, 2, u64::MAX]),
            seqs: seqs(rng),
        })),
        10 => Said::ToManager(ToManager::Query(Query::StatusQuery {
            page: rng.pick(&[0, 1, u32::MAX]),
        })),
        11 => Said::ToManager(ToManager::Worker(FromWorker::Report(Report {
            running: reported(rng, id),
            finished: reported(rng, id),
            last: rng.percent(70),
        }))),
        12 => Said::ToManager(ToManager::Worker(FromWorker::Finished(Finished {
            attempt: attempt(rng),
            task: task(rng, id),
            ran: nanos(rng),
            end: match rng.up_to(3) {
                0 => AttemptEnd::Completed,
                1 => AttemptEnd::Crashed(ExitCause::Signal(9), String::new()),
                2 => AttemptEnd::Killed,
                _ => AttemptEnd::Expired,
            },
        }))),
        13 => Said::ToManager(ToManager::Worker(FromWorker::Returned {
            not_started: vec![attempt(rng)],
            started: vec![attempt(rng)],
        })),
        14 => Said::ToManager(ToManager::Worker(FromWorker::Draining)),
        // It may claim any window only for nothing: what it was given it would never run.
        15 => Said::ToManager(ToManager::Worker(FromWorker::Capabilities(
            Capabilities::anything(),
        ))),
        16 => Said::ToManager(ToManager::Query(Query::RunningQuery { page: 0 })),
        17 => Said::ToManager(ToManager::Client(FromClient::Within(PoolProcess {
            worker: PeerId(if rng.percent(50) { id } else { rng.up_to(2) }),
            slot: SlotId(rng.pick(&[0, 1, u32::MAX])),
            life: rng.up_to(2),
        }))),
        18 => Said::ToManager(ToManager::Worker(FromWorker::Gone {
            slot: SlotId(rng.pick(&[0, 1, u32::MAX])),
            life: rng.up_to(2),
        })),
        _ => Said::ToManager(ToManager::Worker(FromWorker::Grant { window: 0 })),
    }
}
