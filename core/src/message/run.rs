//! Runs: what is said of many tasks at once that follow each other.
//!
//! A run is an encoding of messages about one task each, which differ in their numbers and payloads
//! alone. Whoever hears one does what it would have done on hearing those, one after the other. Only
//! peers that speak [`Version::RUNS`](super::Version::RUNS) say and hear them.

mod grow;
mod pool;
mod rows;
#[cfg(feature = "testing")]
mod singles;

use alloc::vec::Vec;

pub(crate) use rows::{Assignments, Completions};

use bincode::{Decode, Encode};

use super::{Assign, AttemptEnd, Finished, ReportedAttempt, Submit};
use crate::ids::{Attempt, TaskId};
use crate::limits::RUN_TASKS_MAX;
use crate::name::Name;
use crate::payload::Payload;
use crate::task::{Completion, LastAttempt, Outcome, RejectReason};
use crate::time::Nanos;

pub use pool::{Answer, AnswerParts, Answers, Asked};

/// Tasks whose numbers rise by one. Their payloads lie one after the other in that of the message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Run<T> {
    /// What is said of the first; of the others all but the numbers is the same.
    pub first: T,
    /// Bytes of each payload; two at least, `RUN_TASKS_MAX` at most.
    pub sizes: Vec<u32>,
}

/// Attempts that completed, in the order of their ends. Their results lie one after the other in the
/// payload of the message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ends<T> {
    /// What the numbers of the others are counted from, and what is the same for all.
    pub first: T,
    /// Each end; two at least, `RUN_TASKS_MAX` at most.
    pub ends: Vec<End>,
}

/// One end of [`Ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct End {
    /// How far its numbers are above those of the first.
    pub offset: u16,
    /// Nanoseconds that it ran.
    pub ran: u32,
    /// Bytes of its result.
    pub size: u32,
}

/// What is the same for outcomes that a client is told together.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Completed {
    /// The client's number of the first task.
    pub seq: u64,
    /// Time from the acceptance of each task to its assignment.
    pub waited: Nanos,
    /// Attempts that were charged to each before.
    pub charged: u8,
    /// The worker that had them.
    pub worker: Name,
}

/// Tasks in a row that are rejected alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rejections {
    /// The client's number of the first task; those of the others rise by one.
    pub first: u64,
    /// How many there are; two at least, `RUN_TASKS_MAX` at most.
    pub count: u32,
    /// Why: each.
    pub reason: RejectReason,
    /// When each is worth another try.
    pub retry_after: Nanos,
    /// Whether an attempt at each may have started, now or in an earlier life.
    pub may_have_run: bool,
}

/// The first of a row of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AttemptRun {
    /// The first.
    pub first: Attempt,
    /// How many; their numbers rise by one.
    pub count: u32,
}

/// What has numbers, and can be followed by others like it.
pub trait Numbered: Clone {
    /// The same with numbers that are `by` higher, unless there are none so high.
    fn plus(&self, by: u64) -> Option<Self>;
}

impl Numbered for u64 {
    fn plus(&self, by: u64) -> Option<Self> {
        self.checked_add(by)
    }
}

macro_rules! numbered {
    ($($type:ident { $($number:ident),+ })+) => {$(
        impl Numbered for $type {
            fn plus(&self, by: u64) -> Option<Self> {
                let mut plus = self.clone();
                $(plus.$number = self.$number.plus(by)?;)+
                Some(plus)
            }
        }
    )+};
}

numbered! {
    Attempt { number }
    TaskId { seq }
    ReportedAttempt { attempt, task }
    Submit { seq }
    Assign { attempt, task }
    Completed { seq }
    Asked { id }
}

/// The index of the last of a run of so many, if a run may have as many.
fn last(len: usize) -> Option<usize> {
    (2..=RUN_TASKS_MAX).contains(&len).then(|| len - 1)
}

/// A payload that is taken apart from its start on.
#[derive(Debug)]
struct Cut<'a> {
    payload: &'a Payload,
    at: usize,
}

impl<'a> Cut<'a> {
    /// To be taken apart into these sizes, if they are its own.
    fn new(payload: &'a Payload, sizes: impl Iterator<Item = u32>) -> Option<Self> {
        let total: u64 = sizes.map(u64::from).sum();
        (total == payload.len() as u64).then_some(Self { payload, at: 0 })
    }

    fn skip(&mut self, sizes: &[u32]) {
        self.at += sizes.iter().map(|size| *size as usize).sum::<usize>();
    }

    fn next(&mut self, size: u32) -> Option<Payload> {
        let (rest, size) = (self.payload.get(self.at..)?, size as usize);
        if size > rest.len() {
            return None;
        }
        self.at += size;
        Some(Payload::copy_first(self.payload.content(), rest, size))
    }
}

impl<T: Numbered> Run<T> {
    /// What one would say of each alone, and its payload; nothing if it is no run: sizes and payload do
    /// not agree, there are too few or too many, or the numbers end before it does.
    pub fn parts<'a>(&'a self, payload: &'a Payload) -> Option<Parts<'a, T>> {
        let last = last(self.sizes.len())?;
        self.first.plus(last as u64)?;
        let cut = Cut::new(payload, self.sizes.iter().copied())?;
        Some(Parts {
            run: self,
            next: 0,
            cut,
        })
    }

    /// The payload of each, in their order; nothing if it is no run, as with [`parts`](Self::parts).
    pub fn payloads<'a>(
        &'a self,
        payload: &'a Payload,
    ) -> Option<impl Iterator<Item = Payload> + 'a> {
        let last = last(self.sizes.len())?;
        self.first.plus(last as u64)?;
        let mut cut = Cut::new(payload, self.sizes.iter().copied())?;
        Some(self.sizes.iter().map_while(move |size| cut.next(*size)))
    }
}

/// The tasks of a [`Run`], one after the other: what is said of each, and its payload.
#[derive(Debug)]
pub struct Parts<'a, T> {
    run: &'a Run<T>,
    /// The index of the next.
    next: usize,
    cut: Cut<'a>,
}

impl<T> Parts<'_, T> {
    /// The sizes of the payloads of those that are left.
    #[must_use]
    pub fn sizes(&self) -> &[u32] {
        self.run.sizes.get(self.next..).unwrap_or_default()
    }

    /// Leaves out the next `count`.
    pub fn leave_out(&mut self, count: usize) {
        let left = self.run.sizes.get(self.next..).unwrap_or_default();
        let count = count.min(left.len());
        self.cut.skip(&left[..count]);
        self.next += count;
    }
}

impl<T: Numbered> Iterator for Parts<'_, T> {
    type Item = (T, Payload);

    fn next(&mut self) -> Option<Self::Item> {
        let size = *self.run.sizes.get(self.next)?;
        let part = self.run.first.plus(self.next as u64)?;
        self.next += 1;
        Some((part, self.cut.next(size)?))
    }
}

impl<T: Numbered> Ends<T> {
    /// What one would say of each alone: whose it is, how long it ran, and its result. Nothing if they
    /// are no ends, as with [`Run::parts`].
    pub fn parts<'a>(
        &'a self,
        payload: &'a Payload,
    ) -> Option<impl Iterator<Item = (T, Nanos, Payload)> + 'a> {
        last(self.ends.len())?;
        let offsets = self.ends.iter().map(|end| end.offset);
        self.first.plus(offsets.max()?.into())?;
        let mut cut = Cut::new(payload, self.ends.iter().map(|end| end.size))?;
        Some(self.ends.iter().map_while(move |end| {
            let first = self.first.plus(end.offset.into())?;
            Some((first, Nanos(end.ran.into()), cut.next(end.size)?))
        }))
    }
}

impl Completed {
    /// The outcome of the task of this number, which ran for so long.
    #[must_use]
    pub fn outcome(self, ran: Nanos) -> (u64, Outcome) {
        let last = LastAttempt {
            ran,
            waited: self.waited,
            worker: self.worker,
        };
        let completion = Completion {
            last,
            charged: self.charged,
        };
        (self.seq, Outcome::Completed(completion))
    }
}

impl Assign {
    /// Which attempt is assigned.
    #[must_use]
    pub fn assigned(&self) -> ReportedAttempt {
        ReportedAttempt {
            attempt: self.attempt,
            task: self.task,
        }
    }
}

impl ReportedAttempt {
    /// That it completed after so long.
    #[must_use]
    pub fn completed(self, ran: Nanos) -> Finished {
        Finished {
            attempt: self.attempt,
            task: self.task,
            ran,
            end: AttemptEnd::Completed,
        }
    }
}

impl Rejections {
    /// The numbers of the tasks; nothing if it is no run: there are too few or too many, or the numbers end
    /// before they do.
    #[must_use]
    pub fn seqs(&self) -> Option<core::ops::RangeInclusive<u64>> {
        let last = last(self.count as usize)?;
        Some(self.first..=self.first.checked_add(last as u64)?)
    }
}

impl AttemptRun {
    /// Rows of attempts, for as long as their numbers rise by one.
    #[must_use]
    pub fn rows(attempts: &[Attempt]) -> Vec<Self> {
        let mut rows: Vec<Self> = Vec::new();
        for attempt in attempts {
            if let Some(row) = rows.last_mut()
                && row.first.plus(row.count.into()) == Some(*attempt)
            {
                row.count += 1;
            } else {
                rows.push(Self {
                    first: *attempt,
                    count: 1,
                });
            }
        }
        rows
    }

    /// Its attempts.
    pub fn attempts(self) -> impl Iterator<Item = Attempt> {
        (0..u64::from(self.count)).map_while(move |by| self.first.plus(by))
    }
}
