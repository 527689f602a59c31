//! Where outcomes and their takers meet.
//!
//! Owns: one entry for each task that was taken in, until its outcome is taken. Never: decides
//! anything. Invariants: an outcome is handed over once; an entry whose submission is gone is
//! gone when its outcome comes. Bounded: by the client's `tasks` and `bytes`, together with the
//! machine, since whoever submits asks here for room first.

use std::collections::HashMap;
use std::collections::hash_map::Entry as HashEntry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use argon_core::payload::Payload;
use argon_core::task::Outcome;
use tokio::sync::Notify;
use tracing::warn;

use super::Ended;
use crate::link::LinkState;

/// Outcomes on their way, and what the driver is to know.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    /// A place is free; one waiter is woken at a time, and wakes the next if there is more room.
    room: Notify,
    link_changed: Notify,
    all_over: Notify,
    tasks: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    entries: HashMap<u64, Entry, BuildHasherDefault<SeqHasher>>,
    /// Payload bytes of outcomes that nobody has taken.
    bytes: u64,
    /// How many these are.
    untaken: usize,
    /// That all room is taken by them was said.
    warned: bool,
    /// At most one for each entry.
    cancels: Vec<u64>,
    stop: bool,
    stop_when_empty: bool,
    ended: bool,
    /// The driver's; taken by whoever wakes it.
    driver: Option<Waker>,
    link: LinkState,
    link_version: u64,
    nudged: bool,
}

#[derive(Debug)]
enum Entry {
    /// No outcome yet.
    Open {
        waker: Option<Waker>,
        cancelled: bool,
    },
    /// Nobody wants to know.
    Abandoned,
    /// To be taken.
    Done(Ended),
}

/// Whether another task may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Open,
    Full,
    Stopped,
}

/// What the driver is told at the start of a turn.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) cancels: Vec<u64>,
    pub(super) stop: bool,
    pub(super) nudged: bool,
}

impl Board {
    pub(super) fn new(tasks: usize, bytes: u64) -> Self {
        Self {
            state: Mutex::default(),
            room: Notify::new(),
            link_changed: Notify::new(),
            all_over: Notify::new(),
            tasks: tasks.max(1),
            bytes,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock between two consistent states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What submissions do.

    /// Waits until there may be room, or none will ever be needed.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// Passes the news of free room on.
    pub(super) fn pass_room_on(&self) {
        self.room.notify_one();
    }

    pub(super) fn poll_outcome(&self, seq: u64, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut state = self.lock();
        let HashEntry::Occupied(mut place) = state.entries.entry(seq) else {
            unreachable!("an entry lasts as its submission does");
        };
        if let Entry::Open { waker, .. } = place.get_mut() {
            if !waker.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let Entry::Done(ended) = place.remove() else {
            unreachable!("only its submission abandons an entry");
        };
        state.untaken -= 1;
        state.bytes -= ended.payload.len() as u64;
        state.wake_if_last();
        drop(state);
        self.room.notify_one();
        Poll::Ready(ended)
    }

    pub(super) fn is_done(&self, seq: u64) -> bool {
        !matches!(self.lock().entries.get(&seq), Some(Entry::Open { .. }))
    }

    pub(super) fn cancel(&self, seq: u64) {
        let mut state = self.lock();
        if let Some(Entry::Open { cancelled, .. }) = state.entries.get_mut(&seq)
            && !*cancelled
        {
            *cancelled = true;
            state.cancels.push(seq);
            state.wake_driver();
        }
    }

    pub(super) fn abandon(&self, seq: u64) {
        let mut state = self.lock();
        match state.entries.get_mut(&seq) {
            Some(entry @ Entry::Open { .. }) => *entry = Entry::Abandoned,
            Some(Entry::Done(ended)) => {
                let bytes = ended.payload.len() as u64;
                state.bytes -= bytes;
                state.untaken -= 1;
                state.entries.remove(&seq);
                state.wake_if_last();
                drop(state);
                self.room.notify_one();
            }
            Some(Entry::Abandoned) | None => {}
        }
    }

    // What handles do.

    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stop = true;
        state.wake_driver();
        drop(state);
        self.room.notify_waiters();
        self.room.notify_one();
    }

    pub(super) fn stop_when_empty(&self) {
        let mut state = self.lock();
        state.stop_when_empty = true;
        state.wake_if_last();
    }

    pub(super) async fn ended(&self) {
        let waiting = self.all_over.notified();
        let mut waiting = std::pin::pin!(waiting);
        waiting.as_mut().enable();
        if !self.lock().ended {
            waiting.await;
        }
    }

    pub(super) fn link(&self) -> (LinkState, u64) {
        let state = self.lock();
        (state.link.clone(), state.link_version)
    }

    pub(super) async fn link_after(&self, version: u64) {
        loop {
            let waiting = self.link_changed.notified();
            let mut waiting = std::pin::pin!(waiting);
            waiting.as_mut().enable();
            if self.lock().link_version != version {
                return;
            }
            waiting.await;
        }
    }

    // What the driver does.

    /// Takes the orders; whoever gives more wakes the driver again.
    pub(super) fn orders(&self, cx: &mut Context<'_>, cancels: Vec<u64>) -> Orders {
        let mut state = self.lock();
        match &mut state.driver {
            Some(driver) => driver.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        let stop = state.stop || (state.stop_when_empty && state.entries.is_empty());
        Orders {
            cancels: std::mem::replace(&mut state.cancels, cancels),
            stop,
            nudged: std::mem::take(&mut state.nudged),
        }
    }

    /// Hands outcomes to their takers. `wakers` is scratch space.
    pub(super) fn deliver(&self, outcomes: &mut Vec<(u64, Ended)>, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        for (seq, ended) in outcomes.drain(..) {
            let bytes = ended.payload.len() as u64;
            match state.entries.get_mut(&seq) {
                Some(entry @ Entry::Open { .. }) => {
                    if let Entry::Open { waker, .. } = entry {
                        wakers.extend(waker.take());
                    }
                    *entry = Entry::Done(ended);
                    state.untaken += 1;
                    state.bytes += bytes;
                }
                Some(Entry::Abandoned) => {
                    state.entries.remove(&seq);
                }
                // The machine delivers once; a second time is not the taker's problem.
                Some(Entry::Done(_)) | None => debug_assert!(false, "{seq} was delivered twice"),
            }
        }
        state.wake_if_last();
        drop(state);
        wakers.drain(..).for_each(Waker::wake);
        // The machine has let go of something; it may have been what held others up.
        self.room.notify_one();
    }

    pub(super) fn set_link(&self, link: LinkState) {
        let mut state = self.lock();
        state.link = link;
        state.link_version += 1;
        drop(state);
        self.link_changed.notify_waiters();
    }

    /// The driver is gone: nothing more will come, so what is open ends here.
    pub(super) fn end(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.ended = true;
        let mut wakers = Vec::new();
        state.entries.retain(|_, entry| match entry {
            Entry::Open { waker, .. } => {
                wakers.extend(waker.take());
                state.untaken += 1;
                *entry = Entry::Done(Ended {
                    outcome: Outcome::Cancelled { may_have_run: true },
                    payload: Payload::empty(),
                });
                true
            }
            Entry::Abandoned => false,
            Entry::Done(_) => true,
        });
        drop(guard);
        wakers.into_iter().for_each(Waker::wake);
        self.room.notify_waiters();
        self.room.notify_one();
        self.all_over.notify_waiters();
    }
}

impl State {
    /// Whether another task may come, as far as we know here.
    pub(super) fn admission(&mut self, board: &Board) -> Admission {
        if self.stop || self.ended {
            return Admission::Stopped;
        }
        if self.entries.len() < board.tasks && self.bytes < board.bytes.max(1) {
            return Admission::Open;
        }
        if self.untaken == self.entries.len() && !self.warned {
            self.warned = true;
            warn!(
                untaken = self.untaken,
                "no room for tasks until outcomes are taken or their submissions dropped"
            );
        }
        Admission::Full
    }

    /// A task was taken in: its outcome will come, and the driver must look at it.
    pub(super) fn open(&mut self, seq: u64) {
        let entry = Entry::Open {
            waker: None,
            cancelled: false,
        };
        self.entries.insert(seq, entry);
        self.nudged = true;
        self.wake_driver();
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Wakes the driver if it only waits for the last outcome to be taken.
    fn wake_if_last(&mut self) {
        if self.stop_when_empty && self.entries.is_empty() {
            self.wake_driver();
        }
    }
}

/// Task numbers rise one by one; an odd factor spreads them over the table's bits.
#[derive(Debug, Default)]
pub(super) struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, seq: u64) {
        self.0 = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
