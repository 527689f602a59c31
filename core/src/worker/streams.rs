//! Streams of attempts: passed on between slots and the manager.
//!
//! An attempt whose process has ended goes on for the manager until its client has received what it
//! wrote, so that no outcome comes before its output, and whoever is cut off meanwhile goes on from where
//! both sides are.

use super::attempts::AttemptPlace;
use super::machine::Worker;
use super::{Job, PoolOutput, SlotLife, WorkerOutput};
use crate::ids::{Attempt, SlotId};
use crate::message::{FromWorker, Message, StreamAssign, StreamChunk, StreamLevel, StreamOf};
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::stream::{self, StreamEvent, StreamUse};
use crate::time::Instant;

impl Worker {
    pub(super) fn on_assign_streams(&mut self, now: Instant, said: StreamAssign, payload: Payload) {
        if !self.link.has_streams() {
            return self.hang_up(now, ProtocolError::Misdirected);
        }
        let StreamAssign { assign, streams } = said;
        if !stream::are_valid(&streams) {
            return self.hang_up(now, ProtocolError::BadStreams);
        }
        let is_known = self.attempts.find(assign.attempt).is_some();
        self.on_assign(now, assign.assigned(), &assign, payload);
        if !is_known && self.attempts.find(assign.attempt).is_some() {
            self.attempts.streams.open(assign.attempt, streams);
        }
    }

    /// Lets a slot run an attempt that has streams.
    pub(super) fn run_with_streams(&mut self, now: Instant, slot: SlotLife, job: Job) {
        let attempt = job.attempt;
        let streams = self.attempts.streams.specs(attempt).to_vec();
        let run = PoolOutput::RunStreams { slot, job, streams };
        self.out.push_back(WorkerOutput::Pool(run));
        for level in self.attempts.streams.begin(attempt) {
            self.say_level(now, level);
        }
    }

    /// Where an attempt runs, if it does.
    fn slot_of(&self, attempt: Attempt) -> Option<SlotLife> {
        let key = self.attempts.find(attempt)?;
        match self.attempts.get(key).place {
            AttemptPlace::Given { slot, .. } => Some(self.life_of(slot)),
            AttemptPlace::Waiting | AttemptPlace::Held(_) => None,
        }
    }

    fn life_of(&self, slot: SlotId) -> SlotLife {
        let life = self.pool.get(slot).life;
        SlotLife { slot, life }
    }

    fn tell_slot(&mut self, of: StreamOf, event: StreamEvent) {
        if let Some(slot) = self.slot_of(of.attempt) {
            let told = PoolOutput::Stream { slot, of, event };
            self.out.push_back(WorkerOutput::Pool(told));
        }
    }

    pub(super) fn on_stream_chunk(&mut self, now: Instant, said: StreamChunk, payload: Payload) {
        match self.attempts.streams.hear_chunk(said, payload) {
            Ok(None) => {}
            Ok(Some((event, level))) => {
                self.tell_slot(said.of, event);
                if let Some(level) = level {
                    self.say_level(now, level);
                }
            }
            Err(error) => self.hang_up(now, error.into()),
        }
    }

    pub(super) fn on_stream_level(&mut self, now: Instant, said: StreamLevel) {
        if let Some(event) = self.attempts.streams.hear_level(said) {
            self.tell_slot(said.of, event);
        }
        if let Some(key) = self.attempts.find(said.of.attempt)
            && self.attempts.note_read(key)
        {
            self.expiries.cancel(key);
            self.send_held(now, key);
        }
    }

    /// A slot did something with a stream; it may only with those of the attempt that it runs.
    pub(super) fn on_stream_use(
        &mut self,
        now: Instant,
        slot: SlotLife,
        of: StreamOf,
        usage: StreamUse,
    ) {
        if self.slot_of(of.attempt) == Some(slot)
            && let Some(level) = self.attempts.streams.on_use(of, usage)
        {
            self.say_level(now, level);
        }
    }

    fn say_level(&mut self, now: Instant, level: StreamLevel) {
        // Without a connection, the next one begins with where everything is.
        self.link
            .send(now, FromWorker::StreamLevel(level), &mut self.out);
    }

    /// The streams of an attempt go on.
    pub(super) fn on_stream_again(&mut self, now: Instant, attempt: Attempt) {
        for level in self.attempts.streams.go_on(attempt) {
            self.say_level(now, level);
        }
    }

    /// Sends of the streams whose turn it is, as much as the driver keeps up with.
    pub(super) fn send_streams(&mut self, now: Instant) {
        while self.link.is_up()
            && let Some((of, chunk)) = self.attempts.streams.next()
        {
            let message =
                Message::of_chunk(of, chunk, |chunk| FromWorker::StreamChunk(chunk).into());
            self.link.send(now, message, &mut self.out);
        }
    }
}
