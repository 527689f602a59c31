//! What connections mean for tasks: resuming, a manager that forgot, cut off, moving on.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{CloseReason, Event, LinkDown};
use crate::ids::Epoch;
use crate::limits::RECONNECT_DELAY_MAX;
use crate::link::{LinkEvent, LinkInput};
use crate::message::{FromClient, FromManager, Message, ToClient, ToManager, Welcome};
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::task::Outcome;
use crate::time::Instant;

use super::Client;
use super::tasks::{Task, TaskState};

/// How long a client that is about to leave its manager waits for answers that are on their way:
/// a task without one counts as possibly run at the next.
const LAST_WORDS: Duration = Duration::from_millis(20);
/// Shortest time between two moves once every manager of the list was tried.
const MOVE_EVERY: Duration = RECONNECT_DELAY_MAX;

/// Leaving managers that have no workers.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    /// Moves since a task last ended at a manager.
    count: usize,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Moves {
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// What is known of the manager that lets the client in, and what it may still have of the client's.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The life of the manager that the tasks at it were sent to.
    pub(super) epoch: Option<Epoch>,
    /// When that began for this client, and when it was last cut off from it.
    began: Instant,
    cut_at: Instant,
    /// Tasks sent with higher numbers were not asked about on this connection.
    asked: u64,
    /// Tasks ended here while cut off, that the manager may still have; at most `IDS_MAX`.
    pub(super) abandoned: BTreeSet<u64>,
    /// The largest payload that the manager of the last `Welcome` takes.
    pub(super) payload_max: Option<usize>,
    pub(super) moves: Moves,
}

impl Session {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: None,
            began: now,
            cut_at: now,
            asked: 0,
            abandoned: BTreeSet::new(),
            payload_max: None,
            moves: Moves::default(),
        }
    }

    /// The client leaves: there is nothing more to be done at any manager.
    pub(super) fn stop(&mut self) {
        self.abandoned.clear();
        self.moves = Moves::default();
    }
}

impl Client {
    pub(super) fn on_link_input(&mut self, now: Instant, input: LinkInput<ToClient>) {
        match input {
            LinkInput::Received {
                conn,
                message:
                    Message {
                        body: FromManager::Role(said),
                        payload,
                    },
            } if self.link.hear(now, conn) => self.on_message(now, said, payload),
            LinkInput::Written { conn } if self.link.is_up_on(conn) => self.streams.written(),
            input @ (LinkInput::Received { .. }
            | LinkInput::Connected { .. }
            | LinkInput::Progress { .. }
            | LinkInput::Written { .. }
            | LinkInput::Closed { .. }) => {
                let event = self.link.handle_input(now, input, &mut self.outputs);
                self.on_link(now, event);
            }
        }
    }

    pub(super) fn on_link(&mut self, now: Instant, event: Option<LinkEvent<ToClient>>) {
        match event {
            None => {}
            Some(LinkEvent::Up(welcome)) => self.on_up(now, welcome),
            Some(LinkEvent::Down(reason)) => self.on_down(now, reason),
            Some(LinkEvent::Message(message)) => {
                self.on_message(now, message.body, message.payload);
            }
            Some(LinkEvent::Refused(reason)) => {
                self.refused = Some(reason);
                self.notify(Event::LinkRefused { reason });
            }
        }
    }

    /// Lets the link do all that is due: noticing silence, dialling.
    pub(super) fn drive_link(&mut self, now: Instant) {
        // Silence, then the dial; a deadline that stayed would be a busy loop of the driver.
        for _ in 0..4 {
            let due = self.link.poll_timeout();
            if due.is_none_or(|deadline| deadline.at > now) {
                return;
            }
            let event = self.link.handle_timeout(now, &mut self.outputs);
            self.on_link(now, event);
        }
    }

    pub(super) fn close(&mut self, now: Instant, error: ProtocolError) {
        let reason = CloseReason::Protocol(error);
        let event = self.link.close(now, reason, &mut self.outputs);
        self.on_link(now, event);
    }

    fn on_down(&mut self, now: Instant, reason: LinkDown) {
        self.session.cut_at = now;
        self.notify(Event::LinkDown { reason });
        // Outcomes come again after resuming, and so do their acknowledgements.
        self.acks.seqs.clear();
        self.session.moves.due = None;
        self.window.on_down();
        self.streams.on_down();
        self.tasks.watch_deadlines(self.link.lease());
    }

    fn on_up(&mut self, now: Instant, welcome: Welcome) {
        let resumed = welcome.resumed && self.session.epoch == Some(welcome.epoch);
        self.session.epoch = Some(welcome.epoch);
        self.session.payload_max = Some(welcome.payload_max as usize);
        self.refused = None;
        self.notify(Event::LinkUp {
            epoch: welcome.epoch,
            resumed,
            address: self.link.address(),
        });
        if let Some(process) = self.config.within.filter(|_| !resumed) {
            self.send(now, FromClient::Within(process));
        }
        for seq in core::mem::take(&mut self.session.abandoned) {
            self.send(now, FromClient::Cancel { seq });
        }
        self.acks.due = true;
        self.flush_acks(now);
        if resumed {
            self.resume(now);
        } else {
            self.start_over(now);
        }
    }

    /// The session goes on: the manager is asked which of the sent tasks it still has.
    fn resume(&mut self, now: Instant) {
        self.session.asked = self.window.last_sent();
        let sent = self.tasks.select(|task| task.sent().is_some());
        for part in sent.chunks(self.config.inner.ids) {
            let seqs = part.to_vec();
            self.send(now, FromClient::Resume { seqs });
        }
        for seq in sent {
            if self.tasks.get(seq).is_some_and(|task| task.cancelled) {
                self.send(now, FromClient::Cancel { seq });
            }
        }
    }

    /// Another manager, another life of it, or a session that it gave up: nobody can say any more
    /// whether what was left there has started.
    fn start_over(&mut self, now: Instant) {
        let held = self.session.cut_at.since(self.session.began);
        self.session.began = now;
        self.session.asked = 0;
        for seq in self.tasks.select(|task| task.sent().is_some()) {
            let task = self.tasks.get_mut(seq);
            if task.is_some_and(|task| task.is_given_up(held)) {
                let history = Vec::new();
                self.end(seq, Outcome::Lost { history }, Payload::empty());
            } else {
                self.tasks.change(seq, true, TaskState::Waiting);
            }
        }
        self.window.restart();
        if self.session.moves.count < self.config.addresses {
            // What the last manager advised is not this one's advice.
            for seq in self.tasks.select(Task::is_backing_off) {
                self.tasks.change(seq, false, TaskState::Waiting);
            }
        }
    }

    /// What the manager never had, it never started. It says so of what it was asked about; to
    /// send again whatever it calls unknown would go round for ever.
    pub(super) fn on_unknown(&mut self, now: Instant, seq: u64) {
        let Some(task) = self.tasks.get(seq) else {
            return;
        };
        let Some(number) = task.sent() else {
            return;
        };
        if number > self.session.asked {
            return self.close(now, ProtocolError::ForgotSubmitted);
        }
        if task.cancelled {
            let may_have_run = task.may_have_run;
            return self.end(seq, Outcome::Cancelled { may_have_run }, Payload::empty());
        }
        self.tasks.change(seq, false, TaskState::Waiting);
    }

    /// The manager has no workers: another may have.
    pub(super) fn want_move(&mut self, now: Instant) {
        if self.config.addresses < 2 || self.session.moves.due.is_some() {
            return;
        }
        let soon = now + LAST_WORDS;
        let tried_all = self.session.moves.count + 1 >= self.config.addresses;
        self.session.moves.due = Some(match self.session.moves.last {
            Some(last) if tried_all => soon.max(last + MOVE_EVERY),
            _ => soon,
        });
    }

    /// The manager ends tasks, so it has workers.
    pub(super) fn stay(&mut self) {
        self.session.moves.count = 0;
        self.session.moves.due = None;
    }

    /// Whether the client waits to leave its manager; nothing is sent there any more.
    pub(super) fn is_leaving(&self) -> bool {
        self.session.moves.due.is_some()
    }

    pub(super) fn move_on_if_due(&mut self, now: Instant) {
        if self.session.moves.due.is_none_or(|due| due > now) || !self.link.is_up() {
            return;
        }
        self.session.moves.due = None;
        self.session.moves.count += 1;
        self.session.moves.last = Some(now);
        self.flush_acks(now);
        // So that tasks which are still queued there do not run there as well, should workers come.
        self.link.send(now, ToManager::Goodbye, &mut self.outputs);
        let event = self.link.move_on(now, &mut self.outputs);
        self.on_link(now, event);
        self.drive_link(now);
    }
}
