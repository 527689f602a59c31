//! A manager on stage. Its peers are `c2`, `w1` or `o3` (client, worker, observer, and the number
//! of the peer); what opens a connection and says nothing is `x1`. Their first connection is
//! `c2.1`; without a number it is the newest.

use std::collections::BTreeMap;
use std::time::Duration;

use argon_core::access::{Access, KeyRole};
use argon_core::capabilities::Capabilities;
use argon_core::event::Event;
use argon_core::ids::{Attempt, ConnId, Epoch, PeerId, PoolProcess, SlotId, TaskId};
use argon_core::machine::Machine as _;
use argon_core::manager::{Manager, ManagerConfig, ManagerInput, ManagerOutput};
use argon_core::message::{
    AttemptEnd, Beat, Control, Finished, FromClient, FromWorker, Hello, MAGIC, Message, Query,
    Report, ReportedAttempt, Role, Submit, ToManager, ToPeer, ToWorker, Version,
};
use argon_core::name::Name;
use argon_core::task::Priority;
use argon_core::time::{Instant, Nanos};

use super::EPOCH;
use super::command::Command;
use super::text::{cause, error, short, span, time, without_fields};

/// How often peers that stay alive speak.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Bytes of the payload of a task, if nothing is said.
const PAYLOAD: usize = 1;
/// Bytes of a result, if nothing is said.
const RESULT: usize = 6;

/// The manager and who has connections to it.
pub(super) struct Stage {
    manager: Manager,
    now: Instant,
    /// The connections of each peer, the oldest first.
    connections: BTreeMap<String, Vec<ConnId>>,
    /// Of each connection: whose it is, and the counted messages that came on it.
    peers: BTreeMap<ConnId, (String, u64)>,
    /// The tasks of the attempts that were assigned.
    assigned: BTreeMap<Attempt, TaskId>,
}

impl super::Stage for Stage {
    const MACHINE: &str = "manager";

    fn new(command: &Command<'_>) -> Self {
        if command.verb != Self::MACHINE {
            command.unknown();
        }
        let mut config = ManagerConfig::new(EPOCH);
        configure(&mut config, command);
        config.validate().expect("a configuration that holds");
        let now = Instant::from_nanos(1_000_000_000);
        Self {
            manager: Manager::new(config, now),
            now,
            connections: BTreeMap::new(),
            peers: BTreeMap::new(),
            assigned: BTreeMap::new(),
        }
    }

    fn run(&mut self, command: &Command<'_>) -> Vec<String> {
        match (command.who, command.verb) {
            (None, "drain") => self.step(ManagerInput::Drain),
            (None, "wait") => {
                let alive = command.list("alive");
                self.wait(span(command.must()), &alive)
            }
            (None, "status") => self.status(),
            (None, "wakes") => {
                let next = self.manager.poll_timeout();
                let told = |next: argon_core::time::Deadline| {
                    let left = next.at.as_nanos() - self.now.as_nanos();
                    format!("in {} for {:?}", time(left), next.reason)
                };
                vec![next.map_or_else(|| "never".to_owned(), told)]
            }
            (Some(who), "connects") => self.connect(who, command),
            (Some(who), "hello") => self.hello(who, command),
            (Some(who), "joins") => {
                let mut said = self.hello(who, command);
                // Everybody is welcome who joins, and the log says so.
                assert!(said.len() >= 2, "{said:?}");
                assert!(
                    said[0].contains("Welcome") && said[1].contains("PeerJoined"),
                    "{said:?}"
                );
                said.drain(..2);
                if who.starts_with('w') {
                    said.extend(self.say(who, report(vec![], vec![])));
                    said.extend(self.say(who, capabilities(&["*"])));
                    let window = command
                        .number("window")
                        .unwrap_or_else(|| capacity(command));
                    said.extend(self.say(who, FromWorker::Grant { window }));
                }
                said
            }
            (Some(who), "closes") => {
                let conn = self.connection(who);
                self.step(ManagerInput::Closed { conn })
            }
            (Some(who), "progresses") => {
                let conn = self.connection(who);
                self.step(ManagerInput::Progress { conn })
            }
            (Some(who), "pauses") => {
                let conn = self.connection(who);
                self.step(ManagerInput::Paused { conn })
            }
            (Some(who), "submits") => self.submit(who, command),
            (Some(who), _) => {
                let message = self.message(command);
                self.say(who, message)
            }
            _ => command.unknown(),
        }
    }
}

impl Stage {
    /// What it counts, but for what is none; a line for each worker and each client.
    fn status(&self) -> Vec<String> {
        let mut status = self.manager.status(self.now, 0);
        let manager = &mut status.manager;
        // As it was configured.
        (manager.queue_size, manager.queue_bytes) = (0, 0);
        let by_priority = short(&manager.queued_by_priority);
        let manager = match manager.queued {
            0 => short(manager).replace(&by_priority, "0"),
            _ => short(manager),
        };
        let workers = status.workers.iter().map(short);
        let clients = status.clients.iter().map(short);
        let lines = [manager].into_iter().chain(workers).chain(clients);
        lines.map(|line| without_fields(&line, "0")).collect()
    }

    fn connection(&self, who: &str) -> ConnId {
        let (peer, number) = who.split_once('.').unwrap_or((who, ""));
        let all = self
            .connections
            .get(peer)
            .unwrap_or_else(|| panic!("{who} has not connected"));
        match number.parse::<usize>() {
            Ok(number) => all[number - 1],
            Err(_) => *all.last().expect("never empty"),
        }
    }

    /// How a connection is written.
    fn label(&self, conn: ConnId) -> String {
        let (peer, _) = &self.peers[&conn];
        let all = &self.connections[peer];
        match all.iter().position(|other| *other == conn) {
            Some(place) if place + 1 < all.len() => format!("{peer}.{}", place + 1),
            _ => peer.clone(),
        }
    }

    fn connect(&mut self, who: &str, command: &Command<'_>) -> Vec<String> {
        let conn = ConnId(self.peers.len() as u64);
        self.connections
            .entry(who.to_owned())
            .or_default()
            .push(conn);
        self.peers.insert(conn, (who.to_owned(), 0));
        let access = access(command);
        self.step(ManagerInput::Accepted {
            conn,
            from: None,
            access,
        })
    }

    fn hello(&mut self, who: &str, command: &Command<'_>) -> Vec<String> {
        let known = self.connections.get(who).map_or(0, Vec::len) as u64;
        let fresh = !command.says("here");
        let mut said = if fresh {
            self.connect(who, command)
        } else {
            vec![]
        };
        let peer: u64 = command
            .number("peer")
            .unwrap_or_else(|| command.read(&who[1..]));
        let (role, kind) = match &who[..1] {
            "w" => (
                Role::Worker {
                    capacity: capacity(command),
                },
                "worker",
            ),
            "o" => (Role::Observer, "observer"),
            _ => (Role::Client, "client"),
        };
        let name = command
            .option("name")
            .map_or_else(|| format!("{kind}-{peer}"), str::to_owned);
        said.extend(self.say(
            who,
            ToManager::Hello(Hello {
                magic: MAGIC,
                version: Version::FIRST,
                role,
                peer: PeerId(peer),
                connection: command.number("connection").unwrap_or(known + 1),
                session: command.number("session").map(Epoch),
                name: Name::new(&name).expect("a name"),
            }),
        ));
        said
    }

    fn submit(&mut self, who: &str, command: &Command<'_>) -> Vec<String> {
        let never = |key| command.span(key).map_or(Nanos::NONE, Nanos::from);
        let submit = Submit {
            seq: 0,
            priority: command
                .number("priority")
                .map_or(Priority::NORMAL, |level| {
                    Priority::new(level).expect("a priority")
                }),
            max_attempts: command.number("attempts").unwrap_or(3),
            at_most_once: command.says("at_most_once"),
            may_have_run: command.says("may_have_run"),
            deadline: never("deadline"),
            max_wait: never("max_wait"),
            time_limit: never("time_limit"),
            name: Name::new(command.option("name").unwrap_or("work")).expect("a name"),
        };
        let bytes = command.number("bytes").unwrap_or(PAYLOAD);
        let mut said = Vec::new();
        for seq in command.numbers(command.must()) {
            let body = FromClient::Submit(Submit {
                seq,
                ..submit.clone()
            })
            .into();
            said.extend(self.say(
                who,
                Message {
                    body,
                    payload: vec![b'x'; bytes].into(),
                },
            ));
        }
        said
    }

    /// The message that a command stands for.
    fn message(&self, command: &Command<'_>) -> Message<ToManager> {
        let body: ToManager = match command.verb {
            "cancels" => FromClient::Cancel {
                seq: command.read(command.must()),
            }
            .into(),
            "resumes" => FromClient::Resume { seqs: all(command) }.into(),
            "acks" => FromClient::AckOutcomes {
                floor: command.number("floor").expect("a floor"),
                seqs: all(command),
            }
            .into(),
            "within" => FromClient::Within(process(command)).into(),
            "reports" => {
                let last = !command.says("more");
                let running = self.reported(command, "running");
                let finished = self.reported(command, "finished");
                FromWorker::Report(Report {
                    running,
                    finished,
                    last,
                })
                .into()
            }
            "grants" => FromWorker::Grant {
                window: command.read(command.must()),
            }
            .into(),
            "runs" => capabilities(
                &command
                    .next()
                    .map_or_else(Vec::new, |list| list.split(',').collect()),
            ),
            "returns" => FromWorker::Returned {
                not_started: attempts(command, "not_started"),
                started: attempts(command, "started"),
            }
            .into(),
            "drains" => FromWorker::Draining.into(),
            "lost" => {
                let PoolProcess { slot, life, .. } = process(command);
                FromWorker::Gone { slot, life }.into()
            }
            "pings" => ToManager::Ping(Beat {
                nonce: 0,
                received: command.number("received").unwrap_or_else(|| {
                    self.peers[&self.connection(command.who.expect("somebody"))].1
                }),
            }),
            "leaves" => ToManager::Goodbye,
            "misdirects" => ToManager::Misdirected,
            "asks" => {
                let page = command.number("page").unwrap_or(0);
                match command.must() {
                    "status" => Query::StatusQuery { page }.into(),
                    "running" => Query::RunningQuery { page }.into(),
                    _ => command.unknown(),
                }
            }
            "completed" | "failed" | "crashed" | "killed" | "expired" => {
                return self.finished(command);
            }
            _ => command.unknown(),
        };
        body.into()
    }

    fn finished(&self, command: &Command<'_>) -> Message<ToManager> {
        let attempt = attempt(command, command.must());
        let (end, bytes) = match command.verb {
            "completed" => (AttemptEnd::Completed, RESULT),
            "failed" => (AttemptEnd::Failed(error(command).into()), 0),
            "crashed" => (AttemptEnd::Crashed(cause(command), "last words".into()), 0),
            "killed" => (AttemptEnd::Killed, 0),
            _ => (AttemptEnd::Expired, 0),
        };
        let body = FromWorker::Finished(Finished {
            attempt,
            task: self.task(command, attempt),
            ran: command
                .span("ran")
                .unwrap_or(Duration::from_millis(10))
                .into(),
            end,
        });
        let bytes = command.number("bytes").unwrap_or(bytes);
        Message {
            body: body.into(),
            payload: vec![b'r'; bytes].into(),
        }
    }

    /// The task of an attempt: as it was assigned, or as the command says.
    fn task(&self, command: &Command<'_>, attempt: Attempt) -> TaskId {
        match command.option("of") {
            Some(text) => task(command, text),
            None => match self.assigned.get(&attempt) {
                Some(task) => *task,
                None => command.wrong("it was not assigned; of which task is it? (of=CLIENT/SEQ)"),
            },
        }
    }

    /// Attempts as `1` or, of a task that was not assigned, `1:2/0`.
    fn reported(&self, command: &Command<'_>, key: &str) -> Vec<ReportedAttempt> {
        let one = |text: &str| {
            let (number, of) = text
                .split_once(':')
                .map_or((text, None), |(n, of)| (n, Some(of)));
            let attempt = attempt(command, number);
            let task = of.map_or_else(|| self.task(command, attempt), |of| task(command, of));
            ReportedAttempt { attempt, task }
        };
        command.list(key).into_iter().map(one).collect()
    }

    fn say(&mut self, who: &str, message: impl Into<Message<ToManager>>) -> Vec<String> {
        let (conn, message) = (self.connection(who), message.into());
        self.step(ManagerInput::Received { conn, message })
    }

    fn step(&mut self, input: ManagerInput) -> Vec<String> {
        self.manager.handle_input(self.now, input);
        self.settle()
    }

    fn settle(&mut self) -> Vec<String> {
        self.manager.settle(self.now);
        self.manager.check_invariants();
        let mut said = Vec::new();
        while let Some(output) = self.manager.poll_output() {
            said.extend(self.told(output));
        }
        said
    }

    /// An output in a line; answers to heartbeats are left out.
    fn told(&mut self, output: ManagerOutput) -> Option<String> {
        let (conn, message) = match output {
            ManagerOutput::Send { conn, message } => (conn, message),
            ManagerOutput::Close { conn, reason } => {
                return Some(format!(
                    "{} is closed: {}",
                    self.label(conn),
                    short(&reason)
                ));
            }
            ManagerOutput::Drained => return Some("drained".to_owned()),
            ManagerOutput::Notify(event) => return self.event(&event),
        };
        let text = match &message.body {
            ToPeer::Control(Control::Pong(_)) => return None,
            ToPeer::Control(body) => short(body),
            ToPeer::Client(body) => short(body),
            ToPeer::Worker(body) => short(body),
            ToPeer::Observer(body) => short(body),
        };
        if !matches!(message.body, ToPeer::Control(_)) {
            self.peers.get_mut(&conn)?.1 += 1;
        }
        if let ToPeer::Worker(ToWorker::Assign(assign)) = &message.body {
            self.assigned.insert(assign.attempt, assign.task);
        }
        let payload = match message.payload.len() {
            0 => String::new(),
            bytes => format!(" + {bytes} bytes"),
        };
        Some(format!("{} <- {text}{payload}", self.label(conn)))
    }

    /// What the log says, but for what the connections show.
    fn event(&self, event: &Event) -> Option<String> {
        Some(format!("log: {}", short(event)))
    }

    /// Lets time pass, waking the manager when it asks for it, with heartbeats of some.
    fn wait(&mut self, wait: Duration, alive: &[&str]) -> Vec<String> {
        let mut said = Vec::new();
        let mut left = wait;
        while !left.is_zero() {
            let pause = if alive.is_empty() {
                left
            } else {
                left.min(HEARTBEAT)
            };
            left -= pause;
            said.extend(self.pass(pause));
            for who in alive {
                let (_, received) = self.peers[&self.connection(who)];
                said.extend(self.say(who, ToManager::Ping(Beat { nonce: 0, received })));
            }
        }
        said
    }

    fn pass(&mut self, wait: Duration) -> Vec<String> {
        let (start, end) = (self.now, self.now + wait);
        let mut said = Vec::new();
        while let Some(deadline) = self.manager.poll_timeout().filter(|next| next.at <= end) {
            self.now = deadline.at.max(self.now);
            self.manager.handle_timeout(self.now);
            let answers = self.settle();
            let after = time(self.now.as_nanos() - start.as_nanos());
            said.extend(
                answers
                    .into_iter()
                    .map(|answer| format!("after {after}: {answer}")),
            );
            let next = self.manager.poll_timeout();
            assert!(
                next.is_none_or(|next| next.at > self.now),
                "a busy loop: {next:?}"
            );
        }
        self.now = end;
        said
    }
}

fn configure(config: &mut ManagerConfig, command: &Command<'_>) {
    macro_rules! set {
        ($($field:ident).+) => { set!($($field).+ = number) };
        ($($field:ident).+ = $read:ident) => {
            if let Some(value) = command.$read(stringify!($($field).+)) {
                config.$($field).+ = value;
            }
        };
    }
    set!(queue_tasks);
    set!(queue_bytes);
    set!(in_flight_tasks);
    set!(in_flight_bytes);
    set!(client_tasks);
    set!(client_result_bytes);
    set!(unread_bytes);
    set!(memory);
    set!(payload_max);
    set!(reconnect_grace = span);
    set!(lease = span);
    set!(restart_grace = span);
    set!(resume_timeout = span);
    set!(runner_wait = span);
    set!(inner.ids);
    set!(inner.outcome_window);
    set!(inner.worker_window);
    set!(inner.unreleased_bytes);
    set!(inner.orphans);
    set!(inner.result_ack = span);
}

fn capacity(command: &Command<'_>) -> u32 {
    command.number("slots").unwrap_or(1)
}

fn report(running: Vec<ReportedAttempt>, finished: Vec<ReportedAttempt>) -> FromWorker {
    FromWorker::Report(Report {
        running,
        finished,
        last: true,
    })
}

fn capabilities(patterns: &[&str]) -> ToManager {
    let names = patterns.iter().map(|text| Name::new(text).expect("a name"));
    FromWorker::Capabilities(Capabilities::new(names).expect("few names")).into()
}

/// All numbers of a command; none is no error.
fn all(command: &Command<'_>) -> Vec<u64> {
    command
        .next()
        .map_or_else(Vec::new, |text| command.numbers(text))
}

/// `1`, or `1@6` of another life of the manager.
fn attempt(command: &Command<'_>, text: &str) -> Attempt {
    let (number, epoch) = match text.split_once('@') {
        Some((number, epoch)) => (number, Epoch(command.read(epoch))),
        None => (text, EPOCH),
    };
    Attempt {
        epoch,
        number: command.read(number),
    }
}

fn attempts(command: &Command<'_>, key: &str) -> Vec<Attempt> {
    command
        .list(key)
        .into_iter()
        .map(|text| attempt(command, text))
        .collect()
}

/// `2/0`: of client 2 the task 0.
fn task(command: &Command<'_>, text: &str) -> TaskId {
    let (client, seq) = text
        .split_once('/')
        .unwrap_or_else(|| panic!("{text} is no CLIENT/SEQ"));
    TaskId {
        client: PeerId(command.read(client)),
        seq: command.read(seq),
    }
}

/// `slot.life` of the worker that is named before it, or of worker 0.
fn process(command: &Command<'_>) -> PoolProcess {
    let parts: Vec<&str> = command.must().split('.').collect();
    match parts[..] {
        [worker, slot, life] => PoolProcess {
            worker: PeerId(command.read(worker)),
            slot: SlotId(command.read(slot)),
            life: command.read(life),
        },
        [slot, life] => PoolProcess {
            worker: PeerId(0),
            slot: SlotId(command.read(slot)),
            life: command.read(life),
        },
        _ => command.unknown(),
    }
}

/// What the key of whoever connects allows: `roles=submit,work holder=alice`.
fn access(command: &Command<'_>) -> Access {
    let role = |text: &str| {
        let named = KeyRole::ALL.into_iter().find(|role| role.name() == text);
        named.expect("a role")
    };
    let holder = command
        .option("holder")
        .map(|text| Name::new(text).expect("a name"));
    match command.option("roles") {
        None => Access::new(KeyRole::ALL, holder),
        Some(roles) => Access::new(roles.split(',').map(role), holder),
    }
}
