//! Answers on their way to the worker: many in one write, none for long.
//!
//! An answer waits while further attempts are at hand, so that many go in one write. But the next
//! attempt may run for ever, and must not hold up the answers before it; so another thread writes
//! what has waited while a task runs.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use argon_core::message::PoolMessage;
use argon_core::payload::Payload;
use argon_core::time::Nanos;

use crate::pool_frames::PoolOutgoing;

/// Written at once when there are this many bytes.
const BYTES_MAX: usize = 64 * 1024;
/// How long an answer waits, about.
const PATIENCE: Duration = Duration::from_micros(500);
/// Looks in vain until the writing thread sleeps until it is called.
const LOOKS_MAX: u32 = 8;

/// Answers not written yet, and where to.
pub(super) struct Answers<W> {
    inner: Mutex<Inner<W>>,
    /// Whether the other thread looks now and then.
    watched: AtomicBool,
    over: AtomicBool,
}

struct Inner<W> {
    buffer: PoolOutgoing,
    output: W,
}

impl<W: Write> Answers<W> {
    pub(super) fn new(output: W) -> Self {
        let buffer = PoolOutgoing::default();
        Self {
            inner: Mutex::new(Inner { buffer, output }),
            watched: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<W>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message as it is.
    pub(super) fn push(&self, message: &PoolMessage) -> io::Result<()> {
        let mut inner = self.lock();
        inner.buffer.push(message).map_err(io::Error::other)?;
        inner.bound()
    }

    /// Adds that an attempt completed: to the answer before it, if the worker `has_runs`.
    pub(super) fn push_completed(
        &self,
        has_runs: bool,
        id: u64,
        ran: Nanos,
        result: Payload,
    ) -> io::Result<()> {
        let mut inner = self.lock();
        let pushed = inner.buffer.push_completed(has_runs, id, ran, result);
        pushed.map_err(io::Error::other)?;
        inner.bound()
    }

    /// Writes all there are.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.lock().write()
    }

    /// A task is about to run: whatever waits is written by `watcher` if that takes long.
    pub(super) fn leave_to(&self, watcher: &Thread) {
        if !self.watched.load(Ordering::Acquire) && !self.lock().buffer.is_empty() {
            self.watched.store(true, Ordering::Release);
            watcher.unpark();
        }
    }

    /// Ends `watch`.
    pub(super) fn end(&self, watcher: &Thread) {
        self.over.store(true, Ordering::Release);
        watcher.unpark();
    }

    /// What the other thread does, until the end.
    pub(super) fn watch(&self) {
        while !self.over.load(Ordering::Acquire) {
            if self.watched.load(Ordering::Acquire) {
                self.look();
            } else {
                thread::park();
            }
        }
    }

    /// Writes what has waited, now and then, until there has been nothing for a while.
    fn look(&self) {
        let mut looks = 0;
        while looks < LOOKS_MAX && !self.over.load(Ordering::Acquire) {
            thread::sleep(PATIENCE);
            let mut inner = self.lock();
            looks = if inner.buffer.is_empty() {
                looks + 1
            } else {
                0
            };
            // If this fails, so will the next write of the thread that runs tasks.
            let _ = inner.write();
        }
        // Under the lock: an answer that is added later is left to this thread anew.
        let inner = self.lock();
        self.watched
            .store(!inner.buffer.is_empty(), Ordering::Release);
    }
}

impl<W: Write> Inner<W> {
    /// Writes all if it is much.
    fn bound(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BYTES_MAX {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let bytes = self.buffer.bytes();
        while !bytes.is_empty() {
            let front = bytes.front();
            let length = front.len();
            self.output.write_all(front)?;
            bytes.advance(length);
        }
        Ok(())
    }
}
