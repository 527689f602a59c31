//! A client's machine between those who submit and its driver.

use std::ops::DerefMut;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use argon_core::Machine;
use argon_core::client::{self, ClientInput, ClientOutput};
use argon_core::ids::TaskId;
use argon_core::link::LinkInput;
use argon_core::payload::Payload;
use argon_core::task::{Outcome, TaskSpec};
use argon_core::time::Instant;

use super::Submission;
use super::board::{Admission, Board};
use crate::driver::clock::Clock;
use crate::driver::log;
use crate::driver::peer::{Side, Todo};
use crate::error::SubmitError;
use crate::link::LinkState;

/// A client's machine, as its driver sees it.
pub(super) trait ClientMachine:
    Machine<Input = ClientInput, Output = ClientOutput> + Send + 'static
{
    /// Takes a task in, or says why not.
    fn submit(&mut self, now: Instant, spec: TaskSpec) -> Result<TaskId, client::SubmitError>;
}

impl ClientMachine for client::Client {
    fn submit(&mut self, now: Instant, spec: TaskSpec) -> Result<TaskId, client::SubmitError> {
        Self::submit(self, now, spec)
    }
}

/// The machine and the board, shared by those who submit and the driver. The machine's lock is
/// taken before the board's.
pub(super) struct Desk<M> {
    pub(super) clock: Clock,
    pub(super) machine: Mutex<M>,
    pub(super) board: Arc<Board>,
}

impl<M: ClientMachine> Desk<M> {
    /// Takes a task in, as soon as there is room.
    pub(super) async fn submit(&self, spec: TaskSpec) -> Result<Submission, SubmitError> {
        if let Some(done) = self.try_submit(&spec)? {
            return Ok(done);
        }
        let called = self.clock.now();
        loop {
            self.board.room().await;
            let mut spec = spec.clone();
            // The deadline counts from the call, and not from when there was room.
            let waited = self.clock.now().since(called);
            spec.deadline = spec.deadline.map(|left| left.saturating_sub(waited));
            if let Some(done) = self.try_submit(&spec)? {
                self.board.pass_room_on();
                return Ok(done);
            }
        }
    }

    /// Takes a task in, or not now, or never.
    pub(super) fn try_submit(&self, spec: &TaskSpec) -> Result<Option<Submission>, SubmitError> {
        match self.board.admission() {
            Admission::Open => {}
            Admission::Full => return Ok(None),
            Admission::Stopped => {
                self.board.pass_room_on();
                return Err(SubmitError::Stopped);
            }
        }
        let mut machine = self.machine.lock().map_err(|_| SubmitError::Stopped)?;
        let error = match machine.submit(self.clock.now(), spec.clone()) {
            Ok(id) => {
                // Still under the machine's lock: the outcome cannot come sooner.
                self.board.open(id.seq);
                return Ok(Some(Submission {
                    id,
                    board: Arc::clone(&self.board),
                    taken: false,
                }));
            }
            Err(client::SubmitError::Full) => return Ok(None),
            Err(client::SubmitError::TooLarge { bytes, limit }) => {
                SubmitError::TooLarge { bytes, limit }
            }
            Err(client::SubmitError::Attempts(given)) => SubmitError::Attempts(given),
            Err(client::SubmitError::Stopped) => SubmitError::Stopped,
        };
        // The room that we may have been woken for is for whoever waits behind us.
        self.board.pass_room_on();
        Err(error)
    }
}

/// The driver's end of the desk.
pub(super) struct ClientSide<M> {
    desk: Arc<Desk<M>>,
    stopping: bool,
    cancels: Vec<u64>,
    outcomes: Vec<(u64, Outcome, Payload)>,
    wakers: Vec<Waker>,
}

impl<M> ClientSide<M> {
    pub(super) fn new(desk: Arc<Desk<M>>) -> Self {
        Self {
            desk,
            stopping: false,
            cancels: Vec::new(),
            outcomes: Vec::new(),
            wakers: Vec::new(),
        }
    }
}

impl<M: ClientMachine> Side for ClientSide<M> {
    type Machine = M;

    fn poll(&mut self, cx: &mut Context<'_>, facts: &mut Vec<ClientInput>) -> bool {
        let orders = self
            .desk
            .board
            .orders(cx, std::mem::take(&mut self.cancels));
        self.cancels = orders.cancels;
        facts.extend(
            self.cancels
                .drain(..)
                .map(|seq| ClientInput::Cancel { seq }),
        );
        if orders.stop && !self.stopping {
            self.stopping = true;
            facts.push(ClientInput::Stop);
        }
        orders.nudged
    }

    fn machine(&mut self) -> impl DerefMut<Target = M> {
        self.desk
            .machine
            .lock()
            .expect("only a defect of the machine can panic under its lock")
    }

    fn fact(input: LinkInput) -> ClientInput {
        ClientInput::Link(input)
    }

    fn carry_out(&mut self, output: ClientOutput) -> Todo {
        match output {
            ClientOutput::Link(output) => return Todo::Link(output),
            ClientOutput::Deliver {
                seq,
                outcome,
                payload,
            } => self.outcomes.push((seq, outcome, payload)),
            ClientOutput::Notify(event) => log::event(&event),
            ClientOutput::Stopped => return Todo::Stop,
        }
        Todo::Nothing
    }

    fn turned(&mut self, link: Option<LinkState>) {
        if !self.outcomes.is_empty() {
            self.desk
                .board
                .deliver(&mut self.outcomes, &mut self.wakers);
        }
        if let Some(link) = link {
            self.desk.board.set_link(link);
        }
    }
}

impl<M> Drop for ClientSide<M> {
    /// However the driver ends, by a panic or by the end of the runtime too, nobody waits for
    /// ever.
    fn drop(&mut self) {
        self.desk.board.end();
    }
}
