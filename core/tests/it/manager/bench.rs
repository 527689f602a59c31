//! A manager on the bench: peers by hand, time by hand, every invariant checked after each step.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use argon_core::access::Access;
use argon_core::capabilities::Capabilities;
use argon_core::event::Event;
use argon_core::ids::{Attempt, ConnId, Epoch, PeerId, TaskId};
use argon_core::machine::Machine;
use argon_core::manager::{Manager, ManagerConfig, ManagerInput, ManagerOutput};
use argon_core::message::{
    Assign, AttemptEnd, Beat, Control, Finished, FromClient, FromWorker, Hello, MAGIC, Message,
    Report, ReportedAttempt, Role, Submit, ToClient, ToManager, ToPeer, ToWorker, Version, Welcome,
};
use argon_core::name::Name;
use argon_core::task::{Outcome, Priority, RejectReason};
use argon_core::time::{Instant, Nanos};
use bytes::Bytes;

pub(crate) const EPOCH: Epoch = Epoch(7);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A submission of a plain task.
pub(crate) fn submit(seq: u64) -> Submit {
    Submit {
        seq,
        priority: Priority::NORMAL,
        max_attempts: 3,
        at_most_once: false,
        may_have_run: false,
        deadline: Nanos::NONE,
        max_wait: Nanos::NONE,
        time_limit: Nanos::NONE,
        name: name("work"),
    }
}

pub(crate) struct Bench {
    pub manager: Manager,
    pub now: Instant,
    next_conn: u64,
    inboxes: BTreeMap<ConnId, Vec<Message<ToPeer>>>,
    /// Counted messages that each connection was sent.
    counts: BTreeMap<ConnId, u64>,
    pub closed: Vec<ConnId>,
    /// Whether the invariants are looked at after each step.
    pub checked: bool,
    pub drained: bool,
    /// What it said for the log.
    pub events: Vec<Event>,
    pub pongs: Vec<(ConnId, Beat)>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ManagerConfig)) -> Self {
        let mut config = ManagerConfig::new(EPOCH);
        change(&mut config);
        config.validate().unwrap();
        let now = Instant::from_nanos(1_000_000_000);
        Self {
            manager: Manager::new(config, now),
            now,
            next_conn: 0,
            inboxes: BTreeMap::new(),
            counts: BTreeMap::new(),
            closed: Vec::new(),
            checked: true,
            drained: false,
            events: Vec::new(),
            pongs: Vec::new(),
        }
    }

    /// One input, settled, with everything that came of it.
    pub(crate) fn step(&mut self, input: ManagerInput) {
        self.manager.handle_input(self.now, input);
        self.finish();
    }

    fn finish(&mut self) {
        self.settle();
        if self.checked {
            self.manager.check_invariants();
        }
    }

    fn settle(&mut self) {
        self.manager.settle(self.now);
        while let Some(output) = self.manager.poll_output() {
            match output {
                ManagerOutput::Send { conn, message } => {
                    if let ToPeer::Control(Control::Pong(beat)) = message.body {
                        self.pongs.push((conn, beat));
                        continue;
                    }
                    if !matches!(
                        message.body,
                        ToPeer::Control(Control::Welcome(_))
                            | ToPeer::Control(Control::Refuse(_))
                            | ToPeer::Control(Control::Paused)
                    ) {
                        *self.counts.entry(conn).or_default() += 1;
                    }
                    self.inboxes.entry(conn).or_default().push(message);
                }
                ManagerOutput::Close { conn, .. } => self.closed.push(conn),
                ManagerOutput::Drained => self.drained = true,
                ManagerOutput::Notify(event) => self.events.push(event),
            }
        }
    }

    /// Lets time pass, waking the manager exactly when it asks for it.
    pub(crate) fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self.manager.poll_timeout()
            && deadline.at <= end
        {
            self.now = deadline.at.max(self.now);
            self.manager.handle_timeout(self.now);
            self.finish();
            if let Some(next) = self.manager.poll_timeout() {
                assert!(
                    next.at > self.now,
                    "a deadline that is not worked off: {next:?}"
                );
            }
        }
        self.now = end;
    }

    /// Lets time pass as `advance`, with heartbeats on these connections.
    pub(crate) fn advance_alive(&mut self, span: Duration, conns: &[ConnId]) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(ms(500));
            self.advance(step);
            left -= step;
            for &conn in conns {
                let received = self.counts.get(&conn).copied().unwrap_or(0);
                self.send(conn, ToManager::Ping(Beat { nonce: 0, received }));
            }
        }
    }

    /// As `submit`, without a look at the invariants: there is a crowd.
    pub(crate) fn quietly(&mut self, conn: ConnId, submit: Submit) {
        self.quietly_body(conn, ToManager::Client(FromClient::Submit(submit)));
    }

    /// As `send`, without a look at the invariants: there is a crowd.
    pub(crate) fn quietly_body(&mut self, conn: ConnId, body: ToManager) {
        let message = body.into();
        let input = ManagerInput::Received { conn, message };
        self.manager.handle_input(self.now, input);
        self.settle();
    }

    pub(crate) fn send(&mut self, conn: ConnId, message: impl Into<Message<ToManager>>) {
        let message = message.into();
        self.step(ManagerInput::Received { conn, message });
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        self.step(ManagerInput::Closed { conn });
    }

    /// What came on a connection since the last look.
    pub(crate) fn inbox(&mut self, conn: ConnId) -> Vec<Message<ToPeer>> {
        self.inboxes.remove(&conn).unwrap_or_default()
    }

    pub(crate) fn bodies(&mut self, conn: ConnId) -> Vec<ToPeer> {
        let inbox = self.inbox(conn).into_iter();
        inbox.map(|message| message.body).collect()
    }

    pub(crate) fn connect(&mut self) -> ConnId {
        self.connect_with(Access::everything())
    }

    /// Connects with a key that allows this.
    pub(crate) fn connect_with(&mut self, access: Access) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let from = None;
        self.step(ManagerInput::Accepted { conn, from, access });
        conn
    }

    /// Says hello and returns the connection and the welcome.
    pub(crate) fn hello(
        &mut self,
        peer: u64,
        connection: u64,
        role: Role,
        session: Option<Epoch>,
        called: &str,
    ) -> (ConnId, Option<Welcome>) {
        let conn = self.connect();
        let hello = Hello {
            magic: MAGIC,
            version: Version::FIRST,
            role,
            peer: PeerId(peer),
            connection,
            session,
            name: name(called),
        };
        let welcome = self.greet(conn, hello);
        (conn, welcome)
    }

    /// Says hello on a connection and returns the welcome.
    pub(crate) fn greet(&mut self, conn: ConnId, hello: Hello) -> Option<Welcome> {
        self.send(conn, ToManager::Hello(hello));
        let inbox = self.inboxes.entry(conn).or_default();
        let welcome = match inbox.first().map(|message| &message.body) {
            Some(ToPeer::Control(Control::Welcome(welcome))) => Some(*welcome),
            _ => None,
        };
        if welcome.is_some() {
            inbox.remove(0);
        }
        welcome
    }

    /// A client's first connection.
    pub(crate) fn client(&mut self, peer: u64) -> ConnId {
        self.hello(peer, 1, Role::Client, None, &format!("client-{peer}"))
            .0
    }

    /// A worker's first connection, with nothing to report and a window of its capacity.
    pub(crate) fn worker(&mut self, peer: u64, capacity: u32) -> ConnId {
        let (conn, _) = self.hello(
            peer,
            1,
            Role::Worker { capacity },
            None,
            &format!("worker-{peer}"),
        );
        self.report(conn, vec![], vec![]);
        self.grant(conn, capacity);
        conn
    }

    /// Says what a worker can run.
    pub(crate) fn capabilities(&mut self, conn: ConnId, patterns: &[&str]) {
        self.send(
            conn,
            ToManager::Worker(FromWorker::Capabilities(capabilities(patterns))),
        );
    }

    pub(crate) fn grant(&mut self, conn: ConnId, window: u32) {
        self.send(conn, ToManager::Worker(FromWorker::Grant { window }));
    }

    pub(crate) fn report(
        &mut self,
        conn: ConnId,
        running: Vec<ReportedAttempt>,
        finished: Vec<ReportedAttempt>,
    ) {
        self.send(
            conn,
            ToManager::Worker(FromWorker::Report(Report {
                running,
                finished,
                last: true,
            })),
        );
        self.capabilities(conn, &["*"]);
    }

    pub(crate) fn submit(&mut self, conn: ConnId, submit: Submit) {
        self.send(
            conn,
            Message {
                body: ToManager::Client(FromClient::Submit(submit)),
                payload: Bytes::from_static(b"x").into(),
            },
        );
    }

    /// The assignments that came to a worker since the last look; whatever else came is dropped.
    pub(crate) fn assigned(&mut self, conn: ConnId) -> Vec<Assign> {
        self.bodies(conn)
            .into_iter()
            .filter_map(|body| match body {
                ToPeer::Worker(ToWorker::Assign(assign)) => Some(assign),
                _ => None,
            })
            .collect()
    }

    /// What a worker was asked to give back since the last look.
    pub(crate) fn recalled(&mut self, conn: ConnId) -> Vec<Attempt> {
        self.bodies(conn)
            .into_iter()
            .filter_map(|body| match body {
                ToPeer::Worker(ToWorker::Recall { attempts }) => Some(attempts),
                _ => None,
            })
            .flatten()
            .collect()
    }

    /// The outcomes that came to a client since the last look.
    pub(crate) fn outcomes(&mut self, conn: ConnId) -> Vec<(u64, Outcome)> {
        self.bodies(conn)
            .into_iter()
            .filter_map(|body| match body {
                ToPeer::Client(ToClient::Outcome { seq, outcome }) => Some((seq, outcome)),
                _ => None,
            })
            .collect()
    }

    /// The refusals that came to a client since the last look.
    pub(crate) fn rejects(&mut self, conn: ConnId) -> Vec<(u64, RejectReason)> {
        self.bodies(conn)
            .into_iter()
            .filter_map(|body| match body {
                ToPeer::Client(ToClient::Reject { seq, reason, .. }) => Some((seq, reason)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn finish_with(&mut self, conn: ConnId, assign: &Assign, end: AttemptEnd) {
        self.finish_after(conn, assign, ms(10), end);
    }

    pub(crate) fn finish_after(
        &mut self,
        conn: ConnId,
        assign: &Assign,
        ran: Duration,
        end: AttemptEnd,
    ) {
        let (attempt, task) = (assign.attempt, assign.task);
        let ran = Nanos::from(ran);
        let body = ToManager::Worker(FromWorker::Finished(Finished {
            attempt,
            task,
            ran,
            end,
        }));
        self.send(
            conn,
            Message {
                body,
                payload: Bytes::from_static(b"result").into(),
            },
        );
    }

    pub(crate) fn complete(&mut self, conn: ConnId, assign: &Assign) {
        self.finish_with(conn, assign, AttemptEnd::Completed);
    }
}

pub(crate) fn reported(assign: &Assign) -> ReportedAttempt {
    ReportedAttempt {
        attempt: assign.attempt,
        task: assign.task,
    }
}

/// Capabilities of these names.
pub(crate) fn capabilities(patterns: &[&str]) -> Capabilities {
    Capabilities::new(patterns.iter().map(|text| name(text))).expect("few names")
}

pub(crate) fn task(client: u64, seq: u64) -> TaskId {
    TaskId {
        client: PeerId(client),
        seq,
    }
}

pub(crate) fn completed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Completed(_))
}
