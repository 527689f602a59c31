//! A worker with its surroundings played by hand: facts in, exact outputs out.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code; each test file uses its own part"
)]

use std::time::Duration;

use argon_core::capabilities::Capabilities;
use argon_core::event::Event;
use argon_core::ids::{Attempt, ConnId, Epoch, PeerId, SlotId, TaskId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{
    Assign, AttemptEnd, Beat, Control, Finished, FromManager, FromWorker, Message, Report,
    ReportedAttempt, ToManager, ToWorker, Version, Welcome,
};
use argon_core::name::Name;
use argon_core::rng::Rng;
use argon_core::task::{ErrorKind, ExitCause, TaskError};
use argon_core::time::{Instant, Nanos};
use argon_core::worker::{
    Job, PoolInput, PoolOutput, RunEnd, SlotLife, Worker, WorkerConfig, WorkerInput, WorkerOutput,
};
use bytes::Bytes;

pub const EPOCH: Epoch = Epoch(7);
pub const LEASE: Duration = Duration::from_secs(2);
pub const CLIENT: PeerId = PeerId(9);
pub const MS: Duration = Duration::from_millis(1);
pub const US: Duration = Duration::from_micros(1);

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn config(capacity: u32) -> WorkerConfig {
    WorkerConfig::new(PeerId(1), name("w"), capacity)
}

pub fn attempt(number: u64) -> Attempt {
    Attempt {
        epoch: EPOCH,
        number,
    }
}

pub fn task(number: u64) -> TaskId {
    TaskId {
        client: CLIENT,
        seq: number,
    }
}

pub fn payload(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

pub fn assign(number: u64) -> Assign {
    Assign {
        attempt: attempt(number),
        task: task(number),
        at_most_once: false,
        deadline: Nanos::NONE,
        time_limit: Nanos::NONE,
        name: name("t"),
    }
}

pub fn reported(number: u64) -> ReportedAttempt {
    ReportedAttempt {
        attempt: attempt(number),
        task: task(number),
    }
}

pub fn life(slot: u32, life: u64) -> SlotLife {
    SlotLife {
        slot: SlotId(slot),
        life,
    }
}

pub fn spawn(slot: SlotLife) -> WorkerOutput {
    WorkerOutput::Pool(PoolOutput::Spawn { slot })
}

pub fn terminate(slot: SlotLife) -> WorkerOutput {
    WorkerOutput::Pool(PoolOutput::Terminate { slot })
}

pub fn kill(slot: SlotLife) -> WorkerOutput {
    WorkerOutput::Pool(PoolOutput::Kill { slot })
}

pub fn retire(slot: SlotLife) -> WorkerOutput {
    WorkerOutput::Pool(PoolOutput::Retire { slot })
}

pub fn run(slot: SlotLife, number: u64) -> WorkerOutput {
    let job = Job {
        attempt: attempt(number),
        task: task(number),
        name: name("t"),
        payload: payload(number).into(),
    };
    WorkerOutput::Pool(PoolOutput::Run { slot, job })
}

pub fn error(kind: ErrorKind, message: &str, stderr: &str) -> AttemptEnd {
    let mut error = TaskError::new(kind, message);
    error.stderr = stderr.into();
    AttemptEnd::Failed(error.into())
}

/// A worker, the time, and what it said last.
pub struct Rig {
    pub worker: Worker,
    pub now: Instant,
    pub conn: Option<ConnId>,
    /// What it said that is for the log only.
    pub events: Vec<Event>,
    /// Processes whose end it told its manager; left out of what else it said.
    pub gone: Vec<SlotLife>,
    /// Counted messages that its manager got on this connection.
    heard: u64,
    /// Largest payload that its next manager takes.
    pub payload_max: u32,
    /// What the manager speaks.
    pub version: Version,
}

impl Rig {
    /// A worker whose pool is ready, without a manager.
    pub fn ready(config: WorkerConfig) -> Self {
        let capacity = config.capacity;
        let mut rig = Self::new(config);
        rig.step();
        for slot in 0..capacity {
            rig.feed(WorkerInput::Pool(PoolInput::Ready {
                slot: life(slot, 1),
                capabilities: Capabilities::anything(),
            }));
        }
        rig.step();
        rig
    }

    /// A worker whose pool is ready and whose manager let it in.
    pub fn up(config: WorkerConfig) -> Self {
        let mut rig = Self::ready(config);
        rig.connect();
        rig
    }

    pub fn new(config: WorkerConfig) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        Self {
            worker: Worker::new(config, Rng::from_seed(1), now),
            now,
            conn: None,
            events: Vec::new(),
            gone: Vec::new(),
            heard: 0,
            payload_max: u32::MAX,
            version: Version::FIRST,
        }
    }

    /// Opens a connection and lets the worker in; returns what it says then.
    pub fn connect(&mut self) -> Vec<WorkerOutput> {
        let conn = loop {
            let due = self.worker.poll_timeout().unwrap().at;
            self.now = self.now.max(due);
            self.worker.handle_timeout(self.now);
            let outputs = self.step();
            if let [WorkerOutput::Link(LinkOutput::Connect { conn, .. })] = outputs[..] {
                break conn;
            }
        };
        self.feed(WorkerInput::Link(LinkInput::Connected { conn }));
        self.conn = Some(conn);
        assert_eq!(self.step().len(), 1, "the hello");
        self.heard = 0;
        let welcome = Welcome {
            version: self.version,
            epoch: EPOCH,
            resumed: true,
            lease: LEASE.into(),
            payload_max: self.payload_max,
        };
        self.say(FromManager::Control(Control::Welcome(welcome)));
        let said = self.step();
        // The first heartbeat is answered at once: the round trip is nothing.
        self.worker.handle_timeout(self.now);
        self.answer_pings(Duration::ZERO);
        said
    }

    /// Answers a heartbeat that is waiting to be sent, `after` this long.
    pub fn answer_pings(&mut self, after: Duration) -> Vec<WorkerOutput> {
        let outputs = self.step();
        let pings: Vec<Beat> = outputs.iter().filter_map(ping).collect();
        self.now = self.now + after;
        for beat in pings {
            let received = self.heard;
            self.say(FromManager::Control(Control::Pong(Beat {
                received,
                ..beat
            })));
        }
        let mut rest: Vec<_> = outputs.into_iter().filter(|o| ping(o).is_none()).collect();
        rest.extend(self.step());
        rest
    }

    /// The connection is cut.
    pub fn cut(&mut self) {
        let conn = self.conn.take().unwrap();
        self.feed(WorkerInput::Link(LinkInput::Closed { conn }));
        assert_eq!(self.step(), vec![]);
    }

    pub fn feed(&mut self, input: WorkerInput) {
        self.worker.handle_input(self.now, input);
        self.worker.check_invariants();
    }

    pub fn say(&mut self, body: impl Into<Message<FromManager<ToWorker>>>) {
        let conn = self.conn.unwrap();
        let message = body.into();
        self.feed(WorkerInput::Link(LinkInput::Received { conn, message }));
    }

    pub fn assign(&mut self, assign: Assign) {
        let payload = payload(assign.attempt.number);
        let body = FromManager::Role(ToWorker::Assign(assign));
        self.say(Message {
            body,
            payload: payload.into(),
        });
    }

    pub fn assign_all(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.assign(assign(number));
        }
    }

    /// Many at once; the invariants are looked at afterwards.
    pub fn assign_many(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let conn = self.conn.unwrap();
            let message = Message {
                body: FromManager::Role(ToWorker::Assign(assign(number))),
                payload: payload(number).into(),
            };
            let input = WorkerInput::Link(LinkInput::Received { conn, message });
            self.worker.handle_input(self.now, input);
        }
        self.worker.check_invariants();
    }

    /// One of very many; nothing is looked at.
    pub fn assign_many_unchecked(&mut self, number: u64) {
        let conn = self.conn.unwrap();
        let message = Message {
            body: FromManager::Role(ToWorker::Assign(assign(number))),
            payload: payload(number).into(),
        };
        let input = WorkerInput::Link(LinkInput::Received { conn, message });
        self.worker.handle_input(self.now, input);
        self.worker.settle(self.now);
    }

    pub fn done(&mut self, slot: SlotLife, number: u64, ran: Duration) {
        self.ended(slot, number, ran, RunEnd::Completed);
    }

    pub fn ended(&mut self, slot: SlotLife, number: u64, ran: Duration, end: RunEnd) {
        self.feed(WorkerInput::Pool(PoolInput::Done {
            slot,
            attempt: attempt(number),
            ran,
            end,
            payload: payload(number + 1_000).into(),
        }));
    }

    pub fn exited(&mut self, slot: SlotLife, cause: ExitCause) {
        self.feed(WorkerInput::Pool(PoolInput::Exited {
            slot,
            cause,
            stderr: "last words".into(),
        }));
    }

    pub fn ready_again(&mut self, slot: SlotLife) -> Vec<WorkerOutput> {
        self.feed(WorkerInput::Pool(PoolInput::Ready {
            slot,
            capabilities: Capabilities::anything(),
        }));
        self.step()
    }

    /// One of many ends; the invariants are looked at later.
    pub fn worker_done(&mut self, number: u64) {
        let done = PoolInput::Done {
            slot: life(0, 1),
            attempt: attempt(number),
            ran: MS,
            end: RunEnd::Completed,
            payload: payload(number).into(),
        };
        self.worker.handle_input(self.now, WorkerInput::Pool(done));
        self.worker.settle(self.now);
    }

    /// Lets time pass with nobody who answers.
    pub fn pass_alone(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until {
            let due = self.worker.poll_timeout().map(|deadline| deadline.at);
            self.now = due.map_or(until, |due| due.max(self.now).min(until));
            self.worker.handle_timeout(self.now);
            self.step();
        }
    }

    /// Lets time pass in one go, wakes the worker, and leaves out heartbeats (they are answered).
    pub fn pass(&mut self, span: Duration) -> Vec<WorkerOutput> {
        let until = self.now + span;
        let mut said = Vec::new();
        loop {
            let due = self.worker.poll_timeout().map(|deadline| deadline.at);
            self.now = due.map_or(until, |due| due.max(self.now).min(until));
            self.worker.handle_timeout(self.now);
            said.extend(self.answer_pings(Duration::ZERO));
            let next = self.worker.poll_timeout().map(|deadline| deadline.at);
            assert!(next.is_none_or(|next| next > self.now), "a busy loop");
            if self.now == until {
                return said;
            }
        }
    }

    /// Ends the batch and takes what the worker says.
    pub fn step(&mut self) -> Vec<WorkerOutput> {
        self.worker.settle(self.now);
        self.worker.check_invariants();
        let mut said = Vec::new();
        while let Some(output) = self.worker.poll_output() {
            match output {
                WorkerOutput::Notify(event) => self.events.push(event),
                output => {
                    let is_send = matches!(output, WorkerOutput::Link(LinkOutput::Send { .. }));
                    self.heard += u64::from(is_send && ping(&output).is_none());
                    match gone(&output) {
                        Some(process) => self.gone.push(process),
                        None => said.extend(output.singles()),
                    }
                }
            }
        }
        self.worker.settle(self.now);
        assert_eq!(
            self.worker.poll_output(),
            None,
            "settling twice is settling"
        );
        said
    }

    pub fn sent(&self, message: impl Into<Message<ToManager>>) -> WorkerOutput {
        WorkerOutput::Link(LinkOutput::Send {
            conn: self.conn.unwrap(),
            message: message.into(),
        })
    }

    pub fn finished(&self, number: u64, ran: Duration, end: AttemptEnd) -> WorkerOutput {
        let payload = match end {
            AttemptEnd::Completed => payload(number + 1_000),
            _ => Bytes::new(),
        };
        let body = ToManager::Worker(FromWorker::Finished(Finished {
            attempt: attempt(number),
            task: task(number),
            ran: ran.into(),
            end,
        }));
        self.sent(Message {
            body,
            payload: payload.into(),
        })
    }

    pub fn completed(&self, number: u64, ran: Duration) -> WorkerOutput {
        self.finished(number, ran, AttemptEnd::Completed)
    }

    pub fn returned(&self, not_started: &[u64], started: &[u64]) -> WorkerOutput {
        let attempts = |numbers: &[u64]| numbers.iter().map(|&number| attempt(number)).collect();
        self.sent(ToManager::Worker(FromWorker::Returned {
            not_started: attempts(not_started),
            started: attempts(started),
        }))
    }

    pub fn grant(&self, window: u32) -> WorkerOutput {
        self.sent(ToManager::Worker(FromWorker::Grant { window }))
    }

    pub fn capabilities(&self) -> WorkerOutput {
        self.sent(ToManager::Worker(FromWorker::Capabilities(
            Capabilities::anything(),
        )))
    }

    pub fn report(&self, running: &[u64], finished: &[u64]) -> WorkerOutput {
        let all = |numbers: &[u64]| numbers.iter().map(|&number| reported(number)).collect();
        self.sent(ToManager::Worker(FromWorker::Report(Report {
            running: all(running),
            finished: all(finished),
            last: true,
        })))
    }
}

/// The heartbeat in an output, if it is one.
fn gone(output: &WorkerOutput) -> Option<SlotLife> {
    match output {
        WorkerOutput::Link(LinkOutput::Send { message, .. }) => match message.body {
            ToManager::Worker(FromWorker::Gone { slot, life }) => Some(SlotLife { slot, life }),
            _ => None,
        },
        _ => None,
    }
}

pub fn ping(output: &WorkerOutput) -> Option<Beat> {
    match output {
        WorkerOutput::Link(LinkOutput::Send { message, .. }) => match message.body {
            ToManager::Ping(beat) => Some(beat),
            _ => None,
        },
        _ => None,
    }
}

/// A worker that has learnt that tasks named "t" take `ran`.
pub fn knowing(capacity: u32, ran: Duration) -> Rig {
    let mut rig = Rig::up(config(capacity));
    for number in 1_000..1_004 {
        rig.assign_all([number]);
        rig.step();
        rig.done(life(0, 1), number, ran);
        let attempts = vec![attempt(number)];
        rig.say(FromManager::Role(ToWorker::AckResults { attempts }));
    }
    rig.step();
    rig
}

/// The numbers of the attempts given to slots in `said`.
pub fn given(said: &[WorkerOutput]) -> Vec<u64> {
    let run = |output: &WorkerOutput| match output {
        WorkerOutput::Pool(PoolOutput::Run { job, .. }) => Some(job.attempt.number),
        _ => None,
    };
    said.iter().filter_map(run).collect()
}

pub fn grants(said: &[WorkerOutput]) -> Vec<u32> {
    let grant = |output: &WorkerOutput| match output {
        WorkerOutput::Link(LinkOutput::Send { message, .. }) => match message.body {
            ToManager::Worker(FromWorker::Grant { window }) => Some(window),
            _ => None,
        },
        _ => None,
    };
    said.iter().filter_map(grant).collect()
}

pub fn is_closed(said: &[WorkerOutput]) -> bool {
    let close =
        |output: &WorkerOutput| matches!(output, WorkerOutput::Link(LinkOutput::Close { .. }));
    said.iter().any(close)
}
