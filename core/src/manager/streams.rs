//! Streams of tasks on their way between clients and workers.
//!
//! Owns: the streams of each task that has any, and whose turn it is on each connection. Never: holds more
//! of a stream than its window, or anything for a reader that is away. Invariants: the streams of a task
//! are those of its current attempt, or of its last one; a stream waits for its turn on its reader's
//! connection if and only if it has something to send there.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::event::CloseReason;
use crate::ids::{Attempt, ConnId, PeerId, TaskId};
use crate::message::{
    Message, StreamAssign, StreamAttempt, StreamChunk, StreamLevel, StreamOf, StreamSubmit,
    ToClient, ToPeer, ToWorker,
};
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::queue::{ClientKey, TaskKey};
use crate::router::WorkerKey;
use crate::steps::step;
use crate::stream::{self, Chunk, Direction, Lane, Level, Relay, StreamSpec};
use crate::time::Instant;

use super::keys::Assignee;
use super::peers::Peer;
use super::{Manager, ManagerConfig};

/// A stream of a task.
#[derive(Clone, Debug)]
struct Stream {
    spec: StreamSpec,
    relay: Relay,
    /// Whether it waits for its turn to send.
    in_lane: bool,
}

/// The streams of a task.
#[derive(Clone, Debug)]
struct TaskStreams {
    client: ClientKey,
    specs: Vec<StreamSpec>,
    /// The attempt whose streams the client has, or had before it came here.
    attempt: Option<Attempt>,
    /// The worker that has it; none if no attempt began here.
    worker: Option<WorkerKey>,
    streams: Vec<Stream>,
}

impl TaskStreams {
    fn stream(&mut self, of: StreamOf) -> Option<&mut Stream> {
        let mut all = self.streams.iter_mut();
        all.find(|stream| stream.spec.id == of.stream)
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Streams {
    tasks: BTreeMap<TaskId, TaskStreams>,
    by_attempt: BTreeMap<Attempt, TaskId>,
    lanes: BTreeMap<ConnId, Lane<StreamOf>>,
    /// Connections on which something may be sent since the last settling.
    due: BTreeSet<ConnId>,
    /// Bytes that may wait to be written to a connection.
    ahead_max: usize,
}

impl Streams {
    pub(super) fn new(config: &ManagerConfig) -> Self {
        Self {
            tasks: BTreeMap::new(),
            by_attempt: BTreeMap::new(),
            lanes: BTreeMap::new(),
            due: BTreeSet::new(),
            ahead_max: config.inner.stream_ahead,
        }
    }

    /// A task with these streams is submitted; nothing changes if it is here.
    fn register(&mut self, id: TaskId, client: ClientKey, said: &StreamSubmit) {
        self.tasks.entry(id).or_insert_with(|| TaskStreams {
            client,
            specs: said.streams.clone(),
            attempt: said.attempt,
            worker: None,
            streams: Vec::new(),
        });
    }

    /// Whether the task has streams.
    pub(super) fn has(&self, id: TaskId) -> bool {
        self.tasks.contains_key(&id)
    }

    /// Bytes that may be held for the streams of the task while it is in flight.
    pub(super) fn window_bytes(&self, id: TaskId) -> u32 {
        let specs = self.tasks.get(&id).map_or(&[][..], |task| &task.specs);
        let windows = specs.iter().map(StreamSpec::window);
        u32::try_from(windows.sum::<u64>()).unwrap_or(u32::MAX)
    }

    /// Whether the task may go on with an attempt that began elsewhere, or before another: not if its client
    /// has read streams of another one since.
    pub(super) fn may_go_on(&self, id: TaskId, attempt: Attempt) -> bool {
        let known = self.tasks.get(&id).and_then(|task| task.attempt);
        known.is_none_or(|known| known == attempt)
    }

    /// The task is over.
    pub(super) fn close(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.remove(&id)
            && let Some(attempt) = task.attempt
        {
            self.by_attempt.remove(&attempt);
        }
    }

    /// Another attempt of the task: with a relay that knows nothing of its readers, unless they are here and
    /// know of nothing before.
    fn begin(&mut self, id: TaskId, assignee: Assignee, is_new: impl Fn(Direction) -> bool) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if let Some(before) = task.attempt.replace(assignee.attempt) {
            self.by_attempt.remove(&before);
        }
        self.by_attempt.insert(assignee.attempt, id);
        task.worker = Some(assignee.worker);
        let stream = |spec: &StreamSpec| Stream {
            spec: *spec,
            relay: if is_new(spec.direction) {
                Relay::new(spec.window(), spec.granted_at_first())
            } else {
                Relay::without_reader(spec.window())
            },
            in_lane: false,
        };
        task.streams = task.specs.iter().map(stream).collect();
    }

    fn of_attempt(&mut self, attempt: Attempt) -> Option<(TaskId, &mut TaskStreams)> {
        let id = *self.by_attempt.get(&attempt)?;
        Some((id, self.tasks.get_mut(&id)?))
    }

    /// The tasks of a client that have streams.
    fn of_client(&mut self, client: PeerId) -> impl Iterator<Item = (TaskId, &mut TaskStreams)> {
        let task = |seq| TaskId { client, seq };
        let tasks = self.tasks.range_mut(task(0)..=task(u64::MAX));
        tasks.map(|(id, task)| (*id, task))
    }

    /// The reader of these streams is cut off.
    fn reader_left(task: &mut TaskStreams, direction: Direction) {
        for stream in &mut task.streams {
            if stream.spec.direction == direction {
                stream.relay.reader_left();
                stream.in_lane = false;
            }
        }
    }

    /// Lets a stream wait for its turn on its reader's connection, if it has something to send.
    fn line_up(&mut self, conn: Option<ConnId>, of: StreamOf) {
        let Some(conn) = conn else {
            return;
        };
        if let Some((_, task)) = self.of_attempt(of.attempt)
            && let Some(stream) = task.stream(of)
            && !stream.in_lane
            && stream.relay.is_ready()
        {
            stream.in_lane = true;
            let new = || Lane::new(self.ahead_max);
            self.lanes.entry(conn).or_insert_with(new).add(of);
            self.due.insert(conn);
        }
    }

    /// The next piece to be sent on a connection, as long as its driver keeps up.
    fn next(&mut self, conn: ConnId) -> Option<(StreamOf, Chunk)> {
        let (tasks, by_attempt) = (&mut self.tasks, &self.by_attempt);
        self.lanes.get_mut(&conn)?.next(|of, most| {
            step();
            let task = tasks.get_mut(by_attempt.get(&of.attempt)?)?;
            let stream = task.stream(of)?;
            let chunk = stream.relay.take(most);
            stream.in_lane = chunk.is_some();
            chunk
        })
    }

    /// What was handed to the driver of a connection is written.
    pub(super) fn written(&mut self, conn: ConnId) {
        if let Some(lane) = self.lanes.get_mut(&conn) {
            lane.written();
            self.due.insert(conn);
        }
    }

    /// Asserts what the module promises.
    pub(super) fn check_invariants(
        &self,
        is_here: impl Fn(TaskId) -> bool,
        is_open: impl Fn(ConnId) -> bool,
    ) {
        assert!(self.lanes.keys().all(|conn| is_open(*conn)));
        assert!(self.due.iter().all(|conn| is_open(*conn)));
        for (id, task) in &self.tasks {
            assert!(is_here(*id), "streams of tasks that are here");
            for Stream {
                spec,
                relay,
                in_lane,
            } in &task.streams
            {
                assert!(relay.held().0 <= spec.window());
                assert!(*in_lane || !relay.is_ready(), "{id} {spec:?}");
            }
        }
        for (attempt, id) in &self.by_attempt {
            assert_eq!(self.tasks[id].attempt, Some(*attempt));
        }
    }
}

impl Manager {
    pub(super) fn on_submit_streams(
        &mut self,
        now: Instant,
        conn: ConnId,
        client: ClientKey,
        said: StreamSubmit,
        payload: Payload,
    ) {
        if !self.connections.has_streams(conn) {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::Misdirected));
        }
        if !stream::are_valid(&said.streams) {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::BadStreams));
        }
        let (peer, seq) = (self.clients[client].peer.id, said.submit.seq);
        let id = TaskId { client: peer, seq };
        if self.place_of(client, seq).is_none() {
            self.streams.register(id, client, &said);
        }
        self.on_submit(now, conn, client, said.submit, payload);
        if self.place_of(client, seq).is_none() {
            self.streams.close(id);
        } else {
            self.streams_at_client(now, id);
        }
    }

    /// Sends a task with streams to a worker.
    pub(super) fn assign_streams(
        &mut self,
        now: Instant,
        task: TaskKey,
        conn: ConnId,
        assignee: Assignee,
    ) {
        let record = &self.tasks[task];
        let (id, client) = (record.id, record.client);
        let said = StreamAssign {
            assign: record.assign(assignee.attempt, now),
            streams: self.streams.tasks[&id].specs.clone(),
        };
        let message = Message {
            body: ToPeer::Worker(ToWorker::AssignStreams(Box::new(said))),
            payload: record.payload.clone(),
        };
        self.send(now, conn, message);
        let client = self.clients[client].peer.conn;
        self.streams
            .begin(id, assignee, |direction| match direction {
                Direction::ToAttempt => true,
                Direction::FromAttempt => client.is_some(),
            });
        if let Some(client) = client {
            let said = StreamAttempt {
                seq: id.seq,
                attempt: assignee.attempt,
                again: false,
            };
            self.send(now, client, ToClient::StreamAttempt(said));
        }
    }

    /// A task goes on with an attempt that is at a worker already.
    pub(super) fn adopt_streams(&mut self, now: Instant, id: TaskId, assignee: Assignee) {
        let Some(task) = self.streams.tasks.get_mut(&id) else {
            return;
        };
        if task.worker.is_some() && task.attempt == Some(assignee.attempt) {
            task.worker = Some(assignee.worker);
        } else {
            self.streams.begin(id, assignee, |_| false);
            self.streams_at_client(now, id);
        }
        self.streams_at_worker(now, assignee);
    }

    /// The client of a task is here again, or has yet to hear of the attempt: it says where it is.
    fn streams_at_client(&mut self, now: Instant, id: TaskId) {
        let Some(task) = self.streams.tasks.get(&id) else {
            return;
        };
        let (Some(attempt), Some(_)) = (task.attempt, task.worker) else {
            return;
        };
        let Some(conn) = self.clients[task.client].peer.conn else {
            return;
        };
        let levels = levels(task, attempt, Direction::ToAttempt);
        let said = StreamAttempt {
            seq: id.seq,
            attempt,
            again: true,
        };
        self.send(now, conn, ToClient::StreamAttempt(said));
        for level in levels {
            self.send(now, conn, ToClient::StreamLevel(level));
        }
    }

    /// The worker of an attempt is here again: it says where it is.
    pub(super) fn streams_at_worker(&mut self, now: Instant, assignee: Assignee) {
        let Assignee { worker, attempt } = assignee;
        let Some(conn) = self.workers[worker].peer.conn else {
            return;
        };
        let Some((_, task)) = self.streams.of_attempt(attempt) else {
            return;
        };
        let levels = levels(task, attempt, Direction::FromAttempt);
        self.send(now, conn, ToWorker::StreamAgain { attempt });
        for level in levels {
            self.send(now, conn, ToWorker::StreamLevel(level));
        }
    }

    /// A client that resumed its session goes on with the streams of these tasks.
    pub(super) fn resume_streams(&mut self, now: Instant, client: ClientKey, seqs: &[u64]) {
        if self.streams.tasks.is_empty() {
            return;
        }
        let client = self.clients[client].peer.id;
        for &seq in seqs {
            step();
            self.streams_at_client(now, TaskId { client, seq });
        }
    }

    /// A client is cut off, or a worker is: nothing is held for it.
    pub(super) fn cut_streams(&mut self, conn: ConnId, peer: Peer) {
        self.streams.lanes.remove(&conn);
        self.streams.due.remove(&conn);
        if self.streams.tasks.is_empty() {
            return;
        }
        match peer {
            Peer::Client(client) => {
                let id = self.clients[client].peer.id;
                for (_, task) in self.streams.of_client(id) {
                    step();
                    Streams::reader_left(task, Direction::FromAttempt);
                }
            }
            Peer::Worker(worker) => {
                for attempt in self.workers[worker].attempts.keys() {
                    step();
                    if let Some((_, task)) = self.streams.of_attempt(attempt)
                        && task.worker == Some(worker)
                    {
                        Streams::reader_left(task, Direction::ToAttempt);
                    }
                }
            }
            Peer::Pending | Peer::Observer => {}
        }
    }

    /// A stream of the peer's: of an attempt that it has, or of a task that is its own. `None` if it is over.
    fn stream_of(
        &mut self,
        peer: Peer,
        of: StreamOf,
        direction: Direction,
    ) -> Result<Option<&mut Stream>, ProtocolError> {
        let Some((_, task)) = self.streams.of_attempt(of.attempt) else {
            return Ok(None);
        };
        let is_its_own = match peer {
            Peer::Client(client) => task.client == client,
            Peer::Worker(worker) => task.worker == Some(worker),
            Peer::Pending | Peer::Observer => false,
        };
        match task.stream(of).filter(|_| is_its_own) {
            Some(stream) if stream.spec.direction == direction => Ok(Some(stream)),
            Some(_) => Err(ProtocolError::BadStreams),
            None => Ok(None),
        }
    }

    /// Where the other end of a stream is.
    fn other_end(&mut self, peer: Peer, of: StreamOf) -> Option<ConnId> {
        let (_, task) = self.streams.of_attempt(of.attempt)?;
        let (client, worker) = (task.client, task.worker);
        match peer {
            Peer::Client(_) => self.workers.get(worker?)?.reported_on(),
            Peer::Worker(_) => self.clients[client].peer.conn,
            Peer::Pending | Peer::Observer => None,
        }
    }

    /// A piece of a stream, from a client or a worker.
    pub(super) fn on_stream_chunk(
        &mut self,
        now: Instant,
        conn: ConnId,
        peer: Peer,
        said: StreamChunk,
        payload: Payload,
    ) {
        let direction = match peer {
            Peer::Client(_) => Direction::ToAttempt,
            Peer::Worker(_) | Peer::Observer | Peer::Pending => Direction::FromAttempt,
        };
        let heard = match self.stream_of(peer, said.of, direction) {
            Ok(None) => return,
            Ok(Some(stream)) => stream
                .relay
                .hear(said.chunk(payload))
                .map_err(ProtocolError::from),
            Err(error) => Err(error),
        };
        match heard {
            Ok(()) => {
                let to = self.other_end(peer, said.of);
                self.streams.line_up(to, said.of);
            }
            Err(error) => self.close(now, conn, CloseReason::Protocol(error)),
        }
    }

    /// How far the reader of a stream is, from a client or a worker.
    pub(super) fn on_stream_level(
        &mut self,
        now: Instant,
        conn: ConnId,
        peer: Peer,
        said: StreamLevel,
    ) {
        let direction = match peer {
            Peer::Client(_) => Direction::FromAttempt,
            Peer::Worker(_) | Peer::Observer | Peer::Pending => Direction::ToAttempt,
        };
        let StreamLevel { of, level, again } = said;
        let heard = match self.stream_of(peer, of, direction) {
            Ok(None) => return,
            Ok(Some(stream)) => stream
                .relay
                .hear_level(level, again)
                .map_err(ProtocolError::from),
            Err(error) => Err(error),
        };
        let level = match heard {
            Ok(None) => return,
            Ok(Some(level)) => level,
            Err(error) => return self.close(now, conn, CloseReason::Protocol(error)),
        };
        let said = StreamLevel { of, level, again };
        if let Some(to) = self.other_end(peer, of) {
            match direction {
                Direction::FromAttempt => self.send(now, to, ToWorker::StreamLevel(said)),
                Direction::ToAttempt => self.send(now, to, ToClient::StreamLevel(said)),
            }
        }
    }

    /// Sends of the streams whose turn it is, as much as drivers keep up with.
    pub(super) fn send_streams(&mut self, now: Instant) {
        while let Some(conn) = self.streams.due.pop_first() {
            let Some(peer) = self.connections.get(conn).map(|known| known.peer) else {
                continue;
            };
            while let Some((of, chunk)) = self.streams.next(conn) {
                let message = Message::of_chunk(of, chunk, |chunk| match peer {
                    Peer::Worker(_) => ToWorker::StreamChunk(chunk).into(),
                    Peer::Client(_) | Peer::Observer | Peer::Pending => {
                        ToClient::StreamChunk(chunk).into()
                    }
                });
                self.send(now, conn, message);
            }
        }
    }
}

/// Where the readers of the streams of this direction are, as far as they are known.
fn levels(task: &TaskStreams, attempt: Attempt, direction: Direction) -> Vec<StreamLevel> {
    let streams = task.streams.iter();
    let known = streams.filter(|stream| stream.spec.direction == direction);
    let level = |stream: &Stream| StreamLevel {
        of: StreamOf {
            attempt,
            stream: stream.spec.id,
        },
        level: stream.relay.level(),
        again: false,
    };
    known
        .map(level)
        .filter(|said| is_news(said.level))
        .collect()
}

/// Whether anybody has said anything.
fn is_news(level: Level) -> bool {
    level.closed || level.granted > 0
}
