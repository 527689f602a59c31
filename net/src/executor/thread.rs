//! Attempts on threads of this process: for tasks of microseconds, without isolation.
//!
//! A thread cannot be stopped from outside. `Terminate` drops what has not begun, and what has begun
//! keeps its slot until it is done; only then does `Exited` answer. `Kill` leaves the thread to itself:
//! its result is dropped, and another takes its slot, so that limits of time hold. At most so many are
//! left so at a time; beyond that a slot waits for its thread. A task that panics fails; one that aborts
//! takes the worker with it.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use argon_core::capabilities::Capabilities;
use argon_core::limits::CAPACITY_MAX;
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::ExitCause;
use argon_core::worker::{Job, JobEnd, PoolInput, PoolOutput, RunEnd, SlotLife};
use nix::sys::signal::Signal;
use tokio::time::{Sleep, sleep};

use super::Executor;
use crate::runtime::{TaskFailure, catch};
use crate::text::cut_error;
use crate::yielding::before_sleep;

/// What threads run: the task's name and payload in, its result out.
pub type Handler = dyn Fn(&Name, Payload) -> Result<Payload, TaskFailure> + Send + Sync;

/// A thread calls for its results to be collected when it has nothing left to do, or has done
/// this much, or has taken this long since it last called.
const DONE_MAX: usize = 256;
const DONE_AFTER: Duration = Duration::from_micros(100);
/// Most ends that there is room for when the first is left.
const ENDS_FIRST: usize = 256;
/// Results are collected at least so often while others of their slot are to come: the next may
/// take for ever.
const COLLECT_EVERY: Duration = Duration::from_millis(1);

/// Most threads that are left to themselves at a time.
const LEFT_MAX: usize = 64;

/// The end of a slot that nobody hurries.
const RETIRED: ExitCause = ExitCause::Exit(0);

/// Runs attempts on threads, one for each slot.
pub struct ThreadExecutor {
    capabilities: Capabilities,
    handler: Arc<Handler>,
    places: Vec<SlotEntry>,
    /// Places that were given something since the last poll.
    touched: Vec<usize>,
    call: Arc<Collector>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Desks of threads that were left to themselves; a thread that ends gives its hold up.
    left: Vec<Arc<Mailbox>>,
}

impl std::fmt::Debug for ThreadExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadExecutor")
            .field("threads", &self.places.len())
            .finish_non_exhaustive()
    }
}

/// A slot, as the executor sees it.
#[derive(Default)]
struct SlotEntry {
    /// Given since the last poll.
    commands: Vec<Command>,
    mailbox: Option<Arc<Mailbox>>,
    /// Attempts given and not known to be done.
    running: usize,
}

/// What a thread is told.
enum Command {
    Begin(SlotLife),
    Run(SlotLife, Job),
    RunMany(SlotLife, Vec<Job>),
    End(SlotLife, ExitCause),
    Kill(SlotLife),
    Leave,
}

/// Where a thread gets its commands and leaves its results. As long as what core lets be outstanding at a slot.
#[derive(Default)]
struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    filled: Condvar,
    done: Mutex<Vec<PoolInput>>,
    /// Set when a command has come that does not wait for those before it.
    hurry: AtomicBool,
}

/// Whom threads wake when there is something to collect.
#[derive(Default)]
struct Collector {
    waker: Mutex<Option<Waker>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Collector {
    fn call(&self) {
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn register(&self, cx: &Context<'_>) {
        match &mut *lock(&self.waker) {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
    }
}

impl ThreadExecutor {
    /// An executor of `handler`, which runs what `capabilities` says. Threads are started as slots are.
    pub fn new(
        capabilities: Capabilities,
        handler: impl Fn(&Name, Payload) -> Result<Payload, TaskFailure> + Send + Sync + 'static,
    ) -> Self {
        Self {
            capabilities,
            handler: Arc::new(handler),
            places: Vec::new(),
            touched: Vec::new(),
            call: Arc::default(),
            timer: None,
            left: Vec::new(),
        }
    }

    fn command(&mut self, slot: SlotLife, command: Command) {
        let index = slot.slot.0 as usize;
        debug_assert!(slot.slot.0 < CAPACITY_MAX, "no slot {}", slot.slot);
        if self.places.len() <= index {
            self.places.resize_with(index + 1, SlotEntry::default);
        }
        let place = &mut self.places[index];
        place.running += match &command {
            Command::Run(..) => 1,
            Command::RunMany(_, jobs) => jobs.len(),
            Command::Begin(_) | Command::End(..) | Command::Kill(_) | Command::Leave => 0,
        };
        let commands = &mut place.commands;
        if commands.is_empty() {
            self.touched.push(index);
        }
        commands.push(command);
    }

    /// The mailbox of a place, with a thread that reads it.
    fn mailbox(&mut self, index: usize) -> std::io::Result<&Mailbox> {
        let place = &mut self.places[index];
        if place.mailbox.is_none() {
            let mailbox = Arc::<Mailbox>::default();
            let (handler, call) = (Arc::clone(&self.handler), Arc::clone(&self.call));
            let hand = Hand {
                capabilities: self.capabilities.clone(),
                mailbox: Arc::clone(&mailbox),
                handler,
                call,
            };
            thread::Builder::new()
                .name(format!("argon-slot-{index}"))
                .spawn(|| hand.work())?;
            place.mailbox = Some(mailbox);
        }
        Ok(place.mailbox.as_ref().expect("made above"))
    }

    fn hand_out(&mut self, events: &mut Vec<PoolInput>) {
        for index in mem::take(&mut self.touched) {
            let mut commands = mem::take(&mut self.places[index].commands);
            self.kill(index, &mut commands, events);
            if commands.is_empty() {
                self.places[index].commands = commands;
                continue;
            }
            match self.mailbox(index) {
                Ok(mailbox) => {
                    let ends = |command: &Command| matches!(command, Command::End(..));
                    let hurry = commands.iter().any(ends);
                    lock(&mailbox.commands).extend(commands.drain(..));
                    if hurry {
                        mailbox.hurry.store(true, Ordering::Release);
                    }
                    mailbox.filled.notify_one();
                }
                Err(error) => {
                    self.places[index].running = 0;
                    events.extend(commands.drain(..).filter_map(|command| match command {
                        Command::Begin(slot) => Some(PoolInput::Exited {
                            slot,
                            cause: ExitCause::NotStarted,
                            stderr: format!("cannot start a thread: {error}"),
                        }),
                        Command::Run(..)
                        | Command::RunMany(..)
                        | Command::End(..)
                        | Command::Kill(_)
                        | Command::Leave => None,
                    }));
                }
            }
            // Given back for its space.
            self.places[index].commands = commands;
        }
    }
}

impl ThreadExecutor {
    /// Carries the kill among these commands out, if there is one: what comes before it is dropped.
    fn kill(&mut self, index: usize, commands: &mut Vec<Command>, events: &mut Vec<PoolInput>) {
        let is_kill = |command: &Command| matches!(command, Command::Kill(_));
        let Some(at) = commands.iter().rposition(is_kill) else {
            return;
        };
        let Command::Kill(slot) = commands[at] else {
            return;
        };
        let place = &mut self.places[index];
        // It may have done it, or ended, meanwhile.
        place.collect(events);
        self.left.retain(|mailbox| Arc::strong_count(mailbox) > 1);
        if place.running == 0 || self.left.len() >= LEFT_MAX {
            commands[at] = Command::End(slot, ExitCause::Signal(Signal::SIGKILL as i32));
            return;
        }
        commands.drain(..=at);
        place.running = 0;
        if let Some(mailbox) = place.mailbox.take() {
            mailbox.dismiss();
            self.left.push(mailbox);
        }
        events.push(PoolInput::Exited {
            slot,
            cause: ExitCause::Signal(Signal::SIGKILL as i32),
            stderr: String::new(),
        });
    }

    fn collect(&mut self, events: &mut Vec<PoolInput>) {
        for place in &mut self.places {
            place.collect(events);
        }
    }
}

impl SlotEntry {
    fn collect(&mut self, events: &mut Vec<PoolInput>) {
        let Some(mailbox) = &self.mailbox else {
            return;
        };
        let start = events.len();
        events.append(&mut lock(&mailbox.done));
        for event in &events[start..] {
            match event {
                PoolInput::Done { .. } => self.running = self.running.saturating_sub(1),
                PoolInput::DoneMany { ends, .. } => {
                    self.running = self.running.saturating_sub(ends.len());
                }
                // What had not begun never will.
                PoolInput::Exited { .. } => self.running = 0,
                PoolInput::Ready { .. } | PoolInput::Stream { .. } | PoolInput::Memory { .. } => {}
            }
        }
    }
}

impl Mailbox {
    /// The thread ends when it has done what it is at.
    fn dismiss(&self) {
        let mut commands = lock(&self.commands);
        commands.clear();
        commands.push_back(Command::Leave);
        self.hurry.store(true, Ordering::Release);
        self.filled.notify_one();
    }
}

impl Executor for ThreadExecutor {
    fn execute(&mut self, action: PoolOutput) {
        let signal = |signal| ExitCause::Signal(signal as i32);
        match action {
            PoolOutput::Spawn { slot } => self.command(slot, Command::Begin(slot)),
            PoolOutput::Run { slot, job } => self.command(slot, Command::Run(slot, job)),
            PoolOutput::RunMany { slot, jobs } => {
                self.command(slot, Command::RunMany(slot, jobs));
            }
            PoolOutput::RunStreams { .. } | PoolOutput::Stream { .. } => {
                debug_assert!(false, "of a version that is not spoken here");
            }
            PoolOutput::Terminate { slot } => {
                self.command(slot, Command::End(slot, signal(Signal::SIGTERM)));
            }
            PoolOutput::Kill { slot } => self.command(slot, Command::Kill(slot)),
            PoolOutput::Retire { slot } => self.command(slot, Command::End(slot, RETIRED)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<PoolInput>) -> Poll<()> {
        let before = events.len();
        self.hand_out(events);
        // Before collecting, so that what is done meanwhile is called for.
        self.call.register(cx);
        self.collect(events);
        // One attempt alone has none before it that waits.
        if self.places.iter().any(|place| place.running > 1) {
            let new = || Box::pin(sleep(COLLECT_EVERY));
            while self
                .timer
                .get_or_insert_with(new)
                .as_mut()
                .poll(cx)
                .is_ready()
            {
                self.timer = None;
            }
        } else {
            self.timer = None;
        }
        if events.len() > before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for ThreadExecutor {
    /// Threads end when they have done what they are at; nobody waits for them.
    fn drop(&mut self) {
        for mailbox in self
            .places
            .iter()
            .filter_map(|place| place.mailbox.as_ref())
        {
            mailbox.dismiss();
        }
    }
}

/// A thread's own things.
struct Hand {
    capabilities: Capabilities,
    mailbox: Arc<Mailbox>,
    handler: Arc<Handler>,
    call: Arc<Collector>,
}

impl Hand {
    fn work(self) {
        let mut life = None;
        let mut commands = VecDeque::new();
        let mut pace = Pace::new();
        loop {
            if commands.is_empty() {
                self.call.call();
                self.wait(&mut commands);
                pace = Pace::new();
            }
            self.hurry(life, &mut commands);
            match commands.pop_front() {
                Some(Command::Begin(slot)) => {
                    life = Some(slot);
                    self.tell(PoolInput::Ready {
                        slot,
                        capabilities: self.capabilities.clone(),
                    });
                }
                Some(Command::Run(slot, job)) if life == Some(slot) => {
                    self.run(slot, job, 0, &mut pace);
                }
                Some(Command::RunMany(slot, jobs)) if life == Some(slot) => {
                    let mut left = jobs.len();
                    for job in jobs {
                        if self.hurry(life, &mut commands) {
                            break;
                        }
                        left -= 1;
                        self.run(slot, job, left, &mut pace);
                    }
                }
                Some(Command::End(slot, cause)) if life == Some(slot) => {
                    life = None;
                    let stderr = String::new();
                    self.tell(PoolInput::Exited {
                        slot,
                        cause,
                        stderr,
                    });
                }
                Some(Command::Leave) => return,
                // Of a life that has ended; kills are carried out before they come here.
                Some(
                    Command::Run(..) | Command::RunMany(..) | Command::End(..) | Command::Kill(_),
                )
                | None => {}
            }
        }
    }

    /// Runs an attempt, which `left` others follow, and tells its end.
    fn run(&self, slot: SlotLife, job: Job, left: usize, pace: &mut Pace) {
        let attempt = job.attempt;
        let (end, payload) = match catch(|| (self.handler)(&job.name, job.payload)) {
            Ok(result) => (RunEnd::Completed, result),
            Err(TaskFailure { mut error, detail }) => {
                cut_error(&mut error);
                (RunEnd::Failed(error), detail)
            }
        };
        let ran = pace.lap();
        let end = JobEnd {
            attempt,
            ran,
            end,
            payload,
        };
        self.tell_end(slot, end, left);
        if pace.is_call_due() {
            self.call.call();
        }
    }

    /// Leaves an end, which `left` others follow, beside those of the same slot that nobody has
    /// collected yet.
    fn tell_end(&self, slot: SlotLife, end: JobEnd, left: usize) {
        let mut done = lock(&self.mailbox.done);
        if let Some(PoolInput::DoneMany { slot: of, ends }) = done.last_mut()
            && *of == slot
        {
            return ends.push(end);
        }
        let mut ends = Vec::with_capacity(ENDS_FIRST.min(1 + left));
        ends.push(end);
        done.push(PoolInput::DoneMany { slot, ends });
    }

    fn tell(&self, event: PoolInput) {
        lock(&self.mailbox.done).push(event);
    }

    fn wait(&self, commands: &mut VecDeque<Command>) {
        before_sleep();
        let mut mailbox = lock(&self.mailbox.commands);
        while mailbox.is_empty() {
            mailbox = self
                .mailbox
                .filled
                .wait(mailbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
        mem::swap(&mut *mailbox, commands);
    }

    /// Lets an end overtake what has not begun, if there is one in a hurry; tells whether it is one of
    /// this life, or of the thread.
    fn hurry(&self, life: Option<SlotLife>, commands: &mut VecDeque<Command>) -> bool {
        if !self.mailbox.hurry.load(Ordering::Acquire) {
            return false;
        }
        self.mailbox.hurry.store(false, Ordering::Relaxed);
        commands.append(&mut lock(&self.mailbox.commands));
        let end = commands.iter().position(|command| match command {
            Command::End(slot, cause) => Some(*slot) == life && *cause != RETIRED,
            Command::Leave => true,
            Command::Begin(_) | Command::Run(..) | Command::RunMany(..) | Command::Kill(_) => false,
        });
        commands.drain(..end.unwrap_or(0));
        end.is_some()
    }
}

/// When a thread looked at its clock, and what it has done since it called for its results to be
/// collected.
struct Pace {
    now: Instant,
    untold: usize,
    since: Duration,
}

impl Pace {
    /// There is something to do from now on.
    fn new() -> Self {
        Self {
            now: Instant::now(),
            untold: 0,
            since: Duration::ZERO,
        }
    }

    /// An attempt has ended: how long ago the one before did.
    fn lap(&mut self) -> Duration {
        let begun = mem::replace(&mut self.now, Instant::now());
        let ran = self.now - begun;
        self.untold += 1;
        self.since += ran;
        ran
    }

    /// Whether it is time to call; then it counts as done.
    fn is_call_due(&mut self) -> bool {
        let is_due = self.untold >= DONE_MAX || self.since >= DONE_AFTER;
        if is_due {
            (self.untold, self.since) = (0, Duration::ZERO);
        }
        is_due
    }
}
