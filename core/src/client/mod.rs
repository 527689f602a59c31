//! The client: submissions, retries, resumption, and exactly one outcome for each task.
//!
//! Owns: the tasks from `submit` to `Deliver`, and what it takes to get them through: when they
//! are sent (the congestion window), when again ([`crate::retry`]), and what a new connection means for them
//! (`session`). Never: ends a task that its manager can still answer for, or looks into a payload.
//!
//! Invariants: each accepted task is delivered once; a task that may have run by what is known
//! here is never delivered as `Rejected`, and not as `Expired` or `Cancelled` without the flag.
//! Units: instants of the driver.

mod answers;
mod backoff;
mod congestion;
mod sending;
mod session;
mod streams;
mod tasks;

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::event::Event;
use crate::ids::{Attempt, PeerId, PoolProcess, TaskId};
use crate::limits;
use crate::link::{CarriesLink, Link, LinkConfig, LinkInput, LinkOutput};
use crate::machine::Machine;
use crate::message::{FromClient, RefuseReason, Role, StreamOf, ToClient};
use crate::name::Name;
use crate::payload::Payload;
use crate::retry::Retry;
use crate::rng::Rng;
use crate::stream::{self, StreamEvent, StreamSpec, StreamUse};
use crate::task::{Outcome, TaskSpec};
use crate::time::{Deadline, Instant, WakeReason};

use congestion::CongestionWindow;
use sending::{Acks, Sending};
use session::Session;
use streams::Streams;
use tasks::{Alarm, Task, Tasks};

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// This process, drawn at random at its start.
    pub peer: PeerId,
    /// For people to read.
    pub name: Name,
    /// How many managers are in the driver's list, at least 1.
    pub addresses: usize,
    /// Most tasks held, submitted or waiting for it.
    pub tasks: usize,
    /// Most payload bytes held; one task is always let in.
    pub bytes: u64,
    /// How often a rejected task is submitted again before it ends as `Rejected`; `None`: for
    /// ever. A task may say otherwise.
    pub retries: Option<u32>,
    /// Largest payload that is sent, in bytes; the manager's own limit counts too.
    pub payload_max: usize,
    /// The process of a worker's pool that this client runs in, if any.
    pub within: Option<PoolProcess>,
    /// Bounds that need no setting.
    pub inner: limits::Inner,
}

impl ClientConfig {
    /// The defaults, for one manager.
    #[must_use]
    pub fn new(peer: PeerId, name: Name) -> Self {
        Self {
            peer,
            name,
            addresses: 1,
            tasks: limits::CLIENT_HELD_DEFAULT,
            bytes: limits::QUEUE_BYTES_DEFAULT,
            retries: Some(limits::RETRIES_DEFAULT),
            payload_max: limits::PAYLOAD_MAX_DEFAULT,
            within: None,
            inner: limits::Inner::default(),
        }
    }
}

/// Why a task was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The client holds as many tasks or bytes as it may: take outcomes first.
    Full,
    /// The payload is larger than may be sent. Trying again is of no use.
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// `max_attempts` must be 1 to 16.
    Attempts(u8),
    /// A task has 1 to 8 streams if it has any, each with a number of its own.
    Streams,
    /// The client is stopping.
    Stopped,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(
                f,
                "the client holds as many tasks as it may; wait for outcomes"
            ),
            Self::TooLarge { bytes, limit } => {
                write!(
                    f,
                    "a payload of {bytes} bytes, where at most {limit} are allowed"
                )
            }
            Self::Attempts(given) => write!(
                f,
                "max_attempts is {given}, but must be from 1 to {}",
                limits::ATTEMPTS_MAX
            ),
            Self::Streams => write!(
                f,
                "a task has at most {} streams, each with a number of its own",
                limits::STREAMS_MAX
            ),
            Self::Stopped => write!(f, "the client is stopping"),
        }
    }
}

impl core::error::Error for SubmitError {}

/// A fact for the client. Tasks come in by [`Client::submit`], which can refuse.
#[derive(Clone, Debug)]
pub enum ClientInput {
    /// About the connection to the manager.
    Link(LinkInput<ToClient>),
    /// The application no longer wants this task; its outcome still comes.
    Cancel {
        /// Which.
        seq: u64,
    },
    /// The application did something with a stream.
    Stream {
        /// Which.
        of: StreamOf,
        /// What it did.
        usage: StreamUse,
    },
    /// Leave: tasks without an outcome are given up, here and at the manager.
    Stop,
}

/// The end of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which.
    pub seq: u64,
    /// How.
    pub outcome: Outcome,
    /// Its result, or the detail of its error.
    pub payload: Payload,
}

/// What the driver of a client is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// About the connection to the manager.
    Link(LinkOutput),
    /// Tasks have ended, in this order. Each accepted [`Client::submit`] is delivered exactly once.
    Deliver(Vec<Delivery>),
    /// A task's streams begin, with this attempt: all of them anew if there was another before. As many
    /// bytes as its window has may be written to each that goes to it.
    StreamsBegin {
        /// The task.
        seq: u64,
        /// Its attempt, which names the streams.
        attempt: Attempt,
    },
    /// Something of a stream.
    Stream {
        /// Which.
        of: StreamOf,
        /// What.
        event: StreamEvent,
    },
    /// For the log; safe to drop.
    Notify(Event),
    /// The client has left.
    Stopped,
}

impl From<LinkOutput> for ClientOutput {
    fn from(output: LinkOutput) -> Self {
        Self::Link(output)
    }
}

impl CarriesLink for ClientOutput {
    fn as_link(&mut self) -> Option<&mut LinkOutput> {
        match self {
            Self::Link(output) => Some(output),
            Self::Deliver(_)
            | Self::StreamsBegin { .. }
            | Self::Stream { .. }
            | Self::Notify(_)
            | Self::Stopped => None,
        }
    }
}

/// The client's state machine.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    retry: Retry,
    rng: Rng,
    link: Link,
    tasks: Tasks,
    window: CongestionWindow,
    outputs: VecDeque<ClientOutput>,
    acks: Acks,
    session: Session,
    sending: Sending,
    streams: Streams,
    refused: Option<RefuseReason>,
    stopped: bool,
}

impl Client {
    /// A client that dials its manager.
    #[must_use]
    pub fn new(config: ClientConfig, mut rng: Rng, now: Instant) -> Self {
        let link = LinkConfig {
            peer: config.peer,
            name: config.name.clone(),
            role: Role::Client,
            version: config.inner.version,
            addresses: config.addresses,
        };
        Self {
            retry: Retry::new(config.retries),
            link: Link::new(link, rng.fork(), now),
            rng,
            tasks: Tasks::default(),
            window: CongestionWindow::new(config.tasks),
            outputs: VecDeque::new(),
            acks: Acks::default(),
            session: Session::new(now),
            sending: Sending::default(),
            streams: Streams::new(config.inner.stream_ahead),
            refused: None,
            stopped: false,
            config,
        }
    }

    /// Takes a task in; its outcome comes as a `Deliver` output. Its deadline starts now.
    ///
    /// # Errors
    /// If it can never be sent, or not now; then nothing was taken.
    pub fn submit(&mut self, now: Instant, spec: TaskSpec) -> Result<TaskId, SubmitError> {
        self.check(&spec)?;
        Ok(self.take_in(now, spec))
    }

    /// As [`submit`](Self::submit), of a task whose attempts have these streams.
    ///
    /// # Errors
    /// Those of `submit`, and if no task can have these streams.
    pub fn submit_with_streams(
        &mut self,
        now: Instant,
        spec: TaskSpec,
        streams: Vec<StreamSpec>,
    ) -> Result<TaskId, SubmitError> {
        if !stream::are_valid(&streams) {
            return Err(SubmitError::Streams);
        }
        let id = self.submit(now, spec)?;
        self.streams.add(id.seq, streams);
        Ok(id)
    }

    /// As [`submit`](Self::submit), for whoever has just heard from [`check`](Self::check) that
    /// there is room.
    #[inline]
    pub fn take_in(&mut self, now: Instant, spec: TaskSpec) -> TaskId {
        debug_assert_eq!(self.check(&spec), Ok(()));
        TaskId {
            client: self.config.peer,
            seq: self.tasks.insert(now, spec),
        }
    }

    /// Whether [`submit`](Self::submit) would take the task in now.
    ///
    /// # Errors
    /// Those of `submit`.
    pub fn check(&self, spec: &TaskSpec) -> Result<(), SubmitError> {
        if self.stopped {
            return Err(SubmitError::Stopped);
        }
        if !(1..=limits::ATTEMPTS_MAX).contains(&spec.max_attempts) {
            return Err(SubmitError::Attempts(spec.max_attempts));
        }
        let (bytes, limit) = (spec.payload.len(), self.payload_max());
        if bytes > limit {
            return Err(SubmitError::TooLarge { bytes, limit });
        }
        let (held, bytes) = (self.tasks.len(), tasks::charge(&spec.name, &spec.payload));
        let full = held >= self.config.tasks
            || self.tasks.bytes().saturating_add(bytes) > self.config.bytes;
        if full && held > 0 {
            return Err(SubmitError::Full);
        }
        Ok(())
    }

    /// The largest payload that can be submitted, as far as is known.
    #[must_use]
    pub fn payload_max(&self) -> usize {
        let manager = self.session.payload_max.unwrap_or(usize::MAX);
        self.config.payload_max.min(manager)
    }

    /// Whether a manager has let the client in.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Tasks without an outcome.
    #[must_use]
    pub fn held(&self) -> usize {
        self.tasks.len()
    }

    /// Bytes of their names and payloads.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.tasks.bytes()
    }

    /// Tasks that the manager has, or had when it was last heard.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.tasks.sent() as usize
    }

    /// How many tasks the manager is thought to accept at once.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window.size() as usize
    }

    /// Why the last manager that was asked did not let the client in, until one does.
    #[must_use]
    pub fn last_refusal(&self) -> Option<RefuseReason> {
        self.refused
    }

    fn notify(&mut self, event: Event) {
        self.outputs.push_back(ClientOutput::Notify(event));
    }

    fn send(&mut self, now: Instant, body: FromClient) {
        self.link.send(now, body, &mut self.outputs);
    }

    /// The one place where a task leaves.
    fn end(&mut self, seq: u64, outcome: Outcome, payload: Payload) {
        if !self.tasks.remove(seq) {
            debug_assert!(false, "a task ends once");
            return;
        }
        self.streams.remove(seq);
        let delivery = Delivery {
            seq,
            outcome,
            payload,
        };
        if let Some(ClientOutput::Deliver(deliveries)) = self.outputs.back_mut() {
            return deliveries.push(delivery);
        }
        self.outputs
            .push_back(ClientOutput::Deliver(vec![delivery]));
    }

    fn on_cancel(&mut self, now: Instant, seq: u64) {
        let Some(task) = self.tasks.get_mut(seq) else {
            return;
        };
        if task.sent().is_none() {
            let may_have_run = task.may_have_run;
            return self.end(seq, Outcome::Cancelled { may_have_run }, Payload::empty());
        }
        if !task.cancelled {
            task.cancelled = true;
            self.send(now, FromClient::Cancel { seq });
        }
    }

    fn on_stop(&mut self, now: Instant) {
        self.stopped = true;
        self.flush_acks(now);
        self.link.stop(now, &mut self.outputs);
        for seq in self.tasks.select(|_| true) {
            let may_have_run = self.tasks.get(seq).is_some_and(Task::is_uncertain);
            self.end(seq, Outcome::Cancelled { may_have_run }, Payload::empty());
        }
        self.session.stop();
        self.sending.more_at = None;
        self.outputs.push_back(ClientOutput::Stopped);
    }

    fn on_alarm(&mut self, alarm: Alarm) {
        let seq = match alarm {
            Alarm::Retry(first) => return self.tasks.try_again(first),
            Alarm::Expiry(seq) => seq,
        };
        let Some(task) = self.tasks.get(seq) else {
            return;
        };
        if task.sent().is_some() {
            if self.link.is_up() {
                // The manager keeps the deadline, and will tell.
                return;
            }
            // Cut off, this alarm is for a lease after the deadline.
            if self.session.abandoned.len() < self.config.inner.ids {
                self.session.abandoned.insert(seq);
            }
        }
        self.expire(seq);
    }

    fn expire(&mut self, seq: u64) {
        let may_have_run = self.tasks.get(seq).is_some_and(Task::is_uncertain);
        self.end(seq, Outcome::Expired { may_have_run }, Payload::empty());
    }
}

impl Machine for Client {
    type Input = ClientInput;
    type Output = ClientOutput;

    fn handle_input(&mut self, now: Instant, input: ClientInput) {
        if self.stopped {
            return;
        }
        match input {
            ClientInput::Link(input) => {
                self.on_link_input(now, input);
                let (confirmed, held) = (self.link.confirmed(), self.tasks.sent());
                self.window.on_confirmed(now, confirmed, held);
            }
            ClientInput::Cancel { seq } => self.on_cancel(now, seq),
            ClientInput::Stream { of, usage } => self.on_stream_use(now, of, usage),
            ClientInput::Stop => self.on_stop(now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.stopped {
            return;
        }
        self.drive_link(now);
        // Before the alarms: it arms those of deadlines that only the manager watched.
        self.move_on_if_due(now);
        while let Some(alarm) = self.tasks.alarms.pop_due(now) {
            self.on_alarm(alarm);
        }
    }

    fn settle(&mut self, now: Instant) {
        if self.stopped {
            return;
        }
        self.sending.more_at = None;
        self.window.wake(now);
        if self.link.is_up() {
            self.flush_acks(now);
            self.send_tasks(now);
            self.send_streams(now);
        }
    }

    fn poll_output(&mut self) -> Option<ClientOutput> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            let next = self.poll_timeout().map(|deadline| deadline.at);
            self.link.expect(next);
        }
        output
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        if self.stopped {
            return None;
        }
        let retry = |at| Deadline {
            at,
            reason: WakeReason::Retry,
        };
        let alarm = self.tasks.alarms.next().map(|(at, alarm)| Deadline {
            at,
            reason: match alarm {
                Alarm::Retry(_) => WakeReason::Retry,
                Alarm::Expiry(_) => WakeReason::Expiry,
            },
        });
        let up = self.link.is_up();
        let pause = self.window.paused_until().filter(|_| up);
        let moving = self.session.moves.due().filter(|_| up);
        let candidates = [
            self.link.poll_timeout(),
            alarm,
            pause.map(retry),
            self.sending.more_at.filter(|_| up).map(retry),
            moving.map(|at| Deadline {
                at,
                reason: WakeReason::Reconnect,
            }),
        ];
        candidates
            .into_iter()
            .flatten()
            .min_by_key(|deadline| deadline.at)
    }

    fn check_invariants(&self) {
        let cut_off = self.session.epoch.is_some() && !self.link.is_up() && !self.stopped;
        self.tasks.check_invariants(cut_off);
        self.window.check_invariants();
        self.streams
            .check_invariants(|seq| self.tasks.get(seq).is_some());
        assert!(self.acks.seqs.len() < self.config.inner.ids);
        assert!(self.session.abandoned.len() <= self.config.inner.ids);
        assert!(self.tasks.len() <= self.config.tasks.max(1));
        assert!(self.tasks.len() <= 1 || self.tasks.bytes() <= self.config.bytes);
        if self.stopped {
            assert_eq!(self.tasks.len(), 0, "nothing is left behind");
        }
        if self.session.epoch.is_none() {
            assert_eq!(self.tasks.sent(), 0, "there was nobody to send to");
        }
    }
}
