//! Streams of a client's tasks: those of the current attempt of each.
//!
//! Another attempt begins anew: the application is told, and what it read of the one before is of that.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::Attempt;
use crate::message::{
    FromClient, Message, StreamAttempt, StreamChunk, StreamLevel, StreamOf, StreamSubmit, Submit,
};
use crate::payload::Payload;
use crate::stream::{Direction, Endpoint, StreamEvent, StreamSpec, StreamUse};
use crate::time::Instant;

use super::{Client, ClientOutput};

/// What a task's attempts are to have, and which of them does.
#[derive(Clone, Debug)]
struct TaskStreams {
    specs: Vec<StreamSpec>,
    attempt: Option<Attempt>,
}

/// The streams of all tasks.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    tasks: BTreeMap<u64, TaskStreams>,
    endpoint: Endpoint,
}

impl Streams {
    pub(super) fn new(ahead_max: usize) -> Self {
        Self {
            tasks: BTreeMap::new(),
            endpoint: Endpoint::new(Direction::ToAttempt, ahead_max),
        }
    }

    pub(super) fn add(&mut self, seq: u64, specs: Vec<StreamSpec>) {
        let attempt = None;
        self.tasks.insert(seq, TaskStreams { specs, attempt });
    }

    /// Whether the task has streams.
    pub(super) fn has(&self, seq: u64) -> bool {
        self.tasks.contains_key(&seq)
    }

    /// The submission of a task that has streams.
    pub(super) fn submission(&self, seq: u64, submit: Submit) -> StreamSubmit {
        let task = self.tasks.get(&seq);
        StreamSubmit {
            submit,
            streams: task.map_or_else(Vec::new, |task| task.specs.clone()),
            attempt: task.and_then(|task| task.attempt),
        }
    }

    /// The task is over.
    pub(super) fn remove(&mut self, seq: u64) {
        if let Some(attempt) = self.tasks.remove(&seq).and_then(|task| task.attempt) {
            self.endpoint.close(attempt);
        }
    }

    /// The connection is gone.
    pub(super) fn on_down(&mut self) {
        self.endpoint.written();
    }

    /// What was sent is written.
    pub(super) fn written(&mut self) {
        self.endpoint.written();
    }

    /// Asserts what the modules promise.
    pub(super) fn check_invariants(&self, is_live: impl Fn(u64) -> bool) {
        self.endpoint.check_invariants();
        let mut attempts = Vec::new();
        for (seq, task) in &self.tasks {
            assert!(is_live(*seq), "streams of tasks that are here");
            attempts.extend(task.attempt);
        }
        attempts.sort_unstable();
        assert_eq!(attempts, self.endpoint.attempts());
    }
}

impl Client {
    /// A task with streams is with a worker.
    pub(super) fn on_stream_attempt(&mut self, now: Instant, said: StreamAttempt) {
        let StreamAttempt {
            seq,
            attempt,
            again,
        } = said;
        let Some(task) = self.streams.tasks.get_mut(&seq) else {
            return;
        };
        let before = task.attempt.replace(attempt);
        if before != Some(attempt) {
            if let Some(before) = before {
                self.streams.endpoint.close(before);
            }
            self.streams.endpoint.open(attempt, task.specs.clone());
            self.outputs
                .push_back(ClientOutput::StreamsBegin { seq, attempt });
        }
        if again {
            for level in self.streams.endpoint.go_on(attempt) {
                self.send(now, FromClient::StreamLevel(level));
            }
        }
    }

    pub(super) fn on_stream_chunk(&mut self, now: Instant, said: StreamChunk, payload: Payload) {
        match self.streams.endpoint.hear_chunk(said, payload) {
            Ok(None) => {}
            Ok(Some((event, level))) => {
                self.tell(said.of, event);
                if let Some(level) = level {
                    self.send(now, FromClient::StreamLevel(level));
                }
            }
            Err(error) => self.close(now, error.into()),
        }
    }

    pub(super) fn on_stream_level(&mut self, said: StreamLevel) {
        if let Some(event) = self.streams.endpoint.hear_level(said) {
            self.tell(said.of, event);
        }
    }

    fn tell(&mut self, of: StreamOf, event: StreamEvent) {
        self.outputs.push_back(ClientOutput::Stream { of, event });
    }

    /// The application did something with a stream; with one of an earlier attempt that is nothing.
    pub(super) fn on_stream_use(&mut self, now: Instant, of: StreamOf, usage: StreamUse) {
        if let Some(level) = self.streams.endpoint.on_use(of, usage) {
            self.send(now, FromClient::StreamLevel(level));
        }
    }

    /// Sends of the streams whose turn it is, as much as the driver keeps up with.
    pub(super) fn send_streams(&mut self, now: Instant) {
        while self.link.is_up()
            && let Some((of, chunk)) = self.streams.endpoint.next()
        {
            let message =
                Message::of_chunk(of, chunk, |chunk| FromClient::StreamChunk(chunk).into());
            self.link.send(now, message, &mut self.outputs);
        }
    }
}
