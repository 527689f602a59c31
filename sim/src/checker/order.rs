//! Promises 7 to 9 as far as they are about order: who goes first, how long the worst wait is, and
//! who may be displaced. Read off the messages that each life of a manager took and sent.
//!
//! What the messages do not show is given the benefit of the doubt: tasks that were submitted again,
//! or that may have run, are judged by nobody's order, and whatever is assigned a second time may
//! have been older than anything else.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{History, Wire, WireWhat};
use crate::plan::Plan;
use crate::process::EVEN;
use crate::report::{Class, Failure};

/// One turn in so many begins with the oldest.
pub(super) const OLDEST_EVERY: u64 = 16;

/// A task that waits in a manager's queue, as far as can be seen.
struct Waiting {
    priority: u8,
    class: u64,
    /// Which submission to this life of the manager it was.
    order: u64,
    at: u64,
    /// Tasks that were there before it, and turns and returns until then.
    older: u64,
    turns: u64,
    returned: u64,
    /// It came once, and for the first time.
    plain: bool,
    /// From when on it may have ended without a word: an outcome waits until its client has room.
    over: u64,
    /// Until when it may be sent out.
    start_by: u64,
}

/// What goes out in a row as if in one turn: at one instant, of one client, priority and class. Two turns
/// may look like one, and are then judged as if they were.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) at: u64,
    pub(super) client: u64,
    pub(super) priority: u8,
    pub(super) class: u64,
}

/// A client, its number of a task, and the priority.
type Newcomer = ((u64, u64), u8);

/// One life of a manager.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<(u64, u64), Waiting>,
    /// The instant of the last submissions, and those that were not refused, with their priority.
    /// Also of tasks that were here before: a rejection that their client was away for is heard by
    /// nobody.
    newcomers: (u64, Vec<Newcomer>),
    assigned: BTreeSet<(u64, u64)>,
    /// The order of the last task that was first dispatched, by client, priority and class.
    last: BTreeMap<(u64, u8, u64), u64>,
    submitted: u64,
    turns: u64,
    /// The last of them, if that can be told.
    row: Option<Row>,
    returned: u64,
}

/// Judges what managers said.
pub(super) fn check(plan: &Plan, history: &History) -> Result<(), Failure> {
    // Order holds within a class. Where workers differ, only tasks of one name surely share one.
    let uniform = plan.options.runs.is_empty();
    let usual = uniform && is_unsuspended(plan);
    let in_turns = plan.options.turn_time > 0;
    let drift = plan.options.drift;
    let mut queues: BTreeMap<usize, Queue> = BTreeMap::new();
    for wire in &history.wire {
        let queue = queues.entry(wire.life).or_default();
        let id = (wire.client, wire.seq);
        match wire.what {
            WireWhat::Submitted {
                priority,
                marked,
                name,
                max_wait,
                waits,
                ..
            } => {
                let task = Waiting {
                    priority,
                    class: if uniform { 0 } else { name },
                    order: queue.submitted + 1,
                    at: wire.at,
                    older: queue.waiting.len() as u64,
                    turns: queue.turns,
                    returned: queue.returned,
                    plain: !marked,
                    // By the fastest and the slowest clock that a manager may have.
                    over: wire.at.saturating_add(scaled_down(waits, EVEN + drift)),
                    start_by: wire.at.saturating_add(scaled(max_wait, EVEN - drift)),
                };
                queue.submitted(wire, task);
            }
            WireWhat::Cancelled => {
                if let Some(task) = queue.waiting.get_mut(&id) {
                    task.over = task.over.min(wire.at);
                }
            }
            WireWhat::Rejected { displaced, .. } => {
                if displaced {
                    queue.displaced(wire, history.disturbances.is_empty() && uniform)?;
                }
                queue.newcomers.1.retain(|(newcomer, _)| *newcomer != id);
                queue.waiting.remove(&id);
                // One that came back from a worker too late is new when it comes again.
                queue.assigned.remove(&id);
            }
            WireWhat::Ended => {
                queue.waiting.remove(&id);
                queue.assigned.remove(&id);
            }
            WireWhat::Assigned => queue.assigned(wire, usual, in_turns)?,
            WireWhat::Returned | WireWhat::Left => {}
        }
    }
    Ok(())
}

/// Whether order is never suspended, as it is at the bound of what is in flight and for clients that
/// do not read.
pub(super) fn is_unsuspended(plan: &Plan) -> bool {
    plan.options.in_flight_tasks >= 262_144 && plan.options.client_result_bytes >= 256 << 20
}

fn broken(promise: &'static str, text: String) -> Failure {
    Failure::new(Class::Safety, promise, text)
}

/// How long `span` is at most on a clock of this rate, with a nanosecond for rounding.
pub(super) fn scaled(span: u64, rate: u64) -> u64 {
    ideal(span, rate).saturating_add(1)
}

/// How long `span` is at least on a clock of this rate, in the same way.
pub(super) fn scaled_down(span: u64, rate: u64) -> u64 {
    ideal(span, rate).saturating_sub(1)
}

fn ideal(span: u64, rate: u64) -> u64 {
    let scaled = u128::from(span) * u128::from(EVEN) / u128::from(rate);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

impl Queue {
    fn submitted(&mut self, wire: &Wire, task: Waiting) {
        let id = (wire.client, wire.seq);
        self.submitted += 1;
        if self.newcomers.0 != wire.at {
            self.newcomers = (wire.at, Vec::new());
        }
        self.newcomers.1.push((id, task.priority));
        if self.assigned.contains(&id) {
            return;
        }
        if let Some(known) = self.waiting.get_mut(&id) {
            known.plain = false;
            return;
        }
        self.waiting.insert(id, task);
    }

    fn assigned(&mut self, wire: &Wire, usual: bool, in_turns: bool) -> Result<(), Failure> {
        let id = (wire.client, wire.seq);
        let task = self.waiting.get(&id).filter(|_| in_turns);
        let row = task.map(|task| Row {
            at: wire.at,
            client: wire.client,
            priority: task.priority,
            class: task.class,
        });
        self.turns += u64::from(row.is_none() || row != self.row);
        self.row = row;
        let first = self.assigned.insert(id);
        let Some(task) = self.waiting.remove(&id).filter(|task| first && task.plain) else {
            self.returned += 1;
            return Ok(());
        };
        if wire.at > task.start_by {
            let text = format!("number {} was sent out later than it may start", wire.seq);
            return Err(broken("9 (longest wait)", text));
        }
        let last = self
            .last
            .entry((wire.client, task.priority, task.class))
            .or_default();
        if *last > task.order {
            let text = format!("number {} was overtaken by a later one", wire.seq);
            return Err(broken("7 (first in, first out)", text));
        }
        *last = task.order;
        let older = task.older + self.returned - task.returned;
        let most = OLDEST_EVERY * (older + 1);
        let waited = self.turns - task.turns;
        if usual && waited > most {
            let text = format!(
                "number {} was dispatched in the {waited}th turn after it came, with {older} older",
                wire.seq
            );
            return Err(broken("7 (worst case)", text));
        }
        Ok(())
    }

    /// A victim makes room for somebody of its own importance or more, who has just come, and is
    /// the newest of its client at its priority. `all_seen`: no rejection was for a client that was
    /// away, which nobody hears of, and no task has changed its class.
    fn displaced(&mut self, wire: &Wire, all_seen: bool) -> Result<(), Failure> {
        let promise = "8 (displacement)";
        let Some(victim) = self.waiting.get(&(wire.client, wire.seq)) else {
            return Ok(());
        };
        let own = (wire.client, wire.seq);
        let (at, newcomers) = &self.newcomers;
        let made_room = |(id, priority): &Newcomer| *id != own && *priority <= victim.priority;
        if *at != wire.at || !newcomers.iter().any(made_room) {
            let text = format!("number {} made room for nobody more important", wire.seq);
            return Err(broken(promise, text));
        }
        let range = (wire.client, 0)..=(wire.client, u64::MAX);
        let newer = self.waiting.range(range).find(|(_, other)| {
            other.plain
                && other.over > wire.at
                && other.priority == victim.priority
                && other.order > victim.order
                && other.at < wire.at
        });
        if let Some(((_, seq), _)) = newer.filter(|_| victim.plain && all_seen) {
            let text = format!(
                "number {} was displaced, not {seq}, which is newer",
                wire.seq
            );
            return Err(broken(promise, text));
        }
        Ok(())
    }
}
