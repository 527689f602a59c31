//! The slots and the pool processes that live in them.
//!
//! Owns: each slot's life, the queue of attempts written to its process, and its one timer.
//! Never: knows what an attempt is; that is `runs`. Invariants: a slot is idle exactly if its
//! process is ready, has nothing to do and may take more; a process that was asked to end is
//! pressed until it does, and is given nothing. Units: nanoseconds of estimated work.

use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

use super::attempts::AttemptKey;
use super::{PoolOutput, SlotLife, WorkerOutput};
use crate::arena::SecondaryMap;
use crate::event::Reached;
use crate::ids::{Attempt, SlotId};
use crate::limits::{
    CHILD_QUEUE_MAX, CHILD_WORK_MAX, RESPAWN_DELAY_FIRST, RESPAWN_DELAY_MAX, YOUNG,
};
use crate::time::{Instant, Timers, saturating_nanos};

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    /// Its process was asked for and is not ready.
    Starting,
    /// Its process takes attempts: idle if it has none, else busy.
    Ready,
    /// Its process was asked to end and has not.
    Stopping {
        /// How it was asked last.
        stage: Stage,
        /// What that means for the first attempt in its queue; `None`: nothing.
        reason_to_stop: Option<StopReason>,
    },
    /// Its process died young; another is started when the timer says so.
    Dead,
    /// Its process has ended and there will be no other.
    Gone,
}

/// How a process was asked to end; later is harsher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Retired,
    Terminated,
    Killed,
}

/// Why a process is stopped under an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The attempt ran for too long; the limit.
    TimeLimit(Duration),
    /// The process used too much memory; how much, if that is known.
    Memory(Option<u64>),
    /// The manager asked for its end.
    Killed,
    /// The deadline of its task passed.
    Expired,
    /// The process answered an attempt that it was not given.
    Protocol,
    /// The process answered an earlier attempt once more: this one is not to blame, and is tried
    /// again if it may be.
    Twice,
}

/// The first of the attempts in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Since when it is first.
    pub(super) since: Instant,
    /// Whether it found the process idle.
    pub(super) alone: bool,
}

/// One place in the pool.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    pub(super) life: u64,
    /// Attempts written to the process and not answered, oldest first.
    pub(super) queue: VecDeque<AttemptKey>,
    /// How long they are estimated to run, together.
    pub(super) work: u64,
    pub(super) head: Head,
    /// Whether more may be queued behind it.
    pub(super) open: bool,
    /// Attempts given to this process.
    runs: u64,
    /// Whether this process has run any to its end.
    served: bool,
    /// What it answered last.
    pub(super) answered: Option<Attempt>,
    /// Since when it has had something to do.
    pub(super) busy_since: Instant,
    /// When this process was ready; means nothing before.
    since: Instant,
    /// Processes that died young here, or could run nothing, one after the other.
    failures: u32,
    /// Whether this process failed to run an attempt.
    unavailable: bool,
    /// Which program this process runs: the number of changes before it.
    program: u64,
}

/// All places.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    slots: SecondaryMap<SlotId, Slot>,
    idle: BTreeSet<SlotId>,
    timers: Timers<SlotId>,
    max_requests: u64,
    kill_grace: Duration,
    /// How often the program was seen to have changed.
    program: u64,
    /// Slots that are `Dead` or `Gone`.
    empty: u32,
    gone: u32,
}

impl Slot {
    /// One more process was of no use here; how many in a row.
    fn count_failure(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// How far its process got. One that was asked to end before it was ready counts as ready: nobody
    /// waits for it any more.
    pub(super) fn reached(&self) -> Reached {
        if self.state == SlotState::Starting {
            Reached::Nothing
        } else if self.served {
            Reached::Served
        } else {
            Reached::Ready
        }
    }
}

fn id(slot: SlotId, life: u64) -> SlotLife {
    SlotLife { slot, life }
}

impl Pool {
    /// A pool that starts all its processes.
    pub(super) fn new(
        now: Instant,
        capacity: u32,
        max_requests: Option<u64>,
        kill_grace: Duration,
        out: &mut VecDeque<WorkerOutput>,
    ) -> Self {
        let slot = |_| Slot {
            state: SlotState::Gone,
            life: 0,
            queue: VecDeque::new(),
            work: 0,
            head: Head {
                since: now,
                alone: false,
            },
            open: false,
            runs: 0,
            served: false,
            answered: None,
            busy_since: now,
            since: now,
            failures: 0,
            unavailable: false,
            program: 0,
        };
        let mut pool = Self {
            slots: (0..capacity).map(slot).collect(),
            idle: BTreeSet::new(),
            timers: Timers::default(),
            max_requests: max_requests.unwrap_or(u64::MAX).max(1),
            kill_grace,
            program: 0,
            empty: capacity,
            gone: capacity,
        };
        for slot in (0..capacity).map(SlotId) {
            pool.spawn(slot, out);
        }
        pool
    }

    pub(super) fn capacity(&self) -> u32 {
        self.slots.reached() as u32
    }

    /// Slots that have a process or are about to have one.
    pub(super) fn alive(&self) -> u32 {
        self.capacity() - self.empty
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone == self.capacity()
    }

    pub(super) fn get(&self, slot: SlotId) -> &Slot {
        &self.slots[slot]
    }

    pub(super) fn get_mut(&mut self, slot: SlotId) -> &mut Slot {
        &mut self.slots[slot]
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        self.slots.iter()
    }

    /// The slot that `life` speaks of, unless it is of an earlier process or never was.
    pub(super) fn find(&self, life: SlotLife) -> Option<SlotId> {
        let slot = self.slots.get(life.slot)?;
        let current =
            slot.life == life.life && !matches!(slot.state, SlotState::Dead | SlotState::Gone);
        current.then_some(life.slot)
    }

    pub(super) fn first_idle(&self) -> Option<SlotId> {
        self.idle.first().copied()
    }

    pub(super) fn is_idle(&self, slot: SlotId) -> bool {
        self.idle.contains(&slot)
    }

    pub(super) fn timer(&self, slot: SlotId) -> Option<Instant> {
        self.timers.get(slot)
    }

    /// The earliest of all slots' timers, and whether a process is started then.
    pub(super) fn next_timer(&self) -> Option<(Instant, bool)> {
        let (at, slot) = self.timers.next()?;
        Some((at, self.get(slot).state == SlotState::Dead))
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<SlotId> {
        self.timers.pop_due(now)
    }

    /// Wakes `slot` at `at` or earlier. A timer that is early costs one call that does nothing;
    /// moving it with every attempt would cost more.
    pub(super) fn wake_by(&mut self, slot: SlotId, at: Instant) {
        if self.timer(slot).is_none_or(|armed| at < armed) {
            self.timers.set(slot, at);
        }
    }

    fn set_state(&mut self, slot: SlotId, state: SlotState) {
        let count = |state: SlotState| {
            (
                u32::from(matches!(state, SlotState::Dead | SlotState::Gone)),
                u32::from(state == SlotState::Gone),
            )
        };
        let old = core::mem::replace(&mut self.get_mut(slot).state, state);
        self.empty = self.empty - count(old).0 + count(state).0;
        self.gone = self.gone - count(old).1 + count(state).1;
    }

    /// Starts a process in an empty slot.
    pub(super) fn spawn(&mut self, slot: SlotId, out: &mut VecDeque<WorkerOutput>) {
        let place = self.get_mut(slot);
        debug_assert!(matches!(place.state, SlotState::Dead | SlotState::Gone));
        debug_assert!(place.queue.is_empty());
        place.life += 1;
        place.runs = 0;
        place.served = false;
        place.unavailable = false;
        place.answered = None;
        let slot_life = id(slot, place.life);
        self.set_state(slot, SlotState::Starting);
        out.push_back(WorkerOutput::Pool(PoolOutput::Spawn { slot: slot_life }));
    }

    /// The process is ready. False if that was no news.
    pub(super) fn on_ready(&mut self, now: Instant, slot: SlotId) -> bool {
        if self.get(slot).state != SlotState::Starting {
            return false;
        }
        let program = self.program;
        let place = self.get_mut(slot);
        place.since = now;
        place.program = program;
        self.set_state(slot, SlotState::Ready);
        self.idle.insert(slot);
        true
    }

    /// The program is another one, and `slot` is the first to run it: those that run the old one
    /// are let go as soon as they have nothing to do.
    pub(super) fn renew(&mut self, now: Instant, slot: SlotId, out: &mut VecDeque<WorkerOutput>) {
        self.program += 1;
        self.get_mut(slot).program = self.program;
        for old in (0..self.capacity()).map(SlotId) {
            if self.is_idle(old) && !self.may_run(old) {
                self.stop(now, old, Stage::Retired, None, out);
            }
        }
    }

    /// Whether another attempt may be written to the process of a ready slot.
    pub(super) fn may_run(&self, slot: SlotId) -> bool {
        let place = self.get(slot);
        place.runs < self.max_requests && place.program == self.program && !place.unavailable
    }

    /// Whether an attempt that is expected to take no time worth speaking of may be queued behind
    /// others in this slot's process.
    pub(super) fn may_queue(&self, now: Instant, slot: SlotId) -> bool {
        let place = self.get(slot);
        place.state == SlotState::Ready
            && place.open
            && !place.queue.is_empty()
            && place.queue.len() < CHILD_QUEUE_MAX
            && place.work < saturating_nanos(CHILD_WORK_MAX)
            && now.since(place.head.since) < CHILD_WORK_MAX
            && self.may_run(slot)
    }

    /// Puts an attempt behind those that the slot has; its process is told by the caller.
    /// Returns whether it is the first.
    pub(super) fn push(
        &mut self,
        now: Instant,
        slot: SlotId,
        key: AttemptKey,
        work: u64,
        open: bool,
    ) -> bool {
        let place = self.get_mut(slot);
        debug_assert_eq!(place.state, SlotState::Ready);
        let first = place.queue.is_empty();
        place.queue.push_back(key);
        place.work += work;
        place.runs += 1;
        if first {
            place.open = open;
            place.head = Head {
                since: now,
                alone: true,
            };
            place.busy_since = now;
            self.idle.remove(&slot);
        }
        first
    }

    /// Takes the first attempt, which its process has answered, out of the slot's queue.
    pub(super) fn pop(&mut self, now: Instant, slot: SlotId, attempt: Attempt, work: u64) {
        let place = self.get_mut(slot);
        place.answered = Some(attempt);
        place.queue.pop_front();
        place.work -= work;
        place.head = Head {
            since: now,
            alone: false,
        };
        if let SlotState::Stopping { reason_to_stop, .. } = &mut place.state {
            // It was about the one that just ended.
            *reason_to_stop = None;
        }
    }

    /// A ready process with nothing to do takes more, or is let go if it has run its share.
    pub(super) fn rest(&mut self, now: Instant, slot: SlotId, out: &mut VecDeque<WorkerOutput>) {
        let place = self.get(slot);
        if place.state != SlotState::Ready || !place.queue.is_empty() {
            return;
        }
        if self.may_run(slot) {
            self.idle.insert(slot);
        } else {
            self.stop(now, slot, Stage::Retired, None, out);
        }
    }

    /// Asks a slot's process to end, more harshly than before if it was asked already.
    pub(super) fn stop(
        &mut self,
        now: Instant,
        slot: SlotId,
        stage: Stage,
        reason_to_stop: Option<StopReason>,
        out: &mut VecDeque<WorkerOutput>,
    ) {
        let reason_to_stop = match self.get(slot).state {
            SlotState::Dead => {
                self.timers.cancel(slot);
                self.set_state(slot, SlotState::Gone);
                return;
            }
            SlotState::Gone => return,
            SlotState::Stopping { stage: old, .. } if stage <= old => return,
            // What was decided first stays the reason.
            SlotState::Stopping {
                reason_to_stop: old,
                ..
            } => old.or(reason_to_stop),
            SlotState::Starting | SlotState::Ready => reason_to_stop,
        };
        self.idle.remove(&slot);
        self.set_state(
            slot,
            SlotState::Stopping {
                stage,
                reason_to_stop,
            },
        );
        let slot_life = id(slot, self.get(slot).life);
        let ask = match stage {
            Stage::Retired => PoolOutput::Retire { slot: slot_life },
            Stage::Terminated => PoolOutput::Terminate { slot: slot_life },
            Stage::Killed => PoolOutput::Kill { slot: slot_life },
        };
        out.push_back(WorkerOutput::Pool(ask));
        if stage == Stage::Killed {
            self.timers.cancel(slot);
        } else {
            self.timers.set(slot, now + self.kill_grace);
        }
    }

    /// The process has run an attempt to its end.
    pub(super) fn note_served(&mut self, slot: SlotId) {
        self.get_mut(slot).served = true;
    }

    /// The process could not run an attempt: once it has nothing to do it is let go, and another is
    /// started after a pause.
    pub(super) fn note_unavailable(&mut self, slot: SlotId) {
        let place = self.get_mut(slot);
        place.unavailable = true;
        if place.served {
            place.failures = 0;
        }
    }

    /// Forgets the attempts of a slot's process: nobody waits for them any more.
    pub(super) fn abandon(&mut self, slot: SlotId) {
        let place = self.get_mut(slot);
        place.queue.clear();
        place.work = 0;
        if let SlotState::Stopping { reason_to_stop, .. } = &mut place.state {
            *reason_to_stop = None;
        }
    }

    /// Presses a process that was asked to end and has not.
    pub(super) fn press(&mut self, now: Instant, slot: SlotId, out: &mut VecDeque<WorkerOutput>) {
        let SlotState::Stopping { stage, .. } = self.get(slot).state else {
            return;
        };
        let stage = match stage {
            Stage::Retired => Stage::Terminated,
            Stage::Terminated | Stage::Killed => Stage::Killed,
        };
        self.stop(now, slot, stage, None, out);
    }

    /// The process has ended; its queue was emptied by the caller, who says whether it was `busy`.
    /// Starts another, at once or later, or none if `leaving`.
    pub(super) fn on_exit(
        &mut self,
        now: Instant,
        slot: SlotId,
        busy: bool,
        leaving: bool,
        out: &mut VecDeque<WorkerOutput>,
    ) {
        self.idle.remove(&slot);
        self.timers.cancel(slot);
        let place = self.get_mut(slot);
        place.work = 0;
        let lived = now.since(place.since);
        let delay = match place.state {
            _ if leaving => {
                self.set_state(slot, SlotState::Gone);
                return;
            }
            // It could start nothing, or never got ready: wait from the first time on.
            _ if place.unavailable => backoff(place.count_failure()),
            SlotState::Starting => backoff(place.count_failure()),
            // It completed nothing: the first time may have been bad luck. A death under an
            // attempt is the attempt's, and delays nobody else's process.
            SlotState::Ready if !busy && !place.served && lived < YOUNG => {
                backoff(place.count_failure() - 1)
            }
            SlotState::Ready => {
                place.failures = 0;
                Duration::ZERO
            }
            // We ended it ourselves.
            SlotState::Stopping { .. } | SlotState::Dead | SlotState::Gone => Duration::ZERO,
        };
        self.set_state(slot, SlotState::Dead);
        if delay.is_zero() {
            self.spawn(slot, out);
        } else {
            self.timers.set(slot, now + delay);
        }
    }

    /// Asserts what must hold of the slots alone.
    pub(super) fn check_invariants(&self) {
        let count = |state: fn(SlotState) -> bool| {
            self.slots.values().filter(|slot| state(slot.state)).count() as u32
        };
        assert_eq!(self.gone, count(|state| state == SlotState::Gone));
        assert_eq!(
            self.empty,
            self.gone + count(|state| state == SlotState::Dead)
        );
        assert!(self.timers.len() <= self.slots.reached());
        for (slot, place) in self.slots() {
            let free = place.state == SlotState::Ready && place.queue.is_empty();
            assert_eq!(self.is_idle(slot), free, "{slot}: {place:?}");
            assert!(place.runs <= self.max_requests);
            assert!(place.queue.len() <= CHILD_QUEUE_MAX);
            match place.state {
                SlotState::Starting | SlotState::Gone => {
                    assert!(place.queue.is_empty() && self.timer(slot).is_none());
                }
                SlotState::Dead => assert!(place.queue.is_empty() && self.timer(slot).is_some()),
                SlotState::Stopping {
                    stage,
                    reason_to_stop,
                } => {
                    assert_eq!(self.timer(slot).is_some(), stage != Stage::Killed);
                    assert!(reason_to_stop.is_none() || !place.queue.is_empty());
                }
                SlotState::Ready => assert!(!free || self.may_run(slot)),
            }
        }
    }
}

/// The delay before the process after `failures` young deaths: none, then doubling.
fn backoff(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => (RESPAWN_DELAY_FIRST * (1 << (failures - 1).min(16))).min(RESPAWN_DELAY_MAX),
    }
}
