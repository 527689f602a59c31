//! A worker, for those who run one.

use std::fmt;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use argon_core::Machine;
use argon_core::Worker;
use argon_core::access::KeyRole;
use argon_core::ids::PeerId;
use argon_core::limits::{CAPACITY_MAX, HEADER_MAX, PAYLOAD_MAX_CEILING};
use argon_core::link::LinkInput;
use argon_core::message::ToWorker;
use argon_core::name::Name;
use argon_core::rng::Rng;
use argon_core::time::Instant;
use argon_core::worker::{PoolInput, WorkerConfig, WorkerInput, WorkerOutput};

use crate::driver::clock::{Clock, entropy};
use crate::driver::log;
use crate::driver::peer::{CarriedOut, Endpoint, PeerDriver};
use crate::driver::uplink::Uplink;
use crate::error::{RunError, StartError};
use crate::executor::Executor;
use crate::keys::Keys;
use crate::link::LinkState;
use crate::manager::require;
use crate::transport::{TokioTransport, Transport};

/// Output that may wait for the manager beyond the results that the worker holds.
const OUTPUT_SLACK: usize = 32 * 1024 * 1024;

/// How a worker is to be.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// `host:port` of each manager; the first that answers is used.
    pub managers: Vec<String>,
    /// To show to them, and to know them by.
    pub keys: Option<Keys>,
    /// The rest. `addresses` is set from `managers`.
    pub config: WorkerConfig,
}

impl WorkerOptions {
    /// The defaults, for a worker that runs `capacity` attempts at once; its identity is drawn.
    ///
    /// # Errors
    /// If the system has no random numbers to give.
    pub fn new(managers: Vec<String>, name: Name, capacity: u32) -> Result<Self, StartError> {
        let peer = PeerId(entropy()?);
        Ok(Self {
            managers,
            keys: None,
            config: WorkerConfig::new(peer, name, capacity),
        })
    }
}

/// A worker that is ready to run.
pub struct WorkerServer<T: Transport = TokioTransport> {
    transport: T,
    options: WorkerOptions,
    seed: u64,
    executor: Box<dyn Executor>,
    control: Arc<Control>,
}

impl<T: Transport> fmt::Debug for WorkerServer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerServer")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl WorkerServer {
    /// A worker that runs its attempts in `executor` and dials over TCP.
    ///
    /// # Errors
    /// If the options make no sense.
    pub fn new<E: Executor>(options: WorkerOptions, executor: E) -> Result<Self, StartError> {
        require(options.keys.as_ref(), KeyRole::Work)?;
        Self::new_on(TokioTransport::default(), options, executor, entropy()?)
    }
}

impl<T: Transport> WorkerServer<T> {
    /// A worker on any transport, whose every choice follows from `seed`.
    ///
    /// # Errors
    /// If the options make no sense.
    pub fn new_on<E: Executor>(
        transport: T,
        mut options: WorkerOptions,
        mut executor: E,
        seed: u64,
    ) -> Result<Self, StartError> {
        if options.managers.is_empty() {
            return Err(StartError::NoManager);
        }
        if !(1..=CAPACITY_MAX).contains(&options.config.capacity) {
            return Err(StartError::Capacity(options.config.capacity));
        }
        options.config.addresses = options.managers.len();
        executor.belong_to(options.config.peer);
        Ok(Self {
            transport,
            options,
            seed,
            executor: Box::new(executor),
            control: Arc::default(),
        })
    }

    /// To drain or stop it while it runs, and to see how it is doing.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle {
            control: Arc::clone(&self.control),
        }
    }

    /// Runs until it is stopped or drained and all its pool processes have ended.
    ///
    /// # Errors
    /// If another worker has come in under its name.
    pub async fn run(self) -> Result<(), RunError> {
        let Self {
            transport,
            options,
            seed,
            executor,
            control,
        } = self;
        let clock = Clock::start();
        let held = usize::try_from(options.config.held_bytes).unwrap_or(usize::MAX);
        let output_max = held.saturating_add(PAYLOAD_MAX_CEILING + HEADER_MAX + OUTPUT_SLACK);
        let name = options.config.name.clone();
        let machine = Worker::new(options.config, Rng::from_seed(seed), Instant::ZERO);
        let uplink = Uplink::new(transport, options.keys, options.managers, output_max);
        let side = WorkerEndpoint::new(machine, executor, Arc::clone(&control));
        PeerDriver::new(clock, uplink, side).run().await;
        if control.lock().replaced {
            return Err(RunError::Replaced { name });
        }
        Ok(())
    }
}

/// Commands to a worker that runs.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    control: Arc<Control>,
}

impl WorkerHandle {
    /// Hands back what has not started, finishes what runs, then leaves.
    pub fn drain(&self) {
        self.control.give(|commands| commands.drain = true);
    }

    /// Leaves now; what runs is killed.
    pub fn stop(&self) {
        self.control.give(|commands| commands.stop = true);
    }

    /// How the connection to the manager is doing.
    #[must_use]
    pub fn link(&self) -> LinkState {
        self.control.lock().link.clone()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Control(Mutex<Commands>);

#[derive(Debug, Default)]
struct Commands {
    drain: bool,
    stop: bool,
    waker: Option<Waker>,
    link: LinkState,
    /// Another worker has its name.
    replaced: bool,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Commands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, order: impl FnOnce(&mut Commands)) {
        let mut commands = self.lock();
        order(&mut commands);
        if let Some(waker) = commands.waker.take() {
            waker.wake();
        }
    }
}

/// A worker's machine with its executor and its handles.
pub(crate) struct WorkerEndpoint<M> {
    machine: M,
    io: WorkerIo,
    control: Arc<Control>,
}

/// What is around a worker's machine.
pub(crate) struct WorkerIo {
    executor: Box<dyn Executor>,
    events: Vec<PoolInput>,
    drain: bool,
    stop: bool,
    replaced: bool,
    clock: Clock,
    limiter: log::Limiter,
}

impl<M> WorkerEndpoint<M> {
    pub(crate) fn new(machine: M, executor: Box<dyn Executor>, control: Arc<Control>) -> Self {
        let io = WorkerIo {
            executor,
            events: Vec::new(),
            drain: false,
            stop: false,
            replaced: false,
            clock: Clock::start(),
            limiter: log::Limiter::default(),
        };
        Self {
            machine,
            io,
            control,
        }
    }
}

impl<M: Machine<Input = WorkerInput, Output = WorkerOutput>> Endpoint for WorkerEndpoint<M> {
    type Machine = M;
    type Told = ToWorker;
    type Io = WorkerIo;

    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let io = &mut self.io;
        let mut commands = self.control.lock();
        if !commands
            .waker
            .as_ref()
            .is_some_and(|old| old.will_wake(cx.waker()))
        {
            commands.waker = Some(cx.waker().clone());
        }
        io.drain |= std::mem::take(&mut commands.drain);
        io.stop |= std::mem::take(&mut commands.stop);
        drop(commands);
        let _ = io.executor.poll(cx, &mut io.events);
        io.drain || io.stop || !io.events.is_empty()
    }

    fn parts(&mut self) -> (impl DerefMut<Target = M>, &mut WorkerIo) {
        (&mut self.machine, &mut self.io)
    }

    fn tell(io: &mut WorkerIo, machine: &mut M, now: Instant) {
        if std::mem::take(&mut io.drain) {
            machine.handle_input(now, WorkerInput::Drain);
        }
        if std::mem::take(&mut io.stop) {
            machine.handle_input(now, WorkerInput::Stop);
        }
        for event in io.events.drain(..) {
            machine.handle_input(now, WorkerInput::Pool(event));
        }
    }

    fn fact(input: LinkInput<ToWorker>) -> WorkerInput {
        WorkerInput::Link(input)
    }

    fn carry_out(io: &mut WorkerIo, output: WorkerOutput) -> CarriedOut {
        match output {
            WorkerOutput::Link(output) => return CarriedOut::Link(output),
            WorkerOutput::Pool(action) => io.executor.execute(action),
            WorkerOutput::Notify(event) => {
                let program = io.executor.program();
                io.limiter.event(io.clock.now(), &event, program);
            }
            WorkerOutput::Replaced => io.replaced = true,
            WorkerOutput::Stopped => return CarriedOut::Stopped,
        }
        CarriedOut::Done
    }

    fn turned(&mut self, link: Option<LinkState>) -> bool {
        if let Some(link) = link {
            self.control.lock().link = link;
        }
        if self.io.replaced {
            self.control.lock().replaced = true;
        }
        false
    }
}
