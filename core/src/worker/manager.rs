//! What the manager says, and what comes of it.

use alloc::vec::Vec;

use super::WorkerOutput;
use super::attempts::{AttemptKey, AttemptPlace, Held, HeldResult};
use super::machine::{Phase, Worker};
use crate::durations::NameKey;
use crate::event::{CloseReason, Event, LinkDown};
use crate::ids::Attempt;
use crate::limits::{WINDOW_MAX, WORKER_WINDOW_BYTES};
use crate::link::{LinkEvent, LinkInput};
use crate::message::{
    Assign, AttemptEnd, AttemptRun, FromManager, FromWorker, Message, Numbered, RefuseReason,
    ReportedAttempt, Run, ToWorker,
};
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::time::Instant;

impl Worker {
    /// Takes in a fact about the connection.
    pub(super) fn on_link(&mut self, now: Instant, input: LinkInput<ToWorker>) {
        match input {
            LinkInput::Received {
                conn,
                message:
                    Message {
                        body: FromManager::Role(said),
                        payload,
                    },
            } if self.link.hear(now, conn) => self.on_message(now, said, payload),
            LinkInput::Written { conn } if self.link.is_up_on(conn) => {
                self.attempts.streams.written();
            }
            input @ (LinkInput::Received { .. }
            | LinkInput::Connected { .. }
            | LinkInput::Progress { .. }
            | LinkInput::Written { .. }
            | LinkInput::Closed { .. }) => {
                let event = self.link.handle_input(now, input, &mut self.out);
                self.on_link_event(now, event);
            }
        }
    }

    /// Acts on what a fact about the connection, or a time-out, meant.
    pub(super) fn on_link_event(&mut self, now: Instant, event: Option<LinkEvent<ToWorker>>) {
        match event {
            None => {}
            Some(LinkEvent::Up(welcome)) => {
                let (epoch, resumed) = (welcome.epoch, welcome.resumed);
                self.payload_max = welcome.payload_max as usize;
                let address = self.link.address();
                self.notify(Event::LinkUp {
                    epoch,
                    resumed,
                    address,
                });
                self.on_up(now);
            }
            Some(LinkEvent::Down(reason)) => {
                self.notify(Event::LinkDown { reason });
                self.on_down(now, reason);
                if let LinkDown::Ours(CloseReason::Refused(reason)) = reason {
                    self.on_refused(now, reason);
                }
            }
            Some(LinkEvent::Refused(reason)) => {
                self.notify(Event::LinkRefused { reason });
                self.on_refused(now, reason);
            }
            Some(LinkEvent::Message(message)) => {
                self.on_message(now, message.body, message.payload);
            }
        }
    }

    /// Two workers of one name would show each other out for ever: the one that was told leaves. What
    /// it runs is tried elsewhere already.
    fn on_refused(&mut self, now: Instant, reason: RefuseReason) {
        if reason == RefuseReason::Replaced {
            self.out.push_back(WorkerOutput::Replaced);
            self.leave(now, false);
        }
    }

    fn on_up(&mut self, now: Instant) {
        self.outage.on_up();
        self.demand.on_up(now);
        // What was assigned and is not reported has not started: the manager gives it to others.
        self.return_waiting();
        self.answers.forget_not_started();
        self.send_report(now);
        self.announced.on_up();
        if matches!(self.phase, Phase::Draining { .. }) {
            self.link.send(now, FromWorker::Draining, &mut self.out);
        }
    }

    fn on_down(&mut self, now: Instant, reason: LinkDown) {
        self.answers.clear();
        self.attempts.streams.written();
        self.demand.on_down();
        let is_silent = reason == LinkDown::Ours(CloseReason::Silent);
        self.outage.on_down(self.link.awake(now), is_silent);
    }

    /// Whether the manager has been out of reach for so long that it may have given what has not
    /// started here to others.
    pub(super) fn is_cut_off(&self) -> bool {
        self.outage.is_past(self.link.lease(), self.awake)
    }

    fn on_message(&mut self, now: Instant, said: ToWorker, payload: Payload) {
        match said {
            ToWorker::Assign(assign) => self.on_assign(now, assign.assigned(), &assign, payload),
            ToWorker::Recall { attempts } => self.on_recall(attempts),
            ToWorker::Kill { attempt } => self.on_kill(now, attempt),
            ToWorker::AckResults { attempts } => self.on_ack_results(attempts),
            ToWorker::AckResultRuns { rows } => {
                self.on_ack_results(rows.into_iter().flat_map(AttemptRun::attempts));
            }
            ToWorker::AssignRun(run) => self.on_assign_run(now, &run, &payload),
            ToWorker::Resend { attempt } => self.on_resend(now, attempt),
            ToWorker::AssignStreams(assign) => self.on_assign_streams(now, *assign, payload),
            ToWorker::StreamAgain { attempt } => self.on_stream_again(now, attempt),
            ToWorker::StreamChunk(chunk) => self.on_stream_chunk(now, chunk, payload),
            ToWorker::StreamLevel(level) => self.on_stream_level(now, level),
        }
    }

    pub(super) fn hang_up(&mut self, now: Instant, error: ProtocolError) {
        let event = self
            .link
            .close(now, CloseReason::Protocol(error), &mut self.out);
        self.on_link_event(now, event);
    }

    fn on_assign_run(&mut self, now: Instant, run: &Run<Assign>, payload: &Payload) {
        let Some(arguments) = run.payloads(payload) else {
            return self.hang_up(now, ProtocolError::BadRun);
        };
        let first = run.first.assigned();
        let mut name = None;
        for (by, argument) in (0..).zip(arguments) {
            if !self.link.is_up() {
                break;
            }
            if let Some(assigned) = first.plus(by)
                && self.may_take(now, assigned.attempt)
            {
                let name = *name.get_or_insert_with(|| self.durations.intern(&run.first.name));
                self.take(now, assigned, &run.first, name, argument);
            }
        }
    }

    /// An attempt is assigned, in the words of `assign` but for its numbers.
    pub(super) fn on_assign(
        &mut self,
        now: Instant,
        assigned: ReportedAttempt,
        assign: &Assign,
        payload: Payload,
    ) {
        if self.may_take(now, assigned.attempt) {
            let name = self.durations.intern(&assign.name);
            self.take(now, assigned, assign, name, payload);
        }
    }

    /// Whether what is assigned may be taken in; if not, that is answered.
    fn may_take(&mut self, now: Instant, attempt: Attempt) -> bool {
        // With as many results as it may hold, it returns what comes, whatever window it granted.
        if self.phase != Phase::Running || self.demand.is_full() {
            if self.attempts.find(attempt).is_none() {
                self.answers.not_started(attempt);
            }
            return false;
        }
        // No window was ever larger, and a manager that was left may have filled one too.
        let room = self
            .config
            .held_results
            .saturating_add(2 * WINDOW_MAX as usize);
        let has_room = self.attempts.waiting() < WINDOW_MAX as usize
            && self.attempts.waiting_bytes() <= 2 * WORKER_WINDOW_BYTES
            && self.attempts.len() < room;
        if !has_room {
            self.hang_up(now, ProtocolError::WindowExceeded);
        }
        has_room
    }

    /// Takes in what is assigned, unless it is known already.
    fn take(
        &mut self,
        now: Instant,
        assigned: ReportedAttempt,
        assign: &Assign,
        name: NameKey,
        payload: Payload,
    ) {
        let Some(key) = self.attempts.add(now, assigned, assign, name, payload) else {
            return;
        };
        self.demand.on_assigned();
        match self.attempts.get(key).deadline {
            Some(at) if at <= now => self.expire(now, key),
            Some(at) => self.expiries.set(key, at),
            None => {}
        }
    }

    fn on_recall(&mut self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            match self.attempts.find(attempt) {
                None => self.answers.not_started(attempt),
                Some(key) if self.attempts.get(key).given => self.answers.started(attempt),
                Some(_) => self.answers.leave_open(attempt),
            }
        }
    }

    /// Answers for what waited when it was asked for, once slots that are free have been given what
    /// they can: tasks that may not wait are recalled soon, and would otherwise never start.
    pub(super) fn answer_recalls(&mut self, now: Instant) {
        if !self.answers.are_open() {
            return;
        }
        self.feed(now);
        for attempt in self.answers.take_open() {
            match self.attempts.find(attempt) {
                Some(key) if self.attempts.get(key).given => self.answers.started(attempt),
                Some(key) => self.return_unstarted(key),
                // It went back for another reason in the meantime.
                None => {}
            }
        }
    }

    fn on_kill(&mut self, now: Instant, attempt: Attempt) {
        let Some(key) = self.attempts.find(attempt) else {
            self.answers.not_started(attempt);
            return;
        };
        let entry = self.attempts.get(key);
        match entry.place {
            AttemptPlace::Waiting if entry.given => {
                self.expiries.cancel(key);
                self.finish(now, key, HeldResult::without_run(AttemptEnd::Killed));
            }
            AttemptPlace::Waiting => self.return_unstarted(key),
            AttemptPlace::Given { .. } => self.kill_given(now, key),
            AttemptPlace::Held(Held { unread: true, .. }) => {
                self.expiries.cancel(key);
                self.finish(now, key, HeldResult::without_run(AttemptEnd::Killed));
            }
            // Its end was sent, or reported and will be asked for.
            AttemptPlace::Held(_) => {}
        }
    }

    /// Hands a waiting attempt that was never given to a slot back to the manager.
    pub(super) fn return_unstarted(&mut self, key: AttemptKey) {
        debug_assert!(!self.attempts.get(key).given);
        self.expiries.cancel(key);
        let attempt = self.attempts.forget(key);
        self.answers.not_started(attempt);
    }

    /// Hands back all that was never given to a slot. These are the last in the list.
    pub(super) fn return_waiting(&mut self) {
        while let Some(key) = self.attempts.last() {
            if self.attempts.get(key).given {
                break;
            }
            self.return_unstarted(key);
        }
    }
}
