//! Frames as they pass: lines for the trace, and what order is judged by.

use argon_core::codec;
use argon_core::message::{FromClient, Message, ToClient, ToManager, ToPeer, ToWorker};
use bytes::BytesMut;

use super::host::called;
use super::scene::Scene;
use crate::history::{Wire, WireWhat};
use crate::options::Host;
use crate::wire::{is_beat, submitted, task_of};
use crate::world::short;
use argon_core::message::Said;

/// Listens at one end of a connection, if anybody wants to know.
pub(super) struct Tap {
    host: Host,
    peer: Host,
    /// Bytes of frames that are not whole; `None` once they are no frames.
    read: Option<BytesMut>,
    wrote: Option<BytesMut>,
    /// At a manager: the client or worker at the other end.
    peer_id: u64,
}

impl Tap {
    pub(super) fn new(scene: &Scene, host: Host, peer: Host) -> Self {
        let is_manager = host < scene.options().managers;
        let wanted = scene.tracing || (scene.judging_order && is_manager);
        // Over TLS there is nothing to see.
        let wanted = wanted && scene.keys.is_none();
        let empty = || wanted.then(BytesMut::new);
        Self {
            host,
            peer,
            read: empty(),
            wrote: empty(),
            peer_id: 0,
        }
    }

    pub(super) fn read(&mut self, scene: &Scene, bytes: &[u8]) {
        for message in frames(&mut self.read, bytes) {
            if let Said::ToManager(ToManager::Hello(hello)) = &message.body {
                self.peer_id = hello.peer.0;
            }
            self.note(scene, "<-", &message);
        }
    }

    pub(super) fn wrote(&mut self, scene: &Scene, bytes: &[u8]) {
        for message in frames(&mut self.wrote, bytes) {
            if let Said::ToManager(ToManager::Hello(hello)) = &message.body {
                self.peer_id = hello.peer.0;
            }
            self.note(scene, "->", &message);
        }
    }

    fn note(&self, scene: &Scene, arrow: &str, message: &Message<Said>) {
        let body = &message.body;
        if scene.judging_order && self.host < scene.options().managers {
            for single in message.singles() {
                self.judge(scene, &single.body);
            }
        }
        if !scene.tracing || is_beat(body) {
            return;
        }
        let task = task_of(body, Some(self.peer_id))
            .and_then(|(client, seq)| scene.lock().task_by_number(client, seq));
        scene.say(self.host, task, || {
            let peer = called(scene.options(), self.peer);
            format!("{arrow} {peer}: {}", short(&format!("{body:?}")))
        });
    }

    fn judge(&self, scene: &Scene, body: &Said) {
        let mut attempt = None;
        let what = match body {
            Said::ToManager(ToManager::Client(FromClient::Submit(submit))) => {
                let mut what = submitted(submit);
                if let WireWhat::Submitted { max_wait, .. } = &mut what {
                    // When a frame is on its way is later than when that was decided.
                    *max_wait = u64::MAX;
                }
                what
            }
            Said::ToManager(ToManager::Client(FromClient::Cancel { .. })) => WireWhat::Cancelled,
            Said::FromManager(ToPeer::Worker(ToWorker::Assign(assign))) => {
                attempt = Some((assign.attempt.epoch.0, assign.attempt.number));
                WireWhat::Assigned
            }
            // Who made room for whom shows in the order of decisions only, not in that of frames.
            Said::FromManager(ToPeer::Client(ToClient::Reject { retry_after, .. })) => {
                WireWhat::Rejected {
                    displaced: false,
                    after: retry_after.0,
                }
            }
            Said::FromManager(ToPeer::Client(ToClient::Outcome { .. })) => WireWhat::Ended,
            _ => return,
        };
        let Some((client, seq)) = task_of(body, Some(self.peer_id)) else {
            return;
        };
        let at = scene.now();
        let mut inner = scene.lock();
        if let Some(attempt) = attempt {
            let place = inner.history.wire.len();
            inner.assigned.push((place, attempt));
        }
        let Some(process) = &inner.hosts[usize::from(self.host)].process else {
            return;
        };
        let life = process.life;
        inner.history.wire.push(Wire {
            at,
            life,
            client,
            seq,
            what,
        });
    }
}

/// Takes whole frames off the front.
fn frames(buffer: &mut Option<BytesMut>, bytes: &[u8]) -> Vec<Message<Said>> {
    let mut whole = Vec::new();
    while let Some(kept) = buffer {
        if whole.is_empty() {
            kept.extend_from_slice(bytes);
        }
        match codec::decode::<Said>(kept, usize::MAX >> 1) {
            Ok(Some(message)) => whole.push(message),
            Ok(None) => break,
            Err(_) => *buffer = None,
        }
    }
    whole
}

/// Puts assignments into the order in which they were decided, which their numbers say: each goes
/// through its own connection, and one may be written before another that was decided earlier.
pub(super) fn order_assignments(wire: &mut [Wire], assigned: &[(usize, (u64, u64))]) {
    let mut by_number: Vec<_> = assigned.to_vec();
    by_number.sort_by_key(|(_, attempt)| *attempt);
    let decided: Vec<Wire> = by_number
        .iter()
        .map(|(place, _)| wire[*place].clone())
        .collect();
    for ((place, _), decided) in assigned.iter().zip(decided) {
        wire[*place] = decided;
    }
}
