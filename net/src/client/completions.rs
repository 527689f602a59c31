//! Where outcomes and their takers meet.
//!
//! Owns: one entry for each task that was taken in, until its outcome is taken. Never: decides
//! anything. Invariants: an outcome is handed over once; an entry whose submission is gone is
//! gone when its outcome comes. Bounded: by the client's `tasks` and `bytes`, together with the
//! machine, since whoever submits asks here for room first.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use argon_core::client::Delivery;
use argon_core::payload::Payload;
use argon_core::seq_map::SeqMap;
use argon_core::task::Outcome;
use slab::Slab;
use tokio::sync::Notify;
use tracing::warn;

use super::Ended;
use crate::link::LinkState;

/// Outcomes on their way, and what the driver is to know.
#[derive(Debug)]
pub(super) struct CompletionTable {
    state: Mutex<CompletionState>,
    /// A place is free; one waiter is woken at a time, and wakes the next if there is more room.
    room: Notify,
    link_changed: Notify,
    all_over: Notify,
    /// How many wait for a place.
    waiting: AtomicUsize,
    tasks: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct CompletionState {
    /// By the number of the task.
    entries: SeqMap<u64, Entry>,
    /// Ends that wait in entries. They are large, and few have to wait.
    ends: Slab<Ended>,
    queues: Slab<CompletionQueue>,
    /// Outcomes in completion queues whose table entries are gone, and which were not taken yet.
    in_queues: usize,
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
    /// A manager has let us in.
    was_let_in: bool,
    nudged: bool,
}

#[derive(Debug)]
enum Entry {
    /// No outcome yet.
    Open { taker: Taker, cancelled: bool },
    /// Nobody wants to know.
    Abandoned,
    /// To be taken: it lies there among the ends.
    Done(usize),
}

/// Who is to be woken for an outcome.
#[derive(Debug)]
enum Taker {
    /// Whoever waits for this one.
    Submission(Option<Waker>),
    /// Whoever waits for any of many.
    CompletionQueue(QueueEntry),
}

/// Where an outcome is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Into an entry of its own.
    Submission,
    /// Into a queue.
    CompletionQueue(QueueEntry),
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueEntry {
    pub(super) queue: usize,
    /// As the owner of the queue numbers what is to come there.
    pub(super) token: usize,
}

/// Outcomes for one who has many tasks under way: all of them are taken, and their taker is woken,
/// at once.
#[derive(Debug, Default)]
struct CompletionQueue {
    done: VecDeque<(usize, Ended)>,
    /// Outcomes in it that were not taken yet, as far as was looked.
    held: usize,
    /// Their payload bytes.
    bytes: u64,
    /// What was taken.
    taken: Arc<TakenOutcomes>,
    /// How much of that is no longer held.
    settled: (usize, u64),
    waker: Option<Waker>,
}

/// What was ever taken from a queue. Only its owner writes, and nothing else is done about most of what
/// is taken: whoever needs room looks here.
#[derive(Debug, Default)]
struct TakenOutcomes {
    count: AtomicUsize,
    /// Their payload bytes; written first.
    bytes: AtomicU64,
}

/// The owner's end of a queue.
#[derive(Debug)]
pub(super) struct QueueOwner {
    pub(super) queue: usize,
    taken: Arc<TakenOutcomes>,
}

/// Somebody waits for room.
pub(super) struct WaitsForRoom<'a>(&'a CompletionTable);

impl Drop for WaitsForRoom<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// Whether another task may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Open,
    Full,
    Stopped,
}

/// What the driver is told at the start of a step.
#[derive(Debug, Default)]
pub(super) struct Commands {
    pub(super) cancels: Vec<u64>,
    pub(super) stop: bool,
    pub(super) nudged: bool,
}

impl CompletionTable {
    pub(super) fn new(tasks: usize, bytes: u64) -> Self {
        Self {
            state: Mutex::default(),
            room: Notify::new(),
            link_changed: Notify::new(),
            all_over: Notify::new(),
            waiting: AtomicUsize::new(0),
            tasks: tasks.max(1),
            bytes,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CompletionState> {
        // No code that can panic runs under this lock between two consistent states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What submissions do.

    /// Waits until there may be room, or none will ever be needed.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// Says that somebody is about to wait for room, for as long as what is returned lives. Whoever says so
    /// looks for room once more before.
    pub(super) fn wait_for_room(&self) -> WaitsForRoom<'_> {
        self.waiting.fetch_add(1, SeqCst);
        WaitsForRoom(self)
    }

    /// Passes the news of free room on.
    pub(super) fn pass_room_on(&self) {
        self.room.notify_one();
    }

    pub(super) fn poll_outcome(&self, seq: u64, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut state = self.lock();
        let end = match state.entries.get_mut(seq) {
            Some(Entry::Done(end)) => *end,
            Some(Entry::Open {
                taker: Taker::Submission(waker),
                ..
            }) => {
                if !waker.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
            // What goes into a queue has no submission, and only its submission abandons it.
            _ => unreachable!("an entry lasts as its submission does"),
        };
        let ended = state.take(seq, end);
        drop(state);
        self.room.notify_one();
        Poll::Ready(ended)
    }

    pub(super) fn is_done(&self, seq: u64) -> bool {
        !matches!(self.lock().entries.get(seq), Some(Entry::Open { .. }))
    }

    pub(super) fn cancel(&self, seq: u64) {
        let mut state = self.lock();
        if let Some(Entry::Open { cancelled, .. }) = state.entries.get_mut(seq)
            && !*cancelled
        {
            *cancelled = true;
            state.cancels.push(seq);
            state.wake_driver();
        }
    }

    pub(super) fn abandon(&self, seq: u64) {
        let mut state = self.lock();
        match state.entries.get_mut(seq) {
            Some(entry @ Entry::Open { .. }) => *entry = Entry::Abandoned,
            Some(Entry::Done(end)) => {
                let end = *end;
                state.take(seq, end);
                drop(state);
                self.room.notify_one();
            }
            Some(Entry::Abandoned) | None => {}
        }
    }

    // What those with a queue do.

    pub(super) fn add_queue(&self) -> QueueOwner {
        let taken = Arc::<TakenOutcomes>::default();
        let queue = CompletionQueue {
            taken: Arc::clone(&taken),
            ..CompletionQueue::default()
        };
        let queue = self.lock().queues.insert(queue);
        QueueOwner { queue, taken }
    }

    /// Swaps what is in the queue, if there is anything, for `taken`, which is empty. It takes up
    /// room until [`let_go`](Self::let_go).
    pub(super) fn poll_queue(
        &self,
        queue: usize,
        cx: &mut Context<'_>,
        taken: &mut VecDeque<(usize, Ended)>,
    ) -> Poll<()> {
        let mut state = self.lock();
        let CompletionQueue { done, waker, .. } = &mut state.queues[queue];
        if done.is_empty() {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        std::mem::swap(done, taken);
        Poll::Ready(())
    }

    /// An outcome from the queue is no longer held for whoever takes it.
    pub(super) fn let_go(&self, owner: &QueueOwner, ended: &Ended) {
        let taken = &owner.taken;
        let bytes = taken.bytes.load(Relaxed) + ended.payload.len() as u64;
        taken.bytes.store(bytes, Relaxed);
        // Either whoever is about to wait sees this, or we see that they wait.
        taken.count.store(taken.count.load(Relaxed) + 1, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.lock().settle();
            self.room.notify_one();
        }
    }

    /// Takes a queue away. Nobody wants to know of what is still to come into it, of the tasks
    /// `running`, and they are cancelled.
    pub(super) fn remove_queue(&self, queue: usize, running: impl Iterator<Item = u64>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        for seq in running {
            if let Some(entry @ Entry::Open { .. }) = state.entries.get_mut(seq) {
                *entry = Entry::Abandoned;
                state.cancels.push(seq);
            }
        }
        let CompletionQueue { held, bytes, .. } = state.queues.remove(queue);
        state.cleared(held, bytes);
        state.wake_driver();
        drop(guard);
        self.room.notify_one();
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

    pub(super) fn was_let_in(&self) -> bool {
        self.lock().was_let_in
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

    /// Takes the commands; whoever gives more wakes the driver again.
    pub(super) fn commands(&self, cx: &mut Context<'_>, cancels: Vec<u64>) -> Commands {
        let mut state = self.lock();
        match &mut state.driver {
            Some(driver) => driver.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        let stop = state.stop || (state.stop_when_empty && state.held() == 0);
        Commands {
            cancels: std::mem::replace(&mut state.cancels, cancels),
            stop,
            nudged: std::mem::take(&mut state.nudged),
        }
    }

    /// Hands outcomes to their takers. `wakers` is scratch space.
    pub(super) fn deliver(&self, deliveries: Vec<Delivery>, wakers: &mut Vec<Waker>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        for delivery in deliveries {
            let Delivery {
                seq,
                outcome,
                payload,
            } = delivery;
            state.deliver(seq, Ended { outcome, payload }, wakers);
        }
        state.wake_if_last();
        drop(guard);
        wakers.drain(..).for_each(Waker::wake);
        // The machine has room again; submissions may have waited for it.
        self.room.notify_one();
    }

    pub(super) fn set_link(&self, link: LinkState) {
        let mut state = self.lock();
        state.was_let_in |= matches!(link, LinkState::Connected { .. });
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
        let unknown = || Ended {
            outcome: Outcome::Cancelled { may_have_run: true },
            payload: Payload::empty(),
        };
        let open = |(seq, entry): (u64, &Entry)| (!matches!(entry, Entry::Done(_))).then_some(seq);
        let open: Vec<u64> = state.entries.iter().filter_map(open).collect();
        for seq in open {
            state.deliver(seq, unknown(), &mut wakers);
        }
        drop(guard);
        wakers.into_iter().for_each(Waker::wake);
        self.room.notify_waiters();
        self.room.notify_one();
        self.all_over.notify_waiters();
    }
}

impl CompletionQueue {
    /// Adds an outcome. Returns the waker of whoever waits for it.
    fn put(&mut self, token: usize, ended: Ended) -> Option<Waker> {
        self.held += 1;
        self.bytes += ended.payload.len() as u64;
        self.done.push_back((token, ended));
        self.waker.take()
    }

    /// What was taken is no longer held; how much that was, and its bytes.
    fn settle(&mut self) -> (usize, u64) {
        let taken = (
            self.taken.count.load(SeqCst),
            self.taken.bytes.load(Relaxed),
        );
        let before = std::mem::replace(&mut self.settled, taken);
        let (count, bytes) = (taken.0 - before.0, taken.1 - before.1);
        self.held -= count;
        self.bytes -= bytes;
        (count, bytes)
    }
}

impl CompletionState {
    /// Tasks without an outcome, and outcomes that nobody has taken.
    fn held(&self) -> usize {
        self.entries.len() + self.in_queues
    }

    /// Hands an outcome to its taker, who is to be woken by `wakers`.
    fn deliver(&mut self, seq: u64, ended: Ended, wakers: &mut Vec<Waker>) {
        let bytes = ended.payload.len() as u64;
        let is_queued = |entry: &Entry| {
            let Entry::Open { taker, .. } = entry else {
                return false;
            };
            matches!(taker, Taker::CompletionQueue(_))
        };
        if let Some(Entry::Open {
            taker: Taker::CompletionQueue(QueueEntry { queue, token }),
            ..
        }) = self.entries.remove_if(seq, is_queued)
        {
            wakers.extend(self.queues[queue].put(token, ended));
            self.in_queues += 1;
            self.untaken += 1;
            self.bytes += bytes;
            return;
        }
        let Some(entry) = self.entries.get_mut(seq) else {
            // The machine delivers once; a second time is not the taker's problem.
            debug_assert!(false, "{seq} was delivered twice");
            return;
        };
        match &mut *entry {
            Entry::Open {
                taker: Taker::Submission(waker),
                ..
            } => {
                wakers.extend(waker.take());
                *entry = Entry::Done(self.ends.insert(ended));
            }
            Entry::Abandoned => {
                self.entries.remove(seq);
                return;
            }
            Entry::Open {
                taker: Taker::CompletionQueue(_),
                ..
            }
            | Entry::Done(_) => {
                debug_assert!(false, "{seq} was delivered twice");
                return;
            }
        }
        self.untaken += 1;
        self.bytes += bytes;
    }

    /// Takes the outcome of a task out, which lies at `end`.
    fn take(&mut self, seq: u64, end: usize) -> Ended {
        self.entries.remove(seq);
        let ended = self.ends.remove(end);
        self.untaken -= 1;
        self.bytes -= ended.payload.len() as u64;
        self.wake_if_last();
        ended
    }

    /// What was taken from queues is no longer held.
    fn settle(&mut self) {
        let (mut count, mut bytes) = (0, 0);
        for (_, queue) in &mut self.queues {
            let taken = queue.settle();
            count += taken.0;
            bytes += taken.1;
        }
        self.cleared(count, bytes);
    }

    /// So many outcomes of queues, of so many bytes, are no longer held.
    fn cleared(&mut self, count: usize, bytes: u64) {
        self.in_queues -= count;
        self.untaken -= count;
        self.bytes -= bytes;
        self.wake_if_last();
    }

    /// Whether another task may come, as far as we know here.
    pub(super) fn admission(&mut self, completions: &CompletionTable) -> Admission {
        if self.stop || self.ended {
            return Admission::Stopped;
        }
        let has_room = |state: &Self| {
            state.held() < completions.tasks && state.bytes < completions.bytes.max(1)
        };
        if has_room(self) {
            return Admission::Open;
        }
        self.settle();
        if has_room(self) {
            return Admission::Open;
        }
        if self.untaken == self.held() && !self.warned {
            self.warned = true;
            warn!(
                untaken = self.untaken,
                "no room for tasks until outcomes are taken or their submissions dropped"
            );
        }
        Admission::Full
    }

    /// A task was taken in: its outcome will come, and the driver must look at it.
    pub(super) fn open(&mut self, seq: u64, whom: For) {
        let entry = Entry::Open {
            taker: match whom {
                For::Submission => Taker::Submission(None),
                For::CompletionQueue(place) => Taker::CompletionQueue(place),
            },
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
        if self.stop_when_empty && self.held() == 0 {
            self.wake_driver();
        }
    }
}
