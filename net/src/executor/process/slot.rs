//! One pool process: its guard, its pipes, and the pool protocol with it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;

use argon_core::ids::{Attempt, PeerId, PoolProcess, TaskId};
use argon_core::limits::KILL_GRACE;
use argon_core::name::Name;
use argon_core::task::ExitCause;
use argon_core::worker::{Job, JobEnd, PoolInput, SlotLife};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, read};
use std::os::unix::process::ExitStatusExt;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Sleep, sleep};
use tracing::warn;

use super::ProcessOptions;
use super::inbox::{Answer, Inbox};
use super::orphans::Sweep;
use super::printed::{Line, Printed};
use crate::guard;
use crate::pool_frames::PoolOutgoing;
use crate::proc::Table;
use crate::text::{Tail, cut_start};
use crate::who::PROCESS;

/// The largest payload, told to runtimes so that they can refuse what is too large themselves.
const PAYLOAD_MAX: &str = "ARGON_PAYLOAD_MAX";
/// Told to runtimes that may run code which clients ship; never inherited.
const ALLOW_EVAL: &str = "ARGON_ALLOW_EVAL";
/// How long a program may take to be ready before that is said; the log is looked at by people who
/// have just started a worker and wonder why it runs nothing.
const SLOW_START: Duration = Duration::from_secs(5);
/// Reads of one pipe between two looks at everything else.
const READS_PER_POLL: usize = 4;
/// Most ends that there is room for when the first of those that have come is taken.
const ENDS_FIRST: usize = 256;
/// Most bytes of standard error read before answers are taken: what a pipe holds.
const STDERR_LOOK_MAX: usize = 64 * 1024;
/// Most bytes read from the pipes of a dead process; more than a pipe holds.
const LAST_WORDS_MAX: usize = 4 * 1024 * 1024;
/// Between two looks for orphans that are being killed.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);
/// Looks for orphans until those that cannot be killed are left alone.
const SWEEPS_MAX: u32 = 1_000;

/// What all slots of an executor use.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: ProcessOptions,
    /// Whose processes these are; drawn at random until that is known, so that no two executors mark
    /// theirs alike.
    pub(super) worker: PeerId,
    scratch: Box<[u8]>,
    /// All processes, if any slot has asked in this round of polls.
    table: Option<Table>,
    printed: Printed,
    /// That programs take long to be ready was said.
    said_slow: bool,
}

impl Shared {
    pub(super) fn new(options: ProcessOptions, worker: PeerId) -> Self {
        Self {
            printed: Printed::new(options.task_output),
            options,
            worker,
            scratch: vec![0; 64 * 1024].into(),
            table: None,
            said_slow: false,
        }
    }

    /// Says that a program takes long to be ready: once for all slots, which run the same one.
    fn say_slow(&mut self) {
        if std::mem::replace(&mut self.said_slow, true) || self.options.ready_timeout <= SLOW_START
        {
            return;
        }
        warn!(
            program = %self.options.program.display(), waited = ?SLOW_START,
            longest = ?self.options.ready_timeout,
            "a pool process has not said that it is ready: its program must speak the pool protocol \
             on standard input and output; until then nothing is run there"
        );
    }

    /// To be called after each round of polls.
    pub(super) fn end_round(&mut self) {
        self.table = None;
    }
}

/// Why a slot set its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// The program takes long to be ready.
    Slow,
    /// The program should have been ready.
    Ready,
    /// It has closed a pipe and should have ended.
    Closed,
    /// The guard was told to kill and should have ended.
    Killed,
    /// Orphans are being killed.
    Sweep,
}

/// An attempt that was given to a process.
#[derive(Debug)]
struct Running {
    /// The number that the program knows.
    id: u64,
    attempt: Attempt,
    task: TaskId,
    name: Name,
}

impl Running {
    fn printer(&self) -> (&Name, TaskId) {
        (&self.name, self.task)
    }
}

/// A pool process, from its start until its `Exited` is said.
#[derive(Debug)]
pub(super) struct Slot {
    life: SlotLife,
    guard: Pid,
    child: Child,
    mark: String,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    inbox: Inbox,
    outbox: PoolOutgoing,
    /// Given and unanswered, oldest first.
    running: VecDeque<Running>,
    next: u64,
    tail: Tail,
    line: Line,
    /// Where in `tail` the oldest unanswered attempt begins: where it was when its forerunner's
    /// answer was taken.
    begun: u64,
    /// Where `tail` was when the answers that were taken last had not been read. What came between
    /// is the forerunner's more likely than not.
    looked: u64,
    /// What it did wrong, if it did.
    fault: Option<String>,
    alarm: Option<(Alarm, Pin<Box<Sleep>>)>,
    /// It was asked to end; how long that may take is core's affair.
    asked: bool,
    /// It is given nothing more: its input ends with what waits to be written.
    retiring: bool,
    killed: bool,
    /// How the guard ended, once it has.
    status: Option<ExitStatus>,
    sweep: Sweep,
    sweeps: u32,
    memory_limit: Option<u64>,
    /// Whether it held more than the limit when it was last measured.
    too_large: bool,
    /// Whether that was so when it was killed.
    killed_too_large: bool,
}

impl Slot {
    /// Starts the guard, which starts the program.
    pub(super) fn start(life: SlotLife, shared: &Shared) -> io::Result<Self> {
        let options = &shared.options;
        let worker = std::process::id();
        let process = PoolProcess {
            worker: shared.worker,
            slot: life.slot,
            life: life.life,
        };
        let mark = process.to_string();
        let mut command = Command::new(&options.launcher.program);
        command.env_remove(ALLOW_EVAL);
        if options.allow_eval {
            command.env(ALLOW_EVAL, "1");
        }
        let mut child = command
            .args(&options.launcher.args)
            .arg(guard::WATCH)
            .arg(worker.to_string())
            .arg(&options.program)
            .args(&options.args)
            .env(PROCESS, &mark)
            .env(PAYLOAD_MAX, options.payload_max.to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let guard = child
            .id()
            .expect("a child that was not waited for has an id")
            .cast_signed();
        let alarm = Box::pin(sleep(options.ready_timeout.min(SLOW_START)));
        Ok(Self {
            life,
            guard: Pid::from_raw(guard),
            mark,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            inbox: Inbox::new(options.payload_max),
            outbox: PoolOutgoing::default(),
            running: VecDeque::new(),
            next: 0,
            tail: Tail::default(),
            line: Line::default(),
            begun: 0,
            looked: 0,
            fault: None,
            alarm: Some((Alarm::Slow, alarm)),
            asked: false,
            retiring: false,
            killed: false,
            status: None,
            sweep: Sweep::default(),
            sweeps: 0,
            memory_limit: options.memory_limit,
            too_large: false,
            killed_too_large: false,
        })
    }

    pub(super) fn life(&self) -> SlotLife {
        self.life
    }

    /// The slot and its guard, while that is alive.
    pub(super) fn guard(&self) -> Option<(SlotLife, Pid)> {
        self.status.is_none().then_some((self.life, self.guard))
    }

    pub(super) fn measured(&mut self, bytes: u64) {
        self.too_large = self.memory_limit.is_some_and(|limit| bytes > limit);
    }

    pub(super) fn run(&mut self, job: Job) {
        if self.stdin.is_none() {
            // It is ending; its `Exited` will answer.
            return;
        }
        if self.running.is_empty() {
            self.begun = self.tail.mark();
            self.looked = self.begun;
        }
        let id = self.next;
        self.next += 1;
        let pushed = self
            .outbox
            .push_run(self.inbox.has_runs(), id, &job.name, job.payload);
        match pushed {
            Ok(()) => self.running.push_back(Running {
                id,
                attempt: job.attempt,
                task: job.task,
                name: job.name,
            }),
            Err(error) => self.fail(format!("it was given {error}")),
        }
    }

    pub(super) fn terminate(&mut self) {
        self.asked = true;
        // It is given nothing more. One that answers what it has before it leaves, and has just
        // done so, may be waiting for more.
        self.retiring = true;
        if matches!(self.alarm, Some((Alarm::Closed, _))) {
            self.alarm = None;
        }
        self.signal(Signal::SIGTERM);
    }

    pub(super) fn kill(&mut self) {
        if self.killed || self.status.is_some() {
            return;
        }
        self.killed = true;
        self.killed_too_large = self.too_large;
        self.signal(guard::KILL_SIGNAL);
        // A guard that somebody has stopped must be able to obey.
        self.signal(Signal::SIGCONT);
        self.alarm = None;
    }

    pub(super) fn retire(&mut self) {
        self.asked = true;
        self.retiring = true;
    }

    fn signal(&self, signal: Signal) {
        // Not waited for, so the number cannot belong to another process yet.
        if self.status.is_none() {
            let _ = kill(self.guard, signal);
        }
    }

    /// It broke the protocol: nothing more is read, and it is killed.
    fn fail(&mut self, fault: String) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.stdin = None;
            self.outbox.clear();
            self.kill();
        }
    }

    fn set_alarm(&mut self, cx: &mut Context<'_>, alarm: Alarm, after: Duration) {
        let mut timer = Box::pin(sleep(after));
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.alarm = Some((alarm, timer));
    }

    /// Carries on; ready when the process is gone and `Exited` is among the events.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        events: &mut Vec<PoolInput>,
    ) -> Poll<()> {
        if let Some(status) = self.status {
            return self.finish(cx, status, shared, events);
        }
        if let Poll::Ready(status) = pin!(self.child.wait()).poll(cx) {
            self.alarm = None;
            self.status = Some(status.unwrap_or_default());
            // In the next round, with all others that have ended: one look at the processes of
            // the host, after all these ends, is enough for all.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.read_stderr(cx, shared);
        self.read_stdout(cx, shared, events);
        self.write(cx);
        self.check_alarm(cx, shared);
        Poll::Pending
    }

    fn read_stderr(&mut self, cx: &mut Context<'_>, shared: &mut Shared) {
        for _ in 0..READS_PER_POLL {
            let Some(stderr) = &mut self.stderr else {
                return;
            };
            match pin!(stderr.read(&mut shared.scratch)).poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(0) | Err(_)) => self.stderr = None,
                Poll::Ready(Ok(length)) => {
                    let bytes = &shared.scratch[..length];
                    self.tail.push(bytes);
                    let of = self.running.front().map(Running::printer);
                    self.line.push(bytes, &mut shared.printed, &of);
                }
            }
        }
        cx.waker().wake_by_ref();
    }

    fn read_stdout(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut Shared,
        events: &mut Vec<PoolInput>,
    ) {
        let looked = self.tail.mark();
        for _ in 0..READS_PER_POLL {
            let Some(stdout) = self.stdout.as_mut().filter(|_| self.fault.is_none()) else {
                return;
            };
            match pin!(stdout.read_buf(self.inbox.space())).poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.stdout = None;
                    self.closed(cx);
                }
                Poll::Ready(Ok(_)) => {
                    // All that was written before the answers is there by now.
                    if let Some(stderr) = &self.stderr {
                        let of = self.running.front().map(Running::printer);
                        let pushed = |bytes: &[u8]| {
                            self.tail.push(bytes);
                            self.line.push(bytes, &mut shared.printed, &of);
                        };
                        drain(stderr, &mut shared.scratch, STDERR_LOOK_MAX, pushed);
                    }
                    self.take_answers(looked, &mut shared.printed, events);
                }
            }
        }
        cx.waker().wake_by_ref();
    }

    /// The program closed a pipe: fine if it is about to end, but it cannot work on without.
    fn closed(&mut self, cx: &mut Context<'_>) {
        if !self.asked && !self.killed {
            self.set_alarm(cx, Alarm::Closed, KILL_GRACE);
        }
    }

    /// Takes what has wholly come. `looked` is where `tail` was before any of it was read.
    fn take_answers(&mut self, looked: u64, printed: &mut Printed, events: &mut Vec<PoolInput>) {
        let (slot, mut ends) = (self.life, Vec::new());
        loop {
            match self.inbox.next() {
                Ok(Some(Answer::Done {
                    id,
                    ran,
                    end,
                    payload,
                })) => match self.running.front() {
                    Some(running) if running.id == id => {
                        self.line.end(printed, &Some(running.printer()));
                        let attempt = running.attempt;
                        self.running.pop_front();
                        let end = end.with_stderr(|| self.tail.text_since(self.begun));
                        self.begun = self.tail.mark();
                        self.looked = looked;
                        if ends.is_empty() {
                            ends.reserve((self.running.len() + 1).min(ENDS_FIRST));
                        }
                        ends.push(JobEnd {
                            attempt,
                            ran,
                            end,
                            payload,
                        });
                        continue;
                    }
                    Some(Running { id: expected, .. }) => {
                        self.fail(format!("it answered run {id} before run {expected}"));
                    }
                    None => self.fail(format!("it answered run {id}, which waits for none")),
                },
                Ok(Some(Answer::Ready(capabilities))) => {
                    self.alarm = None;
                    events.push(PoolInput::Ready { slot, capabilities });
                    continue;
                }
                Ok(None) => {}
                Err(violation) => self.fail(violation.to_string()),
            }
            let many = (!ends.is_empty()).then(|| PoolInput::DoneMany { slot, ends });
            return events.extend(many);
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        while let Some(stdin) = self.stdin.as_mut().filter(|_| !self.outbox.is_empty()) {
            let bytes = self.outbox.bytes();
            match Pin::new(stdin).poll_write(cx, bytes.front()) {
                Poll::Pending => return,
                Poll::Ready(Ok(length)) if length > 0 => bytes.advance(length),
                Poll::Ready(_) => {
                    self.stdin = None;
                    self.outbox.clear();
                    self.closed(cx);
                }
            }
        }
        if self.retiring {
            self.stdin = None;
        }
    }

    fn check_alarm(&mut self, cx: &mut Context<'_>, shared: &mut Shared) {
        if self.killed && self.alarm.is_none() {
            self.set_alarm(cx, Alarm::Killed, KILL_GRACE);
        }
        let Some((alarm, timer)) = &mut self.alarm else {
            return;
        };
        let alarm = *alarm;
        if timer.as_mut().poll(cx).is_pending() {
            return;
        }
        self.alarm = None;
        match alarm {
            Alarm::Slow => {
                shared.say_slow();
                let rest = shared.options.ready_timeout.saturating_sub(SLOW_START);
                self.set_alarm(cx, Alarm::Ready, rest);
            }
            Alarm::Ready => self.fail("it did not say that it is ready in time".to_owned()),
            Alarm::Closed => self.fail("it closed its pipes and did not end".to_owned()),
            // The guard hangs or is held; what it leaves comes to this process.
            Alarm::Killed => self.signal(Signal::SIGKILL),
            Alarm::Sweep => {}
        }
        cx.waker().wake_by_ref();
    }

    /// The guard has ended: nothing may be left, and all is read that was said.
    fn finish(
        &mut self,
        cx: &mut Context<'_>,
        status: ExitStatus,
        shared: &mut Shared,
        events: &mut Vec<PoolInput>,
    ) -> Poll<()> {
        // A guard that ended by itself left nothing. One that was killed looks like one whose
        // program was killed.
        if status.signal().is_some() && self.sweeps < SWEEPS_MAX {
            if let Some((Alarm::Sweep, timer)) = &mut self.alarm
                && timer.as_mut().poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            self.sweeps += 1;
            let table = shared.table.get_or_insert_with(Table::read);
            if self.sweep.kill_remaining(self.guard, &self.mark, table) {
                self.set_alarm(cx, Alarm::Sweep, SWEEP_PAUSE);
                return Poll::Pending;
            }
        }
        self.read_last_words(shared, events);
        let (cause, stderr) = self.epitaph(status);
        events.push(PoolInput::Exited {
            slot: self.life,
            cause,
            stderr,
        });
        Poll::Ready(())
    }

    /// Reads what is in the pipes of the dead, without asking the reactor whether there is any.
    fn read_last_words(&mut self, shared: &mut Shared, events: &mut Vec<PoolInput>) {
        let looked = self.tail.mark();
        if let Some(stderr) = self.stderr.take() {
            let of = self.running.front().map(Running::printer);
            let pushed = |bytes: &[u8]| {
                self.tail.push(bytes);
                self.line.push(bytes, &mut shared.printed, &of);
            };
            drain(stderr, &mut shared.scratch, LAST_WORDS_MAX, pushed);
        }
        if let Some(stdout) = self.stdout.take() {
            drain(stdout, &mut shared.scratch, LAST_WORDS_MAX, |bytes| {
                if self.fault.is_none() {
                    self.inbox.push(bytes);
                    self.take_answers(looked, &mut shared.printed, events);
                }
            });
        }
        let of = self.running.front().map(Running::printer);
        self.line.end(&mut shared.printed, &of);
    }

    /// How it ended, and its last words.
    fn epitaph(&mut self, status: ExitStatus) -> (ExitCause, String) {
        if let Some(reason) = self.inbox.not_started() {
            return (ExitCause::NotStarted, reason);
        }
        // If the attempt that it died of said nothing, what came with the answers before it may
        // have been its own.
        let mut text = self.tail.text_since(self.begun);
        if text.is_empty() {
            text = self.tail.text_since(self.looked);
        }
        if let Some(fault) = self.fault.take() {
            text.insert_str(0, &format!("{fault}\n"));
            cut_start(&mut text);
            return (ExitCause::Protocol, text);
        }
        let cause = match (status.signal(), status.code()) {
            (Some(_), _) if self.killed_too_large => ExitCause::Memory,
            (Some(signal), _) => ExitCause::Signal(signal),
            (None, code) => ExitCause::Exit(code.unwrap_or_default()),
        };
        (cause, text)
    }
}

/// Reads what is in a pipe now, up to about `left` bytes, without asking the reactor.
fn drain(pipe: impl AsFd, scratch: &mut [u8], mut left: usize, mut take: impl FnMut(&[u8])) {
    while left > 0 {
        match read(pipe.as_fd(), scratch) {
            Ok(length) if length > 0 => {
                take(&scratch[..length]);
                left = left.saturating_sub(length);
            }
            _ => return,
        }
    }
}
