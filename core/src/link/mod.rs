//! A worker's or client's connection to its manager: dialling, handshake, heartbeats, silence,
//! and coming back for ever.
//!
//! Owns: the state of the one connection and the backoff. Never: decides what a lost connection
//! means for tasks; that is its machine's. Invariants: at most one connection is open or being
//! opened; nothing but handshake is sent before `Welcome`. Units: driver instants outside, awake
//! instants for silence.

mod facts;

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::event::{CloseReason, LinkDown};
use crate::failure_detector::FailureDetector;
use crate::ids::{ConnId, Epoch};
use crate::limits::{
    HANDSHAKE, HEARTBEATS_PER_LEASE, LEASE, LEASE_MAX, LEASE_MIN, RECONNECT_DELAY_FIRST,
    RECONNECT_DELAY_MAX,
};
use crate::message::{
    Beat, Control, FromManager, Hello, MAGIC, Message, ToManager, VERSION, Version,
};
use crate::protocol_error::ProtocolError;
use crate::rng::Rng;
use crate::time::{AwakeClock, AwakeInstant, Deadline, Instant, WakeReason};

pub use facts::{CarriesLink, LinkConfig, LinkEvent, LinkInput, LinkOutput};

#[derive(Clone, Debug)]
enum ConnectionState {
    /// Nothing is open; dial at this instant.
    Waiting { until: Instant },
    /// Dialling or greeting; give up at this instant.
    Opening { conn: ConnId, until: AwakeInstant },
    /// Let in.
    Up {
        conn: ConnId,
        /// What both speak.
        version: Version,
        detector: FailureDetector,
        since: Instant,
        ping_at: Instant,
        ping: Option<(u64, Instant)>,
    },
    /// Told to stay closed.
    Stopped,
}

/// The connection of one peer to the first manager that answers.
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
    rng: Rng,
    clock: AwakeClock,
    state: ConnectionState,
    next_conn: u64,
    address: usize,
    /// Failed tries since the last success.
    failures: u32,
    session: Option<Epoch>,
    lease: Duration,
    round_trip: Option<Duration>,
    nonce: u64,
}

impl Link {
    /// A link that dials at once.
    #[must_use]
    pub fn new(config: LinkConfig, rng: Rng, now: Instant) -> Self {
        debug_assert!(config.addresses > 0, "a link needs an address");
        Self {
            config,
            rng,
            clock: AwakeClock::default(),
            state: ConnectionState::Waiting { until: now },
            next_conn: 0,
            address: 0,
            failures: 0,
            session: None,
            lease: LEASE,
            round_trip: None,
            nonce: 0,
        }
    }

    /// Whether the manager has let us in.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, ConnectionState::Up { .. })
    }

    /// Whether this is the connection over which the manager has let us in.
    #[must_use]
    pub fn is_up_on(&self, conn: ConnId) -> bool {
        matches!(self.state, ConnectionState::Up { conn: ours, .. } if ours == conn)
    }

    /// Whether the manager understands streams; false if there is none.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        matches!(self.state, ConnectionState::Up { version, .. } if version.has_streams())
    }

    /// Which manager is dialled or connected, by index.
    #[must_use]
    pub fn address(&self) -> usize {
        self.address
    }

    /// How long silence is trusted, as the manager last said.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The life of the manager that there is or was a session with.
    #[must_use]
    pub fn session(&self) -> Option<Epoch> {
        self.session
    }

    /// Smoothed time from a heartbeat to its answer, through both state machines.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// How many counted messages were sent on this connection, heartbeats and handshake left out.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match &self.state {
            ConnectionState::Up { detector, .. } => detector.sent(),
            ConnectionState::Waiting { .. }
            | ConnectionState::Opening { .. }
            | ConnectionState::Stopped => 0,
        }
    }

    /// How many of them the manager is known to have taken in. What it had to say to those was
    /// said before it confirmed them.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        match &self.state {
            ConnectionState::Up { detector, .. } => detector.confirmed(),
            ConnectionState::Waiting { .. }
            | ConnectionState::Opening { .. }
            | ConnectionState::Stopped => 0,
        }
    }

    /// Sends `message` if the link is up; tells whether it was.
    pub fn send<O: From<LinkOutput>>(
        &mut self,
        now: Instant,
        message: impl Into<Message<ToManager>>,
        out: &mut VecDeque<O>,
    ) -> bool {
        self.send_made(now, out, || message.into())
    }

    /// The same with a message that is made where it is queued, if the link is up: to move one
    /// costs as much as to make it.
    #[inline(always)]
    pub(crate) fn send_made<O: From<LinkOutput>>(
        &mut self,
        now: Instant,
        out: &mut VecDeque<O>,
        make: impl FnOnce() -> Message<ToManager>,
    ) -> bool {
        let awake = self.clock.at(now);
        let ConnectionState::Up { conn, detector, .. } = &mut self.state else {
            return false;
        };
        detector.on_sent(awake);
        let (conn, message) = (*conn, make());
        out.push_back(LinkOutput::Send { conn, message }.into());
        true
    }

    /// As [`send_made`](Self::send_made), unless the last that was sent and not yet taken by the driver
    /// can be made to say it too.
    #[inline(always)]
    pub(crate) fn send_run<O: CarriesLink>(
        &mut self,
        now: Instant,
        out: &mut VecDeque<O>,
        say_too: impl FnOnce(&mut Message<ToManager>) -> bool,
        make: impl FnOnce() -> Message<ToManager>,
    ) {
        if let ConnectionState::Up { conn, version, .. } = &self.state
            && version.has_runs()
            && let Some(LinkOutput::Send {
                conn: last,
                message,
            }) = out.back_mut().and_then(O::as_link)
            && last == conn
            && say_too(message)
        {
            return;
        }
        self.send_made(now, out, make);
    }

    /// A message came on this connection that is for the machine: whether it is the one that is up.
    /// Then it is counted. The way of nearly all messages; other facts, and those for which this is
    /// false, go through [`handle_input`](Self::handle_input).
    #[inline(always)]
    pub(crate) fn hear(&mut self, now: Instant, conn: ConnId) -> bool {
        let awake = self.clock.read(now);
        match &mut self.state {
            ConnectionState::Up {
                conn: ours,
                detector,
                ..
            } if conn == *ours => {
                detector.on_received(awake);
                true
            }
            ConnectionState::Up { .. }
            | ConnectionState::Opening { .. }
            | ConnectionState::Waiting { .. }
            | ConnectionState::Stopped => false,
        }
    }

    /// Takes in a fact; facts about connections that are no longer ours mean nothing.
    pub fn handle_input<T, O: From<LinkOutput>>(
        &mut self,
        now: Instant,
        input: LinkInput<T>,
        out: &mut VecDeque<O>,
    ) -> Option<LinkEvent<T>> {
        let awake = self.clock.read(now);
        match (input, &mut self.state) {
            (LinkInput::Connected { conn }, ConnectionState::Opening { conn: ours, .. })
                if conn == *ours =>
            {
                let hello = self.hello(conn);
                out.push_back(
                    LinkOutput::Send {
                        conn,
                        message: ToManager::Hello(hello).into(),
                    }
                    .into(),
                );
                None
            }
            (
                LinkInput::Received { conn, message },
                ConnectionState::Opening { conn: ours, .. },
            ) if conn == *ours => self.on_greeting(now, awake, conn, &message.body, out),
            (
                LinkInput::Received { conn, message },
                ConnectionState::Up {
                    conn: ours,
                    detector,
                    ping,
                    ..
                },
            ) if conn == *ours => {
                let Message { body, payload } = message;
                match body {
                    FromManager::Role(body) => {
                        detector.on_received(awake);
                        return Some(LinkEvent::Message(Message { body, payload }));
                    }
                    FromManager::Control(Control::Pong(beat)) => {
                        if !detector.on_beat(awake, beat.received) {
                            let reason = CloseReason::Protocol(ProtocolError::Overcounted);
                            return self.close(now, reason, out);
                        }
                        if let Some((nonce, sent)) = *ping
                            && nonce == beat.nonce
                        {
                            *ping = None;
                            self.observe_round_trip(now.since(sent));
                        }
                    }
                    FromManager::Control(Control::Refuse(reason)) => {
                        return self.close(now, CloseReason::Refused(reason), out);
                    }
                    FromManager::Control(Control::Paused) => detector.on_progress(awake),
                    FromManager::Control(Control::Welcome(_)) | FromManager::Misdirected => {
                        let reason = CloseReason::Protocol(ProtocolError::Misdirected);
                        return self.close(now, reason, out);
                    }
                }
                None
            }
            (
                LinkInput::Progress { conn },
                ConnectionState::Up {
                    conn: ours,
                    detector,
                    ..
                },
            ) if conn == *ours => {
                detector.on_progress(awake);
                None
            }
            (LinkInput::Closed { conn }, ConnectionState::Opening { conn: ours, .. })
                if conn == *ours =>
            {
                self.back_off(now);
                Some(LinkEvent::Down(LinkDown::Unreachable))
            }
            (
                LinkInput::Closed { conn },
                ConnectionState::Up {
                    conn: ours, since, ..
                },
            ) if conn == *ours => {
                let since = *since;
                self.redial(now, since);
                Some(LinkEvent::Down(LinkDown::Closed))
            }
            _ => None,
        }
    }

    /// Dials, ends a handshake, pings, or notices silence, whichever is due.
    pub fn handle_timeout<T, O: From<LinkOutput>>(
        &mut self,
        now: Instant,
        out: &mut VecDeque<O>,
    ) -> Option<LinkEvent<T>> {
        let awake = self.clock.read(now);
        match &mut self.state {
            ConnectionState::Waiting { until } if *until <= now => {
                let conn = ConnId(self.next_conn);
                self.next_conn += 1;
                self.state = ConnectionState::Opening {
                    conn,
                    until: awake + HANDSHAKE,
                };
                out.push_back(
                    LinkOutput::Connect {
                        conn,
                        address: self.address,
                    }
                    .into(),
                );
                None
            }
            ConnectionState::Opening { conn, until } if *until <= awake => {
                let conn = *conn;
                let reason = CloseReason::HandshakeTimeout;
                out.push_back(LinkOutput::Close { conn, reason }.into());
                self.back_off(now);
                Some(LinkEvent::Down(LinkDown::Ours(reason)))
            }
            ConnectionState::Up { detector, .. } if detector.silent_at(self.lease) <= awake => {
                self.close(now, CloseReason::Silent, out)
            }
            ConnectionState::Up {
                conn,
                detector,
                ping_at,
                ping,
                ..
            } if *ping_at <= now => {
                *ping_at = now + self.lease / HEARTBEATS_PER_LEASE;
                self.nonce += 1;
                if ping.is_none() {
                    *ping = Some((self.nonce, now));
                }
                let beat = Beat {
                    nonce: self.nonce,
                    received: detector.received(),
                };
                let (conn, message) = (*conn, ToManager::Ping(beat).into());
                out.push_back(LinkOutput::Send { conn, message }.into());
                None
            }
            ConnectionState::Waiting { .. }
            | ConnectionState::Opening { .. }
            | ConnectionState::Up { .. }
            | ConnectionState::Stopped => None,
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match &self.state {
            ConnectionState::Waiting { until } => Some(Deadline {
                at: *until,
                reason: WakeReason::Reconnect,
            }),
            ConnectionState::Opening { until, .. } => Some(Deadline {
                at: self.clock.due(*until),
                reason: WakeReason::Handshake,
            }),
            ConnectionState::Up {
                detector, ping_at, ..
            } => {
                let silent = self.clock.due(detector.silent_at(self.lease));
                Some(Deadline {
                    at: silent.min(*ping_at),
                    reason: WakeReason::Heartbeat,
                })
            }
            ConnectionState::Stopped => None,
        }
    }

    /// To be called by the machine with the earliest of *all* its deadlines, whenever its outputs
    /// are empty, so that lateness of the whole process is known as such.
    pub fn expect(&mut self, next: Option<Instant>) {
        self.clock.expect(next);
    }

    /// `now` on the awake clock. To be called by the machine with every call that it gets, also
    /// with those that are not the link's, so that lateness is noticed whatever came first.
    pub fn awake(&mut self, now: Instant) -> AwakeInstant {
        self.clock.read(now)
    }

    /// Sends a heartbeat at the next time-out, to learn the round trip sooner.
    pub fn ping_now(&mut self, now: Instant) {
        if let ConnectionState::Up {
            ping_at,
            ping: None,
            ..
        } = &mut self.state
        {
            *ping_at = now;
        }
    }

    /// Leaves this manager for the next of the list. Nothing happens if there is only one.
    pub fn move_on<T, O: From<LinkOutput>>(
        &mut self,
        now: Instant,
        out: &mut VecDeque<O>,
    ) -> Option<LinkEvent<T>> {
        if self.config.addresses < 2 {
            return None;
        }
        let (ConnectionState::Up { conn, .. } | ConnectionState::Opening { conn, .. }) = self.state
        else {
            return None;
        };
        let reason = CloseReason::MovedOn;
        out.push_back(LinkOutput::Close { conn, reason }.into());
        self.address = (self.address + 1) % self.config.addresses;
        self.state = ConnectionState::Waiting { until: now };
        Some(LinkEvent::Down(LinkDown::Ours(reason)))
    }

    /// Says goodbye, closes, and stays closed.
    pub fn stop<O: From<LinkOutput>>(&mut self, now: Instant, out: &mut VecDeque<O>) {
        self.send(now, ToManager::Goodbye, out);
        if let ConnectionState::Up { conn, .. } | ConnectionState::Opening { conn, .. } = self.state
        {
            out.push_back(
                LinkOutput::Close {
                    conn,
                    reason: CloseReason::Stopping,
                }
                .into(),
            );
        }
        self.state = ConnectionState::Stopped;
    }

    /// Closes the connection because of `reason`; another is tried.
    pub fn close<T, O: From<LinkOutput>>(
        &mut self,
        now: Instant,
        reason: CloseReason,
        out: &mut VecDeque<O>,
    ) -> Option<LinkEvent<T>> {
        let (conn, since) = match self.state {
            ConnectionState::Up { conn, since, .. } => (conn, since),
            ConnectionState::Opening { conn, .. } => (conn, now),
            ConnectionState::Waiting { .. } | ConnectionState::Stopped => return None,
        };
        out.push_back(LinkOutput::Close { conn, reason }.into());
        if matches!(reason, CloseReason::Protocol(_) | CloseReason::Refused(_)) {
            self.back_off(now);
        } else {
            self.redial(now, since);
        }
        Some(LinkEvent::Down(LinkDown::Ours(reason)))
    }

    fn hello(&self, conn: ConnId) -> Hello {
        Hello {
            magic: MAGIC,
            version: self.config.version,
            role: self.config.role,
            peer: self.config.peer,
            connection: conn.0,
            session: self.session,
            name: self.config.name.clone(),
        }
    }

    fn on_greeting<T, O: From<LinkOutput>>(
        &mut self,
        now: Instant,
        awake: AwakeInstant,
        conn: ConnId,
        body: &FromManager<T>,
        out: &mut VecDeque<O>,
    ) -> Option<LinkEvent<T>> {
        match body {
            FromManager::Control(Control::Welcome(welcome))
                if welcome.version.major == VERSION.major =>
            {
                self.session = Some(welcome.epoch);
                let lease = welcome.lease.to_duration().unwrap_or(LEASE);
                self.lease = lease.clamp(LEASE_MIN, LEASE_MAX);
                self.state = ConnectionState::Up {
                    since: now,
                    conn,
                    version: welcome.version.agreed(self.config.version),
                    detector: FailureDetector::new(awake),
                    ping_at: now,
                    ping: None,
                };
                Some(LinkEvent::Up(*welcome))
            }
            FromManager::Control(Control::Refuse(reason)) => {
                let reason = *reason;
                self.close::<T, O>(now, CloseReason::Refused(reason), out);
                Some(LinkEvent::Refused(reason))
            }
            FromManager::Control(Control::Welcome(_) | Control::Pong(_) | Control::Paused)
            | FromManager::Role(_)
            | FromManager::Misdirected => {
                self.close(now, CloseReason::Protocol(ProtocolError::NoWelcome), out)
            }
        }
    }

    /// Dials again at once, to resume with the same manager. But a connection that closes as soon
    /// as it is up, after one that did the same, counts as a failure: a peer that is thrown out
    /// again and again does not hammer its manager.
    fn redial(&mut self, now: Instant, since: Instant) {
        if now.since(since) >= RECONNECT_DELAY_MAX {
            self.failures = 0;
        }
        if self.failures == 0 {
            self.failures = 1;
            self.state = ConnectionState::Waiting { until: now };
        } else {
            self.back_off(now);
        }
    }

    /// Goes on to the next address; after a whole round without success, waits a jittered,
    /// doubling time.
    fn back_off(&mut self, now: Instant) {
        self.address = (self.address + 1) % self.config.addresses;
        self.failures = self.failures.saturating_add(1);
        let round = self.config.addresses as u32;
        let delay = match self.failures.checked_sub(round) {
            None => Duration::ZERO,
            Some(beyond) => self.delay(beyond / round),
        };
        self.state = ConnectionState::Waiting { until: now + delay };
    }

    /// At least half of the ceiling, so that a dead address is not hammered; the rest is chance,
    /// so that a crowd does not come back at the same moment.
    fn delay(&mut self, doublings: u32) -> Duration {
        let ceiling = RECONNECT_DELAY_FIRST * (1 << doublings.min(16));
        let half = ceiling.min(RECONNECT_DELAY_MAX) / 2;
        half + self.rng.jitter(half)
    }

    /// Weighs a new sample by an eighth, as TCP does (RFC 6298).
    fn observe_round_trip(&mut self, sample: Duration) {
        self.round_trip = Some(match self.round_trip {
            None => sample,
            Some(old) => old - old / 8 + sample / 8,
        });
    }
}
