//! What the hosts of a run share with the loop that steps them: who lives, what has happened,
//! which connections there are.
//!
//! Everything runs on one thread; the lock is there because drivers must be able to move between
//! threads. It is never held while a waker is woken or a stream is dropped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use argon::Keys;
use tokio::sync::mpsc::UnboundedSender;
use turmoil::net::TcpStream;

use super::executor::PoolCell;
use super::host::called;
use super::keys;
use super::links::Links;
use crate::history::{History, Life};
use crate::options::{Host, Options};
use crate::plan::Plan;
use crate::report::{Failure, Report};
use crate::trace::{Line, Trace, fnv};

/// What the loop asks of a process.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Drain,
    Stop,
    /// To the stranger: say all sorts of things to this manager.
    Pester {
        fault: usize,
        manager: Host,
        span: u64,
    },
    /// To the stranger: ask this manager how things are.
    Ask {
        manager: Host,
    },
}

/// Whether the tasks of a process get their turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Running,
    /// It stands still, for so many reasons.
    Paused(u32),
    Dead,
}

/// One life of a process.
pub(super) struct Process {
    pub life: usize,
    /// Which life of its host it is.
    pub count: u64,
    pub mode: Mode,
    /// Of its tasks, by their numbers, in which order they are woken.
    pub wakers: BTreeMap<u64, Waker>,
    pub next_task: u64,
    pub next_conn: u64,
    pub commands: Option<UnboundedSender<Command>>,
    pub pool: Option<Arc<PoolCell>>,
}

/// A place in the cluster.
#[derive(Default)]
pub(super) struct HostState {
    /// The last one that was started.
    pub process: Option<Process>,
    pub lives: u64,
    /// It stays dead.
    pub gone: bool,
    /// Tasks that its application waits for.
    pub open: usize,
}

impl HostState {
    pub(super) fn is_alive(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.mode != Mode::Dead)
    }
}

/// How the network ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abort {
    /// The other side learns of it too.
    Reset,
    /// The other side never hears from us again.
    Silent,
}

/// One end of a connection.
pub(super) struct End {
    pub host: Host,
    pub peer: Host,
    pub abort: Option<Abort>,
    pub wakers: [Option<Waker>; 2],
}

/// The part behind the lock.
pub(super) struct Inner {
    pub hosts: Vec<HostState>,
    pub links: Links,
    pub ends: BTreeMap<u64, End>,
    next_end: u64,
    /// Streams whose other side must not learn that they are gone.
    pub graveyard: Vec<TcpStream>,
    pub history: History,
    pub report: Report,
    pub trace: Trace,
    pub failure: Option<Failure>,
    /// Processes that ended by themselves: host, life, and why.
    pub ended: Vec<(Host, usize, Why)>,
    pub status: Option<Result<argon::StatusReport, String>>,
    /// Hash of every byte that was written, with who wrote it and when.
    pub wire_hash: u64,
    pub wire_bytes: u64,
    /// The attempt of each `Assigned` in the history's wire, by its place there.
    pub assigned: Vec<(usize, (u64, u64))>,
}

/// Why a process ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Left,
    Poisoned,
}

/// See the module.
pub(super) struct Scene {
    pub plan: Plan,
    /// Whether frames are taken apart as they pass: for the trace, or to judge order.
    pub tracing: bool,
    pub judging_order: bool,
    /// The cluster's key, where connections are TLS.
    pub keys: Option<Keys>,
    /// Virtual time for those who are no host.
    clock: AtomicU64,
    inner: Mutex<Inner>,
}

impl Scene {
    pub(super) fn new(plan: &Plan, trace: Trace) -> Arc<Self> {
        let hosts = usize::from(plan.options.hosts()) + 1;
        Arc::new(Self {
            plan: plan.clone(),
            tracing: trace.is_on(),
            judging_order: plan.is_calm(),
            keys: keys::of(plan),
            clock: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                hosts: (0..hosts).map(|_| HostState::default()).collect(),
                links: Links::default(),
                ends: BTreeMap::new(),
                next_end: 0,
                graveyard: Vec::new(),
                history: History::default(),
                report: Report::default(),
                trace,
                failure: None,
                ended: Vec::new(),
                status: None,
                wire_hash: 0xcbf2_9ce4_8422_2325,
                wire_bytes: 0,
                assigned: Vec::new(),
            }),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn options(&self) -> &Options {
        &self.plan.options
    }

    /// The host that belongs to nobody.
    pub(super) fn stranger(&self) -> Host {
        self.plan.options.hosts()
    }

    pub(super) fn set_clock(&self, now: u64) {
        self.clock.store(now, Ordering::Relaxed);
    }

    /// Virtual nanoseconds since the start of the run.
    pub(super) fn now(&self) -> u64 {
        match turmoil::sim_elapsed() {
            Some(elapsed) => elapsed.as_nanos() as u64,
            None => self.clock.load(Ordering::Relaxed),
        }
    }

    pub(super) fn fail(&self, failure: Failure) {
        self.lock().failure.get_or_insert(failure);
    }

    pub(super) fn mark(&self, mark: &'static str) {
        *self.lock().report.marks.entry(mark).or_default() += 1;
    }

    /// Starts the next life of a host, as far as the books go.
    pub(super) fn begin_life(&self, host: Host, id: u64) {
        let now = self.now();
        let options = self.options();
        let mut inner = self.lock();
        let life = inner.history.lives.len();
        let state = &mut inner.hosts[usize::from(host)];
        let count = state.lives;
        let (capacity, runs) = if options.worker_hosts().contains(&host) {
            let capacity = options.workers[usize::from(host - options.managers)];
            (capacity, options.runs(host, count))
        } else {
            (0, 0)
        };
        state.lives += 1;
        state.open = 0;
        state.process = Some(Process::new(life, count));
        inner.history.lives.push(Life {
            host,
            id,
            start: now,
            end: None,
            capacity,
            runs,
        });
        drop(inner);
        self.say(host, None, || format!("starts, id {id:016x}"));
    }

    /// The stranger has no life of its own in the books.
    pub(super) fn begin_stranger(&self) {
        let stranger = usize::from(self.stranger());
        self.lock().hosts[stranger].process = Some(Process::new(usize::MAX, 0));
    }

    /// Ends a process: its tasks are dropped, each when it is polled next, before anything else is
    /// done by them. Its pool is to be ended by the caller.
    pub(super) fn end_life(&self, host: Host, life: usize, why: &str) {
        let now = self.now();
        let mut inner = self.lock();
        let state = &mut inner.hosts[usize::from(host)];
        let Some(process) = &mut state.process else {
            return;
        };
        if process.life != life || process.mode == Mode::Dead {
            return;
        }
        process.mode = Mode::Dead;
        process.commands = None;
        state.open = 0;
        let wakers = std::mem::take(&mut process.wakers);
        inner.history.lives[life].end = Some(now);
        drop(inner);
        self.say(host, None, || format!("ends: {why}"));
        wakers.into_values().for_each(Waker::wake);
    }

    /// A process has ended by itself.
    pub(super) fn ended(&self, host: Host, life: usize, why: Why) {
        self.lock().ended.push((host, life, why));
        let text = match why {
            Why::Left => "it has left",
            Why::Poisoned => "a task killed it",
        };
        self.end_life(host, life, text);
    }

    /// Stops or goes on giving turns to a process.
    pub(super) fn pause(&self, host: Host, life: usize, begins: bool) {
        let mut inner = self.lock();
        let Some(process) = &mut inner.hosts[usize::from(host)].process else {
            return;
        };
        if process.life != life {
            return;
        }
        process.mode = match (process.mode, begins) {
            (Mode::Dead, _) => Mode::Dead,
            (Mode::Running, true) => Mode::Paused(1),
            (Mode::Paused(reasons), true) => Mode::Paused(reasons + 1),
            (Mode::Paused(reasons), false) if reasons > 1 => Mode::Paused(reasons - 1),
            (Mode::Paused(_) | Mode::Running, false) => Mode::Running,
        };
        let wakers: Vec<Waker> = process.wakers.values().cloned().collect();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A new end of a connection; its number.
    pub(super) fn open_end(&self, host: Host, peer: Host) -> u64 {
        let mut inner = self.lock();
        let number = inner.next_end;
        inner.next_end += 1;
        let end = End {
            host,
            peer,
            abort: None,
            wakers: [None, None],
        };
        inner.ends.insert(number, end);
        number
    }

    /// Breaks connections: those whose end here is at `host` and leads to `peer`.
    pub(super) fn abort(&self, host: Host, peer: Host, abort: Abort) {
        let mut inner = self.lock();
        let mut wakers = Vec::new();
        for end in inner.ends.values_mut() {
            if end.host == host && end.peer == peer {
                end.abort.get_or_insert(abort);
                wakers.extend(end.wakers.iter_mut().filter_map(Option::take));
            }
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Bytes that somebody wrote.
    pub(super) fn wrote(&self, host: Host, end: u64, bytes: &[u8]) {
        let now = self.now();
        let mut inner = self.lock();
        let length = bytes.len() as u64;
        inner.wire_bytes += length;
        // Over TLS only how much it is repeats.
        let length = length.to_le_bytes();
        let bytes = if self.keys.is_some() { &length } else { bytes };
        let head = [now, u64::from(host), end];
        let head = head.iter().flat_map(|number| number.to_le_bytes());
        inner.wire_hash = fnv(inner.wire_hash, head.chain(bytes.iter().copied()));
    }

    /// A line of the trace.
    pub(super) fn say(&self, host: Host, task: Option<usize>, text: impl FnOnce() -> String) {
        if self.tracing {
            let at = self.now();
            let text = text();
            let mut inner = self.lock();
            let lives = inner.hosts[usize::from(host)].lives;
            let who = match lives {
                0 | 1 => called(self.options(), host),
                lives => format!("{}.{lives}", called(self.options(), host)),
            };
            inner.trace.push(Line {
                at,
                who,
                text,
                task,
            });
        }
    }

    pub(super) fn say_fault(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            let (at, who) = (self.now(), "fault".to_owned());
            let line = Line {
                at,
                who,
                text: text(),
                task: None,
            };
            self.lock().trace.push(line);
        }
    }
}

impl Process {
    fn new(life: usize, count: u64) -> Self {
        Self {
            life,
            count,
            mode: Mode::Running,
            wakers: BTreeMap::new(),
            next_task: 0,
            next_conn: 0,
            commands: None,
            pool: None,
        }
    }
}

impl Inner {
    /// The process that lives at a host, whatever its mode.
    pub(super) fn process(&mut self, host: Host, life: usize) -> Option<&mut Process> {
        let process = self.hosts[usize::from(host)].process.as_mut()?;
        (process.life == life).then_some(process)
    }

    /// The task of the plan that a client's number stands for.
    pub(super) fn task_by_number(&self, client: u64, seq: u64) -> Option<usize> {
        let history = &self.history;
        let known = |submit: &&crate::history::Submit| {
            submit.seq == seq && history.lives[submit.life].id == client
        };
        history
            .submits
            .iter()
            .rev()
            .find(known)
            .map(|submit| submit.task)
    }
}

/// The host that is called so.
pub(super) fn host_called(name: &str) -> Option<Host> {
    name.get(1..)?.parse().ok()
}
