//! All streams of a client or of a worker: whose they are, and what is to be said of them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{
    Chunk, Direction, Lane, Reader, StreamError, StreamEvent, StreamSpec, StreamUse, Writer,
};
use crate::ids::Attempt;
use crate::message::{StreamChunk, StreamLevel, StreamOf};
use crate::payload::Payload;

/// A stream, where it ends.
#[derive(Clone, Debug)]
enum End {
    Write {
        writer: Writer,
        /// Whether it waits for its turn to send.
        in_lane: bool,
    },
    Read(Reader),
}

/// The streams of the attempts that are here.
///
/// Invariants: a stream waits for its turn if and only if it has something to send; what its manager was
/// told before the connection was another is told again.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The direction of the streams that are written here.
    written: Direction,
    /// By attempts.
    specs: BTreeMap<Attempt, Vec<StreamSpec>>,
    streams: BTreeMap<StreamOf, End>,
    lane: Lane<StreamOf>,
}

impl Endpoint {
    /// Where streams of this direction are written, and the others read; so many bytes of them may wait to be
    /// written to the connection.
    pub(crate) fn new(written: Direction, ahead_max: usize) -> Self {
        Self {
            written,
            specs: BTreeMap::new(),
            streams: BTreeMap::new(),
            lane: Lane::new(ahead_max),
        }
    }

    /// An attempt with these streams has come here.
    pub(crate) fn open(&mut self, attempt: Attempt, specs: Vec<StreamSpec>) {
        for spec in &specs {
            let stream = spec.id;
            let (window, granted) = (spec.window(), spec.granted_at_first());
            let end = if spec.direction == self.written {
                End::Write {
                    writer: Writer::new(window, granted),
                    in_lane: false,
                }
            } else {
                End::Read(Reader::new(window, granted))
            };
            self.streams.insert(StreamOf { attempt, stream }, end);
        }
        self.specs.insert(attempt, specs);
    }

    /// The attempt is over, or is no longer the one that counts.
    pub(crate) fn close(&mut self, attempt: Attempt) {
        for of in self.of(attempt) {
            self.streams.remove(&of);
        }
        self.specs.remove(&attempt);
    }

    /// What the attempt's streams are called.
    fn of(&self, attempt: Attempt) -> Vec<StreamOf> {
        let named = |spec: &StreamSpec| StreamOf {
            attempt,
            stream: spec.id,
        };
        self.specs(attempt).iter().map(named).collect()
    }

    /// The attempt's streams; none if it has none here.
    pub(crate) fn specs(&self, attempt: Attempt) -> &[StreamSpec] {
        self.specs.get(&attempt).map_or(&[], Vec::as_slice)
    }

    /// Whether the attempt has streams here.
    pub(crate) fn has(&self, attempt: Attempt) -> bool {
        self.specs.contains_key(&attempt)
    }

    /// All attempts that have.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.specs.keys().copied().collect()
    }

    /// Whether something that the attempt wrote has yet to be received.
    pub(crate) fn is_unread(&self, attempt: Attempt) -> bool {
        self.of(attempt)
            .iter()
            .any(|of| match self.streams.get(of) {
                Some(End::Write { writer, .. }) => !writer.is_closed(),
                Some(End::Read(_)) | None => false,
            })
    }

    fn writer(&mut self, of: StreamOf) -> Option<&mut Writer> {
        match self.streams.get_mut(&of) {
            Some(End::Write { writer, .. }) => Some(writer),
            Some(End::Read(_)) | None => None,
        }
    }

    fn reader(&mut self, of: StreamOf) -> Option<&mut Reader> {
        match self.streams.get_mut(&of) {
            Some(End::Read(reader)) => Some(reader),
            Some(End::Write { .. }) | None => None,
        }
    }

    /// What whoever writes a stream has to know; nothing if there is no such stream.
    pub(crate) fn room(&mut self, of: StreamOf) -> Option<StreamEvent> {
        let writer = self.writer(of)?;
        Some(if writer.is_closed() {
            StreamEvent::Unread
        } else {
            let up_to = writer.limit();
            StreamEvent::Room { up_to }
        })
    }

    /// Whoever is at this end of a stream did something with it. What is to be said of that.
    pub(crate) fn on_use(&mut self, of: StreamOf, usage: StreamUse) -> Option<StreamLevel> {
        match usage {
            StreamUse::Wrote { bytes, last } => {
                self.write(of, bytes, last);
                None
            }
            StreamUse::Took { bytes } => {
                self.reader(of)?.take(bytes);
                self.due(of)
            }
            StreamUse::Stopped => {
                self.reader(of)?.close();
                self.due(of)
            }
        }
    }

    fn write(&mut self, of: StreamOf, bytes: Bytes, last: bool) {
        if let Some(writer) = self.writer(of) {
            writer.write(bytes);
            if last {
                writer.end();
            }
            self.line_up(of);
        }
    }

    /// The attempt runs from now on: what it reads may come. What is to be said of that.
    pub(crate) fn begin(&mut self, attempt: Attempt) -> Vec<StreamLevel> {
        let all = self.of(attempt).into_iter();
        all.filter_map(|of| self.on_use(of, StreamUse::Took { bytes: 0 }))
            .collect()
    }

    /// The attempt writes no more: all its streams end.
    pub(crate) fn end(&mut self, attempt: Attempt) {
        for of in self.of(attempt) {
            self.write(of, Bytes::new(), true);
        }
    }

    fn due(&mut self, of: StreamOf) -> Option<StreamLevel> {
        let level = self.reader(of)?.due()?;
        let again = false;
        Some(StreamLevel { of, level, again })
    }

    /// A piece of a stream that is read here: what of it is new, and what is to be said of it.
    pub(crate) fn hear_chunk(
        &mut self,
        said: StreamChunk,
        payload: Payload,
    ) -> Result<Option<(StreamEvent, Option<StreamLevel>)>, StreamError> {
        let Some(reader) = self.reader(said.of) else {
            return Ok(None);
        };
        let was_whole = reader.is_whole();
        let bytes = reader.hear(said.chunk(payload))?;
        let last = reader.is_whole() && !was_whole;
        if bytes.is_empty() && !last {
            return Ok(None);
        }
        let event = StreamEvent::Bytes { bytes, last };
        Ok(Some((event, self.due(said.of))))
    }

    /// How far a stream that is written here is at its reader. What whoever writes it has to know, if
    /// that is another thing now.
    pub(crate) fn hear_level(&mut self, said: StreamLevel) -> Option<StreamEvent> {
        let writer = self.writer(said.of)?;
        let before = (writer.limit(), writer.is_closed());
        if writer.hear(said.level, said.again).is_err() {
            // A reader that has what was never sent reads something else.
            writer.give_up();
        }
        let is_news = (writer.limit(), writer.is_closed()) != before;
        self.line_up(said.of);
        if is_news { self.room(said.of) } else { None }
    }

    /// The attempt goes on over another connection: what was sent and not received is sent again, and its
    /// writers are told so of what is read here.
    pub(crate) fn go_on(&mut self, attempt: Attempt) -> Vec<StreamLevel> {
        let mut levels = Vec::new();
        for of in self.of(attempt) {
            match self.streams.get_mut(&of) {
                Some(End::Write { writer, .. }) => {
                    writer.send_again();
                    self.line_up(of);
                }
                Some(End::Read(reader)) => levels.push(StreamLevel {
                    of,
                    level: reader.say(),
                    again: true,
                }),
                None => {}
            }
        }
        levels
    }

    /// What was handed to the driver is written, or its connection is gone.
    pub(crate) fn written(&mut self) {
        self.lane.written();
    }

    /// Lets a stream wait for its turn, if it has something to send.
    fn line_up(&mut self, of: StreamOf) {
        if let Some(End::Write { writer, in_lane }) = self.streams.get_mut(&of)
            && !*in_lane
            && writer.is_ready()
        {
            *in_lane = true;
            self.lane.add(of);
        }
    }

    /// The next piece to be sent, as long as the driver keeps up.
    pub(crate) fn next(&mut self) -> Option<(StreamOf, Chunk)> {
        let streams = &mut self.streams;
        self.lane.next(|of, most| match streams.get_mut(&of) {
            Some(End::Write { writer, in_lane }) => {
                let chunk = writer.take(most);
                *in_lane = chunk.is_some();
                chunk
            }
            Some(End::Read(_)) | None => None,
        })
    }

    /// Asserts that whoever has something to send waits for its turn, and that nobody holds more than its
    /// window.
    pub(crate) fn check_invariants(&self) {
        let specs = self.specs.iter();
        let all = specs.flat_map(|(attempt, specs)| specs.iter().map(|spec| (*attempt, spec)));
        let mut streams = 0;
        for (attempt, spec) in all {
            let stream = spec.id;
            streams += 1;
            if let End::Write { writer, in_lane } = &self.streams[&StreamOf { attempt, stream }] {
                assert!(*in_lane || !writer.is_ready());
                assert!(writer.held().0 <= spec.window());
            }
        }
        assert_eq!(streams, self.streams.len());
    }
}
