//! Pool processes: real programs, each under a [guard](crate::guard), that speak the pool
//! protocol over their standard input and output.
//!
//! One task polls all of it: the pipes are read and written right where the worker's driver runs,
//! many frames at a time, with no channel in between. Every buffer is bounded by the frame limit
//! or by what core gives.
//!
//! Must live on a thread that lives as long as the executor: the kernel kills the pool when the
//! thread that started it ends.

#[cfg(feature = "testing")]
mod ears;
mod inbox;
mod memory;
mod orphans;
mod printed;
mod slot;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use argon_core::ids::PeerId;
use argon_core::limits::{CAPACITY_MAX, PAYLOAD_MAX_DEFAULT};
use argon_core::task::ExitCause;
use argon_core::worker::{PoolInput, PoolOutput, SlotLife};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

#[cfg(feature = "testing")]
pub use self::ears::{PoolBroke, PoolEars, PoolHeard};
use self::memory::MemoryWatch;
pub use self::printed::TARGET as TASK_OUTPUT;
use self::slot::{Shared, Slot};
use super::Executor;
use crate::driver::clock::entropy;
use crate::ready::{ReadyList, SlotWake};

/// How to start a guard: a program, and arguments that lead to [`guard::main`](crate::guard::main).
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// What comes before the guard's own arguments.
    pub args: Vec<OsString>,
}

impl Launcher {
    /// The program that is running now, with a subcommand. Works after the file has been replaced
    /// or removed, too.
    pub fn this_program(subcommand: impl Into<OsString>) -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            args: vec![subcommand.into()],
        }
    }
}

/// What pool processes run, and how.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// The program: a runtime that speaks the pool protocol.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How to start guards.
    pub launcher: Launcher,
    /// Memory of a program and its descendants, in bytes, that core will kill it for; set, it is
    /// measured every `memory_interval`. Resident memory counts; what processes share counts for
    /// each. There is no `RLIMIT_AS` beside it, since runtimes that reserve address space would
    /// not start under one; but pool programs are the kernel's first choice when memory runs out.
    pub memory_limit: Option<u64>,
    /// From one measurement to the next; longer on hosts with so many processes that looking at
    /// them takes more than a twentieth of it.
    pub memory_interval: Duration,
    /// Largest result, in bytes.
    pub payload_max: usize,
    /// Whether runtimes may run code that clients ship, as those of Perl and Python can.
    pub allow_eval: bool,
    /// How long a program may take until it is ready.
    pub ready_timeout: Duration,
    /// Most lines a second of what all tasks print, standard error and whatever else the runtime
    /// sends there, that are logged as [`TASK_OUTPUT`]; 0 for none. Its end is in the error of a
    /// task that fails, whatever this is.
    pub task_output: u32,
}

impl ProcessOptions {
    /// Runs `program`, with the default limits.
    pub fn new(program: impl Into<PathBuf>, launcher: Launcher) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            launcher,
            memory_limit: None,
            memory_interval: Duration::from_millis(50),
            payload_max: PAYLOAD_MAX_DEFAULT,
            allow_eval: false,
            ready_timeout: Duration::from_secs(60),
            task_output: TASK_OUTPUT_DEFAULT,
        }
    }
}

/// Lines a second of what tasks print, if nothing else is asked for.
pub const TASK_OUTPUT_DEFAULT: u32 = 100;
/// Starts between two looks at everything else, each of which blocks for about a millisecond.
const STARTS_PER_POLL: usize = 2;

/// Runs attempts in pool processes.
#[derive(Debug)]
pub struct ProcessExecutor {
    shared: Shared,
    slots: Vec<SlotEntry>,
    starting: VecDeque<SlotLife>,
    /// Answers that need no process.
    answers: Vec<PoolInput>,
    ready: Arc<ReadyList>,
    /// Kept for its space.
    polled: Vec<usize>,
    memory: Option<MemoryWatch>,
    measured: Vec<(SlotLife, u64)>,
}

/// A slot, occupied or not.
#[derive(Debug)]
struct SlotEntry {
    wake: Arc<SlotWake>,
    waker: Waker,
    slot: Option<Slot>,
}

impl ProcessExecutor {
    /// An executor without any process yet. Makes this process a subreaper: orphans of its
    /// descendants come to it, and those of its pool are killed.
    ///
    /// # Errors
    /// If the kernel has no subreapers, or signals cannot be handled.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(options: ProcessOptions) -> io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        // With a handler, once and for all: if this process was started with SIGCHLD ignored, it
        // and all that it starts would never learn how a child ended.
        drop(signal(SignalKind::child())?);
        let worker = PeerId(entropy().map_err(io::Error::other)?);
        let memory = options
            .memory_limit
            .map(|_| MemoryWatch::new(options.memory_interval));
        Ok(Self {
            shared: Shared::new(options, worker),
            slots: Vec::new(),
            starting: VecDeque::new(),
            answers: Vec::new(),
            ready: Arc::default(),
            polled: Vec::new(),
            memory,
            measured: Vec::new(),
        })
    }

    /// The slot, marked to be polled, if this life of it is the current one.
    fn slot(&mut self, life: SlotLife) -> Option<&mut Slot> {
        let place = self.slots.get_mut(life.slot.0 as usize)?;
        let slot = place.slot.as_mut().filter(|slot| slot.life() == life)?;
        place.wake.mark();
        Some(slot)
    }

    /// Whether `action` ends a slot whose process has not been started yet.
    fn ends_unstarted(&mut self, action: &PoolOutput) -> bool {
        let (slot, cause) = match *action {
            PoolOutput::Kill { slot } => (slot, ExitCause::Signal(Signal::SIGKILL as i32)),
            PoolOutput::Terminate { slot } => (slot, ExitCause::Signal(Signal::SIGTERM as i32)),
            PoolOutput::Retire { slot } => (slot, ExitCause::Exit(0)),
            PoolOutput::Spawn { .. }
            | PoolOutput::Run { .. }
            | PoolOutput::RunMany { .. }
            | PoolOutput::RunStreams { .. }
            | PoolOutput::Stream { .. } => return false,
        };
        let before = self.starting.len();
        self.starting.retain(|starting| *starting != slot);
        if self.starting.len() == before {
            return false;
        }
        let stderr = String::new();
        self.answers.push(PoolInput::Exited {
            slot,
            cause,
            stderr,
        });
        true
    }

    /// Starts the process of a slot.
    fn start(&mut self, life: SlotLife, events: &mut Vec<PoolInput>) {
        let index = life.slot.0 as usize;
        while self.slots.len() <= index {
            let wake = SlotWake::new(&self.ready, self.slots.len());
            let waker = Waker::from(Arc::clone(&wake));
            self.slots.push(SlotEntry {
                wake,
                waker,
                slot: None,
            });
        }
        match Slot::start(life, &self.shared) {
            Ok(slot) => {
                let place = &mut self.slots[index];
                debug_assert!(place.slot.is_none(), "{life:?} started in an occupied slot");
                place.slot = Some(slot);
                place.wake.mark();
            }
            Err(error) => events.push(PoolInput::Exited {
                slot: life,
                cause: ExitCause::NotStarted,
                stderr: format!(
                    "cannot run {}: {error}",
                    self.shared.options.launcher.program.display()
                ),
            }),
        }
    }

    fn start_some(&mut self, cx: &Context<'_>, events: &mut Vec<PoolInput>) {
        for _ in 0..STARTS_PER_POLL {
            let Some(life) = self.starting.pop_front() else {
                return;
            };
            self.start(life, events);
        }
        if !self.starting.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    fn poll_slots(&mut self, events: &mut Vec<PoolInput>) {
        self.ready.take(&mut self.polled);
        for index in self.polled.drain(..) {
            let place = &mut self.slots[index];
            place.wake.unmark();
            let Some(slot) = &mut place.slot else {
                continue;
            };
            let mut cx = Context::from_waker(&place.waker);
            if slot.poll(&mut cx, &mut self.shared, events).is_ready() {
                place.slot = None;
            }
        }
        self.shared.end_round();
    }

    fn poll_memory(&mut self, cx: &mut Context<'_>, events: &mut Vec<PoolInput>) {
        let Some(memory) = &mut self.memory else {
            return;
        };
        let alive = self
            .slots
            .iter()
            .filter_map(|place| place.slot.as_ref())
            .filter_map(Slot::guard);
        memory.poll(cx, alive, &mut self.measured);
        for (life, bytes) in self.measured.drain(..) {
            let place = self.slots.get_mut(life.slot.0 as usize);
            let slot = place.and_then(|place| place.slot.as_mut());
            if let Some(slot) = slot.filter(|slot| slot.life() == life) {
                slot.measured(bytes);
                events.push(PoolInput::Memory { slot: life, bytes });
            }
        }
    }
}

impl Executor for ProcessExecutor {
    fn belong_to(&mut self, worker: PeerId) {
        self.shared.worker = worker;
    }

    fn program(&self) -> Option<&Path> {
        Some(&self.shared.options.program)
    }

    fn execute(&mut self, action: PoolOutput) {
        if self.ends_unstarted(&action) {
            return;
        }
        match action {
            PoolOutput::Spawn { slot } => {
                debug_assert!(slot.slot.0 < CAPACITY_MAX, "no slot {}", slot.slot);
                self.starting.push_back(slot);
            }
            PoolOutput::Run { slot, job } => {
                if let Some(slot) = self.slot(slot) {
                    slot.run(job);
                }
            }
            PoolOutput::RunMany { slot, jobs } => {
                if let Some(slot) = self.slot(slot) {
                    jobs.into_iter().for_each(|job| slot.run(job));
                }
            }
            PoolOutput::RunStreams { .. } | PoolOutput::Stream { .. } => {
                debug_assert!(false, "of a version that is not spoken here");
            }
            PoolOutput::Terminate { slot } => {
                if let Some(slot) = self.slot(slot) {
                    slot.terminate();
                }
            }
            PoolOutput::Kill { slot } => {
                if let Some(slot) = self.slot(slot) {
                    slot.kill();
                }
            }
            PoolOutput::Retire { slot } => {
                if let Some(slot) = self.slot(slot) {
                    slot.retire();
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<PoolInput>) -> Poll<()> {
        let before = events.len();
        self.ready.register(cx);
        events.append(&mut self.answers);
        self.start_some(cx, events);
        self.poll_slots(events);
        self.poll_memory(cx, events);
        if events.len() > before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for ProcessExecutor {
    /// Nothing outlives the executor: the guards kill what they watch and end.
    fn drop(&mut self) {
        for slot in self
            .slots
            .iter_mut()
            .filter_map(|place| place.slot.as_mut())
        {
            slot.kill();
        }
    }
}
