//! A link on the bench: its driver by hand, time by hand.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::collections::VecDeque;
use std::time::Duration;

use argon_core::event::{CloseReason, LinkDown};
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::limits::LEASE;
use argon_core::link::{Link, LinkConfig, LinkEvent, LinkInput, LinkOutput};
use argon_core::message::{
    Beat, Control, FromManager, FromWorker, Hello, Message, Role, ToManager, ToWorker, VERSION,
    Welcome,
};
use argon_core::name::Name;
use argon_core::rng::Rng;
use argon_core::time::{Deadline, Instant, Nanos, WakeReason};

pub(crate) const PEER: PeerId = PeerId(42);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn welcome(epoch: u64) -> Welcome {
    Welcome {
        version: VERSION,
        epoch: Epoch(epoch),
        resumed: false,
        lease: Nanos::from(LEASE),
        payload_max: 1_000,
    }
}

/// A link, its driver, and the time.
pub(crate) struct Bench {
    pub link: Link,
    pub now: Instant,
    pub out: VecDeque<LinkOutput>,
    seed: u64,
}

impl Bench {
    pub(crate) fn new(addresses: usize) -> Self {
        Self::seeded(addresses, 1)
    }

    pub(crate) fn seeded(addresses: usize, seed: u64) -> Self {
        let config = LinkConfig {
            peer: PEER,
            name: Name::new("peer").unwrap(),
            role: Role::Worker { capacity: 3 },
            version: VERSION,
            addresses,
        };
        let now = Instant::from_nanos(1_000_000_000);
        Self {
            link: Link::new(config, Rng::from_seed(seed), now),
            now,
            out: VecDeque::new(),
            seed,
        }
    }

    pub(crate) fn input(&mut self, input: LinkInput<ToWorker>) -> Option<LinkEvent<ToWorker>> {
        let event = self.link.handle_input(self.now, input, &mut self.out);
        self.expect();
        event
    }

    pub(crate) fn expect(&mut self) {
        let next = self.link.poll_timeout().map(|deadline| deadline.at);
        self.link.expect(next);
    }

    pub(crate) fn say(
        &mut self,
        conn: ConnId,
        body: FromManager<ToWorker>,
    ) -> Option<LinkEvent<ToWorker>> {
        let message = Message::from(body);
        self.input(LinkInput::Received { conn, message })
    }

    pub(crate) fn timeout(&mut self) -> Option<LinkEvent<ToWorker>> {
        let event = self.link.handle_timeout(self.now, &mut self.out);
        self.expect();
        event
    }

    /// Goes to the next deadline and does what is due.
    pub(crate) fn wake(&mut self) -> Option<LinkEvent<ToWorker>> {
        self.now = self.due().at.max(self.now);
        self.timeout()
    }

    pub(crate) fn due(&self) -> Deadline {
        self.link.poll_timeout().expect("it wants to be woken")
    }

    /// How long until it wants to be woken.
    pub(crate) fn wait(&self) -> Duration {
        self.due().at.since(self.now)
    }

    pub(crate) fn only(&mut self) -> LinkOutput {
        let output = self.out.pop_front().expect("an output");
        assert_eq!(self.out, [], "one output");
        output
    }

    /// Dials; returns the connection and the address.
    pub(crate) fn dial(&mut self) -> (ConnId, usize) {
        assert_eq!(
            self.due().reason,
            WakeReason::Reconnect,
            "seed {}",
            self.seed
        );
        assert_eq!(self.wake(), None);
        match self.only() {
            LinkOutput::Connect { conn, address } => {
                assert_eq!(self.link.address(), address);
                (conn, address)
            }
            other => panic!("no dialling: {other:?}"),
        }
    }

    /// Connects and says hello; returns that.
    pub(crate) fn greet(&mut self, conn: ConnId) -> Hello {
        assert_eq!(self.input(LinkInput::Connected { conn }), None);
        match self.only() {
            LinkOutput::Send { conn: on, message } => {
                assert_eq!(on, conn);
                match message.body {
                    ToManager::Hello(hello) => hello,
                    other => panic!("no hello: {other:?}"),
                }
            }
            other => panic!("no hello: {other:?}"),
        }
    }

    pub(crate) fn up_with(&mut self, welcome: Welcome) -> ConnId {
        let (conn, _) = self.dial();
        self.greet(conn);
        let event = self.say(conn, FromManager::Control(Control::Welcome(welcome)));
        assert_eq!(event, Some(LinkEvent::Up(welcome)));
        assert_eq!(self.out, []);
        conn
    }

    pub(crate) fn up(&mut self) -> ConnId {
        self.up_with(welcome(7))
    }

    /// Woken for it, it pings; what it says.
    pub(crate) fn ping(&mut self, conn: ConnId) -> Beat {
        assert_eq!(self.wake(), None);
        match self.only() {
            LinkOutput::Send { conn: on, message } => {
                assert_eq!(on, conn);
                match message.body {
                    ToManager::Ping(beat) => beat,
                    other => panic!("no ping: {other:?}"),
                }
            }
            other => panic!("no ping: {other:?}"),
        }
    }

    pub(crate) fn pong(
        &mut self,
        conn: ConnId,
        nonce: u64,
        received: u64,
    ) -> Option<LinkEvent<ToWorker>> {
        self.say(
            conn,
            FromManager::Control(Control::Pong(Beat { nonce, received })),
        )
    }

    pub(crate) fn send(&mut self) -> bool {
        self.link.send(
            self.now,
            ToManager::Worker(FromWorker::Draining),
            &mut self.out,
        )
    }

    pub(crate) fn closed(&mut self, conn: ConnId) -> Option<LinkEvent<ToWorker>> {
        self.input(LinkInput::Closed { conn })
    }
}

pub(crate) fn ours(reason: CloseReason) -> Option<LinkEvent<ToWorker>> {
    Some(LinkEvent::Down(LinkDown::Ours(reason)))
}
