//! The client: submissions, retries, resumption, and exactly one outcome for each task.
//!
//! Owns: the tasks that were accepted and not yet delivered, the submission window, the link.
//! Never: decides that a task has run or not run beyond what its manager said. Invariants: a task
//! that was accepted is delivered exactly once; nothing that was delivered is remembered but as
//! part of the floor.

mod tasks;
mod window;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::event::{CloseReason, Event};
use crate::ids::{PeerId, TaskId};
use crate::limits::{self, IDS_MAX, SUBMITTED_BYTES_MAX};
use crate::link::{Link, LinkConfig, LinkEvent, LinkInput, LinkOutput};
use crate::machine::Machine;
use crate::message::{Body, Message, RefuseReason, Role, Submit, Welcome};
use crate::name::Name;
use crate::retry::{Retry, Verdict};
use crate::rng::Rng;
use crate::task::{Outcome, RejectReason, TaskSpec};
use crate::time::{Deadline, Instant, Nanos, Timers, WakeReason};

use tasks::{Held, Place, Tasks};
use window::Window;

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
            Self::Stopped => write!(f, "the client is stopping"),
        }
    }
}

impl core::error::Error for SubmitError {}

/// A fact for the client. Tasks come in by [`Client::submit`], which can refuse.
#[derive(Clone, Debug)]
pub enum ClientInput {
    /// About the connection to the manager.
    Link(LinkInput),
    /// The application no longer wants this task; its outcome still comes.
    Cancel {
        /// Which.
        seq: u64,
    },
    /// Leave: tasks without an outcome are given up, here and at the manager.
    Stop,
}

/// What the driver of a client is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// About the connection to the manager.
    Link(LinkOutput),
    /// A task has ended. Exactly one for each accepted [`Client::submit`].
    Deliver {
        /// Which.
        seq: u64,
        /// How.
        outcome: Outcome,
        /// Its result, or the detail of its error.
        payload: Bytes,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A rejected task waits no longer.
    Retry(u64),
    /// A task's own deadline, or that and a lease if only the manager can tell.
    Expiry(u64),
}

/// A manager without workers is left for the next one at most this often.
const MOVE_ON_EVERY: Duration = Duration::from_secs(1);

/// The client's state machine.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    link: Link,
    rng: Rng,
    tasks: Tasks,
    window: Window,
    alarms: Timers<Alarm>,
    outputs: VecDeque<ClientOutput>,
    /// Delivered outcomes that the manager is to be told of.
    acks: Vec<u64>,
    /// Tasks that were delivered without the manager's knowledge while it was out of reach.
    abandoned: BTreeSet<u64>,
    /// Submissions so far.
    submissions: u64,
    payload_max: usize,
    moved_on: Option<Instant>,
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
            addresses: config.addresses,
        };
        Self {
            link: Link::new(link, rng.fork(), now),
            rng,
            tasks: Tasks::default(),
            window: Window::new(),
            alarms: Timers::default(),
            outputs: VecDeque::new(),
            acks: Vec::new(),
            abandoned: BTreeSet::new(),
            submissions: 0,
            payload_max: config.payload_max,
            moved_on: None,
            stopped: false,
            config,
        }
    }

    /// Takes a task in; its outcome comes as a `Deliver` output.
    ///
    /// # Errors
    /// If it can never be sent, or not now; then nothing was taken.
    pub fn submit(&mut self, now: Instant, spec: TaskSpec) -> Result<TaskId, SubmitError> {
        let bytes = spec.payload.len();
        if self.stopped {
            return Err(SubmitError::Stopped);
        }
        if bytes > self.payload_max {
            return Err(SubmitError::TooLarge {
                bytes,
                limit: self.payload_max,
            });
        }
        if !(1..=limits::ATTEMPTS_MAX).contains(&spec.max_attempts) {
            return Err(SubmitError::Attempts(spec.max_attempts));
        }
        let crowded = self.tasks.bytes() + bytes as u64 > self.config.bytes;
        if self.tasks.len() >= self.config.tasks || (crowded && self.tasks.len() > 0) {
            return Err(SubmitError::Full);
        }
        let deadline = spec.deadline.map(|deadline| now + deadline);
        let retries = spec.retries.or(self.config.retries);
        let seq = self.tasks.insert(now, spec, retries);
        if let Some(deadline) = deadline {
            self.alarms.set(Alarm::Expiry(seq), deadline);
        }
        Ok(TaskId {
            client: self.config.peer,
            seq,
        })
    }

    /// Tasks accepted and not delivered.
    #[must_use]
    pub fn held(&self) -> usize {
        self.tasks.len()
    }

    /// Of these, the ones at the manager.
    #[must_use]
    pub fn at_manager(&self) -> usize {
        self.tasks.sent()
    }

    /// The most tasks that may be at the manager now.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window.limit()
    }

    /// Whether a manager has let this client in.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.is_up()
    }

    fn on_link(&mut self, now: Instant, event: LinkEvent) {
        match event {
            LinkEvent::Up(welcome) => self.on_up(now, &welcome),
            LinkEvent::Down(reason) => {
                self.outputs
                    .push_back(ClientOutput::Notify(Event::LinkDown { reason }));
                self.on_down(now);
            }
            LinkEvent::Refused(reason) => {
                self.outputs
                    .push_back(ClientOutput::Notify(Event::LinkRefused { reason }));
                if reason == RefuseReason::OldConnection {
                    // Somebody else speaks for this process; only a higher number helps.
                    self.on_down(now);
                }
            }
            LinkEvent::Message(message) => self.on_message(now, message),
        }
    }

    fn on_up(&mut self, now: Instant, welcome: &Welcome) {
        let event = Event::LinkUp {
            epoch: welcome.epoch,
            resumed: welcome.resumed,
            address: self.link.address(),
        };
        self.outputs.push_back(ClientOutput::Notify(event));
        self.payload_max = self.config.payload_max.min(welcome.payload_max as usize);
        self.acks.clear();
        let sent: Vec<(u64, bool)> = self
            .tasks
            .iter()
            .filter(|(_, held)| matches!(held.place, Place::Sent(_)))
            .map(|(seq, held)| (seq, held.cancelled))
            .collect();
        let abandoned: Vec<u64> = core::mem::take(&mut self.abandoned).into_iter().collect();
        self.send_acks(now, &abandoned);
        if welcome.resumed {
            let seqs: Vec<u64> = sent.iter().map(|(seq, _)| *seq).collect();
            for part in seqs.chunks(IDS_MAX) {
                self.send(
                    now,
                    Body::Resume {
                        seqs: part.to_vec(),
                    },
                );
            }
            for (seq, _) in sent.into_iter().filter(|(_, cancelled)| *cancelled) {
                self.send(now, Body::Cancel { seq });
            }
        } else {
            self.window.restart(self.submissions);
            for (seq, _) in sent {
                self.tasks
                    .place(seq, Place::Waiting, |held| held.may_have_run = true);
            }
        }
    }

    /// Out of reach, the manager cannot tell that a deadline has passed; after a lease more we do.
    fn on_down(&mut self, now: Instant) {
        self.acks.clear();
        let lease = self.link.lease();
        let due: Vec<(u64, Instant)> = self
            .tasks
            .iter()
            .filter(|(_, held)| matches!(held.place, Place::Sent(_)))
            .filter_map(|(seq, held)| Some((seq, held.deadline? + lease)))
            .collect();
        for (seq, at) in due {
            self.alarms.set(Alarm::Expiry(seq), at.max(now));
        }
    }

    fn on_message(&mut self, now: Instant, message: Message) {
        match message.body {
            Body::Outcome { seq, outcome } => self.on_outcome(seq, outcome, message.payload),
            Body::Reject {
                seq,
                reason,
                retry_after,
                may_have_run,
            } => {
                let hint = retry_after.to_duration().unwrap_or_default();
                self.on_reject(now, seq, reason, hint, may_have_run);
            }
            Body::Unknown { seqs } => {
                for seq in seqs {
                    self.on_unknown(seq);
                }
            }
            _ => {
                let reason = CloseReason::Protocol("not a manager's message to a client");
                if let Some(event) = self.link.close(now, reason, &mut self.outputs) {
                    self.on_link(now, event);
                }
            }
        }
    }

    fn on_outcome(&mut self, seq: u64, outcome: Outcome, payload: Bytes) {
        self.acks.push(seq);
        let full = self.tasks.sent() >= self.window.limit() || self.tasks.is_waiting();
        if self.tasks.get(seq).is_some() {
            self.window.on_outcome(full);
            self.deliver(seq, outcome, payload);
        }
    }

    fn on_reject(
        &mut self,
        now: Instant,
        seq: u64,
        reason: RejectReason,
        hint: Duration,
        may_have_run: bool,
    ) {
        let Some(held) = self.tasks.get(seq) else {
            return;
        };
        let Place::Sent(sent) = held.place else {
            return;
        };
        let may_have_run = may_have_run || held.may_have_run;
        let (mut retries, limit) = (held.retries, held.retries_max);
        if held.cancelled {
            return self.deliver(seq, Outcome::Cancelled { may_have_run }, Bytes::new());
        }
        if reason == RejectReason::TooLarge {
            return self.deliver(seq, Outcome::Rejected { reason, retries }, Bytes::new());
        }
        if is_load(reason) {
            self.window
                .on_refusal(sent, self.submissions, self.tasks.sent() - 1);
        }
        // What may have run cannot end as rejected, so it uses up no retries.
        let limit = if may_have_run { None } else { limit };
        match (Retry { limit }).judge(retries, hint, &mut self.rng) {
            Verdict::GiveUp => {
                self.deliver(seq, Outcome::Rejected { reason, retries }, Bytes::new());
            }
            Verdict::After(delay) => {
                if !may_have_run {
                    retries += 1;
                }
                self.tasks.place(seq, Place::Backoff, |held| {
                    held.retries = retries;
                    held.may_have_run = may_have_run;
                });
                self.alarms.set(Alarm::Retry(seq), now + delay);
                let task = TaskId {
                    client: self.config.peer,
                    seq,
                };
                let event = Event::Retrying {
                    task,
                    reason,
                    retries,
                };
                self.outputs.push_back(ClientOutput::Notify(event));
            }
        }
        if matches!(reason, RejectReason::NoWorkers | RejectReason::Draining) {
            self.move_on(now);
        }
    }

    /// Tries the next manager of the list, which may have workers.
    fn move_on(&mut self, now: Instant) {
        if self
            .moved_on
            .is_some_and(|last| now.since(last) < MOVE_ON_EVERY)
        {
            return;
        }
        self.moved_on = Some(now);
        if let Some(event) = self.link.move_on(now, &mut self.outputs) {
            self.on_link(now, event);
        }
    }

    /// The manager never had it: within a session that means that it never started.
    fn on_unknown(&mut self, seq: u64) {
        let Some(held) = self.tasks.get(seq) else {
            return;
        };
        if !matches!(held.place, Place::Sent(_)) {
            return;
        }
        if held.cancelled {
            let may_have_run = held.may_have_run;
            return self.deliver(seq, Outcome::Cancelled { may_have_run }, Bytes::new());
        }
        self.tasks.place(seq, Place::Waiting, |_| {});
    }

    fn on_cancel(&mut self, now: Instant, seq: u64) {
        let Some(held) = self.tasks.get(seq) else {
            return;
        };
        let may_have_run = held.may_have_run;
        match held.place {
            // A manager may still have started it: it has to be asked.
            Place::Waiting | Place::Backoff if may_have_run => self.tasks.cancel(seq),
            Place::Waiting | Place::Backoff => {
                self.deliver(seq, Outcome::Cancelled { may_have_run }, Bytes::new());
            }
            Place::Sent(_) if !held.cancelled => {
                self.tasks.cancel(seq);
                self.send(now, Body::Cancel { seq });
            }
            Place::Sent(_) => {}
        }
    }

    fn on_expiry(&mut self, now: Instant, seq: u64) {
        let Some(held) = self.tasks.get(seq) else {
            return;
        };
        let Some(deadline) = held.deadline else {
            return;
        };
        let may_have_run = held.may_have_run;
        match held.place {
            Place::Waiting | Place::Backoff => {
                self.deliver(seq, Outcome::Expired { may_have_run }, Bytes::new());
            }
            // The manager tells; if it is out of reach, we wait for a lease more.
            Place::Sent(_) if self.link.is_up() => {}
            Place::Sent(_) if now < deadline + self.link.lease() => {
                self.alarms
                    .set(Alarm::Expiry(seq), deadline + self.link.lease());
            }
            Place::Sent(_) => {
                self.abandoned.insert(seq);
                self.deliver(seq, Outcome::Expired { may_have_run: true }, Bytes::new());
            }
        }
    }

    fn deliver(&mut self, seq: u64, outcome: Outcome, payload: Bytes) {
        let Some(held) = self.tasks.remove(seq) else {
            return;
        };
        if held.deadline.is_some() {
            self.alarms.cancel(Alarm::Expiry(seq));
        }
        if held.place == Place::Backoff || held.retries > 0 {
            self.alarms.cancel(Alarm::Retry(seq));
        }
        self.outputs.push_back(ClientOutput::Deliver {
            seq,
            outcome,
            payload,
        });
    }

    fn send(&mut self, now: Instant, message: impl Into<Message>) -> bool {
        self.link.send(now, message, &mut self.outputs)
    }

    fn send_acks(&mut self, now: Instant, seqs: &[u64]) {
        let floor = self.tasks.floor();
        let above: Vec<u64> = seqs.iter().copied().filter(|seq| *seq >= floor).collect();
        let mut parts = above.chunks(IDS_MAX);
        let first = parts.next().unwrap_or_default().to_vec();
        self.send(now, Body::AckOutcomes { floor, seqs: first });
        for part in parts {
            self.send(
                now,
                Body::AckOutcomes {
                    floor,
                    seqs: part.to_vec(),
                },
            );
        }
    }

    /// Sends what waits, as far as the window allows.
    fn submit_waiting(&mut self, now: Instant) {
        while self.link.is_up() {
            let Some((seq, held)) = self.tasks.next_waiting() else {
                return;
            };
            let bytes = held.payload.len();
            if bytes > self.payload_max {
                let retries = held.retries;
                let outcome = if held.may_have_run {
                    Outcome::Lost {
                        history: Vec::new(),
                    }
                } else {
                    Outcome::Rejected {
                        reason: RejectReason::TooLarge,
                        retries,
                    }
                };
                self.deliver(seq, outcome, Bytes::new());
                continue;
            }
            let crowded = self.tasks.sent_bytes() + bytes as u64 > SUBMITTED_BYTES_MAX;
            if (crowded && self.tasks.sent() > 0) || !self.may_go(held) {
                return;
            }
            let (message, cancelled) = (submit_message(now, seq, held), held.cancelled);
            self.tasks.place(seq, Place::Sent(self.submissions), |_| {});
            self.submissions += 1;
            self.send(now, message);
            if cancelled {
                self.send(now, Body::Cancel { seq });
            }
        }
    }

    /// Whether the window lets a task go. One that may be running already does not wait; an
    /// important one may go beyond the window, so that it is not held up by our own less
    /// important ones.
    fn may_go(&self, held: &Held) -> bool {
        let limit = self.window.limit();
        let important = self.tasks.sent_at_or_above(held.priority);
        held.may_have_run
            || self.tasks.sent() < limit
            || (important < self.tasks.sent() && important < (limit / 4).max(1))
    }

    fn stop(&mut self, now: Instant) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        self.link.stop(now, &mut self.outputs);
        let left: Vec<(u64, bool)> = self
            .tasks
            .iter()
            .map(|(seq, held)| {
                (
                    seq,
                    held.may_have_run || matches!(held.place, Place::Sent(_)),
                )
            })
            .collect();
        for (seq, may_have_run) in left {
            self.deliver(seq, Outcome::Cancelled { may_have_run }, Bytes::new());
        }
        self.outputs.push_back(ClientOutput::Stopped);
    }
}

/// Whether a refusal says that the manager has too much to do.
fn is_load(reason: RejectReason) -> bool {
    match reason {
        RejectReason::QueueFull
        | RejectReason::QueueBytesFull
        | RejectReason::Displaced
        | RejectReason::ClientFull
        | RejectReason::InFlightFull => true,
        RejectReason::TooSlow
        | RejectReason::Draining
        | RejectReason::NoWorkers
        | RejectReason::TooLarge => false,
    }
}

fn submit_message(now: Instant, seq: u64, held: &Held) -> Message {
    let submit = Submit {
        seq,
        priority: held.priority,
        max_attempts: held.max_attempts,
        at_most_once: held.at_most_once,
        may_have_run: held.may_have_run,
        deadline: Nanos::from(held.deadline.map(|deadline| deadline.since(now))),
        max_wait: held.max_wait,
        time_limit: held.time_limit,
        name: held.name.clone(),
    };
    Message {
        body: Body::Submit(submit),
        payload: held.payload.clone(),
    }
}

impl Machine for Client {
    type Input = ClientInput;
    type Output = ClientOutput;

    fn handle_input(&mut self, now: Instant, input: ClientInput) {
        match input {
            ClientInput::Link(input) => {
                if let Some(event) = self.link.handle_input(now, input, &mut self.outputs) {
                    self.on_link(now, event);
                }
            }
            ClientInput::Cancel { seq } => self.on_cancel(now, seq),
            ClientInput::Stop => self.stop(now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(event) = self.link.handle_timeout(now, &mut self.outputs) {
            self.on_link(now, event);
        }
        while let Some(alarm) = self.alarms.pop_due(now) {
            match alarm {
                Alarm::Retry(seq) => {
                    let waits = self.tasks.get(seq).map(|held| held.place);
                    if waits == Some(Place::Backoff) {
                        self.tasks.place(seq, Place::Waiting, |_| {});
                    }
                }
                Alarm::Expiry(seq) => self.on_expiry(now, seq),
            }
        }
    }

    fn settle(&mut self, now: Instant) {
        if !self.acks.is_empty() && self.link.is_up() {
            let mut acks = core::mem::take(&mut self.acks);
            self.send_acks(now, &acks);
            acks.clear();
            self.acks = acks;
        }
        self.submit_waiting(now);
        let next = self.poll_timeout().map(|deadline| deadline.at);
        self.link.expect(next);
    }

    fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let alarm = self.alarms.next().map(|(at, alarm)| Deadline {
            at,
            reason: match alarm {
                Alarm::Retry(_) => WakeReason::Retry,
                Alarm::Expiry(_) => WakeReason::Expiry,
            },
        });
        match (alarm, self.link.poll_timeout()) {
            (Some(alarm), Some(link)) => Some(if link.at < alarm.at { link } else { alarm }),
            (one, other) => one.or(other),
        }
    }

    fn check_invariants(&self) {
        self.tasks.check_invariants();
        assert!(self.tasks.len() <= self.config.tasks, "tasks are bounded");
        assert!(
            !self.stopped || self.tasks.len() == 0,
            "a stopped client has delivered all"
        );
        for (seq, held) in self.tasks.iter() {
            assert_eq!(
                held.place == Place::Backoff,
                self.alarms.get(Alarm::Retry(seq)).is_some(),
                "exactly what was rejected waits for its next try"
            );
            if held.deadline.is_some() && !matches!(held.place, Place::Sent(_)) {
                assert!(
                    self.alarms.get(Alarm::Expiry(seq)).is_some(),
                    "deadlines are watched"
                );
            }
        }
        assert!(
            self.alarms.len() <= 2 * self.tasks.len(),
            "no alarm outlives its task"
        );
        for seq in &self.abandoned {
            assert!(self.tasks.get(*seq).is_none());
        }
        assert!(
            self.acks.is_empty() || self.link.is_up(),
            "nobody to acknowledge to"
        );
    }
}
