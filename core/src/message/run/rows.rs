//! How many tasks in a row are said at once: as if each were [said after the other](super::grow).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::grow::room;
use super::{Completed, End, Ends, Numbered, Rejections, Run};
use crate::limits::RUN_TASKS_MAX;
use crate::message::{Assign, Message, ToClient, ToPeer, ToWorker};
use crate::payload::{Content, Payload};
use crate::task::Outcome;
use crate::time::Nanos;

/// Assignments that differ in their numbers, which rise by one, and in their arguments.
#[derive(Debug)]
pub(crate) struct Assignments<'a> {
    pub(crate) first: Assign,
    pub(crate) content: Content,
    pub(crate) sizes: &'a [u32],
    /// The arguments, one after the other.
    pub(crate) arguments: &'a [u8],
}

/// Outcomes of tasks that completed alike.
#[derive(Debug)]
pub(crate) struct Completions<'a> {
    /// What the numbers are counted from, and what is the same for all.
    pub(crate) first: Completed,
    pub(crate) content: Content,
    pub(crate) ends: &'a [End],
    /// The results, one after the other.
    pub(crate) results: &'a [u8],
}

/// A payload to which more will be appended.
fn open(content: Content, bytes: &[u8]) -> Payload {
    let mut payload = Payload::copy_from_slice(content, &[]);
    payload.append(bytes);
    payload
}

/// The bytes of `all` that are of these sizes and come after those of others.
fn part(all: &[u8], before: impl Iterator<Item = u32>, sizes: impl Iterator<Item = u32>) -> &[u8] {
    let start = before.map(|size| size as usize).sum::<usize>();
    let len = sizes.map(|size| size as usize).sum::<usize>();
    all.get(start..start + len).unwrap_or_default()
}

impl Assignments<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sizes.len()
    }

    fn arguments(&self, from: usize, tasks: usize) -> &[u8] {
        let (before, sizes) = self.sizes.split_at(from);
        part(
            self.arguments,
            before.iter().copied(),
            sizes[..tasks].iter().copied(),
        )
    }

    /// A message that says as many as it has room for, from this one on, and how many that are.
    pub(crate) fn message(&self, from: usize) -> (Message<ToPeer>, usize) {
        let first = self
            .first
            .plus(from as u64)
            .unwrap_or_else(|| self.first.clone());
        let size = self.sizes[from];
        let tasks = 1 + room(1, size as usize, self.sizes[from + 1..].iter().copied());
        let arguments = self.arguments(from, tasks);
        let message = if tasks == 1 {
            Message {
                body: ToWorker::Assign(first).into(),
                payload: Payload::copy_from_slice(self.content, arguments),
            }
        } else {
            let sizes = self.sizes[from..from + tasks].to_vec();
            Message {
                body: ToWorker::AssignRun(Box::new(Run { first, sizes })).into(),
                payload: open(self.content, arguments),
            }
        };
        (message, tasks)
    }
}

impl Completions<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn results(&self, from: usize, tasks: usize) -> &[u8] {
        let (before, ends) = self.ends.split_at(from);
        let size = |end: &End| end.size;
        part(
            self.results,
            before.iter().map(size),
            ends[..tasks].iter().map(size),
        )
    }

    /// As many as a run takes whose numbers count from `first`, and that has so many tasks and bytes: from
    /// this one on.
    fn fitting(
        &self,
        from: usize,
        first: u64,
        len: usize,
        bytes: usize,
    ) -> impl Iterator<Item = End> {
        let ends = &self.ends[from..];
        let fits = room(len, bytes, ends.iter().map(|end| end.size));
        let counted = move |end: &End| {
            let seq = self.first.seq + u64::from(end.offset);
            let offset = u16::try_from(seq.checked_sub(first)?).ok()?;
            Some(End { offset, ..*end })
        };
        ends[..fits].iter().map_while(counted)
    }

    /// The ends of a run of the one that counts as `first` and ended so, and of as many as it takes from
    /// this one on.
    fn run_of(&self, first: u64, ran: u32, size: u32, from: usize) -> Vec<End> {
        let more = self.fitting(from, first, 1, size as usize);
        let mut ends = Vec::with_capacity(1 + self.len() - from);
        ends.push(End {
            offset: 0,
            ran,
            size,
        });
        ends.extend(more);
        ends
    }

    /// A message that says as many as it has room for, from this one on, and how many that are.
    pub(crate) fn message(&self, from: usize) -> (Message<ToPeer>, usize) {
        let End { offset, ran, size } = self.ends[from];
        let mut first = self.first.clone();
        first.seq += u64::from(offset);
        let ends = self.run_of(first.seq, ran, size, from + 1);
        let tasks = ends.len();
        let results = self.results(from, tasks);
        let message = if tasks == 1 {
            let (seq, outcome) = first.outcome(Nanos(ran.into()));
            Message {
                body: ToClient::Outcome { seq, outcome }.into(),
                payload: Payload::copy_from_slice(self.content, results),
            }
        } else {
            Message {
                body: ToClient::OutcomeRun(Box::new(Ends { first, ends })).into(),
                payload: open(self.content, results),
            }
        };
        (message, tasks)
    }
}

impl Rejections {
    /// The first of them, `most` at most.
    pub(crate) fn first_part(self, most: u32) -> Self {
        Self {
            count: self.count.min(most),
            ..self
        }
    }

    /// Those that are left after the first of them. What none is left of has no number.
    pub(crate) fn without_first(self, count: u32) -> Self {
        Self {
            first: self.first.wrapping_add(count.into()),
            count: self.count.saturating_sub(count),
            ..self
        }
    }

    /// A message that says so of all of them.
    pub(crate) fn message(self) -> Message<ToPeer> {
        let Self {
            first: seq,
            count,
            reason,
            retry_after,
            may_have_run,
        } = self;
        let said = if count == 1 {
            ToClient::Reject {
                seq,
                reason,
                retry_after,
                may_have_run,
                similar: Vec::new(),
            }
        } else {
            ToClient::RejectRun(self)
        };
        said.into()
    }
}

impl Assign {
    /// Whether the other differs in its numbers alone.
    fn is_like(&self, other: &Self) -> bool {
        self.at_most_once == other.at_most_once
            && self.deadline == other.deadline
            && self.time_limit == other.time_limit
            && self.name == other.name
    }
}

impl Message<ToPeer> {
    /// Lets this assignment say too as many of these as it has room for, from this one on, if they are the
    /// next and like the first. Says how many.
    pub(crate) fn assign_row_too(&mut self, more: &Assignments<'_>, from: usize) -> usize {
        let ToPeer::Worker(said) = &mut self.body else {
            return 0;
        };
        let (first, len) = match said {
            ToWorker::Assign(first) => (&*first, 1),
            ToWorker::AssignRun(run) => (&run.first, run.sizes.len()),
            ToWorker::Kill { .. }
            | ToWorker::Recall { .. }
            | ToWorker::AckResults { .. }
            | ToWorker::AckResultRuns { .. }
            | ToWorker::Resend { .. }
            | ToWorker::AssignStreams(_)
            | ToWorker::StreamAgain { .. }
            | ToWorker::StreamChunk(_)
            | ToWorker::StreamLevel(_) => return 0,
        };
        let next = more.first.plus(from as u64);
        let is_next = next.is_some_and(|next| {
            let by = len as u64;
            first.attempt.plus(by) == Some(next.attempt) && first.task.plus(by) == Some(next.task)
        });
        if !is_next || !first.is_like(&more.first) || self.payload.content() != more.content {
            return 0;
        }
        let tasks = room(len, self.payload.len(), more.sizes[from..].iter().copied());
        let sizes = &more.sizes[from..from + tasks];
        if tasks == 0 {
            return 0;
        }
        let first = first.clone();
        if let ToWorker::AssignRun(run) = said {
            run.sizes.extend_from_slice(sizes);
        } else {
            let sizes = [&[self.payload.len() as u32], sizes].concat();
            *said = ToWorker::AssignRun(Box::new(Run { first, sizes }));
        }
        self.payload.append(more.arguments(from, tasks));
        tasks
    }

    /// Lets this rejection say too as many of these as it has room for, if they are the next and rejected
    /// alike. Says how many.
    pub(crate) fn reject_too(&mut self, more: &Rejections) -> u32 {
        let ToPeer::Client(said) = &mut self.body else {
            return 0;
        };
        let before = match said {
            ToClient::RejectRun(before) => *before,
            ToClient::Reject {
                seq,
                reason,
                retry_after,
                may_have_run,
                similar,
            } if similar.is_empty() => Rejections {
                first: *seq,
                count: 1,
                reason: *reason,
                retry_after: *retry_after,
                may_have_run: *may_have_run,
            },
            ToClient::Reject { .. }
            | ToClient::Outcome { .. }
            | ToClient::OutcomeRun(_)
            | ToClient::Unknown { .. }
            | ToClient::StreamAttempt(_)
            | ToClient::StreamChunk(_)
            | ToClient::StreamLevel(_) => return 0,
        };
        let Some(first) = before.first.checked_add(before.count.into()) else {
            return 0;
        };
        let next = Rejections {
            first,
            count: more.count,
            ..before
        };
        if next != *more {
            return 0;
        }
        let count = more.count.min(RUN_TASKS_MAX as u32 - before.count);
        if count > 0 {
            *said = ToClient::RejectRun(Rejections {
                count: before.count + count,
                ..before
            });
        }
        count
    }

    /// Lets this outcome say too as many of these as it has room for, from this one on, if they went like
    /// its own. Says how many.
    pub(crate) fn complete_row_too(&mut self, more: &Completions<'_>, from: usize) -> usize {
        let ToPeer::Client(said) = &mut self.body else {
            return 0;
        };
        let is_like = |first: &Completed| {
            let Completed { seq, .. } = *first;
            let same = Completed {
                seq,
                ..more.first.clone()
            };
            *first == same && self.payload.content() == more.content
        };
        let bytes = self.payload.len();
        let tasks = match said {
            ToClient::OutcomeRun(run) if is_like(&run.first) => {
                let before = run.ends.len();
                let ends = more.fitting(from, run.first.seq, before, bytes);
                run.ends.extend(ends);
                run.ends.len() - before
            }
            ToClient::Outcome {
                seq,
                outcome: Outcome::Completed(completion),
            } => {
                let first = Completed::new(*seq, completion);
                let ran = u32::try_from(completion.last.ran.0).ok();
                let end = ran.zip(u32::try_from(bytes).ok());
                let Some((ran, size)) = end.filter(|_| is_like(&first)) else {
                    return 0;
                };
                let ends = more.run_of(first.seq, ran, size, from);
                let tasks = ends.len() - 1;
                if tasks > 0 {
                    *said = ToClient::OutcomeRun(Box::new(Ends { first, ends }));
                }
                tasks
            }
            ToClient::OutcomeRun(_)
            | ToClient::Outcome { .. }
            | ToClient::Reject { .. }
            | ToClient::RejectRun(_)
            | ToClient::Unknown { .. }
            | ToClient::StreamAttempt(_)
            | ToClient::StreamChunk(_)
            | ToClient::StreamLevel(_) => 0,
        };
        if tasks > 0 {
            self.payload.append(more.results(from, tasks));
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, Epoch, PeerId, TaskId};
    use crate::name::Name;
    use crate::task::{Completion, LastAttempt};
    use proptest::prelude::*;
    use std::format;
    use std::vec;

    fn name(text: &str) -> Name {
        Name::new(text).expect("short")
    }

    fn assign(number: u64) -> Assign {
        Assign {
            attempt: Attempt {
                epoch: Epoch(1),
                number,
            },
            task: TaskId {
                client: PeerId(2),
                seq: 100 + number,
            },
            at_most_once: false,
            deadline: Nanos::NONE,
            time_limit: Nanos::NONE,
            name: name("x"),
        }
    }

    fn bytes(sizes: impl Iterator<Item = u32>) -> Vec<u8> {
        let all = (0_u8..).zip(sizes);
        all.flat_map(|(byte, size)| vec![byte; size as usize])
            .collect()
    }

    /// Says all that is left to the last message, and what it has no room for in others.
    fn say(
        said: &mut Vec<Message<ToPeer>>,
        len: usize,
        too: impl Fn(&mut Message<ToPeer>, usize) -> usize,
        message: impl Fn(usize) -> (Message<ToPeer>, usize),
    ) {
        let mut from = said.last_mut().map_or(0, |last| too(last, 0));
        while from < len {
            let (next, more) = message(from);
            said.push(next);
            from += more;
        }
    }

    fn size() -> impl Strategy<Value = u32> {
        prop_oneof![4 => 0_u32..100, 1 => 1_000_u32..20_000]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Assignments that are said at once are in the same messages as if said one after the other.
        #[test]
        fn assignments_are_said_as_if_one_by_one(
            rows in prop::collection::vec((prop::collection::vec(size(), 1..100), prop::bool::weighted(0.1)), 1..20),
        ) {
            let (mut at_once, mut one_by_one) = (Vec::new(), Vec::new());
            let mut number = 0;
            for (sizes, skips) in rows {
                number += u64::from(skips);
                let arguments = bytes(sizes.iter().copied());
                let row = Assignments {
                    first: assign(number),
                    content: Content::JSON,
                    sizes: &sizes,
                    arguments: &arguments,
                };
                let too = |last: &mut Message<ToPeer>, from| last.assign_row_too(&row, from);
                say(&mut at_once, row.len(), too, |from| row.message(from));
                for place in 0..sizes.len() {
                    let Assign { attempt, task, .. } = assign(number);
                    number += 1;
                    let argument = Payload::copy_from_slice(Content::JSON, row.arguments(place, 1));
                    let is_said = one_by_one.last_mut().is_some_and(|last: &mut Message<ToPeer>| {
                        last.assign_too(attempt, task, &argument, |_| true)
                    });
                    if !is_said {
                        let body = ToWorker::Assign(assign(number - 1)).into();
                        one_by_one.push(Message { body, payload: argument });
                    }
                }
            }
            prop_assert_eq!(at_once, one_by_one);
        }

        /// And so are outcomes.
        #[test]
        fn outcomes_are_said_as_if_one_by_one(
            rows in prop::collection::vec(
                (0_u64..70_000, prop::collection::vec((0_u16..64, size()), 1..64), 0_u64..2),
                1..20,
            ),
        ) {
            let (mut at_once, mut one_by_one) = (Vec::new(), Vec::new());
            for (seq, ends, waited) in rows {
                let ends: Vec<End> = ends.into_iter()
                    .map(|(offset, size)| End { offset, ran: 5 + size, size }).collect();
                let results = bytes(ends.iter().map(|end| end.size));
                let first = Completed {
                    seq,
                    waited: Nanos(waited),
                    charged: 0,
                    worker: name(&format!("worker-{waited}")),
                };
                let row = Completions {
                    first,
                    content: Content::BYTES,
                    ends: &ends,
                    results: &results,
                };
                let too = |last: &mut Message<ToPeer>, from| last.complete_row_too(&row, from);
                say(&mut at_once, row.len(), too, |from| row.message(from));
                for (place, end) in ends.iter().enumerate() {
                    let result = Payload::copy_from_slice(Content::BYTES, row.results(place, 1));
                    let (seq, last) = (seq + u64::from(end.offset), LastAttempt {
                        ran: Nanos(end.ran.into()),
                        waited: Nanos(waited),
                        worker: row.first.worker.clone(),
                    });
                    let completion = Completion { last, charged: 0 };
                    let is_said = one_by_one.last_mut().is_some_and(|last: &mut Message<ToPeer>| {
                        last.complete_too(seq, &completion, &result)
                    });
                    if !is_said {
                        let outcome = Outcome::Completed(completion);
                        let body = ToClient::Outcome { seq, outcome }.into();
                        one_by_one.push(Message { body, payload: result });
                    }
                }
            }
            prop_assert_eq!(at_once, one_by_one);
        }
    }
}
