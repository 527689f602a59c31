//! Which of many things have something to do, so that a poll need not look at all of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// The slots to be polled.
#[derive(Debug, Default)]
pub(crate) struct ReadyList {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Each at most once: a slot's `queued` says whether it is here.
    ready: Vec<usize>,
    task: Option<Waker>,
}

/// One slot's place in the list; its waker.
#[derive(Debug)]
pub(crate) struct SlotWake {
    list: Arc<ReadyList>,
    index: usize,
    queued: AtomicBool,
}

impl ReadyList {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the waker.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut inner = self.lock();
        match &mut inner.task {
            Some(task) => task.clone_from(cx.waker()),
            None => inner.task = Some(cx.waker().clone()),
        }
    }

    /// Moves the slots that are ready to `to`.
    pub(crate) fn take(&self, to: &mut Vec<usize>) {
        to.append(&mut self.lock().ready);
    }
}

impl SlotWake {
    /// The place of slot `index` in `list`.
    pub(crate) fn new(list: &Arc<ReadyList>, index: usize) -> Arc<Self> {
        let list = Arc::clone(list);
        Arc::new(Self {
            list,
            index,
            queued: AtomicBool::new(false),
        })
    }

    /// Queues the slot for a poll that is to come anyway.
    pub(crate) fn mark(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.list.lock().ready.push(self.index);
        }
    }

    /// The slot is about to be polled; from now on it may be queued again.
    pub(crate) fn unmark(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for SlotWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut inner = self.list.lock();
        inner.ready.push(self.index);
        let task = inner.task.clone();
        drop(inner);
        if let Some(task) = task {
            task.wake();
        }
    }
}
