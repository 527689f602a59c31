//! How much memory each pool process and its descendants hold.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use argon_core::worker::SlotLife;
use nix::unistd::Pid;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep};

use crate::proc::Table;

/// At most this part of one processor's time is spent on looking.
const SHARE: u32 = 20;

/// Memory by slot, and how long it took to find out.
type Measured = (Vec<(SlotLife, u64)>, Duration);

/// Measures now and then, on another thread: one look at all processes of the host serves all
/// slots, but may take milliseconds.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    interval: Duration,
    state: WatchState,
}

#[derive(Debug)]
enum WatchState {
    /// Not yet begun: there may be no runtime yet.
    Idle,
    Waiting(Pin<Box<Sleep>>),
    Measuring(JoinHandle<Measured>),
}

impl MemoryWatch {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            state: WatchState::Idle,
        }
    }

    /// Appends what each of `guards` and its descendants hold, when it is known anew.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        guards: impl Iterator<Item = (SlotLife, Pid)>,
        to: &mut Vec<(SlotLife, u64)>,
    ) {
        loop {
            match &mut self.state {
                WatchState::Idle => {
                    self.state = WatchState::Waiting(Box::pin(sleep(self.interval)))
                }
                WatchState::Waiting(timer) => {
                    if timer.as_mut().poll(cx).is_pending() {
                        return;
                    }
                    let guards = guards.collect();
                    self.state = WatchState::Measuring(spawn_blocking(move || measure(guards)));
                    // The iterator is used up; what was started needs its waker.
                    return self.poll_measuring(cx, to);
                }
                WatchState::Measuring(_) => return self.poll_measuring(cx, to),
            }
        }
    }

    fn poll_measuring(&mut self, cx: &mut Context<'_>, to: &mut Vec<(SlotLife, u64)>) {
        let WatchState::Measuring(task) = &mut self.state else {
            return;
        };
        let Poll::Ready(measured) = Pin::new(task).poll(cx) else {
            return;
        };
        let mut took = Duration::ZERO;
        if let Ok((mut measured, duration)) = measured {
            to.append(&mut measured);
            took = duration;
        }
        let mut timer = Box::pin(sleep(self.interval.max(took * SHARE)));
        // Never over at once, but its waker must be known.
        let _ = timer.as_mut().poll(cx);
        self.state = WatchState::Waiting(timer);
    }
}

fn measure(guards: Vec<(SlotLife, Pid)>) -> Measured {
    let start = Instant::now();
    let page = rustix::param::page_size() as u64;
    let table = Table::read();
    let memory = |(life, guard): (SlotLife, Pid)| {
        let pages: u64 = table
            .descendants(guard.as_raw())
            .iter()
            .map(|process| process.pages)
            .sum();
        (life, pages.saturating_mul(page))
    };
    (guards.into_iter().map(memory).collect(), start.elapsed())
}
