//! The simulated pool of one worker: processes that start, run what they are given in order, and
//! die, in virtual time. Every execution goes into the ledger of the history.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use argon_core::capabilities::Capabilities;
use argon_core::ids::TaskId;
use argon_core::rng::Rng;
use argon_core::task::{ErrorKind, ExitCause, TaskError};
use argon_core::time::Nanos;
use argon_core::worker::{Job, PoolInput, PoolOutput, RunEnd, SlotLife};
use bytes::Bytes;

use crate::history::{Execution, ExecutionEnd, History, Process};
use crate::names::name;
use crate::options::{MS, Options, S, US};
use crate::rng::{Draw, stream};
use crate::workload::{Book, Deed, MEMORY_LIMIT, number_of};

/// Most that a slow worker adds to an execution.
pub(crate) const SLOW_MAX: u64 = 10 * S;

/// How long it takes on a spoiled worker until everything fails.
const SPOILED: u64 = 10 * US;
/// How long a process tries to start something in vain.
pub(crate) const PATIENCE: u64 = 100 * MS;

/// What a pool says that it runs: these names, or anything if they are all that there are.
fn capabilities(runs: u8) -> Capabilities {
    if runs == u8::MAX {
        return Capabilities::anything();
    }
    let names = (0..u8::BITS).filter(|name| runs & 1 << name != 0);
    Capabilities::new(names.map(|number| name(&format!("t{number}")))).expect("they are few")
}

/// Something that a pool process does later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolEvent {
    pub slot: SlotLife,
    pub what: PoolWhat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolWhat {
    Ready,
    /// Says that it cannot start what it was given.
    Decline,
    /// This execution has run its time.
    Done {
        execution: usize,
    },
    Exit {
        cause: ExitCause,
    },
    /// This execution takes more memory than it may.
    Hog {
        execution: usize,
    },
}

#[derive(Debug)]
struct Slot {
    life: u64,
    process: usize,
    ready: bool,
    /// It will be gone at this instant.
    dying: Option<u64>,
    retiring: bool,
    /// The one that runs, if any, is not in `waiting`.
    running: Option<usize>,
    /// Whether that fails, whatever it is.
    spoiled: bool,
    /// What it tries to start in vain; nothing runs then.
    declined: Option<Job>,
    waiting: VecDeque<Job>,
}

impl Slot {
    fn is_busy(&self) -> bool {
        self.running.is_some() || self.declined.is_some()
    }
}

/// The pool of one life of a worker.
#[derive(Debug)]
pub(crate) struct Pool {
    life: usize,
    rng: Rng,
    slots: BTreeMap<u32, Slot>,
    spawn: u64,
    capabilities: Capabilities,
    /// When each attempt was first written to a process.
    given: BTreeMap<(u64, u64), u64>,
    /// Executions take so many times as long.
    pub slowness: u64,
    /// How long a process takes to die of a kill.
    pub stuck: u64,
    /// No process can be started.
    pub no_spawn: bool,
    /// Whatever starts fails at once.
    pub spoiled: bool,
    /// Processes can start nothing.
    pub short: bool,
}

/// What a call on the pool leads to.
#[derive(Debug, Default)]
pub(crate) struct PoolEffects {
    /// To be done after so many nanoseconds.
    pub later: Vec<(u64, PoolEvent)>,
    /// To be told to the worker now.
    pub tell: Vec<PoolInput>,
    /// The execution took its whole worker down.
    pub worker_dies: bool,
    /// This execution began.
    pub began: Option<usize>,
}

impl Pool {
    pub(crate) fn new(seed: u64, life: usize, host: u16, count: u64, options: &Options) -> Self {
        Self {
            life,
            rng: stream(seed, &[9, u64::from(host), count]),
            slots: BTreeMap::new(),
            spawn: options.spawn,
            capabilities: capabilities(options.runs(host, count)),
            given: BTreeMap::new(),
            slowness: 1,
            stuck: 0,
            no_spawn: false,
            spoiled: false,
            short: false,
        }
    }

    pub(crate) fn command(
        &mut self,
        now: u64,
        output: PoolOutput,
        tasks: &dyn Book,
        history: &mut History,
    ) -> PoolEffects {
        let mut effects = PoolEffects::default();
        match output {
            PoolOutput::Spawn { slot } => self.spawn(now, slot, history, &mut effects),
            PoolOutput::Run { .. } | PoolOutput::RunMany { .. } => {
                for single in output.singles() {
                    let PoolOutput::Run { slot, job } = single else {
                        unreachable!("many of `Run`");
                    };
                    let attempt = (job.attempt.epoch.0, job.attempt.number);
                    self.given.entry(attempt).or_insert(now);
                    // A process that has died meanwhile has said so already, or is about to.
                    if let Some(known) = self.live(slot)
                        && known.dying.is_none()
                    {
                        known.waiting.push_back(job);
                        self.start_next(now, slot, tasks, history, &mut effects);
                    }
                }
            }
            PoolOutput::RunStreams { .. } | PoolOutput::Stream { .. } => {
                unreachable!("no task has streams")
            }
            PoolOutput::Terminate { slot } => {
                let stubborn =
                    self.live(slot)
                        .and_then(|known| known.running)
                        .is_some_and(|running| {
                            let plan = tasks.task(history.execution(running).task);
                            plan.is_some_and(|plan| plan.deed == Deed::HangStubborn)
                        });
                if !stubborn {
                    let delay = self.rng.between(50 * US, 5 * MS);
                    self.die(now, slot, delay, ExitCause::Signal(15), &mut effects);
                }
            }
            PoolOutput::Kill { slot } => {
                let delay = self.rng.between(50 * US, MS) + self.stuck;
                self.die(now, slot, delay, ExitCause::Signal(9), &mut effects);
            }
            PoolOutput::Retire { slot } => {
                if let Some(known) = self.live(slot) {
                    known.retiring = true;
                    if !known.is_busy() && known.waiting.is_empty() {
                        self.die(now, slot, MS, ExitCause::Exit(0), &mut effects);
                    }
                }
            }
        }
        effects
    }

    fn live(&mut self, slot: SlotLife) -> Option<&mut Slot> {
        self.slots
            .get_mut(&slot.slot.0)
            .filter(|known| known.life == slot.life)
    }

    fn spawn(
        &mut self,
        now: u64,
        slot: SlotLife,
        history: &mut History,
        effects: &mut PoolEffects,
    ) {
        let delay = self.rng.between(self.spawn / 4, self.spawn);
        if self.no_spawn {
            let what = PoolWhat::Exit {
                cause: ExitCause::NotStarted,
            };
            effects.later.push((delay, PoolEvent { slot, what }));
            return;
        }
        let process = history.processes.len();
        history.processes.push(Process {
            life: self.life,
            slot: slot.slot.0,
            start: now,
            end: None,
        });
        self.slots.insert(
            slot.slot.0,
            Slot {
                life: slot.life,
                process,
                ready: false,
                dying: None,
                retiring: false,
                running: None,
                spoiled: false,
                declined: None,
                waiting: VecDeque::new(),
            },
        );
        let what = PoolWhat::Ready;
        effects.later.push((delay, PoolEvent { slot, what }));
    }

    fn die(
        &mut self,
        now: u64,
        slot: SlotLife,
        delay: u64,
        cause: ExitCause,
        effects: &mut PoolEffects,
    ) {
        if let Some(known) = self.live(slot)
            && known.dying.is_none_or(|at| at > now + delay)
        {
            known.dying = Some(now + delay);
            let what = PoolWhat::Exit { cause };
            effects.later.push((delay, PoolEvent { slot, what }));
        }
    }

    fn start_next(
        &mut self,
        now: u64,
        slot: SlotLife,
        tasks: &dyn Book,
        history: &mut History,
        effects: &mut PoolEffects,
    ) {
        let (life, slowness, spoiled) = (self.life, self.slowness, self.spoiled);
        let Some(known) = self.slots.get_mut(&slot.slot.0) else {
            return;
        };
        if known.life != slot.life || known.is_busy() || !known.ready {
            return;
        }
        let Some(job) = known.waiting.pop_front() else {
            return;
        };
        if self.short {
            known.declined = Some(job);
            let what = PoolWhat::Decline;
            effects.later.push((PATIENCE, PoolEvent { slot, what }));
            return;
        }
        let execution = history.next_execution();
        let attempt = (job.attempt.epoch.0, job.attempt.number);
        known.running = Some(execution);
        known.spoiled = spoiled;
        let TaskId { client, seq } = job.task;
        let task = number_of(&job.payload).unwrap_or(usize::MAX);
        history.executions.push(Execution {
            place: execution,
            task,
            client: client.0,
            seq,
            attempt,
            life,
            bytes: job.payload.len(),
            process: known.process,
            given: self.given.get(&attempt).copied().unwrap_or(now),
            start: now,
            end: None,
        });
        effects.began = Some(execution);
        if spoiled {
            let what = PoolWhat::Done { execution };
            effects.later.push((SPOILED, PoolEvent { slot, what }));
            return;
        }
        // A stranger's task is nothing that the plan knows.
        let (deed, run) = tasks
            .task(task)
            .map_or((Deed::Complete, MS), |plan| (plan.deed, plan.run));
        if deed == Deed::Hog {
            let what = PoolWhat::Hog { execution };
            effects.later.push((run / 2, PoolEvent { slot, what }));
        }
        if !matches!(deed, Deed::Hang | Deed::HangStubborn) {
            let what = PoolWhat::Done { execution };
            let slow = run.saturating_mul(slowness);
            let run = slow.min(run + SLOW_MAX);
            effects.later.push((run, PoolEvent { slot, what }));
        }
    }

    /// Something planned comes about, unless its process is gone.
    pub(crate) fn event(
        &mut self,
        now: u64,
        event: PoolEvent,
        tasks: &dyn Book,
        history: &mut History,
    ) -> PoolEffects {
        let mut effects = PoolEffects::default();
        let slot = event.slot;
        match event.what {
            PoolWhat::Exit {
                cause: ExitCause::NotStarted,
            } => effects.tell.push(PoolInput::Exited {
                slot,
                cause: ExitCause::NotStarted,
                stderr: "no such program".to_owned(),
            }),
            PoolWhat::Ready => {
                if let Some(known) = self.live(slot) {
                    known.ready = true;
                    effects.tell.push(PoolInput::Ready {
                        slot,
                        capabilities: self.capabilities.clone(),
                    });
                }
            }
            PoolWhat::Hog { execution } => {
                let known = self.live(slot);
                if known.is_some_and(|known| known.running == Some(execution)) {
                    let bytes = MEMORY_LIMIT + 1;
                    effects.tell.push(PoolInput::Memory { slot, bytes });
                }
            }
            PoolWhat::Decline => self.decline(now, slot, tasks, history, &mut effects),
            PoolWhat::Done { execution } => {
                self.done(now, slot, execution, tasks, history, &mut effects);
            }
            PoolWhat::Exit { cause } => {
                if self
                    .live(slot)
                    .is_some_and(|known| known.dying.is_some_and(|at| at <= now))
                {
                    self.exit(
                        now,
                        slot,
                        cause,
                        ExecutionEnd::Killed,
                        history,
                        &mut effects,
                    );
                }
            }
        }
        effects
    }

    fn decline(
        &mut self,
        now: u64,
        slot: SlotLife,
        tasks: &dyn Book,
        history: &mut History,
        effects: &mut PoolEffects,
    ) {
        let Some(known) = self.live(slot) else { return };
        let Some(job) = known.declined.take() else {
            return;
        };
        let error = TaskError::new(ErrorKind::Unavailable, "no more processes");
        effects.tell.push(PoolInput::Done {
            slot,
            attempt: job.attempt,
            ran: Duration::from_nanos(PATIENCE),
            end: RunEnd::Failed(Box::new(error)),
            payload: Bytes::new().into(),
        });
        self.go_on(now, slot, tasks, history, effects);
    }

    /// The next, or the end, after an answer.
    fn go_on(
        &mut self,
        now: u64,
        slot: SlotLife,
        tasks: &dyn Book,
        history: &mut History,
        effects: &mut PoolEffects,
    ) {
        let Some(known) = self.live(slot) else { return };
        let leave = known.retiring && known.waiting.is_empty();
        self.start_next(now, slot, tasks, history, effects);
        if leave {
            self.die(now, slot, MS, ExitCause::Exit(0), effects);
        }
    }

    fn done(
        &mut self,
        now: u64,
        slot: SlotLife,
        execution: usize,
        tasks: &dyn Book,
        history: &mut History,
        effects: &mut PoolEffects,
    ) {
        let Some(known) = self.live(slot) else { return };
        if known.running != Some(execution) {
            return;
        }
        let record = history.execution(execution);
        let (deed, filling) = tasks
            .task(record.task)
            .map_or((Deed::Complete, 0), |plan| (plan.deed, plan.result));
        let deed = if known.spoiled { Deed::Fail } else { deed };
        let failed = match deed {
            Deed::Poison => {
                effects.worker_dies = true;
                return;
            }
            Deed::Crash => true,
            Deed::CrashOnce => {
                let earlier = history.executions.iter();
                let mut earlier = earlier.take_while(|run| run.place < execution);
                !earlier.any(|other| other.task == record.task)
            }
            _ => false,
        };
        if failed {
            let (cause, end) = (ExitCause::Signal(11), ExecutionEnd::Crashed);
            self.exit(now, slot, cause, end, history, effects);
            return;
        }
        let (attempt, start, task) = (record.attempt, record.start, record.task);
        let (end, how, payload) = if deed == Deed::Fail {
            let error = TaskError::new(
                ErrorKind::Raised("Simulated".to_owned()),
                format!("execution {execution}"),
            );
            (
                RunEnd::Failed(Box::new(error)),
                ExecutionEnd::Failed,
                Bytes::new(),
            )
        } else {
            let payload = result(task, execution, filling);
            (RunEnd::Completed, ExecutionEnd::Completed, payload)
        };
        history.execution_mut(execution).end = Some((now, how));
        effects.tell.push(PoolInput::Done {
            slot,
            attempt: argon_core::ids::Attempt {
                epoch: argon_core::ids::Epoch(attempt.0),
                number: attempt.1,
            },
            ran: Nanos(now - start).to_duration().unwrap_or_default(),
            end,
            payload: payload.into(),
        });
        known.running = None;
        self.go_on(now, slot, tasks, history, effects);
    }

    fn exit(
        &mut self,
        now: u64,
        slot: SlotLife,
        cause: ExitCause,
        end: ExecutionEnd,
        history: &mut History,
        effects: &mut PoolEffects,
    ) {
        if let Some(gone) = self.slots.remove(&slot.slot.0) {
            history.processes[gone.process].end = Some(now);
            if let Some(running) = gone.running {
                history.execution_mut(running).end = Some((now, end));
            }
            effects.tell.push(PoolInput::Exited {
                slot,
                cause,
                stderr: String::new(),
            });
        }
    }

    /// An accident: the process in this slot dies.
    pub(crate) fn kill_child(&mut self, now: u64, slot: u32, history: &mut History) -> PoolEffects {
        let mut effects = PoolEffects::default();
        if let Some(known) = self.slots.get(&slot) {
            let slot = SlotLife {
                slot: argon_core::ids::SlotId(slot),
                life: known.life,
            };
            let (cause, end) = (ExitCause::Signal(9), ExecutionEnd::Crashed);
            self.exit(now, slot, cause, end, history, &mut effects);
        }
        effects
    }

    /// The worker died: no child outlives it.
    pub(crate) fn end(&mut self, now: u64, history: &mut History) {
        for slot in std::mem::take(&mut self.slots).into_values() {
            history.processes[slot.process].end = Some(now);
            if let Some(running) = slot.running {
                history.execution_mut(running).end = Some((now, ExecutionEnd::WorkerDied));
            }
        }
    }
}

/// The result of an execution: says whose it is.
#[must_use]
pub(crate) fn result(task: usize, execution: usize, filling: u32) -> Bytes {
    let mut bytes = (task as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(execution as u64).to_le_bytes());
    bytes.resize(16 + filling as usize, 9);
    bytes.into()
}
