//! A stranger at the address of a manager that is gone: it has the key, lets workers and clients
//! in, and says anything at any moment. It does not make up outcomes of tasks that there are, nor
//! acknowledge results that it was told of, since nobody could tell that from a manager's word.

use argon_core::ids::{Attempt, Epoch, PeerId, TaskId};
use argon_core::message::{
    Assign, Beat, Control, Finished, FromWorker, Hello, MAGIC, Message, RefuseReason, Role,
    ToClient, ToManager, ToPeer, ToWorker, VERSION, Version, Welcome,
};
use argon_core::rng::Rng;
use argon_core::task::{Outcome, RejectReason};
use argon_core::time::Nanos;
use bytes::Bytes;

use crate::network::{ConnIndex, EndState, Packet};
use crate::options::{Host, MS, S};
use crate::process::name;
use crate::rng::{Draw, stream};
use crate::world::connections::IMPOSTOR;
use crate::world::{Event, World};
use argon_core::message::Said;

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
            body(&mut rng, self.impostor_id(end.host))
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

fn version(rng: &mut Rng) -> Version {
    if rng.percent(80) {
        return VERSION;
    }
    Version {
        major: rng.up_to(3) as u16,
        minor: rng.up_to(3) as u16,
    }
}

fn nanos(rng: &mut Rng) -> Nanos {
    Nanos(rng.pick(&[0, 1, MS, S, 100 * S, u64::MAX - 1, u64::MAX]))
}

fn welcome(rng: &mut Rng) -> Welcome {
    Welcome {
        version: version(rng),
        epoch: Epoch(rng.draw()),
        resumed: rng.percent(30),
        lease: nanos(rng),
        payload_max: rng.pick(&[0, 8, 1_000, u32::MAX]),
    }
}

/// Attempts and tasks that nobody has.
fn attempt(rng: &mut Rng) -> Attempt {
    Attempt {
        epoch: Epoch(rng.up_to(2)),
        number: rng.pick(&[0, 1, 2, u64::MAX]),
    }
}

fn beat(rng: &mut Rng) -> Beat {
    Beat {
        nonce: rng.draw(),
        received: rng.pick(&[0, 0, 1, u64::MAX]),
    }
}

fn body(rng: &mut Rng, id: u64) -> Said {
    let task = TaskId {
        client: PeerId(id),
        seq: rng.up_to(3),
    };
    let seq = u64::MAX - rng.up_to(3);
    match rng.up_to(16) {
        0 => Said::FromManager(ToPeer::Control(Control::Welcome(welcome(rng)))),
        1 => Said::FromManager(ToPeer::Control(Control::Refuse(rng.pick(&[
            RefuseReason::Version(VERSION),
            RefuseReason::OldConnection,
            RefuseReason::Full,
            RefuseReason::BadHello,
        ])))),
        2 => Said::ToManager(ToManager::Ping(beat(rng))),
        3 => Said::FromManager(ToPeer::Control(Control::Pong(beat(rng)))),
        4 => Said::ToManager(ToManager::Goodbye),
        5..=7 => Said::FromManager(ToPeer::Worker(ToWorker::Assign(Assign {
            attempt: attempt(rng),
            task,
            at_most_once: rng.percent(50),
            deadline: nanos(rng),
            time_limit: nanos(rng),
            name: name("x"),
        }))),
        8 => Said::FromManager(ToPeer::Worker(ToWorker::Recall {
            attempts: vec![attempt(rng)],
        })),
        9 => Said::FromManager(ToPeer::Worker(ToWorker::Kill {
            attempt: attempt(rng),
        })),
        10 => Said::FromManager(ToPeer::Worker(ToWorker::AckResults {
            attempts: vec![attempt(rng)],
        })),
        11 => Said::FromManager(ToPeer::Worker(ToWorker::Resend {
            attempt: attempt(rng),
        })),
        12 => Said::FromManager(ToPeer::Client(ToClient::Outcome {
            seq,
            outcome: Outcome::Expired {
                may_have_run: false,
            },
        })),
        13 => Said::FromManager(ToPeer::Client(ToClient::Reject {
            seq: rng.pick(&[0, 1, 2, seq]),
            reason: rng.pick(&[RejectReason::QueueFull, RejectReason::NoWorkers]),
            similar: Vec::new(),
            retry_after: nanos(rng),
            may_have_run: rng.percent(50),
        })),
        14 => Said::FromManager(ToPeer::Client(ToClient::Unknown { seqs: vec![seq] })),
        15 => Said::ToManager(ToManager::Worker(FromWorker::Finished(Finished {
            attempt: attempt(rng),
            task,
            ran: nanos(rng),
            end: argon_core::message::AttemptEnd::Completed,
        }))),
        _ => Said::ToManager(ToManager::Hello(Hello {
            magic: MAGIC,
            version: version(rng),
            role: Role::Client,
            peer: PeerId(id),
            connection: 1,
            session: None,
            name: name("x"),
        })),
    }
}
