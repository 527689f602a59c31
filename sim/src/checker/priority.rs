//! Promise 7, its first sentence: more important tasks go first, those that came back from a worker
//! too. Read off the messages that each life of a manager took and sent.
//!
//! One turn in so many begins with the oldest, whatever its importance. So the tasks of a less important
//! turn may pass a more important task that surely waits, but seldom.

use std::collections::{BTreeMap, BTreeSet};

use super::order::{OLDEST_EVERY, Row, is_unsuspended, scaled_down};
use crate::history::{History, Wire, WireWhat};
use crate::plan::Plan;
use crate::process::EVEN;
use crate::report::{Class, Failure};

type TaskId = (u64, u64);

/// What is known of a task.
#[derive(Clone, Copy)]
struct Known {
    priority: u8,
    /// From when on it may have ended without a word: at its deadline, when it has waited its
    /// `max_wait`, and while its client is away.
    over: u64,
    cancelled: bool,
}

/// One life of a manager.
#[derive(Default)]
struct Queue {
    known: BTreeMap<TaskId, Known>,
    /// What surely waits, by importance, with the instant from which on it does.
    waiting: BTreeMap<(u8, TaskId), u64>,
    /// At a worker, or come back without a word.
    out: BTreeSet<TaskId>,
    /// Tasks that left the queue since one passed a more important one.
    since: Option<u64>,
    /// The turn of the last that was sent out, if it did.
    passing: Option<Row>,
}

/// Judges what managers sent out.
pub(super) fn check(plan: &Plan, history: &History) -> Result<(), Failure> {
    // Where workers differ, there are queues by class.
    if !plan.options.runs.is_empty() || !is_unsuspended(plan) {
        return Ok(());
    }
    // By the fastest clock that a manager may have.
    let rate = EVEN + plan.options.drift;
    let mut queues: BTreeMap<usize, Queue> = BTreeMap::new();
    let honest = |wire: &&Wire| !history.hostile.contains(&wire.client);
    for wire in history.wire.iter().filter(honest) {
        let queue = queues.entry(wire.life).or_default();
        queue.took(wire, rate, plan.options.turn_time > 0)?;
    }
    Ok(())
}

impl Queue {
    fn took(&mut self, wire: &Wire, rate: u64, in_turns: bool) -> Result<(), Failure> {
        let id = (wire.client, wire.seq);
        match wire.what {
            WireWhat::Submitted {
                priority,
                marked,
                waits,
                ..
            } => {
                let over = wire.at.saturating_add(scaled_down(waits, rate));
                let known = self.known.entry(id).or_insert(Known {
                    priority,
                    over,
                    cancelled: false,
                });
                if !known.cancelled {
                    known.over = over;
                }
                // What may have run can be held back, and what is out may have come back.
                if !marked && !self.out.contains(&id) {
                    self.waits(id, wire.at);
                }
            }
            WireWhat::Returned => {
                if self.out.remove(&id) {
                    self.waits(id, wire.at);
                }
            }
            WireWhat::Assigned => {
                self.leaves(id);
                self.out.insert(id);
                return self.passed(wire, in_turns);
            }
            WireWhat::Rejected { .. } | WireWhat::Ended => {
                if !self.out.remove(&id) {
                    self.since = self.since.map(|since| since + 1);
                }
                self.leaves(id);
            }
            WireWhat::Cancelled => {
                if let Some(known) = self.known.get_mut(&id) {
                    (known.over, known.cancelled) = (wire.at, true);
                }
                self.leaves(id);
            }
            WireWhat::Left => {
                for (_, known) in self
                    .known
                    .range_mut((wire.client, 0)..=(wire.client, u64::MAX))
                {
                    known.over = known.over.min(wire.at);
                }
                self.waiting
                    .retain(|(_, (client, _)), _| *client != wire.client);
            }
        }
        Ok(())
    }

    fn waits(&mut self, id: TaskId, at: u64) {
        if let Some(known) = self.known.get(&id) {
            self.waiting.entry((known.priority, id)).or_insert(at);
        }
    }

    fn leaves(&mut self, id: TaskId) {
        if let Some(known) = self.known.get(&id) {
            self.waiting.remove(&(known.priority, id));
        }
    }

    /// A task was sent out.
    fn passed(&mut self, wire: &Wire, in_turns: bool) -> Result<(), Failure> {
        self.since = self.since.map(|since| since + 1);
        let passing = self.passing.take();
        let Some(own) = self.known.get(&(wire.client, wire.seq)) else {
            return Ok(());
        };
        let mut better = self.waiting.range(..(own.priority, (0, 0)));
        let surely = |((_, id), since): &(&(u8, TaskId), &u64)| {
            **since < wire.at && self.known[id].over > wire.at
        };
        let Some(((level, (client, seq)), _)) = better.find(surely) else {
            return Ok(());
        };
        self.passing = in_turns.then_some(Row {
            at: wire.at,
            client: wire.client,
            priority: own.priority,
            // Where workers differ, nothing is judged.
            class: 0,
        });
        if let Some(since) = self.since.filter(|since| *since < OLDEST_EVERY)
            && (passing.is_none() || passing != self.passing)
        {
            let text = format!(
                "number {} of level {} went before number {seq} of {client:#x} of level {level}, {since} after another such",
                wire.seq, own.priority
            );
            return Err(Failure::new(Class::Safety, "7 (priority)", text));
        }
        self.since = Some(0);
        Ok(())
    }
}
