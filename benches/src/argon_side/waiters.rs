//! Workers whose tasks only wait: many slots that cost nothing, to load a manager with more than
//! this machine could run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use argon::executor::Executor;
use argon::{Capabilities, WorkerOptions, WorkerServer};
use argon_core::task::ExitCause;
use argon_core::worker::{Job, PoolInput, PoolOutput, RunEnd, SlotLife};
use tokio::task::JoinSet;

use super::name;
use crate::{Problem, task};

/// Nothing to do: until somebody says otherwise.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs so many workers of `slots` slots each, in this process.
pub(crate) async fn waiters(manager: &str, workers: usize, slots: u64) -> Result<(), Problem> {
    let clock = Clock::start();
    let mut running = JoinSet::new();
    for index in 0..workers {
        let label = name(&format!("waiters-{}-{index}", std::process::id()));
        let options = WorkerOptions::new(vec![manager.to_owned()], label, u32::try_from(slots)?)?;
        let executor = Waits {
            clock: clock.clone(),
            desk: Arc::default(),
            said: Vec::new(),
        };
        running.spawn(WorkerServer::new(options, executor)?.run());
    }
    running.join_all().await;
    Ok(())
}

/// Something that ends at a time.
struct Wait {
    until: Instant,
    begun: Instant,
    slot: SlotLife,
    job: Job,
    desk: Arc<Mutex<Desk>>,
}

/// What one worker is to hear.
#[derive(Default)]
struct Desk {
    done: Vec<PoolInput>,
    waker: Option<Waker>,
}

/// A thread that knows all waits of all workers of this process.
#[derive(Clone)]
struct Clock {
    coming: Arc<Mutex<Vec<Wait>>>,
    thread: Thread,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clock {
    fn start() -> Self {
        let coming = Arc::<Mutex<Vec<Wait>>>::default();
        let theirs = Arc::clone(&coming);
        let thread = thread::spawn(move || tick(&theirs)).thread().clone();
        Self { coming, thread }
    }
}

fn tick(coming: &Mutex<Vec<Wait>>) {
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut slots: Vec<Option<Wait>> = Vec::new();
    let mut free = Vec::new();
    let mut order = BinaryHeap::new();
    loop {
        for wait in lock(coming).drain(..) {
            let place = free.pop().unwrap_or_else(|| {
                slots.push(None);
                slots.len() - 1
            });
            order.push(Reverse((wait.until, place)));
            slots[place] = Some(wait);
        }
        let now = Instant::now();
        while let Some(Reverse((until, place))) = order.peek().copied()
            && until <= now
        {
            order.pop();
            free.push(place);
            if let Some(wait) = slots[place].take() {
                wait.end(now);
            }
        }
        let next = order.peek().map(|Reverse((until, _))| *until);
        thread::park_timeout(next.map_or(IDLE, |until| {
            until.saturating_duration_since(Instant::now())
        }));
    }
}

impl Wait {
    fn end(self, now: Instant) {
        let mut desk = lock(&self.desk);
        desk.done.push(PoolInput::Done {
            slot: self.slot,
            attempt: self.job.attempt,
            ran: now - self.begun,
            end: RunEnd::Completed,
            payload: self.job.payload,
        });
        if let Some(waker) = desk.waker.take() {
            waker.wake();
        }
    }
}

/// Runs attempts by waiting for as long as they ask.
struct Waits {
    clock: Clock,
    desk: Arc<Mutex<Desk>>,
    said: Vec<PoolInput>,
}

impl Executor for Waits {
    fn execute(&mut self, action: PoolOutput) {
        match action {
            PoolOutput::Spawn { slot } => self.said.push(PoolInput::Ready {
                slot,
                capabilities: Capabilities::anything(),
            }),
            PoolOutput::RunMany { slot, jobs } => {
                for job in jobs {
                    self.execute(PoolOutput::Run { slot, job });
                }
            }
            PoolOutput::Run { slot, job } => {
                let begun = Instant::now();
                let wait = Wait {
                    until: begun + task::wait(&job.payload),
                    begun,
                    slot,
                    job,
                    desk: Arc::clone(&self.desk),
                };
                lock(&self.clock.coming).push(wait);
                self.clock.thread.unpark();
            }
            PoolOutput::RunStreams { .. } | PoolOutput::Stream { .. } => {
                unreachable!("no task has streams")
            }
            PoolOutput::Terminate { slot }
            | PoolOutput::Kill { slot }
            | PoolOutput::Retire { slot } => self.said.push(PoolInput::Exited {
                slot,
                cause: ExitCause::Exit(0),
                stderr: String::new(),
            }),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<PoolInput>) -> Poll<()> {
        let before = events.len();
        events.append(&mut self.said);
        let mut desk = lock(&self.desk);
        events.append(&mut desk.done);
        desk.waker = Some(cx.waker().clone());
        if events.len() > before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
