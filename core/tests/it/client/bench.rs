//! A client on the bench: the manager by hand, time by hand, invariants checked after each step.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code; each test file uses its own part"
)]

use std::time::Duration;

use argon_core::client::{Client, ClientConfig, ClientInput, ClientOutput};
use argon_core::event::{CloseReason, Event};
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine;
use argon_core::message::{
    Beat, Control, FromClient, FromManager, Message, ToClient, ToManager, Version, Welcome,
};
use argon_core::name::Name;
use argon_core::rng::Rng;
use argon_core::task::{Completion, LastAttempt, Outcome, RejectReason, TaskSpec};
use argon_core::time::{Instant, Nanos};
use bytes::Bytes;

pub const LEASE: Duration = Duration::from_secs(2);
pub const PAYLOAD_MAX: u32 = 1_000;

/// A client, the time, and what is open.
pub struct Bench {
    pub client: Client,
    pub now: Instant,
    pub conn: Option<ConnId>,
    pub address: usize,
    pub delivered: Vec<(u64, Outcome)>,
    pub closed: Vec<CloseReason>,
    pub stopped: bool,
    /// What it said for the log.
    pub events: Vec<Event>,
    pub payload_max: u32,
    /// What the manager speaks.
    pub version: Version,
    /// The last heartbeat that was not answered.
    ping: Option<Beat>,
    /// Messages on this connection that the manager counts.
    counted: u64,
    /// Messages on this connection that the client is to count.
    pub heard: u64,
}

impl Bench {
    pub fn with(change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = ClientConfig::new(PeerId(7), Name::new("tester").expect("a name"));
        change(&mut config);
        let mut bench = Self {
            client: Client::new(config, Rng::from_seed(3), Instant::ZERO),
            now: Instant::ZERO,
            conn: None,
            address: usize::MAX,
            delivered: Vec::new(),
            closed: Vec::new(),
            stopped: false,
            events: Vec::new(),
            payload_max: PAYLOAD_MAX,
            version: Version::FIRST,
            ping: None,
            counted: 0,
            heard: 0,
        };
        assert_eq!(bench.pass(Duration::ZERO), []);
        bench
    }

    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn up() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.welcome(1, false), [ack(0)]);
        bench
    }

    /// Settles and returns what was sent, heartbeats and hellos left out.
    pub fn settle(&mut self) -> Vec<ToManager> {
        self.client.settle(self.now);
        self.client.check_invariants();
        let mut sent = Vec::new();
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Link(LinkOutput::Connect { conn, address }) => {
                    self.conn = Some(conn);
                    self.address = address;
                    self.counted = 0;
                    self.heard = 0;
                }
                ClientOutput::Link(LinkOutput::Send { conn, message }) => {
                    assert_eq!(Some(conn), self.conn);
                    match message.body {
                        ToManager::Hello(_) => {}
                        ToManager::Ping(beat) => {
                            assert_eq!(beat.received, self.heard, "it counts what it hears");
                            self.ping = Some(beat);
                        }
                        body => {
                            self.counted += 1;
                            sent.push(body);
                        }
                    }
                }
                ClientOutput::Link(LinkOutput::Close { reason, .. }) => {
                    self.conn = None;
                    self.closed.push(reason);
                }
                ClientOutput::Deliver(deliveries) => {
                    let ends = deliveries.into_iter().map(|it| (it.seq, it.outcome));
                    self.delivered.extend(ends);
                }
                ClientOutput::StreamsBegin { .. } | ClientOutput::Stream { .. } => {
                    panic!("no task has streams")
                }
                ClientOutput::Notify(event) => self.events.push(event),
                ClientOutput::Stopped => self.stopped = true,
            }
        }
        sent
    }

    pub fn link(&mut self, input: LinkInput<ToClient>) -> Vec<ToManager> {
        self.client.handle_input(self.now, ClientInput::Link(input));
        self.settle()
    }

    pub fn receive(&mut self, body: FromManager<ToClient>) -> Vec<ToManager> {
        let conn = self.conn.expect("a connection");
        self.heard += u64::from(matches!(body, FromManager::Role(_)));
        let message = Message::from(body);
        self.link(LinkInput::Received { conn, message })
    }

    pub fn welcome(&mut self, epoch: u64, resumed: bool) -> Vec<ToManager> {
        // After one cut too many it waits a little before it dials.
        if self.conn.is_none() {
            self.pass(Duration::from_millis(25));
        }
        let conn = self.conn.expect("a connection");
        self.link(LinkInput::Connected { conn });
        self.receive(FromManager::Control(Control::Welcome(Welcome {
            version: self.version,
            epoch: Epoch(epoch),
            resumed,
            lease: LEASE.into(),
            payload_max: self.payload_max,
        })))
    }

    /// The manager answers the last heartbeat: it has taken in all that was sent.
    pub fn pong(&mut self) -> Vec<ToManager> {
        let Some(beat) = self.ping.take() else {
            return Vec::new();
        };
        let received = self.counted;
        self.receive(FromManager::Control(Control::Pong(Beat {
            received,
            ..beat
        })))
    }

    pub fn cut(&mut self) {
        let conn = self.conn.take().expect("a connection");
        assert_eq!(self.link(LinkInput::Closed { conn }), []);
        self.pass(Duration::ZERO);
    }

    /// Lets time pass, waking as asked; the manager must stay silent for less than a lease.
    pub fn pass(&mut self, span: Duration) -> Vec<ToManager> {
        let end = self.now + span;
        let mut sent = Vec::new();
        loop {
            let next = self.client.poll_timeout().filter(|next| next.at <= end);
            let Some(next) = next else {
                self.now = end;
                return sent;
            };
            self.now = self.now.max(next.at);
            self.client.handle_timeout(self.now);
            sent.extend(self.settle());
            let after = self.client.poll_timeout();
            assert!(after.is_none_or(|after| after.at > self.now), "{after:?}");
        }
    }

    pub fn submit(&mut self, spec: TaskSpec) -> u64 {
        self.client.submit(self.now, spec).expect("room").seq
    }

    pub fn cancel(&mut self, seq: u64) -> Vec<ToManager> {
        self.client
            .handle_input(self.now, ClientInput::Cancel { seq });
        self.settle()
    }

    pub fn stop(&mut self) -> Vec<ToManager> {
        self.client.handle_input(self.now, ClientInput::Stop);
        self.settle()
    }

    pub fn delivered(&mut self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut self.delivered)
    }
}

pub fn task() -> TaskSpec {
    TaskSpec::new(Name::new("noop").expect("a name"), Bytes::new())
}

pub fn sized(bytes: usize) -> TaskSpec {
    TaskSpec::new(Name::new("noop").expect("a name"), vec![0; bytes])
}

pub fn until(deadline: Duration) -> TaskSpec {
    TaskSpec {
        deadline: Some(deadline),
        ..task()
    }
}

pub fn completed() -> Outcome {
    Outcome::Completed(Completion {
        last: LastAttempt {
            ran: Nanos(5),
            waited: Nanos(6),
            worker: Name::new("w1").unwrap(),
        },
        charged: 0,
    })
}

pub fn outcome(seq: u64) -> FromManager<ToClient> {
    FromManager::Role(ToClient::Outcome {
        seq,
        outcome: completed(),
    })
}

pub fn ack(floor: u64) -> ToManager {
    acks(floor, &[])
}

pub fn acks(floor: u64, seqs: &[u64]) -> ToManager {
    ToManager::Client(FromClient::AckOutcomes {
        floor,
        seqs: seqs.to_vec(),
    })
}

pub fn reject(seq: u64, reason: RejectReason) -> FromManager<ToClient> {
    FromManager::Role(ToClient::Reject {
        seq,
        reason,
        retry_after: Nanos::ZERO,
        may_have_run: false,
        similar: Vec::new(),
    })
}

pub fn resume(seqs: &[u64]) -> ToManager {
    ToManager::Client(FromClient::Resume {
        seqs: seqs.to_vec(),
    })
}

/// The numbers of submissions among `sent`, and whether each may have run.
pub fn submitted(sent: &[ToManager]) -> Vec<(u64, bool)> {
    sent.iter()
        .filter_map(|body| match body {
            ToManager::Client(FromClient::Submit(submit)) => {
                Some((submit.seq, submit.may_have_run))
            }
            _ => None,
        })
        .collect()
}

pub const MS: Duration = Duration::from_millis(1);
