//! The calls that are under way, and whose turn it is to be taken.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::super::Deferred;
use crate::error::Error;
use crate::ready::{ReadyList, SlotWake};

/// A call that was taken from its source.
pub(super) enum Item<T> {
    Running(Deferred<T>),
    /// It was never sent.
    Refused(Error),
}

impl<T> Item<T> {
    /// Its result. A refusal is there at once, and the caller then lets go of the item.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        match self {
            Self::Running(deferred) => Pin::new(deferred).poll(cx),
            Self::Refused(error) => Poll::Ready(Err(std::mem::replace(error, Error::Closed))),
        }
    }
}

/// Calls under way.
pub(super) enum Window<T> {
    /// Oldest first. Only the first is polled: nobody asks for the others yet.
    Ordered(VecDeque<Item<T>>),
    /// Each in a slot that says when to poll it.
    Unordered(Slots<T>),
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self::Ordered(VecDeque::new())
    }
}

impl<T> Window<T> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ordered(items) => items.len(),
            Self::Unordered(slots) => slots.used,
        }
    }

    pub(super) fn push(&mut self, item: Item<T>) {
        match self {
            Self::Ordered(items) => items.push_back(item),
            Self::Unordered(slots) => slots.push(item),
        }
    }

    pub(super) fn forget_order(&mut self) {
        if let Self::Ordered(items) = self {
            let mut slots = Slots::new();
            items.drain(..).for_each(|item| slots.push(item));
            *self = Self::Unordered(slots);
        }
    }

    /// The next result.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        match self {
            Self::Ordered(items) => {
                let Some(first) = items.front_mut() else {
                    return Poll::Pending;
                };
                let polled = first.poll(cx);
                if polled.is_ready() {
                    items.pop_front();
                }
                polled
            }
            Self::Unordered(slots) => slots.poll(cx),
        }
    }
}

/// Calls in any order. As many slots as there were calls at a time.
pub(super) struct Slots<T> {
    slots: Vec<(Option<Item<T>>, Arc<SlotWake>)>,
    free: Vec<usize>,
    used: usize,
    list: Arc<ReadyList>,
    /// Taken from the list and not polled yet, the next one last.
    ready: Vec<usize>,
}

impl<T> Slots<T> {
    fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            used: 0,
            list: Arc::default(),
            ready: Vec::new(),
        }
    }

    fn push(&mut self, item: Item<T>) {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len();
            self.slots.push((None, SlotWake::new(&self.list, index)));
            index
        });
        let (place, wake) = &mut self.slots[index];
        *place = Some(item);
        self.used += 1;
        // To be polled once, so that it knows whom to wake.
        wake.mark();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        self.list.register(cx);
        loop {
            // Only when all of the last ones were polled, so that none waits for ever.
            if self.ready.is_empty() {
                self.list.take(&mut self.ready);
                self.ready.reverse();
            }
            let Some(index) = self.ready.pop() else {
                return Poll::Pending;
            };
            let (place, wake) = &mut self.slots[index];
            wake.unmark();
            // A slot may be woken for the call that was in it before.
            let Some(item) = place else {
                continue;
            };
            let waker = Waker::from(Arc::clone(wake));
            if let Poll::Ready(result) = item.poll(&mut Context::from_waker(&waker)) {
                *place = None;
                self.used -= 1;
                self.free.push(index);
                return Poll::Ready(result);
            }
        }
    }
}
