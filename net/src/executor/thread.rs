//! Attempts on threads of this process: for tasks of microseconds, without isolation.
//!
//! A thread cannot be stopped from outside. `Terminate` and `Kill` drop what has not begun; what
//! has begun keeps its slot until it is done, and only then does `Exited` answer. A task that
//! panics fails; one that aborts takes the worker with it.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use argon_core::limits::CAPACITY_MAX;
use argon_core::name::Name;
use argon_core::task::{ExitCause, TaskError};
use argon_core::worker::{Job, PoolInput, PoolOutput, RunEnd, SlotLife};
use bytes::Bytes;
use nix::sys::signal::Signal;

use super::Executor;
use crate::runtime::catch;
use crate::text::cut_error;

/// What threads run: the task's name and payload in, its result out.
pub type Handler = dyn Fn(&Name, Bytes) -> Result<Bytes, TaskError> + Send + Sync;

/// A thread tells of what it has done when it has nothing left to do, and at the latest when it
/// has done this much or taken this long since it last did.
const DONE_MAX: usize = 256;
const DONE_AFTER: Duration = Duration::from_micros(100);

/// The end of a slot that nobody hurries.
const RETIRED: ExitCause = ExitCause::Exit(0);

/// Runs attempts on threads, one for each slot.
pub struct ThreadExecutor {
    handler: Arc<Handler>,
    places: Vec<Place>,
    /// Places that were given something since the last poll.
    touched: Vec<usize>,
    news: Arc<News>,
}

impl std::fmt::Debug for ThreadExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadExecutor")
            .field("threads", &self.places.len())
            .finish_non_exhaustive()
    }
}

/// A slot, as the executor sees it.
#[derive(Default)]
struct Place {
    /// Given since the last poll.
    orders: Vec<Order>,
    desk: Option<Arc<Desk>>,
}

/// What a thread is told.
enum Order {
    Begin(SlotLife),
    Run(SlotLife, Job),
    End(SlotLife, ExitCause),
    Leave,
}

/// Where a thread gets its orders. As long as what core lets be outstanding at a slot.
#[derive(Default)]
struct Desk {
    orders: Mutex<VecDeque<Order>>,
    filled: Condvar,
    /// Set when an order has come that does not wait for those before it.
    hurry: AtomicBool,
}

/// What threads have done, and whom to tell.
#[derive(Default)]
struct News {
    inner: Mutex<(Vec<PoolInput>, Option<Waker>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl News {
    fn tell(&self, done: &mut Vec<PoolInput>) {
        if done.is_empty() {
            return;
        }
        let mut inner = lock(&self.inner);
        inner.0.append(done);
        let waker = inner.1.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl ThreadExecutor {
    /// An executor of `handler`. Threads are started as slots are.
    pub fn new(
        handler: impl Fn(&Name, Bytes) -> Result<Bytes, TaskError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            handler: Arc::new(handler),
            places: Vec::new(),
            touched: Vec::new(),
            news: Arc::default(),
        }
    }

    fn order(&mut self, slot: SlotLife, order: Order) {
        let index = slot.slot.0 as usize;
        debug_assert!(slot.slot.0 < CAPACITY_MAX, "no slot {}", slot.slot);
        if self.places.len() <= index {
            self.places.resize_with(index + 1, Place::default);
        }
        let orders = &mut self.places[index].orders;
        if orders.is_empty() {
            self.touched.push(index);
        }
        orders.push(order);
    }

    /// The desk of a place, with a thread at it.
    fn desk(&mut self, index: usize) -> std::io::Result<&Desk> {
        let place = &mut self.places[index];
        if place.desk.is_none() {
            let desk = Arc::<Desk>::default();
            let (handler, news) = (Arc::clone(&self.handler), Arc::clone(&self.news));
            let hand = Hand {
                desk: Arc::clone(&desk),
                handler,
                news,
                done: Vec::new(),
            };
            thread::Builder::new()
                .name(format!("argon-slot-{index}"))
                .spawn(|| hand.work())?;
            place.desk = Some(desk);
        }
        Ok(place.desk.as_ref().expect("made above"))
    }

    fn hand_out(&mut self, events: &mut Vec<PoolInput>) {
        for index in mem::take(&mut self.touched) {
            let mut orders = mem::take(&mut self.places[index].orders);
            match self.desk(index) {
                Ok(desk) => {
                    let ends = |order: &Order| matches!(order, Order::End(..));
                    let hurry = orders.iter().any(ends);
                    lock(&desk.orders).extend(orders.drain(..));
                    if hurry {
                        desk.hurry.store(true, Ordering::Release);
                    }
                    desk.filled.notify_one();
                }
                Err(error) => events.extend(orders.drain(..).filter_map(|order| match order {
                    Order::Begin(slot) => Some(PoolInput::Exited {
                        slot,
                        cause: ExitCause::NotStarted,
                        stderr: format!("cannot start a thread: {error}"),
                    }),
                    _ => None,
                })),
            }
            // Given back for its space.
            self.places[index].orders = orders;
        }
    }
}

impl Executor for ThreadExecutor {
    fn execute(&mut self, action: PoolOutput) {
        let signal = |signal| ExitCause::Signal(signal as i32);
        match action {
            PoolOutput::Spawn { slot } => self.order(slot, Order::Begin(slot)),
            PoolOutput::Run { slot, job } => self.order(slot, Order::Run(slot, job)),
            PoolOutput::Terminate { slot } => {
                self.order(slot, Order::End(slot, signal(Signal::SIGTERM)));
            }
            PoolOutput::Kill { slot } => {
                self.order(slot, Order::End(slot, signal(Signal::SIGKILL)));
            }
            PoolOutput::Retire { slot } => self.order(slot, Order::End(slot, RETIRED)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<PoolInput>) -> Poll<()> {
        let before = events.len();
        self.hand_out(events);
        let mut news = lock(&self.news.inner);
        events.append(&mut news.0);
        if events.len() > before {
            return Poll::Ready(());
        }
        match &mut news.1 {
            Some(waker) => waker.clone_from(cx.waker()),
            None => news.1 = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for ThreadExecutor {
    /// Threads end when they have done what they are at; nobody waits for them.
    fn drop(&mut self) {
        for desk in self.places.iter().filter_map(|place| place.desk.as_ref()) {
            let mut orders = lock(&desk.orders);
            orders.clear();
            orders.push_back(Order::Leave);
            desk.hurry.store(true, Ordering::Release);
            desk.filled.notify_one();
        }
    }
}

/// A thread's own things.
struct Hand {
    desk: Arc<Desk>,
    handler: Arc<Handler>,
    news: Arc<News>,
    done: Vec<PoolInput>,
}

impl Hand {
    fn work(mut self) {
        let mut life = None;
        let mut orders = VecDeque::new();
        let mut now = Instant::now();
        let mut told = now;
        loop {
            if orders.is_empty() {
                self.news.tell(&mut self.done);
                self.wait(&mut orders);
                now = Instant::now();
                told = now;
            }
            if self.desk.hurry.swap(false, Ordering::Acquire) {
                self.hurry(life, &mut orders);
            }
            match orders.pop_front() {
                Some(Order::Begin(slot)) => {
                    life = Some(slot);
                    self.done.push(PoolInput::Ready { slot });
                }
                Some(Order::Run(slot, job)) if life == Some(slot) => {
                    let begun = now;
                    let (end, payload) = self.run(&job);
                    now = Instant::now();
                    let (attempt, ran) = (job.attempt, now - begun);
                    self.done.push(PoolInput::Done {
                        slot,
                        attempt,
                        ran,
                        end,
                        payload,
                    });
                }
                Some(Order::End(slot, cause)) if life == Some(slot) => {
                    life = None;
                    let stderr = String::new();
                    self.done.push(PoolInput::Exited {
                        slot,
                        cause,
                        stderr,
                    });
                }
                Some(Order::Leave) => return,
                // Of a life that has ended.
                Some(Order::Run(..) | Order::End(..)) | None => {}
            }
            if self.done.len() >= DONE_MAX || now - told >= DONE_AFTER {
                told = now;
                self.news.tell(&mut self.done);
            }
        }
    }

    fn wait(&self, orders: &mut VecDeque<Order>) {
        let mut desk = lock(&self.desk.orders);
        while desk.is_empty() {
            desk = self
                .desk
                .filled
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner);
        }
        mem::swap(&mut *desk, orders);
    }

    fn run(&self, job: &Job) -> (RunEnd, Bytes) {
        match catch(|| (self.handler)(&job.name, job.payload.clone())) {
            Ok(result) => (RunEnd::Completed, result),
            Err(mut error) => {
                cut_error(&mut error);
                (RunEnd::Failed(Box::new(error)), Bytes::new())
            }
        }
    }

    /// Lets an end overtake what has not begun.
    fn hurry(&self, life: Option<SlotLife>, orders: &mut VecDeque<Order>) {
        orders.append(&mut lock(&self.desk.orders));
        let end = orders.iter().position(|order| match order {
            Order::End(slot, cause) => Some(*slot) == life && *cause != RETIRED,
            Order::Leave => true,
            Order::Begin(_) | Order::Run(..) => false,
        });
        orders.drain(..end.unwrap_or(0));
    }
}
