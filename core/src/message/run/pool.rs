//! Runs of the pool protocol, where numbers rise by one both ways: answers come in order.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::{IntoIter, Vec};

use bincode::{Decode, Encode};

use super::grow::has_room;
use super::{Numbered, Run, last};
use crate::limits::RUN_BYTES_MAX;
use crate::message::{Message, PoolBody, PoolMessage};
use crate::name::Name;
use crate::payload::Payload;
use crate::time::Nanos;

/// What a pool process is asked to run.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Asked {
    /// The worker's number for it.
    pub id: u64,
    /// What to run.
    pub name: Name,
}

/// Attempts in a row that completed. Their results lie one after the other in the payload of the
/// message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answers {
    /// The number of the first; those of the others rise by one.
    pub first: u64,
    /// Each answer; two at least, `RUN_TASKS_MAX` at most.
    pub answers: Vec<Answer>,
}

/// One of [`Answers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// Nanoseconds that it ran.
    pub ran: u32,
    /// Bytes of its result.
    pub size: u32,
}

impl Answer {
    /// Of an attempt that ran so long, if so much can be said.
    fn new(ran: Nanos, result: &Payload) -> Option<Self> {
        Some(Self {
            ran: u32::try_from(ran.0).ok()?,
            size: u32::try_from(result.len()).ok()?,
        })
    }
}

/// [`Answers`], taken apart: the number of each attempt, how long it ran, and its result.
#[derive(Clone, Debug)]
pub struct AnswerParts {
    next: u64,
    answers: IntoIter<Answer>,
    payload: Payload,
    /// Where in the payload the next result begins.
    at: usize,
}

impl Answers {
    /// What one would say of each alone; nothing if they are none: sizes and payload do not agree, there
    /// are too few, too many or too many bytes, or the numbers end before they do.
    #[must_use]
    pub fn into_parts(self, payload: Payload) -> Option<AnswerParts> {
        self.first.plus(last(self.answers.len())? as u64)?;
        let sizes = self.answers.iter().map(|answer| u64::from(answer.size));
        let agree = sizes.sum::<u64>() == payload.len() as u64;
        (agree && payload.len() <= RUN_BYTES_MAX).then(|| AnswerParts {
            next: self.first,
            answers: self.answers.into_iter(),
            payload,
            at: 0,
        })
    }
}

impl Iterator for AnswerParts {
    type Item = (u64, Nanos, Payload);

    fn next(&mut self) -> Option<Self::Item> {
        let answer = self.answers.next()?;
        let id = self.next;
        self.next = id.wrapping_add(1);
        let (rest, size) = (self.payload.get(self.at..)?, answer.size as usize);
        if size > rest.len() {
            return None;
        }
        self.at += size;
        let result = Payload::copy_first(self.payload.content(), rest, size);
        Some((id, Nanos(answer.ran.into()), result))
    }
}

impl Run<Asked> {
    /// The argument of each; nothing if it is no run that a worker may say, as with [`Run::parts`], or
    /// has too many bytes.
    #[must_use]
    pub fn arguments<'a>(
        &'a self,
        payload: &'a Payload,
    ) -> Option<impl Iterator<Item = (u64, Payload)> + 'a> {
        self.first.id.plus(last(self.sizes.len())? as u64)?;
        let mut cut = super::Cut::new(payload, self.sizes.iter().copied())?;
        let arguments = (self.first.id..=u64::MAX).zip(&self.sizes);
        let arguments = arguments.map_while(move |(id, size)| Some((id, cut.next(*size)?)));
        (payload.len() <= RUN_BYTES_MAX).then_some(arguments)
    }
}

impl PoolMessage {
    /// Lets this `Run` say too that an attempt of this number is to be run, if it is the next of the
    /// same name and there is room.
    #[must_use]
    pub fn run_too(&mut self, id: u64, name: &Name, argument: &Payload) -> bool {
        match &mut self.body {
            PoolBody::RunMany(run) => {
                let is_next = run.first.id.plus(run.sizes.len() as u64) == Some(id);
                is_next && run.first.name == *name && run.push(&mut self.payload, argument)
            }
            PoolBody::Run {
                id: first,
                name: its,
            } => {
                if first.plus(1) != Some(id) || its != name {
                    return false;
                }
                let (id, name) = (*first, its.clone());
                let first = Asked { id, name };
                let run = |sizes| PoolBody::RunMany(Box::new(Run { first, sizes }));
                self.become_run(argument, run)
            }
            PoolBody::Ready { .. }
            | PoolBody::Completed { .. }
            | PoolBody::Failed { .. }
            | PoolBody::CompletedMany(_) => false,
        }
    }

    /// Lets this `Completed` say too that the attempt of this number completed, if it is the next and
    /// there is room.
    #[must_use]
    pub fn completed_too(&mut self, id: u64, ran: Nanos, result: &Payload) -> bool {
        let Some(more) = Answer::new(ran, result) else {
            return false;
        };
        match &mut self.body {
            PoolBody::CompletedMany(many) => {
                let is_next = many.first.plus(many.answers.len() as u64) == Some(id);
                let joins = is_next && has_room(many.answers.len(), &self.payload, result);
                if joins {
                    self.payload.append(result);
                    many.answers.push(more);
                }
                joins
            }
            PoolBody::Completed { id: first, ran } => {
                let own = Answer::new(*ran, &self.payload);
                let joins = first.plus(1) == Some(id) && has_room(1, &self.payload, result);
                let Some(own) = own.filter(|_| joins) else {
                    return false;
                };
                let (first, answers) = (*first, vec![own, more]);
                self.body = PoolBody::CompletedMany(Box::new(Answers { first, answers }));
                self.payload.append(result);
                true
            }
            PoolBody::Ready { .. }
            | PoolBody::Run { .. }
            | PoolBody::Failed { .. }
            | PoolBody::RunMany(_) => false,
        }
    }
}

impl PoolMessage {
    /// What a run says of each attempt alone; itself if it is none, nothing if it makes no sense.
    #[must_use]
    pub fn pool_singles(&self) -> Vec<Self> {
        match &self.body {
            PoolBody::RunMany(run) => {
                let parts = run.parts(&self.payload).into_iter().flatten();
                let single = |(Asked { id, name }, payload)| Message {
                    body: PoolBody::Run { id, name },
                    payload,
                };
                parts.map(single).collect()
            }
            PoolBody::CompletedMany(many) => {
                let parts = many.clone().into_parts(self.payload.clone());
                let single = |(id, ran, payload)| Message {
                    body: PoolBody::Completed { id, ran },
                    payload,
                };
                parts.into_iter().flatten().map(single).collect()
            }
            PoolBody::Ready { .. }
            | PoolBody::Run { .. }
            | PoolBody::Completed { .. }
            | PoolBody::Failed { .. } => vec![self.clone()],
        }
    }
}
