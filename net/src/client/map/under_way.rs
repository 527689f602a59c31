//! The calls that are under way, and whose turn it is to be taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use argon_core::ids::TaskId;
use argon_core::name::Name;
use argon_core::task::TaskSpec;
use slab::Slab;

use super::super::Ended;
use super::super::completions::{CompletionTable, QueueEntry, QueueOwner};
use super::super::deferred::read_end;
use crate::call::Read;
use crate::error::{Error, SubmitError};

/// Calls under way, and ends that nobody has taken. They have a queue to themselves, so that what
/// comes together is taken, and its taker woken, once.
pub(super) struct CallsUnderWay<T> {
    completions: Arc<CompletionTable>,
    queue: QueueOwner,
    /// By token.
    calls: Slab<Under<T>>,
    /// Their tickets, oldest first; `None` if the order does not matter.
    order: Option<VecDeque<usize>>,
    /// Ends whose turn has not come. They are large, and few have to wait.
    ends: Slab<Ended>,
    /// What was in the queue.
    arrived: VecDeque<(usize, Ended)>,
    /// Tickets of calls that have ended, if the order does not matter and they have not just come
    /// from the queue.
    ready: VecDeque<usize>,
}

/// A call under way.
struct Under<T> {
    call: Option<What<T>>,
    state: CallState,
}

/// What its end is read with.
struct What<T> {
    name: Name,
    /// Of its arguments.
    bytes: usize,
    read: Read<T>,
}

enum CallState {
    /// Waits for room in the client.
    Waiting,
    /// The client has it, under this number.
    Running(u64),
    /// Its end lies there, for its turn to be taken.
    Ended(usize),
    /// It was never sent.
    Refused(Box<Error>),
}

impl CallState {
    fn is_over(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Refused(_))
    }
}

impl<T> CallsUnderWay<T> {
    /// Nothing is under way yet; results are in order.
    pub(super) fn new(completions: &Arc<CompletionTable>) -> Self {
        Self {
            completions: Arc::clone(completions),
            queue: completions.add_queue(),
            calls: Slab::new(),
            order: Some(VecDeque::new()),
            ends: Slab::new(),
            arrived: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// Whether [`poll`](Self::poll) has a result.
    pub(super) fn is_ready(&self) -> bool {
        match &self.order {
            Some(order) => {
                let (first, arrived) = (order.front(), self.arrived.front());
                let has_come = |token| arrived.is_some_and(|(arrived, _)| arrived == token);
                first.is_some_and(|token| has_come(token) || self.calls[*token].state.is_over())
            }
            None => !self.arrived.is_empty() || !self.ready.is_empty(),
        }
    }

    /// Calls under way or waiting to be, and ends that nobody has taken.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Makes a place for a call that is about to be sent.
    pub(super) fn push(&mut self, spec: &TaskSpec, read: Read<T>) -> QueueEntry {
        let call = What {
            name: spec.name.clone(),
            bytes: spec.payload.len(),
            read,
        };
        let token = self.insert(Some(call), CallState::Waiting);
        QueueEntry {
            queue: self.queue.queue,
            token,
        }
    }

    /// Whether the client took the call.
    pub(super) fn sent(&mut self, token: usize, taken: Result<TaskId, SubmitError>) {
        let under = &mut self.calls[token];
        match taken {
            Ok(id) => under.state = CallState::Running(id.seq),
            Err(error) => {
                let name = under.call.as_ref().map_or("", |call| call.name.as_str());
                let refused = CallState::Refused(Error::refused(name, error).into());
                self.end(token, refused);
            }
        }
    }

    /// A call that cannot be sent.
    pub(super) fn push_refused(&mut self, error: Error) {
        let token = self.insert(None, CallState::Waiting);
        self.end(token, CallState::Refused(error.into()));
    }

    fn insert(&mut self, call: Option<What<T>>, state: CallState) -> usize {
        let token = self.calls.insert(Under { call, state });
        if let Some(order) = &mut self.order {
            order.push_back(token);
        }
        token
    }

    fn end(&mut self, token: usize, state: CallState) {
        self.calls[token].state = state;
        if self.order.is_none() {
            self.ready.push_back(token);
        }
    }

    pub(super) fn forget_order(&mut self) {
        let order = self.order.take().unwrap_or_default();
        let over = order
            .into_iter()
            .filter(|token| self.calls[*token].state.is_over());
        self.ready.extend(over);
    }

    /// The next result.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        if self.calls.is_empty() {
            return Poll::Pending;
        }
        loop {
            while let Some((token, ended)) = self.arrived.pop_front() {
                match &mut self.order {
                    Some(order) if order.front() != Some(&token) => {
                        self.calls[token].state = CallState::Ended(self.ends.insert(ended));
                    }
                    order => {
                        if let Some(order) = order {
                            order.pop_front();
                        }
                        return Poll::Ready(self.take_ended(token, ended));
                    }
                }
            }
            let over = match &mut self.order {
                Some(order) => {
                    let first = order.front().copied();
                    let over = first.filter(|token| self.calls[*token].state.is_over());
                    if over.is_some() {
                        order.pop_front();
                    }
                    over
                }
                None => self.ready.pop_front(),
            };
            if let Some(token) = over {
                return Poll::Ready(self.take(token));
            }
            ready!(
                self.completions
                    .poll_queue(self.queue.queue, cx, &mut self.arrived)
            );
        }
    }

    /// Takes the result of a call that is over.
    fn take(&mut self, token: usize) -> Result<T, Error> {
        let state = std::mem::replace(&mut self.calls[token].state, CallState::Waiting);
        match state {
            CallState::Ended(end) => {
                let ended = self.ends.remove(end);
                self.take_ended(token, ended)
            }
            CallState::Refused(error) => {
                self.calls.remove(token);
                Err(*error)
            }
            CallState::Waiting | CallState::Running(_) => {
                unreachable!("only what is over is taken")
            }
        }
    }

    fn take_ended(&mut self, token: usize, ended: Ended) -> Result<T, Error> {
        let call = self.calls.remove(token).call;
        let What { name, bytes, read } = call.expect("only what was sent ends");
        self.completions.let_go(&self.queue, &ended);
        read_end(ended, &name, bytes, read)
    }
}

impl<T> Drop for CallsUnderWay<T> {
    fn drop(&mut self) {
        let running = self
            .calls
            .iter()
            .filter_map(|(_, under)| match under.state {
                CallState::Running(seq) => Some(seq),
                CallState::Waiting | CallState::Ended(_) | CallState::Refused(_) => None,
            });
        self.completions.remove_queue(self.queue.queue, running);
    }
}
