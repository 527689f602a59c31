//! Turns: what a flow gives away at a time, chosen once and charged once.

use super::flow::{CHARGE_MAX, CHARGE_MIN};
use super::{ClassId, First, Flow, FlowKey, Item, Queue, RunKey, Taken, TakenRow};
use crate::limits::OLDEST_EVERY;

/// The turn of one flow: some of its first tasks, taken one after the other. Between its beginning and
/// its end nothing else is asked of the queue; how far it goes is for the caller to say.
#[derive(Debug)]
#[must_use = "a turn is charged when it ends"]
pub struct Turn {
    flow: FlowKey,
    charged: u64,
}

impl Turn {
    /// Charges the client for one task, by the estimate of its run time. Below a microsecond is
    /// charged as a microsecond.
    pub fn charge(&mut self, nanos: u64) {
        self.charge_row(nanos, 1);
    }

    /// Charges it for so many, each like that.
    pub fn charge_row(&mut self, nanos: u64, tasks: u32) {
        let nanos = nanos.clamp(CHARGE_MIN, CHARGE_MAX);
        let all = nanos.saturating_mul(u64::from(tasks));
        self.charged = self.charged.saturating_add(all);
    }
}

impl Queue {
    /// Begins the turn of the flow of `class` that is to be dispatched now, of clients that are not
    /// blocked: usually the next in order; every [`OLDEST_EVERY`]th time, and if `want_oldest` says so,
    /// the one with the oldest task. There is at least one task in it.
    pub fn begin_turn(&mut self, class: ClassId, want_oldest: bool) -> Option<Turn> {
        let state = self.classes.get_mut(class)?;
        let (_, oldest) = state.ages.first()?;
        state.since_oldest += 1;
        let flow = if want_oldest || state.since_oldest >= OLDEST_EVERY {
            state.since_oldest = 0;
            oldest
        } else {
            state.next().expect("a flow with an age has a turn")
        };
        let Flow {
            priority,
            virtual_time,
            ..
        } = self.flows[flow];
        let clock = &mut state.bands[priority.level()].clock;
        *clock = virtual_time.max(*clock);
        Some(Turn { flow, charged: 0 })
    }

    /// The task that `take_first` would take.
    #[must_use]
    pub fn first_of(&self, turn: &Turn) -> Option<First> {
        let node = self.head(turn.flow)?;
        Some(self.first_at(node))
    }

    /// Takes out the first of the tasks that are left of the turn's flow.
    pub fn take_first(&mut self, turn: &Turn) -> Option<Taken> {
        let node = self.head(turn.flow)?;
        Some(match self.node(node).item {
            Item::Task(task, standing) => {
                let entry = self.node(node).entry(task, standing);
                self.cut(node);
                self.drop_node(node);
                Taken::Task(entry)
            }
            Item::Run(run) => Taken::OfRun(self.take_first_of_run(run)),
        })
    }

    /// Takes so many out that are first in the turn's flow and [in a row](Queue::row_of) in this run.
    pub fn take_row(&mut self, turn: &Turn, run: RunKey, tasks: usize) -> Option<TakenRow> {
        let first = self.head(turn.flow)?;
        debug_assert_eq!(self.node(first).item, Item::Run(run));
        Some(self.take_row_of_run(run, tasks))
    }

    /// Ends a turn: the flow is charged for it, and takes its place among the others anew.
    pub fn end_turn(&mut self, turn: Turn) {
        self.flows[turn.flow].charge(turn.charged);
        self.refresh(turn.flow);
    }

    /// Takes out one task of `class`, of those that wait alone, as a turn of its own, which is yet to be
    /// charged.
    #[cfg(feature = "testing")]
    pub fn pop(&mut self, class: ClassId) -> Option<super::Entry> {
        let turn = self.begin_turn(class, false)?;
        let taken = self.take_first(&turn);
        self.end_turn(turn);
        taken?.alone()
    }
}
