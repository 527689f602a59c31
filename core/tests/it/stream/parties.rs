//! Who reads and writes the streams of a task: a process that echoes, and the application that asked.

use std::collections::VecDeque;

use argon_core::ids::Attempt;
use argon_core::message::StreamOf;
use argon_core::stream::{StreamEvent, StreamUse};
use argon_core::worker::SlotLife;
use bytes::Bytes;

use super::pipe::bytes_at;
use super::triangle::{INPUT, OUTPUT, WINDOW};

/// What somebody does with streams, in this order.
pub(super) type Uses = Vec<(StreamOf, StreamUse)>;

/// A process that echoes a stream.
#[derive(Debug)]
pub(super) struct Echo {
    pub(super) slot: SlotLife,
    pub(super) attempt: Attempt,
    /// Read and not written.
    held: VecDeque<Bytes>,
    input_ended: bool,
    written: u64,
    room: u64,
}

impl Echo {
    pub(super) fn new(slot: SlotLife, attempt: Attempt) -> Self {
        Self {
            slot,
            attempt,
            held: VecDeque::new(),
            input_ended: false,
            written: 0,
            room: u64::from(WINDOW),
        }
    }

    pub(super) fn hear(&mut self, of: StreamOf, event: StreamEvent) {
        assert_eq!(of.attempt, self.attempt);
        match event {
            StreamEvent::Bytes { bytes, last } => {
                assert!(!self.input_ended, "nothing comes after the end");
                self.held.push_back(bytes);
                self.input_ended = last;
            }
            StreamEvent::Room { up_to } => {
                assert!(up_to >= self.room, "room is never taken back");
                self.room = up_to;
            }
            StreamEvent::Unread => {}
        }
    }

    /// Whether it has written all that it will.
    pub(super) fn is_done(&self) -> bool {
        self.held.is_empty() && self.input_ended
    }

    /// It writes what it read, as much as there is room for.
    pub(super) fn works(&mut self) -> Uses {
        let attempt = self.attempt;
        let room = (self.room - self.written) as usize;
        let Some(first) = self.held.front_mut() else {
            return Vec::new();
        };
        let bytes = first.split_to(first.len().min(room));
        let is_used_up = first.is_empty();
        if is_used_up {
            self.held.pop_front();
        }
        let count = bytes.len();
        if count == 0 && !is_used_up {
            return Vec::new();
        }
        self.written += count as u64;
        let of = |stream| StreamOf { attempt, stream };
        let last = false;
        vec![
            (of(OUTPUT), StreamUse::Wrote { bytes, last }),
            (of(INPUT), StreamUse::Took { bytes: count }),
        ]
    }
}

/// The application's end of the task.
#[derive(Debug)]
pub(super) struct Application {
    /// Bytes that the task is to echo.
    size: u64,
    attempt: Option<Attempt>,
    written: u64,
    room: u64,
    ended: bool,
    pub(super) read: u64,
    pub(super) whole: bool,
    /// Came, and not taken yet.
    untaken: usize,
    /// How often the streams began.
    pub(super) begun: u32,
}

impl Application {
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            attempt: None,
            written: 0,
            room: u64::from(WINDOW),
            ended: false,
            read: 0,
            whole: false,
            untaken: 0,
            begun: 0,
        }
    }

    /// Another attempt: all begins anew.
    pub(super) fn begin(&mut self, attempt: Attempt) {
        *self = Self {
            attempt: Some(attempt),
            begun: self.begun + 1,
            ..Self::new(self.size)
        };
    }

    pub(super) fn hear(&mut self, of: StreamOf, event: StreamEvent) {
        assert_eq!(Some(of.attempt), self.attempt, "of the last attempt");
        match event {
            StreamEvent::Bytes { bytes, last } => {
                assert_eq!(of.stream, OUTPUT);
                assert!(!self.whole, "nothing comes after the end");
                assert_eq!(bytes, bytes_at(self.read, bytes.len()));
                self.read += bytes.len() as u64;
                self.untaken += bytes.len();
                self.whole = last;
                assert!(self.untaken <= WINDOW as usize);
            }
            StreamEvent::Room { up_to } => {
                assert_eq!(of.stream, INPUT);
                assert!(up_to >= self.room, "room is never taken back");
                self.room = up_to;
            }
            StreamEvent::Unread => {}
        }
    }

    /// It writes and reads, so much at most.
    pub(super) fn works(&mut self, most: usize) -> Uses {
        let Some(attempt) = self.attempt else {
            return Vec::new();
        };
        let of = |stream| StreamOf { attempt, stream };
        let mut uses = Vec::new();
        let left = (self.size - self.written).min(most as u64);
        let count = left.min(self.room - self.written);
        let last = self.written + count == self.size;
        if count > 0 || last && !self.ended {
            let bytes = bytes_at(self.written, count as usize);
            uses.push((of(INPUT), StreamUse::Wrote { bytes, last }));
        }
        self.written += count;
        self.ended |= last;
        let bytes = self.untaken.min(most);
        if bytes > 0 {
            uses.push((of(OUTPUT), StreamUse::Took { bytes }));
        }
        self.untaken -= bytes;
        uses
    }
}
