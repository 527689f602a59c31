//! A client's machine between those who submit and its driver.

use std::ops::DerefMut;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use argon_core::Machine;
use argon_core::client::{self, ClientInput, ClientOutput, Delivery};
use argon_core::event::Event;
use argon_core::ids::TaskId;
use argon_core::link::LinkInput;
use argon_core::message::ToClient;
use argon_core::task::TaskSpec;
use argon_core::time::Instant;

use super::Submission;
use super::completions::{Admission, CompletionState, CompletionTable, For};
use crate::driver::clock::Clock;
use crate::driver::log;
use crate::driver::peer::{CarriedOut, Endpoint};
use crate::error::SubmitError;
use crate::link::LinkState;

/// A client's machine, as its driver sees it.
pub(super) trait ClientMachine:
    Machine<Input = ClientInput, Output = ClientOutput> + Send + 'static
{
    /// Whether it would take a task in now.
    fn check(&self, spec: &TaskSpec) -> Result<(), client::SubmitError>;

    /// Takes a task in that it would take in.
    fn take_in(&mut self, now: Instant, spec: TaskSpec) -> TaskId;
}

impl ClientMachine for client::Client {
    fn check(&self, spec: &TaskSpec) -> Result<(), client::SubmitError> {
        Self::check(self, spec)
    }

    #[inline]
    fn take_in(&mut self, now: Instant, spec: TaskSpec) -> TaskId {
        Self::take_in(self, now, spec)
    }
}

/// The machine and the completion table, shared by those who submit and the driver. The machine's
/// lock is taken before the table's.
pub(super) struct Shared<M> {
    pub(super) clock: Clock,
    pub(super) machine: Mutex<M>,
    pub(super) completions: Arc<CompletionTable>,
}

impl<M: ClientMachine> Shared<M> {
    /// Takes a task in, as soon as there is room.
    pub(super) async fn submit(&self, spec: TaskSpec) -> Result<Submission, SubmitError> {
        let id = self.submit_for(spec, For::Submission).await?;
        Ok(Submission {
            id,
            completions: Arc::clone(&self.completions),
            taken: false,
        })
    }

    /// As `submit`, with a say in where the outcome goes.
    pub(super) async fn submit_for(
        &self,
        spec: TaskSpec,
        whom: For,
    ) -> Result<TaskId, SubmitError> {
        let mut spec = match self.try_submit(spec, whom)? {
            Taken::Now(id) => return Ok(id),
            Taken::Later(spec) => spec,
        };
        let mut read = self.clock.now();
        let _waits = self.completions.wait_for_room();
        // What was taken before it was known that we wait has woken nobody.
        spec = match self.try_submit(spec, whom)? {
            Taken::Now(id) => return Ok(id),
            Taken::Later(spec) => spec,
        };
        loop {
            self.completions.room().await;
            // The deadline counts from the call, and not from when there was room.
            let now = self.clock.now();
            let waited = now.since(read);
            spec.deadline = spec.deadline.map(|left| left.saturating_sub(waited));
            read = now;
            match self.try_submit(spec, whom)? {
                Taken::Now(id) => {
                    self.completions.pass_room_on();
                    return Ok(id);
                }
                Taken::Later(back) => spec = back,
            }
        }
    }

    /// Takes a task in, or not now, or never.
    pub(super) fn try_submit(&self, spec: TaskSpec, whom: For) -> Result<Taken, SubmitError> {
        let submitted = self.submit_now(spec, whom);
        if submitted.is_err() {
            // The room that we may have been woken for is for whoever waits behind us.
            self.completions.pass_room_on();
        }
        submitted
    }

    fn submit_now(&self, spec: TaskSpec, whom: For) -> Result<Taken, SubmitError> {
        self.submit_guard()?.submit(spec, whom)
    }

    /// For those who have many tasks to submit. Nothing else moves meanwhile.
    pub(super) fn submit_guard(&self) -> Result<SubmitGuard<'_, M>, SubmitError> {
        Ok(SubmitGuard {
            clock: self.clock,
            machine: self.machine.lock().map_err(|_| SubmitError::Stopped)?,
            state: self.completions.lock(),
            completions: &self.completions,
        })
    }
}

/// Both locks.
pub(super) struct SubmitGuard<'a, M> {
    clock: Clock,
    machine: MutexGuard<'a, M>,
    state: MutexGuard<'a, CompletionState>,
    completions: &'a CompletionTable,
}

impl<M: ClientMachine> SubmitGuard<'_, M> {
    /// Takes a task in, or not now, or never.
    fn submit(&mut self, spec: TaskSpec, whom: For) -> Result<Taken, SubmitError> {
        Ok(if self.admits(&spec)? {
            Taken::Now(self.take_in(spec, whom))
        } else {
            Taken::Later(spec)
        })
    }

    /// Whether a task would be taken in now.
    ///
    /// # Errors
    /// If it never will.
    pub(super) fn admits(&mut self, spec: &TaskSpec) -> Result<bool, SubmitError> {
        match self.state.admission(self.completions) {
            Admission::Open => {}
            Admission::Full => return Ok(false),
            Admission::Stopped => return Err(SubmitError::Stopped),
        }
        match self.machine.check(spec) {
            Ok(()) => Ok(true),
            Err(client::SubmitError::Full) => Ok(false),
            Err(error) => Err(refusal(error)),
        }
    }

    /// Takes a task in that would be.
    pub(super) fn take_in(&mut self, spec: TaskSpec, whom: For) -> TaskId {
        // Only a deadline needs the time, and reading the clock costs as much as the rest.
        let now = match spec.deadline {
            Some(_) => self.clock.now(),
            None => Instant::ZERO,
        };
        let id = self.machine.take_in(now, spec);
        // Still under the machine's lock: the outcome cannot come sooner.
        self.state.open(id.seq, whom);
        id
    }
}

fn refusal(error: client::SubmitError) -> SubmitError {
    match error {
        client::SubmitError::TooLarge { bytes, limit } => SubmitError::TooLarge { bytes, limit },
        client::SubmitError::Attempts(given) => SubmitError::Attempts(given),
        // It had room when it was asked, under the same lock.
        client::SubmitError::Stopped | client::SubmitError::Full => SubmitError::Stopped,
        client::SubmitError::Streams => {
            debug_assert!(false, "no task here has streams");
            SubmitError::Stopped
        }
    }
}

/// What became of a task that can be sent.
pub(super) enum Taken {
    /// It was taken in.
    Now(TaskId),
    /// There is no room for it yet.
    Later(TaskSpec),
}

/// The driver's end of what is shared.
pub(super) struct ClientEndpoint<M> {
    shared: Arc<Shared<M>>,
    io: ClientIo,
    wakers: Vec<Waker>,
}

/// What is around a client's machine.
#[derive(Default)]
pub(super) struct ClientIo {
    cancels: Vec<u64>,
    stop: bool,
    /// It was told to stop.
    stopping: bool,
    deliveries: Vec<Delivery>,
    /// Logged when nobody waits for the machine.
    events: Vec<Event>,
}

impl<M> ClientEndpoint<M> {
    pub(super) fn new(shared: Arc<Shared<M>>) -> Self {
        Self {
            shared,
            io: ClientIo::default(),
            wakers: Vec::new(),
        }
    }
}

impl<M: ClientMachine> Endpoint for ClientEndpoint<M> {
    type Machine = M;
    type Told = ToClient;
    type Io = ClientIo;

    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let io = &mut self.io;
        let cancels = std::mem::take(&mut io.cancels);
        let commands = self.shared.completions.commands(cx, cancels);
        io.cancels = commands.cancels;
        io.stop = commands.stop && !io.stopping;
        commands.nudged || io.stop || !io.cancels.is_empty()
    }

    fn parts(&mut self) -> (impl DerefMut<Target = M>, &mut ClientIo) {
        let machine = self
            .shared
            .machine
            .lock()
            .expect("only a defect of the machine can panic under its lock");
        (machine, &mut self.io)
    }

    fn tell(io: &mut ClientIo, machine: &mut M, now: Instant) {
        for seq in io.cancels.drain(..) {
            machine.handle_input(now, ClientInput::Cancel { seq });
        }
        if io.stop {
            io.stopping = true;
            machine.handle_input(now, ClientInput::Stop);
        }
    }

    fn fact(input: LinkInput<ToClient>) -> ClientInput {
        ClientInput::Link(input)
    }

    fn carry_out(io: &mut ClientIo, output: ClientOutput) -> CarriedOut {
        match output {
            ClientOutput::Link(output) => return CarriedOut::Link(output),
            ClientOutput::Deliver(mut deliveries) => {
                if io.deliveries.is_empty() {
                    io.deliveries = deliveries;
                } else {
                    io.deliveries.append(&mut deliveries);
                }
            }
            ClientOutput::StreamsBegin { .. } | ClientOutput::Stream { .. } => {
                debug_assert!(false, "no task here has streams");
            }
            ClientOutput::Notify(event) => io.events.push(event),
            ClientOutput::Stopped => return CarriedOut::Stopped,
        }
        CarriedOut::Done
    }

    fn turned(&mut self, link: Option<LinkState>) -> bool {
        self.io
            .events
            .drain(..)
            .for_each(|event| log::event(&event, None));
        let deliveries = std::mem::take(&mut self.io.deliveries);
        let delivered = deliveries.len();
        if delivered > 0 {
            let completions = &self.shared.completions;
            completions.deliver(deliveries, &mut self.wakers);
        }
        if let Some(link) = link {
            self.shared.completions.set_link(link);
        }
        delivered > 0
    }
}

impl<M> Drop for ClientEndpoint<M> {
    /// However the driver ends, by a panic or by the end of the runtime too, nobody waits for
    /// ever.
    fn drop(&mut self) {
        self.shared.completions.end();
    }
}
