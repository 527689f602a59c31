//! How the last message that was said becomes a run, or a longer one.
//!
//! Only what is still with its sender grows, and nothing waits for it: a run holds what one step of a machine
//! says in a row.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::{Completed, End, Ends, Numbered, Run};
use crate::ids::{Attempt, TaskId};
use crate::limits::{RUN_BYTES_MAX, RUN_TASKS_MAX};
use crate::message::{
    Assign, AttemptEnd, FromClient, FromWorker, Message, ReportedAttempt, Submit, ToClient,
    ToManager, ToPeer, ToWorker,
};
use crate::payload::Payload;
use crate::task::{Completion, Outcome};
use crate::time::Nanos;

/// Whether a run of so many may grow by one whose payload is `more`.
pub(super) fn has_room(len: usize, payload: &Payload, more: &Payload) -> bool {
    len < RUN_TASKS_MAX
        && payload.len() + more.len() <= RUN_BYTES_MAX
        && payload.content() == more.content()
}

/// How many of the first payloads of these sizes a run takes, of one kind, that has so many tasks and bytes.
pub(super) fn room(len: usize, bytes: usize, sizes: impl Iterator<Item = u32>) -> usize {
    let mut bytes = bytes;
    let fits = |size: &u32| {
        bytes += *size as usize;
        bytes <= RUN_BYTES_MAX
    };
    let tasks = RUN_TASKS_MAX.saturating_sub(len);
    sizes.take(tasks).take_while(fits).count()
}

impl<T: Numbered> Run<T> {
    /// Adds one with the numbers after the last and all else as the first; false if there is no room.
    pub(super) fn push(&mut self, payload: &mut Payload, more: &Payload) -> bool {
        let has_room = has_room(self.sizes.len(), payload, more);
        if has_room {
            payload.append(more);
            self.sizes.push(more.len() as u32);
        }
        has_room
    }
}

/// An end that is to be said, too.
#[derive(Clone, Copy)]
struct More<'a> {
    offset: u64,
    ran: Nanos,
    result: &'a Payload,
}

impl More<'_> {
    /// As it is in a run, if it can be.
    fn end(self) -> Option<End> {
        Some(End {
            offset: u16::try_from(self.offset).ok()?,
            ran: u32::try_from(self.ran.0).ok()?,
            size: u32::try_from(self.result.len()).ok()?,
        })
    }
}

impl<T> Ends<T> {
    /// Adds an end, if there is room and it can be said.
    fn push(&mut self, payload: &mut Payload, more: More<'_>) -> bool {
        if !has_room(self.ends.len(), payload, more.result) {
            return false;
        }
        let end = more.end();
        if let Some(end) = end {
            payload.append(more.result);
            self.ends.push(end);
        }
        end.is_some()
    }
}

impl<B> Message<B> {
    /// Becomes a run of two, if there is room.
    pub(super) fn become_run(&mut self, more: &Payload, body: impl FnOnce(Vec<u32>) -> B) -> bool {
        let has_room = has_room(1, &self.payload, more);
        if has_room {
            self.body = body(vec![self.payload.len() as u32, more.len() as u32]);
            self.payload.append(more);
        }
        has_room
    }

    /// Becomes two ends, if there is room and they can be said.
    fn become_ends(
        &mut self,
        ran: Nanos,
        more: More<'_>,
        body: impl FnOnce(Vec<End>) -> B,
    ) -> bool {
        if !has_room(1, &self.payload, more.result) {
            return false;
        }
        let first = More {
            offset: 0,
            ran,
            result: &self.payload,
        };
        let ends = first.end().zip(more.end());
        if let Some((first, second)) = ends {
            self.body = body(vec![first, second]);
            self.payload.append(more.result);
        }
        ends.is_some()
    }
}

impl Message<ToManager> {
    /// Lets this submission say too that a task of this number is submitted, if it is the next and
    /// `is_like` the first.
    pub(crate) fn submit_too(
        &mut self,
        seq: u64,
        argument: &Payload,
        is_like: impl FnOnce(&Submit) -> bool,
    ) -> bool {
        let ToManager::Client(said) = &mut self.body else {
            return false;
        };
        if let FromClient::SubmitRun(run) = said {
            let is_next = run.first.seq.plus(run.sizes.len() as u64) == Some(seq);
            return is_next && is_like(&run.first) && run.push(&mut self.payload, argument);
        }
        let FromClient::Submit(first) = said else {
            return false;
        };
        if first.seq.plus(1) != Some(seq) || !is_like(first) {
            return false;
        }
        let first = first.clone();
        let run = |sizes| FromClient::SubmitRun(Box::new(Run { first, sizes })).into();
        self.become_run(argument, run)
    }

    /// Lets this end of an attempt say too that another completed, if they are of the same run of
    /// assignments.
    pub(crate) fn finish_too(
        &mut self,
        ended: ReportedAttempt,
        ran: Nanos,
        result: &Payload,
    ) -> bool {
        let ToManager::Worker(said) = &mut self.body else {
            return false;
        };
        let more = |first: &ReportedAttempt| {
            let offset = ended.task.seq.checked_sub(first.task.seq)?;
            let is_of_run = first.plus(offset) == Some(ended);
            is_of_run.then_some(More {
                offset,
                ran,
                result,
            })
        };
        if let FromWorker::FinishedRun(ends) = said {
            return more(&ends.first).is_some_and(|more| ends.push(&mut self.payload, more));
        }
        let FromWorker::Finished(finished) = said else {
            return false;
        };
        let (is_completed, first_ran) = (finished.end == AttemptEnd::Completed, finished.ran);
        let first = ReportedAttempt {
            attempt: finished.attempt,
            task: finished.task,
        };
        let Some(more) = more(&first).filter(|_| is_completed) else {
            return false;
        };
        let ends = |ends| FromWorker::FinishedRun(Box::new(Ends { first, ends })).into();
        self.become_ends(first_ran, more, ends)
    }
}

impl Message<ToPeer> {
    /// Lets this assignment say too that an attempt at a task is assigned, if both are the next and
    /// `is_like` the first.
    pub(crate) fn assign_too(
        &mut self,
        attempt: Attempt,
        task: TaskId,
        argument: &Payload,
        is_like: impl FnOnce(&Assign) -> bool,
    ) -> bool {
        let ToPeer::Worker(said) = &mut self.body else {
            return false;
        };
        let is_next = |first: &Assign, by: usize| {
            let by = by as u64;
            first.attempt.plus(by) == Some(attempt) && first.task.plus(by) == Some(task)
        };
        if let ToWorker::AssignRun(run) = said {
            return is_next(&run.first, run.sizes.len())
                && is_like(&run.first)
                && run.push(&mut self.payload, argument);
        }
        let ToWorker::Assign(first) = said else {
            return false;
        };
        if !is_next(first, 1) || !is_like(first) {
            return false;
        }
        let first = first.clone();
        let run = |sizes| ToWorker::AssignRun(Box::new(Run { first, sizes })).into();
        self.become_run(argument, run)
    }

    /// Lets this outcome say too that another task completed, if that went alike.
    pub(crate) fn complete_too(
        &mut self,
        seq: u64,
        completion: &Completion,
        result: &Payload,
    ) -> bool {
        let ToPeer::Client(said) = &mut self.body else {
            return false;
        };
        let more = |first: u64| {
            Some(More {
                offset: seq.checked_sub(first)?,
                ran: completion.last.ran,
                result,
            })
        };
        if let ToClient::OutcomeRun(ends) = said {
            let more = more(ends.first.seq).filter(|_| ends.first.is_like(completion));
            return more.is_some_and(|more| ends.push(&mut self.payload, more));
        }
        let ToClient::Outcome {
            seq: first,
            outcome: Outcome::Completed(before),
        } = said
        else {
            return false;
        };
        let more = more(*first);
        let (first, ran) = (Completed::new(*first, before), before.last.ran);
        let Some(more) = more.filter(|_| first.is_like(completion)) else {
            return false;
        };
        let ends = |ends| ToClient::OutcomeRun(Box::new(Ends { first, ends })).into();
        self.become_ends(ran, more, ends)
    }
}

impl Completed {
    /// What a task of this number that went so has in common with others.
    pub(super) fn new(seq: u64, completion: &Completion) -> Self {
        Self {
            seq,
            waited: completion.last.waited,
            charged: completion.charged,
            worker: completion.last.worker.clone(),
        }
    }

    /// Whether a task that went so has all of that in common.
    fn is_like(&self, completion: &Completion) -> bool {
        let Completion { last, charged } = completion;
        self.waited == last.waited && self.charged == *charged && self.worker == last.worker
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::payload::Content;
    use crate::task::Priority;

    fn submit(payload: Payload) -> Message<ToManager> {
        let submit = Submit {
            seq: 0,
            priority: Priority::NORMAL,
            max_attempts: 1,
            at_most_once: false,
            may_have_run: false,
            deadline: Nanos::NONE,
            max_wait: Nanos::NONE,
            time_limit: Nanos::NONE,
            name: Name::new("x").expect("short"),
        };
        Message {
            body: FromClient::Submit(submit).into(),
            payload,
        }
    }

    /// How many tasks a run takes whose arguments are this one.
    fn taken(payload: &Payload) -> u64 {
        let mut message = submit(payload.clone());
        let follows = |seq: &u64| message.submit_too(*seq, payload, |_| true);
        1 + (1..5_000).take_while(follows).count() as u64
    }

    #[test]
    fn a_run_grows_to_so_many_tasks_and_bytes() {
        assert_eq!(taken(&Payload::empty()), RUN_TASKS_MAX as u64);
        let large = Payload::from(vec![7; RUN_BYTES_MAX / 4]);
        assert_eq!(taken(&large), 4);
        let larger = Payload::from(vec![7; RUN_BYTES_MAX / 2 + 1]);
        assert_eq!(taken(&larger), 1);
    }

    #[test]
    fn only_the_next_of_the_same_content_joins() {
        let mut message = submit(Payload::from("a"));
        let json = Payload::new(Content::JSON, "b");
        for (seq, payload) in [
            (1, &json),
            (0, &Payload::from("b")),
            (2, &Payload::from("b")),
        ] {
            assert!(!message.submit_too(seq, payload, |_| true));
        }
        assert!(message.submit_too(1, &Payload::from("b"), |_| true));
        assert!(!message.submit_too(2, &json, |_| true));
        assert!(!message.submit_too(1, &Payload::from("b"), |_| true));
        assert!(!message.submit_too(2, &Payload::from("b"), |_| false));
    }
}
